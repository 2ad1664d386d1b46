//! AIR, the names that Civitai gives to models: `urn:air:<ecosystem>:<type>:<source>:<id>@<version>[+<file>]`
//! (civitai, `src/shared/utils/air.ts`). Ecosystem and type say how a model is used, not which file it is.

use super::{InvalidSource, Location, civitai, hub, invalid};
use crate::ids::shown;

const FORM: &str = "write `urn:air:<ecosystem>:<type>:civitai:<model id>@<version id>[+<file id>]`";

/// Returns what follows `urn:air:`, where a text begins so.
pub(super) fn strip(text: &str) -> Option<&str> {
    let (begin, rest) = text.split_at_checked("urn:air:".len())?;
    begin.eq_ignore_ascii_case("urn:air:").then_some(rest)
}

/// Reads what follows `urn:air:`.
pub(super) fn name(text: &str) -> Result<Location, InvalidSource> {
    let mut parts = text.splitn(4, ':');
    let (Some(_), Some(_), Some(source), Some(name)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return invalid(format!("`urn:air:{}` is not a whole AIR", shown(text)), FORM);
    };
    match source.to_ascii_lowercase().as_str() {
        "civitai" => of_civitai(name),
        "huggingface" => of_hub(name),
        _ => invalid(format!("AIRs of `{}` are not supported", shown(source)), FORM),
    }
}

/// The id before the `@` is the model's, and says no more than the version's.
fn of_civitai(name: &str) -> Result<Location, InvalidSource> {
    let Some((_, version)) = name.split_once('@') else {
        return invalid(format!("the AIR of model `{}` names no version", shown(name)), FORM);
    };
    match version.split_once('+') {
        Some((version, file)) if !file.is_empty() && file.bytes().all(|b| b.is_ascii_digit()) => {
            civitai::version(version, &format!("fileId={file}"))
        }
        Some((_, file)) => invalid(format!("`{}` is not the id of a file", shown(file)), FORM),
        None => civitai::version(version, ""),
    }
}

/// Usually it names a repository; with a path behind the repository it names a file.
fn of_hub(name: &str) -> Result<Location, InvalidSource> {
    let (path, revision) = name.rsplit_once('@').unwrap_or((name, "main"));
    let mut parts = path.splitn(3, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(owner), Some(repo), Some(path)) if !path.is_empty() => {
            hub::link(&format!("{owner}/{repo}@{}/{path}", revision.replace('/', "%2F")))
        }
        _ => invalid(
            format!("the AIR of `{}` names a repository, not a file", shown(name)),
            "list each file as a model of its own: `hf://owner/repo[@revision]/path/to/file`",
        ),
    }
}
