//! Repositories over real smart HTTP.

use comfyd::config::Config;
use comfyd::ctx::{Ctx, Task};
use comfyd::source::git::{Checkout, Git, GitError};
use proto::event::{TaskKind, Unit};
use proto::{CommitId, ErrorKind};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::git_remote::{FIRST_COMMIT_SECONDS, Faults, GitRemote};
use tempfile::TempDir;

/// comfyd's side: an empty home.
struct Here {
    home: TempDir,
    ctx: Ctx,
    git: Git,
}

impl Here {
    fn new() -> Self {
        Self::with_env(&[])
    }

    fn with_env(vars: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let git = Git::new(&config(home.path(), vars));
        Self { home, ctx: Ctx::new(), git }
    }

    fn task(&self) -> Task {
        self.ctx.progress.task(TaskKind::Repository, "repository", Unit::Objects)
    }

    async fn fetch(&self, url: &str, commit: &CommitId) -> Result<(), GitError> {
        self.git.fetch(&self.ctx, (url, commit), None, &self.task()).await
    }

    async fn checkout(&self, url: &str, commit: &CommitId) -> Result<(PathBuf, Checkout), GitError> {
        let dest = self.home.path().join(commit.short());
        let checkout = self.git.checkout(&self.ctx, (url, commit), &dest, &self.task()).await?;
        Ok((dest, checkout))
    }

    /// The one object cache of this home.
    fn cache(&self) -> PathBuf {
        let caches = std::fs::read_dir(self.home.path().join("volume/.comfy-cache/git")).unwrap();
        let mut caches = caches.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some());
        caches.next().unwrap()
    }
}

fn config(home: &Path, vars: &[(&str, &str)]) -> Config {
    let volume = home.join("volume");
    std::fs::create_dir_all(&volume).unwrap();
    let mut env = BTreeMap::from([
        ("HOME".to_owned(), home.display().to_string()),
        ("COMFY_VOLUME".to_owned(), volume.display().to_string()),
    ]);
    env.extend(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Config::from_vars(&env).unwrap()
}

fn id(commit: &str) -> CommitId {
    CommitId::new(commit).unwrap()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn names_are_resolved_exactly_and_without_objects() {
    let remote = GitRemote::start();
    let node = remote.repository("node");
    let first = node.commit(&[("a.py", "1")]);
    node.annotated_tag("v1");
    node.branch("x/main");
    node.branch("both");
    let second = node.commit(&[("a.py", "2")]);
    node.tag("both");
    let here = Here::new();
    let resolve = async |name: Option<&str>| here.git.resolve_ref(&here.ctx, node.url(), name).await.unwrap();

    let head = resolve(None).await;
    assert_eq!((head.commit.as_str(), head.name.as_str()), (second.as_str(), "refs/heads/main"));
    assert_eq!(resolve(Some("main")).await.commit.as_str(), second);
    assert_eq!(resolve(Some("x/main")).await.commit.as_str(), first);
    let tag = resolve(Some("v1")).await;
    assert_eq!((tag.commit.as_str(), tag.name.as_str()), (first.as_str(), "refs/tags/v1"));
    assert_eq!(resolve(Some("refs/tags/both")).await.commit.as_str(), second);
    let both = resolve(Some("both")).await;
    assert_eq!(both.commit.as_str(), first, "the branch wins");
    assert!(both.warning.unwrap().contains("refs/tags/both"));
    assert!(!remote.requests().is_empty());
    let listings = remote.requests();
    assert_eq!(resolve(Some(&first)).await.commit.as_str(), first);
    assert_eq!(remote.requests(), listings, "a full commit needs no network");
}

#[tokio::test]
async fn a_name_that_is_not_there_says_what_to_do() {
    let remote = GitRemote::start();
    let node = remote.repository("node");
    node.commit(&[("a.py", "1")]);
    node.branch("feature/main");
    let here = Here::new();
    let fail = async |name: &str| {
        here.git.resolve_ref(&here.ctx, node.url(), Some(name)).await.expect_err("it does not exist")
    };

    let misspelt = fail("mian").await;
    assert_eq!(misspelt.kind(), ErrorKind::NotFound);
    assert!(misspelt.hint().unwrap().contains("`main`"), "{:?}", misspelt.hint());
    assert!(fail("abcdef1").await.hint().unwrap().contains("40 digits"));
    assert_eq!(fail("a:b").await.kind(), ErrorKind::NotFound);
    let empty = remote.repository("empty");
    let error = here.git.resolve_ref(&here.ctx, empty.url(), None).await.unwrap_err();
    assert!(matches!(error, GitError::Empty(_)), "{error}");
}

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

    assert_eq!(checkout, Checkout { files: 4, lfs_pointers: vec![] });
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

// Servers that speak an old protocol over ssh hand out only what a ref points to.
#[tokio::test]
async fn a_server_that_refuses_ids_is_followed_back_from_its_refs() {
    let remote = GitRemote::start();
    let node = remote.repository("node");
    let hidden = id(&node.commit(&[("a.py", "0")]));
    for content in 1..5 {
        node.commit(&[("a.py", &content.to_string())]);
    }
    remote.set_faults(Faults { refuse_hidden: true, old_protocol: true, ..Faults::default() });
    for git_ref in [Some("main"), Some("a-branch-that-is-gone"), None] {
        let here = Here::new();
        here.git.fetch(&here.ctx, (node.url(), &hidden), git_ref, &here.task()).await.unwrap();
        let (dest, _) = here.checkout(node.url(), &hidden).await.unwrap();
        assert_eq!(read(&dest.join("a.py")), "0");
    }
    let nowhere = id(&"1".repeat(40));
    let error = Here::new().fetch(node.url(), &nowhere).await.unwrap_err();
    assert!(matches!(error, GitError::UnknownCommit { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn an_old_protocol_works_too() {
    let remote = GitRemote::start();
    let node = remote.repository("node");
    node.commit(&[("a.py", "1")]);
    node.branch("x/dev");
    let commit = id(&node.commit(&[("a.py", "2")]));
    remote.set_faults(Faults { old_protocol: true, ..Faults::default() });
    let here = Here::new();
    let resolved = here.git.resolve_ref(&here.ctx, node.url(), Some("main")).await.unwrap();
    assert_eq!(resolved.commit, commit);
    assert!(here.git.resolve_ref(&here.ctx, node.url(), Some("dev")).await.is_err());
    here.fetch(node.url(), &commit).await.unwrap();
    let (dest, _) = here.checkout(node.url(), &commit).await.unwrap();
    assert_eq!(read(&dest.join("a.py")), "2");
}

#[tokio::test]
async fn failures_of_the_host_have_their_kinds() {
    let remote = GitRemote::start();
    let here = Here::new();
    let resolve = async |url: &str| here.git.resolve_ref(&here.ctx, url, None).await.unwrap_err();

    let missing = resolve(&format!("{}/missing.git", remote.url())).await;
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing:?}");
    let node = remote.repository("node");
    let commit = node.commit(&[("a.py", "1")]);
    remote.set_faults(Faults { private: true, ..Faults::default() });
    let private = resolve(node.url()).await;
    assert_eq!(private.kind(), ErrorKind::Access, "{private:?}");
    assert!(private.hint().unwrap().contains("credential helper"));
    remote.set_faults(Faults { unavailable: 1, ..Faults::default() });
    let resolved = here.git.resolve_ref(&here.ctx, node.url(), None).await.unwrap();
    assert_eq!(resolved.commit.as_str(), commit, "one failure of the server is got over");
    assert!(here.ctx.progress.subscribe().borrow().notes[0].text.contains("attempt 2 of 3"));
    let commit = id(&"1".repeat(40));
    let unknown = here.fetch(node.url(), &commit).await.unwrap_err();
    assert!(matches!(unknown, GitError::UnknownCommit { .. }), "{unknown:?}");
    let local = resolve("/nowhere/at/all.git").await;
    assert_eq!(local.kind(), ErrorKind::NotFound, "{local:?}");
}

#[tokio::test]
async fn an_unreachable_host_is_a_matter_of_the_network() {
    // Nobody listens on a port that was just given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let here = Here::new();
    let url = format!("https://user:s3cr3t@127.0.0.1:{port}/x.git");
    let error = here.git.resolve_ref(&here.ctx, &url, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network, "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("proxy")), "{error:?}");
    let everything = format!("{error} {error:?} {:?}", here.ctx.progress.subscribe().borrow());
    assert!(!everything.contains("s3cr3t"), "{everything}");
}

#[tokio::test]
async fn a_cancelled_fetch_returns_at_once_even_from_a_silent_server() {
    let remote = GitRemote::start();
    let node = remote.repository("node");
    let commit = id(&node.commit(&[("a.py", "1")]));
    remote.set_faults(Faults { stall: true, ..Faults::default() });
    let here = Here::new();
    let url = node.url().to_owned();
    let started = std::time::Instant::now();
    let cancel = async {
        while remote.requests().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        here.ctx.cancel.cancel();
    };
    let (fetched, ()) = tokio::join!(here.fetch(&url, &commit), cancel);
    assert!(matches!(fetched, Err(GitError::Cancelled(_))), "{fetched:?}");
    assert!(started.elapsed() < Duration::from_secs(15), "the read timeout is longer");
    // The silent server's thread ends with its connection.
    drop(remote);
}

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

#[tokio::test]
async fn the_users_git_configuration_says_how_hosts_are_reached() {
    let remote = GitRemote::start();
    let node = remote.repository("node");
    let commit = node.commit(&[("a.py", "1")]);
    let key = format!("url.{}/.insteadOf", remote.url());
    let config = tempfile::tempdir().unwrap();
    let file = config.path().join("gitconfig");
    std::fs::write(&file, format!("[url \"{}/\"]\n insteadOf = https://git.invalid/o/\n", remote.url()))
        .unwrap();
    let by_variables: &[_] = &[
        ("GIT_CONFIG_COUNT", "1"),
        ("GIT_CONFIG_KEY_0", &key),
        ("GIT_CONFIG_VALUE_0", "https://git.invalid/o/"),
    ];
    let by_file: &[_] = &[("GIT_CONFIG_GLOBAL", file.to_str().unwrap())];
    for vars in [by_variables, by_file] {
        let here = Here::with_env(vars);
        let url = "https://git.invalid/o/node.git";
        let resolved = here.git.resolve_ref(&here.ctx, url, None).await.unwrap();
        assert_eq!(resolved.commit.as_str(), commit);
        here.fetch(url, &resolved.commit).await.unwrap();
        assert!(here.git.has(url, &resolved.commit));
    }
}

#[tokio::test]
async fn a_broken_git_configuration_is_named_and_matters_only_for_connecting() {
    let remote = GitRemote::start();
    let node = remote.repository("node");
    let commit = id(&node.commit(&[("a.py", "1")]));
    let here = Here::new();
    here.fetch(node.url(), &commit).await.unwrap();
    std::fs::write(here.home.path().join(".gitconfig"), "[[[").unwrap();
    let error = here.git.resolve_ref(&here.ctx, node.url(), None).await.unwrap_err();
    assert!(matches!(error, GitError::Settings(_)), "{error:?}");
    here.checkout(node.url(), &commit).await.unwrap();
}

// With git-lfs installed for the whole machine, its filter used to run in checkouts and fail.
#[tokio::test]
async fn filters_of_the_machine_do_not_run_and_lfs_pointers_are_told() {
    let remote = GitRemote::start();
    let node = remote.repository("node");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n";
    let commit =
        node.commit(&[(".gitattributes", "*.bin filter=lfs\n"), ("m/a.bin", pointer), ("b.bin", "5")]);
    let commit = id(&commit);
    let here = Here::new();
    let filter = "[filter \"lfs\"]\n required = true\n smudge = false\n process = false\n";
    std::fs::write(here.home.path().join(".gitconfig"), filter).unwrap();
    here.fetch(node.url(), &commit).await.unwrap();
    let (dest, checkout) = here.checkout(node.url(), &commit).await.unwrap();
    assert_eq!(checkout, Checkout { files: 3, lfs_pointers: vec!["m/a.bin".to_owned()] });
    assert_eq!(read(&dest.join("m/a.bin")), pointer);
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
