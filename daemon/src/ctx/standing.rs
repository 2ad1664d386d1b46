//! Who goes first: work in the background stands aside while other work is under way.
//!
//! Work is asked whether it yields between two pieces of it, and never while it holds a lock that others may
//! wait for: so nobody waits for one who waits for him.

use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::watch;

/// Work that is over sooner is none that others stand aside for: most requests only look.
const WORTH_IT: Duration = Duration::from_millis(20);

/// After so long it goes on beside the others, so that it comes to an end where they never do.
const AT_MOST: Duration = Duration::from_secs(3600);

/// The foreground work of a daemon. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Foreground {
    works: watch::Sender<usize>,
}

/// Foreground work under way, until this is dropped.
#[derive(Debug)]
pub struct Busy(Foreground);

impl Foreground {
    /// Says that foreground work is under way.
    #[must_use = "it ends when this is dropped"]
    pub fn busy(&self) -> Busy {
        self.works.send_modify(|works| *works += 1);
        Busy(self.clone())
    }

    /// Returns whether any is under way.
    pub fn is_busy(&self) -> bool {
        *self.works.borrow() > 0
    }

    /// Returns once none was under way for so long. Cancel-safe.
    pub async fn quiet(&self, long: Duration) {
        let mut works = self.works.subscribe();
        loop {
            // Fails only when the sender is gone, which is this one's own.
            works.wait_for(|works| *works == 0).await.ok();
            if tokio::time::timeout(long, works.wait_for(|works| *works > 0)).await.is_err() {
                return;
            }
        }
    }

    /// Returns when some is under way and then none is any more. Cancel-safe.
    pub async fn ended(&self) {
        let mut works = self.works.subscribe();
        works.wait_for(|works| *works > 0).await.ok();
        works.wait_for(|works| *works == 0).await.ok();
    }

    /// Returns the standing of a new piece of work.
    pub fn standing(&self, background: bool) -> Standing {
        Standing { foreground: self.clone(), background: watch::Sender::new(background) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.works.send_modify(|works| *works -= 1);
    }
}

/// How one piece of work stands to the others. In the foreground unless it was made otherwise. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    foreground: Foreground,
    background: watch::Sender<bool>,
}

impl Standing {
    /// Returns whether it is in the background.
    pub fn is_background(&self) -> bool {
        *self.background.borrow()
    }

    /// Takes it to the foreground for good: someone waits for it.
    pub fn lift(&self) {
        self.background.send_replace(false);
    }

    /// Returns once it is in the foreground. Cancel-safe.
    pub async fn lifted(&self) {
        self.background.subscribe().wait_for(|background| !background).await.ok();
    }

    /// Returns whether it is to stand aside now.
    pub fn yields(&self) -> bool {
        self.is_background() && *self.foreground.works.borrow() > 0
    }

    /// Returns once it is to stand aside. Cancel-safe.
    pub async fn aside(&self) {
        self.until(true).await;
    }

    /// Returns once it need not stand aside, or has for an hour. Cancel-safe.
    pub async fn turn(&self) {
        tokio::time::timeout(AT_MOST, self.until(false)).await.ok();
    }

    /// Counts as foreground work for as long as it is one and this is awaited. Cancel-safe.
    pub async fn hold(&self) -> Infallible {
        let mut background = self.background.subscribe();
        // Fails only when the sender is gone, which is this one's own.
        background.wait_for(|background| !background).await.ok();
        tokio::time::sleep(WORTH_IT).await;
        let _busy = self.foreground.busy();
        std::future::pending().await
    }

    async fn until(&self, yields: bool) {
        let (mut background, mut works) = (self.background.subscribe(), self.foreground.works.subscribe());
        while (*background.borrow_and_update() && *works.borrow_and_update() > 0) != yields {
            tokio::select! {
                _ = background.changed() => (),
                _ = works.changed() => (),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn background_work_stands_aside_while_others_work() {
        let foreground = Foreground::default();
        let (prefetch, request) = (foreground.standing(true), foreground.standing(false));
        assert!(prefetch.turn().now_or_never().is_some());
        assert!(prefetch.aside().now_or_never().is_none());
        let held = tokio::time::timeout(WORTH_IT / 2, request.hold());
        assert!(held.await.is_err() && !prefetch.yields(), "a request that only looks disturbs nobody");
        {
            let mut held = std::pin::pin!(request.hold());
            tokio::select! {
                _ = &mut held => unreachable!("it is held for ever"),
                () = prefetch.aside() => (),
            }
            assert!(prefetch.yields() && !request.yields());
            assert!(prefetch.turn().now_or_never().is_none());
        }
        assert!(prefetch.turn().now_or_never().is_some());
    }

    #[tokio::test]
    async fn quiet_begins_when_nobody_works_and_the_end_of_work_is_told() {
        let foreground = Foreground::default();
        let mut ended = std::pin::pin!(foreground.ended());
        assert!(ended.as_mut().now_or_never().is_none(), "nothing has begun");
        let busy = foreground.busy();
        assert!(foreground.is_busy() && ended.as_mut().now_or_never().is_none());
        let quiet = tokio::time::timeout(WORTH_IT, foreground.quiet(Duration::ZERO));
        assert!(quiet.await.is_err());
        drop(busy);
        ended.await;
        let long = Duration::from_millis(50);
        let begun = std::time::Instant::now();
        foreground.quiet(long).await;
        assert!(begun.elapsed() >= long);
    }

    #[tokio::test]
    async fn it_goes_on_when_someone_waits_for_it() {
        let foreground = Foreground::default();
        let _busy = foreground.busy();
        let standing = foreground.standing(true);
        let waits = standing.clone();
        let lift = async { standing.lift() };
        tokio::join!(waits.turn(), lift);
        assert!(!waits.yields() && !standing.is_background());
    }
}
