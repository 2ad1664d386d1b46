//! How many commits lie between two.

use super::*;

impl Here {
    async fn between(&self, url: &str, first: &CommitId, second: &CommitId) -> Result<(u64, u64), GitError> {
        self.git.between(&self.ctx, url, (first, second)).await
    }
}

#[tokio::test]
async fn commits_are_counted_both_ways_and_nothing_is_left() {
    let (remote, here) = (GitRemote::start(), Here::new());
    let node = remote.repository("node");
    let base = id(&node.commit(&[("a.py", "1")]));
    node.branch("side");
    let later = id(&node.commit(&[("a.py", &"long\n".repeat(100_000))]));
    let last = id(&node.commit(&[("b.py", "2")]));
    node.git(&["checkout", "--quiet", "side"]);
    let side = id(&node.commit(&[("c.py", "3")]));

    assert_eq!(here.between(node.url(), &base, &last).await.unwrap(), (0, 2));
    assert_eq!(here.between(node.url(), &last, &base).await.unwrap(), (2, 0));
    assert_eq!(here.between(node.url(), &later, &side).await.unwrap(), (1, 1));
    assert_eq!(here.between(node.url(), &side, &side).await.unwrap(), (0, 0));
    let left = std::fs::read_dir(here.home.path().join("volume/.comfy-cache/git")).unwrap();
    assert_eq!(left.count(), 0, "what came went away");
    assert!(!here.git.has(node.url(), &last));
}

#[tokio::test]
async fn a_host_without_filters_is_not_asked_for_all_files() {
    let (remote, here) = (GitRemote::start(), Here::new());
    let node = remote.repository("node");
    let (first, second) = (id(&node.commit(&[("a.py", "1")])), id(&node.commit(&[("a.py", "2")])));
    node.git(&["config", "uploadpack.allowFilter", "false"]);
    let error = here.between(node.url(), &first, &second).await.unwrap_err();
    assert!(matches!(error, GitError::NoHistory(_)), "{error:?}");
    node.git(&["config", "uploadpack.allowFilter", "true"]);
    remote.set_faults(Faults { old_protocol: true, ..Faults::default() });
    let error = here.between(node.url(), &first, &second).await.unwrap_err();
    assert!(matches!(error, GitError::NoHistory(_)), "{error:?}");
}

#[tokio::test]
async fn what_is_refused_and_what_is_unknown_is_told() {
    let (remote, here) = (GitRemote::start(), Here::new());
    let node = remote.repository("node");
    let first = id(&node.commit(&[("a.py", "1")]));
    let error = here.between(node.url(), &first, &id(&"0123456789".repeat(4))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    remote.set_faults(Faults { private: true, ..Faults::default() });
    let error = here.between(node.url(), &first, &first).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Access, "{error:?}");
    remote.set_faults(Faults { stall: true, ..Faults::default() });
    let asked = here.between(node.url(), &first, &first);
    let cancelled = async {
        while remote.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        here.ctx.cancel.cancel();
    };
    let (error, ()) = tokio::join!(asked, cancelled);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Cancelled);
}
