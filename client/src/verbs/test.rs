//! `test`: prove that a version works.

use super::{Outcome, show_json};
use crate::failure::Failure;
use crate::render::Marks;
use crate::render::text::fold;
use crate::session::Session;
use owo_colors::OwoColorize as _;
use proto::method::{CheckOutcome, Test, TestAnswer};

/// Arguments of `test`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Version id, or path of a spec that ends in .json
    version: String,
    /// Use only what is cached
    #[arg(long)]
    offline: bool,
    /// Run no custom node's install.py; what they do is missing then
    #[arg(long)]
    no_install_scripts: bool,
}

/// Runs the verb. Checks that fail are an outcome, not a failure: the list is the result.
///
/// # Errors
/// What the daemon answered.
pub fn run(args: &Args, session: &mut Session) -> Result<Outcome, Failure> {
    let call = Test {
        target: session.target(&args.version),
        offline: session.offline(args.offline),
        no_install_scripts: args.no_install_scripts,
    };
    let answer = session.call(&call)?;
    let report = answer.read()?;
    if session.screen.json {
        show_json(session, &answer)?;
    } else {
        let text = people(&report, session.screen.marks);
        session.screen.result(&text)?;
    }
    Ok(if report.passed { Outcome::Done } else { Outcome::ChecksFailed })
}

fn people(report: &TestAnswer, marks: Marks) -> String {
    let mut text = String::new();
    for check in &report.checks {
        let mark = match check.outcome {
            CheckOutcome::Passed => marks.good.green().to_string(),
            CheckOutcome::Failed => marks.bad.red().bold().to_string(),
            CheckOutcome::Skipped => marks.none.to_owned(),
        };
        let colon = if check.detail.is_empty() { "" } else { ": " };
        text += &fold(&format!("{mark} "), &format!("{}{colon}{}", check.name, check.detail), 4);
    }
    let number = |outcome| report.checks.iter().filter(|check| check.outcome == outcome).count();
    let verdict = if report.passed { "passed" } else { "failed" };
    let (failed, all) = (number(CheckOutcome::Failed), report.checks.len());
    text +=
        &format!("{} {verdict}: {} of {all} checks passed", report.version_id, number(CheckOutcome::Passed));
    if failed > 0 {
        text += &format!(", {failed} failed");
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_check_has_its_mark() {
        let report: TestAnswer = serde_json::from_value(json!({
            "version_id": "x", "passed": false, "checks": [
                {"name": "ComfyUI starts", "outcome": "passed", "detail": "21.3 s"},
                {"name": "custom node Kijai", "outcome": "failed", "detail": "ImportError: x\nat y"},
                {"name": "models", "outcome": "skipped"}]
        }))
        .unwrap();
        let text = |utf8| anstream::adapter::strip_str(&people(&report, Marks::new(utf8))).to_string();
        let expected = "\
✓ ComfyUI starts: 21.3 s
✗ custom node Kijai: ImportError: x
    at y
- models
x failed: 1 of 3 checks passed, 1 failed
";
        assert_eq!(text(true), expected);
        assert_eq!(text(false), expected.replace('✓', "ok").replace('✗', "FAILED"));
    }
}
