//! The warmth ladder, for people: where versions stand, and what idle time would do about it.

use super::table::{columns, sentences};
use super::text::fold;
use super::units::{bytes, duration, millis};
use owo_colors::OwoColorize as _;
use proto::Rung;
use proto::method::{Budgets, Cost, DoneLift, PlannedLift, PrefetchPlan, Standing};
use std::time::Duration;

/// Says what more there is to a standing than its rung: its pin, why it is not higher, its zygote.
pub fn why(standing: &Standing) -> String {
    let pinned = standing.pinned.map(|rung| format!("pinned to {rung}"));
    let why = Some(standing.why.clone()).filter(|why| !why.is_empty());
    let zygote = standing.zygote.as_ref().map(|zygote| {
        format!("zygote: process {}, {}, for {}", zygote.pid, bytes(zygote.pss_bytes), millis(zygote.for_ms))
    });
    [pinned, why, zygote].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Renders what idle time would do: a version a line, then what it may use.
pub fn plan(plan: &PrefetchPlan) -> String {
    let mut text = String::new();
    if plan.lifts.is_empty() {
        text += "nothing to do\n";
    } else {
        let head = ["VERSION", "FROM", "TO", "LIKELY", "FETCH", "MEMORY", "TIME", "WHY"].map(str::to_owned);
        let rows: Vec<[String; 8]> = std::iter::once(head).chain(plan.lifts.iter().map(lift)).collect();
        text += &sentences("", &rows);
    }
    text += &format!("\n{}\n{}", "budgets".bold(), columns("  ", &budgets(&plan.budgets)));
    if let Some(idle) = &plan.idle {
        text += &format!("\n{}", fold("", &format!("nothing is done by itself: {idle}"), 2));
    }
    text
}

fn lift(lift: &PlannedLift) -> [String; 8] {
    let Cost { bytes: to_fetch, memory_bytes, seconds } = lift.cost;
    let amount = |amount: Option<u64>, shown: fn(u64) -> String| match amount {
        None => "?".to_owned(),
        Some(0) => "-".to_owned(),
        Some(some) => shown(some),
    };
    let why = match &lift.held_back {
        Some(held_back) if lift.why.is_empty() => format!("held back: {held_back}"),
        Some(held_back) => format!("{}; held back: {held_back}", lift.why),
        None => lift.why.clone(),
    };
    [
        lift.version_id.to_string(),
        lift.from.to_string(),
        if lift.to == lift.from { "-".to_owned() } else { lift.to.to_string() },
        format!("{:.0} %", lift.probability * 100.0),
        amount(to_fetch, bytes),
        amount(memory_bytes, bytes),
        amount(seconds, |seconds| duration(Duration::from_secs(seconds))),
        why,
    ]
}

fn budgets(budgets: &Budgets) -> Vec<[String; 2]> {
    let highest = budgets.rung.map_or("off", Rung::name);
    let disk = budgets.disk_free_bytes.map_or_else(|| "?".to_owned(), bytes);
    let rate = budgets.rate_bytes.map_or_else(|| "no limit".to_owned(), |rate| format!("{}/s", bytes(rate)));
    let rows = [
        ("highest rung", highest.to_owned()),
        ("warm versions", format!("{} of {}", budgets.warm_used, budgets.warm)),
        ("memory", format!("{} of {}", bytes(budgets.memory_used_bytes), bytes(budgets.memory_bytes))),
        ("disk", format!("{disk} free, {} of it to stay free", bytes(budgets.disk_reserve_bytes))),
        ("network", rate),
    ];
    rows.map(|(name, value)| [name.to_owned(), value]).to_vec()
}

/// Renders what came of lifts, a line each.
pub fn done(done: &[DoneLift]) -> String {
    let line = |lift: &DoneLift| {
        let DoneLift { version_id, from, to, took_ms, problem, .. } = lift;
        let way = if from == to { format!("stays {to}") } else { format!("{from} -> {to}") };
        let problem = problem.as_ref().map(|problem| format!(": {}", problem.message)).unwrap_or_default();
        fold("", &format!("{version_id} {way} ({}){problem}", millis(*took_ms)), 2)
    };
    done.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown() -> PrefetchPlan {
        serde_json::from_value(json!({
            "lifts": [
                {"version_id": "wan22", "home": "/v/comfy-wan22", "from": "resolved", "to": "realized",
                 "probability": 0.253, "why": "asked for 12 times today",
                 "cost": {"bytes": 10_737_418_240_u64, "seconds": 480},
                 "held_back": "memory is short"},
                {"version_id": "x", "home": "/v/comfy-x", "from": "fetched", "to": "fetched", "probability": 0.0,
                 "why": "", "cost": {"bytes": 0, "memory_bytes": 0, "seconds": 0}, "held_back": "it failed"}],
            "budgets": {"rung": "primed", "warm": 2, "warm_used": 1, "memory_bytes": 17_179_869_184_u64,
                        "memory_used_bytes": 152_043_520, "disk_reserve_bytes": 21_474_836_480_u64,
                        "disk_free_bytes": 107_374_182_400_u64},
            "idle": "others work"
        }))
        .unwrap()
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn a_plan_tells_how_far_why_and_what_it_takes() {
        let expected = "\
VERSION  FROM      TO        LIKELY  FETCH      MEMORY  TIME        WHY
wan22    resolved  realized  25 %    10.00 GiB  ?       8 min 00 s
    asked for 12 times today; held back: memory is short
x        fetched   -         0 %     -          -       -
    held back: it failed

budgets
  highest rung   primed
  warm versions  1 of 2
  memory         145.00 MiB of 16.00 GiB
  disk           100.00 GiB free, 20.00 GiB of it to stay free
  network        no limit

nothing is done by itself: others work
";
        assert_eq!(plain(&plan(&shown())), expected);
        let empty = PrefetchPlan::default();
        assert!(plan(&empty).starts_with("nothing to do\n"), "{}", plan(&empty));
        assert!(plan(&empty).contains("highest rung   off"), "{}", plan(&empty));
    }

    #[test]
    fn what_came_of_a_lift_is_one_line() {
        let lifts: Vec<DoneLift> = serde_json::from_value(json!([
            {"version_id": "a", "home": "/h", "from": "unknown", "to": "fetched", "took_ms": 480_000},
            {"version_id": "b", "home": "/h", "from": "resolved", "to": "resolved", "took_ms": 1200,
             "problem": {"kind": "network", "message": "`h.example` does not answer"}}]))
        .unwrap();
        let expected = "\
a unknown -> fetched (8 min 00 s)
b stays resolved (1.2 s): `h.example` does not answer
";
        assert_eq!(done(&lifts), expected);
    }

    #[test]
    fn a_standing_says_its_pin_its_reason_and_its_zygote() {
        let standing: Standing = serde_json::from_value(json!({
            "rung": "primed", "why": "nobody asked for its ComfyUI", "pinned": "primed",
            "zygote": {"pid": 7, "pss_bytes": 314_572_800, "for_ms": 61_000}}))
        .unwrap();
        let expected =
            "pinned to primed; nobody asked for its ComfyUI; zygote: process 7, 300.00 MiB, for 1 min 01 s";
        assert_eq!(why(&standing), expected);
        assert_eq!(why(&Standing { rung: Rung::Running, ..Standing::default() }), "");
    }
}
