//! The command line.

use clap::Parser;

/// Own the caches of ComfyUI versions, make versions real and run them
///
/// Serves comfyctl and the serverless handler on a Unix socket, in the foreground. All of its settings are
/// variables of the environment.
#[derive(Debug, Parser)]
#[command(name = "comfyd", version)]
pub struct Args {
    /// Leave the terminal's session: comfyctl starts the daemon this way
    #[arg(long)]
    pub background: bool,
}
