//! Starts from a slow volume: when a local copy is made, what lies in it, and when it is not trusted.

use crate::fixture::eventually;
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

/// So much that it stays far away while this machine is busy.
const DELAY: Duration = Duration::from_millis(4);
const SITE: &str = ".venv/lib/python3/site-packages";

/// A volume, far away or near, and a machine that it is mounted on.
struct Machine {
    volume: Option<SlowVolume>,
    dir: tempfile::TempDir,
}

impl Machine {
    /// Returns a machine whose volume is far away; none, with a word, where FUSE is not to be had.
    #[allow(clippy::print_stdout, reason = "says why a test was skipped")]
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
        for name in ["below", "mnt", "home"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
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
        let used = [
            "ComfyUI/main.py",
            &format!("{SITE}/pkg/__init__.py"),
            "ComfyUI/custom_nodes/note.txt",
            "gone.py",
        ];
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
        let (copy, original) =
            (tree.join(path).symlink_metadata().unwrap(), dir.join(path).metadata().unwrap());
        assert!(copy.is_file() && copy.dev() != original.dev(), "{path}");
        assert_eq!(
            (copy.len(), copy.mtime(), copy.mode()),
            (original.len(), original.mtime(), original.mode())
        );
        assert_eq!(fs::read(tree.join(path)).unwrap(), fs::read(dir.join(path)).unwrap());
    }
    assert!(
        site.join("pkg/unread.py").symlink_metadata().unwrap().is_file(),
        "sources are small, and listed"
    );
    for path in ["pkg/lib.so", "pkg/data7.bin"] {
        assert_eq!(fs::read_link(site.join(path)).unwrap(), dir.join(SITE).join(path));
    }
    // What is written to or served stays the volume's own.
    for path in ["ComfyUI/custom_nodes", "ComfyUI/models", "ComfyUI/web"] {
        assert_eq!(fs::read_link(tree.join(path)).unwrap(), dir.join(path));
    }
    assert_eq!(fs::read_link(tree.join(".venv/lib64")).unwrap(), Path::new("lib"));
    assert_eq!(fs::read_link(tree.join("ComfyUI/out")).unwrap(), dir.join("ComfyUI/out"), "it leads out");

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
    assert_eq!(
        fs::read(tree.join("ComfyUI/main.py")).unwrap(),
        fs::read(dir.join("ComfyUI/main.py")).unwrap()
    );
    assert_eq!(boot.pack(&Ctx::new(), &dir).await.unwrap(), Packed::Current);
    boot.shutdown().await;
}

#[tokio::test]
async fn an_image_that_is_not_of_what_the_volume_holds_is_not_used() {
    let Some(machine) = Machine::far() else { return };
    let dir = machine.packed("g1").await;
    let (boot, image) = (machine.boot("4GiB"), dir.join("start.image"));
    let whole = fs::read(&image).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let half = whole.len() / 2;
    let images = [
        Vec::new(),
        whole[..half].to_vec(),
        [&whole[half..], &whole[..half]].concat(),
        flipped(10),
        flipped(whole.len() - 100),
        flipped(whole.len() - 40),
        flipped(whole.len() - 1),
    ];
    for (number, damaged) in images.iter().enumerate() {
        fs::write(&image, damaged).unwrap();
        assert_eq!(boot.tree(&dir).await, dir, "image {number}");
        assert!(machine.shadows().is_empty(), "image {number}");
    }
    let other = machine.packed("g2").await;
    fs::copy(other.join("start.image"), &image).unwrap();
    assert_eq!(boot.tree(&dir).await, dir, "another generation's image");
    fs::remove_file(&image).unwrap();
    assert_eq!(boot.tree(&dir).await, dir);

    // Whole, and of another state of the volume: also where the shadow was made before.
    fs::write(&image, &whole).unwrap();
    assert_ne!(boot.tree(&dir).await, dir);
    let main = dir.join("ComfyUI/main.py");
    fs::write(&main, "changed").unwrap();
    assert_eq!(boot.tree(&dir).await, dir, "a file was changed");
    assert!(matches!(boot.pack(&Ctx::new(), &dir).await.unwrap(), Packed::Written { .. }));
    let tree = boot.tree(&dir).await;
    assert_eq!(fs::read(tree.join("ComfyUI/main.py")).unwrap(), b"changed");
    let module = dir.join(SITE).join("pkg/__init__.py");
    fs::File::options().write(true).open(&module).unwrap().set_modified(SystemTime::now()).unwrap();
    assert_ne!(boot.tree(&dir).await, dir, "modules are looked at while nobody waits");
    assert!(matches!(boot.pack(&Ctx::new(), &dir).await.unwrap(), Packed::Written { .. }));
    fs::write(dir.join(SITE).join("pkg/new.py"), "").unwrap();
    assert_eq!(boot.tree(&dir).await, dir, "a package was changed");
    boot.shutdown().await;
}

#[tokio::test]
async fn shadows_keep_to_their_budget_and_go_when_nobody_needs_them() {
    let Some(machine) = Machine::far() else { return };
    let (one, two) = (machine.packed("g1").await, machine.packed("g2").await);
    assert_eq!(machine.boot("0").tree(&one).await, one, "switched off");
    assert_eq!(machine.boot("1kB").tree(&one).await, one, "there is no room");
    assert!(machine.shadows().is_empty());

    // Room for one: the other goes, unless a process runs from it.
    let budget = "15kB";
    let first = machine.boot(budget).tree(&one).await;
    assert_ne!(first, one);
    let mut process = Command::new("sleep").arg("600").current_dir(first.join("ComfyUI")).spawn().unwrap();
    assert_eq!(machine.boot(budget).tree(&two).await, two, "it is run");
    assert!(first.join("ComfyUI/main.py").is_file());
    process.kill().unwrap();
    process.wait().unwrap();
    let second = machine.boot(budget).tree(&two).await;
    assert_eq!(machine.shadows(), std::slice::from_ref(&second));

    // Of a generation that is gone: when nobody who was given it may still start from it.
    let given = machine.boot(budget);
    assert_eq!(given.tree(&two).await, second);
    fs::remove_dir_all(&two).unwrap();
    machine.boot(budget).tidy();
    assert_eq!(machine.shadows(), [second]);
    // What it reads ahead belongs to it.
    given.shutdown().await;
    drop(given);
    machine.boot(budget).tidy();
    assert!(machine.shadows().is_empty());
}

#[tokio::test]
async fn a_near_volume_is_started_from_as_it_is() {
    let machine = Machine::near();
    let dir = machine.generation("g1");
    let boot = machine.boot("4GiB");
    assert_eq!(boot.pack(&Ctx::new(), &dir).await.unwrap(), Packed::NotNeeded("its volume is near"));
    assert_eq!(boot.tree(&dir).await, dir);
    assert!(!dir.join("start.image").exists());
    assert_eq!(Boot::default().tree(&dir).await, dir);

    // Another filesystem is no reason: it has to be slow.
    let Some(mut far) = Machine::far() else { return };
    let (below, mount_point) = (far.dir.path().join("below"), far.dir.path().join("mnt"));
    far.volume = None;
    far.volume = Some(SlowVolume::mount(&below, &mount_point, Duration::ZERO).unwrap());
    let dir = far.generation("g1");
    let packed = far.boot("4GiB").pack(&Ctx::new(), &dir).await.unwrap();
    println!("a FUSE without delay: {packed:?}");
    let measured = fs::read_to_string(far.dir.path().join("home/.local/state/comfyd/mounts.json")).unwrap();
    assert!(measured.contains("slow-volume"), "{measured}");
}

#[tokio::test]
async fn what_a_start_reads_is_in_the_page_cache_before_it_asks() {
    let Some(machine) = Machine::far() else { return };
    let dir = machine.generation("g1");
    let boot = machine.boot("4GiB");
    let bytes = boot.read_start_ahead(&Ctx::new(), &dir).await;
    assert!((1 << 20..2 << 20).contains(&bytes), "of the library the part that was touched: {bytes}");
    let reads = || machine.volume.as_ref().unwrap().operations()["read_bytes"];
    let before = reads();
    fs::read(dir.join("ComfyUI/main.py")).unwrap();
    let library = fs::File::open(dir.join(SITE).join("pkg/lib.so")).unwrap();
    let mut part = vec![0; 1 << 20];
    std::os::unix::fs::FileExt::read_exact_at(&library, &mut part, 1 << 20).unwrap();
    // Beyond the part the kernel may read ahead by itself.
    assert!(reads() - before < 1 << 19, "it was read ahead");
    let whole = boot.read_ahead(&Ctx::new(), vec![dir.join(SITE).join("pkg/lib.so"), dir.join("none")]).await;
    assert_eq!(whole, 9 << 20);
}

#[tokio::test]
async fn models_of_a_volume_that_is_far_away_are_in_the_page_cache_before_comfyui_asks() {
    let Some(machine) = Machine::far() else { return };
    machine.packed("g1").await;
    let models = ["a", "b"].map(|name| machine.mount_point().join(name));
    for name in ["a", "b"] {
        fs::write(machine.dir.path().join("below").join(name), vec![1; 3 << 20]).unwrap();
    }
    let read = || machine.volume.as_ref().unwrap().operations()["read_bytes"];
    let before = read();
    machine.boot("0").read_models_ahead(models.to_vec());
    let boot = machine.boot("4GiB");
    boot.read_models_ahead(vec![machine.mount_point().join("none"), models[1].clone()]);
    eventually("the model is read", || read() - before >= 3 << 20).await;
    fs::read(&models[1]).unwrap();
    assert_eq!(read() - before, 3 << 20, "the other one was not asked for, and this one is here");
    boot.shutdown().await;
}
