use super::*;
use proto::{ModelSource, VersionId};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;

const A: &str = "https://example.org/a";
const B: &str = "https://example.org/b";

/// A volume with a models directory, and a home in it.
struct Disk {
    dir: tempfile::TempDir,
    config: Config,
}

impl Disk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().display().to_string();
        let vars = [("HOME", root.clone()), ("COMFY_VOLUME", root)];
        let vars = vars.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<BTreeMap<_, _>>();
        let config = Config::from_vars(&vars).unwrap();
        fs::create_dir_all(dir.path().join("models/loras")).unwrap();
        Self { dir, config }
    }

    fn home(&self, id: &str) -> Home {
        Home::find(&self.config, &VersionId::new(id).unwrap(), None).unwrap()
    }

    fn models(&self) -> PathBuf {
        self.dir.path().join("models")
    }

    fn put(&self, target: &str, content: &str) {
        fs::write(self.models().join(target), content).unwrap();
    }

    /// Pins a version.
    fn pin(&self, id: &str, models: &[(&str, &str)]) {
        write_json(&places::lock_files(&self.config).join(format!("{id}.lock.json")), &lock(models)).unwrap();
    }

    /// Makes a home of a version.
    fn realize(&self, id: &str, models: &[(&str, &str)]) {
        let current = self.home(id).current();
        fs::create_dir_all(current.join("ComfyUI")).unwrap();
        std::os::unix::fs::symlink(self.models(), current.join("ComfyUI/models")).unwrap();
        write_json(&current.join(generation::LOCK), &lock(models)).unwrap();
    }

    fn known(&self, models: &[(&str, &str)]) -> Known {
        known(&self.config, &self.home("own"), &lock(models))
    }

    async fn write(&self, target: &str, source: &str, content: &'static str) {
        let target = RelPath::new(target).unwrap();
        let place = Place { models_dir: &self.models(), target: &target };
        let path = place.path();
        let entry = Entry { source: source.to_owned(), size: content.len() as u64, ..Entry::default() };
        let write = move || fs::write(&path, content).map_err(StoreError::at("write", &path));
        publish(&Ctx::new(), place, entry, write).await.unwrap();
    }
}

fn lock(models: &[(&str, &str)]) -> Lock {
    let models = models.iter().map(|(target, source)| {
        let source = ModelSource::parse(source).unwrap();
        json!({ "target": target, "source": source })
    });
    let repo = json!({ "repo": "r", "commit": "0".repeat(40), "committed_at": "2025-01-01T00:00:00Z" });
    serde_json::from_value(json!({
        "schema_version": LOCK_SCHEMA_VERSION, "version_id": "x", "spec_digest": "",
        "resolved_at": "2025-01-01T00:00:00Z", "comfy": repo, "custom_nodes": [],
        "python": { "version": "3.12", "inputs_digest": "", "packages": [] },
        "models": models.collect::<Vec<_>>(),
    }))
    .unwrap()
}

fn sources(files: &Files) -> Vec<(&str, &str)> {
    files.iter().map(|(target, entry)| (target.as_str(), entry.source.as_str())).collect()
}

/// A model that is nowhere: whoever wants it looks everywhere.
const ABSENT: &[(&str, &str)] = &[("loras/absent.pth", "https://example.org/absent")];
const X: &str = "loras/x.pth";
const Y: &str = "loras/y.pth";

#[tokio::test]
async fn what_was_published_is_known_by_its_link() {
    let disk = Disk::new();
    disk.write(X, A, "content").await;
    let known = disk.known(&[(X, A)]);
    assert_eq!(sources(&known.files), [(X, A)]);
    assert_eq!((known.unwritten.len(), known.warning), (0, None));
    let (target, entry) = find(&disk.config, &disk.home("other"), A).unwrap();
    assert_eq!((target.as_str(), entry.size), (X, 7));
    assert_eq!(find(&disk.config, &disk.home("other"), B), None);
}

#[tokio::test]
async fn an_entry_without_its_file_counts_for_nothing() {
    let disk = Disk::new();
    disk.write(X, A, "content").await;
    fs::remove_file(disk.models().join(X)).unwrap();
    assert_eq!(disk.known(&[(X, A)]), Known::default());
    disk.put(X, "another size");
    // Nobody knows where it came from: it is taken as it is by whoever wants it.
    assert_eq!(sources(&disk.known(&[(X, B)]).files), [(X, B)]);
    assert_eq!(find(&disk.config, &disk.home("own"), A), None);
}

#[tokio::test]
async fn a_lost_index_is_rebuilt_from_the_locks() {
    let disk = Disk::new();
    disk.put(X, "content");
    disk.pin("other", &[(X, A), (Y, B)]);
    let known = disk.known(&[(Y, A)]);
    assert_eq!(sources(&known.files), [(X, A)], "Y does not stand");
    assert_eq!(known.unwritten, known.files);
    assert_eq!(find(&disk.config, &disk.home("own"), A).unwrap().0.as_str(), X);
    adopt(&Ctx::new(), &disk.models(), &known).await;
    fs::remove_dir_all(places::lock_files(&disk.config)).unwrap();
    assert_eq!(sources(&disk.known(&[(X, A)]).files), [(X, A)]);
}

#[test]
fn a_home_says_more_than_a_pin_and_two_that_disagree_say_nothing() {
    let disk = Disk::new();
    for target in [X, Y] {
        disk.put(target, "content");
    }
    disk.pin("one", &[(X, B), (Y, B)]);
    disk.realize("one", &[(X, A)]);
    assert_eq!(sources(&disk.known(ABSENT).files), [(X, A), (Y, B)]);
    disk.realize("two", &[(X, B), (Y, A)]);
    assert_eq!(sources(&disk.known(ABSENT).files), [(Y, A)]);
    // This version's own home speaks as well, wherever it is.
    assert_eq!(sources(&disk.known(&[(X, B)]).files), [(X, B), (Y, A)]);
}

#[test]
fn homes_with_models_of_their_own_say_nothing() {
    let disk = Disk::new();
    disk.put(X, "content");
    disk.realize("one", &[(X, A)]);
    let link = disk.home("one").current().join("ComfyUI/models");
    fs::remove_file(&link).unwrap();
    fs::create_dir(&link).unwrap();
    assert_eq!(disk.known(ABSENT), Known::default());
}

#[tokio::test]
async fn an_index_that_cannot_be_trusted_is_named_and_written_anew() {
    let disk = Disk::new();
    disk.write(X, A, "content").await;
    let path = places::links_file(&disk.models());
    let good = fs::read_to_string(&path).unwrap();
    disk.pin("other", &[(X, A)]);
    let other_format = good.replace("\"schema_version\": 1", "\"schema_version\": 2");
    let wrong_name = good.replace(X, "../x.pth");
    for bad in [&good[..good.len() / 2], "", "[]", "\0\0", &other_format, &wrong_name] {
        fs::write(&path, bad).unwrap();
        let known = disk.known(&[(X, A)]);
        let warning = known.warning.clone().unwrap();
        assert!(warning.contains("links.json"), "{warning}");
        assert_eq!(sources(&known.files), [(X, A)], "{bad}");
        adopt(&Ctx::new(), &disk.models(), &known).await;
        let again = disk.known(&[(X, A)]);
        assert_eq!((again.warning, again.unwritten.len()), (None, 0), "{bad}");
    }
}

#[tokio::test]
async fn a_file_of_another_link_is_gone_before_the_entry_changes() {
    let disk = Disk::new();
    disk.write(X, A, "content").await;
    let target = RelPath::new(X).unwrap();
    let place = Place { models_dir: &disk.models(), target: &target };
    let entry = Entry { source: B.to_owned(), size: 7, ..Entry::default() };
    let path = place.path();
    // A crash right here would leave an entry without a file.
    let crash = move || {
        if path.exists() { Ok(()) } else { Err(StoreError::at("crash", path)(std::io::Error::other("now"))) }
    };
    publish(&Ctx::new(), place, entry, crash).await.unwrap_err();
    assert_eq!(disk.known(&[(X, B)]), Known::default());
}

#[tokio::test]
async fn changes_made_at_once_lose_nothing() {
    let disk = Disk::new();
    let targets: Vec<String> = (0..20).map(|at| format!("loras/{at}.pth")).collect();
    futures_util::future::join_all(targets.iter().map(|target| disk.write(target, A, "content"))).await;
    assert_eq!(disk.known(&[]).files.len(), 20);
}

#[tokio::test]
async fn an_adoption_takes_no_place_of_an_entry_that_stands() {
    let disk = Disk::new();
    disk.put(X, "content");
    let known = disk.known(&[(X, A)]);
    disk.write(X, B, "content").await;
    adopt(&Ctx::new(), &disk.models(), &known).await;
    assert_eq!(sources(&disk.known(&[(X, B)]).files), [(X, B)]);
}

#[tokio::test]
async fn signatures_are_no_part_of_the_key() {
    let disk = Disk::new();
    let signed = ModelSource::parse("https://example.org/a?v=1&sig=s1gned").unwrap();
    disk.write(X, &signed.to_string(), "content").await;
    let index = fs::read_to_string(places::links_file(&disk.models())).unwrap();
    assert!(!index.contains("s1gned"), "{index}");
    let known = disk.known(&[(X, "https://example.org/a?v=1")]);
    assert_eq!(known.unwritten.len(), 0);
}
