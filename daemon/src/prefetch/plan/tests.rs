//! Tables and what is to be done about them.

use super::*;
use proto::method::Zygote;

const GB: u64 = 1_000_000_000;

fn row(id: &str, rung: Rung, probability: f64) -> Row {
    let standing = Standing { rung, ..Standing::default() };
    Row {
        version_id: VersionId::new(id).unwrap(),
        home: format!("/v/{id}"),
        standing: if rung == Rung::Primed { primed(standing) } else { standing },
        news: None,
        probability,
        why: "asked for".to_owned(),
        bytes: Some(7),
        memory_bytes: GB,
        saves: 10.0,
        seconds: None,
        ceiling: None,
        unprimable: None,
    }
}

fn primed(standing: Standing) -> Standing {
    Standing { zygote: Some(Zygote { pid: 7, pss_bytes: GB, for_ms: 1 }), ..standing }
}

fn pinned(id: &str, rung: Rung, to: Rung) -> Row {
    let row = row(id, rung, 0.0);
    Row { standing: Standing { pinned: Some(to), ..row.standing.clone() }, ..row }
}

fn budgets(rung: Rung, warm: usize, memory: u64) -> Budgets {
    Budgets { rung: Some(rung), warm, memory_bytes: memory, ..Budgets::default() }
}

/// Returns what is planned, as `id: from -> to`, and what holds each back.
fn planned(rows: &[Row], budgets: Budgets) -> (Vec<String>, Vec<Option<String>>) {
    let plan = plan(rows, budgets, None).plan;
    let lifts = plan.lifts.iter();
    (
        lifts.clone().map(|lift| format!("{}: {} -> {}", lift.version_id, lift.from, lift.to)).collect(),
        lifts.map(|lift| lift.held_back.clone()).collect(),
    )
}

#[test]
fn the_likeliest_are_primed_and_the_others_say_what_holds_them_back() {
    let rows = [
        row("a", Rung::Unknown, 0.2),
        row("b", Rung::Realized, 0.5),
        row("c", Rung::Fetched, 0.29),
        row("d", Rung::Fetched, 0.01),
    ];
    let (lifts, held) = planned(&rows, budgets(Rung::Primed, 2, 8 * GB));
    assert_eq!(lifts, ["b: realized -> primed", "c: fetched -> primed", "a: unknown -> realized"]);
    assert_eq!(held[..2], [None, None]);
    assert!(held[2].as_ref().unwrap().contains("COMFYD_PREFETCH_WARM"), "{held:?}");
    let (_, held) = planned(&rows, budgets(Rung::Primed, 4, 2 * GB));
    assert!(held[2].as_ref().unwrap().contains("1.0 GB, and 0.0 MB of COMFYD_PREFETCH_MEMORY"), "{held:?}");
}

#[test]
fn pinned_ones_come_first_then_news_then_likely_ones() {
    let mut news = row("n", Rung::Unknown, 0.0);
    news.news = Some("its spec changed".to_owned());
    let rows = [row("a", Rung::Unknown, 0.9), news, pinned("p", Rung::Unknown, Rung::Primed)];
    let (lifts, held) = planned(&rows, budgets(Rung::Primed, 1, GB));
    assert_eq!(lifts, ["p: unknown -> primed", "n: unknown -> fetched", "a: unknown -> realized"]);
    assert_eq!((held[0].clone(), held[1].clone()), (None, None));
    assert!(held[2].is_some());
}

#[test]
fn nothing_goes_beyond_what_is_allowed() {
    let rows = [pinned("p", Rung::Unknown, Rung::Primed)];
    let (lifts, held) = planned(&rows, budgets(Rung::Fetched, 2, GB));
    assert_eq!(lifts, ["p: unknown -> fetched"]);
    assert!(held[0].as_ref().unwrap().contains("COMFYD_PREFETCH"));
    let mut barred = row("a", Rung::Unknown, 0.9);
    barred.ceiling = Some((Rung::Fetched, "another generation is current".to_owned()));
    let (lifts, held) = planned(&[barred], budgets(Rung::Primed, 2, GB));
    assert_eq!(
        (lifts[0].as_str(), held[0].as_deref()),
        ("a: unknown -> fetched", Some("another generation is current"))
    );
    assert_eq!(plan(&rows, Budgets::default(), None).plan.lifts[0].to, Rung::Unknown, "off is off");
}

#[test]
fn memory_is_taken_from_one_only_for_a_clearly_better_one() {
    let one = |other: f64| {
        let rows = [row("a", Rung::Primed, 0.4), row("b", Rung::Realized, other)];
        planned(&rows, budgets(Rung::Primed, 1, GB)).0
    };
    assert_eq!(one(0.5), ["b: realized -> realized", "a: primed -> primed"]);
    assert_eq!(one(0.61), ["a: primed -> realized", "b: realized -> primed"]);
}

#[test]
fn the_zygote_of_one_that_nobody_asks_for_is_ended_and_a_running_one_keeps_running() {
    let (lifts, _) = planned(&[row("a", Rung::Primed, 0.0)], budgets(Rung::Primed, 2, GB));
    assert_eq!(lifts, ["a: primed -> realized"]);
    let mut running = row("a", Rung::Running, 0.0);
    running.standing = primed(running.standing);
    let (lifts, _) = planned(&[running], budgets(Rung::Primed, 2, GB));
    assert_eq!(lifts, ["a: running -> realized"], "its zygote is ended");
    let (lifts, _) = planned(&[row("a", Rung::Running, 0.9)], budgets(Rung::Primed, 2, GB));
    assert_eq!(lifts, ["a: running -> running"]);
}

#[test]
fn one_that_runs_gets_a_zygote_and_one_that_was_never_started_gets_none() {
    let mut fresh = row("f", Rung::Realized, 0.5);
    fresh.unprimable = Some("no start of it was recorded yet".to_owned());
    let rows = [row("r", Rung::Running, 0.4), fresh];
    let decision = plan(&rows, budgets(Rung::Primed, 1, GB), None);
    assert_eq!(decision.zygotes, BTreeSet::from(["/v/r".to_owned()]));
    let lift = &decision.plan.lifts[0];
    assert_eq!(
        (lift.to, lift.held_back.as_deref()),
        (Rung::Realized, Some("no start of it was recorded yet"))
    );
}

#[test]
fn a_byte_goes_where_it_saves_the_most_waiting() {
    let mut large = row("l", Rung::Realized, 0.5);
    large.memory_bytes = 4 * GB;
    let rows = [large, row("a", Rung::Realized, 0.2), row("b", Rung::Realized, 0.15)];
    let (lifts, _) = planned(&rows, budgets(Rung::Primed, 9, 4 * GB));
    assert_eq!(lifts, ["l: realized -> realized", "a: realized -> primed", "b: realized -> primed"]);
}

#[test]
fn one_version_is_made_to_run_where_that_is_allowed() {
    let rows = [row("a", Rung::Realized, 0.6), row("b", Rung::Realized, 0.3)];
    let (lifts, held) = planned(&rows, budgets(Rung::Running, 2, 8 * GB));
    assert_eq!(lifts, ["a: realized -> running", "b: realized -> primed"]);
    assert!(held[1].is_some());
}
