//! `doctor`: looks whether a machine is fit for what comfyd does on it.

use super::Method;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Looks whether this machine is fit: places, disks, hosts, tools, GPUs. Changes nothing that lasts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Doctor {
    /// The caller's directory: its `versions` is looked into, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Leave out what takes seconds: how fast the volume is.
    #[serde(default)]
    pub quick: bool,
}
method!(Doctor, "doctor", DoctorAnswer);

/// Answer to [`Doctor`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DoctorAnswer {
    /// What was found, in the order in which people read it.
    pub findings: Vec<Finding>,
}

/// What was found about one thing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at, in a word or two: `volume`, `HF_TOKEN`. Several findings may be about one.
    pub subject: String,
    /// What to think of it.
    pub verdict: Verdict,
    /// What was found, in a sentence.
    pub text: String,
    /// What to do about it; none where nothing is to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// What was measured, by name; the name ends in its unit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, u64>,
}

/// What to think of what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and less well than it could, or not for everything.
    Warning,
    /// Something will fail.
    Problem,
}

impl Finding {
    /// Makes a finding that is as it should be.
    pub fn ok(subject: impl Into<String>, text: impl Into<String>) -> Self {
        let (subject, text) = (subject.into(), text.into());
        Self { subject, verdict: Verdict::Ok, text, remedy: None, figures: BTreeMap::new() }
    }

    /// Makes a finding of something that could be better.
    pub fn warning(subject: impl Into<String>, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, remedy: Some(remedy.into()), ..Self::ok(subject, text) }
    }

    /// Makes a finding of something that will fail.
    pub fn problem(subject: impl Into<String>, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Problem, ..Self::warning(subject, text, remedy) }
    }

    /// Adds what was measured.
    #[must_use]
    pub fn figure(mut self, name: &str, value: u64) -> Self {
        self.figures.insert(name.to_owned(), value);
        self
    }
}
