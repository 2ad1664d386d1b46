//! Failures, for people and for programs.

use crate::failure::Failure;
use crate::render::text::fold;
use owo_colors::OwoColorize as _;
use proto::ErrorKind;
use proto::spec::{Diagnostic, Severity};
use serde::Serialize;
use std::fmt::Write as _;

/// Renders a failure as lines: what failed, why, what more is known, and the remedy.
pub fn people(failure: &Failure) -> String {
    let mut text = fold(&format!("{} ", "error:".red().bold()), &failure.message, 2);
    for cause in &failure.data.causes {
        text += &fold(&format!("  {} ", "caused by:".dimmed()), cause, 4);
    }
    for diagnostic in &failure.data.diagnostics {
        text += &finding(diagnostic);
    }
    for line in &failure.data.details {
        text += &format!("  {line}\n");
    }
    if let Some(hint) = &failure.data.hint {
        text += &format!("\n{}", fold(&format!("{} ", "hint:".cyan().bold()), hint, 6));
    }
    text
}

/// Renders a finding in a spec as lines whose first begins as editors understand it: with its place.
pub fn finding(diagnostic: &Diagnostic) -> String {
    let mut line = diagnostic.to_string();
    if diagnostic.severity == Severity::Warning {
        let place = format!("{}:{}:{}: ", diagnostic.file, diagnostic.line, diagnostic.column);
        line.insert_str(place.len(), "warning: ");
    }
    fold("", &line, 4)
}

/// Renders a failure as one JSON object in one line. Every field is always there.
pub fn json(failure: &Failure) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        error: Body<'a>,
    }
    #[derive(Serialize)]
    struct Body<'a> {
        kind: ErrorKind,
        message: &'a str,
        causes: &'a [String],
        hint: Option<&'a str>,
        details: &'a [String],
        diagnostics: &'a [Diagnostic],
    }
    let data = &failure.data;
    let error = Body {
        kind: data.kind,
        message: &failure.message,
        causes: &data.causes,
        hint: data.hint.as_deref(),
        details: &data.details,
        diagnostics: &data.diagnostics,
    };
    let mut text = String::new();
    match serde_json::to_string(&Document { error }) {
        Ok(json) => text += &json,
        // Not reached: strings, numbers and lists of them can always be written.
        Err(error) => write!(text, "{{\"error\":{{\"message\":\"{error}\"}}}}").unwrap_or_default(),
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Failure {
        let mut failure = Failure::new(ErrorKind::Network, "failed to fetch `https://example.org/x`");
        failure.data.causes = vec!["connection reset".to_owned(), "os error 104".to_owned()];
        failure.data.details = vec!["attempt 5 of 5".to_owned()];
        failure.hint("try again, or use `--offline`")
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn people_see_causes_details_and_the_remedy() {
        let expected = "\
error: failed to fetch `https://example.org/x`
  caused by: connection reset
  caused by: os error 104
  attempt 5 of 5

hint: try again, or use `--offline`
";
        assert_eq!(plain(&people(&sample())), expected);
    }

    #[test]
    fn findings_stand_one_a_line_with_their_place() {
        let at = |line, severity, message: &str, hint: Option<&str>| Diagnostic {
            severity,
            file: "versions/x.json".to_owned(),
            line,
            column: 5,
            field: "comfy.repo".to_owned(),
            message: message.to_owned(),
            hint: hint.map(str::to_owned),
        };
        let mut failure = Failure::new(ErrorKind::Spec, "`versions/x.json` has 1 error");
        failure.data.diagnostics = vec![
            at(3, Severity::Error, "is missing", Some("write a URL")),
            at(4, Severity::Warning, "holds a branch", None),
        ];
        let expected = "\
error: `versions/x.json` has 1 error
versions/x.json:3:5: comfy.repo: is missing (write a URL)
versions/x.json:4:5: warning: comfy.repo: holds a branch
";
        assert_eq!(plain(&people(&failure)), expected);
    }

    #[test]
    fn programs_see_every_field() {
        let failure = Failure::new(ErrorKind::Busy, "`x` is held");
        let expected = concat!(
            r#"{"error":{"kind":"busy","message":"`x` is held","causes":[],"hint":null,"#,
            r#""details":[],"diagnostics":[]}}"#,
            "\n"
        );
        assert_eq!(json(&failure), expected);
    }
}
