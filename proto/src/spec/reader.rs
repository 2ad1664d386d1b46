//! Reading a JSON tree field by field, with a place for every value and every finding.
//!
//! Readers never stop at the first error: a wrong value is reported and read as absent, so that one
//! pass finds everything. `null` means absent.

use super::{Diagnostic, Severity};
use crate::ids::{InvalidName, shown};
use crate::source::InvalidSource;
use jsonc_parser::ast::Value;
use jsonc_parser::common::Ranged;
use std::collections::BTreeMap;

/// Where something stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Byte offset in the text.
    pub(super) at: usize,
    /// The field's path, such as `models[0].source`.
    pub(super) field: String,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Placed<T> {
    pub(super) place: Place,
    pub(super) value: T,
}

impl<T> Placed<T> {
    /// Puts another value at the same place.
    pub(super) fn with<U>(&self, value: U) -> Placed<U> {
        Placed { place: self.place.clone(), value }
    }
}

/// What is wrong, and what to do about it.
#[derive(Debug)]
pub(super) struct Problem {
    message: String,
    hint: String,
}

impl Problem {
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }

    /// A name that did not pass its check; the check's text says what is allowed.
    pub(super) fn name(error: &InvalidName, hint: impl Into<String>) -> Self {
        Self::new(error.to_string(), hint)
    }
}

impl From<InvalidSource> for Problem {
    fn from(error: InvalidSource) -> Self {
        Self::new(error.message, error.hint)
    }
}

/// Collects findings.
#[derive(Debug, Default)]
pub(super) struct Report {
    found: Vec<(usize, Diagnostic)>,
    left_out: usize,
    refused: bool,
}

/// Number of findings that are kept: a hostile file must not cost much more memory than its size.
const KEPT: usize = 1000;

impl Report {
    /// Reports an error: the spec will be refused.
    pub(super) fn error(&mut self, place: &Place, problem: Problem) {
        self.refused = true;
        self.add(Severity::Error, place, problem);
    }

    /// Reports a warning.
    pub(super) fn warn(&mut self, place: &Place, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Warning, place, Problem::new(message, hint));
    }

    /// Gives the value, or reports the problem.
    pub(super) fn take<T>(&mut self, place: &Place, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.error(place, problem)).ok()
    }

    /// Returns whether an error was reported.
    pub(super) fn refused(&self) -> bool {
        self.refused
    }

    fn add(&mut self, severity: Severity, place: &Place, problem: Problem) {
        if self.found.len() == KEPT {
            self.left_out += 1;
            return;
        }
        let diagnostic = Diagnostic {
            severity,
            file: String::new(),
            line: 0,
            column: 0,
            field: place.field.clone(),
            message: problem.message,
            hint: Some(problem.hint),
        };
        self.found.push((place.at, diagnostic));
    }

    /// Returns the findings in the order of the file, with file, line and column.
    pub(super) fn finish(mut self, text: &str, file: &str) -> Vec<Diagnostic> {
        if self.left_out > 0 {
            let place = Place { at: text.len(), field: String::new() };
            let problem = Problem::new(
                format!("{} more findings are not shown", self.left_out),
                "fix the ones above first",
            );
            self.found.truncate(KEPT - 1);
            self.add(Severity::Error, &place, problem);
        }
        self.found.sort_by_key(|(at, _)| *at);
        let (mut line, mut column, mut reached) = (1, 1, 0);
        let mut diagnostics = Vec::with_capacity(self.found.len());
        for (at, diagnostic) in self.found {
            for c in text[reached..at].chars() {
                (line, column) = if c == '\n' { (line + 1, 1) } else { (line, column + 1) };
            }
            reached = at;
            diagnostics.push(Diagnostic { file: file.to_owned(), line, column, ..diagnostic });
        }
        diagnostics
    }
}

/// What reading an optional field gave.
pub(super) enum Found<T> {
    Absent,
    /// It was reported: what depends on it says nothing more.
    Wrong,
    Value(T),
}

impl<T> Found<T> {
    pub(super) fn ok(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Wrong => None,
        }
    }
}

/// A JSON value and where it stands.
pub(super) type Node<'a> = Placed<&'a Value<'a>>;

/// The fields of one JSON object.
pub(super) struct Fields<'a> {
    /// Where the object stands.
    pub(super) place: Place,
    values: BTreeMap<&'a str, Node<'a>>,
}

impl<'a> Fields<'a> {
    /// Reads an object whose fields are all in `known`.
    pub(super) fn read(report: &mut Report, node: &Node<'a>, known: &[&str]) -> Option<Self> {
        let fields = Self::read_any(report, node)?;
        for (name, value) in &fields.values {
            if !known.contains(name) {
                report.error(&value.place, unknown_field(name, known));
            }
        }
        Some(fields)
    }

    /// Reads an object with free field names.
    pub(super) fn read_any(report: &mut Report, node: &Node<'a>) -> Option<Self> {
        let Value::Object(object) = node.value else {
            return wrong_type(report, node, "an object `{…}`");
        };
        let mut values = BTreeMap::new();
        for property in &object.properties {
            let name = property.name.as_str();
            let field = match node.place.field.as_str() {
                "" => shown(name),
                parent => format!("{parent}.{}", shown(name)),
            };
            // A finding about the name stands at the name; `get` gives the value its own place.
            let place = Place { at: property.range().start, field };
            if values.contains_key(name) {
                report.error(&place, Problem::new("the field stands here twice", "keep one of the two"));
            } else {
                values.insert(name, Placed { place, value: &property.value });
            }
        }
        Some(Self { place: node.place.clone(), values })
    }

    /// Returns a field's value; none when it is absent or null.
    pub(super) fn get(&self, name: &str) -> Option<Node<'a>> {
        let node = self.values.get(name)?;
        if matches!(node.value, Value::NullKeyword(_)) {
            return None;
        }
        let place = Place { at: node.value.range().start, field: node.place.field.clone() };
        Some(Placed { place, value: node.value })
    }

    /// Returns a field's value, or reports that it is missing.
    pub(super) fn require(&self, report: &mut Report, name: &str, hint: &str) -> Option<Node<'a>> {
        let node = self.get(name);
        if node.is_none() {
            report.error(&self.place_of(name), Problem::new("the field is missing", hint));
        }
        node
    }

    /// Returns a text field; none when it is absent or wrong.
    pub(super) fn text(&self, report: &mut Report, name: &str) -> Option<Placed<&'a str>> {
        self.find_text(report, name).ok()
    }

    /// Returns a text field, telling absent from wrong.
    pub(super) fn find_text(&self, report: &mut Report, name: &str) -> Found<Placed<&'a str>> {
        match self.get(name).map(|node| text(report, &node)) {
            None => Found::Absent,
            Some(None) => Found::Wrong,
            Some(Some(text)) => Found::Value(text),
        }
    }

    /// Returns a boolean field.
    pub(super) fn boolean(&self, report: &mut Report, name: &str) -> Option<bool> {
        self.get(name).and_then(|node| match node.value {
            Value::BooleanLit(literal) => Some(literal.value),
            _ => wrong_type(report, &node, "`true` or `false`"),
        })
    }

    /// Returns the elements of a list field; none of them when it is absent.
    pub(super) fn list(&self, report: &mut Report, name: &str) -> Vec<Node<'a>> {
        self.get(name).map(|node| elements(report, &node)).unwrap_or_default()
    }

    /// Returns the names and their values, in the order of the names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a str, &Node<'a>)> {
        self.values.iter().map(|(name, node)| (*name, node))
    }

    /// Returns whether there is no field at all.
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    fn place_of(&self, name: &str) -> Place {
        match self.place.field.as_str() {
            "" => Place { at: self.place.at, field: name.to_owned() },
            parent => Place { at: self.place.at, field: format!("{parent}.{name}") },
        }
    }
}

/// Reads a text.
pub(super) fn text<'a>(report: &mut Report, node: &Node<'a>) -> Option<Placed<&'a str>> {
    match node.value {
        Value::StringLit(literal) => Some(node.with(literal.value.as_ref())),
        _ => wrong_type(report, node, "a text in quotes"),
    }
}

fn elements<'a>(report: &mut Report, node: &Node<'a>) -> Vec<Node<'a>> {
    let Value::Array(array) = node.value else {
        return wrong_type(report, node, "a list `[…]`").unwrap_or_default();
    };
    let field = &node.place.field;
    let place = |index, value: &Value| Place { at: value.range().start, field: format!("{field}[{index}]") };
    array.elements.iter().enumerate().map(|(i, value)| Placed { place: place(i, value), value }).collect()
}

/// Reports a value of the wrong type, and reads it as absent. The value itself is not shown: it may be
/// long, or a secret.
pub(super) fn wrong_type<T>(report: &mut Report, node: &Node<'_>, expected: &str) -> Option<T> {
    let found = match node.value {
        Value::StringLit(_) => "a text",
        Value::NumberLit(_) => "a number",
        Value::BooleanLit(_) => "`true` or `false`",
        Value::Object(_) => "an object",
        Value::Array(_) => "a list",
        Value::NullKeyword(_) => "`null`",
    };
    let message = format!("expected {expected}, found {found}");
    report.error(&node.place, Problem::new(message, format!("write {expected}")));
    None
}

/// Fields that people look for and that do not exist on purpose.
const ABSENT_ON_PURPOSE: &[(&str, &str)] = &[
    ("workflows", "a spec holds no workflows on purpose: give the workflow to `comfyctl run --workflow`"),
    ("mounts", "a spec holds no mounts on purpose: places are set by COMFY_HOME and MODELS_DIR"),
    ("paths", "a spec holds no paths on purpose: places are set by COMFY_HOME and MODELS_DIR"),
    ("files", "there are no groups of files on purpose: list each file as a model of its own"),
];

fn unknown_field(name: &str, known: &[&str]) -> Problem {
    if let Some((_, why)) = ABSENT_ON_PURPOSE.iter().find(|(absent, _)| *absent == name) {
        return Problem::new("there is no such field", *why);
    }
    // Long names cannot be near; the distance takes time in the product of both lengths.
    let lower: String = name.chars().take(64).collect::<String>().to_ascii_lowercase();
    let nearest = known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(&lower, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let allowed = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let hint = match nearest {
        Some((_, nearest)) => format!("did you mean `{nearest}`? allowed are {allowed}"),
        None => format!("allowed are {allowed}"),
    };
    Problem::new("there is no such field", hint)
}
