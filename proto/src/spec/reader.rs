//! Reading a JSON tree field by field, with a place for every value.
//!
//! Readers never stop at the first error: a wrong value is reported and read as absent, so that one
//! pass finds everything. `null` means absent.

use super::report::{Place, Placed, Problem, Report};
use crate::ids::shown;
use jsonc_parser::ast::Value;
use jsonc_parser::common::Ranged;
use std::collections::BTreeMap;

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
            return wrong_type(report, node, &OBJECT);
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
            _ => wrong_type(report, &node, &BOOLEAN),
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
        _ => wrong_type(report, node, &TEXT),
    }
}

fn elements<'a>(report: &mut Report, node: &Node<'a>) -> Vec<Node<'a>> {
    let Value::Array(array) = node.value else {
        return wrong_type(report, node, &LIST).unwrap_or_default();
    };
    let field = &node.place.field;
    let place = |index, value: &Value| Place { at: value.range().start, field: format!("{field}[{index}]") };
    array.elements.iter().enumerate().map(|(i, value)| Placed { place: place(i, value), value }).collect()
}

/// A type that a field wants.
pub(super) struct Expected {
    what: &'static str,
    hint: &'static str,
}

const OBJECT: Expected = Expected { what: "an object", hint: "write its fields as `{\"name\": value, …}`" };
const LIST: Expected = Expected { what: "a list", hint: "write `[…]`, around a single value, too" };
const BOOLEAN: Expected = Expected { what: "`true` or `false`", hint: "write it without quotes" };
pub(super) const TEXT: Expected = Expected { what: "a text", hint: "write one value in quotes" };
pub(super) const VERSION: Expected = Expected { what: "a number", hint: "write `\"schema_version\": 2`" };
pub(super) const MOMENT: Expected =
    Expected { what: "a text", hint: "write `\"auto\"`, `\"off\"` or a date such as `\"2025-11-30\"`" };

/// Reports a value of the wrong type, and reads it as absent. The value itself is not shown: it may be
/// long, or a secret.
pub(super) fn wrong_type<T>(report: &mut Report, node: &Node<'_>, expected: &Expected) -> Option<T> {
    let found = match node.value {
        Value::StringLit(_) => "a text",
        Value::NumberLit(_) => "a number",
        Value::BooleanLit(_) => "`true` or `false`",
        Value::Object(_) => "an object",
        Value::Array(_) => "a list",
        Value::NullKeyword(_) => "`null`",
    };
    let message = format!("expected {}, found {found}", expected.what);
    report.error(&node.place, Problem::new(message, expected.hint));
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
