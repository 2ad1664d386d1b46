//! What idle time is to do: a pure function of where versions stand, how likely they are, and the budgets.
//!
//! Each version has a wish: the rung of its pin, `fetched` for one whose spec is new or was edited, and for
//! one that is likely to be asked for as far as idle time goes. Files are lifted for all that are wished, the
//! likeliest first. Memory is scarce: of those that are to be primed, pinned ones get it first, then those that
//! save the most waiting for each byte, `probability × seconds saved ÷ bytes`. One that has it keeps it until
//! another is clearly better, so that two equal ones do not take turns. Whatever is not lifted as far as it is
//! wished says what holds it back.

use crate::realize::plan::figure;
use proto::method::{Budgets, Cost, PlannedLift, PrefetchPlan, Standing};
use proto::{Rung, VersionId};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// Versions that are less likely are left as they are.
const WORTH_IT: f64 = 0.02;

/// A version has to be this many times better to take the memory of another.
const CLEARLY: f64 = 1.5;

/// One version, as far as a plan needs to know it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The version.
    pub version_id: VersionId,
    /// Its home.
    pub home: String,
    /// Where it stands; its pin is here too.
    pub standing: Standing,
    /// Why it is news, where its spec is new or was edited since it was asked for last.
    pub news: Option<String>,
    /// How likely it is to be asked for next, from 0 to 1.
    pub probability: f64,
    /// Why it is that likely.
    pub why: String,
    /// Bytes that fetching it takes, where that was asked for.
    pub bytes: Option<u64>,
    /// Memory that its zygote takes or will take, in bytes.
    pub memory_bytes: u64,
    /// Seconds that a start is quicker when it is primed.
    pub saves: f64,
    /// Seconds that lifting it took or is believed to take.
    pub seconds: Option<u64>,
    /// A rung that it must not be lifted beyond, and why.
    pub ceiling: Option<(Rung, String)>,
    /// Why it cannot have a zygote, where that is known.
    pub unprimable: Option<String>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// As people see it.
    pub plan: PrefetchPlan,
    /// The homes that are to have a zygote; those of running versions, which are back sooner with one, too.
    pub zygotes: BTreeSet<String>,
}

/// Makes the plan. `budgets` says what is used; `idle`, why nothing is done by itself at present.
pub fn plan(rows: &[Row], budgets: Budgets, idle: Option<String>) -> Decision {
    let mut wishes: Vec<Wish<'_>> = rows.iter().filter_map(|row| Wish::of(row, &budgets)).collect();
    wishes.sort_by(Wish::order);
    let zygotes = share_memory(&mut wishes, &budgets);
    let zygotes = zygotes.into_iter().map(|at| wishes[at].row.home.clone()).collect();
    let mut lifts: Vec<PlannedLift> = wishes.into_iter().map(Wish::lift).collect();
    // First what gives memory back.
    lifts.sort_by_key(|lift| lift.to >= lift.from);
    Decision { plan: PrefetchPlan { lifts, budgets, idle }, zygotes }
}

/// How far a version is wished to be, and how far it may go.
struct Wish<'a> {
    row: &'a Row,
    to: Rung,
    why: String,
    held_back: Option<String>,
}

impl<'a> Wish<'a> {
    /// Returns the wish of a version; none when nothing is wished of it and nothing is to be taken from it.
    fn of(row: &'a Row, budgets: &Budgets) -> Option<Self> {
        let most = budgets.rung.unwrap_or_default();
        let likely = (row.probability >= WORTH_IT).then(|| (most, row.why.clone()));
        let news = row.news.clone().map(|why| (Rung::Fetched, why));
        let pin = row.standing.pinned.map(|rung| (rung, "pinned".to_owned()));
        let wished = [pin, news, likely].into_iter().flatten();
        // The earlier of two that are equal: who pinned it knows why.
        let wished = wished.reduce(|first, next| if next.0 > first.0 { next } else { first });
        let is_primed = row.standing.zygote.is_some();
        let (wish, why) = match wished {
            Some(wished) => wished,
            None if is_primed => (Rung::Realized, "it is not likely to be asked for".to_owned()),
            None => return None,
        };
        let mut to = wish;
        let mut held_back = None;
        let mut hold = |rung: Rung, why: String| {
            if to > rung {
                (to, held_back) = (rung, Some(why));
            }
        };
        if wish > most {
            let no_more = format!("COMFYD_PREFETCH allows no more than `{most}`");
            hold(most, budgets.rung.map_or_else(|| "COMFYD_PREFETCH is `off`".to_owned(), |_| no_more));
        }
        if let Some((rung, why)) = &row.ceiling {
            hold(*rung, why.clone());
        }
        if let Some(why) = row.unprimable.as_ref().filter(|_| wish == Rung::Primed) {
            hold(Rung::Realized, why.clone());
        }
        Some(Self { row, to, why, held_back })
    }

    fn class(&self) -> u8 {
        match self.row {
            row if row.standing.pinned.is_some() => 0,
            row if row.news.is_some() => 1,
            _ => 2,
        }
    }

    fn order(&self, other: &Self) -> Ordering {
        let by_probability = other.row.probability.total_cmp(&self.row.probability);
        self.class().cmp(&other.class()).then(by_probability)
    }

    fn has_zygote(&self) -> bool {
        self.row.standing.zygote.is_some()
    }

    /// Seconds of waiting that a byte of its memory saves, as is to be expected.
    fn worth(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "only compared")]
        let bytes = self.row.memory_bytes.max(1) as f64;
        let worth = self.row.probability * self.row.saves / bytes;
        if self.has_zygote() { worth * CLEARLY } else { worth }
    }

    fn lift(self) -> PlannedLift {
        let row = self.row;
        let from = row.standing.rung;
        // One that runs may keep its zygote: it is told by its running.
        let ends = self.has_zygote() && self.to < Rung::Primed;
        let to = if ends { self.to.max(Rung::Realized) } else { self.to.max(from) };
        let to = if ends && from < to { from } else { to };
        let fetches = from < Rung::Fetched && to >= Rung::Fetched;
        let primes = to == Rung::Primed;
        let cost = Cost {
            bytes: if fetches { row.bytes } else { Some(0) },
            memory_bytes: Some(if primes { row.memory_bytes } else { 0 }),
            seconds: if to > from { row.seconds } else { Some(0) },
        };
        PlannedLift {
            version_id: row.version_id.clone(),
            home: row.home.clone(),
            from,
            to,
            probability: row.probability,
            why: self.why,
            cost,
            held_back: self.held_back.filter(|_| to < Rung::Running),
        }
    }
}

/// Gives memory to those whose wish is to be primed, and lets the others stop below. Returns who got it.
fn share_memory(wishes: &mut [Wish<'_>], budgets: &Budgets) -> BTreeSet<usize> {
    let mut wanting: Vec<usize> = (0..wishes.len()).filter(|at| wishes[*at].to >= Rung::Primed).collect();
    wanting.sort_by(|a, b| {
        let (a, b) = (&wishes[*a], &wishes[*b]);
        let pinned = |wish: &Wish<'_>| wish.row.standing.pinned.is_some_and(|rung| rung >= Rung::Primed);
        pinned(b).cmp(&pinned(a)).then(b.worth().total_cmp(&a.worth()))
    });
    let (mut left, mut memory, mut chosen) = (budgets.warm, budgets.memory_bytes, BTreeSet::new());
    for at in wanting.iter().copied() {
        let wish = &mut wishes[at];
        let needs = wish.row.memory_bytes;
        let held_back = if left == 0 {
            format!("{} are primed at a time (COMFYD_PREFETCH_WARM), and others are likelier", budgets.warm)
        } else if memory < needs {
            format!(
                "its zygote needs {}, and {} of COMFYD_PREFETCH_MEMORY are left",
                figure(needs),
                figure(memory)
            )
        } else {
            left -= 1;
            memory -= needs;
            chosen.insert(at);
            continue;
        };
        (wish.to, wish.held_back) = (Rung::Realized, Some(held_back));
    }
    // Only the first of them may run: another would take its GPU.
    for at in wanting.into_iter().filter(|at| chosen.contains(at)).skip(1) {
        let wish = &mut wishes[at];
        if wish.to == Rung::Running {
            (wish.to, wish.held_back) =
                (Rung::Primed, Some("idle time has one version run at a time".to_owned()));
        }
    }
    chosen
}

#[cfg(test)]
mod tests;
