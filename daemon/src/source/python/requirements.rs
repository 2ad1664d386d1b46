//! Reading requirements files, line by line, without following anything.
//!
//! The format is pip's: one requirement a line, `#` comments, `\` continuations, `-r` and `-c`
//! includes, options. A requirement itself is PEP 508, a bare link, or a path.

use pep508_rs::{PackageName, Requirement, VersionOrUrl};
use std::path::Path;
use std::str::FromStr as _;
use url::Url;

/// What one line of a requirements file is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A package is required.
    Package {
        /// Normalised name, where the line tells it: a bare link to a repository does not.
        name: Option<String>,
        /// The requirement, without per-requirement options such as `--hash`.
        text: String,
    },
    /// Another file is included.
    Include {
        /// The file as written, relative to the including one.
        file: String,
        /// Whether it only constrains (`-c`).
        constraint: bool,
    },
    /// It is valid for pip but is not followed here, for this reason.
    NotFollowed(&'static str),
    /// It is not a requirement, for this reason.
    Bad(String),
}

/// Returns the files that a requirements file includes by `-r` and `-c`, as paths in its repository.
/// `file` is its own path there. What leads out of the repository is left out.
pub fn includes(file: &str, text: &str) -> Vec<String> {
    let entries = logical_lines(text).into_iter().map(|(_, line)| read(&line));
    let included = entries.filter_map(|entry| match entry {
        Entry::Include { file: included, .. } => resolve(file, &included),
        _ => None,
    });
    included.collect()
}

/// Returns the path that `included` means in `file`; none when it leaves the repository.
pub(super) fn resolve(file: &str, included: &str) -> Option<String> {
    if included.starts_with('/') || included.contains("://") || included.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    for part in included.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// Returns lines with their number (from 1), joined over continuations, without comments and blanks.
pub(super) fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (at, raw) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let (continues, part) = match raw.strip_suffix('\\') {
            Some(part) => (true, part),
            None => (false, raw),
        };
        // pip: a comment ends a continued line, too.
        let bare = without_comment(part);
        let commented = bare.len() < part.len();
        let (_, joined) = open.get_or_insert_with(|| (at + 1, String::new()));
        joined.push_str(bare);
        if !continues || commented {
            lines.extend(open.take());
        }
    }
    lines.extend(open);
    lines.retain(|(_, line)| !line.trim().is_empty());
    for (_, line) in &mut lines {
        *line = line.trim().to_owned();
    }
    lines
}

/// A `#` begins a comment at the start of a line and after white space; elsewhere it is part of a link.
fn without_comment(line: &str) -> &str {
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        if c == '#' && before.is_whitespace() {
            return &line[..at];
        }
        before = c;
    }
    line
}

/// Tells a wheel by its file name.
pub(super) fn is_wheel(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|extension| extension == "whl")
}

/// Reads one logical line.
pub(super) fn read(line: &str) -> Entry {
    // pip takes tabs, and uv whatever else looks like a space.
    let line = &*line.replace(char::is_whitespace, " ");
    if line.starts_with('-') {
        return read_option(line);
    }
    let text = line.split(" --").next().unwrap_or(line).trim();
    if text.chars().any(char::is_control) {
        return Entry::Bad("it has a control character".to_owned());
    }
    if text.contains("${") {
        return Entry::NotFollowed("environment variables are not put into requirements");
    }
    if is_path(text) {
        return Entry::NotFollowed("local paths are not followed");
    }
    match text.split_once("://") {
        Some((scheme, _)) if scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+') => read_link(text),
        _ => read_named(text),
    }
}

fn read_option(line: &str) -> Entry {
    for (names, constraint) in [(["--requirement", "-r"], false), (["--constraint", "-c"], true)] {
        let rest = names.iter().find_map(|name| line.strip_prefix(name));
        if let Some(file) = rest.map(|rest| rest.trim_start_matches('=').trim()).filter(|f| !f.is_empty()) {
            return Entry::Include { file: file.to_owned(), constraint };
        }
    }
    if line.starts_with("-e") || line.starts_with("--editable") {
        return Entry::NotFollowed("editable and local packages are not followed");
    }
    Entry::NotFollowed("options of pip are not followed: only the daemon's own indexes count")
}

fn is_path(text: &str) -> bool {
    let archive = [".whl", ".tar.gz", ".zip"].iter().any(|end| text.ends_with(end));
    text.starts_with(['.', '/', '~']) || text.starts_with("file:") || (archive && !text.contains("://"))
}

/// A bare link; only the file name of a wheel, or `#egg=`, tells the package's name.
fn read_link(text: &str) -> Entry {
    let link = text.split([' ', ';']).next().unwrap_or(text);
    let url = match Url::parse(link) {
        Ok(url) => url,
        Err(error) => return Entry::Bad(format!("the link cannot be parsed: {error}")),
    };
    let egg = url.fragment().and_then(|fragment| fragment.split('&').find_map(|f| f.strip_prefix("egg=")));
    let file = url.path().rsplit('/').next().unwrap_or_default();
    let wheel = is_wheel(file).then(|| file.split('-').next()).flatten();
    let name = egg.or(wheel).map(|name| name.split('[').next().unwrap_or(name));
    let name = name.and_then(|name| PackageName::new(name.to_owned()).ok()).map(|name| name.to_string());
    refusal(&url).unwrap_or_else(|| Entry::Package { name, text: text.to_owned() })
}

/// Finds a name or an extra that ends as none may; the parser takes that for a bug of its own and panics
/// (`pep508_rs` 0.9.2).
fn ends_wrongly(text: &str) -> Option<&str> {
    let is_inner = |c: char| matches!(c, '.' | '-' | '_');
    let is_outer = |c: char| !c.is_ascii_alphanumeric() && !is_inner(c);
    let (name, rest) = text.split_at(text.find(is_outer)?);
    let extras = rest.trim_start().strip_prefix('[').and_then(|rest| rest.split(']').next());
    std::iter::once(name)
        .chain(extras.unwrap_or_default().split(is_outer))
        .find(|word| word.ends_with(is_inner))
}

fn read_named(text: &str) -> Entry {
    if let Some(word) = ends_wrongly(text) {
        return Entry::Bad(format!("`{word}` does not end with a letter or a digit"));
    }
    // PEP 508 knows ASCII only, and inside of others' bytes the parser panics.
    if let Some(c) = text.chars().find(|c| !c.is_ascii()) {
        return Entry::Bad(format!("`{}` is not ASCII; a link has `%` and its bytes", c.escape_debug()));
    }
    match Requirement::<Url>::from_str(text) {
        Ok(requirement) => {
            let refused = match &requirement.version_or_url {
                Some(VersionOrUrl::Url(url)) => refusal(url),
                _ => None,
            };
            let name = Some(requirement.name.to_string());
            refused.unwrap_or_else(|| Entry::Package { name, text: text.to_owned() })
        }
        Err(error) => Entry::Bad(error.message.to_string().replace('\n', " ")),
    }
}

/// Says why a link is not followed, where it is not.
fn refusal(url: &Url) -> Option<Entry> {
    let scheme = url.scheme();
    if scheme == "file" || scheme == "git+file" {
        return Some(Entry::NotFollowed("local paths are not followed"));
    }
    if !matches!(scheme, "http" | "https" | "git+http" | "git+https" | "git+ssh") {
        return Some(Entry::Bad(format!("`{scheme}` links are not supported")));
    }
    let user = !url.username().is_empty() && !scheme.ends_with("ssh");
    (user || url.password().is_some())
        .then_some(Entry::NotFollowed("the link carries a user name or password"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: Option<&str>, text: &str) -> Entry {
        Entry::Package { name: name.map(str::to_owned), text: text.to_owned() }
    }

    #[test]
    fn comments_and_continuations_keep_the_number_of_their_first_line() {
        let text =
            "\u{feff}# top\nnumpy>=1 \\\n  ,<3  # why\n\nx @ git+https://h/r.git#egg=x\r\n  y\\\n# gone\nz";
        let lines = logical_lines(text);
        let expected = [(2, "numpy>=1   ,<3"), (5, "x @ git+https://h/r.git#egg=x"), (6, "y"), (8, "z")];
        assert_eq!(lines, expected.map(|(at, line)| (at, line.to_owned())));
    }

    #[test]
    fn requirements_are_told_by_name() {
        let table = [
            ("Pillow", package(Some("pillow"), "Pillow")),
            (
                "opencv_python[x] >=4,<5; python_version<'4'",
                package(Some("opencv-python"), "opencv_python[x] >=4,<5; python_version<'4'"),
            ),
            ("a==1 --hash=sha256:00", package(Some("a"), "a==1")),
            ("a\t>=1;\u{a0}python_version<'4'", package(Some("a"), "a >=1; python_version<'4'")),
            ("a @ https://h/a-1.zip", package(Some("a"), "a @ https://h/a-1.zip")),
            ("git+https://h/o/r.git@main", package(None, "git+https://h/o/r.git@main")),
            ("git+ssh://git@h/o/r.git", package(None, "git+ssh://git@h/o/r.git")),
            (
                "https://h/torch-2.0+cu1-py3-none-any.whl",
                package(Some("torch"), "https://h/torch-2.0+cu1-py3-none-any.whl"),
            ),
            ("git+https://h/r#egg=Foo_Bar[x]", package(Some("foo-bar"), "git+https://h/r#egg=Foo_Bar[x]")),
        ];
        for (line, expected) in table {
            assert_eq!(read(line), expected, "{line}");
        }
    }

    #[test]
    fn what_could_lead_elsewhere_is_not_followed() {
        for line in [
            "--index-url https://evil",
            "-i https://evil",
            "-f /x",
            "--extra-index-url=https://evil",
            "--trusted-host h",
            "-e .",
            "./pkg",
            "/abs/pkg",
            "wheels/a-1-py3-none-any.whl",
            "file:///x",
            "a @ file:///x",
            "a @ git+file:///x",
            "a @ https://h/${HF_TOKEN}",
            "a @ https://u:p@h/x.zip",
        ] {
            assert!(matches!(read(line), Entry::NotFollowed(_)), "{line}: {:?}", read(line));
        }
    }

    #[test]
    fn what_is_no_requirement_says_why() {
        for line in ["a<<2", "two words", "a @ ftp://h/x", "<<<<<<< HEAD", "a\u{7}"] {
            assert!(matches!(read(line), Entry::Bad(reason) if !reason.is_empty()), "{line}");
        }
        // The parser panics at these.
        for line in [
            "a; python_version<'3'\u{feff}",
            "a @ https://h/\u{e9}.zip",
            "a..",
            "a../x",
            "a- >=1",
            "a[b-]",
            "a [b, c_ ]>=1",
            "a[b- c]",
            "a[b.",
        ] {
            assert!(matches!(read(line), Entry::Bad(reason) if !reason.is_empty()), "{line}");
        }
        for line in ["a[b-c,d.e]>=1", "a.b-c==1", "a; extra == 'b'", "a @ https://h/a-.zip"] {
            assert!(matches!(read(line), Entry::Package { .. }), "{line}: {:?}", read(line));
        }
    }

    #[test]
    fn includes_stay_in_the_repository() {
        let text = "-r base.txt\n-c ../constraints.txt\n--requirement=./sub/x.txt\n-r /etc/passwd\n-r ../../out.txt\n-r https://evil/x\n";
        assert_eq!(includes("req/all.txt", text), ["req/base.txt", "constraints.txt", "req/sub/x.txt"]);
    }
}
