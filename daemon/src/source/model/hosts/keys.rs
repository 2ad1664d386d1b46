//! Who may read a bucket.
//!
//! object_store finds the credentials and signs; the request itself is as any other here, so that parts,
//! identity and retries are the same for all hosts. A signature is made for each request: stores that
//! take no signed links (RunPod's S3 API) take it too. The credentials are the daemon's own, handed over
//! from its configuration: the crate reads no environment. A cloud's metadata service is not asked unless
//! `AWS_METADATA_ENDPOINT` names it: that would cost seconds wherever there is none.

use super::bucket::{Store, region};
use crate::config::ModelHosts;
use crate::source::http::{self, USER_AGENT, is_private};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::gcp::{GcpCredentialProvider, GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{ClientOptions, RetryConfig};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use std::sync::OnceLock;
use url::Url;

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

#[cfg(test)]
mod tests {
    use super::super::bucket::{s3_url, tests::hosts};
    use super::*;
    use sha2::{Digest as _, Sha256};

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

    /// As AWS, "Create a signed request" has it, computed anew: what a store does with our request.
    #[tokio::test]
    async fn the_signature_is_the_one_that_a_store_computes() {
        let pairs =
            [("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "s3cr3t"), ("AWS_REGION", "eu-1")];
        let hosts = hosts(&[&pairs[..], &[("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")]].concat());
        let url = s3_url(&hosts, "bucket", "a b+c~(1).bin").unwrap();
        let headers = Keys::default().sign(&hosts, Store::S3, &url).await.unwrap();
        let text = |name: &str| headers[name].to_str().unwrap();
        let (scope, rest) = text("authorization").split_once(", SignedHeaders=").unwrap();
        let (names, signature) = rest.split_once(", Signature=").unwrap();
        let scope = scope.strip_prefix("AWS4-HMAC-SHA256 Credential=AKIA/").unwrap();
        let value = |name: &str| if name == "host" { "127.0.0.1:9000" } else { text(name) };
        let canonical: Vec<String> = names.split(';').map(|name| format!("{name}:{}", value(name))).collect();
        let canonical = canonical.join("\n");
        let path = "/bucket/a%20b%2Bc~%281%29.bin";
        let request = format!("GET\n{path}\n\n{canonical}\n\n{names}\n{}", text("x-amz-content-sha256"));
        let to_sign =
            format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{}", text("x-amz-date"), hex(&Sha256::digest(request)));
        let key = scope.split('/').fold(b"AWS4s3cr3t".to_vec(), |key, part| hmac(&key, part));
        assert_eq!(url.path(), path);
        assert_eq!(signature, hex(&hmac(&key, &to_sign)));
    }

    fn hmac(key: &[u8], text: &str) -> Vec<u8> {
        let mut block = [0; 64];
        block[..key.len()].copy_from_slice(key);
        let pad = |byte: u8| block.map(|b| b ^ byte).to_vec();
        let inner = Sha256::digest([pad(0x36), text.as_bytes().to_vec()].concat());
        Sha256::digest([pad(0x5c), inner.to_vec()].concat()).to_vec()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .filter_map(|digit| char::from_digit(digit.into(), 16))
            .collect()
    }
}
