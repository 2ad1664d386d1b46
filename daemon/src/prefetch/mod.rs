//! Idle time lifts likely versions up the warmth ladder (`proto::Rung`), as far as the budgets allow.
//!
//! ```text
//! requests ─▶ history ─▶ predict ─┐
//! specs ────▶ watch ──────────────┼▶ table ─▶ plan ─▶ one step: lift, prime, end a zygote, pack ─┐
//! people ───▶ pins ───────────────┘            ▲                                               │
//!                                              └───────────────────────────────────────────────┘
//! ```
//!
//! It begins when nothing of the foreground has been under way for a while, does one step at a time, and plans anew
//! after each. Its work is in the background: as soon as a realize, a start or a workflow of someone is under
//! way it stands still where it is (`ctx::Standing`), and goes on later. When there is nothing to do it sleeps until
//! something happens: a version is asked for, work ends, a spec is edited, a pin is set. What fails is left alone for
//! longer and longer.

pub mod history;
pub mod ladder;
pub mod lift;
pub mod pins;
pub mod plan;
pub mod predict;
mod present;
pub mod rungs;
mod steps;
mod table;
mod targets;
pub mod watch;

use crate::config::Config;
use crate::ctx::{Ctx, Foreground};
use crate::error::Error;
use crate::process::Memory;
use crate::store::inspect::space;
use crate::supervise::Supervisor;
use history::History;
use ladder::Ladder;
use lift::Lifter;
use plan::{Decision, plan};
use present::Present;
use proto::method::{Budgets, IdleStep, PrefetchAnswer, PrefetchPlan, Target};
use proto::{Rung, VersionId};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use table::{Candidate, Learnt, Places, candidates};
use targets::Targets;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use watch::News;

/// How often a plan is made where nothing happens: times of day go by.
const LOOK_EVERY: Duration = Duration::from_secs(300);

/// How often the memory is looked at while something of it can be given back.
const PRESSURE_EVERY: Duration = Duration::from_secs(5);

/// What idle time does, and what it learns from. Cheap to clone.
#[derive(Clone)]
pub struct Prefetch {
    shared: Arc<Shared>,
}

struct Shared {
    config: Arc<Config>,
    lifter: Lifter,
    ladder: Ladder,
    supervisor: Supervisor,
    foreground: Foreground,
    history: History,
    targets: Targets,
    learnt: Mutex<Learnt>,
    wake: Notify,
    /// Held by whoever does a step.
    lifting: tokio::sync::Mutex<()>,
    present: Present,
}

impl Prefetch {
    /// Reads what earlier daemons learnt, and has `tasks` keep what is learnt from now on, until `stop` is
    /// cancelled. Lifts nothing yet. Blocks for the reading; must be called within a runtime.
    pub fn new(
        (lifter, ladder, supervisor): (Lifter, Ladder, Supervisor),
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let config = Arc::clone(&lifter.sources.config);
        let history = History::open(config.state_dir.join("requests.jsonl"), tasks, stop);
        let targets = Targets::open(config.state_dir.join("targets.json"));
        let foreground = lifter.jobs.foreground().clone();
        let (learnt, wake, lifting) = (Mutex::default(), Notify::new(), tokio::sync::Mutex::default());
        let present = Present::default();
        let shared = Shared {
            config,
            lifter,
            ladder,
            supervisor,
            foreground,
            history,
            targets,
            learnt,
            wake,
            lifting,
            present,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Says that something has changed that a plan goes by. Never blocks.
    pub fn wake(&self) {
        self.shared.wake.notify_one();
    }

    /// Tells what is done right now. Never blocks.
    pub fn present(&self) -> Option<IdleStep> {
        self.shared.present.told()
    }

    /// Takes note that a version was asked for by this name. Never blocks; must be called within a runtime.
    pub fn note(&self, version: &VersionId, target: &Target) {
        if !self.shared.history.note(version.clone(), now()) {
            return;
        }
        let (shared, version, target) = (Arc::clone(&self.shared), version.clone(), target.clone());
        // Nobody waits for it: what gets lost is noted by the next request.
        drop(tokio::task::spawn_blocking(move || {
            let is_listed = shared.config.versions_dir.join(format!("{version}.json")).is_file();
            if shared.targets.name(&version, &target, is_listed) {
                shared.targets.keep();
            }
            shared.wake.notify_one();
        }));
    }

    /// Tells what would be done: for the versions that `asked` names, else for those that are likely. Lifts
    /// nothing.
    ///
    /// # Errors
    /// A version that is asked for has no sound spec.
    pub async fn plan(&self, asked: &[Target]) -> Result<PrefetchPlan, Error> {
        self.check(asked)?;
        let (all, decision) = self.decide(asked).await;
        let mut is_known = true;
        for candidate in all.iter().filter(|candidate| !asked.is_empty() && candidate.row.bytes.is_none()) {
            // Hosts are asked for those that people ask for. A version that cannot be weighed says so when it is lifted.
            if let Ok(bytes) = self.shared.lifter.weigh(&Ctx::new(), &candidate.target).await {
                self.learnt().weighed(&candidate.home, bytes);
                is_known = false;
            }
        }
        Ok(if is_known { decision.plan } else { self.decide(asked).await.1.plan })
    }

    /// Does now what [`Self::plan`] tells, in the background. What cannot be done is told for each version.
    /// Cancel-safe: what is half done is gone on with later.
    ///
    /// # Errors
    /// As those of [`Self::plan`].
    pub async fn pass(&self, ctx: &Ctx, asked: &[Target]) -> Result<PrefetchAnswer, Error> {
        self.check(asked)?;
        for target in asked {
            let home = self.shared.lifter.starter.load(target)?.1.root;
            self.learnt().forgive(&home);
        }
        let ctx = Ctx { standing: self.shared.foreground.standing(true), ..ctx.clone() };
        let plan = self.decide(asked).await.1.plan;
        let done = Box::pin(self.steps(&ctx, asked)).await;
        if ctx.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        Ok(PrefetchAnswer { plan, done })
    }

    /// Lifts by itself until `stop` is cancelled. `news` are specs that are new or were edited.
    pub async fn run(self, news: mpsc::Receiver<News>, stop: CancellationToken) {
        let ctx = Ctx { cancel: stop.child_token(), ..Ctx::new() };
        let live = async { tokio::join!(self.live(&ctx, news), self.relieve()) };
        stop.run_until_cancelled(live).await;
    }

    async fn live(&self, ctx: &Ctx, mut news: mpsc::Receiver<News>) -> Infallible {
        let Shared { config, foreground, .. } = &*self.shared;
        loop {
            foreground.quiet(config.prefetch.after).await;
            while let Ok(one) = news.try_recv() {
                self.hear(one);
            }
            let ctx = Ctx { standing: foreground.standing(true), ..ctx.clone() };
            Box::pin(self.steps(&ctx, &[])).await;
            let next = self.learnt().next_try().map_or(LOOK_EVERY, |at| at - Instant::now());
            tokio::select! {
                () = self.shared.wake.notified() => (),
                () = foreground.ended() => (),
                Some(one) = news.recv() => self.hear(one),
                () = tokio::time::sleep(next.min(LOOK_EVERY)) => (),
            }
        }
    }

    fn hear(&self, news: News) {
        tracing::info!(version = %news.version_id, "its spec is new or was edited");
        let target = self.shared.targets.of(&news.version_id);
        let home = self.shared.lifter.starter.load(&target).map(|(_, home)| home.root);
        let mut learnt = self.learnt();
        if let Ok(home) = home {
            learnt.forgive(&home);
        }
        learnt.news.insert(news.version_id.clone(), news);
    }

    /// Looks at what may be lifted, and plans.
    async fn decide(&self, asked: &[Target]) -> (Vec<Candidate>, Decision) {
        let (shared, asked) = (Arc::clone(&self.shared), asked.to_vec());
        let decide = move || {
            let places =
                Places { ladder: &shared.ladder, targets: &shared.targets, supervisor: &shared.supervisor };
            let history = shared.history.snapshot();
            let mut learnt = shared.learnt.lock().unwrap_or_else(PoisonError::into_inner);
            let all = candidates(&places, &mut learnt, &history, now(), &asked);
            drop(learnt);
            let rows: Vec<_> = all.iter().map(|candidate| candidate.row.clone()).collect();
            let decision = plan(&rows, shared.budgets(&all, !asked.is_empty()), shared.idle());
            shared.ladder.keep_reasons(&decision.plan);
            (all, decision)
        };
        // A look that crashed found nothing.
        tokio::task::spawn_blocking(decide).await.unwrap_or_else(|error| {
            tracing::error!(%error, "planning crashed");
            (Vec::new(), plan(&[], Budgets::default(), None))
        })
    }

    /// Gives memory back where others need it, the least likely first.
    async fn relieve(&self) -> Infallible {
        loop {
            tokio::time::sleep(PRESSURE_EVERY).await;
            let zygotes = self.zygotes();
            if zygotes.is_empty() || !Memory::look().is_some_and(Memory::is_short) {
                continue;
            }
            let (all, _) = self.decide(&[]).await;
            let of = |home: &PathBuf| all.iter().find(|candidate| candidate.home == *home);
            let worth = |home: &PathBuf| of(home).map_or(0.0, |candidate| candidate.row.probability);
            if let Some(home) = zygotes.into_iter().min_by(|a, b| worth(a).total_cmp(&worth(b))) {
                tracing::info!(home = %home.display(), "its zygote is ended: memory is needed");
                self.learnt().lifted(&home, Err("memory is needed".to_owned()));
                self.shared.supervisor.unprime(&home).await;
            }
        }
    }

    fn zygotes(&self) -> Vec<PathBuf> {
        self.shared.supervisor.zygotes().into_iter().map(|zygote| zygote.home).collect()
    }

    fn check(&self, asked: &[Target]) -> Result<(), Error> {
        asked.iter().try_for_each(|target| self.shared.lifter.starter.load(target).map(drop))
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        // What a panic leaves half noted costs a lift at most.
        self.shared.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Returns the budgets, and what of them is used. Who asks for versions by name means it: then it goes as
    /// far as usual where idle time lifts nothing by itself. Blocks shortly.
    fn budgets(&self, all: &[Candidate], is_asked: bool) -> Budgets {
        let limits = &self.config.prefetch;
        let memory = Memory::look();
        let zygotes = all.iter().filter_map(|candidate| candidate.row.standing.zygote.as_ref());
        let disk = space(&self.config.homes).ok();
        Budgets {
            rung: limits.until.or(is_asked.then_some(Rung::Primed)),
            warm: limits.warm,
            warm_used: zygotes.clone().count(),
            memory_bytes: memory.map_or(0, |memory| limits.memory.of(memory.total)),
            memory_used_bytes: zygotes.map(|zygote| zygote.pss_bytes).sum(),
            disk_reserve_bytes: limits.reserve(disk.map_or(0, |disk| disk.total_bytes)),
            disk_free_bytes: disk.map(|disk| disk.available_bytes),
            rate_bytes: limits.rate,
        }
    }

    fn idle(&self) -> Option<String> {
        match () {
            () if self.config.prefetch.until.is_none() => Some("COMFYD_PREFETCH is `off`".to_owned()),
            () if self.foreground.is_busy() => Some("other work is under way".to_owned()),
            () => None,
        }
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
