//! The rules of names. Each check says what is wrong with a text and what is allowed.

/// Returns `text` as it may stand in a message: escaped, and cut after 64 characters.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 64;
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

pub(super) fn version_id(text: &str) -> Result<(), String> {
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

pub(super) fn commit_id(text: &str) -> Result<(), String> {
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
#[cfg(any(test, feature = "parse"))]
pub(crate) fn ref_name(text: &str) -> Result<(), String> {
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

fn component(part: &str) -> Result<(), String> {
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
    if part.eq_ignore_ascii_case(".git") {
        return Err(format!("`{name}` is git's own: git in the directory above would obey what lies in it"));
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

pub(super) fn node_dir(text: &str) -> Result<(), String> {
    if text.contains('/') {
        return Err(format!(
            "`{}` has a `/`: ComfyUI loads only directories directly under custom_nodes",
            shown(text)
        ));
    }
    if text == "__pycache__" || text.ends_with(".disabled") {
        return Err(format!("ComfyUI does not load a directory called `{}`", shown(text)));
    }
    component(text)
}

pub(super) fn rel_path(text: &str) -> Result<(), String> {
    // PATH_MAX is 4096 bytes; the directory that this is joined to needs its share.
    const LONGEST: usize = 2048;
    if text.starts_with('/') {
        return Err(format!("`{}` is absolute", shown(text)));
    }
    if text.len() > LONGEST {
        return Err(format!("`{}` is longer than {LONGEST} bytes", shown(text)));
    }
    text.split('/').try_for_each(component)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CommitId, NodeDir, RelPath, VersionId};

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
            assert_eq!(ref_name(good), Ok(()), "{good}");
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
            assert!(ref_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn node_directories_are_one_component() {
        assert!(NodeDir::new("ComfyUI-KJNodes").is_ok());
        for bad in ["", "a/b", ".", "..", ".git", ".GIT", "__pycache__", "x.disabled", "-x", "a\0", "a\\b"] {
            assert!(NodeDir::new(bad).is_err(), "{bad}");
        }
    }
}
