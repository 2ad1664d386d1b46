//! Findings about a machine: a line each, folded at 80 columns, with the remedy below.

use super::text::fold;
use super::units::count;
use owo_colors::OwoColorize as _;
use proto::method::{Finding, Verdict};

/// Columns of a verdict and the blanks behind it.
const VERDICT: usize = 9;

/// Renders findings and how many there are of each kind.
pub fn people(findings: &[Finding]) -> String {
    let subjects = findings.iter().map(|finding| finding.subject.chars().count()).max().unwrap_or(0) + 2;
    let indent = VERDICT + subjects;
    let mut text = String::new();
    for finding in findings {
        let subject = &finding.subject;
        text += &fold(&format!("{}{subject:subjects$}", verdict(finding.verdict)), &finding.text, indent);
        if let Some(remedy) = &finding.remedy {
            text += &fold(&format!("{:indent$}{} ", "", "hint:".cyan()), remedy, indent);
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
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
