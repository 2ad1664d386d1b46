//! Tags that name releases: which is the newest, and which belongs to a version's number.

use super::url::RepoUrl;
use super::{Git, GitError, remote};
use crate::ctx::Ctx;

/// A version's number.
pub type Release = (u64, u64, u64);

impl Git {
    /// Lists the names of a repository's tags, without `refs/tags/`.
    ///
    /// # Errors
    /// As [`Git::resolve_ref`].
    pub async fn tags(&self, ctx: &Ctx, url: &str) -> Result<Vec<String>, GitError> {
        let url = RepoUrl::parse(url)?;
        self.with_retries(ctx, &url, None, |cache, url, _control| {
            let repo = cache.open_or_create(url)?;
            let listed = remote::list(&repo, url, &["refs/tags/*".to_owned()])?;
            let short = |full: String| full.strip_prefix("refs/tags/").map(str::to_owned);
            Ok(listed.into_iter().filter_map(|tag| short(tag.name)).collect())
        })
        .await
    }
}

/// Reads a release's number: `1.2.3`, with or without a `v` before it. What has more to it (`1.2.3-rc1`) is none.
pub fn release(text: &str) -> Option<Release> {
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let mut parts = text.split('.').map(|part| {
        let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { part.parse().ok() } else { None }
    });
    let release = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some(release)
}

/// Returns the tag of the newest release.
pub fn newest(tags: &[String]) -> Option<&String> {
    tags.iter().filter(|tag| release(tag).is_some()).max_by_key(|tag| release(tag))
}

/// Returns the tag that names a version: `v1.2.3` or `1.2.3`, by its number; else by its very text.
pub fn tag_of<'a>(tags: &'a [String], version: &str) -> Option<&'a String> {
    let number = release(version);
    let named = tags
        .iter()
        .find(|tag| tag.as_str() == version || tag.strip_prefix('v').is_some_and(|plain| plain == version));
    named.or_else(|| tags.iter().find(|tag| number.is_some() && release(tag) == number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_ordered_by_number() {
        let tags =
            ["v0.3.9", "v0.3.75", "latest", "v0.4.0-rc1", "0.3.8", "v99", "v1.2.3.4"].map(str::to_owned);
        assert_eq!(newest(&tags).map(String::as_str), Some("v0.3.75"));
        assert_eq!(newest(&[]), None);
        assert_eq!(release("18446744073709551616.0.0"), None);
        assert_eq!(release("1..3"), None);
    }

    #[test]
    fn a_version_has_its_tag() {
        let tags = ["v1.2.3", "1.3.0", "v2.0.0-beta"].map(str::to_owned);
        let table = [
            ("1.2.3", Some("v1.2.3")),
            ("v1.2.3", Some("v1.2.3")),
            ("v1.3.0", Some("1.3.0")),
            ("2.0.0-beta", Some("v2.0.0-beta")),
            ("2.0.0", None),
            ("nightly", None),
        ];
        for (version, expected) in table {
            assert_eq!(tag_of(&tags, version).map(String::as_str), expected, "{version}");
        }
    }
}
