//! One Python environment by the real uv, out of tiny wheels and an index on loopback.

mod resolve;
mod venv;

use comfyd::config::Config;
use comfyd::ctx::{Ctx, Task};
use comfyd::source::python::{
    Build, Contributor, Interpreter, PythonError, Request, Resolved, Role, Uv, find_interpreter, install,
    resolve,
};
use jiff::Timestamp;
use proto::event::{TaskKind, Unit};
use proto::lock::LockedPython;
use proto::spec::{Conflicts, ExcludeNewer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use support::{SimpleIndex, Wheel};

const OLD: Option<&str> = Some("2025-01-01T00:00:00Z");
const NEW: Option<&str> = Some("2025-06-01T00:00:00Z");
/// Between the two.
const COMMITTED: &str = "2025-03-01T00:00:00Z";

struct Bench {
    dir: tempfile::TempDir,
    index: SimpleIndex,
    config: Config,
    uv: Uv,
    ctx: Ctx,
    interpreter: Interpreter,
    exclude_newer: ExcludeNewer,
    conflicts: Conflicts,
}

impl Bench {
    /// An index with two versions of `lib`, of `torch`, and packages that want one or the other.
    async fn new() -> Self {
        let index = SimpleIndex::start();
        for (version, uploaded) in [("1.0", OLD), ("1.5", OLD), ("2.0", NEW)] {
            index.add(&Wheel::new("lib", version), uploaded);
        }
        for version in ["1.0", "2.0"] {
            index.add(&Wheel::new("torch", version), OLD);
        }
        index.add(&Wheel::new("old-accel", "1.0").requires("torch<2"), OLD);
        index.add(&Wheel::new("accel", "1.0").requires("torch"), OLD);
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), &index, &[]);
        let ctx = Ctx::new();
        let uv = Uv::locate(&ctx, &config).await.unwrap();
        let python = support::python_path().display().to_string();
        let interpreter = find_interpreter(&ctx, &uv, Some(&python), None).await.unwrap();
        let (exclude_newer, conflicts) = (ExcludeNewer::Off, Conflicts::Error);
        Self { dir, index, config, uv, ctx, interpreter, exclude_newer, conflicts }
    }

    fn task(&self) -> Task {
        self.ctx.progress.task(TaskKind::Packages, "packages", Unit::Packages)
    }

    async fn resolve(&self, contributors: &[Contributor]) -> Result<Resolved, PythonError> {
        self.resolve_after(contributors, None, false).await
    }

    async fn resolve_after(
        &self,
        contributors: &[Contributor],
        previous: Option<&LockedPython>,
        update: bool,
    ) -> Result<Resolved, PythonError> {
        let request = Request {
            contributors,
            interpreter: &self.interpreter,
            exclude_newer: &self.exclude_newer,
            newest_commit: COMMITTED.parse::<Timestamp>().unwrap(),
            conflicts: self.conflicts,
            offline: false,
            previous,
            update,
        };
        resolve(&self.ctx, &self.uv, &request, &self.task()).await
    }

    /// Resolves and installs, and returns the environment.
    async fn installed(&self, contributors: &[Contributor]) -> (PathBuf, LockedPython) {
        let python = self.resolve(contributors).await.unwrap().python;
        let venv = self.dir.path().join("staging/.venv");
        let build = Build { python: &python, interpreter: &self.interpreter, staging: &venv, offline: false };
        install(&self.ctx, &self.uv, &build, &self.task()).await.unwrap();
        (venv, python)
    }
}

fn config(home: &Path, index: &SimpleIndex, more: &[(&str, &str)]) -> Config {
    let home = home.to_str().unwrap();
    let (uv, path, url) = (support::uv_path(), support::plain_path(), index.url());
    let uv = uv.to_str().unwrap();
    let vars = [
        ("HOME", home),
        ("COMFY_VOLUME", home),
        ("PATH", &path),
        ("COMFYD_UV", uv),
        ("UV_DEFAULT_INDEX", &url),
        // The developer's own uv.toml is none of the test's business.
        ("UV_NO_CONFIG", "1"),
    ];
    let vars = vars.iter().chain(more).map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Config::from_vars(&vars.collect()).unwrap()
}

fn contributor(name: &str, role: Role, files: &[(&str, &str)]) -> Contributor {
    let files = files.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Contributor { name: name.to_owned(), role, files }
}

fn comfy(requirements: &str) -> Contributor {
    contributor("ComfyUI", Role::Comfy, &[("requirements.txt", requirements)])
}

fn node(name: &str, requirements: &str) -> Contributor {
    contributor(name, Role::Node, &[("requirements.txt", requirements)])
}

fn versions(python: &LockedPython) -> BTreeMap<&str, &str> {
    let pinned = python.packages.iter().map(|p| (p.name.as_str(), p.version.as_deref().unwrap_or("link")));
    pinned.filter(|(name, _)| *name != "pip").collect()
}
