//! How one home's process ends, and what follows: the other half of the task in `instance`.

use super::doubt::YOUNG;
use super::error::SuperviseError;
use super::instance::{Owner, Reply, tell};
use super::log;
use super::policy::{self, Death};
use super::ready::Ended;
use super::record;
use super::running::Running;
use super::state::{Cause, Starting, State};
use crate::ctx::blocking;
use crate::process::GRACE;
use proto::method::{Device, InstanceState};
use std::time::Duration;

/// Lines of the log that explain a death.
const TAIL_LINES: usize = 40;

/// Deaths that are remembered, more than `policy` asks for.
const REMEMBERED: usize = 64;

impl Owner {
    /// Takes note of a death, or ends a process that is of no use any more; starts it again if someone
    /// holds the instance. What was condemned does not count as a death.
    pub(super) async fn has_died(&mut self, status: String, cause: Cause) {
        let (running, waiting, starts, served) = match self.leave() {
            State::Down | State::Paused { .. } => return,
            State::Starting(starting) => {
                let Starting { running, waiting, starts, .. } = *starting;
                (running, waiting, starts, Duration::ZERO)
            }
            State::Ready(serving) => {
                let served = serving.watch.served();
                (serving.running, Vec::new(), 0, served)
            }
        };
        let version = running.record.version_id.to_string();
        let was_forked = running.record.forked;
        // Also when it is dead already: what it started must not keep its port or its memory.
        let tail = self.end(running).await;
        let port_was_asked_for = self.launch.as_ref().is_some_and(|launch| launch.port.is_some());
        if starts > 0 && policy::start_again(&tail, port_was_asked_for, starts) {
            return self.start(waiting, starts + 1).await;
        }
        if starts > 0 && self.doubts(was_forked, cause, &status) {
            return self.start(waiting, starts).await;
        }
        tracing::warn!(version, status, "ComfyUI died");
        if was_forked && cause == Cause::Itself && served < YOUNG {
            self.died_young(&status).await;
        }
        self.remember((cause != Cause::Condemned).then_some(served), &status, &tail);
        tell(waiting, &SuperviseError::Died { version, status, tail });
        self.start_if_held().await;
    }

    /// Ends a process that has been loading for too long.
    pub(super) async fn give_up(&mut self) {
        let State::Starting(starting) = self.leave() else { return };
        let Starting { running, waiting, .. } = *starting;
        let version = running.record.version_id.to_string();
        let was_forked = running.record.forked;
        let tail = self.end(running).await;
        if self.doubts(was_forked, Cause::Itself, "it did not answer in time") {
            return self.start(waiting, 1).await;
        }
        self.remember(Some(Duration::ZERO), "it did not answer in time", &tail);
        let after = self.others.patience.loading;
        tell(waiting, &SuperviseError::NeverReady { version, after, tail });
        self.start_if_held().await;
    }

    /// Stops what runs and waits until it is gone; returns whether something ran, or was about to.
    pub(super) async fn bring_down(&mut self) -> bool {
        let (running, waiting) = match self.leave() {
            State::Down => return false,
            State::Paused { waiting, .. } => {
                self.publish_again(InstanceState::Exited, String::new());
                self.tell_stopped(waiting);
                return true;
            }
            State::Starting(starting) => {
                let Starting { running, waiting, .. } = *starting;
                (running, waiting)
            }
            State::Ready(serving) => {
                self.end_serving(Ended::asked());
                (serving.running, Vec::new())
            }
        };
        self.publish_again(InstanceState::Stopping { pid: running.process.pid() }, String::new());
        self.end(running).await;
        self.publish_again(InstanceState::Exited, String::new());
        self.tell_stopped(waiting);
        (self.restarts, self.last_death) = (0, None);
        true
    }

    /// Gives up starting what keeps dying, for this long.
    pub(super) fn refuse(&mut self, waiting: Vec<Reply>, deaths: usize, wait: Duration) {
        let (status, tail) = self.last_death.clone().unwrap_or_default();
        let Some(version) = self.launch.as_ref().map(|launch| launch.version_id.to_string()) else { return };
        let error = SuperviseError::KeepsDying { version, deaths, status, wait, tail };
        tracing::warn!(%error, "ComfyUI is not started");
        self.publish_again(InstanceState::Failed { reason: error.to_string() }, String::new());
        tell(waiting, &error);
    }

    /// Lets what died be started at once.
    pub(super) fn forget_deaths(&mut self) {
        self.deaths.clear();
        (self.restarts, self.last_death) = (0, None);
    }

    /// Those who hold the instance get it back. What only an earlier daemon was asked for is not known well
    /// enough to be started.
    async fn start_if_held(&mut self) {
        if self.launch.is_some() && self.usage.is_held() {
            self.begin(Vec::new()).await;
        }
    }

    /// Remembers and publishes a death; one that does not count has no time that it served.
    fn remember(&mut self, served: Option<Duration>, status: &str, tail: &[String]) {
        if let Some(served) = served {
            let excess = (self.deaths.len() + 1).saturating_sub(REMEMBERED);
            self.deaths.drain(..excess);
            self.deaths.push(Death { at: self.clock(), served });
        }
        self.last_death = Some((status.to_owned(), tail.to_vec()));
        self.end_serving(Ended::by_itself(status, tail.to_vec()));
        self.publish_again(InstanceState::Failed { reason: status.to_owned() }, String::new());
    }

    fn tell_stopped(&self, waiting: Vec<Reply>) {
        let version = self.launch.as_ref().map(|launch| launch.version_id.to_string());
        tell(waiting, &SuperviseError::Stopped(version.unwrap_or_default()));
    }

    /// Ends a process, which may have ended, with all in its group; returns the end of its log.
    async fn end(&mut self, running: Running) -> Vec<String> {
        let Running { process, record, log, generation_use, .. } = running;
        let path = log.clone();
        // Read first: what the process says while it is being ended explains nothing.
        let tail = blocking(move || log::tail(&path, TAIL_LINES)).await;
        if let Some(Device::Gpu { index }) = record.device {
            self.left = Some((index, process.pid()));
        }
        process.stop(GRACE).await;
        blocking(move || {
            record::remove(&log);
            drop(generation_use);
        })
        .await;
        tail
    }
}
