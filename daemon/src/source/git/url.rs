//! Repository links: which are allowed, how they are shown, how a relative one is joined.

use super::error::GitError;
use gix::url::Scheme;
use sha2::{Digest as _, Sha256};

/// A link that was checked: its transport is known and nothing in it reads as an option.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RepoUrl {
    text: String,
    shown: String,
    scheme: Scheme,
}

impl RepoUrl {
    /// Checks a link of a spec or lock.
    pub(super) fn parse(text: &str) -> Result<Self, GitError> {
        let refuse = |reason: &'static str| GitError::Url { url: redact(text), reason };
        if text.starts_with('-') || text.chars().any(char::is_control) {
            return Err(refuse("it starts with a dash or has a control character"));
        }
        let url = gix::url::parse(text).map_err(|_| refuse("it is not a URL"))?;
        if url.host().is_some_and(|host| host.starts_with('-')) {
            return Err(refuse("its host starts with a dash"));
        }
        if url.scheme == Scheme::Http && url.password().is_some() {
            return Err(refuse("its password would travel in clear text; use https"));
        }
        let relative = url.scheme == Scheme::File && !url.path.starts_with(b"/");
        match url.scheme {
            Scheme::File if relative => return Err(refuse("a local path must be absolute")),
            Scheme::File | Scheme::Git | Scheme::Ssh | Scheme::Http | Scheme::Https => {}
            _ => return Err(refuse("only https, http, ssh, git and file are supported")),
        }
        Ok(Self { text: text.to_owned(), shown: redact(text), scheme: url.scheme })
    }

    /// Checks the link of a submodule of this repository; `./` and `../` are relative to it.
    pub(super) fn submodule(&self, text: &str) -> Result<Self, GitError> {
        let joined = join(&self.text, text)
            .ok_or_else(|| GitError::Url { url: redact(text), reason: "it leads above the host's root" })?;
        let child = Self::parse(&joined)?;
        // A repository from the network must not read files of this machine into a checkout.
        if child.scheme == Scheme::File && self.scheme != Scheme::File {
            return Err(GitError::Url { url: redact(text), reason: "a remote repository names a local one" });
        }
        Ok(child)
    }

    /// Returns the link as it was given, for connecting only.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the link without user name and password.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Returns the name of its object cache: readable, and one per repository.
    pub(super) fn cache_name(&self) -> String {
        let key = self.shown.trim_end_matches('/');
        let key = key.strip_suffix(".git").unwrap_or(key);
        let name: String = key
            .rsplit(['/', ':'])
            .next()
            .unwrap_or_default()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' })
            .take(64)
            .collect();
        let mut first = [0; 8];
        first.copy_from_slice(&Sha256::digest(key.as_bytes())[..8]);
        format!("{name}-{:016x}.git", u64::from_be_bytes(first))
    }
}

/// Removes what stands between `://` and `@`, wherever URLs occur in `text`.
pub fn redact(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = after
            .find(|c: char| c == '/' || c.is_whitespace() || matches!(c, '"' | '\'' | '`' | ')'))
            .unwrap_or(after.len());
        let authority = &after[..end];
        clean.push_str(authority.rsplit('@').next().unwrap_or(authority));
        rest = &after[end..];
    }
    clean.push_str(rest);
    clean
}

/// Joins as `git submodule` does: each `../` takes one component off the parent's link. `None` when
/// that would reach into the host's name.
fn join(parent: &str, text: &str) -> Option<String> {
    if !text.starts_with("./") && !text.starts_with("../") {
        return Some(text.to_owned());
    }
    let authority_end = match parent.find("://") {
        Some(at) => at + 3 + parent[at + 3..].find('/')?,
        None => 0,
    };
    let (mut base, mut rest, mut separator) = (parent.trim_end_matches('/'), text, '/');
    loop {
        if let Some(shorter) = rest.strip_prefix("./") {
            rest = shorter;
        } else if let Some(shorter) = rest.strip_prefix("../") {
            let at = base.rfind('/').filter(|at| *at >= authority_end);
            // `git@host:repo`: the colon stands where the first slash would.
            let at = at.or_else(|| base.rfind(':').filter(|_| authority_end == 0 && separator == '/'));
            let at = at?;
            separator = if base.as_bytes()[at] == b':' { ':' } else { '/' };
            (base, rest) = (&base[..at], shorter);
        } else {
            return Some(format!("{base}{separator}{}", rest.trim_end_matches('/')));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_transports_and_no_options() {
        for good in
            ["https://h/a/b", "http://h/b.git", "ssh://git@h/b", "git@h:a/b.git", "git://h/b", "/srv/b"]
        {
            assert!(RepoUrl::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-u",
            "--upload-pack=x",
            "ext::sh -c x",
            "ftp://h/b",
            "x::y",
            "ssh://-oProxy/b",
            "a/b",
            "h\n",
            "http://u:p@h/b",
        ] {
            assert!(RepoUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn relative_links_are_joined_as_git_does() {
        let table = [
            ("https://h/o/r.git", "../s.git", Some("https://h/o/s.git")),
            ("https://h/o/r.git/", "../../p/s", Some("https://h/p/s")),
            ("https://h/o/r.git", "./s", Some("https://h/o/r.git/s")),
            ("https://h/o/r", "../../../s", None),
            ("git@h:o/r.git", "../s.git", Some("git@h:o/s.git")),
            ("git@h:r.git", "../s.git", Some("git@h:s.git")),
            ("https://h/o/r", "https://other/s", Some("https://other/s")),
        ];
        for (parent, text, expected) in table {
            assert_eq!(join(parent, text).as_deref(), expected, "{parent} + {text}");
        }
    }

    #[test]
    fn a_remote_repository_cannot_name_a_local_one() {
        let parent = RepoUrl::parse("https://h/o/r").unwrap();
        for bad in ["file:///etc/x", "/etc/x", "-x", "ext::x"] {
            assert!(parent.submodule(bad).is_err(), "{bad}");
        }
        assert!(RepoUrl::parse("/srv/r").unwrap().submodule("../s").is_ok());
    }

    #[test]
    fn passwords_are_not_shown_and_do_not_split_the_cache() {
        let url = RepoUrl::parse("https://me:s3cr3t@h/o/r.git").unwrap();
        assert_eq!(url.shown(), "https://h/o/r.git");
        assert_eq!(url.cache_name(), RepoUrl::parse("https://h/o/r").unwrap().cache_name());
        assert_ne!(url.cache_name(), RepoUrl::parse("https://h/other/r").unwrap().cache_name());
        assert_eq!(redact("get (https://a:b@h/x) and `ssh://u@h`"), "get (https://h/x) and `ssh://h`");
    }
}
