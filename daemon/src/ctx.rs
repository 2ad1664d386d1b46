//! First parameter of every effect: how to be told to stop, and where to tell how it goes.

use proto::event::{NOTES_KEPT, Note, ProgressState, TaskKind, TaskProgress, TaskState, Unit, Wait, Work};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

mod standing;
mod stopwatch;
mod waiting;

pub use standing::{Busy, Foreground, Standing};
pub use stopwatch::Stopwatch;
pub use waiting::{Overdue, Waiting};

/// How often work that follows other work looks at its progress.
const FOLLOWED: Duration = Duration::from_millis(50);

/// Cancellation and progress of one piece of work. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ctx {
    /// Cancelled when nobody wants the result any more.
    pub cancel: CancellationToken,
    /// Where to tell how it goes.
    pub progress: Progress,
    /// Whether others go first.
    pub standing: Standing,
}

impl Ctx {
    /// Returns a context that is never cancelled from outside and whose progress nobody has asked for yet.
    pub fn new() -> Self {
        Self { cancel: CancellationToken::new(), progress: Progress::new(), standing: Standing::default() }
    }

    /// Returns a context with the same progress that is cancelled with this one or by itself.
    #[must_use]
    pub fn child(&self) -> Self {
        let (progress, standing) = (self.progress.clone(), self.standing.clone());
        Self { cancel: self.cancel.child_token(), progress, standing }
    }

    /// Waits while this is background work and other work is under way, or until it is cancelled. Call it
    /// without a lock that others may wait for. Cancel-safe.
    pub async fn turn(&self) {
        if self.standing.yields() {
            self.progress.note("standing aside for other work");
            tokio::select! {
                () = self.cancel.cancelled() => (),
                () = self.standing.turn() => (),
            }
        }
    }

    /// Waits for the result of work that several share, and shows its progress as this one's own. None when
    /// this is cancelled, or when the work ended without a result, as a stopping runtime drops it.
    pub async fn follow<T: Clone>(&self, of: &Progress, mut result: watch::Receiver<Option<T>>) -> Option<T> {
        let mut progress = of.subscribe();
        progress.mark_changed();
        let mut next = Instant::now();
        loop {
            // Hundreds may follow, and each takes a copy of the state.
            let changed = async {
                tokio::time::sleep_until(next).await;
                progress.changed().await
            };
            tokio::select! {
                () = self.cancel.cancelled() => return None,
                Ok(()) = changed => {
                    self.progress.follow(&progress.borrow_and_update());
                    next = Instant::now() + FOLLOWED;
                }
                ended = result.wait_for(Option::is_some) => {
                    self.progress.follow(&of.subscribe().borrow());
                    return ended.ok().and_then(|ended| ended.clone());
                }
            }
        }
    }
}

/// Returns a time in whole milliseconds, as the protocol tells it.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Runs file work on a thread that may block. The work goes on when the future is dropped.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            // A bug in it is a bug here, as it would be without a thread.
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going away, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}

impl Default for Ctx {
    fn default() -> Self {
        Self::new()
    }
}

/// The present state of a piece of work, readable by many. Never blocks its writer.
#[derive(Debug, Clone)]
pub struct Progress {
    state: watch::Sender<ProgressState>,
}

impl Progress {
    /// Returns an empty state.
    pub fn new() -> Self {
        Self { state: watch::Sender::new(ProgressState::default()) }
    }

    /// Returns a listener; it sees the present state first.
    pub fn subscribe(&self) -> watch::Receiver<ProgressState> {
        self.state.subscribe()
    }

    /// Names what the work is about from now on.
    pub fn phase(&self, phase: &str) {
        self.state.send_modify(|state| phase.clone_into(&mut state.phase));
    }

    /// Tells people something they may want to know.
    pub fn note(&self, text: impl Into<String>) {
        self.add_note(false, text.into());
    }

    /// Tells people something they should know.
    pub fn warn(&self, text: impl Into<String>) {
        self.add_note(true, text.into());
    }

    fn add_note(&self, warning: bool, text: String) {
        self.state.send_modify(|state| {
            let seq = state.notes.last().map_or(1, |note| note.seq + 1);
            if state.notes.len() == NOTES_KEPT {
                state.notes.remove(0);
            }
            state.notes.push(Note { seq, warning, text });
        });
    }

    /// Returns what it waits for.
    pub fn waits(&self) -> Vec<Wait> {
        self.state.borrow().waits.clone()
    }

    /// Returns how far it is, in short.
    pub fn work(&self) -> Work {
        Work::from(&*self.state.borrow())
    }

    /// Shows the state of shared work as its own. Tasks begun here before are no longer shown.
    pub fn follow(&self, other: &ProgressState) {
        self.state.send_modify(|state| state.clone_from(other));
    }

    /// Begins a piece of work that counts `unit`. It is `Waiting` until it is told otherwise, and
    /// `Failed` when the handle is dropped before [`Task::done`].
    pub fn task(&self, kind: TaskKind, label: impl Into<String>, unit: Unit) -> Task {
        let mut id = 0;
        self.state.send_modify(|state| {
            id = state.tasks.last().map_or(1, |task| task.id + 1);
            let label = label.into();
            let (state_now, detail) = (TaskState::Waiting, String::new());
            state.tasks.push(TaskProgress {
                id,
                kind,
                label,
                state: state_now,
                done: 0,
                total: None,
                unit,
                detail,
            });
        });
        Task { id, progress: self.clone(), ended: false }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// One piece of work in a [`Progress`].
#[derive(Debug)]
pub struct Task {
    id: u64,
    progress: Progress,
    ended: bool,
}

impl Task {
    /// Sets what is done and, where known, what there is in all. Marks it as running.
    pub fn set(&self, done: u64, total: Option<u64>) {
        self.update(|task| (task.state, task.done, task.total) = (TaskState::Running, done, total));
    }

    /// Adds to what is done. Marks it as running.
    pub fn add(&self, more: u64) {
        self.update(|task| (task.state, task.done) = (TaskState::Running, task.done + more));
    }

    /// Says in a few words what it does right now. Marks it as running.
    pub fn detail(&self, detail: impl Into<String>) {
        self.update(|task| (task.state, task.detail) = (TaskState::Running, detail.into()));
    }

    /// Marks it as waiting, and says for what.
    pub fn waiting(&self, for_what: impl Into<String>) {
        self.update(|task| (task.state, task.detail) = (TaskState::Waiting, for_what.into()));
    }

    /// Ends it well.
    pub fn done(mut self, detail: impl Into<String>) {
        self.ended = true;
        self.update(|task| {
            task.state = TaskState::Done;
            task.detail = detail.into();
            task.done = task.total.unwrap_or(task.done);
        });
    }

    fn update(&self, change: impl FnOnce(&mut TaskProgress)) {
        self.progress.state.send_modify(|state| {
            if let Some(task) = state.tasks.iter_mut().find(|task| task.id == self.id) {
                change(task);
            }
        });
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if !self.ended {
            self.update(|task| task.state = TaskState::Failed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_listener_sees_the_present() {
        let progress = Progress::new();
        let task = progress.task(TaskKind::Model, "loras/x", Unit::Bytes);
        task.set(5, Some(10));
        let seen = progress.subscribe().borrow().clone();
        assert_eq!(
            (seen.tasks[0].done, seen.tasks[0].total, seen.tasks[0].state),
            (5, Some(10), TaskState::Running)
        );
        task.done("");
        assert_eq!(progress.subscribe().borrow().tasks[0].done, 10);
    }

    #[test]
    fn a_dropped_task_has_failed() {
        let progress = Progress::new();
        drop(progress.task(TaskKind::Packages, "packages", Unit::Nothing));
        assert_eq!(progress.subscribe().borrow().tasks[0].state, TaskState::Failed);
    }

    #[test]
    fn notes_are_bounded_and_numbered() {
        let progress = Progress::new();
        for _ in 0..NOTES_KEPT + 5 {
            progress.note("x");
        }
        let seen = progress.subscribe().borrow().clone();
        assert_eq!(
            (seen.notes.len(), seen.notes.last().map(|n| n.seq)),
            (NOTES_KEPT, Some(NOTES_KEPT as u64 + 5))
        );
    }
}
