//! Real repositories behind real smart HTTP: `git http-backend` as a CGI program.

use crate::lfs::LfsStore;
use crate::serve::{Serving, serve, serve_tls};
use crate::tls::Authority;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

/// How the server misbehaves.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Answers only wants that a ref points to, as old servers do.
    pub refuse_hidden: bool,
    /// Ignores the client's offer to speak protocol version 2.
    pub old_protocol: bool,
    /// Asks for a password, and takes any.
    pub private: bool,
    /// Takes only requests with this `Authorization`.
    pub authorization: Option<&'static str>,
    /// Sends so many bytes of a pack and then nothing more.
    pub stall_pack_after: Option<usize>,
    /// Never answers.
    pub stall: bool,
    /// Answers 503 so many times.
    pub unavailable: u32,
}

#[derive(Debug, Default)]
struct Shared {
    root: PathBuf,
    requests: Mutex<Vec<String>>,
    faults: Mutex<Faults>,
    lfs: LfsStore,
    /// `http` or `https`.
    scheme: &'static str,
}

/// A git host. Its repositories are made with [`GitRemote::repository`].
#[derive(Debug)]
pub struct GitRemote {
    root: TempDir,
    shared: Arc<Shared>,
    serving: Serving,
}

impl GitRemote {
    /// Starts an empty host on a free port.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// Starts an empty host that speaks TLS.
    pub fn start_tls(authority: &Authority) -> Self {
        Self::start_with(Some(authority))
    }

    fn start_with(authority: Option<&Authority>) -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        let scheme = if authority.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared { root: root.path().to_owned(), scheme, ..Shared::default() });
        let router = Router::new().fallback(handle).with_state(shared.clone());
        let serving = match authority {
            Some(authority) => serve_tls(router, authority),
            None => serve(router),
        };
        Self { root, shared, serving }
    }

    /// Returns the host's URL, without a slash at its end.
    pub fn url(&self) -> String {
        format!("{}://{}", self.shared.scheme, self.serving.address)
    }

    /// Returns the host's Git LFS objects.
    pub fn lfs(&self) -> &LfsStore {
        &self.shared.lfs
    }

    /// Makes an empty repository, served as `<url>/<name>.git`.
    pub fn repository(&self, name: &str) -> Repository {
        let path = self.root.path().join(format!("{name}.git"));
        std::fs::create_dir_all(&path).expect("a directory for the repository");
        let url = format!("{}/{name}.git", self.url());
        let repository = Repository { path, url, clock: Cell::new(0) };
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        // As all large hosts do.
        repository.git(&["config", "uploadpack.allowFilter", "true"]);
        repository
    }

    /// Returns all requests so far, as `METHOD path?query`.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().expect("no test panics with the lock held").clone()
    }

    /// Makes the server misbehave from now on.
    pub fn set_faults(&self, faults: Faults) {
        *self.shared.faults.lock().expect("no test panics with the lock held") = faults;
    }
}

/// A repository with a work tree. Dates and authors are fixed, so equal content has equal commit ids.
#[derive(Debug)]
pub struct Repository {
    path: PathBuf,
    url: String,
    clock: Cell<u64>,
}

/// When the first commit of each repository is made: 2025-01-01. The following ones are a day apart.
pub const FIRST_COMMIT_SECONDS: u64 = 1_735_689_600;

impl Repository {
    /// Returns the URL it is served under.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the directory of its work tree.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes files and commits them on the present branch. Returns the commit's id.
    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        for (name, content) in files {
            let path = self.path.join(name);
            std::fs::create_dir_all(path.parent().expect("a file has a parent")).expect("a directory");
            std::fs::write(path, content).expect("the file can be written");
        }
        self.commit_all()
    }

    /// Commits whatever the work tree holds. Returns the commit's id.
    pub fn commit_all(&self) -> String {
        self.git(&["add", "--all"]);
        let day = self.clock.replace(self.clock.get() + 1);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", &format!("commit {day}")]);
        self.head()
    }

    /// Returns the id of the present commit.
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    /// Makes a branch at the present commit, without changing to it.
    pub fn branch(&self, name: &str) {
        self.git(&["branch", name]);
    }

    /// Makes a lightweight tag at the present commit.
    pub fn tag(&self, name: &str) {
        self.git(&["tag", name]);
    }

    /// Makes an annotated tag at the present commit.
    pub fn annotated_tag(&self, name: &str) {
        self.git(&["tag", "--annotate", "--message", name, name]);
    }

    /// Adds a submodule with the given link, pinned to `commit`, and commits. Returns the commit's id.
    pub fn submodule(&self, path: &str, link: &str, commit: &str) -> String {
        let key = |field: &str| format!("submodule.{path}.{field}");
        self.git(&["config", "--file", ".gitmodules", &key("path"), path]);
        self.git(&["config", "--file", ".gitmodules", &key("url"), link]);
        self.git(&["add", ".gitmodules"]);
        self.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},{path}")]);
        let day = self.clock.replace(self.clock.get() + 1);
        self.git(&["commit", "--quiet", "--message", &format!("commit {day}")]);
        self.head()
    }

    /// Runs git in the repository and returns what it prints.
    ///
    /// # Panics
    /// When git fails.
    pub fn git(&self, args: &[&str]) -> String {
        let seconds = FIRST_COMMIT_SECONDS + self.clock.get().saturating_sub(1) * 86_400;
        let date = format!("{seconds} +0000");
        let mut command = Command::new("git");
        neutral(&mut command).args(args).current_dir(&self.path);
        command.env("GIT_AUTHOR_DATE", &date).env("GIT_COMMITTER_DATE", &date);
        for who in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{who}_NAME"), "Test")
                .env(format!("GIT_{who}_EMAIL"), "test@example.org");
        }
        let output = command.output().expect("git runs");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

/// Keeps the machine's own git configuration out.
fn neutral(command: &mut Command) -> &mut Command {
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS"] {
        command.env_remove(name);
    }
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1")
}

async fn handle(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    shared.requests.lock().expect("no panic with the lock held").push(format!("{method} {uri}"));
    let faults = {
        let mut faults = shared.faults.lock().expect("no panic with the lock held");
        let now = faults.clone();
        faults.unavailable = faults.unavailable.saturating_sub(1);
        now
    };
    if faults.stall {
        std::future::pending::<()>().await;
    }
    if faults.unavailable > 0 {
        return answer(503, &[], Body::empty());
    }
    if faults.private && !headers.contains_key("authorization") {
        return answer(401, &[("www-authenticate", "Basic realm=\"git\"")], Body::empty());
    }
    let given = headers.get("authorization").and_then(|value| value.to_str().ok());
    if faults.authorization.is_some() && given != faults.authorization {
        return answer(401, &[("www-authenticate", "Basic realm=\"git\"")], Body::empty());
    }
    let host = headers.get("host").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let base = format!("{}://{host}", shared.scheme);
    if let Some(answer) = shared.lfs.answer(&base, (&method, uri.path(), &headers), &body) {
        return answer;
    }
    if faults.refuse_hidden
        && let Some(id) = hidden_want(&shared.root, &uri, &body)
    {
        let message = format!("ERR upload-pack: not our ref {id}");
        let line = format!("{:04x}{message}", message.len() + 4);
        return answer(200, &[("content-type", "application/x-git-upload-pack-result")], Body::from(line));
    }
    match cgi(&shared.root, faults.old_protocol, (&method, &uri, &headers), &body).await {
        Ok(response) => match faults.stall_pack_after {
            Some(count) if uri.path().ends_with("/git-upload-pack") => stalled(response, count).await,
            _ => response,
        },
        Err(error) => answer(500, &[], Body::from(error.to_string())),
    }
}

/// Cuts a pack off after `count` bytes, with silence; other answers come whole.
async fn stalled(response: Response<Body>, count: usize) -> Response<Body> {
    let (head, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("the body is in memory");
    if !bytes.windows(4).any(|window| window == b"PACK") {
        return Response::from_parts(head, Body::from(bytes));
    }
    let first = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes.slice(..count.min(bytes.len())))]);
    let rest = futures_util::StreamExt::chain(first, futures_util::stream::pending());
    Response::from_parts(head, Body::from_stream(rest))
}

/// Returns a wanted object that no ref points to.
fn hidden_want(root: &Path, uri: &Uri, body: &[u8]) -> Option<String> {
    let repository = uri.path().strip_suffix("/git-upload-pack")?.trim_start_matches('/');
    let mut list = Command::new("git");
    let list =
        neutral(&mut list).current_dir(root.join(repository)).args(["show-ref", "--head", "--dereference"]);
    let shown = String::from_utf8_lossy(&list.output().ok()?.stdout).into_owned();
    let body = String::from_utf8_lossy(body);
    let wants = body.split("want ").skip(1).filter_map(|rest| rest.get(..40));
    wants.filter(|id| !shown.contains(id)).map(str::to_owned).next()
}

/// RFC 3875, as far as `git http-backend` needs it.
async fn cgi(
    root: &Path,
    old_protocol: bool,
    (method, uri, headers): (&Method, &Uri, &HeaderMap),
    body: &[u8],
) -> std::io::Result<Response<Body>> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut command = Command::new("git");
    neutral(&mut command)
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", method.as_str())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if !old_protocol {
        command.env("GIT_PROTOCOL", header("git-protocol"));
    }
    let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A backend that refuses does not read its input.
        stdin.write_all(body).await.ok();
    }
    let output = child.wait_with_output().await?.stdout;
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(output.len());
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let fields: Vec<(&str, &str)> = head.lines().filter_map(|line| line.split_once(": ")).collect();
    let status =
        fields.iter().find(|(name, _)| *name == "Status").and_then(|(_, value)| value.get(..3)?.parse().ok());
    let fields: Vec<_> = fields.into_iter().filter(|(name, _)| *name != "Status").collect();
    let body = output.get(end + 4..).unwrap_or_default().to_vec();
    Ok(answer(status.unwrap_or(200), &fields, Body::from(body)))
}

fn answer(status: u16, headers: &[(&str, &str)], body: Body) -> Response<Body> {
    let builder = Response::builder().status(status);
    let builder = headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
    builder.body(body).expect("status and headers are valid")
}
