//! Buckets: where an object is, who may read it, and what refusals mean.
//!
//! object_store finds the credentials and signs; the request itself is as any other here, so that parts,
//! identity and retries are the same for all hosts. A signature is made for each request: stores that
//! take no signed links (RunPod's S3 API) take it too. The credentials are the daemon's own, handed over
//! from its configuration: the crate reads no environment. Neither this machine's shared AWS files nor a
//! cloud's metadata service is asked, which would cost seconds where there is none.

use super::refusal::{Said, Verdict};
use crate::config::ModelHosts;
use crate::source::http::{self, USER_AGENT, is_private};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::gcp::{GcpCredentialProvider, GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{ClientOptions, RetryConfig};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use proto::ErrorKind;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use std::sync::OnceLock;
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

fn region(hosts: &ModelHosts) -> &str {
    let region = hosts.aws.get("AWS_REGION").or_else(|| hosts.aws.get("AWS_DEFAULT_REGION"));
    region.map_or("us-east-1", String::as_str)
}

/// Credentials of buckets. One value serves all transfers, so that a token is asked for once an hour.
#[derive(Debug, Default)]
pub(super) struct Keys {
    s3: OnceLock<Result<Option<AwsCredentialProvider>, String>>,
    google: OnceLock<Result<Option<GcpCredentialProvider>, String>>,
}

impl Keys {
    /// Returns the headers that let a request for `url` through; none where there are no credentials, and
    /// the object is asked for anonymously.
    ///
    /// # Errors
    /// Credentials that cannot be used, and why.
    pub(super) async fn sign(
        &self,
        hosts: &ModelHosts,
        store: Store,
        url: &Url,
    ) -> Result<HeaderMap, String> {
        match store {
            Store::S3 => match self.s3.get_or_init(|| s3_credentials(hosts)).clone()? {
                Some(credentials) => {
                    let credential = credentials.get_credential().await.map_err(no_credential)?;
                    let token = credential.token.as_deref().unwrap_or_default();
                    // The crate expects a token that a header can hold.
                    HeaderValue::from_str(token)
                        .map_err(|_| "the session token has a line break".to_owned())?;
                    signature(&AwsAuthorizer::new(&credential, "s3", region(hosts)), url)
                }
                None => Ok(HeaderMap::new()),
            },
            Store::Google => match self.google.get_or_init(|| google_credentials(hosts)).clone()? {
                Some(_) if !is_private(url) => Err(format!("`{}` is not reached over TLS", http::shown(url))),
                Some(credentials) => {
                    let credential = credentials.get_credential().await.map_err(no_credential)?;
                    let bearer = http::bearer(&credential.bearer).ok_or("the token has a line break")?;
                    Ok(HeaderMap::from_iter([(AUTHORIZATION, bearer)]))
                }
                None => Ok(HeaderMap::new()),
            },
        }
    }
}

fn signature(authorizer: &AwsAuthorizer<'_>, url: &Url) -> Result<HeaderMap, String> {
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.uri_mut() = url.as_str().parse().map_err(|_| "the address is too long".to_owned())?;
    authorizer.try_authorize(&mut request, None).map_err(|_| "the signature cannot be made".to_owned())?;
    let mut headers = std::mem::take(request.headers_mut());
    headers.values_mut().for_each(|value| value.set_sensitive(true));
    Ok(headers)
}

/// The crate's text holds addresses with queries; what matters is who did not answer.
#[allow(clippy::needless_pass_by_value, reason = "it is the argument of `map_err`")]
fn no_credential(_: object_store::Error) -> String {
    "the service that issues them did not".to_owned()
}

fn options() -> ClientOptions {
    http::install_tls();
    ClientOptions::new().with_user_agent(HeaderValue::from_static(USER_AGENT))
}

/// A failure to get a token is tried again as every failure is, and told.
fn once() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

/// `None` where the variables name no credentials. Blocks shortly: it reads files.
fn s3_credentials(hosts: &ModelHosts) -> Result<Option<AwsCredentialProvider>, String> {
    use AmazonS3ConfigKey as Key;
    let mut builder = AmazonS3Builder::new().with_client_options(options()).with_retry(once());
    for (name, value) in &hosts.aws {
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value);
        }
    }
    let sources: &[&[Key]] = &[
        &[Key::AccessKeyId],
        &[Key::SecretAccessKey],
        &[Key::WebIdentityTokenFile, Key::RoleArn],
        &[Key::ContainerCredentialsRelativeUri],
        &[Key::ContainerCredentialsFullUri, Key::ContainerAuthorizationTokenFile],
        &[Key::MetadataEndpoint],
    ];
    let set = |key: &Key| builder.get_config_value(key).is_some();
    let skip = builder.get_config_value(&Key::SkipSignature).is_some_and(|value| value == "true");
    if skip || !sources.iter().any(|keys| keys.iter().all(set)) {
        return Ok(None);
    }
    // The credentials are the same for all buckets; the crate wants the name of one.
    let store = builder.with_bucket_name("any").build();
    store.map(|store| Some(store.credentials().clone())).map_err(|error| unusable(hosts, &error))
}

/// `None` where neither the variables nor gcloud name credentials. Blocks shortly: it reads files.
fn google_credentials(hosts: &ModelHosts) -> Result<Option<GcpCredentialProvider>, String> {
    use GoogleConfigKey as Key;
    let mut builder = GoogleCloudStorageBuilder::new().with_client_options(options()).with_retry(once());
    for (name, value) in &hosts.google {
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value);
        }
    }
    let sources =
        [Key::ServiceAccount, Key::ServiceAccountKey, Key::ApplicationCredentials, Key::BearerToken];
    let skip = builder.get_config_value(&Key::SkipSignature).is_some_and(|value| value == "true");
    if skip || !sources.iter().any(|key| builder.get_config_value(key).is_some()) {
        return Ok(None);
    }
    let store = builder.with_bucket_name("any").build();
    store.map(|store| Some(store.credentials().clone())).map_err(|error| unusable(hosts, &error))
}

fn unusable(hosts: &ModelHosts, error: &object_store::Error) -> String {
    let text = hosts.secrets().fold(error.to_string(), |text, secret| text.replace(secret, "…"));
    text.lines().next().unwrap_or_default().chars().take(200).collect()
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
mod tests {
    use super::*;
    use reqwest::StatusCode;

    fn hosts(pairs: &[(&str, &str)]) -> ModelHosts {
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

    #[tokio::test]
    async fn a_signature_is_for_whoever_has_credentials() {
        let url = Url::parse("https://s3.us-east-1.amazonaws.com/bucket/x").unwrap();
        let sign =
            async |pairs: &[(&str, &str)], store| Keys::default().sign(&hosts(pairs), store, &url).await;
        assert!(sign(&[], Store::S3).await.unwrap().is_empty());
        assert!(sign(&[], Store::Google).await.unwrap().is_empty());
        let (id, key) = (("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "s3cr3t"));
        let headers = sign(&[id, key, ("AWS_SESSION_TOKEN", "t0ken")], Store::S3).await.unwrap();
        let text = |name: &str| headers[name].to_str().unwrap().to_owned();
        assert!(text("authorization").starts_with("AWS4-HMAC-SHA256 Credential=AKIA/"));
        assert_eq!(text("x-amz-security-token"), "t0ken");
        assert!(!format!("{headers:?}").contains("AKIA"), "signatures are not for logs");
        assert!(sign(&[id, key, ("AWS_SKIP_SIGNATURE", "true")], Store::S3).await.unwrap().is_empty());
        assert!(sign(&[id], Store::S3).await.is_err(), "half of the credentials");
        assert!(sign(&[id, key, ("AWS_SESSION_TOKEN", "a\nb")], Store::S3).await.is_err());
        assert!(sign(&[("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere")], Store::Google).await.is_err());
    }
}
