//! What the environment says about the hosts of models: tokens, mirrors, credentials of buckets.

use super::saved;
use proto::places::text;
use std::collections::BTreeMap;
use std::path::Path;

/// Names that a Hugging Face token goes by; the first that is set counts.
const HF_TOKENS: &[&str] =
    &["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN", "HF_API_TOKEN", "HUGGINGFACE_ACCESS_TOKEN"];

/// Names that a Civitai token goes by.
const CIVITAI_TOKENS: &[&str] = &["CIVITAI_TOKEN", "CIVITAI_API_TOKEN", "CIVITAI_API_KEY"];

/// Variables of a bucket's credentials whose values are secret.
const BUCKET_SECRETS: &[&str] = &["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "GOOGLE_SERVICE_ACCOUNT_KEY"];

/// Tokens, mirrors and credentials of model hosts.
#[derive(Clone, Default)]
pub struct ModelHosts {
    /// `HF_TOKEN`, else the token that `hf auth login` left.
    pub hf_token: Option<String>,
    /// `HF_ENDPOINT`, without a slash at its end.
    pub hf_endpoint: Option<String>,
    /// `CIVITAI_TOKEN`.
    pub civitai_token: Option<String>,
    /// Base URL of Civitai; other than the site itself only in tests.
    pub civitai_endpoint: Option<String>,
    /// Base URL of the Comfy Registry; other than the registry itself only in tests.
    pub registry_endpoint: Option<String>,
    /// The variables that begin with `AWS_`, for `s3://`; else what `aws configure` left.
    pub aws: BTreeMap<String, String>,
    /// The variables that begin with `GOOGLE_`, for `gs://`; else what `gcloud auth` left.
    pub google: BTreeMap<String, String>,
}

impl ModelHosts {
    /// Reads variables, and the token and credentials that others left in the user's home.
    pub(super) fn from_vars(vars: &BTreeMap<String, String>, user: &Path) -> Self {
        let get = |name: &str| vars.get(name).cloned();
        let first = |names: &[&str]| names.iter().find_map(|name| text(get, name));
        let url = |name: &str| text(get, name).map(|url| url.trim_end_matches('/').to_owned());
        let begin = |prefix: &str| {
            let ours =
                vars.iter().filter(|(name, value)| name.starts_with(prefix) && !value.trim().is_empty());
            ours.map(|(name, value)| (name.clone(), value.trim().to_owned())).collect::<BTreeMap<_, _>>()
        };
        let (mut aws, mut google) = (begin("AWS_"), begin("GOOGLE_"));
        saved::add_aws(&mut aws, user);
        saved::add_google(&mut google, get, user);
        Self {
            hf_token: first(HF_TOKENS).or_else(|| saved::hf_token(get, user)),
            hf_endpoint: url("HF_ENDPOINT"),
            civitai_token: first(CIVITAI_TOKENS),
            civitai_endpoint: url("CIVITAI_ENDPOINT"),
            registry_endpoint: url("COMFY_REGISTRY_ENDPOINT"),
            aws,
            google,
        }
    }

    /// Returns what must never be told.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let tokens = [&self.hf_token, &self.civitai_token].into_iter().flatten();
        let of_buckets = |name: &&str| self.aws.get(*name).or(self.google.get(*name));
        tokens.chain(BUCKET_SECRETS.iter().filter_map(of_buckets)).map(String::as_str)
    }
}

impl std::fmt::Debug for ModelHosts {
    /// Tells whether tokens are set, never their values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelHosts")
            .field("hf_token", &self.hf_token.is_some())
            .field("hf_endpoint", &self.hf_endpoint)
            .field("civitai_token", &self.civitai_token.is_some())
            .finish_non_exhaustive()
    }
}

/// Returns whether a variable holds a token of a model host.
pub(super) fn is_token(name: &str) -> bool {
    HF_TOKENS.contains(&name) || CIVITAI_TOKENS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(user: &Path, pairs: &[(&str, &str)]) -> ModelHosts {
        let vars = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ModelHosts::from_vars(&vars, user)
    }

    #[test]
    fn credentials_of_buckets_are_gathered_and_never_shown() {
        let user = tempfile::tempdir().unwrap();
        let secrets = [("AWS_SECRET_ACCESS_KEY", "s3cr3t"), ("GOOGLE_SERVICE_ACCOUNT_KEY", "s3cr3t")];
        let hosts =
            hosts(user.path(), &[&secrets[..], &[("AWS_REGION", " eu "), ("AWS_TOKEN", "")]].concat());
        assert_eq!(hosts.aws.get("AWS_REGION").map(String::as_str), Some("eu"));
        assert_eq!((hosts.aws.len(), hosts.google.len()), (2, 1));
        assert_eq!(hosts.secrets().count(), 2);
        assert!(!format!("{hosts:?}").contains("s3cr3t"));
    }
}
