//! Findings about a machine: a line each, folded at 80 columns, with the remedy below.

use super::units::count;
use owo_colors::OwoColorize as _;
use proto::method::{Finding, Verdict};

/// Columns of the narrowest terminal that people use.
const WIDTH: usize = 80;

/// Columns of a verdict and the blanks behind it.
const VERDICT: usize = 9;

/// Renders findings and how many there are of each kind.
pub fn people(findings: &[Finding]) -> String {
    let subjects = findings.iter().map(|finding| finding.subject.chars().count()).max().unwrap_or(0) + 2;
    let indent = " ".repeat(VERDICT + subjects);
    let width = WIDTH - indent.len().min(WIDTH / 2);
    let mut text = String::new();
    for finding in findings {
        let subject = &finding.subject;
        text += &format!("{}{subject:subjects$}", verdict(finding.verdict));
        text += &folded(&finding.text, width, &indent);
        if let Some(remedy) = &finding.remedy {
            // The mark takes part in the folding; its colour is put on after that.
            let remedy = folded(&format!("hint: {remedy}"), width, &indent);
            text += &format!("{indent}{}{}", "hint:".cyan(), remedy.strip_prefix("hint:").unwrap_or(&remedy));
        }
    }
    let number = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let problems = match number(Verdict::Problem) {
        0 => "no problem".to_owned(),
        problems => count(problems, "problem"),
    };
    text + &format!(
        "\n{problems}, {}, {} ok\n",
        count(number(Verdict::Warning), "warning"),
        number(Verdict::Ok)
    )
}

fn verdict(verdict: Verdict) -> String {
    match verdict {
        Verdict::Ok => format!("{:VERDICT$}", "ok").green().to_string(),
        Verdict::Warning => format!("{:VERDICT$}", "warning").yellow().to_string(),
        Verdict::Problem => format!("{:VERDICT$}", "problem").red().bold().to_string(),
    }
}

/// Folds a text between words into lines of so many columns; all but the first one begin with `indent`. A word that is
/// longer, as paths are, stays whole.
fn folded(text: &str, width: usize, indent: &str) -> String {
    let (mut lines, mut column) = (String::new(), 0);
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            lines.push('\n');
            lines += indent;
            column = 0;
        } else if column > 0 {
            lines.push(' ');
            column += 1;
        }
        lines += word;
        column += length;
    }
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_folded_and_counted() {
        let findings = [
            Finding::ok("locks", "`flock` holds between processes of this machine"),
            Finding::warning(
                "small files",
                "make 20.0 ms, open 2.1 ms, remove 2.0 ms each: the files of one version take 10 min to make",
                "realize once for all machines of the volume",
            ),
            Finding::problem("HF_TOKEN", "Hugging Face refuses it (401)", "make a new one"),
        ];
        let expected = "\
ok       locks        `flock` holds between processes of this machine
warning  small files  make 20.0 ms, open 2.1 ms, remove 2.0 ms each: the files
                      of one version take 10 min to make
                      hint: realize once for all machines of the volume
problem  HF_TOKEN     Hugging Face refuses it (401)
                      hint: make a new one

1 problem, 1 warning, 1 ok
";
        let text = anstream::adapter::strip_str(&people(&findings)).to_string();
        assert_eq!(text, expected);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    }

    #[test]
    fn words_longer_than_a_line_stay_whole() {
        let path = "/a".repeat(50);
        assert_eq!(folded(&format!("in {path} there"), 20, "  "), format!("in\n  {path}\n  there\n"));
        assert_eq!(folded("", 20, "  "), "\n");
    }
}
