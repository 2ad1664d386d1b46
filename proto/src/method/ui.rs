//! `ui`: ComfyUI for a person.

use super::Method;
use super::instance::InstanceInfo;
use super::target::Target;
use serde::{Deserialize, Serialize};

/// Starts ComfyUI for a person and leaves it running.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ui {
    /// Which version.
    #[serde(flatten)]
    pub target: Target,
    /// Port; a free one when absent.
    #[serde(default)]
    pub port: Option<u16>,
    /// Address to listen on; loopback when absent.
    #[serde(default)]
    pub listen: Option<String>,
    /// As in [`Realize`](super::Realize).
    #[serde(default)]
    pub offline: bool,
    /// As in [`Realize`](super::Realize).
    #[serde(default)]
    pub no_install_scripts: bool,
}
method!(Ui, "ui", UiAnswer);

/// Answer to [`Ui`], once ComfyUI answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UiAnswer {
    /// The running process.
    pub instance: InstanceInfo,
    /// Whether it ran before this call.
    pub already_running: bool,
}
