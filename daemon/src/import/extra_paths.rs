//! `extra_model_paths.yaml` of ComfyUI (utils/extra_config.py). Pure.
//!
//! Each section has a `base_path`, and folders with one path a line.

use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ExtraPaths {
    /// Folders and their directories.
    pub(super) dirs: Vec<(String, PathBuf)>,
    /// Paths that the user's environment decides.
    pub(super) unfollowed: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Field {
    Text(String),
    Other(IgnoredAny),
}

/// Reads the file's text; relative paths are relative to the file's directory `here`.
///
/// # Errors
/// Why it is not such a file, in a line.
pub(super) fn read(text: &str, here: &Path) -> Result<ExtraPaths, String> {
    let sections: BTreeMap<String, Option<BTreeMap<String, Option<Field>>>> =
        match serde_saphyr::from_str(text) {
            Ok(sections) => sections,
            Err(error) => return Err(error.to_string().lines().next().unwrap_or_default().to_owned()),
        };
    let mut paths = ExtraPaths::default();
    for section in sections.into_values().flatten() {
        let text = |name: &str| match section.get(name) {
            Some(Some(Field::Text(text))) => Some(text.as_str()),
            _ => None,
        };
        let base = text("base_path").unwrap_or_default().trim();
        for folder in section.keys().filter(|name| !matches!(name.as_str(), "base_path" | "is_default")) {
            let lines =
                text(folder).unwrap_or_default().lines().map(str::trim).filter(|line| !line.is_empty());
            for line in lines {
                // An absolute line stands for itself, with a base too: `Path::join`, as Python's.
                let path = if Path::new(line).is_absolute() {
                    PathBuf::from(line)
                } else {
                    Path::new(base).join(line)
                };
                if path.to_string_lossy().starts_with('~') || path.to_string_lossy().contains('$') {
                    paths.unfollowed.push(super::found::shown(&path.to_string_lossy()));
                } else {
                    paths.dirs.push((folder.clone(), here.join(path)));
                }
            }
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sections_lines_and_bases() {
        let text = "a111:\n  base_path: /data/webui\n  checkpoints: models/Stable-diffusion\n  loras: |\n    models/Lora\n    \
                    models/LyCORIS\nother:\n  base_path: ~/sd\n  is_default: true\n  vae: vae\nempty:\nmore:\n  clip: clip\n";
        let paths = read(text, Path::new("/comfy")).unwrap();
        let expected = [
            ("checkpoints", "/data/webui/models/Stable-diffusion"),
            ("loras", "/data/webui/models/Lora"),
            ("loras", "/data/webui/models/LyCORIS"),
        ];
        let of = |(folder, path): &(&str, &str)| ((*folder).to_owned(), PathBuf::from(path));
        let dirs: Vec<_> = paths.dirs.iter().filter(|(folder, _)| folder != "clip").cloned().collect();
        assert_eq!(dirs, expected.iter().map(of).collect::<Vec<_>>());
        assert!(paths.dirs.contains(&of(&("clip", "/comfy/clip"))));
        assert_eq!(paths.unfollowed, ["~/sd/vae"]);
        assert!(read("- a\n- b\n", Path::new("/")).is_err());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[a-z:&*|>\\-\\[\\]{}!?#%@\" \n\t]{0,80}") {
            read(&text, Path::new("/x")).ok();
        }
    }
}
