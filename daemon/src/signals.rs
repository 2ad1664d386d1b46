//! Signals become cancellation: the first asks for an orderly stop, the second ends the process.

use futures_util::StreamExt as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Cancels `stop` on SIGTERM or SIGINT. A second one ends the process at once with status 130, even when
/// the runtime hangs. SIGHUP is ignored: the daemon outlives the terminal it was started from.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn install(tasks: &TaskTracker, stop: CancellationToken) -> std::io::Result<()> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // In this order: the handler that ends the process looks at the flag before it is set.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&asked))?;
        signal_hook::flag::register(signal, Arc::clone(&asked))?;
    }
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let handle = signals.handle();
    tasks.spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                signal = signals.next() => match signal {
                    Some(SIGHUP) => (),
                    Some(signal) => {
                        tracing::info!(signal, "asked to stop");
                        stop.cancel();
                    }
                    None => break,
                },
            }
        }
        handle.close();
    });
    Ok(())
}
