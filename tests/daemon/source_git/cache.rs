//! The object cache: broken, shared, left behind by a killed fetch.

use super::*;
use comfyd::store::file_lock::FileLock;

// A fetch that was killed leaves locks that gix would wait for in vain.
#[tokio::test]
async fn what_a_killed_fetch_left_is_swept() {
    let remote = GitRemote::start();
    let node = remote.repository("node");
    let first = id(&node.commit(&[("a.py", "1")]));
    let second = id(&node.commit(&[("a.py", "2")]));
    let here = Here::new();
    here.fetch(node.url(), &first).await.unwrap();
    let cache = here.cache();
    for left in ["shallow.lock", "objects/pack/.tmpXYZ", &format!("refs/comfyd/pin/{second}.lock")] {
        std::fs::write(cache.join(left), "").unwrap();
    }
    here.fetch(node.url(), &second).await.unwrap();
    assert!(here.git.has(node.url(), &first) && here.git.has(node.url(), &second));
}

#[tokio::test]
async fn a_new_daemon_sweeps_the_caches_that_nobody_fetches_into() {
    let remote = GitRemote::start();
    let node = remote.repository("node");
    let commit = id(&node.commit(&[("a.py", "1")]));
    let here = Here::new();
    here.fetch(node.url(), &commit).await.unwrap();
    let cache = here.cache();
    let left = cache.join("objects/pack/.tmpXYZ");
    let name = cache.file_name().unwrap().to_str().unwrap();
    let lock = cache.with_file_name("locks").join(format!("{name}.lock"));
    std::fs::write(&left, "").unwrap();
    let fetches = FileLock::try_take(&lock).unwrap().unwrap();
    here.git.sweep();
    assert!(left.exists(), "someone fetches into it");
    drop(fetches);
    here.git.sweep();
    assert!(!left.exists());
    assert!(here.git.has(node.url(), &commit));
}

#[tokio::test]
async fn a_broken_cache_is_thrown_away_and_fetched_anew() {
    let remote = GitRemote::start();
    let node = remote.repository("node");
    let commit = id(&node.commit(&[("a.py", "content")]));
    let here = Here::new();
    let breaks: [fn(&Path); 3] = [
        |cache| std::fs::write(cache.join("HEAD"), "").unwrap(),
        |cache| std::fs::write(cache.join("config"), "[[[").unwrap(),
        |cache| {
            for entry in std::fs::read_dir(cache.join("objects/pack")).unwrap() {
                std::fs::File::options()
                    .write(true)
                    .open(force_writable(&entry.unwrap().path()))
                    .unwrap()
                    .set_len(40)
                    .unwrap();
            }
        },
    ];
    for breaks in breaks {
        here.fetch(node.url(), &commit).await.unwrap();
        breaks(&here.cache());
        here.fetch(node.url(), &commit).await.unwrap();
        let (dest, _) = here.checkout(node.url(), &commit).await.unwrap();
        assert_eq!(read(&dest.join("a.py")), "content");
        std::fs::remove_dir_all(dest).unwrap();
    }
}

fn force_writable(path: &Path) -> &Path {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    path
}

#[tokio::test]
async fn two_fetches_into_one_cache_take_turns() {
    let remote = GitRemote::start();
    let node = remote.repository("node");
    let commits: Vec<_> = (0..4).map(|n| id(&node.commit(&[("a.py", &n.to_string())]))).collect();
    let here = Here::new();
    let fetches = commits.iter().map(|commit| here.fetch(node.url(), commit));
    for fetched in futures_util::future::join_all(fetches).await {
        fetched.unwrap();
    }
    assert!(commits.iter().all(|commit| here.git.has(node.url(), commit)));
}
