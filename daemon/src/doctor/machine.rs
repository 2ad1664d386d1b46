//! The machine itself: open files, memory, the first process, systemd.

use crate::config::Config;
use crate::ctx::{Ctx, blocking};
use crate::process::{self, Command, Memory, run};
use crate::realize::plan::figure;
use crate::source::python::on_path;
use proto::method::Finding;
use rustix::process::{Resource, getrlimit};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// comfyd serves so many connections where the system lets it (`rpc::bounds`), and each takes a file.
const FILES: u64 = 4096;

/// RunPod's SDK ends a worker that has less before its first job (`rp_system_fitness.py`, 4 GB).
const MEMORY: u64 = 4_000_000_000;

/// A process that is dead for so long is not about to be reaped.
const REAPED: Duration = Duration::from_secs(1);

/// The units that the package installs.
const UNITS: [&str; 2] = ["comfyd.service", "comfyd.socket"];

/// What is known of the first process, and of the units.
#[derive(Debug, Default)]
struct Init {
    /// What the first process calls itself.
    name: String,
    /// Dead processes that wait to be reaped by it: their names.
    zombies: Vec<String>,
    /// The unit that this daemon runs as, by its control group.
    own_unit: Option<String>,
    /// How systemd says that the units stand; empty where there is no systemd.
    units: BTreeMap<String, String>,
}

/// Looks at the machine. Takes a second: so long it is watched whether the dead are reaped. Cancel-safe.
pub(super) async fn look(ctx: &Ctx, config: &Config) -> Vec<Finding> {
    // The daemon has raised its soft limit to this.
    let files = getrlimit(Resource::Nofile).maximum;
    let (memory, name, own_unit) = blocking(|| {
        let name = std::fs::read_to_string("/proc/1/comm").unwrap_or_default();
        let group = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        (Memory::look(), name.trim().to_owned(), unit_of(&group))
    })
    .await;
    let zombies = async {
        let before = blocking(zombies).await;
        tokio::time::sleep(REAPED).await;
        let after = blocking(zombies).await;
        let stayed = after.into_iter().filter(|(pid, _)| before.contains_key(pid));
        stayed.map(|(_, name)| name).collect::<Vec<_>>()
    };
    let (zombies, units) = tokio::join!(zombies, units(ctx, config));
    let init = Init { name, zombies, own_unit, units };
    memory.map(of_memory).into_iter().chain([of_files(files)]).chain(of_init(&init)).collect()
}

fn of_memory(memory: Memory) -> Finding {
    const SUBJECT: &str = "memory";
    let text = format!("{} of {} free", figure(memory.available), figure(memory.total));
    let found = if memory.available < MEMORY {
        let text = format!("{text}: models are loaded through it, and RunPod's SDK asks for 4 GB");
        Finding::warning(SUBJECT, text, "end what is not needed, or take a machine with more memory")
    } else {
        Finding::ok(SUBJECT, text)
    };
    found.figure("available_bytes", memory.available).figure("total_bytes", memory.total)
}

fn of_files(limit: Option<u64>) -> Finding {
    const SUBJECT: &str = "open files";
    match limit {
        None => Finding::ok(SUBJECT, "no limit"),
        Some(limit) if limit >= FILES => Finding::ok(SUBJECT, format!("up to {limit}")),
        Some(limit) => Finding::warning(
            SUBJECT,
            format!("{limit} at most: comfyd serves fewer clients, transfers may fail"),
            "raise the hard limit (`ulimit -Hn`, `--ulimit nofile=` of the container, LimitNOFILE= of the unit)",
        ),
    }
}

fn of_init(init: &Init) -> Vec<Finding> {
    const SUBJECT: &str = "init";
    let mut found = Vec::new();
    if !init.zombies.is_empty() {
        let text = format!("`{}` does not reap its dead: {}", init.name, super::list(&init.zombies));
        let remedy = "start the container with `--init`, or make comfyd its first process";
        found.push(Finding::warning(SUBJECT, text, remedy));
    }
    for (unit, state) in init.units.iter().filter(|(_, state)| *state == "failed") {
        let text = format!("systemd says that {unit} has {state}");
        let remedy = format!("`journalctl -u {unit}` tells why; `systemctl reset-failed {unit}` tries again");
        found.push(Finding::problem("systemd", text, remedy));
    }
    if found.is_empty() {
        let active: Vec<_> = init
            .units
            .iter()
            .filter(|(_, state)| *state == "active")
            .map(|(unit, _)| unit.as_str())
            .collect();
        found.push(match (&init.own_unit, active.is_empty()) {
            (Some(unit), _) => Finding::ok(SUBJECT, format!("`{}`; comfyd runs as {unit}", init.name)),
            (None, false) => Finding::ok(
                SUBJECT,
                format!("`{}`; active: {}, of which this comfyd is none", init.name, active.join(", ")),
            ),
            (None, true) => Finding::ok(SUBJECT, format!("`{}`; comfyd runs without a unit", init.name)),
        });
    }
    found
}

/// Returns the dead children of the first process that it has not reaped, with their names. Blocks for a look at each
/// process.
fn zombies() -> BTreeMap<u32, String> {
    let dead = process::pids().filter_map(|pid| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, zombie(&line)?))
    });
    dead.collect()
}

/// Reads proc_pid_stat(5): the name of a process that is dead and a child of the first one.
fn zombie(line: &str) -> Option<String> {
    let (_, rest) = line.split_once('(')?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    (fields.next() == Some("Z") && fields.next() == Some("1")).then(|| name.to_owned())
}

/// Returns the unit of a control group, `0::/system.slice/comfyd.service`.
fn unit_of(group: &str) -> Option<String> {
    let path = group.lines().find_map(|line| line.strip_prefix("0::"))?;
    path.split('/')
        .rev()
        .find(|part| part.ends_with(".service"))
        .filter(|unit| unit.starts_with("comfyd"))
        .map(str::to_owned)
}

/// Asks systemd how the units stand, where it is the first process (sd_booted(3)).
async fn units(ctx: &Ctx, config: &Config) -> BTreeMap<String, String> {
    let program = on_path(&config.child_env, "systemctl").into_iter().next();
    let Some(program) = program.filter(|_| Path::new("/run/systemd/system").is_dir()) else {
        return BTreeMap::new();
    };
    let show = Command::new(program, config.child_env.clone()).args(["show", "--property=Id,ActiveState"]);
    match run(ctx, &show.args(UNITS), |_| ()).await {
        Ok(finished) => states(&finished.stdout),
        Err(_) => BTreeMap::new(),
    }
}

/// Reads what `systemctl show` writes: `Id=…` and `ActiveState=…` of each unit, a blank line between two.
fn states(shown: &str) -> BTreeMap<String, String> {
    let value = |block: &str, name: &str| {
        block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
    };
    let states =
        shown.split("\n\n").filter_map(|block| Some((value(block, "Id")?, value(block, "ActiveState")?)));
    states.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::method::Verdict::{Ok as Fine, Problem, Warning};

    #[test]
    fn too_little_is_a_warning() {
        let memory = |available| of_memory(Memory { total: 64 << 30, available }).verdict;
        assert_eq!((memory(32 << 30), memory(1 << 30)), (Fine, Warning));
        assert_eq!(
            [None, Some(1 << 20), Some(1024)].map(|limit| of_files(limit).verdict),
            [Fine, Fine, Warning]
        );
    }

    #[test]
    fn dead_children_of_the_first_process_are_found() {
        assert_eq!(zombie("7 (a) b) Z 1 7 7 0"), Some("a) b".to_owned()));
        assert_eq!(zombie("7 (sleep) Z 12 7 7 0"), None);
        assert_eq!(zombie("7 (sleep) S 1 7 7 0"), None);
        assert_eq!(zombie("garbage"), None);
    }

    #[test]
    fn the_first_process_and_the_units_are_judged() {
        let init = Init { name: "systemd".to_owned(), ..Init::default() };
        let found = of_init(&init);
        assert_eq!((found.len(), found[0].verdict), (1, Fine));
        let found = of_init(&Init { zombies: vec!["sleep".to_owned()], ..Init::default() });
        assert!(found[0].verdict == Warning && found[0].text.contains("its dead: `sleep`"), "{found:?}");
        let states =
            states("Id=comfyd.service\nActiveState=failed\n\nActiveState=active\nId=comfyd.socket\n");
        assert_eq!(states.len(), 2);
        let found = of_init(&Init { units: states, ..init });
        assert_eq!((found.len(), found[0].verdict), (1, Problem));
        assert!(found[0].text.contains("comfyd.service"));
    }

    #[test]
    fn the_unit_is_in_the_control_group() {
        assert_eq!(unit_of("0::/system.slice/comfyd.service\n").as_deref(), Some("comfyd.service"));
        assert_eq!(
            unit_of("0::/user.slice/user@0.service/app.slice/comfyd.service").as_deref(),
            Some("comfyd.service")
        );
        assert_eq!(unit_of("0::/user.slice/ssh.service"), None);
        assert_eq!(unit_of("12:cpu:/\n0::/\n"), None);
    }
}
