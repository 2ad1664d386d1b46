//! From a model's link to the address it is fetched from. Pure.

use super::error::ModelError;
use crate::config::ModelHosts;
use proto::source::{Location, ModelSource};
use url::Url;

const HUB: &str = "https://huggingface.co";
const CIVITAI: &str = "https://civitai.com";

/// Returns the address that a link is fetched from.
///
/// The forms are those of `huggingface_hub` (`HUGGINGFACE_CO_URL_TEMPLATE`) and of Civitai's
/// `api/download/models/[modelVersionId]`.
pub(super) fn url(source: &ModelSource, hosts: &ModelHosts) -> Result<Url, ModelError> {
    let bad = || ModelError::Link { link: source.to_string() };
    match source.location() {
        Location::HuggingFace { repo_type, repo, revision, path } => {
            let mut url = Url::parse(hub(hosts)).map_err(|_| bad())?;
            let prefix = (repo_type != "models").then_some(repo_type.as_str());
            // Pushing a segment encodes it: a `/` in a revision becomes `%2F`.
            let mut segments = url.path_segments_mut().map_err(|()| bad())?;
            segments.pop_if_empty().extend(prefix).extend(repo.split('/'));
            segments.push("resolve").push(revision).extend(path.split('/'));
            drop(segments);
            Ok(url)
        }
        Location::Civitai { version_id, query } => {
            let endpoint = hosts.civitai_endpoint.as_deref().unwrap_or(CIVITAI);
            let mut url =
                Url::parse(&format!("{endpoint}/api/download/models/{version_id}")).map_err(|_| bad())?;
            url.set_query(Some(query.as_str()).filter(|query| !query.is_empty()));
            Ok(url)
        }
        Location::Http(url) => Ok(url.clone()),
        Location::File(_) => Err(bad()),
    }
}

/// Returns the page of a Hugging Face repository, where access is asked for.
pub(super) fn hub_page(hosts: &ModelHosts, repo_type: &str, repo: &str) -> String {
    let prefix = if repo_type == "models" { String::new() } else { format!("{repo_type}/") };
    format!("{}/{prefix}{repo}", hub(hosts))
}

fn hub(hosts: &ModelHosts) -> &str {
    hosts.hf_endpoint.as_deref().unwrap_or(HUB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_become_the_hosts_own_addresses() {
        let mirror =
            ModelHosts { hf_endpoint: Some("https://m.example/hub".into()), ..ModelHosts::default() };
        let plain = ModelHosts::default();
        let table = [
            (
                &plain,
                "hf://o/r/a b.bin".replace(' ', "%20"),
                "https://huggingface.co/o/r/resolve/main/a%20b.bin",
            ),
            (
                &plain,
                "hf://datasets/o/r@refs/pr/1/d/x".into(),
                "https://huggingface.co/datasets/o/r/resolve/refs%2Fpr%2F1/d/x",
            ),
            (&mirror, "hf://o/r/x".into(), "https://m.example/hub/o/r/resolve/main/x"),
            (&plain, "civitai://models/7".into(), "https://civitai.com/api/download/models/7"),
            (
                &plain,
                "civitai://api/download/models/7?type=Model&format=SafeTensor".into(),
                "https://civitai.com/api/download/models/7?type=Model&format=SafeTensor",
            ),
        ];
        for (hosts, link, expected) in table {
            let source = ModelSource::parse(&link).unwrap();
            assert_eq!(url(&source, hosts).unwrap().as_str(), expected, "{link}");
        }
    }
}
