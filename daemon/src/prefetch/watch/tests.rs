use super::*;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(place.versions()).unwrap();
        place
    }

    fn versions(&self) -> PathBuf {
        self.dir.path().join("versions")
    }

    fn seen(&self) -> PathBuf {
        self.dir.path().join("specs.json")
    }

    fn spec(&self, name: &str) -> PathBuf {
        self.versions().join(format!("{name}.json"))
    }

    fn write(&self, name: &str, tag: &str) {
        std::fs::write(self.spec(name), spec(tag)).unwrap();
    }

    /// What a daemon that begins now knows.
    fn daemon(&self) -> Specs {
        Specs::new(self.versions(), self.seen())
    }
}

fn spec(tag: &str) -> String {
    format!(r#"{{"schema_version": 2, "comfy": {{"repo": "https://example.com/ComfyUI", "ref": "{tag}"}}}}"#)
}

fn names(found: &[(VersionId, PathBuf, String)]) -> Vec<&str> {
    found.iter().map(|(id, _, _)| id.as_str()).collect()
}

#[test]
fn specs_that_are_new_or_say_something_else_are_news() {
    let place = Place::new();
    place.write("shipped", "v1");
    let mut specs = place.daemon();
    assert!(specs.look().is_empty(), "the first daemon takes all as seen");
    place.write("new", "v1");
    assert_eq!(names(&specs.look()), ["new"]);
    assert!(specs.look().is_empty(), "it is told once");
    place.write("shipped", "v2");
    assert_eq!(names(&specs.look()), ["shipped"]);
    place.write("shipped", "v1");
    assert!(specs.look().is_empty(), "it says again what was seen");
}

#[test]
fn the_same_content_and_what_is_no_spec_are_no_news() {
    let place = Place::new();
    place.write("a", "v1");
    let mut specs = place.daemon();
    specs.look();
    std::fs::remove_file(place.spec("a")).unwrap();
    assert!(specs.look().is_empty());
    place.write("a", "v1");
    std::fs::write(place.versions().join("spec.schema.json"), spec("v1")).unwrap();
    std::fs::write(place.versions().join("README.md"), "text").unwrap();
    std::fs::create_dir(place.spec("directory")).unwrap();
    nix::unistd::mkfifo(&place.spec("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::os::unix::fs::symlink("nowhere", place.spec("dangling")).unwrap();
    assert!(specs.look().is_empty());
}

#[test]
fn one_with_errors_is_news_when_they_are_gone() {
    let place = Place::new();
    let mut specs = place.daemon();
    specs.look();
    std::fs::write(place.spec("a"), &spec("v1")[..30]).unwrap();
    assert!(specs.look().is_empty());
    place.write("a", "v1");
    assert_eq!(names(&specs.look()), ["a"]);
}

#[test]
fn the_next_daemon_tells_what_came_while_none_ran_and_what_nobody_settled() {
    let place = Place::new();
    place.write("a", "v1");
    let mut specs = place.daemon();
    specs.look();
    place.write("settled", "v1");
    place.write("unsettled", "v1");
    for (id, _, content) in specs.look() {
        if id.as_str() == "settled" {
            specs = specs.settle(id, content);
        }
    }
    place.write("a", "v2");
    assert_eq!(names(&place.daemon().look()), ["a", "unsettled"]);
}

#[test]
fn a_volume_that_comes_late_or_goes_for_a_while_is_no_news() {
    let place = Place::new();
    let away = place.dir.path().join("away");
    place.write("a", "v1");
    let swap = |from: &Path, to: &Path| crate::store::commit::publish(from, to).unwrap();
    swap(&place.versions(), &away);
    let mut specs = place.daemon();
    assert!(specs.look().is_empty());
    swap(&away, &place.versions());
    assert!(specs.look().is_empty(), "it is seen for the first time");
    swap(&place.versions(), &away);
    std::fs::create_dir(place.versions()).unwrap();
    assert!(specs.look().is_empty() && place.daemon().look().is_empty());
    std::fs::remove_dir(place.versions()).unwrap();
    swap(&away, &place.versions());
    assert!(specs.look().is_empty() && place.daemon().look().is_empty());
}

#[test]
fn damaged_memory_and_that_of_another_directory_count_as_none() {
    for content in ["", "{", "[]", r#"{"schema_version": 1, "dir": "/elsewhere", "specs": {}}"#] {
        let place = Place::new();
        place.write("a", "v1");
        std::fs::write(place.seen(), content).unwrap();
        let mut specs = place.daemon();
        assert!(specs.look().is_empty(), "{content:?}");
        place.write("b", "v1");
        assert_eq!(names(&specs.look()), ["b"], "{content:?}");
        assert_eq!(names(&place.daemon().look()), ["b"], "{content:?}");
    }
}

#[tokio::test]
async fn the_kernel_tells_at_once_and_what_is_settled_is_kept() {
    let place = Place::new();
    place.write("a", "v1");
    let vars = [("HOME", place.dir.path().to_owned()), ("COMFY_VERSIONS_DIR", place.versions())];
    let vars = vars.map(|(name, path)| (name.to_owned(), path.into_os_string().into_string().unwrap()));
    let config = Config::from_vars(&BTreeMap::from(vars)).unwrap();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let mut news = start(&config, place.seen(), &tasks, stop.clone());
    // Sooner than it would be polled.
    let soon = Duration::from_secs(25);
    let until = async |is_so: &dyn Fn() -> bool| {
        tokio::time::timeout(soon, async {
            while !is_so() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    };
    until(&|| place.seen().exists()).await;
    // As editors do: another name first.
    std::fs::write(place.versions().join("b.json~"), spec("v1")).unwrap();
    crate::store::commit::publish(&place.versions().join("b.json~"), &place.spec("b")).unwrap();
    let told = tokio::time::timeout(soon, news.recv()).await.unwrap().unwrap();
    assert_eq!((told.version_id.as_str(), &told.path), ("b", &place.spec("b")));
    told.settle();
    until(&|| place.daemon().look().is_empty()).await;
    place.write("b", "v2");
    assert_eq!(tokio::time::timeout(soon, news.recv()).await.unwrap().unwrap().version_id.as_str(), "b");
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    assert!(news.recv().await.is_none());
}
