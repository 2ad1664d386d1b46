//! What the system tells of a process in `/proc` (proc_pid_stat(5)).

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::{Error, Result};

/// What tells a process from every other one: numbers are used again, and each boot counts anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Birth {
    /// Its number.
    pub pid: u32,
    /// When it began, in clock ticks after the boot.
    pub started: u64,
    /// Names the boot.
    pub boot_id: String,
}

/// What a process has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Processor time of all its threads, in clock ticks: hundredths of a second.
    pub ticks: u64,
    /// How often it had to wait for a page to be read.
    pub major_faults: u64,
    /// Differs for each program that the process executes one after another (where its stack begins, which
    /// is drawn by lot). Zero where the system does not tell.
    pub image: u64,
    /// Whether it is stopped, as by SIGSTOP or a debugger.
    pub is_stopped: bool,
}

impl Birth {
    /// Returns the birth of a process that runs, or is dead and not yet reaped. Blocks for a moment.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(pid: u32) -> Result<Self> {
        let started = status(pid)?.field(22)?;
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Ok(Self { pid, started, boot_id: boot_id.trim().to_owned() })
    }
}

impl Effort {
    /// Returns what a process has done so far. Blocks for a moment.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(pid: u32) -> Result<Self> {
        let status = status(pid)?;
        let ticks = status.field(14)?.saturating_add(status.field(15)?);
        let (major_faults, image) = (status.field(12)?, status.field(28)?);
        Ok(Self { ticks, major_faults, image, is_stopped: status.is_stopped() })
    }
}

/// Returns the numbers of all processes of this machine, or of this container. Blocks shortly.
pub fn pids() -> impl Iterator<Item = u32> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Returns the leaders of process groups that were started with a variable of this value, and whose program's
/// first argument ends so, where that matters. Blocks for a look at each process; those of other users are passed
/// over, and so is this one.
pub fn marked(name: &str, value: &str, argument: Option<&str>) -> Vec<Birth> {
    let mark = format!("{name}={value}");
    let read = |pid: u32, file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let is_marked = |pid: &u32| {
        let has_argument = |wanted: &str| {
            let args = read(*pid, "cmdline");
            args.split(|byte| *byte == 0).nth(1).is_some_and(|arg| arg.ends_with(wanted.as_bytes()))
        };
        *pid != std::process::id()
            && read(*pid, "environ").split(|byte| *byte == 0).any(|var| var == mark.as_bytes())
            && argument.is_none_or(has_argument)
            && status(*pid).is_ok_and(|status| status.leads_its_group(*pid))
    };
    pids().filter(is_marked).filter_map(|pid| Birth::of(pid).ok()).collect()
}

/// Returns the threads of a process; none when there is no such process. Blocks for a moment.
pub fn threads(pid: u32) -> BTreeSet<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect()
}

/// Returns the memory of a process in bytes, what it shares counted in proportion (`Pss` of proc_pid_smaps(5));
/// none when there is no such process. Blocks for tens of milliseconds where that is much.
pub fn pss_bytes(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}

/// A process's line in `/proc/<pid>/stat`, from its third field on.
pub(super) struct Status(String);

pub(super) fn status(pid: u32) -> Result<Status> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is a name in brackets, which may hold anything.
    let rest = line.rsplit_once(") ").map(|(_, rest)| rest.to_owned());
    rest.map(Status).ok_or_else(|| Error::other("no line of proc_pid_stat(5)"))
}

impl Status {
    /// Tells whether the process lives and leads the group of its own number.
    pub(super) fn leads_its_group(&self, pid: u32) -> bool {
        !self.0.starts_with(['Z', 'X']) && self.field(5).is_ok_and(|group| group == u64::from(pid))
    }

    /// Returns the number of its parent.
    pub(super) fn parent(&self) -> Result<u64> {
        self.field(4)
    }

    /// Tells whether the process is stopped, by a signal or a tracer.
    fn is_stopped(&self) -> bool {
        self.0.starts_with(['T', 't'])
    }

    /// Returns a field by its number in proc_pid_stat(5).
    fn field(&self, number: usize) -> Result<u64> {
        let text = self.0.split_ascii_whitespace().nth(number - 3);
        text.and_then(|text| text.parse().ok())
            .ok_or_else(|| Error::other("no such field in /proc/<pid>/stat"))
    }
}
