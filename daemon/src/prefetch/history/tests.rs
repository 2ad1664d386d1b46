use super::*;
use std::time::Duration;

struct Place {
    dir: tempfile::TempDir,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("state/history.jsonl")
    }

    fn open(&self) -> History {
        History::open(self.file(), &self.tasks, self.stop.clone())
    }

    /// Ends the daemon that opened it.
    async fn end(&mut self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        (self.tasks, self.stop) = (TaskTracker::new(), CancellationToken::new());
    }
}

fn id(name: &str) -> VersionId {
    VersionId::new(name).unwrap()
}

fn names(history: &History) -> String {
    let names: Vec<_> = history.snapshot().into_iter().map(|use_| use_.version.to_string()).collect();
    names.join(" ")
}

#[tokio::test]
async fn the_next_daemon_knows_what_was_noted() {
    let mut place = Place::new();
    let history = place.open();
    assert!(history.note(id("a"), 1000) && history.note(id("b"), 1001));
    place.end().await;
    let history = place.open();
    assert!(history.note(id("c"), 2000));
    place.end().await;
    assert_eq!(names(&place.open()), "a b c");
    assert_eq!(std::fs::read_to_string(place.file()).unwrap().lines().count(), 3);
}

#[tokio::test]
async fn what_is_noted_is_written_while_the_daemon_lives() {
    let place = Place::new();
    let history = place.open();
    history.note(id("a"), 1000);
    // A kill leaves the file as it is now.
    let written = async {
        while std::fs::read_to_string(place.file()).unwrap_or_default().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), written).await.unwrap();
    assert_eq!(names(&place.open()), "a");
}

#[tokio::test]
async fn calls_of_one_use_are_one_entry() {
    let place = Place::new();
    let history = place.open();
    assert!(history.note(id("a"), 1000));
    assert!(history.note(id("b"), 1010));
    assert!(!history.note(id("a"), 1059), "within a minute of its last entry");
    assert!(history.note(id("a"), 1060));
    assert_eq!(names(&history), "a b a");
}

#[tokio::test]
async fn a_clock_that_jumps_changes_no_order() {
    let place = Place::new();
    let history = place.open();
    for (name, at) in [("a", 1000), ("b", i64::MAX), ("c", i64::MIN), ("b", 1010), ("a", 1020)] {
        history.note(id(name), at);
    }
    assert_eq!(names(&history), "a b c b a");
}

#[tokio::test]
async fn the_oldest_go_from_memory_and_from_the_file() {
    let mut place = Place::new();
    let history = place.open();
    for number in 0..3 * MOST {
        history.note(id("a"), i64::try_from(number).unwrap() * 100);
        if number % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(history.snapshot().len(), MOST);
    place.end().await;
    let lines = std::fs::read_to_string(place.file()).unwrap().lines().count();
    assert!((MOST..=SLACK * MOST).contains(&lines), "{lines} lines");
    assert_eq!(place.open().snapshot(), history.snapshot());
}

#[tokio::test]
async fn damaged_lines_are_passed_over_and_what_is_noted_next_is_whole() {
    let good = |name: &str| format!("{{\"at\":1000,\"version\":\"{name}\"}}\n");
    let torn = &good("torn")[..20];
    for (content, kept) in [
        (format!("{}{torn}", good("a")), "a"),
        (format!("{}\0\0\0\n{}", good("a"), good("b")), "a b"),
        (format!("{}{}", good("../a"), good("b")), "b"),
        ("[]".to_owned(), ""),
        (String::new(), ""),
    ] {
        let mut place = Place::new();
        std::fs::create_dir_all(place.file().parent().unwrap()).unwrap();
        std::fs::write(place.file(), &content).unwrap();
        let history = place.open();
        assert_eq!(names(&history), kept, "{content:?}");
        history.note(id("new"), 2000);
        place.end().await;
        assert_eq!(names(&place.open()), format!("{kept} new").trim(), "{content:?}");
        let text = std::fs::read_to_string(place.file()).unwrap();
        assert!(text.lines().all(|line| serde_json::from_str::<Request>(line).is_ok()), "{text:?}");
    }
}

#[tokio::test]
async fn a_directory_in_its_place_makes_room() {
    let mut place = Place::new();
    std::fs::create_dir_all(place.file()).unwrap();
    place.open().note(id("a"), 1000);
    place.end().await;
    assert_eq!(names(&place.open()), "a");
}
