//! Which requirements go into the plan: everyone's lines, each with its place.

use super::TORCH_STACK;
use super::error::PythonError;
use super::requirements::{Entry, logical_lines, read, resolve};
use proto::error::excerpt;
use proto::lock::LeftOut;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use toml::Spanned;

/// Whose requirements they are. The order is that of precedence: in a conflict, later ones are blamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// ComfyUI's. They always hold, and the torch stack is theirs.
    Comfy,
    /// The spec's `python_packages`. They may choose the torch stack.
    Spec,
    /// A custom node's.
    Node,
}

/// One who requires packages.
#[derive(Debug, Clone)]
pub struct Contributor {
    /// How people know it: `ComfyUI`, a node's directory, `the spec`.
    pub name: String,
    /// Whose requirements they are.
    pub role: Role,
    /// Texts by path in the repository: `requirements.txt`, `pyproject.toml`, and what the former
    /// includes (see [`super::includes`]). For the spec, `python_packages` with one line each.
    pub files: BTreeMap<String, String>,
}

/// Read as requirements of their own, in this order; everything else only where included.
const ROOTS: [&str; 2] = ["requirements.txt", "python_packages"];

/// A requirement and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Owner, file and line: `NodeA requirements.txt:4`.
    pub(super) origin: String,
    pub(super) role: Role,
    pub(super) name: Option<String>,
    pub(super) text: String,
    /// Whether it only constrains a package that others require.
    pub(super) constraint: bool,
}

impl Line {
    /// Returns the requirement with its place, for people.
    pub(super) fn placed(&self) -> String {
        format!("`{}` ({})", self.text, self.origin)
    }
}

/// All requirements of a version.
#[derive(Debug, Default)]
pub struct Inputs {
    /// In order of precedence.
    pub(super) lines: Vec<Line>,
    pub(super) left_out: Vec<LeftOut>,
    /// What was left out, each with its place.
    pub warnings: Vec<String>,
}

impl Inputs {
    /// Reads everyone's files.
    ///
    /// # Errors
    /// A line of ComfyUI's or the spec's that cannot be used. A node's is left out with a warning.
    pub fn read(contributors: &[Contributor]) -> Result<Self, PythonError> {
        let mut inputs = Self::default();
        // Nodes' `install.py` call `python -m pip`, which uv's environments do not have by themselves.
        inputs.lines.push(Line {
            origin: "comfyd".to_owned(),
            role: Role::Comfy,
            name: Some("pip".to_owned()),
            text: "pip".to_owned(),
            constraint: false,
        });
        let mut ordered: Vec<&Contributor> = contributors.iter().collect();
        ordered.sort_by_key(|contributor| contributor.role);
        for contributor in ordered {
            Reader { contributor, inputs: &mut inputs, seen: BTreeSet::new() }.read_all()?;
        }
        Ok(inputs)
    }

    /// Returns the digest of all that decides the outcome: the lines, and `settings`. Line numbers
    /// and comments do not count.
    pub(super) fn digest(&self, settings: &[&str]) -> String {
        let mut hasher = Sha256::new();
        let mut add = |part: &str| {
            hasher.update(part.len().to_le_bytes());
            hasher.update(part.as_bytes());
        };
        for setting in settings {
            add(setting);
        }
        for line in &self.lines {
            add(if line.constraint { "-c" } else { "-r" });
            add(&format!("{:?}", line.role));
            add(&line.text);
        }
        for left in &self.left_out {
            add(&left.requirement);
        }
        format!("sha256:{}", crate::store::hex(&hasher.finalize()))
    }
}

struct Reader<'a> {
    contributor: &'a Contributor,
    inputs: &'a mut Inputs,
    seen: BTreeSet<String>,
}

impl Reader<'_> {
    fn read_all(mut self) -> Result<(), PythonError> {
        let first = self.inputs.lines.len();
        for root in ROOTS {
            if let Some(text) = self.contributor.files.get(root) {
                self.file(root, text, false)?;
            }
        }
        if let Some(text) = self.contributor.files.get("pyproject.toml") {
            // requirements.txt wins: nodes keep it up to date, and pyproject.toml for the registry.
            let own = &self.inputs.lines[first..];
            let named: BTreeSet<String> = own.iter().filter_map(|line| line.name.clone()).collect();
            self.pyproject(text, &named)?;
        }
        Ok(())
    }

    fn file(&mut self, file: &str, text: &str, constraint: bool) -> Result<(), PythonError> {
        if !self.seen.insert(file.to_owned()) {
            return Ok(());
        }
        for (at, line) in logical_lines(text) {
            let origin = format!("{} {file}:{at}", self.contributor.name);
            self.line(&line, origin, file, constraint)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &str, origin: String, file: &str, constraint: bool) -> Result<(), PythonError> {
        match read(line) {
            Entry::Package { name, text } => {
                self.package(Line { origin, role: self.contributor.role, name, text, constraint });
                Ok(())
            }
            Entry::Include { file: included, constraint: limits } => {
                let found = resolve(file, &included)
                    .and_then(|path| Some((self.contributor.files.get(&path)?, path)));
                match found {
                    Some((text, path)) => self.file(&path, text, constraint || limits),
                    None => self.reject(line, origin, "there is no such file in the repository", true),
                }
            }
            Entry::NotFollowed(reason) => {
                self.reject(line, origin, reason, self.contributor.role == Role::Spec)
            }
            Entry::Bad(reason) => self.reject(line, origin, &reason, self.contributor.role != Role::Node),
        }
    }

    fn package(&mut self, line: Line) {
        let of_torch = line.name.as_deref().is_some_and(|name| TORCH_STACK.contains(&name));
        if line.role == Role::Node && of_torch {
            let name = line.name.as_deref().unwrap_or_default();
            let reason = format!("{name} is ComfyUI's: a node cannot change it");
            self.inputs.left_out.push(LeftOut { requirement: line.text, origin: line.origin, reason });
        } else {
            self.inputs.lines.push(line);
        }
    }

    /// Refuses a line, or leaves it out with a warning. A node's line never fails a version.
    fn reject(&mut self, line: &str, origin: String, reason: &str, hard: bool) -> Result<(), PythonError> {
        // Both may be as long as whoever wrote the line likes.
        let (shown, reason) = (excerpt(&without_secrets(line)), excerpt(reason));
        if hard && self.contributor.role != Role::Node {
            let in_spec = self.contributor.role == Role::Spec;
            return Err(PythonError::Line { line: shown, origin, reason, in_spec });
        }
        self.inputs.warnings.push(format!("`{shown}` ({origin}) is left out: {reason}"));
        self.inputs.left_out.push(LeftOut { requirement: shown, origin, reason });
        Ok(())
    }

    fn pyproject(&mut self, text: &str, named: &BTreeSet<String>) -> Result<(), PythonError> {
        #[derive(Deserialize)]
        struct File {
            project: Option<Project>,
        }
        #[derive(Deserialize)]
        struct Project {
            #[serde(default)]
            dependencies: Vec<Spanned<String>>,
        }
        let file = "pyproject.toml";
        let parsed: File = match toml::from_str(text) {
            Ok(parsed) => parsed,
            Err(error) => {
                let at = error.span().map_or(1, |span| line_of(text, span.start));
                let origin = format!("{} {file}:{at}", self.contributor.name);
                return self.reject(file, origin, error.message(), true);
            }
        };
        for dependency in parsed.project.map(|project| project.dependencies).unwrap_or_default() {
            let origin =
                format!("{} {file}:{}", self.contributor.name, line_of(text, dependency.span().start));
            let entry = read(dependency.get_ref().trim());
            if !matches!(&entry, Entry::Package { name: Some(name), .. } if named.contains(name)) {
                self.line(dependency.get_ref().trim(), origin, file, false)?;
            }
        }
        Ok(())
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// Removes user names and passwords of links; what is left out is recorded and shown.
fn without_secrets(line: &str) -> String {
    let clean = |word: &str| match word.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
            let host = host.rsplit('@').next().unwrap_or(host);
            path.map_or_else(|| format!("{scheme}://{host}"), |path| format!("{scheme}://{host}/{path}"))
        }
        None => word.to_owned(),
    };
    line.split(' ').map(clean).collect::<Vec<_>>().join(" ")
}
