//! A machine of its own for one test: a volume, a home directory, hosts on loopback, and a comfyd that
//! comfyctl starts in it. Nothing is inherited; what was started in it dies with it.

use crate::comfyui::tree;
use crate::file_server::{FileServer, safetensors};
use crate::git_remote::{GitRemote, Repository};
use crate::process::{PATIENCE, kill};
use crate::tools::known_interpreters;
use crate::{SimpleIndex, Wheel, plain_path, uv_path};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// When wheels were uploaded that the fake ComfyUI's first commit may use.
pub const UPLOADED: Option<&str> = Some("2024-12-01T00:00:00Z");

/// A machine of its own.
#[derive(Debug)]
pub struct TestEnv {
    /// Repositories.
    pub git: GitRemote,
    /// Packages: the index holds what the fake ComfyUI requires.
    pub index: SimpleIndex,
    /// Models.
    pub files: FileServer,
    /// The fake ComfyUI's repository, with one commit.
    pub comfy: Repository,
    root: TempDir,
    vars: BTreeMap<String, String>,
    comfyctl: PathBuf,
}

/// How a run of comfyctl ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit status.
    pub status: Option<i32>,
    /// Its results.
    pub stdout: String,
    /// What it told.
    pub stderr: String,
}

impl Ended {
    /// Returns the one JSON document on stdout.
    ///
    /// # Panics
    /// When there is none, or more than one line.
    pub fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "one line: {}{}", self.stdout, self.stderr);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl TestEnv {
    /// Makes the machine. `comfyctl` is the program under test; its comfyd lies beside it.
    ///
    /// # Panics
    /// When comfyd was not built, or a host cannot be started.
    pub fn new(comfyctl: &str) -> Self {
        let comfyd = Path::new(comfyctl).with_file_name("comfyd");
        assert!(comfyd.is_file(), "`{}` is missing: test with `--workspace`", comfyd.display());
        // Short, because a socket's path must fit into 107 bytes.
        let root = tempfile::Builder::new().prefix("c").tempdir_in("/dev/shm");
        // In memory where that is possible: syncing a disk that others write to takes seconds.
        let root = root.or_else(|_| tempfile::tempdir()).unwrap();
        let index = SimpleIndex::start();
        index.add(&Wheel::new("tiny", "1.0"), UPLOADED);
        let git = GitRemote::start();
        let comfy = git.repository("ComfyUI");
        let mut files = tree().to_vec();
        files.push(("requirements.txt", "tiny\n"));
        files.push(("pyproject.toml", "[project]\nname = \"comfyui\"\nrequires-python = \">=3.9\"\n"));
        comfy.commit(&files);
        let mut env = Self {
            git,
            index,
            files: FileServer::start(),
            comfy,
            root,
            vars: BTreeMap::new(),
            comfyctl: comfyctl.into(),
        };
        for name in ["vol/versions", "home", "run", "state"] {
            fs::create_dir_all(env.path(name)).unwrap();
        }
        for (name, content) in known_interpreters() {
            let path = env.volume(".comfy-cache/uv").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        for (name, place) in [("COMFY_VOLUME", "vol"), ("HOME", "home"), ("XDG_RUNTIME_DIR", "run")] {
            let place = env.path(place).display().to_string();
            env.set(name, &place);
        }
        let (state, index, uv) = (env.path("state"), env.index.url(), uv_path());
        env.set("XDG_STATE_HOME", &state.display().to_string());
        env.set("UV_DEFAULT_INDEX", &index);
        // The developer's own uv.toml is none of the test's business.
        env.set("UV_NO_CONFIG", "1");
        // What a daemon does by itself is for the tests of it.
        env.set("COMFYD_PREFETCH", "off");
        env.set("COMFYD_UV", &uv.display().to_string());
        env.set("COMFYD_BIN", &comfyd.display().to_string());
        env.set("PATH", &plain_path());
        env.set("LANG", "C.UTF-8");
        env
    }

    /// Sets a variable, for every comfyctl from now on and for the daemon that it starts.
    pub fn set(&mut self, name: &str, value: &str) {
        self.vars.insert(name.to_owned(), value.to_owned());
    }

    /// Unsets a variable.
    pub fn unset(&mut self, name: &str) {
        self.vars.remove(name);
    }

    /// Returns a path on this machine.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.path().join(name)
    }

    /// Returns a path in the volume.
    pub fn volume(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path("vol").join(name)
    }

    /// Gives a directory of this machine another name.
    ///
    /// # Panics
    /// When the disk refuses.
    #[allow(clippy::disallowed_methods, reason = "nothing has to survive a crash here")]
    pub fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Returns the home of a version in the volume.
    pub fn home(&self, id: &str) -> PathBuf {
        self.volume(format!("comfy-{id}"))
    }

    /// Returns the place of a version's lock.
    pub fn lock_path(&self, id: &str) -> PathBuf {
        self.path("home/.comfy-cache/resolved").join(format!("{id}.lock.json"))
    }

    /// Returns a version's lock.
    ///
    /// # Panics
    /// When there is none.
    pub fn lock(&self, id: &str) -> Value {
        serde_json::from_str(&fs::read_to_string(self.lock_path(id)).unwrap()).unwrap()
    }

    /// Returns a spec that has nothing but the fake ComfyUI, on its branch `main`.
    pub fn spec(&self) -> Value {
        json!({ "schema_version": 2, "comfy": { "repo": self.comfy.url(), "ref": "main" } })
    }

    /// Writes a spec into the volume's `versions`.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn write_spec(&self, id: &str, spec: &Value) {
        fs::write(self.volume(format!("versions/{id}.json")), format!("{spec:#}\n")).unwrap();
    }

    /// Makes a custom node's repository with one commit: a class `<name>` and these files beside it.
    pub fn node(&self, name: &str, files: &[(&str, &str)]) -> Repository {
        let repository = self.git.repository(name);
        let init = "NODE_CLASS_MAPPINGS = {}\n";
        repository.commit(&[&[("__init__.py", init)], files].concat());
        repository
    }

    /// Serves a small model and returns its link.
    pub fn model(&self, path: &str) -> String {
        self.files.put(path, safetensors(path));
        self.files.url(path)
    }

    /// Returns a comfyctl that is about to run on this machine.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.comfyctl);
        command.env_clear().envs(&self.vars).current_dir(self.path("home")).args(args);
        command.stdin(Stdio::null());
        command
    }

    /// Returns a daemon that is about to run on this machine, in the foreground.
    pub fn comfyd(&self) -> Command {
        let mut command = Command::new(self.comfyctl.with_file_name("comfyd"));
        command.env_clear().envs(&self.vars).current_dir(self.path("home")).stdin(Stdio::null());
        command
    }

    /// Runs comfyctl to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn comfyctl(&self, args: &[&str]) -> Ended {
        self.command(args).output().unwrap().into()
    }

    /// Runs comfyctl, which must succeed, and returns the document it prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn json(&self, args: &[&str]) -> Value {
        let ended = self.comfyctl(&[args, &["--json"]].concat());
        assert_eq!(ended.status, Some(0), "{args:?}: {}{}", ended.stdout, ended.stderr);
        ended.json()
    }

    /// Runs comfyctl, which must fail with this status, and returns the error it prints.
    ///
    /// # Panics
    /// When it ends in another way.
    pub fn error(&self, args: &[&str], status: i32) -> Value {
        let ended = self.comfyctl(&[args, &["--json"]].concat());
        assert_eq!(ended.status, Some(status), "{args:?}: {}{}", ended.stdout, ended.stderr);
        ended.json()["error"].take()
    }

    /// Starts comfyctl with both outputs piped.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Returns the control socket.
    pub fn socket(&self) -> PathBuf {
        self.path("run/comfyd.sock")
    }

    /// Returns the daemon's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("state/comfyd/comfyd.log")).unwrap_or_default()
    }

    /// Returns how many requests all hosts have seen so far.
    pub fn requests(&self) -> usize {
        self.git.requests().len() + self.index.requests() + self.files.seen().len()
    }

    /// Returns the processes that have this machine's environment: the daemon and all it started, but
    /// for those that are dead and wait to be reaped.
    pub fn processes(&self) -> Vec<u32> {
        let mark = format!("XDG_RUNTIME_DIR={}", self.path("run").display());
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_ours = |pid: &u32| {
            let vars = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            vars.split(|byte| *byte == 0).any(|var| var == mark.as_bytes())
        };
        pids.filter(is_ours).collect()
    }

    /// Kills everything that runs on this machine, as a crash would.
    pub fn kill_all(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = self.processes();
            if left.is_empty() || Instant::now() > deadline {
                return;
            }
            for pid in left {
                kill(pid, "KILL");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for TestEnv {
    #[allow(clippy::print_stderr, reason = "it is what cargo shows of a failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the daemon's log\n{}", self.log());
        }
        self.kill_all();
    }
}
