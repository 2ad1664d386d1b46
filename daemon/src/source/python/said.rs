//! What uv says when it fails, as a chain of causes, and the phrases of it that decide anything.

use proto::ErrorKind;
use proto::source::strip_secrets;
use std::fmt;

/// A sentence of a tool and the sentences that explain it, without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    text: String,
    cause: Option<Box<Said>>,
}

impl Said {
    /// Reads what uv wrote to its standard error: paragraphs that begin with `error: `, `cause: ` or
    /// `hint: ` (before 0.13: with `×` and `╰─▶`, wrapped). Progress and warnings are left out; words of
    /// another form are kept as they are.
    pub(super) fn by_uv(stderr: &str) -> Self {
        let mut paragraphs: Vec<String> = Vec::new();
        let mut open = false;
        for line in stderr.lines() {
            let text = line.trim();
            let text = text.trim_start_matches("│ ");
            if let Some(rest) = PARAGRAPHS.iter().find_map(|mark| text.strip_prefix(mark)) {
                paragraphs.push(rest.to_owned());
                open = true;
            } else if text.is_empty() || !line.starts_with(' ') {
                open = false;
            } else if let Some(last) = paragraphs.last_mut().filter(|_| open) {
                last.push(' ');
                last.push_str(text);
            }
        }
        if paragraphs.is_empty() {
            return Self::tail(stderr, 20);
        }
        Self::chain(paragraphs.iter().map(|text| without_flags(text)))
    }

    /// Returns the package of whose wheel in its cache uv can make nothing: it says
    /// `Failed to install: <file> (<name>==<version>)`.
    pub(super) fn unusable_package(&self) -> Option<&str> {
        let told = self.text.strip_prefix("Failed to install: ");
        let here = told.and_then(|told| Some(told.rsplit_once('(')?.1.split_once("==")?.0));
        here.or_else(|| self.cause.as_ref()?.unusable_package())
    }

    /// Keeps the last lines of a tool's output.
    pub(super) fn tail(output: &str, lines: usize) -> Self {
        let all: Vec<&str> = output.lines().filter(|line| !line.trim().is_empty()).collect();
        let kept = all[all.len().saturating_sub(lines)..].join("\n");
        Self::chain([if kept.is_empty() { "it said nothing".to_owned() } else { kept }])
    }

    /// Drops the first sentence where others explain it.
    pub(super) fn reasons(self) -> Self {
        self.cause.map_or_else(|| Self { text: self.text, cause: None }, |cause| *cause)
    }

    fn chain(texts: impl IntoIterator<Item = String, IntoIter: DoubleEndedIterator>) -> Self {
        let fold = |cause: Option<Box<Self>>, text: String| {
            Some(Box::new(Self { text: without_credentials(&text), cause }))
        };
        let chain = texts.into_iter().rev().fold(None, fold);
        chain.map_or_else(|| Self { text: "it said nothing".to_owned(), cause: None }, |said| *said)
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Said {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// What begins a paragraph of an error.
const PARAGRAPHS: [&str; 6] = ["error: ", "cause: ", "hint: ", "× ", "├─▶ ", "╰─▶ "];

/// uv advises its own flags, which the reader cannot set.
fn without_flags(text: &str) -> String {
    text.split(" Consider using `").next().unwrap_or(text).to_owned()
}

fn without_credentials(text: &str) -> String {
    let clean = |word: &str| {
        let Some(start) = word.find("http") else { return word.to_owned() };
        let link: &str = word[start..].trim_end_matches([')', ',', '.', '`', '\'', '"', ';', '>']);
        match url::Url::parse(link) {
            Ok(mut url) => {
                let rest = &word[start + link.len()..];
                if url.query().is_some() {
                    url.set_query(None);
                }
                let shown = strip_secrets(&url).to_string();
                format!("{}{shown}{rest}", &word[..start])
            }
            Err(_) => word.to_owned(),
        }
    };
    text.split(' ').map(clean).collect::<Vec<_>>().join(" ")
}

/// Whether uv's words mean that the requirements cannot be met together.
pub(super) fn is_unsatisfiable(stderr: &str) -> bool {
    unwrapped(stderr).contains("No solution found") && !is_offline(stderr)
}

/// Undoes line breaks, which older ones of uv put anywhere.
fn unwrapped(stderr: &str) -> String {
    stderr.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_offline(stderr: &str) -> bool {
    let stderr = unwrapped(stderr);
    ["network was disabled", "network connectivity is disabled", "not found in the cache"]
        .iter()
        .any(|words| stderr.contains(words))
}

/// The phrases by which a failure of uv is told from others; the first that occurs decides.
const PHRASES: &[(&str, ErrorKind)] = &[
    ("No space left on device", ErrorKind::Disk),
    ("Read-only file system", ErrorKind::Disk),
    ("Disk quota exceeded", ErrorKind::Disk),
    ("Permission denied", ErrorKind::Disk),
    ("Input/output error", ErrorKind::Disk),
    ("401 Unauthorized", ErrorKind::Access),
    ("403 Forbidden", ErrorKind::Access),
    ("404 Not Found", ErrorKind::NotFound),
    ("Failed to build", ErrorKind::Toolchain),
    ("Hash mismatch", ErrorKind::Network),
    ("error sending request", ErrorKind::Network),
    ("Failed to fetch", ErrorKind::Network),
    ("Request failed after", ErrorKind::Network),
    ("Failed to download", ErrorKind::Network),
    ("Git operation failed", ErrorKind::Network),
    ("No solution found", ErrorKind::Conflict),
];

/// Returns what kind of failure uv's words mean.
pub(super) fn kind_of(stderr: &str) -> ErrorKind {
    if is_offline(stderr) {
        return ErrorKind::Offline;
    }
    let stderr = unwrapped(stderr);
    let found = PHRASES.iter().find(|(words, _)| stderr.contains(words));
    found.map_or(ErrorKind::Toolchain, |(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(said: &Said) -> Vec<String> {
        let mut all = vec![said.to_string()];
        let mut at: &dyn std::error::Error = said;
        while let Some(next) = at.source() {
            all.push(next.to_string());
            at = next;
        }
        all
    }

    #[test]
    fn causes_become_a_chain_and_advice_on_flags_goes() {
        let stderr = "warning: `x.whl` is missing an upload date\nResolved 3 packages\nerror: No solution found when resolving dependencies\n  cause: Because a needs b\n         And because c, it is unsatisfiable.\n\nhint: `a` was filtered by `exclude-newer`. Consider using `exclude-newer-package` to override.\n";
        assert_eq!(
            sentences(&Said::by_uv(stderr).reasons()),
            ["Because a needs b And because c, it is unsatisfiable.", "`a` was filtered by `exclude-newer`."]
        );
    }

    #[test]
    fn the_form_of_older_ones_is_read_too() {
        let stderr = "  × No solution found when resolving dependencies:\n  ╰─▶ Because a was not found in the\n      cache, it is unsatisfiable.\n\n      hint: Packages were unavailable because the network was\n      disabled.\n";
        let said = sentences(&Said::by_uv(stderr));
        assert_eq!(said[1], "Because a was not found in the cache, it is unsatisfiable.");
        assert_eq!(kind_of(stderr), ErrorKind::Offline);
    }

    #[test]
    fn links_lose_their_credentials() {
        let said = Said::by_uv(
            "error: Failed to fetch `https://u:s3cr3t@h.example/a?sig=s3cr3t` (see https://h/x).",
        );
        assert_eq!(said.to_string(), "Failed to fetch `https://h.example/a` (see https://h/x).");
    }

    #[test]
    fn phrases_decide_the_kind() {
        let table = [
            ("cause: No space left on device (os error 28)", ErrorKind::Disk),
            ("cause: error sending request for url (http://x)", ErrorKind::Network),
            ("hint: Packages were unavailable because the network was disabled.", ErrorKind::Offline),
            ("cause: HTTP status client error (403 Forbidden)", ErrorKind::Access),
            ("error: Failed to build `x==1`", ErrorKind::Toolchain),
            ("gibberish", ErrorKind::Toolchain),
        ];
        for (text, kind) in table {
            assert_eq!(kind_of(text), kind, "{text}");
        }
    }
}
