//! Samples of the warmth ladder's messages.

use crate::golden::{Golden, golden};
use crate::sample_values::{id, target};
use proto::method::*;
use proto::plan::Problem;
use proto::{ErrorKind, Rung};

/// The verbs of idle time, and the ladder's own values.
pub(crate) fn all() -> Vec<Golden> {
    let pin_answer = PinAnswer {
        version_id: id(),
        home: "/volume/comfy-wan22".to_owned(),
        rung: Some(Rung::Primed),
        before: Some(Rung::Fetched),
        warnings: vec!["`COMFYD_PREFETCH` is `off`".to_owned()],
    };
    let pin_info = PinInfo {
        version_id: id(),
        home: "/volume/comfy-wan22".to_owned(),
        rung: Rung::Primed,
        by_environment: true,
    };
    vec![
        golden("prefetch", &Prefetch { targets: vec![target()], plan: true }),
        golden("prefetch_answer", &PrefetchAnswer { plan: plan(), done: vec![done()] }),
        golden("pin", &Pin { target: target(), rung: Rung::Primed }),
        golden("pin_answer", &pin_answer),
        golden("unpin", &Unpin { target: target() }),
        golden("pins", &Pins {}),
        golden("pins_answer", &PinsAnswer { pins: vec![pin_info] }),
        golden("rungs", &Rung::ALL.to_vec()),
    ]
}

fn plan() -> PrefetchPlan {
    let lift = PlannedLift {
        version_id: id(),
        home: "/volume/comfy-wan22".to_owned(),
        from: Rung::Resolved,
        to: Rung::Realized,
        probability: 0.25,
        why: "asked for 12 times today".to_owned(),
        cost: Cost { bytes: Some(10 << 30), memory_bytes: Some(145 << 20), seconds: Some(480) },
        held_back: Some("memory is short: 1.00 GiB more is needed".to_owned()),
    };
    let budgets = Budgets {
        rung: Some(Rung::Primed),
        warm: 2,
        warm_used: 1,
        memory_bytes: 16 << 30,
        memory_used_bytes: 1 << 30,
        disk_reserve_bytes: 20 << 30,
        disk_free_bytes: Some(300 << 30),
        rate_bytes: Some(50 << 20),
    };
    PrefetchPlan { lifts: vec![lift], budgets, idle: Some("others work".to_owned()) }
}

fn done() -> DoneLift {
    DoneLift {
        version_id: id(),
        home: "/volume/comfy-wan22".to_owned(),
        from: Rung::Resolved,
        to: Rung::Fetched,
        took_ms: 480_000,
        problem: Some(Problem {
            kind: ErrorKind::Network,
            message: "failed to fetch `https://h.example/a.safetensors`".to_owned(),
            hint: Some("try again".to_owned()),
        }),
    }
}

pub(crate) fn standing() -> Standing {
    Standing {
        rung: Rung::Primed,
        why: "nobody asked for it yet".to_owned(),
        pinned: Some(Rung::Primed),
        zygote: Some(Zygote { pid: 78, pss_bytes: 300 << 20, for_ms: 61_000 }),
    }
}

pub(crate) fn idle_step() -> IdleStep {
    IdleStep {
        version_id: Some(id()),
        home: "/volume/comfy-wan22".to_owned(),
        what: "lifts it from resolved to fetched".to_owned(),
        for_ms: 12_000,
    }
}
