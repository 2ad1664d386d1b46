//! Names to commits.

use super::*;

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
