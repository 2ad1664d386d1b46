//! Names that were checked once and need no second look: a value of these types is safe to use as
//! a file name or to hand to git.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a text is not a valid name. The text says what is wrong and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidName(pub String);

macro_rules! checked_string {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks `text` and wraps it.
            ///
            /// # Errors
            /// Says what is wrong with the text and what is allowed.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidName> {
                let text = text.into();
                $check(&text).map_err(InvalidName)?;
                Ok(Self(text))
            }

            /// Returns the checked text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

checked_string!(
    /// Id of a version: the name of its spec without `.json`. Letters, digits, `.`, `_`, `-`;
    /// starts with a letter or digit; at most 128 bytes.
    VersionId,
    check_version_id
);

checked_string!(
    /// Full id of a git commit: 40 (SHA-1) or 64 (SHA-256) lower-case hex digits.
    CommitId,
    check_commit_id
);

checked_string!(
    /// Name of a directory directly under `ComfyUI/custom_nodes`. ComfyUI looks no deeper.
    NodeDir,
    check_node_dir
);

checked_string!(
    /// Relative path with `/` that stays inside the directory it is joined to.
    RelPath,
    check_rel_path
);

impl CommitId {
    /// Returns the first ten digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..10]
    }
}

impl RelPath {
    /// Returns the last component.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// Returns the first component when there is more than one: the model folder of a target.
    pub fn folder(&self) -> Option<&str> {
        self.0.split_once('/').map(|(first, _)| first)
    }
}

/// Returns `text` as it may stand in a message: escaped, and cut after 64 characters.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 64;
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

fn check_version_id(text: &str) -> Result<(), String> {
    let mut bytes = text.bytes();
    let first_ok = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest_ok = bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if !first_ok || !rest_ok || text.len() > 128 || text.contains("..") {
        return Err(format!(
            "`{}` is not a version id: use letters, digits, `_`, `-` and single `.`, starting with a letter or digit, at most 128 characters",
            shown(text)
        ));
    }
    Ok(())
}

fn check_commit_id(text: &str) -> Result<(), String> {
    let hex = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !hex || !(text.len() == 40 || text.len() == 64) {
        return Err(format!(
            "`{}` is not a full commit id: 40 lower-case hex digits are needed",
            shown(text)
        ));
    }
    Ok(())
}

/// Checks a branch, tag or full ref name by the rules of `git check-ref-format`.
pub(crate) fn check_ref_name(text: &str) -> Result<(), String> {
    let name = shown(text);
    if text.is_empty() {
        return Err("the name of a branch or tag is empty".to_owned());
    }
    if text.starts_with('-') {
        return Err(format!("`{name}` starts with a dash, which git would read as an option"));
    }
    if text.len() > 255 {
        return Err(format!("`{name}` is longer than 255 bytes"));
    }
    let bad_char = |c: char| {
        c.is_control() || c.is_whitespace() || matches!(c, '~' | '^' | ':' | '?' | '*' | '[' | '\\')
    };
    // Git compares `.lock` by case.
    let bad_part =
        |part: &str| part.is_empty() || part.starts_with('.') || part.strip_suffix(".lock").is_some();
    let bad = text.chars().any(bad_char)
        || text.split('/').any(bad_part)
        || text.contains("..")
        || text.contains("@{")
        || text.ends_with('.')
        || text == "@";
    if bad {
        return Err(format!("`{name}` cannot be the name of a branch or tag"));
    }
    Ok(())
}

fn check_component(part: &str) -> Result<(), String> {
    let name = shown(part);
    if part.is_empty() {
        return Err("a part of the path is empty".to_owned());
    }
    if part == "." || part == ".." {
        return Err(format!("`{name}` is not a name: it leaves or repeats its directory"));
    }
    if part.starts_with('-') {
        return Err(format!("`{name}` starts with a dash, which programs would read as an option"));
    }
    if part.chars().any(char::is_control) {
        return Err(format!("`{name}` has a control character"));
    }
    if part.trim() != part {
        return Err(format!("`{name}` starts or ends with a space"));
    }
    if part.contains('\\') {
        return Err(format!("`{name}` has a backslash; use `/`"));
    }
    if part.len() > 255 {
        return Err(format!("`{name}` is longer than 255 bytes"));
    }
    Ok(())
}

fn check_node_dir(text: &str) -> Result<(), String> {
    if text.contains('/') {
        return Err(format!(
            "`{}` has a `/`: ComfyUI loads only directories directly under custom_nodes",
            shown(text)
        ));
    }
    if text == "__pycache__" || text.ends_with(".disabled") {
        return Err(format!("ComfyUI does not load a directory called `{}`", shown(text)));
    }
    check_component(text)
}

fn check_rel_path(text: &str) -> Result<(), String> {
    // PATH_MAX is 4096 bytes; the directory that this is joined to needs its share.
    const LONGEST: usize = 2048;
    if text.starts_with('/') {
        return Err(format!("`{}` is absolute", shown(text)));
    }
    if text.len() > LONGEST {
        return Err(format!("`{}` is longer than {LONGEST} bytes", shown(text)));
    }
    text.split('/').try_for_each(check_component)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_ids_are_plain_file_names() {
        for good in ["a", "wan22-fast", "flux.1_dev", "0"] {
            assert!(VersionId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-x", ".x", "a/b", "a..b", "a b", "a\0", "a\n", "ы", "..", &"x".repeat(129)] {
            assert!(VersionId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn commit_ids_are_full_and_lower_case() {
        assert!(CommitId::new("a".repeat(40)).is_ok());
        assert!(CommitId::new("0".repeat(64)).is_ok());
        for bad in
            [String::new(), "main".to_owned(), "a".repeat(39), "A".repeat(40), "g".repeat(40), "a".repeat(63)]
        {
            assert!(CommitId::new(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn relative_paths_stay_inside() {
        assert_eq!(
            RelPath::new("loras/a/b.safetensors").map(|p| p.folder().map(str::to_owned)),
            Ok(Some("loras".into()))
        );
        let long = "a/".repeat(1100) + "x";
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "a/",
            "a/./b",
            "-rf",
            "a/-b",
            "a\nb",
            "a\0b",
            "a\\b",
            "a/ b",
            "a /b",
            "a\u{85}b",
            &long,
            &"x".repeat(256),
        ] {
            assert!(RelPath::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn messages_stay_short_and_printable() {
        let hostile = "\u{1b}[31m".repeat(100_000);
        let error = RelPath::new(hostile).map_err(|e| e.to_string());
        assert!(error.is_err_and(|text| text.len() < 600 && !text.contains('\u{1b}')));
    }

    #[test]
    fn ref_names_follow_git() {
        for good in ["main", "v0.3.75", "refs/heads/a/b", "feature/x-1", "release@2", "20240101"] {
            assert_eq!(check_ref_name(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "-b",
            "a..b",
            "a b",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[",
            "a\\b",
            "/a",
            "a/",
            "a//b",
            "a.lock",
            "a.lock/b",
            ".a",
            "a/.b",
            "a.",
            "@",
            "a@{1}",
            "a\nb",
            "a\0",
            &"x".repeat(256),
        ] {
            assert!(check_ref_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn node_directories_are_one_component() {
        assert!(NodeDir::new("ComfyUI-KJNodes").is_ok());
        for bad in ["", "a/b", ".", "..", "__pycache__", "x.disabled", "-x", "a\0", "a\\b"] {
            assert!(NodeDir::new(bad).is_err(), "{bad}");
        }
    }
}
