use super::*;

#[test]
fn a_written_file_replaces_the_old_one_and_leaves_no_staging() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b.json");
    write_file(&path, b"one").unwrap();
    write_file(&path, b"two").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"two");
    assert_eq!(std::fs::read_dir(dir.path().join("a")).unwrap().count(), 1);
}

#[test]
fn a_file_is_replaced_only_in_a_directory_that_stands() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    for (text, durable) in [("one", false), ("two", true), ("three", false)] {
        replace_file(&path, text.as_bytes(), durable).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
    assert!(replace_file(&dir.path().join("gone/a.json"), b"x", false).is_err());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn of_many_who_claim_a_directory_one_gets_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("claim");
    let claims = std::thread::scope(|scope| {
        let claim = |name: usize| {
            let staging = staging_path(&path);
            std::fs::create_dir(&staging).unwrap();
            std::fs::write(staging.join("owner"), name.to_string()).unwrap();
            claim_dir(&staging, &path).unwrap()
        };
        let threads: Vec<_> = (0..8).map(|name| scope.spawn(move || claim(name))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(claims.iter().filter(|claimed| **claimed).count(), 1);
    let owner = std::fs::read_to_string(path.join("owner")).unwrap();
    assert!(claims[owner.parse::<usize>().unwrap()]);
    remove_dir(&path).unwrap();
    remove_dir(&path).unwrap();
    assert!(!path.exists());
}

#[test]
fn a_link_is_replaced_in_one_step() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("current");
    symlink(Path::new("one"), &link).unwrap();
    symlink(Path::new("two"), &link).unwrap();
    assert_eq!(std::fs::read_link(&link).unwrap(), Path::new("two"));
}

#[test]
fn a_second_name_is_a_hard_link_that_leaves_no_staging() {
    let dir = tempfile::tempdir().unwrap();
    let [from, to] = ["one", "sub/two"].map(|name| dir.path().join(name));
    std::fs::write(&from, "x").unwrap();
    // The second time both names belong to one file already.
    for _ in 0..2 {
        SecondName::of(&from, &to, None).unwrap().publish().unwrap();
    }
    assert_eq!(std::fs::metadata(&to).unwrap().ino(), std::fs::metadata(&from).unwrap().ino());
    assert_eq!(std::fs::read_dir(dir.path().join("sub")).unwrap().count(), 1);
    drop(SecondName::of(&from, &to, None).unwrap());
    assert_eq!(std::fs::read_dir(dir.path().join("sub")).unwrap().count(), 1);
    assert!(SecondName::of(&dir.path().join("none"), &to, None).is_err());
}

#[test]
fn staging_names_are_valid_for_the_longest_names() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["x".repeat(255), "é".repeat(127)] {
        let path = dir.path().join(name);
        assert!(create_file(&path, b"x").unwrap());
        assert!(!create_file(&path, b"y").unwrap(), "it is taken");
        assert_eq!(std::fs::read(&path).unwrap(), b"x");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn an_error_names_the_thing_and_the_place() {
    let error = write_file(Path::new("/proc/nothing/x"), b"").unwrap_err();
    assert!(error.to_string().contains("/proc/nothing"), "{error}");
}
