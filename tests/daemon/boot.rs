//! Starts from a slow volume: when a local copy is made, what lies in it, and when it is not trusted.

use comfyd::boot::{Boot, OpenedFile, Packed, Part, StartRecord};
use comfyd::config::Config;
use comfyd::ctx::Ctx;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};
use support::comfyui::python;
use support::slow_volume::SlowVolume;

const DELAY: Duration = Duration::from_millis(1);
const SITE: &str = ".venv/lib/python3/site-packages";

/// A volume, far away or near, and a machine that it is mounted on.
struct Machine {
    volume: Option<SlowVolume>,
    dir: tempfile::TempDir,
}

impl Machine {
    /// Returns a machine whose volume is far away; none, with a word, where FUSE is not to be had.
    fn far() -> Option<Self> {
        let machine = Self::near();
        let (below, mount_point) = (machine.dir.path().join("below"), machine.dir.path().join("mnt"));
        let volume = SlowVolume::mount(&below, &mount_point, DELAY);
        let volume = volume.inspect_err(|error| println!("skipped: there is no FUSE here: {error}")).ok()?;
        Some(Self { volume: Some(volume), ..machine })
    }

    /// Returns a machine whose volume is its local disk.
    fn near() -> Self {
        let dir = tempfile::tempdir().unwrap();
        ["below", "mnt", "home"].map(|name| fs::create_dir(dir.path().join(name)).unwrap());
        Self { volume: None, dir }
    }

    fn mount_point(&self) -> PathBuf {
        let name = if self.volume.is_some() { "mnt" } else { "below" };
        self.dir.path().canonicalize().unwrap().join(name)
    }

    /// Returns what a daemon with this budget starts with.
    fn boot(&self, budget: &str) -> Boot {
        let home = self.dir.path().join("home").display().to_string();
        let vars = [
            ("HOME", home),
            ("COMFY_VOLUME", self.mount_point().display().to_string()),
            ("COMFYD_SHADOW_BUDGET", budget.to_owned()),
        ];
        let vars = vars.map(|(name, value)| (name.to_owned(), value));
        Boot::new(&Config::from_vars(&vars.into()).unwrap())
    }

    fn shadows(&self) -> Vec<PathBuf> {
        let dir = self.dir.path().join("home/.comfy-cache/shadows");
        let entries = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path());
        entries.filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.')).collect()
    }

    /// Makes a generation with a record of its start.
    fn generation(&self, name: &str) -> PathBuf {
        let below = self.dir.path().join("below/generations").join(name);
        let write = |path: &str, content: &[u8]| {
            let path = below.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            // A whole second: Python's caches hold no finer times.
            let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            fs::File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        };
        write("ComfyUI/main.py", b"import os, sys, pkg\nprint(pkg.WORD, sys.prefix, os.getcwd())\n");
        write("ComfyUI/custom_nodes/note.txt", b"node");
        write("ComfyUI/models/list.txt", b"model");
        write("ComfyUI/web/index.html", b"page");
        write(".venv/pyvenv.cfg", format!("home = {}\n", python().parent().unwrap().display()).as_bytes());
        write(&format!("{SITE}/pkg/__init__.py"), format!("WORD = 'from {name}'\n").as_bytes());
        write(&format!("{SITE}/pkg/unread.py"), b"");
        write(&format!("{SITE}/pkg/lib.so"), &vec![7; 9 << 20]);
        for number in 0..40 {
            write(&format!("{SITE}/pkg/data{number}.bin"), &[1; 100]);
        }
        fs::create_dir_all(below.join(".venv/bin")).unwrap();
        symlink(python(), below.join(".venv/bin/python")).unwrap();
        symlink("lib", below.join(".venv/lib64")).unwrap();
        symlink("../../../elsewhere", below.join("ComfyUI/out")).unwrap();
        let dir = self.mount_point().join("generations").join(name);
        let mut record = StartRecord::new(name.to_owned(), "settings".to_owned());
        let used = ["ComfyUI/main.py", &format!("{SITE}/pkg/__init__.py"), "ComfyUI/custom_nodes/note.txt", "gone.py"];
        record.files = used.map(|path| OpenedFile { path: path.to_owned(), mapped: false }).into();
        let library = format!("{SITE}/pkg/lib.so");
        record.files.push(OpenedFile { path: library.clone(), mapped: true });
        record.touched.insert(library, vec![Part { offset: 1 << 20, length: 1 << 20 }]);
        record.write(&dir).unwrap();
        dir
    }

    /// Makes a generation that is packed.
    async fn packed(&self, name: &str) -> PathBuf {
        let dir = self.generation(name);
        let packed = self.boot("4GiB").pack(&Ctx::new(), &dir).await.unwrap();
        assert!(matches!(packed, Packed::Written { .. }), "{packed:?}");
        dir
    }
}

#[tokio::test]
async fn a_slow_volume_is_started_from_a_local_copy_of_what_a_start_reads() {
    let Some(machine) = Machine::far() else { return };
    let dir = machine.packed("g1").await;
    let boot = machine.boot("4GiB");
    let tree = boot.tree(&dir).await;
    assert!(tree.starts_with(machine.dir.path().canonicalize().unwrap().join("home")), "{}", tree.display());

    // What was read is a file of its own, as it was; what was not is a link to the volume.
    let site = tree.join(SITE);
    for path in ["ComfyUI/main.py", ".venv/pyvenv.cfg", &format!("{SITE}/pkg/__init__.py")] {
        let (copy, original) = (tree.join(path).symlink_metadata().unwrap(), dir.join(path).metadata().unwrap());
        assert!(copy.is_file() && copy.dev() != original.dev(), "{path}");
        assert_eq!((copy.len(), copy.mtime(), copy.mode()), (original.len(), original.mtime(), original.mode()));
        assert_eq!(fs::read(tree.join(path)).unwrap(), fs::read(dir.join(path)).unwrap());
    }
    assert!(site.join("pkg/unread.py").symlink_metadata().unwrap().is_file(), "sources are small, and listed");
    for path in ["pkg/lib.so", "pkg/data7.bin"] {
        assert_eq!(fs::read_link(site.join(path)).unwrap(), dir.join(SITE).join(path));
    }
    // What is written to or served stays the volume's own.
    for path in ["ComfyUI/custom_nodes", "ComfyUI/models", "ComfyUI/web"] {
        assert_eq!(fs::read_link(tree.join(path)).unwrap(), dir.join(path));
    }
    assert_eq!(fs::read_link(tree.join(".venv/lib64")).unwrap(), Path::new("lib"));
    assert_eq!(fs::read_link(tree.join("ComfyUI/out")).unwrap(), Path::new("../../../elsewhere").to_owned().pop_to(&dir));

    let started = Command::new(tree.join(".venv/bin/python"))
        .arg(tree.join("ComfyUI/main.py"))
        .env("PYTHONPATH", &site)
        .current_dir(tree.join("ComfyUI"))
        .output()
        .unwrap();
    let said = String::from_utf8(started.stdout).unwrap();
    let expected = format!("from g1 {} {}\n", tree.join(".venv").display(), tree.join("ComfyUI").display());
    assert_eq!(said, expected, "{}", String::from_utf8_lossy(&started.stderr));

    // The next start finds it, and another daemon does.
    let made = tree.join("ComfyUI").metadata().unwrap().ino();
    for boot in [&boot, &machine.boot("4GiB")] {
        assert_eq!(boot.tree(&dir).await, tree);
        assert_eq!(tree.join("ComfyUI").metadata().unwrap().ino(), made);
    }
    // Who changes the copy does not change what the next one gets.
    fs::write(tree.join("ComfyUI/main.py"), "changed").unwrap();
    assert_eq!(boot.tree(&dir).await, tree);
    assert_eq!(fs::read(tree.join("ComfyUI/main.py")).unwrap(), fs::read(dir.join("ComfyUI/main.py")).unwrap());
    assert_eq!(boot.pack(&Ctx::new(), &dir).await.unwrap(), Packed::Current);
    boot.shutdown().await;
}
