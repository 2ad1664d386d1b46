//! What the environment says about the hosts of models: tokens, mirrors, credentials of buckets.

use proto::places::{flag, text};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
    /// The variables that begin with `AWS_`, for `s3://`.
    pub aws: BTreeMap<String, String>,
    /// The variables that begin with `GOOGLE_`, for `gs://`.
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
        Self {
            hf_token: first(HF_TOKENS).or_else(|| saved_hf_token(get, user)),
            hf_endpoint: url("HF_ENDPOINT"),
            civitai_token: first(CIVITAI_TOKENS),
            civitai_endpoint: url("CIVITAI_ENDPOINT"),
            aws: begin("AWS_"),
            google: with_saved_credentials(begin("GOOGLE_"), get, user),
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

/// The token that `hf auth login` left, found as `huggingface_hub` finds it (its `constants.py`), and not
/// used where that would not use it.
fn saved_hf_token(get: impl Fn(&str) -> Option<String> + Copy, user: &Path) -> Option<String> {
    if flag(get, "HF_HUB_DISABLE_IMPLICIT_TOKEN") {
        return None;
    }
    let dir = |name: &str| text(get, name).map(PathBuf::from);
    let home = || {
        let cache = dir("XDG_CACHE_HOME").unwrap_or_else(|| user.join(".cache"));
        dir("HF_HOME").unwrap_or_else(|| cache.join("huggingface"))
    };
    let path = dir("HF_TOKEN_PATH").unwrap_or_else(|| home().join("token"));
    let token = std::fs::read_to_string(path).ok()?;
    Some(token.trim().to_owned()).filter(|token| !token.is_empty())
}

/// Adds the credentials that `gcloud auth application-default login` left, where the variables name none.
fn with_saved_credentials(
    mut google: BTreeMap<String, String>,
    get: impl Fn(&str) -> Option<String> + Copy,
    user: &Path,
) -> BTreeMap<String, String> {
    let dir = text(get, "CLOUDSDK_CONFIG").map_or_else(|| user.join(".config/gcloud"), PathBuf::from);
    let saved = dir.join("application_default_credentials.json");
    if let Some(service_account) = text(get, "SERVICE_ACCOUNT") {
        google.entry("GOOGLE_SERVICE_ACCOUNT".to_owned()).or_insert(service_account);
    }
    if !google.keys().any(|name| name.starts_with("GOOGLE_SERVICE_ACCOUNT")) && saved.is_file() {
        let credentials = google.entry("GOOGLE_APPLICATION_CREDENTIALS".to_owned());
        credentials.or_insert_with(|| saved.display().to_string());
    }
    google
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(user: &Path, pairs: &[(&str, &str)]) -> ModelHosts {
        let vars = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ModelHosts::from_vars(&vars, user)
    }

    #[test]
    fn a_token_comes_from_a_variable_else_from_where_a_login_left_it() {
        let user = tempfile::tempdir().unwrap();
        let put = |path: &str, token: &str| {
            let path = user.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{token}\n")).unwrap();
        };
        put(".cache/huggingface/token", "saved");
        put("xdg/huggingface/token", "in-xdg");
        put("home/token", "in-home");
        put("a-file", "in-file");
        put("empty", "");
        let at = |path: &str| user.path().join(path).display().to_string();
        let table: &[(&[(&str, &str)], Option<&str>)] = &[
            (&[], Some("saved")),
            (&[("XDG_CACHE_HOME", &at("xdg"))], Some("in-xdg")),
            (&[("XDG_CACHE_HOME", &at("xdg")), ("HF_HOME", &at("home"))], Some("in-home")),
            (&[("HF_HOME", &at("home")), ("HF_TOKEN_PATH", &at("a-file"))], Some("in-file")),
            (&[("HF_TOKEN_PATH", &at("empty"))], None),
            (&[("HF_TOKEN_PATH", &at("absent"))], None),
            (&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")], None),
            (&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"), ("HF_TOKEN", "set")], Some("set")),
            (&[("HUGGING_FACE_HUB_TOKEN", " set ")], Some("set")),
        ];
        for (vars, expected) in table {
            assert_eq!(hosts(user.path(), vars).hf_token.as_deref(), *expected, "{vars:?}");
        }
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

    #[test]
    fn what_gcloud_left_is_used_where_the_variables_name_nothing() {
        let user = tempfile::tempdir().unwrap();
        let saved = user.path().join(".config/gcloud/application_default_credentials.json");
        std::fs::create_dir_all(saved.parent().unwrap()).unwrap();
        std::fs::write(&saved, "{}").unwrap();
        let of = |vars: &[(&str, &str)]| hosts(user.path(), vars).google.into_values().collect::<Vec<_>>();
        assert_eq!(of(&[]), [saved.display().to_string()]);
        assert_eq!(of(&[("GOOGLE_APPLICATION_CREDENTIALS", "/x")]), ["/x"]);
        assert_eq!(of(&[("SERVICE_ACCOUNT", "/y")]), ["/y"]);
    }
}
