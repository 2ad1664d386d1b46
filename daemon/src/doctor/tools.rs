//! The programs that comfyd works with: git, uv, Python.

use crate::config::Config;
use crate::ctx::Ctx;
use crate::source::python::{self, Interpreter, PythonError, Uv, find_interpreter, interpreters, supported};
use proto::method::Finding;
use proto::{Lock, VersionId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What was found of them.
#[derive(Debug, Default)]
pub(super) struct Tools {
    pub(super) findings: Vec<Finding>,
    /// The interpreter that versions get by default.
    pub(super) python: Option<PathBuf>,
}

/// Whether uv is there.
#[derive(Debug)]
enum FoundUv {
    /// Its path, and what it says of its version.
    There(String, String),
    /// There is none yet, or none that can be used: what was tried, and whether one can be had.
    Absent { tried: Vec<String>, can_install: bool },
    /// `COMFYD_UV` names one that does not work, or the process was not to be started.
    Broken(String),
}

/// Looks for git, uv and Python; installs nothing. Cancel-safe.
pub(super) async fn look(ctx: &Ctx, config: &Config, locks: &BTreeMap<VersionId, Lock>) -> Tools {
    let on_path = |name| python::on_path(&config.child_env, name).into_iter().next();
    let mut tried = Vec::new();
    let found = Uv::find(ctx, config, &mut tried).await;
    let (told, uv) = match found {
        Ok(Some(uv)) => {
            let version = uv.version(ctx).await.unwrap_or_default();
            (FoundUv::There(uv.program().display().to_string(), version), Some(uv))
        }
        Ok(None) => {
            let can_install = !config.offline && on_path("python3").is_some();
            (FoundUv::Absent { tried, can_install }, None)
        }
        Err(error) => (FoundUv::Broken(crate::error::chain(&error)), None),
    };
    let mut tools = Tools { findings: vec![git(on_path("git"), locks), of_uv(told)], python: None };
    let Some(uv) = uv else {
        let text = "interpreters were not looked for: uv does that";
        tools.findings.push(Finding::warning("Python", text, "see `uv` above"));
        return tools;
    };
    let default = find_interpreter(ctx, &uv, None, None);
    let (default, all) = tokio::join!(default, interpreters(ctx, &uv));
    let all = all.unwrap_or_default();
    tools.findings.push(of_python(&default, &all));
    tools.findings.extend(of_locks(&all, locks));
    tools.python = default.ok().map(|python| python.path);
    tools
}

fn git(program: Option<PathBuf>, locks: &BTreeMap<VersionId, Lock>) -> Finding {
    const SUBJECT: &str = "git";
    // uv runs git for packages that are repositories; comfyd itself never does, but for credential helpers.
    let by_git =
        |lock: &&Lock| lock.python.packages.iter().any(|package| package.requirement.contains("git+"));
    let needing: Vec<_> = locks.values().filter(by_git).map(|lock| &lock.version_id).collect();
    match program {
        Some(program) => Finding::ok(
            SUBJECT,
            format!("comfyd brings its own; `{}` is there for uv and custom nodes", program.display()),
        ),
        None if needing.is_empty() => Finding::ok(
            SUBJECT,
            "comfyd brings its own; no `git` on PATH, which packages from `git+https` need",
        ),
        None => Finding::problem(
            SUBJECT,
            format!("no `git` on PATH, and uv needs it for packages of {}", super::list(needing)),
            "install git (`apt-get install git`)",
        ),
    }
}

fn of_uv(found: FoundUv) -> Finding {
    const SUBJECT: &str = "uv";
    match found {
        FoundUv::There(program, version) => {
            // `uv 0.13.9 (x86_64-unknown-linux-gnu)`: the number is what people ask for.
            let number = version.split_whitespace().nth(1).unwrap_or("of a version that it does not tell");
            Finding::ok(SUBJECT, format!("{number}, `{program}`"))
        }
        FoundUv::Absent { tried, can_install: true } => {
            let tried = if tried.is_empty() { String::new() } else { format!(" ({})", tried.join("; ")) };
            Finding::ok(SUBJECT, format!("none yet{tried}: the first realize installs one by pip"))
        }
        FoundUv::Absent { tried, .. } => {
            let tried = if tried.is_empty() { String::new() } else { format!(": {}", tried.join("; ")) };
            let text = format!("there is none, and none can be installed here{tried}");
            Finding::problem(
                SUBJECT,
                text,
                "install uv, or `python3` with pip; name another uv with COMFYD_UV",
            )
        }
        FoundUv::Broken(why) => {
            Finding::problem(SUBJECT, why, "correct COMFYD_UV, or unset it: comfyd finds or installs one")
        }
    }
}

fn of_python(default: &Result<Interpreter, PythonError>, all: &[Interpreter]) -> Finding {
    const SUBJECT: &str = "Python";
    match default {
        Ok(python) => {
            let others: Vec<_> = all.iter().map(|other| other.version.as_str()).collect();
            let others = others.into_iter().filter(|version| *version != python.version);
            let others = others.collect::<Vec<_>>().join(", ");
            let others = if others.is_empty() { others } else { format!("; there is {others}, too") };
            let (version, path) = (&python.version, python.path.display());
            Finding::ok(SUBJECT, format!("{version}, `{path}` ({} is used{others})", supported()))
        }
        Err(error) => {
            let hint = error.hint().unwrap_or_else(|| "install a CPython that ComfyUI supports".to_owned());
            Finding::problem(SUBJECT, crate::error::chain(error), hint)
        }
    }
}

/// Names the interpreters that locks need and this machine lacks.
fn of_locks(all: &[Interpreter], locks: &BTreeMap<VersionId, Lock>) -> Vec<Finding> {
    let there: BTreeSet<&str> = all.iter().map(|python| python.version.as_str()).collect();
    let mut missing: BTreeMap<&str, Vec<&VersionId>> = BTreeMap::new();
    for (id, lock) in locks.iter().filter(|(_, lock)| !there.contains(lock.python.version.as_str())) {
        missing.entry(&lock.python.version).or_default().push(id);
    }
    let told = missing.into_iter().map(|(version, ids)| {
        let text = format!("no {version} on this machine, which {} needs", super::list(ids));
        let remedy =
            format!("install Python {version} (`uv python install {version}`), or resolve with `--update`");
        Finding::problem("Python", text, remedy)
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::method::Verdict::{Ok as Fine, Problem};
    use serde_json::json;

    fn locks(python: &str, requirement: &str) -> BTreeMap<VersionId, Lock> {
        let lock: Lock = serde_json::from_value(json!({
            "schema_version": 1, "version_id": "v", "spec_digest": "", "resolved_at": "2026-01-01T00:00:00Z",
            "comfy": { "repo": "https://h/o/r", "commit": "1".repeat(40), "committed_at": "2026-01-01T00:00:00Z" },
            "custom_nodes": [], "models": [],
            "python": { "version": python, "inputs_digest": "",
                        "packages": [{ "name": "x", "requirement": requirement }] }
        }))
        .unwrap();
        BTreeMap::from([(lock.version_id.clone(), lock)])
    }

    fn interpreter(version: &str) -> Interpreter {
        Interpreter { path: format!("/usr/bin/python{version}").into(), version: version.to_owned() }
    }

    #[test]
    fn git_is_missed_only_where_a_package_needs_it() {
        let (plain, by_git) = (locks("3.12", "x==1"), locks("3.12", "x @ git+https://h/o/x@1"));
        assert_eq!(git(None, &plain).verdict, Fine);
        let found = git(None, &by_git);
        assert!(found.verdict == Problem && found.text.contains("`v`"), "{found:?}");
        assert_eq!(git(Some("/usr/bin/git".into()), &by_git).verdict, Fine);
    }

    #[test]
    fn a_uv_is_there_or_can_be_had_or_not() {
        let found = of_uv(FoundUv::There("/bin/uv".to_owned(), "uv 0.13.9 (x)".to_owned()));
        assert_eq!((found.verdict, found.text.as_str()), (Fine, "0.13.9, `/bin/uv`"));
        let absent = |can_install| {
            of_uv(FoundUv::Absent { tried: vec!["`/bin/uv` which is uv 0.1.0".into()], can_install })
        };
        assert_eq!((absent(true).verdict, absent(false).verdict), (Fine, Problem));
        assert!(absent(false).text.contains("uv 0.1.0"));
        assert_eq!(of_uv(FoundUv::Broken("x".to_owned())).verdict, Problem);
    }

    #[test]
    fn interpreters_that_versions_need_are_missed() {
        let all = [interpreter("3.13"), interpreter("3.11")];
        let found = of_python(&Ok(interpreter("3.13")), &all);
        assert_eq!(found.text, "3.13, `/usr/bin/python3.13` (>=3.9 up to 3.13 is used; there is 3.11, too)");
        assert!(of_locks(&all, &locks("3.11", "x==1")).is_empty());
        let found = of_locks(&all, &locks("3.10", "x==1"));
        assert_eq!((found.len(), found[0].verdict), (1, Problem));
        let none = PythonError::NoInterpreter { sought: "CPython".to_owned(), found: Vec::new() };
        assert_eq!(of_python(&Err(none), &all).verdict, Problem);
    }
}
