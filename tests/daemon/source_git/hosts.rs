//! Hosts that refuse, fail, or are old.

use super::*;

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
    let notes = here.ctx.progress.subscribe().borrow().notes.clone();
    assert!(notes[0].text.contains("all of its history"), "{notes:?}");
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
