//! How much memory there is, for this daemon and what it starts: the machine's, or the container's where that is
//! less.

use std::path::{Path, PathBuf};

/// Memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All that may be used.
    pub total: u64,
    /// What can be had without taking it from programs.
    pub available: u64,
}

impl Memory {
    /// Takes a look; none where the system does not tell. Blocks shortly.
    pub fn look() -> Option<Self> {
        let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
        let cgroup = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let machine = machine(&meminfo)?;
        Some(container(&group_dir(&cgroup)).map_or(machine, |container| machine.within(container)))
    }

    /// Tells whether so little is left that what can be made anew is to go.
    pub fn is_short(self) -> bool {
        self.available < self.total / 20
    }

    fn within(self, other: Self) -> Self {
        Self { total: self.total.min(other.total), available: self.available.min(other.available) }
    }
}

/// Reads `/proc/meminfo` (`proc_meminfo(5)`).
fn machine(meminfo: &str) -> Option<Memory> {
    let value = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
    };
    Some(Memory { total: value("MemTotal")?, available: value("MemAvailable")? })
}

/// Where the limits of this process's control group lie (cgroups(7), version 2).
fn group_dir(cgroup: &str) -> PathBuf {
    let own = cgroup.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    Path::new("/sys/fs/cgroup").join(own)
}

/// Reads the limits of a control group; none where there is none.
fn container(dir: &Path) -> Option<Memory> {
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let (total, used) = (number("memory.max")?, number("memory.current")?);
    let stat = read("memory.stat").unwrap_or_default();
    // Pages of files count as used, and go when others need them.
    let files = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.parse::<u64>().ok());
    let available = total.saturating_sub(used.saturating_sub(files.unwrap_or(0)));
    Some(Memory { total, available })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_bounds_the_machine() {
        let meminfo = "MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    400 kB\n";
        let machine = machine(meminfo).unwrap();
        assert_eq!(machine, Memory { total: 1000 << 10, available: 400 << 10 });
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(container(dir.path()), None);
        for (name, text) in [
            ("memory.max", "max\n"),
            ("memory.current", "300000\n"),
            ("memory.stat", "anon 5\ninactive_file 100000\n"),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        assert_eq!(container(dir.path()), None, "no limit");
        std::fs::write(dir.path().join("memory.max"), "500000\n").unwrap();
        let container = container(dir.path()).unwrap();
        assert_eq!(container, Memory { total: 500_000, available: 300_000 });
        assert_eq!(machine.within(container), container);
        assert!(!container.is_short() && Memory { available: 20_000, ..container }.is_short());
        assert_eq!(group_dir("1:cpu:/x\n0::/a/b\n"), Path::new("/sys/fs/cgroup/a/b"));
    }

    #[test]
    fn this_machine_tells() {
        let memory = Memory::look().unwrap();
        assert!(memory.available > 0 && memory.available <= memory.total, "{memory:?}");
    }
}
