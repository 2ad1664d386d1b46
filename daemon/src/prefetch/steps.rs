//! The steps of idle time: which there are by a plan, and how each is done.

use super::lift::LiftError;
use super::plan::Decision;
use super::table::Candidate;
use super::{Prefetch, Shared};
use crate::ctx::{Ctx, millis};
use crate::error::chain;
use proto::method::{DoneLift, Target};
use proto::plan::Problem;
use proto::{ErrorKind, Rung, VersionId};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// One thing to do.
#[derive(Debug)]
enum Step {
    /// Ends a zygote.
    Unprime(PathBuf),
    /// Lifts a version.
    Lift(Candidate, Rung),
    /// Has a zygote wait for a version that runs.
    Prime(Candidate),
    /// Packs the files of a recorded start.
    Pack(PathBuf),
}

impl Prefetch {
    /// Does all that is to be done, a step at a time, each by a new plan.
    pub(super) async fn steps(&self, ctx: &Ctx, asked: &[Target]) -> Vec<DoneLift> {
        let mut done = Vec::new();
        // A step that is done and wished again has not come to what it should: it waits for the next pass.
        let mut seen = HashSet::new();
        while !ctx.cancel.is_cancelled() {
            let _lifting = self.shared.lifting.lock().await;
            if asked.is_empty() {
                // Between two steps others may have begun: idle time begins anew after them.
                if self.shared.foreground.is_busy() {
                    self.shared.foreground.quiet(self.shared.config.prefetch.after).await;
                }
            }
            let (all, decision) = self.decide(asked).await;
            self.settle(&all);
            let steps = self.to_do(all, &decision);
            let Some(step) = steps.into_iter().find(|step| seen.insert(step.name())) else { break };
            done.extend(self.step(ctx, step).await);
        }
        done
    }

    async fn step(&self, ctx: &Ctx, step: Step) -> Option<DoneLift> {
        let Shared { lifter, supervisor, present, .. } = &*self.shared;
        let began = Instant::now();
        let _doing = present.begin(step.version(), step.place(), step.words());
        let (candidate, from, result) = match step {
            Step::Unprime(home) => {
                supervisor.unprime(&home).await;
                return None;
            }
            Step::Pack(dir) => {
                lifter.pack(ctx, &dir).await;
                self.learnt().packed.insert(dir);
                return None;
            }
            Step::Prime(candidate) => {
                let primed = lifter.prime(ctx, &candidate.target).await;
                (candidate, Rung::Running, primed)
            }
            Step::Lift(candidate, to) => {
                let from = candidate.row.standing.rung;
                tracing::info!(version = %candidate.row.version_id, %from, %to, why = candidate.row.why, "lifting");
                let lifted = lifter.lift(ctx, &candidate.target, (from, to)).await;
                (candidate, from, lifted)
            }
        };
        let told = self.learn(&candidate, result, began)?;
        let stands = self.stands(&candidate).await;
        Some(DoneLift {
            version_id: candidate.row.version_id.clone(),
            home: candidate.row.home.clone(),
            from,
            to: stands,
            took_ms: millis(began.elapsed()),
            problem: told,
        })
    }

    /// Notes how a lift ended. Returns its problem, if it had one; nothing when it was cancelled.
    #[allow(clippy::option_option, reason = "what ended, and how")]
    fn learn(
        &self,
        candidate: &Candidate,
        result: Result<(), LiftError>,
        began: Instant,
    ) -> Option<Option<Problem>> {
        let mut learnt = self.learnt();
        match result {
            Ok(()) => {
                learnt.lifted(&candidate.home, Ok(began.elapsed()));
                Some(None)
            }
            Err(error) if error.kind() == ErrorKind::Cancelled => None,
            Err(error) => {
                if let LiftError::Disk { needed, .. } = error {
                    learnt.weighed(&candidate.home, needed);
                }
                let text = chain(&error);
                tracing::warn!(version = %candidate.row.version_id, error = text, "not lifted as far as planned");
                learnt.lifted(&candidate.home, Err(text.clone()));
                Some(Some(Problem { kind: error.kind(), message: text, hint: error.hint() }))
            }
        }
    }

    /// What there is to do, in order: memory is given back first, and packing waits for all else.
    fn to_do(&self, all: Vec<Candidate>, decision: &Decision) -> Vec<Step> {
        let Decision { plan, zygotes } = decision;
        let has = |candidate: &Candidate| candidate.row.standing.zygote.is_some();
        let gets = |candidate: &Candidate| zygotes.contains(&candidate.row.home);
        let ended = all.iter().filter(|candidate| has(candidate) && !gets(candidate));
        let mut steps: Vec<Step> = ended.map(|candidate| Step::Unprime(candidate.home.clone())).collect();
        for lift in &plan.lifts {
            let Some(candidate) = all.iter().find(|candidate| candidate.row.home == lift.home) else {
                continue;
            };
            if lift.to > lift.from {
                steps.push(Step::Lift(candidate.clone(), lift.to));
            } else if lift.from == Rung::Running && gets(candidate) && !has(candidate) {
                // Else a crash of it is a start from the beginning; without a record it cannot be had.
                steps.extend(candidate.recorded.is_some().then(|| Step::Prime(candidate.clone())));
            }
        }
        let learnt = self.learnt();
        let recorded = all.into_iter().filter_map(|candidate| candidate.recorded);
        steps.extend(recorded.filter(|dir| !learnt.packed.contains(dir)).map(Step::Pack));
        steps
    }

    /// News of versions that are fetched by now are none any more.
    fn settle(&self, all: &[Candidate]) {
        let mut learnt = self.learnt();
        let here = all.iter().filter(|candidate| candidate.row.standing.rung >= Rung::Fetched);
        for candidate in here {
            if let Some(news) = learnt.news.remove(&candidate.row.version_id) {
                news.settle();
            }
        }
    }

    async fn stands(&self, candidate: &Candidate) -> Rung {
        let (ladder, target) = (self.shared.ladder.clone(), candidate.target.clone());
        let looked = tokio::task::spawn_blocking(move || ladder.look(&target)).await;
        looked.ok().and_then(Result::ok).map_or(Rung::Unknown, |known| known.standing.rung)
    }
}

impl Step {
    fn version(&self) -> Option<&VersionId> {
        match self {
            Self::Lift(candidate, _) | Self::Prime(candidate) => Some(&candidate.row.version_id),
            Self::Unprime(_) | Self::Pack(_) => None,
        }
    }

    fn place(&self) -> &Path {
        match self {
            Self::Lift(candidate, _) | Self::Prime(candidate) => &candidate.home,
            Self::Unprime(dir) | Self::Pack(dir) => dir,
        }
    }

    /// Says what is done, for people.
    fn words(&self) -> String {
        match self {
            Self::Lift(candidate, to) => format!("lifts it from {} to {to}", candidate.row.standing.rung),
            Self::Prime(_) => "makes a zygote for it".to_owned(),
            Self::Unprime(_) => "ends its zygote".to_owned(),
            Self::Pack(_) => "packs the files of its start".to_owned(),
        }
    }

    /// Tells steps apart.
    fn name(&self) -> (PathBuf, Option<Rung>, u8) {
        match self {
            Self::Unprime(home) => (home.clone(), None, 0),
            Self::Lift(candidate, to) => (candidate.home.clone(), Some(*to), 1),
            Self::Prime(candidate) => (candidate.home.clone(), None, 2),
            Self::Pack(dir) => (dir.clone(), None, 3),
        }
    }
}
