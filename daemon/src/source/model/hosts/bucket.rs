//! Buckets: where an object is, and what refusals mean. Pure.

use super::refusal::{Said, Verdict};
use crate::config::ModelHosts;
use crate::source::http;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use proto::ErrorKind;
use url::Url;

/// Whose rules a bucket goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    S3,
    Google,
}

/// What SigV4 wants escaped in a path: everything but these (AWS, "Create a signed request", `UriEncode`).
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Returns the address of an object of S3: by the path, as every store takes it, unless the variables of
/// AWS's own tools and of object_store say otherwise.
pub(super) fn s3_url(hosts: &ModelHosts, bucket: &str, key: &str) -> Option<Url> {
    let endpoint = hosts.aws.get("AWS_ENDPOINT_URL_S3").or_else(|| hosts.aws.get("AWS_ENDPOINT_URL"));
    let in_host = hosts.aws.get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST").is_some_and(|value| value == "true");
    let region = region(hosts);
    let base = match (endpoint, in_host) {
        // Then the endpoint names the bucket already.
        (Some(endpoint), true) => endpoint.trim_end_matches('/').to_owned(),
        (Some(endpoint), false) => format!("{}/{bucket}", endpoint.trim_end_matches('/')),
        (None, true) => format!("https://{bucket}.s3.{region}.amazonaws.com"),
        (None, false) => format!("https://s3.{region}.amazonaws.com/{bucket}"),
    };
    Url::parse(&format!("{base}/{}", utf8_percent_encode(key, PATH))).ok()
}

/// Returns the address of an object of Google Cloud Storage, in the API that speaks as S3 does.
pub(super) fn google_url(hosts: &ModelHosts, bucket: &str, key: &str) -> Option<Url> {
    let base = hosts.google.get("GOOGLE_BASE_URL").map_or("https://storage.googleapis.com", String::as_str);
    let base = base.trim_end_matches('/');
    Url::parse(&format!("{base}/{bucket}/{}", utf8_percent_encode(key, PATH))).ok()
}

/// Returns the region that requests to S3 are signed for.
pub(super) fn region(hosts: &ModelHosts) -> &str {
    let region = hosts.aws.get("AWS_REGION").or_else(|| hosts.aws.get("AWS_DEFAULT_REGION"));
    region.map_or("us-east-1", String::as_str)
}

/// Returns what to do about credentials that cannot be used.
pub(super) fn credentials_hint(store: Store) -> &'static str {
    match store {
        Store::S3 => "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN of the daemon",
        Store::Google => "check the file that GOOGLE_APPLICATION_CREDENTIALS of the daemon names",
    }
}

/// Says what a refusal of a store means; `None` where its status says it all. `signed` tells whether there
/// were credentials. Codes: S3's "Error responses"; Google's XML API uses the same.
pub(super) fn refusal(said: &Said<'_>, store: Store, signed: bool) -> Option<Verdict> {
    let code = said.element("Code").unwrap_or_default();
    let access = |says: &str, hint: &str| Verdict::new(ErrorKind::Access, says, hint);
    let region = http::text(said.headers, "x-amz-bucket-region").or_else(|| said.element("Region"));
    Some(match (code, said.status.as_u16()) {
        ("NoSuchBucket", _) => Verdict::new(
            ErrorKind::NotFound,
            "there is no such bucket",
            "check its name, and AWS_ENDPOINT_URL for a store other than S3",
        ),
        ("NoSuchKey", _) | (_, 404) => {
            Verdict::new(ErrorKind::NotFound, "the bucket has no such object", "check the object's name")
        }
        ("ExpiredToken" | "TokenRefreshRequired", _) => {
            access("the credentials have expired", "start comfyd with fresh ones; what has arrived is kept")
        }
        ("RequestTimeTooSkewed", _) => access("this machine's clock is wrong", "set it"),
        ("PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed", _) | (_, 301 | 307) => {
            let region = region.map_or_else(|| "the bucket's region".to_owned(), |region| said.quote(region));
            access("the bucket lies in another region", &format!("start comfyd with AWS_REGION={region}"))
        }
        ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken", _) => {
            access("the credentials are not valid", credentials_hint(store))
        }
        (_, 401 | 403) if signed => access(
            "the credentials may not read the object",
            "let them read it; one that is missing looks the same to who may not list the bucket",
        ),
        (_, 401 | 403) => {
            let set = match store {
                Store::S3 => "start comfyd with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                Store::Google => "start comfyd with GOOGLE_APPLICATION_CREDENTIALS",
            };
            access("the object is not public, and there are no credentials", set)
        }
        _ => return None,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use reqwest::StatusCode;
    use reqwest::header::HeaderMap;

    pub(in super::super) fn hosts(pairs: &[(&str, &str)]) -> ModelHosts {
        let of = |prefix: &str| {
            let ours = pairs.iter().filter(|(name, _)| name.starts_with(prefix));
            ours.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        ModelHosts { aws: of("AWS_"), google: of("GOOGLE_"), ..ModelHosts::default() }
    }

    #[test]
    fn addresses() {
        let s3 =
            |pairs: &[(&str, &str)]| s3_url(&hosts(pairs), "bucket", "a/b c+d?.bin").unwrap().to_string();
        let key = "a/b%20c%2Bd%3F.bin";
        let region = ("AWS_DEFAULT_REGION", "eu-west-1");
        let (endpoint, of_s3) =
            (("AWS_ENDPOINT_URL", "http://h:9/"), ("AWS_ENDPOINT_URL_S3", "https://s3.h"));
        let in_host = ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true");
        let table = [
            (&[][..], format!("https://s3.us-east-1.amazonaws.com/bucket/{key}")),
            (&[region], format!("https://s3.eu-west-1.amazonaws.com/bucket/{key}")),
            (&[region, in_host], format!("https://bucket.s3.eu-west-1.amazonaws.com/{key}")),
            (&[endpoint], format!("http://h:9/bucket/{key}")),
            (&[endpoint, of_s3], format!("https://s3.h/bucket/{key}")),
            (&[endpoint, in_host], format!("http://h:9/{key}")),
        ];
        for (pairs, expected) in table {
            assert_eq!(s3(pairs), expected, "{pairs:?}");
        }
        let google = google_url(&hosts(&[]), "bucket", "a b").unwrap();
        assert_eq!(google.as_str(), "https://storage.googleapis.com/bucket/a%20b");
    }

    #[test]
    fn refusals() {
        let xml = |code: &str| {
            format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Region>eu-1</Region></Error>")
        };
        let (access, missing) = (ErrorKind::Access, ErrorKind::NotFound);
        let table = [
            (404, "NoSuchBucket", Store::S3, true, missing, "AWS_ENDPOINT_URL"),
            (404, "NoSuchKey", Store::S3, true, missing, "object's name"),
            (404, "", Store::Google, false, missing, "object's name"),
            (403, "AccessDenied", Store::S3, true, access, "let them read it"),
            (403, "AccessDenied", Store::S3, false, access, "AWS_ACCESS_KEY_ID"),
            (401, "", Store::Google, false, access, "GOOGLE_APPLICATION_CREDENTIALS"),
            (400, "ExpiredToken", Store::S3, true, access, "fresh ones"),
            (403, "SignatureDoesNotMatch", Store::S3, true, access, "AWS_SECRET_ACCESS_KEY"),
            (403, "RequestTimeTooSkewed", Store::S3, true, access, "set it"),
            (301, "PermanentRedirect", Store::S3, true, access, "AWS_REGION=eu-1"),
            (400, "AuthorizationHeaderMalformed", Store::S3, true, access, "AWS_REGION=eu-1"),
        ];
        for (status, code, store, signed, kind, hint) in table {
            let (headers, body) = (HeaderMap::new(), xml(code));
            let said = Said::new(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes());
            let verdict = refusal(&said, store, signed).unwrap();
            let told = verdict.hint.unwrap_or_default();
            assert!(verdict.kind == kind && told.contains(hint), "{status} {code}: {told}");
        }
        let headers = HeaderMap::new();
        let said = Said::new(StatusCode::SERVICE_UNAVAILABLE, &headers, b"<Code>SlowDown</Code>");
        assert!(refusal(&said, Store::S3, true).is_none(), "tried again as everywhere");
    }
}
