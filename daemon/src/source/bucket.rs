//! Buckets that receive files, and links to what was put there.
//!
//! object_store sends and signs. Whoever asks may name another store and key; without them the daemon's
//! own credentials and endpoint count. The crate's errors hold addresses and answers of hosts, where keys
//! and signatures travel: they are told in words of our own.

use super::http::{USER_AGENT, install_tls};
use crate::config::ModelHosts;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::buffered::BufWriter;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path as Key;
use object_store::signer::Signer;
use object_store::{Attribute, Attributes, ClientOptions, ObjectStore, RetryConfig};
use percent_encoding::percent_decode_str;
use proto::ErrorKind;
use proto::method::BucketTarget;
use reqwest::Method;
use reqwest::header::HeaderValue;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use url::Url;

/// A bucket that receives files.
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    signer: Arc<dyn Signer>,
    name: String,
    prefix: String,
    link: Duration,
}

/// Why a bucket did not receive a file.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// It is no address of a bucket.
    #[error("`{0}` is no address of a bucket")]
    Address(String),
    /// The store cannot be used as it is described.
    #[error("the bucket `{bucket}` cannot be used: {reason}")]
    Unusable {
        /// The bucket.
        bucket: String,
        /// Why.
        reason: &'static str,
    },
    /// The store says no, or does not answer.
    #[error("failed to put `{key}` into the bucket `{bucket}`: {reason}")]
    Refused {
        /// The object.
        key: String,
        /// The bucket.
        bucket: String,
        /// Why.
        reason: &'static str,
        /// The kind of failure.
        kind: ErrorKind,
    },
    /// The file cannot be read.
    #[error("failed to read `{path}`")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

impl BucketError {
    /// Returns the kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Address(_) | Self::Unusable { .. } => ErrorKind::Usage,
            Self::Refused { kind, .. } => *kind,
            Self::File { .. } => ErrorKind::Disk,
        }
    }

    /// Returns a remedy.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Address(_) => Some("write `s3://bucket/prefix` or `gs://bucket/prefix`".to_owned()),
            Self::Refused { kind: ErrorKind::Access, .. } => {
                Some("the key must be valid and may put objects there".to_owned())
            }
            _ => None,
        }
    }
}

impl Bucket {
    /// Describes a bucket. Connects to nothing; blocks shortly, since credentials may lie in files.
    ///
    /// # Errors
    /// An address or credentials that cannot be used.
    pub fn open(hosts: &ModelHosts, target: &BucketTarget) -> Result<Self, BucketError> {
        install_tls();
        let address = || BucketError::Address(shown(&target.url));
        let url = Url::parse(&target.url).map_err(|_| address())?;
        let name = url.host_str().filter(|name| !name.is_empty()).ok_or_else(address)?.to_owned();
        let unusable = |reason| BucketError::Unusable { bucket: name.clone(), reason };
        let (store, signer): (Arc<dyn ObjectStore>, Arc<dyn Signer>) = match url.scheme() {
            "s3" => {
                let store = s3(hosts, target, &name).build();
                let store = store.map_err(|_| unusable("its credentials or its endpoint are not valid"))?;
                let store = Arc::new(store);
                (store.clone(), store)
            }
            "gs" => {
                let store =
                    google(hosts, &name).build().map_err(|_| unusable("its credentials are not valid"))?;
                let store = Arc::new(store);
                (store.clone(), store)
            }
            _ => return Err(address()),
        };
        // The crate escapes what must be escaped.
        let prefix = percent_decode_str(url.path().trim_matches('/')).decode_utf8_lossy().into_owned();
        Ok(Self { store, signer, name, prefix, link: Duration::from_secs(target.link_s) })
    }

    /// Puts a file under `<prefix>/<key>` and returns a link to it. An object of that name is replaced.
    /// Cancel-safe: what a dropped future leaves is an upload that was never completed.
    ///
    /// # Errors
    /// See [`BucketError`]. object_store has tried again what may pass.
    pub async fn put(&self, path: &Path, key: &str, mime: &str) -> Result<String, BucketError> {
        let key = Key::from(format!("{}/{key}", self.prefix));
        let unreadable = |source| BucketError::File { path: path.display().to_string(), source };
        let mut file = tokio::fs::File::open(path).await.map_err(unreadable)?;
        let mut attributes = Attributes::new();
        attributes.insert(Attribute::ContentType, mime.to_owned().into());
        // One request for a small file, parts for a large one: no file is held in memory as a whole.
        let mut writer = BufWriter::new(self.store.clone(), key.clone()).with_attributes(attributes);
        if let Err(error) = tokio::io::copy(&mut file, &mut writer).await {
            // What the store holds of it is nobody's: best effort, the error that matters is on its way.
            writer.abort().await.ok();
            return Err(self.refused(&key, &error));
        }
        writer.shutdown().await.map_err(|error| self.refused(&key, &error))?;
        let signed = self.signer.signed_url(Method::GET, &key, self.link).await;
        signed.map(String::from).map_err(|error| self.refused(&key, &error.into()))
    }

    fn refused(&self, key: &Key, error: &std::io::Error) -> BucketError {
        let source = error.get_ref().and_then(|source| source.downcast_ref::<object_store::Error>());
        let (kind, reason) = match source {
            Some(
                object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. },
            ) => (ErrorKind::Access, "the store refuses the key"),
            Some(object_store::Error::NotFound { .. }) => (ErrorKind::NotFound, "there is no such bucket"),
            _ => (ErrorKind::Network, "the store did not take it"),
        };
        BucketError::Refused { key: key.to_string(), bucket: self.name.clone(), reason, kind }
    }
}

/// S3 or a store that speaks as it does: what the target names, else the daemon's own.
fn s3(hosts: &ModelHosts, target: &BucketTarget, bucket: &str) -> AmazonS3Builder {
    let own_key = target.access_key_id.is_some();
    let mut builder = AmazonS3Builder::new().with_client_options(options()).with_retry(retries());
    for (name, value) in &hosts.aws {
        let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() else { continue };
        // A session token belongs to the daemon's key alone.
        if !(own_key && matches!(key, AmazonS3ConfigKey::Token)) {
            builder = builder.with_config(key, value);
        }
    }
    let endpoint = hosts.aws.get("AWS_ENDPOINT_URL_S3").or_else(|| hosts.aws.get("AWS_ENDPOINT_URL"));
    if let Some(endpoint) = target.endpoint.as_ref().or(endpoint) {
        // Plain HTTP only where the address says so itself: a store on this machine or in its network.
        builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
        builder = builder.with_allow_http(endpoint.starts_with("http://"));
    }
    if let Some(region) = &target.region {
        builder = builder.with_region(region);
    }
    if let (Some(id), Some(secret)) = (&target.access_key_id, &target.secret_access_key) {
        builder = builder.with_access_key_id(id).with_secret_access_key(&secret.0);
    }
    builder.with_bucket_name(bucket)
}

fn google(hosts: &ModelHosts, bucket: &str) -> GoogleCloudStorageBuilder {
    let builder = GoogleCloudStorageBuilder::new().with_client_options(options());
    let mut builder = builder.with_retry(retries());
    for (name, value) in &hosts.google {
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value);
        }
    }
    builder.with_bucket_name(bucket)
}

/// The crate's own ten attempts take minutes, in which a job would seem to hang.
fn retries() -> RetryConfig {
    RetryConfig { max_retries: 3, retry_timeout: Duration::from_secs(60), ..RetryConfig::default() }
}

fn options() -> ClientOptions {
    ClientOptions::new().with_user_agent(HeaderValue::from_static(USER_AGENT))
}

/// An address as it may be shown: keys are sometimes written into it.
fn shown(address: &str) -> String {
    Url::parse(address).map_or_else(|_| "…".to_owned(), |url| super::http::shown(&url))
}
