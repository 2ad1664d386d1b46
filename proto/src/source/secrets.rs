//! What of a link grants access, and links without it.

use url::{Url, form_urlencoded};

/// Query parameters that grant access. They never reach a lock, a plan, a log or an error.
const NAMES: &[&str] = &[
    "signature",
    "sig",
    "policy",
    "key-pair-id",
    "awsaccesskeyid",
    "googleaccessid",
    "ossaccesskeyid",
    "token",
    "access_token",
    "auth_token",
    "private_token",
    "api_key",
    "apikey",
    "key",
    "authorization",
    "auth",
    "jwt",
    "password",
    "secret",
];

/// Signatures of S3 and Google Cloud Storage consist of parameters that start so. They change with
/// each signing, so none of them says which file it is.
const PREFIXES: &[&str] = &["x-amz-", "x-goog-", "x-oss-"];

/// Parameters beside a signature that change with each signing too, but mean something of their own where
/// there is none: until when CloudFront's and the older S3, Google and Alibaba links are good; what an Azure
/// link (Azure Storage, "service SAS") allows.
const BESIDE_SIGNATURE: &[&str] =
    &["expires", "sv", "st", "se", "sr", "sp", "sip", "spr", "skoid", "sktid", "skt", "ske", "sks", "skv"];

/// Removes user info and access parameters from a URL.
pub fn strip_secrets(url: &Url) -> Url {
    let mut clean = url.clone();
    // Both fail only for URLs that cannot have user info, where there is nothing to remove.
    clean.set_username("").ok();
    clean.set_password(None).ok();
    let query = url.query().unwrap_or_default();
    let signed = has_name(query, |name| matches!(name, "signature" | "sig"));
    let grants =
        |pair: &str| in_query(pair) || signed && has_name(pair, |name| BESIDE_SIGNATURE.contains(&name));
    let kept: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty() && !grants(pair)).collect();
    let query = kept.join("&");
    clean.set_query((!query.is_empty()).then_some(query.as_str()));
    clean
}

/// Returns whether a query string has a parameter that grants access.
pub(super) fn in_query(query: &str) -> bool {
    has_name(query, |name| NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

/// Returns whether a query string has a parameter whose decoded name, in lower case, is such.
fn has_name(query: &str, is: impl Fn(&str) -> bool) -> bool {
    form_urlencoded::parse(query.as_bytes()).any(|(name, _)| is(&name.to_ascii_lowercase()))
}

/// Returns the part of a link, parsable or not, that holds no secret: no query and no user info.
pub(crate) fn bare(link: &str) -> &str {
    let link = link.split(['?', '#']).next().unwrap_or_default();
    let (scheme_len, rest) = match link.split_once("://") {
        Some((scheme, rest)) => (scheme.len() + 3, rest),
        None => (0, link),
    };
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.rfind('@') {
        Some(at) => &link[scheme_len + at + 1..],
        None => link,
    }
}
