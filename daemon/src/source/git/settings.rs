//! What of the user's git configuration applies: only how hosts are reached.
//!
//! Repositories are opened isolated, since system-wide filters (git-lfs) and attributes would change
//! what a checkout holds. `url.*` (insteadOf), `http.*` and `credential.*` are then copied from the
//! system's file, the global ones and `GIT_CONFIG_COUNT`, as git itself would read them, and the
//! environment's proxies and certificates added. They are read before each connection, so that a
//! changed configuration needs no restart.

use super::error::{Cause, GitError};
use super::hosts;
use gix::config::file::Metadata;
use gix::config::{File, Source};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Sections that say how hosts are reached.
const COPIED: &[&str] = &["url", "http", "credential"];

/// Variables that say how hosts are reached, beside those of git: curl(1), "ENVIRONMENT", and the keys
/// that gix knows their values by. The first one that is set counts.
const PROXIES: &[(&str, &[&str])] = &[
    ("gitoxide.http.proxy", &["http_proxy", "HTTP_PROXY"]),
    ("gitoxide.https.proxy", &["https_proxy", "HTTPS_PROXY"]),
    ("gitoxide.http.allProxy", &["all_proxy", "ALL_PROXY"]),
    ("gitoxide.http.noProxy", &["no_proxy", "NO_PROXY"]),
];

/// The part of the environment that git configuration is found by.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    env: BTreeMap<String, String>,
}

impl Settings {
    pub(super) fn new(env: &BTreeMap<String, String>) -> Self {
        let is_proxy = |name: &str| PROXIES.iter().any(|(_, names)| names.contains(&name));
        let ours = |name: &str| {
            name.starts_with("GIT_") || matches!(name, "HOME" | "XDG_CONFIG_HOME") || is_proxy(name)
        };
        Self { env: env.iter().filter(|(n, _)| ours(n)).map(|(n, v)| (n.clone(), v.clone())).collect() }
    }

    /// Makes a repository that was opened isolated reach hosts as the user's git does. Blocks.
    pub(super) fn apply(&self, repo: &mut gix::Repository) -> Result<(), GitError> {
        let mut apply = || {
            let mut snapshot = repo.config_snapshot_mut();
            // ssh must not ask for a passphrase on the daemon's terminal; who names a command knows.
            snapshot.append_config(["core.sshCommand=ssh -o BatchMode=yes"], Source::Api)?;
            for mut file in [self.files()?, self.variables()?].into_iter().flatten() {
                let ssh = file.string("core.sshCommand").map(|command| format!("core.sshCommand={command}"));
                snapshot.append(only_copied(&mut file))?;
                snapshot.append_config(ssh, Source::Api)?;
            }
            snapshot.append_config(self.fixed(), Source::Api)?;
            snapshot.commit().map(drop)
        };
        apply().map_err(|error: gix::Error| GitError::Settings(Cause::from(&error)))
    }

    /// What holds whatever the user's configuration says.
    fn fixed(&self) -> Vec<String> {
        let mut fixed = vec![
            format!("gitoxide.userAgent={}", crate::source::http::USER_AGENT),
            "gitoxide.credentials.terminalPrompt=false".to_owned(),
            "gitoxide.credentials.helperStderr=false".to_owned(),
            // Also after insteadOf: nothing that runs a command of the link's choice.
            "protocol.allow=never".to_owned(),
        ];
        fixed.extend(
            ["https", "http", "ssh", "git", "file"].map(|name| format!("protocol.{name}.allow=always")),
        );
        let mut add = |key: &str, value: &String| fixed.push(format!("{key}={value}"));
        for (key, names) in PROXIES {
            if let Some(value) = names.iter().find_map(|name| self.env.get(*name)) {
                add(key, value);
            }
        }
        for (key, name) in [
            (hosts::HOME, "HOME"),
            (hosts::CA_FROM_ENV, "GIT_SSL_CAINFO"),
            ("core.sshCommand", "GIT_SSH_COMMAND"),
        ] {
            if let Some(value) = self.env.get(name).filter(|value| !value.is_empty()) {
                add(key, value);
            }
        }
        // Set to anything, even nothing: git's http.c asks only whether it is there.
        if self.env.contains_key("GIT_SSL_NO_VERIFY") {
            add("gitoxide.http.sslNoVerify", &"true".to_owned());
        }
        fixed
    }

    fn files(&self) -> Result<Option<File>, gix::Error> {
        let home = self.env.get("HOME").map(PathBuf::from);
        let config_home = self.env.get("XDG_CONFIG_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
        let config_home = config_home.or_else(|| home.as_ref().map(|home| home.join(".config")));
        let default = || {
            let old = home.as_ref().map(|home| home.join(".gitconfig"));
            config_home.into_iter().map(|dir| dir.join("git/config")).chain(old).collect()
        };
        let named = self.env.get("GIT_CONFIG_GLOBAL").map(|path| vec![PathBuf::from(path)]);
        let global: Vec<PathBuf> = named.unwrap_or_else(default);
        let paths = self.system().map(|path| (Source::System, path)).into_iter();
        let paths = paths.chain(global.into_iter().map(|path| (Source::User, path)));
        let mut found =
            paths.filter(|(_, path)| path.is_file()).map(|(source, path)| Metadata::from(source).at(path));
        let options =
            gix::config::file::init::Options { includes: includes(home.as_deref()), ..Default::default() };
        let file = File::from_paths_metadata_buf(&mut found, &mut Vec::new(), false, options)?;
        Ok(file)
    }

    /// The machine's file: git(1), "GIT_CONFIG_SYSTEM" and "GIT_CONFIG_NOSYSTEM".
    fn system(&self) -> Option<PathBuf> {
        let none = self.env.get("GIT_CONFIG_NOSYSTEM");
        let none = none.is_some_and(|value| !matches!(value.as_str(), "" | "0" | "false" | "no" | "off"));
        let named = self.env.get("GIT_CONFIG_SYSTEM").map_or("/etc/gitconfig", String::as_str);
        (!none).then(|| named.into())
    }

    /// `GIT_CONFIG_COUNT`, `GIT_CONFIG_KEY_<n>`, `GIT_CONFIG_VALUE_<n>`: git-config(1), "ENVIRONMENT".
    fn variables(&self) -> Result<Option<File>, gix::Error> {
        let count = self.env.get("GIT_CONFIG_COUNT").and_then(|count| count.parse::<usize>().ok());
        let Some(count) = count else { return Ok(None) };
        let mut file = File::new(Metadata::from(Source::Env));
        for n in 0..count {
            let name = |part: &str| format!("GIT_CONFIG_{part}_{n}");
            let (Some(key), Some(value)) = (self.env.get(&name("KEY")), self.env.get(&name("VALUE"))) else {
                break;
            };
            let Some(key) = gix::config::KeyRef::parse_unvalidated(key.as_str().into()) else { continue };
            let mut section = file.section_mut_or_create_new(key.section_name, key.subsection_name)?;
            section.push(key.value_name, Some(value.as_str().into()))?;
        }
        Ok(Some(file))
    }
}

fn includes(home: Option<&Path>) -> gix::config::file::includes::Options<'_> {
    gix::config::file::includes::Options::follow_without_conditional(home)
}

fn only_copied(file: &mut File) -> File {
    let copied = |name: &str| COPIED.iter().any(|section| name.eq_ignore_ascii_case(section));
    let others: Vec<_> = file
        .sections_and_ids()
        .filter(|(section, _)| !copied(&section.header().name().to_string()))
        .map(|(_, id)| id)
        .collect();
    for id in others {
        file.remove_section_by_id(id);
    }
    std::mem::take(file)
}
