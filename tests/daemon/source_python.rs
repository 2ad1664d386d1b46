//! One Python environment by the real uv, out of tiny wheels and an index on loopback.

use comfyd::config::Config;
use comfyd::ctx::{Ctx, Task};
use comfyd::source::python::{
    Contributor, InstallScript, Interpreter, PythonError, Request, Resolved, Role, Uv, find_interpreter,
    install, prove, python_works, repair, resolve, run_install_script,
};
use jiff::Timestamp;
use proto::ErrorKind;
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
        let index = SimpleIndex::start().await;
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
        let interpreter = find_interpreter(&uv, &ctx, Some(&python), None).await.unwrap();
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
        resolve(&self.uv, &self.ctx, &request, &self.task()).await
    }

    /// Resolves and installs, and returns the environment.
    async fn installed(&self, contributors: &[Contributor]) -> (PathBuf, LockedPython) {
        let python = self.resolve(contributors).await.unwrap().python;
        let venv = self.dir.path().join("staging/.venv");
        install(&self.uv, &self.ctx, &python, &self.interpreter, &venv, false, &self.task()).await.unwrap();
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
    Config::from_vars(vars.collect()).unwrap()
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

// The classic: two nodes want two numpys, the second one to be installed wins, and the first one breaks.
#[tokio::test]
async fn a_contradiction_names_both_nodes_with_file_and_line() {
    let bench = Bench::new().await;
    let nodes = [
        comfy("torch\n"),
        node("NodeA", "# what it needs\naccel\n\nlib<2\n"),
        node("NodeB", "accel\nlib>=2\n"),
    ];
    let error = bench.resolve(&nodes).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "requirements contradict each other: `lib<2` (NodeA requirements.txt:4) against `lib>=2` (NodeB requirements.txt:2)"
    );
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.hint().is_some_and(|hint| hint.contains("options.conflicts")));
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("lib<2"), "{cause}");
}

#[tokio::test]
async fn by_option_the_later_of_two_contradicting_lines_is_left_out() {
    let bench = Bench { conflicts: Conflicts::Warn, ..Bench::new().await };
    let nodes =
        [comfy("lib<2\n"), node("NodeA", "accel\nlib>=2\n"), node("NodeB", "nowhere-to-be-found\nlib\n")];
    let resolved = bench.resolve(&nodes).await.unwrap();
    assert_eq!(
        versions(&resolved.python),
        BTreeMap::from([("accel", "1.0"), ("lib", "1.5"), ("torch", "2.0")])
    );
    let left: Vec<&str> = resolved.python.left_out.iter().map(|left| left.origin.as_str()).collect();
    assert_eq!(left, ["NodeA requirements.txt:2", "NodeB requirements.txt:1"]);
    assert!(resolved.warnings[0].contains("ComfyUI requirements.txt:1"), "{:?}", resolved.warnings);
    assert!(
        bench.ctx.progress.subscribe().borrow().notes.iter().any(|n| n.warning && n.text.contains("NodeA"))
    );
}

#[tokio::test]
async fn a_requirement_that_nothing_satisfies_is_told_alone() {
    let bench = Bench::new().await;
    let error = bench.resolve(&[comfy("lib\n"), node("NodeA", "accel\nlib==7\n")]).await.unwrap_err();
    assert_eq!(error.to_string(), "no package satisfies `lib==7` (NodeA requirements.txt:2)");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

// A node's `torch<2` used to replace the CUDA build under everyone else.
#[tokio::test]
async fn a_node_cannot_change_torch_neither_by_name_nor_through_another_package() {
    let bench = Bench::new().await;
    let by_name = [comfy("torch\n"), node("NodeA", "torch<2\naccel\n")];
    let resolved = bench.resolve(&by_name).await.unwrap();
    assert_eq!(versions(&resolved.python)["torch"], "2.0");
    assert_eq!(resolved.python.left_out[0].origin, "NodeA requirements.txt:1");
    assert!(resolved.warnings.is_empty(), "{:?}", resolved.warnings);

    let through = [comfy("torch\n"), node("NodeA", "old-accel\n")];
    let error = bench.resolve(&through).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("torch==2.0") && text.contains("`old-accel` (NodeA requirements.txt:1)"), "{text}");

    let spec = contributor("the spec", Role::Spec, &[("python_packages", "torch<2")]);
    let chosen = bench.resolve(&[comfy("torch\n"), spec, node("NodeA", "old-accel\n")]).await.unwrap();
    assert_eq!(versions(&chosen.python)["torch"], "1.0");
}

#[tokio::test]
async fn packages_are_those_of_the_commits_date() {
    let bench = Bench { exclude_newer: ExcludeNewer::Auto, ..Bench::new().await };
    let resolved = bench.resolve(&[comfy("lib\n")]).await.unwrap();
    assert_eq!(versions(&resolved.python)["lib"], "1.5");
    assert_eq!(resolved.python.exclude_newer, "2025-03-08T00:00:00Z".parse().ok());
    let package = resolved.python.packages.iter().find(|p| p.name == "lib").unwrap();
    assert_eq!(package.requirement, "lib==1.5");
    assert!(package.hashes[0].starts_with("sha256:"));
    assert_eq!(package.size_bytes, Some(Wheel::new("lib", "1.5").bytes().len() as u64));
    let lock = serde_json::to_string(&resolved.python).unwrap();
    assert!(!lock.contains("127.0.0.1") && !lock.contains(bench.dir.path().to_str().unwrap()), "{lock}");
}

#[tokio::test]
async fn without_upload_dates_the_limit_is_given_up_and_that_is_said() {
    let bench = Bench { exclude_newer: ExcludeNewer::Auto, ..Bench::new().await };
    bench.index.forget_dates();
    let resolved = bench.resolve(&[comfy("lib\naccel\n")]).await.unwrap();
    assert_eq!(versions(&resolved.python)["lib"], "2.0");
    assert_eq!(resolved.python.exclude_newer, None);
    assert!(resolved.warnings.iter().any(|w| w.contains("no upload dates")), "{:?}", resolved.warnings);
}

#[tokio::test]
async fn a_single_package_without_date_does_not_lift_the_limit_for_others() {
    let bench = Bench { exclude_newer: ExcludeNewer::Auto, ..Bench::new().await };
    bench.index.add(&Wheel::new("undated", "3.0"), None);
    let resolved = bench.resolve(&[comfy("lib\nundated\n")]).await.unwrap();
    assert_eq!(versions(&resolved.python), BTreeMap::from([("lib", "1.5"), ("undated", "3.0")]));
    assert!(resolved.python.exclude_newer.is_some());
    assert!(resolved.warnings[0].contains("undated"), "{:?}", resolved.warnings);
}

#[tokio::test]
async fn a_wheels_directory_is_looked_into_whatever_the_date() {
    let mut bench = Bench { exclude_newer: ExcludeNewer::Auto, ..Bench::new().await };
    let wheels = bench.dir.path().join("wheels");
    std::fs::create_dir(&wheels).unwrap();
    Wheel::new("ours", "1.0").requires("lib").write_to(&wheels);
    bench.config = config(bench.dir.path(), &bench.index, &[("COMFY_WHEELS_DIR", wheels.to_str().unwrap())]);
    bench.uv = Uv::locate(&bench.ctx, &bench.config).await.unwrap();
    let (venv, python) = bench.installed(&[comfy("ours\n")]).await;
    assert_eq!(versions(&python), BTreeMap::from([("lib", "1.5"), ("ours", "1.0")]));
    assert!(!serde_json::to_string(&python).unwrap().contains("wheels"));
    prove(&bench.uv, &bench.ctx, &venv, &python).await.unwrap();
}

#[tokio::test]
async fn pins_are_kept_until_an_update_is_asked_for() {
    let bench = Bench::new().await;
    let first = bench.resolve(&[comfy("lib<2\n")]).await.unwrap().python;
    bench.index.add(&Wheel::new("lib", "1.9"), OLD);
    let before = bench.index.requests();
    let again =
        bench.resolve_after(&[comfy("# a comment\nlib<2\n")], Some(&first), false).await.unwrap().python;
    assert_eq!((again, bench.index.requests()), (first.clone(), before), "nothing changed, nothing is asked");

    let more = [comfy("lib<2\n"), node("NodeA", "accel\n")];
    let grown = bench.resolve_after(&more, Some(&first), false).await.unwrap().python;
    assert_eq!(versions(&grown)["lib"], "1.5");
    assert_eq!(versions(&grown)["accel"], "1.0");
    let updated = bench.resolve_after(&more, Some(&grown), true).await.unwrap().python;
    assert_eq!(versions(&updated)["lib"], "1.9");
}

#[tokio::test]
async fn a_nodes_options_and_paths_are_left_out_with_their_place() {
    let bench = Bench::new().await;
    let text = "--extra-index-url http://127.0.0.1:9/evil\n-e ./pkg\nlib # fine\n<<<<<<< HEAD\n-r more.txt\n-r ../../etc/x\n";
    let files = [
        ("requirements.txt", text),
        ("more.txt", "accel\n"),
        ("pyproject.toml", "[project]\nname = \"x\"\ndependencies = [\n  \"lib<2\",\n  \"undeclared\",\n]\n"),
    ];
    bench.index.add(&Wheel::new("undeclared", "1.0"), OLD);
    let resolved =
        bench.resolve(&[comfy("torch\n"), contributor("NodeA", Role::Node, &files)]).await.unwrap();
    let left: Vec<&str> = resolved.python.left_out.iter().map(|left| left.origin.as_str()).collect();
    assert_eq!(left, [1, 2, 4, 6].map(|line| format!("NodeA requirements.txt:{line}")));
    assert_eq!(resolved.warnings.len(), 4);
    // requirements.txt wins over pyproject.toml's `lib<2`; what only pyproject.toml names is in.
    let expected = [("accel", "1.0"), ("lib", "2.0"), ("torch", "2.0"), ("undeclared", "1.0")];
    assert_eq!(versions(&resolved.python), BTreeMap::from(expected));
}

#[tokio::test]
async fn a_wrong_line_of_the_specs_own_is_an_error_with_its_place() {
    let bench = Bench::new().await;
    let spec = contributor("the spec", Role::Spec, &[("python_packages", "lib\n--index-url http://x\n")]);
    let error = bench.resolve(&[comfy("lib\n"), spec]).await.unwrap_err();
    assert!(error.to_string().contains("the spec python_packages:2"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Spec);
    let error = bench.resolve(&[comfy("lib\n\nlib <> 2\n")]).await.unwrap_err();
    assert!(error.to_string().contains("ComfyUI requirements.txt:3"), "{error}");
}

#[tokio::test]
async fn a_link_is_pinned_with_its_hash() {
    let bench = Bench::new().await;
    let link = bench.index.link(&Wheel::new("lib", "1.0"));
    let (venv, python) = bench.installed(&[comfy(&format!("lib @ {link}\n"))]).await;
    let package = python.packages.iter().find(|p| p.name == "lib").unwrap();
    assert_eq!((package.requirement.clone(), package.version.clone()), (format!("lib @ {link}"), None));
    assert_eq!(package.hashes.len(), 1);
    prove(&bench.uv, &bench.ctx, &venv, &python).await.unwrap();
}

// uv itself reports such an environment as complete, and so does `pip check`.
#[tokio::test]
async fn a_missing_or_cut_file_is_noticed_and_named() {
    let bench = Bench::new().await;
    let (venv, python) = bench.installed(&[comfy("lib\naccel\n")]).await;
    let proof = prove(&bench.uv, &bench.ctx, &venv, &python).await.unwrap();
    assert_eq!(proof.packages, 4);
    let site = venv.join(format!("lib/python{}/site-packages", python.version));

    let module = site.join("lib/__init__.py");
    let text = std::fs::read(&module).unwrap();
    // A new file: the old one may be shared with uv's cache.
    std::fs::remove_file(&module).unwrap();
    std::fs::write(&module, &text[..text.len() - 1]).unwrap();
    let error = prove(&bench.uv, &bench.ctx, &venv, &python).await.unwrap_err();
    assert_eq!(error.to_string(), "`lib/__init__.py` of the package `lib-2.0` has 15 bytes instead of 16");

    std::fs::remove_file(&module).unwrap();
    let error = prove(&bench.uv, &bench.ctx, &venv, &python).await.unwrap_err();
    assert_eq!(error.to_string(), "`lib/__init__.py` of the package `lib-2.0` is missing");
    std::fs::write(&module, &text).unwrap();

    std::fs::remove_dir_all(site.join("accel-1.0.dist-info")).unwrap();
    let error = prove(&bench.uv, &bench.ctx, &venv, &python).await.unwrap_err();
    assert_eq!(error.to_string(), "the environment has no `accel` where the lock has `accel==1.0`");
}

#[tokio::test]
async fn packages_that_do_not_fit_together_are_noticed() {
    let bench = Bench::new().await;
    let (venv, mut python) = bench.installed(&[comfy("accel\n")]).await;
    let site = venv.join(format!("lib/python{}/site-packages", python.version));
    std::fs::remove_dir_all(site.join("torch-2.0.dist-info")).unwrap();
    python.packages.retain(|package| package.name != "torch");
    let error = prove(&bench.uv, &bench.ctx, &venv, &python).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("`accel` requires `torch`"), "{cause}");
}

async fn output_of(program: &Path) -> String {
    let output = tokio::process::Command::new(program).output().await.unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn an_environment_works_after_it_was_renamed() {
    let bench = Bench::new().await;
    bench.index.add(
        &Wheel::new("tool", "1.0")
            .file("tool/main.py", "")
            .script("say", "say")
            .file("tool/__init__.py", "def say(): print('here')\n"),
        OLD,
    );
    let (venv, python) = bench.installed(&[comfy("tool\n")]).await;
    let moved = bench.dir.path().join("final");
    tokio::process::Command::new("mv").arg(venv.parent().unwrap()).arg(&moved).status().await.unwrap();
    assert_eq!(output_of(&moved.join(".venv/bin/say")).await, "here");
    prove(&bench.uv, &bench.ctx, &moved.join(".venv"), &python).await.unwrap();
}

// A volume that was filled on a pod with Python in /usr/bin meets a worker that has it in /opt.
#[tokio::test]
async fn an_environment_from_another_machine_is_led_to_this_ones_python() {
    let bench = Bench::new().await;
    let (venv, python) = bench.installed(&[comfy("lib\n")]).await;
    assert!(python_works(&venv));
    let link = venv.join("bin/python");
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("/elsewhere/bin/python3", &link).unwrap();
    assert!(!python_works(&venv));
    repair(&bench.uv, &bench.ctx, &venv, &python.version).await.unwrap();
    assert!(python_works(&venv));
    prove(&bench.uv, &bench.ctx, &venv, &python).await.unwrap();
    let error = repair(&bench.uv, &bench.ctx, &venv, "2.99").await.unwrap_err();
    assert!(error.to_string().contains("`2.99`"), "{error}");
}

#[tokio::test]
async fn an_install_script_runs_as_under_the_manager_and_shows_why_it_failed() {
    let bench = Bench::new().await;
    let (venv, python) = bench.installed(&[comfy("lib\ntorch\n")]).await;
    let node_dir = bench.dir.path().join("NodeA");
    std::fs::create_dir(&node_dir).unwrap();
    let script =
        InstallScript { venv: &venv, node_dir: &node_dir, comfy_dir: bench.dir.path(), python: &python };
    let good = "import lib, os, sys\nassert os.getcwd().endswith('NodeA')\nassert os.environ['COMFYUI_PATH']\nassert sys.prefix == os.environ['VIRTUAL_ENV']\nassert open(os.environ['PIP_CONSTRAINT']).read() == 'torch==2.0\\n'\nassert 'HF_TOKEN' not in os.environ\nopen('done', 'w')\n";
    std::fs::write(node_dir.join("install.py"), good).unwrap();
    run_install_script(&bench.ctx, &bench.config, &script).await.unwrap();
    assert!(node_dir.join("done").exists());

    std::fs::write(
        node_dir.join("install.py"),
        "print('looking for nvcc')\nraise SystemExit('no nvcc here')\n",
    )
    .unwrap();
    let error = run_install_script(&bench.ctx, &bench.config, &script).await.unwrap_err();
    assert!(error.to_string().contains("`install.py` of `NodeA` failed"), "{error}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("looking for nvcc") && cause.contains("no nvcc here"), "{cause}");
}

#[tokio::test]
async fn offline_without_a_cache_is_told_apart() {
    let bench = Bench::new().await;
    let contributors = [comfy("lib\n")];
    let request = Request {
        contributors: &contributors,
        interpreter: &bench.interpreter,
        exclude_newer: &bench.exclude_newer,
        newest_commit: COMMITTED.parse::<Timestamp>().unwrap(),
        conflicts: Conflicts::Error,
        offline: true,
        previous: None,
        update: false,
    };
    let error = resolve(&bench.uv, &bench.ctx, &request, &bench.task()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Offline, "{error:?}");
}

#[tokio::test]
async fn an_absent_interpreter_or_uv_is_named() {
    let bench = Bench::new().await;
    let error = find_interpreter(&bench.uv, &bench.ctx, Some("python3.99"), None).await.unwrap_err();
    assert!(error.to_string().contains("`python3.99`") && error.to_string().contains("cpython"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Toolchain);
    let newest = find_interpreter(&bench.uv, &bench.ctx, None, Some(">=3.9")).await.unwrap();
    assert!(newest.path.is_absolute() && newest.version.starts_with("3."), "{newest:?}");
    let config = config(bench.dir.path(), &bench.index, &[("COMFYD_UV", "/not/there/uv")]);
    let error = Uv::locate(&bench.ctx, &config).await.unwrap_err();
    assert!(error.to_string().contains("`/not/there/uv`"), "{error}");
}
