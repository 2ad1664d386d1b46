//! Ctrl-C as a flag: the first asks the daemon to cancel, the second leaves at once.
//!
//! Leaving drops the connection, and the daemon cancels on hang-up, so the work ends either way.

use proto::ErrorKind;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the user wants to stop. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
}

impl Interrupt {
    /// Listens to SIGINT and SIGTERM from now on. Until the flag is [taken](Self::take), a second
    /// signal ends the process in the handler itself, whatever the program waits for.
    ///
    /// # Errors
    /// The kernel refuses a handler.
    pub fn listen() -> io::Result<Self> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM] {
            let status = i32::from(ErrorKind::Cancelled.exit_status());
            // In this order: the shutdown looks at the flag before this signal raises it.
            signal_hook::flag::register_conditional_shutdown(signal, status, interrupt.asked.clone())?;
            signal_hook::flag::register(signal, interrupt.asked.clone())?;
        }
        Ok(interrupt)
    }

    /// Returns whether the user asked to stop.
    pub fn is_set(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Returns whether the user asked to stop, and forgets it: for verbs that Ctrl-C ends well.
    pub fn take(&self) -> bool {
        self.asked.swap(false, Ordering::SeqCst)
    }
}
