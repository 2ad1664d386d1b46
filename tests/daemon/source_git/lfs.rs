//! Git LFS: pointers become files, or are told.

use super::*;
use support::lfs::pointer;
use support::tls::Authority;

/// Commits `.gitattributes` and these files. Pointers are files like any other to git.
fn commit(node: &support::git_remote::Repository, files: &[(&str, &str)]) -> CommitId {
    id(&node.commit(&[&[(".gitattributes", "*.bin filter=lfs -text\n")], files].concat()))
}

async fn checked_out(here: &Here, url: &str, commit: &CommitId, network: bool) -> (PathBuf, Checkout) {
    here.fetch(url, commit).await.unwrap();
    let dest = here.home.path().join(uuid());
    let checkout = here.git.checkout(&here.ctx, (url, commit), &dest, &here.task()).await.unwrap();
    let checkout = here.git.fetch_lfs(&here.ctx, (&dest, network), checkout, &here.task()).await.unwrap();
    (dest, checkout)
}

/// A name that was not used before.
fn uuid() -> String {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("out{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

#[tokio::test]
async fn files_are_fetched_once_and_copied_into_each_checkout() {
    let remote = GitRemote::start();
    let (node, inner) = (remote.repository("node"), remote.repository("inner"));
    let (one, two) = (vec![1; 3_000_000], b"two".to_vec());
    std::fs::write(inner.path().join("run.bin"), remote.lfs().put(&two)).unwrap();
    std::fs::set_permissions(inner.path().join("run.bin"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let leaf = commit(&inner, &[]);
    commit(&node, &[("m/one.bin", &remote.lfs().put(&one)), ("same.bin", &remote.lfs().put(&one))]);
    let commit = id(&node.submodule("sub", "../inner.git", leaf.as_str()));
    let here = Here::new();
    let (dest, checkout) = checked_out(&here, node.url(), &commit, true).await;
    assert_eq!(checkout.unfetched, []);
    for (path, content) in [("m/one.bin", &one), ("same.bin", &one), ("sub/run.bin", &two)] {
        assert!(std::fs::read(dest.join(path)).unwrap() == *content, "{path}");
    }
    let mode = std::fs::metadata(dest.join("sub/run.bin")).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0o111);
    let downloads = || remote.requests().iter().filter(|seen| seen.contains("/lfs-storage/")).count();
    assert_eq!(downloads(), 2);

    std::fs::write(dest.join("same.bin"), "a node writes into its file").unwrap();
    let (dest, checkout) = checked_out(&here, node.url(), &commit, false).await;
    assert_eq!((checkout.unfetched, downloads()), (vec![], 2), "what is cached needs no network");
    assert!(std::fs::read(dest.join("same.bin")).unwrap() == one);
}

#[tokio::test]
async fn what_cannot_be_had_stays_a_pointer_and_says_why() {
    let remote = GitRemote::start();
    let node = remote.repository("node");
    let (good, lost) = (remote.lfs().put(b"good"), pointer(b"lost"));
    let (bad, huge) = (remote.lfs().put(b"bad"), pointer(b"huge").replace("size 4", "size 99999999999"));
    remote.lfs().damage(b"bad", b"BAD");
    let malformed = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n";
    let files = [
        ("bad.bin", bad.as_str()),
        ("good.bin", &good),
        ("huge.bin", &huge),
        ("lost.bin", &lost),
        ("malformed.bin", malformed),
    ];
    let commit = commit(&node, &files);
    let here = Here::new();
    let (dest, checkout) = checked_out(&here, node.url(), &commit, true).await;
    let left: Vec<_> = checkout.unfetched.iter().map(|left| (left.path.as_str(), &*left.reason)).collect();
    let expected = [
        ("bad.bin", "other bytes"),
        ("huge.bin", "more than 5 GiB"),
        ("lost.bin", "404: Object does not exist"),
        ("malformed.bin", "malformed"),
    ];
    assert_eq!(left.len(), expected.len(), "{left:?}");
    for ((path, reason), (expected_path, part)) in left.into_iter().zip(expected) {
        assert!(path == expected_path && reason.contains(part), "{path}: {reason}");
    }
    assert_eq!(read(&dest.join("good.bin")), "good");
    assert_eq!(read(&dest.join("bad.bin")), bad);
    let (_, offline) = checked_out(&Here::new(), node.url(), &commit, false).await;
    assert!(offline.unfetched.iter().any(|left| left.reason.contains("offline")), "{offline:?}");
}

#[tokio::test]
async fn a_private_hosts_files_are_opened_by_the_credential_helper() {
    let authority = Authority::new();
    let remote = GitRemote::start_tls(&authority);
    let node = remote.repository("node");
    let commit = commit(&node, &[("a.bin", &remote.lfs().put(b"content"))]);
    let dir = tempfile::tempdir().unwrap();
    let ca = authority.write(dir.path()).display().to_string();
    let vars = [
        ("GIT_SSL_CAINFO", ca.as_str()),
        ("GIT_CONFIG_COUNT", "2"),
        ("GIT_CONFIG_KEY_0", "credential.helper"),
        ("GIT_CONFIG_VALUE_0", "!f() { echo username=me; echo password=s3cr3t; }; f"),
        ("GIT_CONFIG_KEY_1", &format!("url.{}/.insteadOf", remote.url())),
        ("GIT_CONFIG_VALUE_1", "https://git.invalid/o/"),
    ];
    remote.set_faults(Faults { authorization: Some("Basic bWU6czNjcjN0"), ..Faults::default() });
    let here = Here::with_env(&vars);
    let (dest, checkout) = checked_out(&here, "https://git.invalid/o/node.git", &commit, true).await;
    assert_eq!(checkout.unfetched, []);
    assert_eq!(read(&dest.join("a.bin")), "content");

    remote.set_faults(Faults::default());
    let here = Here::with_env(&vars);
    here.fetch(node.url(), &commit).await.unwrap();
    remote.set_faults(Faults { authorization: Some("Basic other"), ..Faults::default() });
    let (_, checkout) = checked_out(&here, node.url(), &commit, true).await;
    assert!(checkout.unfetched[0].reason.contains("refuses it (401)"), "{checkout:?}");
    assert!(!format!("{checkout:?}").contains("s3cr3t"));
}
