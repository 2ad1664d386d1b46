//! What the versions' homes lie on: the kind of the filesystem decides how locks, links and starts work there.

use crate::config::Config;
use crate::mounts::Mount;
use nix::unistd::{AccessFlags, access, geteuid};
use proto::method::Finding;
use proto::places;
use std::path::{Path, PathBuf};

const SUBJECT: &str = "volume";

/// What is known of the place of the homes.
#[derive(Debug, Clone)]
struct Facts {
    homes: PathBuf,
    mount: Option<Mount>,
    /// Whether a volume was named or found; else the homes lie in the user's home directory.
    is_volume: bool,
    /// Whether the daemon's user may write there.
    is_writable: bool,
    uid: u32,
    /// Mount points of volumes that are there and cannot be written, where none was named.
    passed_over: Vec<PathBuf>,
    /// What uv's cache lies on.
    uv_cache: Option<Mount>,
}

/// What a kind of filesystem means for comfyd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A disk of this machine.
    Local,
    /// A container's own layer.
    Container,
    /// Memory.
    Memory,
    /// Something that other machines may have, too.
    Shared,
}

impl Kind {
    /// What is not known counts as shared: then nothing depends on locks.
    pub(super) fn of(filesystem: &str) -> Self {
        match filesystem {
            "ext2" | "ext3" | "ext4" | "xfs" | "btrfs" | "zfs" | "f2fs" | "bcachefs" | "jfs" => Self::Local,
            "overlay" | "aufs" => Self::Container,
            "tmpfs" | "ramfs" | "rootfs" => Self::Memory,
            _ => Self::Shared,
        }
    }
}

/// Looks at the place of the homes. Blocks shortly.
pub(super) fn look(config: &Config) -> Vec<Finding> {
    let is_writable = |dir: &Path| access(dir, AccessFlags::W_OK).is_ok();
    let passed_over =
        if config.volume.is_some() { Vec::new() } else { places::VOLUMES.map(PathBuf::from).to_vec() };
    judge(&Facts {
        homes: config.homes.clone(),
        mount: Mount::of(&config.homes).ok().flatten(),
        is_volume: config.volume.is_some(),
        is_writable: is_writable(&config.homes),
        uid: geteuid().as_raw(),
        passed_over: passed_over.into_iter().filter(|dir| dir.is_dir() && !is_writable(dir)).collect(),
        uv_cache: Mount::of(&config.uv_cache).ok().flatten(),
    })
}

fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let homes = facts.homes.display();
    for dir in &facts.passed_over {
        let text = format!(
            "`{}` is there, and user {} cannot write it: versions lie in `{homes}`",
            dir.display(),
            facts.uid
        );
        let remedy = "let that user write there, or name the volume with COMFY_VOLUME";
        findings.push(Finding::warning(SUBJECT, text, remedy));
    }
    let Some(mount) = &facts.mount else {
        findings.push(Finding::warning(
            SUBJECT,
            format!("the kernel does not tell what `{homes}` lies on"),
            "mount /proc in the container",
        ));
        return findings;
    };
    let what = format!("`{homes}` is {} from `{}`", mount.kind, mount.source);
    findings.push(if mount.has("noexec") {
        let remedy = "mount it without `noexec`, or name another place with COMFY_VOLUME";
        Finding::problem(SUBJECT, format!("{what}, and no program may be run from there"), remedy)
    } else if mount.has("ro") {
        let remedy = "mount it writable, unless that is meant to be so";
        Finding::warning(SUBJECT, format!("{what}, read-only: what is ready there runs, no more"), remedy)
    } else if !facts.is_writable {
        let text = format!("{what}, and user {} cannot write there", facts.uid);
        Finding::problem(SUBJECT, text, "let that user write there, or name another place with COMFY_VOLUME")
    } else {
        of_kind(&what, mount, facts.is_volume)
    });
    let is_apart = |uv: &&Mount| uv.point != mount.point;
    if let Some(uv) = facts.uv_cache.as_ref().filter(is_apart) {
        let text = format!(
            "uv's cache lies on another filesystem (`{}`): packages are copied, not linked",
            uv.point.display()
        );
        let remedy = format!("set UV_CACHE_DIR to a directory below `{}`", mount.point.display());
        findings.push(Finding::warning("uv cache", text, remedy));
    }
    findings
}

fn of_kind(what: &str, mount: &Mount, is_volume: bool) -> Finding {
    match Kind::of(&mount.kind) {
        Kind::Local => Finding::ok(SUBJECT, format!("{what}, a disk of this machine")),
        Kind::Container if is_volume => {
            Finding::ok(SUBJECT, format!("{what}, the container's own disk: it goes with the container"))
        }
        Kind::Container => Finding::warning(
            SUBJECT,
            format!("{what}, the container's own disk: what is made goes with the container"),
            "mount a volume at `/workspace`, or name a lasting place with COMFY_VOLUME",
        ),
        Kind::Memory => Finding::warning(
            SUBJECT,
            format!("{what}, memory: what is made there goes when the machine stops"),
            "name a place on a disk with COMFY_VOLUME",
        ),
        // nfs(5): with these, locks are known to this host alone.
        Kind::Shared
            if ["nolock", "local_lock=all", "local_lock=flock"].iter().any(|lock| mount.has(lock)) =>
        {
            Finding::ok(
                SUBJECT,
                format!("{what}, a network volume without locks: comfyd's leases do without"),
            )
        }
        Kind::Shared => {
            Finding::ok(SUBJECT, format!("{what}, a network volume: between hosts comfyd's leases decide"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::method::Verdict::{self, Ok, Problem, Warning};

    fn mount(kind: &str, options: &str) -> Mount {
        Mount { point: "/v".into(), kind: kind.into(), source: "s".into(), options: options.into() }
    }

    fn facts(kind: &str, options: &str) -> Facts {
        Facts {
            homes: "/v".into(),
            mount: Some(mount(kind, options)),
            is_volume: true,
            is_writable: true,
            uid: 7,
            passed_over: Vec::new(),
            uv_cache: Some(mount(kind, options)),
        }
    }

    #[test]
    fn the_kind_and_the_options_decide() {
        let table: [(&str, &str, Verdict, &str); 9] = [
            ("ext4", "rw", Ok, "a disk of this machine"),
            ("overlay", "rw", Ok, "goes with the container"),
            ("tmpfs", "rw", Warning, "memory"),
            ("fuse.mfs", "rw,user_id=0", Ok, "leases decide"),
            ("fuse", "rw", Ok, "leases decide"),
            ("nfs4", "rw,local_lock=all", Ok, "without locks"),
            ("something-new", "rw", Ok, "leases decide"),
            ("ext4", "ro", Warning, "read-only"),
            ("ext4", "rw,noexec", Problem, "no program may be run"),
        ];
        for (kind, options, verdict, words) in table {
            let found = judge(&facts(kind, options));
            assert_eq!((found.len(), found[0].verdict), (1, verdict), "{kind} {options}");
            assert!(found[0].text.contains(words), "{kind} {options}: {}", found[0].text);
            assert_eq!(found[0].remedy.is_some(), verdict != Ok, "{kind} {options}");
        }
    }

    #[test]
    fn a_container_without_a_volume_and_one_that_cannot_be_written_are_told() {
        let found = judge(&Facts { is_volume: false, ..facts("overlay", "rw") });
        assert_eq!(found[0].verdict, Warning);
        let found = judge(&Facts { is_writable: false, ..facts("ext4", "rw") });
        assert!(found[0].verdict == Problem && found[0].text.contains("user 7"), "{found:?}");
        let found = judge(&Facts { passed_over: vec!["/workspace".into()], ..facts("ext4", "rw") });
        assert!(found[0].verdict == Warning && found[0].text.starts_with("`/workspace`"), "{found:?}");
        assert_eq!(judge(&Facts { mount: None, ..facts("ext4", "rw") })[0].verdict, Warning);
    }

    #[test]
    fn a_cache_that_cannot_be_linked_from_is_told() {
        let other = Mount { point: "/home".into(), ..mount("ext4", "rw") };
        let found = judge(&Facts { uv_cache: Some(other), ..facts("ext4", "rw") });
        assert_eq!((found[1].subject.as_str(), found[1].verdict), ("uv cache", Warning));
        assert!(found[1].remedy.as_ref().unwrap().contains("`/v`"));
    }
}
