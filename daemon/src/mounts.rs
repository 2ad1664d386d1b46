//! What is mounted where, as the kernel tells (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// The kind of filesystem: `ext4`, `overlay`, `fuse.mfs`.
    pub kind: String,
    /// What is mounted: a device, a server's address, or a word without meaning.
    pub source: String,
    /// Options of the mount and of the filesystem, with commas.
    pub options: String,
}

impl Mount {
    /// Finds what the nearest directory of `path` that exists lies on; none where the kernel names none. Blocks
    /// shortly.
    ///
    /// # Errors
    /// When the kernel tells nothing.
    pub fn of(path: &Path) -> io::Result<Option<Self>> {
        let real = path.ancestors().find_map(|dir| dir.canonicalize().ok());
        let table = std::fs::read("/proc/self/mountinfo")?;
        Ok(find(&table, real.as_deref().unwrap_or(Path::new("/"))))
    }

    /// Tells whether an option is set.
    pub fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|set| set == option)
    }
}

/// Finds the mount that a path without links lies on: the deepest one, and of those on one point the last.
fn find(table: &[u8], path: &Path) -> Option<Mount> {
    let mounts = table.split(|byte| *byte == b'\n').filter_map(read);
    mounts.filter(|mount| path.starts_with(&mount.point)).max_by_key(|mount| mount.point.components().count())
}

/// Reads `36 35 98:0 /root /point rw,noatime master:1 - ext4 /dev/sda1 rw,errors=continue`.
fn read(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let dash = fields.iter().position(|field| *field == b"-")?;
    let text = |at: usize| fields.get(at).map(|field| unescaped(field).to_string_lossy().into_owned());
    Some(Mount {
        point: PathBuf::from(unescaped(fields.get(4)?)),
        kind: text(dash + 1)?,
        source: text(dash + 2)?,
        options: format!("{},{}", text(5)?, text(dash + 3)?),
    })
}

/// Puts blanks and the like back, which the kernel writes as `\040`.
fn unescaped(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| byte == b'\\');
        let octal = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(octal.unwrap_or(byte));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
22 1 0:21 / / rw,relatime - overlay overlay rw,lowerdir=/a
23 22 8:1 /sub /work rw,noatime master:1 shared:2 - ext4 /dev/sda1 rw
24 22 0:50 / /runpod-volume rw - fuse.mfs mfs#h.example:9421 rw,user_id=0
25 22 0:51 / /runpod-volume ro - nfs4 h:/x ro,local_lock=all
26 22 0:52 / /with\\040blank\\134 rw - tmpfs tmpfs rw,size=4k
27 22 0:53 / /auto rw - autofs systemd-1 rw,fd=30
28 22 0:54 / /late rw - autofs systemd-1 rw,fd=31
29 28 0:55 / /late rw - nfs4 server:/x rw
no mount at all
";

    #[test]
    fn the_deepest_and_last_mount_is_the_one() {
        let at = |path: &str| find(TABLE, Path::new(path)).unwrap();
        assert_eq!(at("/worker/x").kind, "overlay");
        assert_eq!((at("/work/x").kind.as_str(), at("/work").source.as_str()), ("ext4", "/dev/sda1"));
        let stacked = at("/runpod-volume/comfy-x");
        assert_eq!((stacked.kind.as_str(), stacked.has("ro"), stacked.has("rw")), ("nfs4", true, false));
        assert!(stacked.has("local_lock=all"));
        assert_eq!(at("/with blank\\/x").point, Path::new("/with blank\\"));
        assert_eq!((at("/auto").kind.as_str(), at("/late").kind.as_str()), ("autofs", "nfs4"));
        assert_eq!(at("/workspaces").point, Path::new("/"), "a name is no prefix");
        assert_eq!(find(b"", Path::new("/")), None);
    }

    #[test]
    fn this_machine_tells_what_is_mounted() {
        let dir = tempfile::tempdir().unwrap();
        let mount = Mount::of(&dir.path().join("not/there")).unwrap().unwrap();
        assert!(dir.path().canonicalize().unwrap().starts_with(&mount.point), "{mount:?}");
        assert_eq!(Mount::of(Path::new("/proc")).unwrap().unwrap().kind, "proc");
    }
}
