//! How one home's process stands, with what belongs to each state, and what is published of it.

use super::instance::{Owner, Reply};
use super::log::{self, NodeImport};
use super::look::Watch;
use super::ready::Ended;
use super::running::{Answer, Running};
use crate::ctx::{Stopwatch, millis};
use crate::process::was_killed;
use proto::method::{InstanceInfo, InstanceState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How one home's process stands.
pub(super) enum State {
    Down,
    /// It died, and is started again in a moment.
    Paused {
        until: Instant,
        waiting: Vec<Reply>,
    },
    Starting(Box<Starting>),
    Ready(Box<Serving>),
}

/// A process that loads.
pub(super) struct Starting {
    pub(super) running: Running,
    pub(super) since: Instant,
    /// The time that it had for loading.
    pub(super) lived: Stopwatch,
    pub(super) pause: Duration,
    pub(super) starts: u32,
    pub(super) waiting: Vec<Reply>,
    /// Whether it goes on loading though nobody waits for it: nobody asked it to begin either.
    pub(super) stays: bool,
}

/// A process that answers.
pub(super) struct Serving {
    pub(super) running: Running,
    start_ms: u64,
    node_imports: Arc<[NodeImport]>,
    pub(super) watch: Watch,
}

/// What the log told of a start, and from where on it is of interest.
pub(super) struct Loaded {
    node_imports: Arc<[NodeImport]>,
    watch_from: u64,
}

impl Loaded {
    /// Reads a log from where a start begins in it. Blocks.
    pub(super) fn read(log: &Path, from: u64) -> Self {
        let (text, end) = log::read_from(log, from);
        let watch_from = end.saturating_sub(log::last_start(&text).len() as u64);
        Self { node_imports: log::node_imports(&text).into(), watch_from }
    }
}

impl State {
    /// Waits until the process has ended, for ever when there is none; tells how, and why. Cancel-safe.
    pub(super) async fn death(&mut self) -> (String, Cause) {
        let process = match self {
            Self::Down | Self::Paused { .. } => std::future::pending().await,
            Self::Starting(starting) => &mut starting.running.process,
            Self::Ready(serving) => &mut serving.running.process,
        };
        let status = match process.wait().await {
            Ok(Some(status)) if was_killed(status) => return (status.to_string(), Cause::Killed),
            Ok(Some(status)) if status.success() => "it ended by itself, with exit status 0".to_owned(),
            Ok(Some(status)) => status.to_string(),
            Ok(None) => "it ended; how is not known, for it was another process's child".to_owned(),
            Err(error) => error.to_string(),
        };
        (status, Cause::Itself)
    }
}

/// Why a process ended that nobody asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// By what it did.
    Itself,
    /// By SIGKILL, which no process sends itself: the kernel lacked memory, or a person wanted it so.
    Killed,
    /// It was of no use to who worked with it.
    Condemned,
}

impl Starting {
    pub(super) fn state(&self) -> InstanceState {
        InstanceState::Starting { pid: self.running.process.pid(), for_ms: millis(self.since.elapsed()) }
    }
}

impl Serving {
    /// Begins to watch a process that has become ready. Blocks for a moment.
    pub(super) fn new(running: Running, start_ms: u64, loaded: Loaded) -> Self {
        let (log, pid) = (running.log.clone(), running.process.pid());
        let watch = Watch::new(log, loaded.watch_from, pid, running.comfy.clone());
        Self { running, start_ms, node_imports: loaded.node_imports, watch }
    }

    pub(super) fn state(&self) -> InstanceState {
        InstanceState::Ready { pid: self.running.process.pid(), start_ms: self.start_ms }
    }

    pub(super) fn answer(&self, waited: bool, serving: u64) -> Answer {
        Answer {
            info: self.running.info(self.state()),
            comfy: self.running.comfy.clone(),
            waited,
            node_imports: Arc::clone(&self.node_imports),
            serving,
            note: None,
        }
    }
}

/// What everyone may see.
#[derive(Debug, Clone)]
pub(super) struct Published {
    pub(super) info: InstanceInfo,
    /// What it does until it is ready: the last line of its log, or why its start has to wait.
    pub(super) said: String,
    /// Which of the home's times of being ready this is, or was the last.
    pub(super) serving: u64,
    /// How one of those times ended.
    pub(super) ended: Option<(u64, Ended)>,
}

impl Owner {
    pub(super) fn publish(&self, running: &Running, state: InstanceState) {
        let info = running.info(state);
        let ended = self.publish.borrow().as_ref().and_then(|published| published.ended.clone());
        let published = Published { info, said: String::new(), serving: self.serving, ended };
        self.publish.send_replace(Some(published));
    }

    pub(super) fn publish_again(&self, state: InstanceState, said: String) {
        let has_ended = matches!(state, InstanceState::Exited | InstanceState::Failed { .. });
        self.publish.send_modify(|published| {
            if let Some(published) = published {
                (published.info.state, published.said) = (state, said);
            }
        });
        let home = self.publish.borrow().as_ref().map(|published| PathBuf::from(&published.info.home));
        if let Some(home) = home.filter(|_| has_ended) {
            // A listener that is busy hears of it at the next end, or the next daemon does when it begins.
            self.others.ends.try_send(home).ok();
        }
    }

    /// Tells why a start has to wait.
    pub(super) fn say(&self, said: &str) {
        self.publish.send_modify(|published| {
            if let Some(published) = published {
                said.clone_into(&mut published.said);
            }
        });
    }

    /// Keeps how this time of being ready ended. Seen with the state that is published next.
    pub(super) fn end_serving(&self, ended: Ended) {
        self.publish.send_if_modified(|published| {
            if let Some(published) = published {
                published.ended = Some((self.serving, ended));
            }
            false
        });
    }
}
