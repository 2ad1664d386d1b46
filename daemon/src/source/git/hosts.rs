//! How an HTTP host is reached, as git would: proxy, certificates, headers.
//!
//! gix reads `http.*`, but neither `http.<url>.*` nor the certificates that its HTTP backend should trust;
//! [`options`] adds the former, [`configure`] applies what gix's backend leaves out. Both the git protocol
//! and Git LFS go through here.

use gix::bstr::{BStr, ByteSlice as _};
use gix::protocol::transport::client::blocking_io::http::Options;
use reqwest::blocking::ClientBuilder;
use rustls_platform_verifier::BuilderVerifierExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use url::Url;

/// How long one read may take. It also bounds how long a cancelled fetch lingers, since gix looks at
/// the flag between reads only.
const READ_TIMEOUT: Duration = Duration::from_secs(25);

/// Keys of ours that carry the environment to where only the configuration can be seen.
pub(super) const HOME: &str = "comfyd.home";
pub(super) const CA_FROM_ENV: &str = "comfyd.sslCAInfo";

/// Returns how `url`, in which `insteadOf` was applied, is reached; none when it is not HTTP.
pub(super) fn options(repo: &gix::Repository, url: &BStr) -> Result<Option<Options>, gix::Error> {
    let options = repo.transport_options(url, None)?;
    let Some(options) = options.and_then(|options| options.downcast::<Options>().ok()) else {
        return Ok(None);
    };
    let mut options = *options;
    let config = repo.config_snapshot();
    if let Ok(url) = Url::parse(&url.to_str_lossy()) {
        let home = config.string(HOME).map(|home| PathBuf::from(home.to_string()));
        apply_sections(&mut options, config.plumbing(), &url, home.as_deref());
    }
    // git lets the environment win.
    if let Some(file) = config.string(CA_FROM_ENV) {
        options.ssl_ca_info = Some(file.to_string().into());
    }
    if config.boolean("gitoxide.http.sslNoVerify") == Some(true) {
        options.ssl_verify = false;
    }
    Ok(Some(options))
}

/// Makes a client reach its host as `options` say. Blocks, to read certificates.
pub(super) fn configure(options: &Options, builder: ClientBuilder) -> Result<ClientBuilder, gix::Error> {
    let mut builder = builder.timeout(READ_TIMEOUT).user_agent(crate::source::http::USER_AGENT);
    // What the environment says is in the options; an empty proxy means none.
    builder = match options.proxy.as_deref().filter(|proxy| !proxy.is_empty()) {
        Some(proxy) => {
            let except = options.no_proxy.as_deref().and_then(reqwest::NoProxy::from_string);
            let proxy = reqwest::Proxy::all(proxy).map_err(gix::Error::from_error)?;
            builder.proxy(proxy.no_proxy(except))
        }
        None => builder.no_proxy(),
    };
    if !options.ssl_verify {
        return Ok(builder.tls_danger_accept_invalid_certs(true));
    }
    let Some(file) = &options.ssl_ca_info else {
        return Ok(match system_tls() {
            Some(tls) => builder.tls_backend_preconfigured(tls),
            // The client says what is wrong with the system's certificates.
            None => builder,
        });
    };
    let bundle = std::fs::read(file).map_err(|error| {
        let said = format!("failed to read the certificates of `http.sslCAInfo`, `{}`", file.display());
        gix::Error::from_error(std::io::Error::new(error.kind(), format!("{said}: {error}")))
    })?;
    let certificates = reqwest::Certificate::from_pem_bundle(&bundle).map_err(gix::Error::from_error)?;
    Ok(builder.tls_certs_only(certificates))
}

/// Returns TLS by the system's certificates. Each connection of gix has a client of its own, and each of
/// those would read them anew: milliseconds and megabytes, for every repository.
fn system_tls() -> Option<rustls::ClientConfig> {
    static CONFIG: OnceLock<Option<rustls::ClientConfig>> = OnceLock::new();
    let make = || {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().ok()?;
        Some(builder.with_platform_verifier().ok()?.with_no_client_auth())
    };
    CONFIG.get_or_init(make).clone()
}

/// Applies `http.*` and then the `http.<url>.*` that fit, the better ones last: git-config(1),
/// `http.<url>.*`.
fn apply_sections(options: &mut Options, config: &gix::config::File, url: &Url, home: Option<&Path>) {
    let sections = config.sections_by_name("http").into_iter().flatten();
    let mut fitting: Vec<_> = sections
        .filter_map(|section| match section.header().subsection_name() {
            None => Some((Fit::default(), section)),
            Some(pattern) => Some((fit(pattern, url)?, section)),
        })
        .collect();
    // Stable: of two that fit as well, the later one wins.
    fitting.sort_by_key(|(fit, _)| *fit);
    let mut headers: Vec<String> = Vec::new();
    for (_, section) in &fitting {
        let text = |name: &str| section.value(name).map(|value| value.to_string());
        if let Some(proxy) = text("proxy") {
            let bare = !proxy.is_empty() && !proxy.contains("://");
            options.proxy = Some(if bare { format!("http://{proxy}") } else { proxy });
        }
        if let Some(file) = text("sslCAInfo") {
            options.ssl_ca_info = Some(match (file.strip_prefix("~/"), home) {
                (Some(rest), Some(home)) => home.join(rest),
                _ => file.into(),
            });
        }
        if let Some(verify) = section.value("sslVerify") {
            // What is no boolean does not turn the verification off.
            options.ssl_verify = gix::config::Boolean::try_from(verify.as_bstr()).map_or(true, |it| it.0);
        }
        for header in section.values("extraHeader") {
            // An empty one takes the earlier ones back.
            if header.is_empty() { headers.clear() } else { headers.push(header.to_string()) }
        }
    }
    options.extra_headers = headers;
}

/// How well a section fits; the fields in the order of their weight.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    is_url: bool,
    exact_host: bool,
    path: usize,
    user: bool,
}

fn fit(pattern: &BStr, url: &Url) -> Option<Fit> {
    // `*` stands for one label of the host, and is no letter of a URL's host.
    let text = pattern.to_str().ok()?.replace('*', "wildcard--");
    let pattern = Url::parse(&text).ok()?;
    let (theirs, ours) = (pattern.host_str()?, url.host_str()?);
    let labels = |host: &str| host.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (theirs, ours) = (labels(theirs), labels(ours));
    let same_host = theirs.len() == ours.len()
        && theirs.iter().zip(&ours).all(|(a, b)| a == "wildcard--" || a.eq_ignore_ascii_case(b));
    let path = pattern.path().trim_end_matches('/');
    let below = url.path().strip_prefix(path);
    let fits = pattern.scheme() == url.scheme()
        && same_host
        && pattern.port_or_known_default() == url.port_or_known_default()
        && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        && (pattern.username().is_empty() || pattern.username() == url.username());
    let exact = !theirs.iter().any(|label| label == "wildcard--");
    let user = !pattern.username().is_empty();
    fits.then_some(Fit { is_url: true, exact_host: exact, path: path.len(), user })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(config: &str, url: &str) -> Options {
        let config = gix::config::File::try_from(config).unwrap();
        let mut options = Options::default();
        apply_sections(&mut options, &config, &Url::parse(url).unwrap(), Some(Path::new("/home/u")));
        options
    }

    #[test]
    fn the_section_that_fits_best_wins() {
        let config = "\
            [http \"https://git.example.org/team/\"]\n proxy = team:1\n\
            [http \"https://git.example.org\"]\n proxy = host:1\n sslVerify = false\n extraHeader = X: 2\n\
            [http \"https://*.example.org\"]\n proxy = any:1\n sslCAInfo = ~/ca.pem\n\
            [http]\n proxy = all:1\n extraHeader = X: 1\n\
            [http \"https://other.org\"]\n proxy =\n extraHeader =\n";
        let team = applied(config, "https://git.example.org/team/repo.git");
        assert_eq!(team.proxy.as_deref(), Some("http://team:1"));
        assert_eq!(
            (team.ssl_verify, team.ssl_ca_info.as_deref()),
            (false, Some(Path::new("/home/u/ca.pem")))
        );
        assert_eq!(team.extra_headers, ["X: 1", "X: 2"]);
        for (url, proxy) in [
            ("https://git.example.org/teams/x", "http://host:1"),
            ("https://www.example.org/x", "http://any:1"),
            ("https://a.b.example.org/x", "http://all:1"),
            ("http://git.example.org/x", "http://all:1"),
            ("https://git.example.org:444/x", "http://all:1"),
            ("https://other.org/x", ""),
        ] {
            assert_eq!(applied(config, url).proxy.as_deref(), Some(proxy), "{url}");
        }
        assert!(applied(config, "https://other.org/x").extra_headers.is_empty());
        assert!(applied(config, "https://www.example.org/x").ssl_verify);
    }
}
