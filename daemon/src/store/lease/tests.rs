use super::*;
use std::time::Instant;

fn dir() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("uses/x.lease");
    (dir, path)
}

/// What another machine wrote.
fn foreign(path: &Path, beat: u64) {
    let mut text = serde_json::to_value(Content {
        owner: Owner::mine(),
        beat,
        since: "2026-01-01T00:00:00Z".parse().unwrap(),
    })
    .unwrap();
    for (name, value) in [("host", "elsewhere"), ("boot", "another"), ("nonce", "n")] {
        text["owner"][name] = value.into();
    }
    commit::write_file(path, text.to_string().as_bytes()).unwrap();
}

#[test]
fn a_lease_beats_until_it_is_dropped() {
    let (_dir, path) = dir();
    let lease = Lease::take(&path).unwrap();
    let first = Lease::holder(&path).unwrap().unwrap();
    assert!(first.owner.to_string().starts_with(&format!("pid {} on ", std::process::id())));
    let mut watcher = Watcher::default();
    let start = Instant::now();
    while Lease::holder(&path).unwrap().unwrap() == first {
        assert!(start.elapsed() < Duration::from_secs(30), "it beats");
        assert!(!watcher.has_ended(&first));
        std::thread::yield_now();
    }
    assert!(lease.is_mine().unwrap());
    drop(lease);
    assert_eq!(Lease::holder(&path).unwrap(), None);
    assert!(watcher.has_ended(&first), "a process knows its own leases");
}

#[test]
fn of_many_who_claim_one_gets_it() {
    let (_dir, path) = dir();
    let claims: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| Lease::claim(&path).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(claims.iter().flatten().count(), 1);
    assert!(
        claims.iter().flatten().all(|lease| lease.is_mine().unwrap()),
        "and none of the others took it away"
    );
}

#[test]
fn whoever_was_passed_over_leaves_the_file_alone() {
    let (_dir, path) = dir();
    for takes_over in [|path: &Path| foreign(path, 1), |path: &Path| std::fs::remove_file(path).unwrap()] {
        let lease = Lease::take(&path).unwrap();
        takes_over(&path);
        let stands = std::fs::read(&path).ok();
        assert!(!lease.is_mine().unwrap());
        lease.inner.beat();
        drop(lease);
        assert_eq!(std::fs::read(&path).ok(), stands);
    }
}

#[test]
fn what_is_no_lease_counts_as_none_and_is_written_over() {
    let (_dir, path) = dir();
    let lease = Lease::take(&path).unwrap();
    std::fs::write(&path, "{").unwrap();
    assert_eq!(Lease::holder(&path).unwrap(), None);
    assert!(lease.is_mine().unwrap(), "nobody else's name stands there");
    lease.inner.beat();
    assert!(Lease::holder(&path).unwrap().is_some());
    drop(lease);
    std::fs::create_dir_all(path.join("x")).unwrap();
    assert_eq!(Lease::holder(&path).unwrap(), None);
    drop(Lease::take(&path).unwrap());
}

#[test]
fn someone_elsewhere_has_ended_only_after_a_silence_that_was_watched() {
    let (_dir, path) = dir();
    let look = |watcher: &mut Watcher, beat| {
        foreign(&path, beat);
        watcher.has_ended(&Lease::holder(&path).unwrap().unwrap())
    };
    let mut watcher = Watcher::default();
    assert!(!look(&mut watcher, 1));
    watcher.quiet = Some(Stopwatch::having(SILENCE));
    assert!(!look(&mut watcher, 2), "it beat");
    let held = Lease::holder(&path).unwrap().unwrap();
    watcher.quiet = Some(Stopwatch::having(SILENCE));
    assert!(watcher.has_ended(&held));
}
