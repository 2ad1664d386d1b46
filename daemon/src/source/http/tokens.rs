//! Which host gets which token. Pure.

use crate::config::ModelHosts;
use url::{Host, Url};

const HUGGING_FACE: &[&str] = &["huggingface.co", "hf.co"];

/// `.green` redirects to `.com` and the token must be sent again there (InvokeAI issue 7507).
const CIVITAI: &[&str] = &["civitai.com", "civitai.red", "civitai.green"];

/// A site whose answers are understood and that tokens are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Hugging Face, or the mirror that stands for it.
    HuggingFace,
    /// Civitai.
    Civitai,
}

impl Owner {
    /// Returns whether an address is the site's own. The storage that it redirects to is not.
    pub fn owns(self, hosts: &ModelHosts, url: &Url) -> bool {
        match self {
            Self::HuggingFace => belongs(url, HUGGING_FACE, hosts.hf_endpoint.as_deref()),
            Self::Civitai => belongs(url, CIVITAI, hosts.civitai_endpoint.as_deref()),
        }
    }
}

/// Returns the token that may be sent to `url`, if any. Storage hosts that a download is redirected to
/// get none: S3 and R2 answer 400 to a signed link that comes with a token.
pub(super) fn token_for<'a>(hosts: &'a ModelHosts, url: &Url) -> Option<&'a str> {
    if !is_private(url) {
        return None;
    }
    if Owner::HuggingFace.owns(hosts, url) {
        return hosts.hf_token.as_deref();
    }
    hosts.civitai_token.as_deref().filter(|_| Owner::Civitai.owns(hosts, url))
}

fn belongs(url: &Url, names: &[&str], endpoint: Option<&str>) -> bool {
    let origin = |url: &Url| (url.host_str().map(str::to_owned), url.port_or_known_default());
    let endpoint = endpoint.and_then(|endpoint| Url::parse(endpoint).ok());
    url.host_str().is_some_and(|host| names.contains(&host))
        || endpoint.is_some_and(|endpoint| origin(&endpoint) == origin(url))
}

/// Returns whether nobody on the way can read what is sent there.
pub fn is_private(url: &Url) -> bool {
    url.scheme() == "https" || url.scheme() == "http" && is_loopback(url)
}

/// Returns whether the URL names this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_goes_to_its_own_hosts_only() {
        let hosts = ModelHosts {
            hf_token: Some("hf".into()),
            hf_endpoint: Some("https://mirror.example".into()),
            civitai_token: Some("ci".into()),
            ..ModelHosts::default()
        };
        let table = [
            ("https://huggingface.co/o/r/resolve/main/x", Some("hf")),
            ("https://hf.co/x", Some("hf")),
            ("https://mirror.example/x", Some("hf")),
            ("https://mirror.example:444/x", None),
            ("http://mirror.example/x", None),
            ("https://cdn-lfs.hf.co/x", None),
            ("https://huggingface.co.evil.example/x", None),
            ("https://evil.example/huggingface.co", None),
            ("http://huggingface.co/x", None),
            ("https://civitai.com/x", Some("ci")),
            ("https://civitai.green/x", Some("ci")),
            ("https://b2.civitai.com/x", None),
            ("http://127.0.0.1/x", None),
        ];
        for (url, expected) in table {
            assert_eq!(token_for(&hosts, &Url::parse(url).unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn a_mirror_on_this_machine_may_do_without_tls() {
        let hosts = ModelHosts {
            hf_token: Some("hf".into()),
            hf_endpoint: Some("http://127.0.0.1:8080".into()),
            ..ModelHosts::default()
        };
        let token = |url: &str| token_for(&hosts, &Url::parse(url).unwrap());
        assert_eq!(token("http://127.0.0.1:8080/x"), Some("hf"));
        assert_eq!(token("http://localhost:8080/x"), None);
    }
}
