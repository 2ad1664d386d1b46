//! From a model's link to the host that has it and the address to ask there. Pure.

use super::bucket::{self, Store};
use crate::config::ModelHosts;
use crate::source::http::Owner;
use crate::source::model::error::ModelError;
use proto::source::{Location, ModelSource};
use url::Url;

const HUB: &str = "https://huggingface.co";
const CIVITAI: &str = "https://civitai.com";

/// Whose rules a link goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Site {
    /// A Hugging Face repository.
    Hub {
        /// Its page, where access is asked for.
        page: String,
    },
    /// A file of a Civitai model version.
    Civitai {
        /// Version id.
        version_id: u64,
        /// Which of its files.
        query: String,
    },
    /// An object in a bucket.
    Bucket(Store),
    /// Any other web link.
    Web,
}

/// Returns the site of a link and the address that its file is fetched from.
///
/// The forms are those of `huggingface_hub` (`HUGGINGFACE_CO_URL_TEMPLATE`) and of Civitai's
/// `api/download/models/[modelVersionId]`. A web link to a file on `HF_ENDPOINT` means the Hub too.
pub(super) fn of(source: &ModelSource, hosts: &ModelHosts) -> Result<(Site, Url), ModelError> {
    let bad = || ModelError::Link { link: source.to_string() };
    match source.location() {
        Location::HuggingFace { .. } => hub_file(source.location(), hosts).ok_or_else(bad),
        Location::Civitai { version_id, query } => {
            let url = own_url(hosts, Owner::Civitai, &format!("api/download/models/{version_id}"));
            let mut url = url.ok_or_else(bad)?;
            url.set_query(Some(query.as_str()).filter(|query| !query.is_empty()));
            Ok((Site::Civitai { version_id: *version_id, query: query.clone() }, url))
        }
        Location::Http(url) => {
            let mirrored = on_mirror(url, hosts).and_then(|file| hub_file(&file, hosts));
            Ok(mirrored.unwrap_or_else(|| (Site::Web, url.clone())))
        }
        Location::S3 { bucket, key } => {
            Ok((Site::Bucket(Store::S3), bucket::s3_url(hosts, bucket, key).ok_or_else(bad)?))
        }
        Location::Gs { bucket, key } => {
            Ok((Site::Bucket(Store::Google), bucket::google_url(hosts, bucket, key).ok_or_else(bad)?))
        }
        Location::File(_) => Err(bad()),
    }
}

/// Returns an address of a site's own, or of the mirror that stands for it; none where the mirror's is no URL.
pub fn own_url(hosts: &ModelHosts, site: Owner, path: &str) -> Option<Url> {
    let (mirror, own) = match site {
        Owner::HuggingFace => (&hosts.hf_endpoint, HUB),
        Owner::Civitai => (&hosts.civitai_endpoint, CIVITAI),
    };
    Url::parse(&format!("{}/{path}", mirror.as_deref().unwrap_or(own))).ok()
}

fn hub_file(location: &Location, hosts: &ModelHosts) -> Option<(Site, Url)> {
    let Location::HuggingFace { repo_type, repo, revision, path } = location else { return None };
    let mut page = Url::parse(hosts.hf_endpoint.as_deref().unwrap_or(HUB)).ok()?;
    let prefix = (repo_type != "models").then_some(repo_type.as_str());
    page.path_segments_mut().ok()?.pop_if_empty().extend(prefix).extend(repo.split('/'));
    let mut url = page.clone();
    // Pushing a segment encodes it: a `/` in a revision becomes `%2F`.
    url.path_segments_mut().ok()?.push("resolve").push(revision).extend(path.split('/'));
    Some((Site::Hub { page: page.into() }, url))
}

/// Reads the link of a file on the mirror as the site's own link is read.
fn on_mirror(url: &Url, hosts: &ModelHosts) -> Option<Location> {
    let endpoint = Url::parse(hosts.hf_endpoint.as_deref()?).ok()?;
    let path = url.path().strip_prefix(endpoint.path().trim_end_matches('/'))?;
    if url.origin() != endpoint.origin() || !path.starts_with('/') {
        return None;
    }
    Some(ModelSource::parse(&format!("{HUB}{path}")).ok()?.location().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_become_the_hosts_own_addresses() {
        let mirror = "https://m.example/hub";
        let table = [
            (None, "hf://o/r/a%20b.bin", "https://huggingface.co/o/r/resolve/main/a%20b.bin"),
            (
                None,
                "hf://datasets/o/r@refs/pr/1/d/x",
                "https://huggingface.co/datasets/o/r/resolve/refs%2Fpr%2F1/d/x",
            ),
            (Some(mirror), "hf://o/r/x", "https://m.example/hub/o/r/resolve/main/x"),
            (
                Some(mirror),
                "https://m.example/hub/o/r/blob/v1/x?download=true",
                "https://m.example/hub/o/r/resolve/v1/x",
            ),
            (Some(mirror), "https://m.example/hub/o/r/x", "https://m.example/hub/o/r/x"),
            (Some(mirror), "https://m.example/o/r/blob/v1/x", "https://m.example/o/r/blob/v1/x"),
            (
                Some(mirror),
                "https://m.example:444/hub/o/r/blob/v1/x",
                "https://m.example:444/hub/o/r/blob/v1/x",
            ),
            (None, "civitai://models/7", "https://civitai.com/api/download/models/7"),
            (
                None,
                "civitai://api/download/models/7?type=Model&format=SafeTensor",
                "https://civitai.com/api/download/models/7?type=Model&format=SafeTensor",
            ),
        ];
        for (mirror, link, expected) in table {
            let hosts = ModelHosts { hf_endpoint: mirror.map(str::to_owned), ..ModelHosts::default() };
            let source = ModelSource::parse(link).unwrap();
            assert_eq!(of(&source, &hosts).unwrap().1.as_str(), expected, "{link}");
        }
    }

    #[test]
    fn a_gated_repository_has_a_page() {
        let page = |link: &str| {
            let hosts = ModelHosts { hf_endpoint: Some("https://m.example".into()), ..ModelHosts::default() };
            of(&ModelSource::parse(link).unwrap(), &hosts).unwrap().0
        };
        let hub = |page: &str| Site::Hub { page: page.to_owned() };
        assert_eq!(page("hf://datasets/o/r/x"), hub("https://m.example/datasets/o/r"));
        assert_eq!(page("https://m.example/o/r/resolve/main/x"), hub("https://m.example/o/r"));
        assert_eq!(page("https://m.example/o/r/tree/main/x"), Site::Web);
    }
}
