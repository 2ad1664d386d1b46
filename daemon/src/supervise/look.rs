//! Looks at a process: what is asked of it and of the system, again and again. Each look is one future,
//! which the owner keeps while it does other things: however busy it is, looks come to their end.

use super::health::{self, Look, Patience, Queue, Verdict};
use super::log;
use super::policy;
use super::running::Running;
use crate::comfy::Comfy;
use crate::ctx::{Stopwatch, blocking};
use crate::process::{Effort, threads};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::{Duration, Instant};

/// Pause between looks at the log of a ready process.
const LOG_PAUSE: Duration = Duration::from_secs(1);

/// How long a queue that was seen to move is taken to move on. Asking costs ComfyUI the text of every
/// prompt in it.
const MOVING: Duration = Duration::from_secs(30);

/// From one look to the next, with the requests of each, if neither side is frozen.
pub(super) const LONGEST_LOOK: Duration = Duration::from_secs(10);

/// How many looks are kept, at the least what [`Patience::silent`] takes.
const KEPT: usize = 200;

/// A look under way.
pub(super) type Pending = Pin<Box<dyn Future<Output = Seen> + Send>>;

/// What a look brought.
pub(super) enum Seen {
    /// A loading process does not answer yet; the last line of its log.
    Loads(String),
    /// It answers its first request.
    Answers,
    /// News of a ready process.
    Works(Box<Facts>),
    /// The pause before a start is over.
    Due,
}

/// What a look at a ready process found.
pub(super) struct Facts {
    text: String,
    log_end: u64,
    /// None when the process is just ending.
    effort: Option<Effort>,
    threads: BTreeSet<u32>,
    /// None when it was not asked.
    queue: Option<Queue>,
    /// Whether the queue itself was asked for.
    deep: bool,
}

pub(super) fn nothing() -> Pending {
    Box::pin(std::future::pending())
}

pub(super) fn pause(pause: Duration) -> Pending {
    Box::pin(async move {
        tokio::time::sleep(pause).await;
        Seen::Due
    })
}

/// Looks after a pause whether a loading process answers.
pub(super) fn at_start(running: &Running, pause: Duration) -> Pending {
    let (comfy, path) = (running.comfy.clone(), running.log.clone());
    Box::pin(async move {
        tokio::time::sleep(pause).await;
        if comfy.is_ready().await {
            return Seen::Answers;
        }
        Seen::Loads(blocking(move || log::tail(&path, 1)).await.pop().unwrap_or_default())
    })
}

/// What was seen of a ready process so far.
#[derive(Debug)]
pub(super) struct Watch {
    log: PathBuf,
    log_end: u64,
    pid: u32,
    comfy: Comfy,
    began: Instant,
    /// The time that looks had a chance to tell something in.
    lived: Stopwatch,
    /// The program that it executed when it became ready; zero when the system does not tell.
    image: u64,
    /// Its threads when it last had nothing to do.
    at_rest: BTreeSet<u32>,
    looks: Vec<Look>,
    asked: Option<Instant>,
    moved: Option<Instant>,
}

impl Watch {
    /// Begins to watch a process that has just become ready, its log from `log_end` on. Blocks for a moment.
    pub(super) fn new(log: PathBuf, log_end: u64, pid: u32, comfy: Comfy) -> Self {
        let image = Effort::of(pid).map_or(0, |effort| effort.image);
        let at_rest = threads(pid);
        let (looks, asked, moved) = (Vec::new(), None, None);
        let (began, lived) = (Instant::now(), Stopwatch::with_looks_within(LONGEST_LOOK));
        Self { log, log_end, pid, comfy, began, lived, image, at_rest, looks, asked, moved }
    }

    pub(super) fn served(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn log_end(&self) -> u64 {
        self.log_end
    }

    /// Looks after a pause.
    pub(super) fn look(&self, patience: &Patience) -> Pending {
        let (path, from, pid, comfy) = (self.log.clone(), self.log_end, self.pid, self.comfy.clone());
        let pause = LOG_PAUSE.min(patience.asking);
        let ask = self.asked.is_none_or(|asked| asked.elapsed() + pause >= patience.asking);
        let runs = self.looks.last().is_some_and(|look| look.queue == Queue::Running);
        let deep = !runs || self.moved.is_none_or(|moved| moved.elapsed() >= MOVING);
        Box::pin(async move {
            tokio::time::sleep(pause).await;
            let queue = if ask { Some(queue(&comfy, deep).await) } else { None };
            let facts = blocking(move || {
                log::bound(&path).ok();
                let (text, log_end) = log::read_from(&path, from);
                let (effort, threads) = (Effort::of(pid).ok(), threads(pid));
                Facts { text, log_end, effort, threads, queue, deep }
            });
            Seen::Works(Box::new(facts.await))
        })
    }

    /// Adds what a look found and judges the whole.
    pub(super) fn judge(&mut self, facts: &Facts, patience: &Patience) -> Verdict {
        self.log_end = facts.log_end;
        let at = self.lived.look();
        if policy::worker_died(&facts.text) {
            return Verdict::Useless("its worker thread died, it would execute nothing any more");
        }
        let Some(effort) = facts.effort else { return Verdict::Well };
        if effort.is_stopped {
            // Whoever froze it knows why: it did not have the time that it would be judged by.
            self.looks.clear();
            return Verdict::Well;
        }
        if effort.image != self.image && self.image != 0 && effort.image != 0 {
            return Verdict::Restarts;
        }
        let Some(queue) = facts.queue else { return Verdict::Well };
        let now = Instant::now();
        self.asked = Some(now);
        if queue == Queue::Empty {
            self.at_rest.clone_from(&facts.threads);
        } else if queue == Queue::Running && facts.deep {
            self.moved = Some(now);
        }
        let look = Look {
            at,
            queue,
            used: Duration::from_millis(effort.ticks.saturating_mul(10)),
            pages: effort.major_faults,
            thread_gone: !self.at_rest.is_subset(&facts.threads),
        };
        self.looks.push(look);
        if self.looks.len() > 2 * KEPT {
            self.looks.drain(..KEPT);
        }
        health::judge(&self.looks, patience)
    }
}

/// Asks ComfyUI how much it has to do, and unless it is known to move, whether it does any of it.
async fn queue(comfy: &Comfy, deep: bool) -> Queue {
    match comfy.queue_remaining().await {
        Err(error) if error.is_refusal() => return Queue::Refused,
        Err(error) if error.is_silence() => return Queue::Silent,
        // It answers something: a server that lives, with a proxy or a node in the way.
        Err(_) | Ok(0) => return Queue::Empty,
        Ok(_) if !deep => return Queue::Running,
        Ok(_) => {}
    }
    match comfy.queue_lengths().await {
        Ok((0, 0)) => Queue::Empty,
        Ok((0, _)) => Queue::Waiting,
        Ok(_) => Queue::Running,
        Err(_) => Queue::Silent,
    }
}
