//! A ComfyUI that answers, for those who work with it.

use super::instance::Request;
use super::log::NodeImport;
use super::running::Answer;
use super::state::Published;
use super::usage::{Held, Purpose};
use super::{Handle, Supervisor};
use crate::comfy::Comfy;
use crate::ctx::millis;
use proto::method::{InstanceInfo, InstanceState};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// A ComfyUI that answers: one process, from one of its times of being ready to its end.
#[derive(Debug, Clone)]
pub struct Ready {
    /// The process.
    pub info: InstanceInfo,
    /// Its API.
    pub comfy: Comfy,
    /// Whether it had to be started, or was starting, when it was asked for.
    pub started: bool,
    /// Milliseconds that the caller waited until there was room for it.
    pub room_ms: u64,
    /// Milliseconds that the caller waited for it after that.
    pub start_ms: u64,
    /// The custom nodes that it looked at when it started.
    pub node_imports: Arc<[NodeImport]>,
    serving: u64,
    handle: Handle,
    pub(super) supervisor: Supervisor,
}

/// How a ready instance ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Why, in a few words.
    pub reason: String,
    /// Whether someone asked for it.
    pub asked: bool,
    /// The last lines of its log, if nobody asked for it.
    pub tail: Vec<String>,
}

impl Ready {
    /// Makes it for one who waited this long for room, and then for the answer.
    pub(super) fn new(
        answer: Answer,
        (room, start): (Duration, Duration),
        handle: Handle,
        supervisor: Supervisor,
    ) -> Self {
        Self {
            info: answer.info,
            comfy: answer.comfy,
            started: answer.waited,
            room_ms: millis(room),
            start_ms: millis(start),
            node_imports: answer.node_imports,
            serving: answer.serving,
            handle,
            supervisor,
        }
    }

    /// Claims this very process, until what is returned is dropped; none when it is no longer ready. While
    /// someone does, a process that died is started again.
    pub fn hold(&self, purpose: Purpose) -> Option<Held> {
        // Claimed first: from then on it is not ended to make room.
        let held = self.handle.usage.try_hold(purpose)?;
        self.handle.published.borrow().as_ref().is_some_and(|now| self.is_still(now)).then_some(held)
    }

    /// Returns the process as everyone sees it right now.
    pub fn info(&self) -> InstanceInfo {
        self.handle.info().unwrap_or_else(|| self.info.clone())
    }

    fn is_still(&self, now: &Published) -> bool {
        now.serving == self.serving && matches!(now.info.state, InstanceState::Ready { .. })
    }

    /// Ends this very process, which is of no use any more: all who work with it are told `reason`. Waits
    /// until it is gone. It does not count as a death: who condemns again and again has to stop by himself.
    pub async fn condemn(&self, reason: impl Into<String>) {
        let (reply, gone) = oneshot::channel();
        let request = Request::Condemn { serving: self.serving, reason: reason.into(), reply };
        // Neither fails before the shutdown, which ends it too.
        if self.handle.requests.send(request).await.is_ok() {
            gone.await.ok();
        }
    }

    /// Waits until this very process is no longer ready, and tells why. Cancel-safe.
    pub async fn ended(&self) -> Ended {
        let mut published = self.handle.published.clone();
        let gone = |now: &Option<Published>| now.as_ref().is_none_or(|now| !self.is_still(now));
        // An error means that the instance's task is gone: it ends only after the process.
        let last = published.wait_for(gone).await.ok().and_then(|now| (*now).clone());
        match last {
            Some(Published { ended: Some((serving, ended)), .. }) if serving == self.serving => ended,
            // It has been ready again since, and has ended again.
            Some(Published { serving, .. }) if serving > self.serving => {
                Ended::by_itself("it ended", Vec::new())
            }
            _ => Ended::asked(),
        }
    }
}

impl Ended {
    pub(super) fn asked() -> Self {
        Self { reason: "it was stopped".to_owned(), asked: true, tail: Vec::new() }
    }

    pub(super) fn by_itself(reason: impl Into<String>, tail: Vec<String>) -> Self {
        Self { reason: reason.into(), asked: false, tail }
    }
}
