//! `doctor`: whether this machine is fit for what comfyd does on it, and what to do where it is not.
//!
//! Each family of looks is a file: `look` gathers facts within a limit of its own, and a pure `judge` makes findings
//! of them. All go on side by side, but for the trials of the volume, which come last and alone: what others read
//! meanwhile would be timed with them. Nothing is left behind: what trials write has a staging name
//! (`store::commit`), goes with them, and is swept if the daemon is killed meanwhile.
//!
//! ```text
//! versions  specs and locks        hosts    tokens, the clock       machine     files, memory, PID 1
//! volume    what the homes lie on  tools    git, uv, Python         neighbours  other daemons
//! disk      what is free           gpu      driver against torch    trial       locks, links, speed
//! ```

mod cuda;
mod disk;
mod gpu;
mod hosts;
mod machine;
mod neighbours;
mod speed;
mod tools;
mod trial;
mod versions;
mod volume;

use crate::ctx::{Ctx, blocking};
use crate::source::Sources;
use crate::supervise::Supervisor;
use proto::method::{Doctor, Finding};
use std::sync::Arc;
use std::time::Duration;

/// How long one family may look.
const LOOK: Duration = Duration::from_secs(5);

/// How long the tools may take to answer: Pythons are asked one by one, and one that is a shim takes seconds.
const TOOLS: Duration = Duration::from_secs(15);

/// How long the trials of the volume may take in all. Each of them ends by itself much sooner.
const TRIALS: Duration = Duration::from_secs(20);

/// Looks at everything. Takes seconds; cancelling `ctx` ends it, and what was found until then is returned.
pub async fn examine(ctx: &Ctx, sources: &Sources, supervisor: &Supervisor, params: &Doctor) -> Vec<Finding> {
    ctx.progress.phase("looking at the machine");
    let config = &sources.config;
    let on_disk = |look: fn(&crate::config::Config) -> Vec<Finding>| {
        let config = Arc::clone(config);
        async move { blocking(move || look(&config)).await }
    };
    let locks = blocking({
        let config = Arc::clone(config);
        move || versions::locks(&config)
    });
    let locks = within(ctx, LOOK, locks).await.unwrap_or_default();
    let (versions, volume, disk, hosts, tools, gpu, machine, neighbours) = tokio::join!(
        within(ctx, LOOK, versions::look(config, params.cwd.clone())),
        within(ctx, LOOK, on_disk(volume::look)),
        within(ctx, LOOK, on_disk(disk::look)),
        hosts::look(ctx, &sources.http, config.offline),
        within(ctx, TOOLS, tools::look(ctx, config, &locks)),
        within(ctx, LOOK, gpu::look(supervisor, &locks)),
        within(ctx, LOOK, machine::look(ctx, config)),
        within(ctx, LOOK, on_disk(neighbours::look)),
    );
    let mut python = None;
    let tools = tools.map(|tools| {
        python = tools.python;
        tools.findings
    });
    ctx.progress.phase("trying the volume");
    let trials = trial::look(ctx, config, python, params.quick);
    let trials = match tokio::time::timeout(TRIALS, trials).await {
        Ok(tried) => Some(speed::judge(&tried, config.shadow_budget > 0)),
        Err(_) => None,
    };
    let families = [
        ("versions", LOOK, versions),
        ("volume", LOOK, volume),
        ("volume", TRIALS, trials),
        ("disk", LOOK, disk),
        ("machine", LOOK, machine),
        ("hosts", LOOK, Some(hosts)),
        ("tools", TOOLS, tools),
        ("GPU", LOOK, gpu),
        ("daemons", LOOK, neighbours),
    ];
    let told = families
        .into_iter()
        .flat_map(|(subject, limit, found)| found.unwrap_or_else(|| vec![overdue(subject, limit)]));
    told.collect()
}

/// Waits for a look. None when it takes too long, or nobody wants it any more.
async fn within<T>(ctx: &Ctx, limit: Duration, look: impl Future<Output = T>) -> Option<T> {
    ctx.cancel.run_until_cancelled(tokio::time::timeout(limit, look)).await?.ok()
}

fn overdue(subject: &str, limit: Duration) -> Finding {
    Finding::warning(
        subject,
        format!("did not answer within {} s", limit.as_secs()),
        "try again; where it stays so, a disk, a driver or a server behind it hangs (`dmesg` may tell which)",
    )
}

/// Words for a list: `a`, `b` and 3 more.
fn list<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    const SHOWN: usize = 4;
    let items: Vec<String> = items.into_iter().map(|item| format!("`{item}`")).collect();
    match items.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        Some(more) => format!("{} and {more} more", items[..SHOWN].join(", ")),
        None => items.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(list(["a"]), "`a`");
        assert_eq!(list(1..=4), "`1`, `2`, `3`, `4`");
        assert_eq!(list(1..=6), "`1`, `2`, `3`, `4` and 2 more");
    }
}
