//! Files that a workflow reads: brought into ComfyUI's input directory for one job, and removed after it.
//!
//! Each gets a name that belongs to the job alone, so that jobs with inputs of the same name run side by
//! side; the workflow is made to name that one. The files lie in the directory itself, not in a folder of
//! it: many nodes offer what `os.listdir` finds, and ComfyUI refuses what they do not offer. Nobody reads
//! such a file before the workflow is posted, so none needs a staging name.

use super::RunError;
use crate::ctx::{Ctx, blocking};
use crate::source::http::Http;
use crate::source::link;
use crate::store::commit::{StoreError, create_dir_all, step};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use proto::method::{InputSource, RunInput};
use proto::{ErrorKind, RelPath};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The largest file that is fetched from a link, in bytes.
const MAX_INPUT: u64 = 4 << 30;

/// How much of a file's own name its new one keeps, in bytes: the end, with the extension. A name may
/// have 255.
const KEPT: usize = 180;

/// Base64 as people and programs write it, with its padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The inputs of one job, on their way into ComfyUI's input directory.
#[derive(Debug)]
pub(super) struct Inputs {
    dir: PathBuf,
    /// What is brought, and the name it gets.
    files: Vec<(RunInput, String)>,
}

impl Inputs {
    /// Chooses the names of a job's inputs; `key` is the job's own. Touches nothing.
    ///
    /// # Errors
    /// A name that leaves the input directory.
    pub(super) fn new(dir: PathBuf, key: &str, inputs: Vec<RunInput>) -> Result<Self, RunError> {
        let numbered = inputs.into_iter().enumerate().map(|(number, input)| {
            let name = RelPath::new(input.name.as_str());
            let name = name.map_err(|error| refused(&input.name, ErrorKind::Usage, error.to_string()))?;
            let name = format!("comfyd-{key}-{number}-{}", end(name.file_name()));
            Ok((input, name))
        });
        Ok(Self { dir, files: numbered.collect::<Result<_, RunError>>()? })
    }

    /// Brings all of them.
    ///
    /// # Errors
    /// One that is not to be had, or too large.
    pub(super) async fn bring(&self, ctx: &Ctx, http: &Http) -> Result<(), RunError> {
        for (input, name) in &self.files {
            let dir = self.dir.clone();
            blocking(move || create_dir_all(&dir)).await?;
            let to = self.dir.join(name);
            step("job.input", "write", &to)?;
            match &input.source {
                InputSource::Path(path) => copy(&input.name, path, to).await?,
                InputSource::Data(text) => decode(&input.name, text, to).await?,
                InputSource::Url(url) => {
                    let saved = link::save(ctx, http, url, MAX_INPUT, &to).await;
                    saved.map_err(|error| refused(&input.name, error.kind(), error.to_string()))?;
                }
            }
        }
        Ok(())
    }

    /// Returns the new names, by those that the workflow uses.
    pub(super) fn names(&self) -> BTreeMap<String, String> {
        self.files.iter().map(|(input, name)| (input.name.clone(), name.clone())).collect()
    }

    /// Returns where they lie.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.files.iter().map(|(_, name)| self.dir.join(name)).collect()
    }
}

/// Removes the inputs of a job; those that are not there are gone already. Blocks.
pub(super) fn remove(paths: &[PathBuf]) {
    for path in paths {
        if let Err(error) = std::fs::remove_file(path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "an input of a workflow stays behind");
        }
    }
}

async fn copy(name: &str, path: &str, to: PathBuf) -> Result<(), RunError> {
    let (name, from) = (name.to_owned(), PathBuf::from(path));
    blocking(move || {
        let unusable = |kind, reason| refused(&name, kind, format!("`{}`: {reason}", from.display()));
        let metadata = std::fs::metadata(&from);
        let metadata = metadata.map_err(|error| unusable(ErrorKind::Usage, error.to_string()))?;
        if !metadata.is_file() || !from.is_absolute() {
            return Err(unusable(ErrorKind::Usage, "it is not the absolute path of a file".to_owned()));
        }
        std::fs::copy(&from, &to).map_err(|error| unusable(ErrorKind::Disk, error.to_string()))?;
        Ok(())
    })
    .await
}

/// Writes what a text in base64 says, with or without `data:…;base64,` before it.
async fn decode(name: &str, text: &str, to: PathBuf) -> Result<(), RunError> {
    let (name, text) = (name.to_owned(), text.to_owned());
    blocking(move || {
        let wrong = |reason: &str| refused(&name, ErrorKind::Usage, reason.to_owned());
        let encoded = match text.strip_prefix("data:") {
            None => text.as_str(),
            Some(uri) => match uri.split_once(',') {
                Some((head, encoded)) if head.ends_with(";base64") => encoded,
                _ => return Err(wrong("its data URI holds no base64")),
            },
        };
        let encoded: Vec<u8> = encoded.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let content = BASE64.decode(encoded).map_err(|error| wrong(&format!("it is no base64: {error}")))?;
        Ok(std::fs::write(&to, content).map_err(StoreError::at("write", &to))?)
    })
    .await
}

fn refused(name: &str, kind: ErrorKind, reason: String) -> RunError {
    RunError::Input { name: name.to_owned(), kind, reason }
}

/// Returns the end of a name.
fn end(name: &str) -> &str {
    let mut from = name.len().saturating_sub(KEPT);
    while !name.is_char_boundary(from) {
        from += 1;
    }
    &name[from..]
}

/// Returns where ComfyUI looks for inputs: in the version's home, unless its own arguments say otherwise.
pub fn input_dir(home: &Path, extra_args: &[String]) -> PathBuf {
    let mut dir = home.join("input");
    let mut args = extra_args.iter();
    while let Some(arg) = args.next() {
        let value = match arg.strip_prefix("--input-directory") {
            Some("") => args.next().map(String::as_str),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        };
        // The last one counts, as for Python's argparse.
        dir = value.map_or(dir, PathBuf::from);
    }
    dir
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(dir: &Path, given: &[(&str, &str)]) -> Result<Inputs, RunError> {
        let input = |(name, data): &(&str, &str)| RunInput {
            name: (*name).to_owned(),
            source: InputSource::Data((*data).to_owned()),
        };
        Inputs::new(dir.to_owned(), "k", given.iter().map(input).collect())
    }

    #[tokio::test]
    async fn base64_is_read_as_people_write_it() {
        let dir = tempfile::tempdir().unwrap();
        let http = Http::new(crate::config::ModelHosts::default(), crate::source::http::Timeouts::default());
        let table = [
            ("aGVsbG8=", Ok("hello")),
            ("aGVsbG8", Ok("hello")),
            ("aGVs\n bG8=\n", Ok("hello")),
            ("data:image/png;base64,aGVsbG8=", Ok("hello")),
            ("data:text/plain,hello", Err("no base64")),
            ("päng", Err("no base64")),
        ];
        for (data, expected) in table {
            let inputs = inputs(dir.path(), &[("a/b.png", data)]).unwrap();
            let brought = inputs.bring(&Ctx::new(), &http).await;
            match (expected, brought) {
                (Ok(text), Ok(())) => {
                    assert_eq!(std::fs::read_to_string(dir.path().join("comfyd-k-0-b.png")).unwrap(), text);
                    remove(&inputs.paths());
                    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
                }
                (Err(says), Err(error)) => assert!(error.to_string().contains(says), "{error}"),
                (expected, brought) => panic!("{data}: {expected:?}, {brought:?}"),
            }
        }
    }

    #[test]
    fn names_are_the_job_s_own() {
        let dir = Path::new("/i");
        let long = format!("{}ж.png", "x".repeat(240));
        let chosen = inputs(dir, &[("a/x.png", ""), ("b/x.png", ""), (&long, "")]).unwrap();
        assert_eq!(chosen.names()["a/x.png"], "comfyd-k-0-x.png");
        assert_eq!(chosen.names()["b/x.png"], "comfyd-k-1-x.png");
        assert!(chosen.names()[&long].len() < 255 && chosen.names()[&long].ends_with("ж.png"));
        assert!(inputs(dir, &[("../x.png", "")]).is_err());
    }

    #[test]
    fn the_version_s_own_arguments_say_where_inputs_are_sought() {
        let args = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let home = Path::new("/h");
        for (given, expected) in [
            ("--cpu", "/h/input"),
            ("--input-directory /a --cpu", "/a"),
            ("--input-directory=/a --input-directory /b", "/b"),
            ("--input-directory", "/h/input"),
        ] {
            assert_eq!(input_dir(home, &args(given)), Path::new(expected), "{given}");
        }
    }
}
