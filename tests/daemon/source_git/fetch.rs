//! Commits to files.

use super::*;

#[tokio::test]
async fn a_commit_is_fetched_once_without_history_and_checked_out() {
    let remote = GitRemote::start();
    let node = remote.repository("node");
    let old = node.commit(&[("old.py", "old")]);
    std::fs::write(node.path().join("run.sh"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(node.path().join("run.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("pkg/b.py", node.path().join("link")).unwrap();
    let commit = id(&node.commit(&[("pkg/b.py", "print()\n")]));
    let here = Here::new();
    assert!(!here.git.has(node.url(), &commit));
    assert!(matches!(here.checkout(node.url(), &commit).await, Err(GitError::NotCached { .. })));

    here.fetch(node.url(), &commit).await.unwrap();
    assert!(here.git.has(node.url(), &commit));
    assert!(!here.git.has(node.url(), &id(&old)), "its history was not asked for");
    let requests = remote.requests();
    here.fetch(node.url(), &commit).await.unwrap();
    let (dest, checkout) = here.checkout(node.url(), &commit).await.unwrap();
    let time = here.git.commit_time(node.url(), &commit).await.unwrap();
    let file = here.git.read_file(node.url(), &commit, "pkg/b.py").await.unwrap();
    let missing = here.git.read_file(node.url(), &commit, "pkg/c.py").await.unwrap();
    assert_eq!(remote.requests(), requests, "what is cached needs no network");

    assert_eq!((checkout.files, checkout.unfetched, checkout.left_out), (4, vec![], vec![]));
    assert_eq!(read(&dest.join("link")), "print()\n");
    assert_eq!(std::fs::metadata(dest.join("run.sh")).unwrap().permissions().mode() & 0o111, 0o111);
    assert!(!dest.join(".git").exists());
    assert_eq!(u64::try_from(time.as_second()).unwrap(), FIRST_COMMIT_SECONDS + 86_400);
    assert_eq!((file.as_deref(), missing), (Some(&b"print()\n"[..]), None));
    let again = here.git.checkout(&here.ctx, (node.url(), &commit), &dest, &here.task()).await;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Disk, "a directory that is not empty is left alone");
}

#[tokio::test]
async fn submodules_are_fetched_and_checked_out_with_their_parent() {
    let remote = GitRemote::start();
    let (inner, middle, outer) =
        (remote.repository("inner"), remote.repository("middle"), remote.repository("outer"));
    let leaf = inner.commit(&[("leaf.py", "leaf")]);
    middle.commit(&[("middle.py", "middle")]);
    let stem = middle.submodule("deps/inner", "../inner.git", &leaf);
    inner.commit(&[("leaf.py", "newer")]);
    outer.commit(&[("outer.py", "outer")]);
    let commit = id(&outer.submodule("middle", "../middle.git", &stem));
    let here = Here::new();

    here.fetch(outer.url(), &commit).await.unwrap();
    assert!(here.git.has(outer.url(), &commit));
    let (dest, checkout) = here.checkout(outer.url(), &commit).await.unwrap();
    assert_eq!(read(&dest.join("middle/deps/inner/leaf.py")), "leaf");
    // Two `.gitmodules` and three files.
    assert_eq!(checkout.files, 5);

    let caches = std::fs::read_dir(here.home.path().join("volume/.comfy-cache/git")).unwrap();
    let inner_cache =
        caches.map(|e| e.unwrap().path()).find(|path| path.display().to_string().contains("inner-"));
    std::fs::remove_dir_all(inner_cache.unwrap()).unwrap();
    assert!(!here.git.has(outer.url(), &commit), "a commit without its submodules is not there");
}

#[tokio::test]
async fn links_that_lead_out_of_the_checkout_are_not_written() {
    let remote = GitRemote::start();
    let (node, inner) = (remote.repository("node"), remote.repository("inner"));
    for (link, target) in [("in", "d/../a.py"), ("up", "d/../../x"), ("abs", "/etc/passwd")] {
        std::os::unix::fs::symlink(target, inner.path().join(link)).unwrap();
    }
    std::os::unix::fs::symlink("../a.py", inner.path().join("parent")).unwrap();
    std::os::unix::fs::symlink("../../x", inner.path().join("higher")).unwrap();
    let leaf = inner.commit(&[("b.py", "b")]);
    node.commit(&[("a.py", "a")]);
    let commit = id(&node.submodule("sub", "../inner.git", &leaf));
    let here = Here::new();
    here.fetch(node.url(), &commit).await.unwrap();
    let (dest, checkout) = here.checkout(node.url(), &commit).await.unwrap();
    assert_eq!(checkout.left_out, ["sub/abs", "sub/higher", "sub/in", "sub/up"]);
    assert_eq!(read(&dest.join("sub/parent")), "a", "within the whole checkout it may lead anywhere");
    assert!(checkout.left_out.iter().all(|link| dest.join(link).symlink_metadata().is_err()));
}

#[tokio::test]
async fn a_submodule_cannot_name_a_file_of_this_machine() {
    let remote = GitRemote::start();
    let (victim, node) = (remote.repository("victim"), remote.repository("node"));
    let secret = victim.commit(&[("secret", "s")]);
    for link in [victim.path().to_str().unwrap(), "ext::sh -c true", "-x"] {
        let commit = id(&node.submodule("sub", link, &secret));
        let error = Here::new().fetch(node.url(), &commit).await.unwrap_err();
        assert!(matches!(error, GitError::Url { .. }), "{link}: {error}");
    }
}

#[tokio::test]
async fn progress_counts_files() {
    let remote = GitRemote::start();
    let node = remote.repository("node");
    let files: Vec<_> = (0..50).map(|n| (format!("f{n}"), n.to_string())).collect();
    let files: Vec<_> = files.iter().map(|(name, content)| (name.as_str(), content.as_str())).collect();
    let commit = id(&node.commit(&files));
    let here = Here::new();
    here.fetch(node.url(), &commit).await.unwrap();
    here.checkout(node.url(), &commit).await.unwrap();
    let seen = here.ctx.progress.subscribe().borrow().clone();
    // Fifty blobs, a tree and a commit; then fifty files.
    assert_eq!((seen.tasks[0].done, seen.tasks[0].total), (52, Some(52)));
    assert_eq!((seen.tasks[1].done, seen.tasks[1].total), (50, Some(50)));
}
