//! The user's git configuration, and the machine's.

use super::*;

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
async fn filters_of_the_machine_do_not_run() {
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
    assert_eq!(checkout.files, 3);
    assert_eq!(read(&dest.join("m/a.bin")), pointer);
}
