//! Which commit a name stands for. Pure: the server's list of refs is a parameter.

use super::error::GitError;
use super::url::RepoUrl;
use proto::CommitId;

/// A name of a repository, pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedRef {
    /// The commit; annotated tags are peeled.
    pub commit: CommitId,
    /// The full name, such as `refs/heads/main`; `HEAD` where no name was given and the server does
    /// not say which branch that is.
    pub name: String,
    /// What the user should know about the choice.
    pub warning: Option<String>,
}

/// A ref as a server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// Full name.
    pub(super) name: String,
    /// The branch that a symbolic ref stands for.
    pub(super) target: Option<String>,
    /// What it points to, tags peeled.
    pub(super) object: String,
}

/// Returns the full names that `git_ref` may stand for, the preferred one first.
pub(super) fn candidates(url: &RepoUrl, git_ref: Option<&str>) -> Result<Vec<String>, GitError> {
    let names = match git_ref {
        None | Some("HEAD") => return Ok(vec!["HEAD".to_owned()]),
        Some(full) if full.starts_with("refs/") => vec![full.to_owned()],
        Some(short) => vec![format!("refs/heads/{short}"), format!("refs/tags/{short}")],
    };
    // A name that git does not allow can be no ref; as part of a refspec it could mean something else.
    if names.iter().any(|name| gix::validate::reference::name(name.as_str().into()).is_err()) {
        return Err(unknown(url, git_ref, &[]));
    }
    Ok(names)
}

/// Chooses among the listed refs. Names count only as a whole: `refs/heads/x/main` is not `main`.
pub(super) fn choose(
    url: &RepoUrl,
    git_ref: Option<&str>,
    listed: &[Listed],
) -> Result<Option<ResolvedRef>, GitError> {
    let names = candidates(url, git_ref)?;
    let mut found = names.iter().filter_map(|name| listed.iter().find(|r| r.name == *name));
    let Some(first) = found.next() else { return Ok(None) };
    let Ok(commit) = CommitId::new(first.object.clone()) else { return Ok(None) };
    let warning = found.next().filter(|second| second.object != first.object).map(|second| {
        format!(
            "`{}` is a branch and a tag of `{}`: the branch is used; write `{}` for the tag",
            git_ref.unwrap_or_default(),
            url.shown(),
            second.name
        )
    });
    let name = first.target.clone().unwrap_or_else(|| first.name.clone());
    Ok(Some(ResolvedRef { commit, name, warning }))
}

/// Returns the error for a name that the server does not have; `listed` holds all its branches and tags.
pub(super) fn unknown(url: &RepoUrl, git_ref: Option<&str>, listed: &[Listed]) -> GitError {
    let (shown, Some(name)) = (url.shown().to_owned(), git_ref) else {
        return GitError::Empty(url.shown().to_owned());
    };
    let name = name.escape_debug().to_string();
    if (7..40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_hexdigit()) {
        return GitError::Abbreviated { url: shown, name };
    }
    GitError::UnknownRef { url: shown, similar: similar(&name, listed), name }
}

/// Returns the few names that are most like `name`.
fn similar(name: &str, listed: &[Listed]) -> Vec<String> {
    let short = |full: &str| -> String {
        let short = full.strip_prefix("refs/heads/").or(full.strip_prefix("refs/tags/"));
        short.unwrap_or(full).to_owned()
    };
    let wanted = short(name).to_lowercase();
    let mut scored: Vec<(f64, String)> = listed
        .iter()
        .map(|r| short(&r.name))
        .map(|short| (strsim::jaro_winkler(&wanted, &short.to_lowercase()), short))
        .filter(|(score, _)| *score > 0.75)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    scored.dedup_by(|a, b| a.1 == b.1);
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(refs: &[(&str, char)]) -> Vec<Listed> {
        let listed = |&(name, digit): &(&str, char)| {
            let object = digit.to_string().repeat(40);
            Listed { name: name.to_owned(), target: None, object }
        };
        refs.iter().map(listed).collect()
    }

    fn url() -> RepoUrl {
        RepoUrl::parse("https://h/o/r").unwrap()
    }

    fn chosen(git_ref: Option<&str>, refs: &[(&str, char)]) -> Option<(String, bool)> {
        let chosen = choose(&url(), git_ref, &listed(refs)).unwrap()?;
        Some((chosen.commit.as_str()[..1].to_owned(), chosen.warning.is_some()))
    }

    #[test]
    fn names_count_as_a_whole() {
        let refs =
            [("refs/heads/x/main", '1'), ("refs/heads/main2", '2'), ("refs/tags/v1", '3'), ("HEAD", '4')];
        assert_eq!(chosen(Some("main"), &refs), None);
        assert_eq!(chosen(Some("x/main"), &refs), Some(("1".into(), false)));
        assert_eq!(chosen(Some("v1"), &refs), Some(("3".into(), false)));
        assert_eq!(chosen(Some("refs/tags/v1"), &refs), Some(("3".into(), false)));
        assert_eq!(chosen(None, &refs), Some(("4".into(), false)));
    }

    #[test]
    fn a_branch_wins_over_a_tag_and_the_user_is_told() {
        let refs = [("refs/tags/a", '1'), ("refs/heads/a", '2')];
        assert_eq!(chosen(Some("a"), &refs), Some(("2".into(), true)));
        assert_eq!(chosen(Some("refs/tags/a"), &refs), Some(("1".into(), false)));
        assert_eq!(
            chosen(Some("a"), &[("refs/tags/a", '1'), ("refs/heads/a", '1')]),
            Some(("1".into(), false))
        );
    }

    #[test]
    fn the_error_says_what_was_meant() {
        let refs = listed(&[("refs/heads/master", '1'), ("refs/tags/v1.2.0", '1'), ("refs/heads/dev", '1')]);
        let hint = |name| unknown(&url(), Some(name), &refs).hint();
        assert_eq!(hint("mastr").as_deref(), Some("did you mean `master`?"));
        assert_eq!(hint("v1.2"), Some("did you mean `v1.2.0`?".to_owned()));
        assert_eq!(hint("abcdef1").as_deref(), Some("write all 40 digits of the commit"));
        assert!(matches!(unknown(&url(), None, &[]), GitError::Empty(_)));
    }

    #[test]
    fn names_that_git_forbids_never_reach_a_refspec() {
        for bad in ["a:b", "+a", "a b", "a..b", "-", "*", "", "refs/", "a\0"] {
            let names = candidates(&url(), Some(bad));
            assert!(names.is_err() || bad == "-" || bad == "+a", "{bad}: {names:?}");
        }
    }
}
