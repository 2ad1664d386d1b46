//! One plan out of everyone's requirements.
//!
//! ComfyUI's and the spec's lines are resolved first: what they say of torch, torchvision and
//! torchaudio then constrains the second run, over all lines. Where lines contradict each other, a
//! smallest set of them is found and told, or (by option) the last of them is left out.

use super::TORCH_STACK;
use super::compile::{Compiler, Limit, Outcome, Pinned, preferences};
use super::conflict::Minimal;
use super::error::PythonError;
use super::inputs::{Contributor, Inputs, Line, Role};
use super::interpreter::Interpreter;
use super::said::Said;
use super::uv::Uv;
use crate::ctx::{Ctx, Task};
use jiff::{SignedDuration, Timestamp};
use proto::lock::{LeftOut, LockedPackage, LockedPython};
use proto::spec::{Conflicts, ExcludeNewer, Options};

/// What is to be resolved.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// ComfyUI, the spec and the nodes, in the spec's order within each role.
    pub contributors: &'a [Contributor],
    /// The interpreter that the packages are for.
    pub interpreter: &'a Interpreter,
    /// As of when packages are taken.
    pub exclude_newer: &'a ExcludeNewer,
    /// Committer date of the newest commit of the version.
    pub newest_commit: Timestamp,
    /// What to do with a contradiction.
    pub conflicts: Conflicts,
    /// Use only what uv's cache and the wheels directory hold.
    pub offline: bool,
    /// What the last lock said. It is returned as it is when nothing changed; else its versions are
    /// kept where nothing speaks against them.
    pub previous: Option<&'a LockedPython>,
    /// Forget `previous`.
    pub update: bool,
}

/// A plan.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// For the lock.
    pub python: LockedPython,
    /// What the user should know; was told through the context, too.
    pub warnings: Vec<String>,
}

/// Resolves all requirements into one set of pinned packages. Runs no subprocess when nothing changed.
///
/// # Errors
/// [`PythonError::Conflict`] names the lines that contradict each other; [`PythonError::Line`] a line
/// that cannot be used; [`PythonError::Uv`] tells network, disk and build failures apart by its kind.
pub async fn resolve(
    ctx: &Ctx,
    uv: &Uv,
    request: &Request<'_>,
    task: &Task,
) -> Result<Resolved, PythonError> {
    let inputs = Inputs::read(request.contributors)?;
    let limit = limit(request);
    let inputs_digest = digest(&inputs, request, limit);
    let previous = request.previous.filter(|_| !request.update);
    if let Some(same) = previous.filter(|previous| previous.inputs_digest == inputs_digest) {
        return Ok(Resolved { python: same.clone(), warnings: Vec::new() });
    }
    task.detail("resolving");
    let compiler = Compiler {
        uv,
        ctx,
        interpreter: request.interpreter,
        offline: request.offline,
        preferences: previous.map(|previous| preferences(&previous.packages)),
        limit: Limit { at: limit, ..Limit::default() },
    };
    let mut search = Search { compiler, inputs, conflicts: request.conflicts };
    let pinned = search.solve(task).await?;
    search.warn_of_dates();
    search.warn_of_builds(&pinned);
    let Search { compiler, inputs, .. } = search;
    inputs.warnings.iter().for_each(|warning| ctx.progress.warn(warning));
    let mut packages: Vec<LockedPackage> = pinned.into_iter().map(|pinned| pinned.package).collect();
    keep_sizes(&mut packages, request.previous);
    let python = LockedPython {
        version: request.interpreter.version.clone(),
        inputs_digest,
        exclude_newer: compiler.limit.at,
        packages,
        left_out: inputs.left_out,
    };
    Ok(Resolved { python, warnings: inputs.warnings })
}

fn limit(request: &Request<'_>) -> Option<Timestamp> {
    match request.exclude_newer {
        ExcludeNewer::Off => None,
        ExcludeNewer::At(at) => Some(*at),
        ExcludeNewer::Auto => {
            let slack = SignedDuration::from_hours(24 * Options::SLACK_DAYS);
            // A date at the end of time needs no limit.
            request.newest_commit.checked_add(slack).ok()
        }
    }
}

/// The pins hold the one wheel that fits here, so the machine's kind counts, too.
fn digest(inputs: &Inputs, request: &Request<'_>, limit: Option<Timestamp>) -> String {
    let limit = limit.map(|at| at.to_string()).unwrap_or_default();
    let conflicts = format!("{:?}", request.conflicts);
    inputs.digest(&["1", &request.interpreter.version, std::env::consts::ARCH, &limit, &conflicts])
}

struct Search<'a> {
    compiler: Compiler<'a>,
    inputs: Inputs,
    conflicts: Conflicts,
}

impl Search<'_> {
    async fn solve(&mut self, task: &Task) -> Result<Vec<Pinned>, PythonError> {
        loop {
            let own: Vec<&Line> = self.inputs.lines.iter().filter(|line| line.role != Role::Node).collect();
            let all: Vec<&Line> = self.inputs.lines.iter().collect();
            let mut pins = Vec::new();
            let (lines, outcome) = match self.compiler.compile(&own, &pins).await? {
                Outcome::Solved(pinned) if own.len() == all.len() => return Ok(pinned),
                Outcome::Solved(pinned) => {
                    pins = torch_pins(&pinned);
                    let outcome = self.compiler.compile(&all, &pins).await?;
                    (all, outcome)
                }
                outcome @ Outcome::Unsatisfiable(_) => (own, outcome),
            };
            let said = match outcome {
                Outcome::Solved(pinned) => return Ok(pinned),
                Outcome::Unsatisfiable(said) => said,
            };
            task.detail("finding the requirements that contradict each other");
            let set = contradiction(&mut self.compiler, &lines, &pins).await?;
            let blamed = set.last_line(&lines);
            match blamed.filter(|_| self.conflicts == Conflicts::Warn) {
                Some(blamed) => self.leave_out(blamed, &set),
                None => return Err(set.into_error(said)),
            }
            task.detail("resolving");
        }
    }

    fn leave_out(&mut self, blamed: usize, set: &Contradiction) {
        let line = self.inputs.lines.remove(blamed);
        let mut others = set.placed.clone();
        others.retain(|placed| *placed != line.placed());
        let reason = if others.is_empty() {
            "nothing satisfies it".to_owned()
        } else {
            format!("it contradicts {}", others.join(" and "))
        };
        self.inputs.warnings.push(format!("{} is left out: {reason}", line.placed()));
        self.inputs.left_out.push(LeftOut { requirement: line.text, origin: line.origin, reason });
    }

    fn warn_of_dates(&mut self) {
        let limit = &self.compiler.limit;
        if let Some(at) = limit.given_up {
            self.inputs.warnings.push(format!(
                "the package index gives no upload dates: packages are today's, not those of {}",
                at.strftime("%Y-%m-%d")
            ));
        } else if !limit.undated.is_empty() {
            let names: Vec<&str> = limit.undated.iter().map(String::as_str).collect();
            self.inputs.warnings.push(format!(
                "the package index gives no upload dates for {}: today's versions are taken",
                names.join(", ")
            ));
        }
    }

    fn warn_of_builds(&mut self, pinned: &[Pinned]) {
        let built = pinned.iter().filter(|pinned| pinned.from_source);
        let built: Vec<&str> = built.map(|pinned| pinned.package.requirement.as_str()).collect();
        if !built.is_empty() {
            let names = built.join("`, `");
            self.inputs.warnings.push(format!("`{names}` will be built from source: no wheel fits"));
        }
    }
}

/// An index that answers in HTML tells no sizes; what it once told in JSON stays true of the same file.
fn keep_sizes(packages: &mut [LockedPackage], previous: Option<&LockedPython>) {
    let known = previous.map(|previous| previous.packages.as_slice()).unwrap_or_default();
    for package in packages.iter_mut().filter(|package| package.size_bytes.is_none()) {
        let same = known.iter().find(|p| p.requirement == package.requirement && p.hashes == package.hashes);
        package.size_bytes = same.and_then(|same| same.size_bytes);
    }
}

fn torch_pins(pinned: &[Pinned]) -> Vec<String> {
    let packages = pinned.iter().map(|pinned| &pinned.package);
    let of_torch = packages.filter(|package| TORCH_STACK.contains(&package.name.as_str()));
    // A constraint by link holds only for the very same link; the run over all lines has that line, too.
    let by_version = |package: &LockedPackage| package.version.is_some().then(|| package.requirement.clone());
    of_torch.filter_map(by_version).collect()
}

/// A smallest set of requirements that cannot be had together.
struct Contradiction {
    /// Places among the lines asked about.
    set: Vec<usize>,
    /// The same for people, with ComfyUI's torch where it is part of it.
    placed: Vec<String>,
    /// Whether ComfyUI's torch is.
    torch: bool,
}

async fn contradiction(
    compiler: &mut Compiler<'_>,
    lines: &[&Line],
    pins: &[String],
) -> Result<Contradiction, PythonError> {
    let picked = |chosen: &[usize]| -> Vec<&Line> { chosen.iter().map(|at| lines[*at]).collect() };
    let mut search = Minimal::new(lines.len());
    while let Some(chosen) = search.question() {
        search.answer(compiler.is_unsatisfiable(&picked(&chosen), pins).await?);
    }
    let set = search.found();
    let guilty = picked(&set);
    let mut of_torch = Vec::new();
    if !pins.is_empty() && !compiler.is_unsatisfiable(&guilty, &[]).await? {
        let mut search = Minimal::new(pins.len());
        while let Some(chosen) = search.question() {
            let chosen: Vec<String> = chosen.iter().map(|at| pins[*at].clone()).collect();
            search.answer(compiler.is_unsatisfiable(&guilty, &chosen).await?);
        }
        of_torch = search.found();
    }
    let of_comfy = |at: &usize| format!("`{}` (which ComfyUI and the spec resolve to)", pins[*at]);
    let placed = of_torch.iter().map(of_comfy).chain(guilty.iter().map(|line| line.placed())).collect();
    Ok(Contradiction { set, placed, torch: !of_torch.is_empty() })
}

impl Contradiction {
    /// Returns the line to leave out: the last that is not ComfyUI's. Lines stand in order of
    /// precedence, and those asked about are a prefix of all.
    fn last_line(&self, lines: &[&Line]) -> Option<usize> {
        self.set.iter().rev().copied().find(|at| lines[*at].role != Role::Comfy)
    }

    fn into_error(mut self, source: Said) -> PythonError {
        match self.placed.len() {
            1 => PythonError::Unavailable { line: self.placed.remove(0), source },
            _ => PythonError::Conflict { lines: self.placed, torch: self.torch, source },
        }
    }
}
