//! Blocking git work under an async roof: progress is looked at from outside, cancellation is a flag.

use super::error::GitError;
use super::progress::Counters;
use crate::ctx::{Ctx, Task};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often a [`Task`] is brought up to date.
const TICK: Duration = Duration::from_millis(100);

/// What blocking work is handed: where to count, and when to stop.
#[derive(Debug, Clone, Default)]
pub(super) struct Control {
    /// Where to count.
    pub(super) counters: Counters,
    /// Set when nobody wants the result any more. gix looks at it between reads.
    pub(super) interrupt: Arc<AtomicBool>,
}

impl Control {
    pub(super) fn interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }
}

/// Runs `work` on a thread for blocking work. When `ctx` is cancelled it is asked to stop and given
/// `linger` to do so; then this returns, and the thread ends by itself. Dropping the future asks it
/// to stop as well.
pub(super) async fn run<T: Send + 'static>(
    ctx: &Ctx,
    (task, what): (Option<&Task>, &str),
    linger: Duration,
    work: impl FnOnce(&Control) -> Result<T, GitError> + Send + 'static,
) -> Result<T, GitError> {
    let control = Control::default();
    let guard = Interrupt(control.interrupt.clone());
    let seen = control.counters.clone();
    let mut thread = tokio::task::spawn_blocking(move || work(&control));
    let mut tick = tokio::time::interval(TICK);
    let mut last = (0, 0);
    loop {
        tokio::select! {
            ended = &mut thread => {
                report(task, &seen, &mut last);
                return ended.unwrap_or_else(|_| Err(GitError::Panicked(what.to_owned())));
            }
            () = ctx.cancel.cancelled() => break,
            _ = tick.tick() => report(task, &seen, &mut last),
        }
    }
    drop(guard);
    // The result does not matter any more, only that the thread has let go of its files.
    tokio::time::timeout(linger, thread).await.ok();
    Err(GitError::Cancelled(what.to_owned()))
}

/// Runs `work`, which neither counts nor needs to be stopped: it reads a few local files.
pub(super) async fn local<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> Result<T, GitError> + Send + 'static,
) -> Result<T, GitError> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|_| Err(GitError::Panicked(what.to_owned())))
}

struct Interrupt(Arc<AtomicBool>);

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn report(task: Option<&Task>, counters: &Counters, last: &mut (usize, usize)) {
    let bytes = counters.bytes.load(Ordering::Relaxed);
    let objects = counters.objects.load(Ordering::Relaxed);
    let Some(task) = task.filter(|_| *last != (bytes, objects)) else { return };
    *last = (bytes, objects);
    let total = counters.objects_total.load(Ordering::Relaxed);
    task.set(objects as u64, (total > 0).then_some(total as u64));
    if bytes > 0 {
        #[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
        task.detail(format!("{:.1} MB received", bytes as f64 / 1e6));
    }
}
