//! Waits for what others have: told to who asks, and each with an end.

use super::{Progress, Stopwatch, millis};
use proto::event::Wait;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A wait that is over sooner is not worth telling.
const WORTH_TELLING: Duration = Duration::from_millis(200);

/// How often a wait that goes on is told anew.
const EVERY: Duration = Duration::from_secs(1);

/// How often [`Waiting::during`] looks.
const LOOK: Duration = Duration::from_millis(200);

/// A wait under way; it is over when this is dropped.
#[must_use = "the wait is over when this is dropped"]
#[derive(Debug)]
pub struct Waiting {
    progress: Progress,
    wait: Wait,
    watch: Stopwatch,
    deadline: Duration,
    told: Option<Duration>,
}

/// A wait came to its deadline; for how long it was waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overdue(pub Duration);

impl Progress {
    /// Begins a wait for something, as people call it, that may take so long by the waiter's own time: see
    /// [`Stopwatch`]. It is told by [`Waiting::look`].
    pub fn waiting(&self, for_what: impl Into<String>, deadline: Duration) -> Waiting {
        /// Unique for all works of this process: progress of one is shown as another's.
        static LAST: AtomicU64 = AtomicU64::new(0);
        let id = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        let wait = Wait { id, for_what: for_what.into(), holder: String::new(), for_ms: 0, left_ms: 0 };
        Waiting { progress: self.clone(), wait, watch: Stopwatch::start(), deadline, told: None }
    }
}

impl Waiting {
    /// Says who has it now. Call it at each look, once a second at least.
    ///
    /// # Errors
    /// When the deadline has come.
    pub fn look(&mut self, holder: &str) -> Result<(), Overdue> {
        let so_far = self.watch.look();
        if so_far >= self.deadline {
            return Err(Overdue(so_far));
        }
        let is_new = match self.told {
            None => so_far >= WORTH_TELLING,
            Some(last) => so_far.saturating_sub(last) >= EVERY || self.wait.holder != holder,
        };
        if is_new {
            self.told = Some(so_far);
            holder.clone_into(&mut self.wait.holder);
            (self.wait.for_ms, self.wait.left_ms) =
                (millis(so_far), millis(self.deadline.saturating_sub(so_far)));
            let wait = self.wait.clone();
            self.progress.state.send_modify(|state| {
                match state.waits.iter_mut().find(|told| told.id == wait.id) {
                    Some(told) => *told = wait,
                    None => state.waits.push(wait),
                }
            });
        }
        Ok(())
    }

    /// Gives it so long from now on: it gets somewhere.
    pub fn extend(&mut self, deadline: Duration) {
        self.deadline = self.watch.look() + deadline;
    }

    /// Waits for something that one holder has all the time. Cancel-safe if `work` is.
    ///
    /// # Errors
    /// When the deadline has come.
    pub async fn during<T>(&mut self, holder: &str, work: impl Future<Output = T>) -> Result<T, Overdue> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = tokio::time::sleep(LOOK) => self.look(holder)?,
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.told.is_some() {
            let id = self.wait.id;
            self.progress.state.send_modify(|state| state.waits.retain(|told| told.id != id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_is_told_until_it_is_over() {
        let progress = Progress::new();
        let mut waiting = progress.waiting("the lock of `x`", Duration::from_secs(60));
        let (done, is_done) = tokio::sync::oneshot::channel::<()>();
        let mut seen = progress.subscribe();
        let (waited, ()) = tokio::join!(waiting.during("pid 7 on h", is_done), async {
            let state = seen.wait_for(|state| !state.waits.is_empty()).await.unwrap().clone();
            let wait = &state.waits[0];
            assert_eq!((&*wait.for_what, &*wait.holder), ("the lock of `x`", "pid 7 on h"));
            assert!(wait.for_ms >= 200 && wait.for_ms + wait.left_ms >= 59_999, "{wait:?}");
            done.send(()).unwrap();
        });
        assert_eq!(waited, Ok(Ok(())));
        drop(waiting);
        assert_eq!(progress.subscribe().borrow().waits, []);
    }

    #[tokio::test]
    async fn a_wait_ends_at_its_deadline_and_gets_more_time_where_it_gets_somewhere() {
        let mut waiting = Progress::new().waiting("x", Duration::from_millis(300));
        assert!(waiting.during("y", std::future::pending::<()>()).await.unwrap_err().0.as_millis() >= 300);
        waiting.extend(Duration::from_secs(60));
        assert_eq!(waiting.look("y"), Ok(()));
    }
}
