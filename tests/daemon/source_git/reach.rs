//! Hosts behind TLS, proxies, passwords and ssh, reached as git would.

use super::*;
use support::proxy::HttpProxy;
use support::tls::Authority;

/// `me:s3cr3t`.
const AUTHORIZATION: &str = "Basic bWU6czNjcjN0";

/// Returns the variables by which git takes a setting from the environment.
fn setting(key: &str, value: &str) -> Vec<(&'static str, String)> {
    vec![
        ("GIT_CONFIG_COUNT", "1".to_owned()),
        ("GIT_CONFIG_KEY_0", key.to_owned()),
        ("GIT_CONFIG_VALUE_0", value.to_owned()),
    ]
}

fn with(vars: &[(&'static str, String)]) -> Here {
    let mut all: Vec<_> = vars.iter().map(|(name, value)| (*name, value.as_str())).collect();
    if !all.iter().any(|(name, _)| *name == "GIT_CONFIG_SYSTEM") {
        // The machine's own settings are none of the test's business.
        all.push(("GIT_CONFIG_NOSYSTEM", "1"));
    }
    Here::with_env(&all)
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_git_would_trust_it() {
    let authority = Authority::new();
    let remote = GitRemote::start_tls(&authority);
    let node = remote.repository("node");
    let commit = id(&node.commit(&[("a.py", "1")]));
    let dir = tempfile::tempdir().unwrap();
    let ca = authority.write(dir.path()).display().to_string();
    let file = dir.path().join("gitconfig");
    std::fs::write(&file, format!("[http \"{}\"]\n\tsslCAInfo = {ca}\n", remote.url())).unwrap();
    let file = file.display().to_string();

    for trusted in [
        setting("http.sslCAInfo", &ca),
        setting(&format!("http.{}/.sslCAInfo", remote.url()), &ca),
        setting("http.sslVerify", "false"),
        vec![("GIT_SSL_CAINFO", ca.clone())],
        vec![("GIT_SSL_NO_VERIFY", String::new())],
        vec![("GIT_CONFIG_SYSTEM", file.clone())],
        vec![("GIT_CONFIG_GLOBAL", file.clone())],
    ] {
        let here = with(&trusted);
        here.fetch(node.url(), &commit).await.unwrap_or_else(|error| panic!("{trusted:?}: {error}"));
    }
    for distrusted in [
        vec![],
        setting("http.https://other.example.sslCAInfo", &ca),
        vec![("GIT_CONFIG_SYSTEM", file.clone()), ("GIT_CONFIG_NOSYSTEM", "1".to_owned())],
    ] {
        let error = with(&distrusted).fetch(node.url(), &commit).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network, "{distrusted:?}: {error:?}");
    }
    let error =
        with(&setting("http.sslCAInfo", "/no/such.pem")).fetch(node.url(), &commit).await.unwrap_err();
    assert!(format!("{error:?}").contains("/no/such.pem"), "{error:?}");
}

#[tokio::test]
async fn a_private_repository_is_opened_by_gits_credential_helper_and_the_password_is_told_to_nobody() {
    let authority = Authority::new();
    let remote = GitRemote::start_tls(&authority);
    let node = remote.repository("node");
    let commit = id(&node.commit(&[("a.py", "1")]));
    let dir = tempfile::tempdir().unwrap();
    let ca = authority.write(dir.path()).display().to_string();
    let helper = "!f() { echo username=me; echo password=s3cr3t; echo noise-s3cr3t >&2; }; f";
    let vars = |key: &str| [setting(key, helper), vec![("GIT_SSL_CAINFO", ca.clone())]].concat();

    remote.set_faults(Faults { authorization: Some(AUTHORIZATION), ..Faults::default() });
    for key in ["credential.helper", &format!("credential.{}.helper", remote.url())] {
        with(&vars(key)).fetch(node.url(), &commit).await.unwrap();
    }
    remote.set_faults(Faults { authorization: Some("Basic other"), ..Faults::default() });
    let here = with(&vars("credential.helper"));
    let error = here.fetch(node.url(), &commit).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Access, "{error:?}");
    let everything = format!("{error} {error:?} {:?}", here.ctx.progress.subscribe().borrow());
    assert!(!everything.contains("s3cr3t"), "{everything}");
}

#[tokio::test]
async fn a_password_never_travels_in_clear_text() {
    let remote = GitRemote::start();
    let node = remote.repository("node");
    let commit = id(&node.commit(&[("a.py", "1")]));
    remote.set_faults(Faults { authorization: Some(AUTHORIZATION), ..Faults::default() });
    let helper = "!f() { echo username=me; echo password=s3cr3t; }; f";
    let error = with(&setting("credential.helper", helper)).fetch(node.url(), &commit).await.unwrap_err();
    assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
}

#[tokio::test]
async fn proxies_are_those_of_git_and_of_the_environment() {
    let authority = Authority::new();
    let (plain, secret) = (GitRemote::start(), GitRemote::start_tls(&authority));
    let dir = tempfile::tempdir().unwrap();
    let ca = authority.write(dir.path()).display().to_string();
    let port = |remote: &GitRemote| remote.url().rsplit(':').next().unwrap().to_owned();
    // Nobody but the proxy finds this host.
    let unknown = format!("http://git.invalid:{}", port(&plain));
    let local = format!("https://localhost:{}", port(&secret));
    let commits = [&plain, &secret].map(|remote| id(&remote.repository("node").commit(&[("a.py", "1")])));

    let cases =
        [(&unknown, &commits[0], "GET http://git.invalid:"), (&local, &commits[1], "CONNECT localhost:")];
    for (host, commit, line) in cases {
        for by in ["http.proxy", &format!("http.{host}.proxy"), "environment"] {
            let proxy = HttpProxy::start();
            let mut vars = match by {
                "environment" => vec![("http_proxy", proxy.url()), ("HTTPS_PROXY", proxy.url())],
                key => setting(key, &proxy.url()),
            };
            vars.push(("GIT_SSL_CAINFO", ca.clone()));
            with(&vars).fetch(&format!("{host}/node.git"), commit).await.unwrap();
            assert!(proxy.seen().iter().any(|seen| seen.starts_with(line)), "{by}: {:?}", proxy.seen());
        }
    }
    let proxy = HttpProxy::start();
    for direct in [
        vec![("http_proxy", proxy.url()), ("NO_PROXY", "127.0.0.1".to_owned())],
        [setting("http.proxy", ""), vec![("http_proxy", proxy.url())]].concat(),
    ] {
        with(&direct).fetch(&format!("{}/node.git", plain.url()), &commits[0]).await.unwrap();
    }
    assert!(proxy.seen().is_empty(), "{:?}", proxy.seen());
}

#[tokio::test]
async fn ssh_is_the_command_that_git_was_given() {
    let remote = GitRemote::start();
    let node = remote.repository("node");
    let commit = id(&node.commit(&[("a.py", "1")]));
    let dir = tempfile::tempdir().unwrap();
    let (script, log) = (dir.path().join("ssh"), dir.path().join("log"));
    // As ssh does: what follows the host is a command line for the other side's shell.
    let text = format!(
        "#!/bin/sh\necho \"$@\" >> {}\ntest \"$1\" = -G && exit 0\n\
         while [ \"$1\" != git@git.invalid ]; do shift; done\nshift\nexec sh -c \"$*\"\n",
        log.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let url = format!("ssh://git@git.invalid{}", node.path().display());
    for vars in [
        vec![("GIT_SSH_COMMAND", script.display().to_string())],
        setting("core.sshCommand", &script.display().to_string()),
    ] {
        let here = with(&vars);
        here.fetch(&url, &commit).await.unwrap();
        assert!(read(&log).contains("git@git.invalid"), "{}", read(&log));
        std::fs::remove_file(&log).unwrap();
    }
}
