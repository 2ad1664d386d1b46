//! Links to files of Civitai model versions: `civitai://…` and the site's own.

use super::{InvalidSource, Location, invalid, secrets};
use crate::ids::shown;
use url::Url;

const FORM: &str =
    "write `civitai://models/<version id>`; the version id is the number in the site's download link";

/// Reads what follows `civitai://`: `models/<version id>` or `api/download/models/<version id>?…`.
pub(super) fn link(text: &str) -> Result<Location, InvalidSource> {
    let text = text.split('#').next().unwrap_or_default();
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    match path.strip_prefix("models/").or(path.strip_prefix("api/download/models/")) {
        Some(id) => version(id, query),
        None => invalid(format!("`civitai://{}` names no model version", shown(secrets::bare(path))), FORM),
    }
}

/// Reads a download link or the page of a model version.
pub(super) fn page(url: &Url) -> Result<Location, InvalidSource> {
    let query = url.query().unwrap_or_default();
    if let Some(id) = url.path().strip_prefix("/api/download/models/") {
        return version(id, query);
    }
    if let Some((_, id)) = url.query_pairs().find(|(name, _)| name == "modelVersionId") {
        return version(&id, "");
    }
    invalid(
        format!("`{}` is a page, not a file", shown(secrets::bare(url.as_str()))),
        "open the model version and copy its download link, or write `civitai://models/<version id>`",
    )
}

/// Makes the location of a version from its id, not yet checked, and a selection.
pub(super) fn version(id: &str, query: &str) -> Result<Location, InvalidSource> {
    if secrets::in_query(query) {
        return invalid(
            "the link carries a Civitai token",
            "remove `token=…` from it and set CIVITAI_TOKEN for the daemon",
        );
    }
    let id = id.trim_end_matches('/');
    // `parse` alone would take a leading `+`.
    let digits = id.bytes().all(|b| b.is_ascii_digit());
    match id.parse() {
        Ok(version_id) if digits => Ok(Location::Civitai { version_id, query: query.to_owned() }),
        _ => invalid(format!("`{}` is not a Civitai version id", shown(id)), FORM),
    }
}
