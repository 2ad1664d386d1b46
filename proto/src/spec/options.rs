//! `options`, `env` and `python_packages`.

use super::reader::{Fields, MOMENT, Node, TEXT, text, wrong_type};
use super::report::{Placed, Problem, Report};
use super::{Conflicts, ExcludeNewer, Options};
use crate::ids::shown;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use jsonc_parser::ast::Value;
use std::collections::BTreeMap;

/// The fields of `options`.
pub(super) const FIELDS: &[&str] =
    &["offline", "skip_models", "no_install_scripts", "exclude_newer", "conflicts", "extra_args"];

/// Reads the switches.
pub(super) fn read(report: &mut Report, node: &Node<'_>) -> Options {
    let Some(fields) = Fields::read(report, node, FIELDS) else { return Options::default() };
    let extra_args = fields.list(report, "extra_args");
    Options {
        offline: fields.boolean(report, "offline").unwrap_or_default(),
        skip_models: fields.boolean(report, "skip_models").unwrap_or_default(),
        no_install_scripts: fields.boolean(report, "no_install_scripts").unwrap_or_default(),
        exclude_newer: fields
            .get("exclude_newer")
            .and_then(|node| exclude_newer(report, &node))
            .unwrap_or_default(),
        conflicts: fields.text(report, "conflicts").and_then(|c| conflicts(report, &c)).unwrap_or_default(),
        extra_args: extra_args.iter().filter_map(|node| argument(report, node)).collect(),
    }
}

fn exclude_newer(report: &mut Report, node: &Node<'_>) -> Option<ExcludeNewer> {
    match node.value {
        Value::BooleanLit(literal) if literal.value => Some(ExcludeNewer::Auto),
        Value::BooleanLit(_) => Some(ExcludeNewer::Off),
        Value::StringLit(literal) => report.take(&node.place, moment(&literal.value)),
        _ => wrong_type(report, node, &MOMENT),
    }
}

fn moment(text: &str) -> Result<ExcludeNewer, Problem> {
    match text {
        "auto" => return Ok(ExcludeNewer::Auto),
        "off" => return Ok(ExcludeNewer::Off),
        _ => {}
    }
    // A date means all of that day, as uv reads it; in UTC, so that it means the same everywhere.
    let moment = if text.len() == "2025-11-30".len() {
        text.parse::<Date>().and_then(|date| {
            let next = date.checked_add(1.day())?;
            next.to_zoned(TimeZone::UTC).map(|midnight| midnight.timestamp())
        })
    } else {
        text.parse::<Timestamp>()
    };
    moment.map(ExcludeNewer::At).map_err(|_| {
        Problem::new(
            format!("`{}` is no moment", shown(text)),
            "write `auto`, `off`, a date such as `2025-11-30`, or a moment such as `2025-11-30T12:00:00Z`",
        )
    })
}

fn conflicts(report: &mut Report, given: &Placed<&str>) -> Option<Conflicts> {
    let read = match given.value {
        "error" => Ok(Conflicts::Error),
        "warn" => Ok(Conflicts::Warn),
        other => {
            Err(Problem::new(format!("`{}` is not known here", shown(other)), "write `error` or `warn`"))
        }
    };
    report.take(&given.place, read)
}

fn argument(report: &mut Report, node: &Node<'_>) -> Option<String> {
    let given = text(report, node)?;
    let checked = if given.value.is_empty() || given.value.contains(char::is_control) {
        let hint = "write each argument as a text of its own, such as `\"--fast\"`";
        Err(Problem::new("the argument is empty or has a control character", hint))
    } else {
        Ok(given.value.to_owned())
    };
    report.take(&given.place, checked)
}

/// Reads environment variables.
pub(super) fn env(report: &mut Report, node: &Node<'_>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let Some(fields) = Fields::read_any(report, node) else { return env };
    for (name, at_name) in fields.iter() {
        if !is_variable(name) {
            let message = format!("`{}` cannot be the name of a variable", shown(name));
            let hint = "use letters, digits and `_`, not starting with a digit";
            report.error(&at_name.place, Problem::new(message, hint));
        }
        // Elsewhere `null` means absent; here that would hide a mistake.
        let node = fields.get(name).unwrap_or_else(|| at_name.clone());
        if let Some(value) = variable(report, &node) {
            env.insert(name.to_owned(), value);
        }
    }
    env
}

fn is_variable(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn variable(report: &mut Report, node: &Node<'_>) -> Option<String> {
    // The value may be a secret: no message shows it.
    let as_text = |report: &mut Report, what: &str, text: String| {
        report.warn(&node.place, format!("{what} is taken as text"), "write the value in quotes");
        Some(text)
    };
    match node.value {
        Value::StringLit(literal) if literal.value.contains('\0') => {
            report.error(&node.place, Problem::new("the value has a NUL character", "remove it"));
            None
        }
        Value::StringLit(literal) => Some(literal.value.clone().into_owned()),
        Value::NumberLit(literal) => as_text(report, "a number", literal.value.to_owned()),
        Value::BooleanLit(literal) => as_text(report, "`true` or `false`", literal.value.to_string()),
        _ => wrong_type(report, node, &TEXT),
    }
}

/// Reads requirement lines.
pub(super) fn packages(report: &mut Report, nodes: &[Node<'_>]) -> Vec<String> {
    let mut lines = Vec::with_capacity(nodes.len());
    for node in nodes {
        let Some(given) = text(report, node) else { continue };
        let line = given.value.trim();
        if line.is_empty() || line.starts_with('#') {
            report.warn(&given.place, "there is no requirement here", "remove the line");
        } else if report.take(&given.place, check_requirement(line)).is_some() {
            lines.push(line.to_owned());
        }
    }
    lines
}

/// Refuses what would do more than add one requirement; the requirement itself is uv's to judge.
fn check_requirement(line: &str) -> Result<(), Problem> {
    if line.starts_with('-') {
        return Err(Problem::new(
            format!(
                "`{}` is an option, not a requirement",
                shown(line.split([' ', '=']).next().unwrap_or(line))
            ),
            "set it for the daemon: COMFY_WHEELS_DIR for a directory of wheels, uv's own variables (UV_INDEX, …) for indexes",
        ));
    }
    if line.contains(char::is_control) || line.ends_with('\\') {
        return Err(Problem::new(
            "there is a control character, or a `\\` at the end",
            "write one requirement a text",
        ));
    }
    // uv replaces `${NAME}` by a variable of the daemon, which may be a token.
    if line.contains("${") {
        return Err(Problem::new("there is a `${…}`, which uv would replace", "write the text itself"));
    }
    if carries_login(line) {
        return Err(Problem::new(
            "the link carries a user name or password",
            "remove it and let a git credential helper or a netrc file answer",
        ));
    }
    Ok(())
}

/// Returns whether a link in the line has user info; `ssh://git@host` is no secret.
fn carries_login(line: &str) -> bool {
    line.match_indices("://").any(|(at, _)| {
        let rest = &line[at + 3..];
        let authority = rest.split(['/', '?', '#', ' ']).next().unwrap_or_default();
        let login = authority.rsplit_once('@').map(|(login, _)| login);
        login.is_some_and(|login| login.contains(':') || !line[..at].ends_with("ssh"))
    })
}
