//! What people's logins with other tools left in their home: used where no variable says otherwise, so that
//! who is logged in need not tell comfyd again. Blocks shortly: it reads small files, once.

use proto::places::{flag, text};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The token that `hf auth login` left, found as `huggingface_hub` finds it (its `constants.py`), and not
/// used where that would not use it.
pub(super) fn hf_token(get: impl Fn(&str) -> Option<String> + Copy, user: &Path) -> Option<String> {
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

/// Adds what `aws configure` left, as variables of the same meaning: keys, unless there are some, and
/// region and endpoint. Logins that need a program or a page are not understood.
pub(super) fn add_aws(aws: &mut BTreeMap<String, String>, user: &Path) {
    let profile = aws.get("AWS_PROFILE").map_or("default", String::as_str);
    let path = |name: &str, default: &str| aws.get(name).map_or_else(|| user.join(default), PathBuf::from);
    let section = if profile == "default" { "default".to_owned() } else { format!("profile {profile}") };
    let mut saved = section_of(&path("AWS_CONFIG_FILE", ".aws/config"), &section);
    saved.extend(section_of(&path("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"), profile));
    if ["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"].iter().any(|name| aws.contains_key(*name)) {
        saved.retain(|name, _| !name.starts_with("aws_"));
    }
    if aws.contains_key("AWS_DEFAULT_REGION") {
        saved.remove("region");
    }
    let names = [
        ("aws_access_key_id", "AWS_ACCESS_KEY_ID"),
        ("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
        ("aws_session_token", "AWS_SESSION_TOKEN"),
        ("region", "AWS_REGION"),
        ("endpoint_url", "AWS_ENDPOINT_URL"),
    ];
    for (name, variable) in names {
        if let Some(value) = saved.remove(name) {
            aws.entry(variable.to_owned()).or_insert(value);
        }
    }
}

/// Reads a section of an INI file; a file or section that is not there is empty.
fn section_of(path: &Path, section: &str) -> BTreeMap<String, String> {
    let file = std::fs::read_to_string(path).unwrap_or_default();
    let lines = file.lines().skip_while(|line| title(line) != Some(section)).skip(1);
    let pairs = lines.take_while(|line| title(line).is_none()).filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}

fn title(line: &str) -> Option<&str> {
    Some(line.trim().strip_prefix('[')?.strip_suffix(']')?.trim())
}

/// Adds the credentials that `gcloud auth application-default login` left, where the variables name none.
pub(super) fn add_google(
    google: &mut BTreeMap<String, String>,
    get: impl Fn(&str) -> Option<String> + Copy,
    user: &Path,
) {
    let dir = text(get, "CLOUDSDK_CONFIG").map_or_else(|| user.join(".config/gcloud"), PathBuf::from);
    let saved = dir.join("application_default_credentials.json");
    if let Some(service_account) = text(get, "SERVICE_ACCOUNT") {
        google.entry("GOOGLE_SERVICE_ACCOUNT".to_owned()).or_insert(service_account);
    }
    let named = ["GOOGLE_SERVICE_ACCOUNT", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_BEARER_TOKEN"];
    if !google.keys().any(|name| named.iter().any(|named| name.starts_with(named))) && saved.is_file() {
        google.insert("GOOGLE_APPLICATION_CREDENTIALS".to_owned(), saved.display().to_string());
    }
}

#[cfg(test)]
mod tests {
    use crate::config::ModelHosts;
    use std::path::Path;

    fn hosts(user: &Path, pairs: &[(&str, &str)]) -> ModelHosts {
        let vars = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ModelHosts::from_vars(&vars, user)
    }

    fn put(user: &Path, path: &str, text: &str) {
        let path = user.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn a_token_comes_from_a_variable_else_from_where_a_login_left_it() {
        let user = tempfile::tempdir().unwrap();
        let put = |path: &str, token: &str| put(user.path(), path, &format!("{token}\n"));
        put(".cache/huggingface/token", "saved");
        put("xdg/huggingface/token", "in-xdg");
        put("home/token", "in-home");
        put("a-file", "in-file");
        put("empty", "");
        let at = |path: &str| user.path().join(path).display().to_string();
        let [xdg, home, file, empty, absent] = &["xdg", "home", "a-file", "empty", "absent"].map(at);
        let table = [
            (&[][..], Some("saved")),
            (&[("XDG_CACHE_HOME", xdg.as_str())], Some("in-xdg")),
            (&[("XDG_CACHE_HOME", xdg.as_str()), ("HF_HOME", home)], Some("in-home")),
            (&[("HF_HOME", home), ("HF_TOKEN_PATH", file)], Some("in-file")),
            (&[("HF_TOKEN_PATH", empty)], None),
            (&[("HF_TOKEN_PATH", absent)], None),
            (&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")], None),
            (&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"), ("HF_TOKEN", "set")], Some("set")),
            (&[("HUGGING_FACE_HUB_TOKEN", " set ")], Some("set")),
        ];
        for (vars, expected) in table {
            assert_eq!(hosts(user.path(), vars).hf_token.as_deref(), expected, "{vars:?}");
        }
    }

    #[test]
    fn the_profile_of_aws_fills_what_the_variables_leave_open() {
        let user = tempfile::tempdir().unwrap();
        let keys = "[default]\naws_access_key_id = A\naws_secret_access_key=S\n\n[work]\naws_access_key_id=W\naws_secret_access_key=T\naws_session_token=U\n";
        put(user.path(), ".aws/credentials", keys);
        let config = "# a comment = no\n[default]\nregion=eu-1\n[profile work]\nregion = us-2\nendpoint_url = https://h\ncredential_process = /bin/false\n";
        put(user.path(), ".aws/config", config);
        put(user.path(), "other", "[default]\naws_access_key_id=O\n");
        let other = user.path().join("other").display().to_string();
        let of = |vars: &[(&str, &str)]| {
            let aws = hosts(user.path(), vars).aws;
            let value = |name: &str| aws.get(name).cloned().unwrap_or_default();
            ["ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "REGION", "ENDPOINT_URL"]
                .map(|name| value(&format!("AWS_{name}")))
        };
        assert_eq!(of(&[]), ["A", "S", "", "eu-1", ""]);
        assert_eq!(of(&[("AWS_PROFILE", "work")]), ["W", "T", "U", "us-2", "https://h"]);
        assert_eq!(of(&[("AWS_PROFILE", "none")]), ["", "", "", "", ""]);
        let own = [("AWS_ACCESS_KEY_ID", "X"), ("AWS_SECRET_ACCESS_KEY", "Y"), ("AWS_PROFILE", "work")];
        assert_eq!(of(&own), ["X", "Y", "", "us-2", "https://h"], "keys of two places are never mixed");
        assert_eq!(of(&[("AWS_DEFAULT_REGION", "z")])[3], "", "the variable counts");
        assert_eq!(of(&[("AWS_SHARED_CREDENTIALS_FILE", &other)])[0], "O");
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
