//! Links to objects in buckets: `s3://…` and `gs://…`.

use super::{InvalidSource, Location, decode, invalid, secrets};
use crate::ids::shown;

const FORM: &str =
    "write `s3://bucket/path/to/object` or `gs://bucket/path/to/object`; special characters as `%xx`";

/// Reads what follows `s3://` or `gs://`: `bucket/key`. `at` makes the location of the two.
pub(super) fn link(
    text: &str,
    at: impl FnOnce(String, String) -> Location,
) -> Result<Location, InvalidSource> {
    if text.contains('?') {
        return invalid(
            "a link into a bucket takes no `?`",
            "credentials are the daemon's own (docs/reference.md, variables); a `?` in a name is written `%3F`",
        );
    }
    let (bucket, key) = text.split_once('/').unwrap_or((text, ""));
    if !is_bucket(bucket) {
        return invalid(format!("`{}` is not the name of a bucket", shown(secrets::bare(bucket))), FORM);
    }
    // A literal pattern is a wish for many files, as in links to Hugging Face.
    if key.contains(['*', '[']) {
        return invalid("the link has a pattern (`*`, `[…]`)", "list each file as a model of its own");
    }
    let key = decode(key)?;
    if key.is_empty() || key.ends_with('/') {
        return invalid(format!("`{}` names no object of the bucket", shown(&key)), FORM);
    }
    // Stores allow such keys, but HTTP clients on the way take `a/../b` for `b`.
    if key.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return invalid(format!("`{}` has an empty or relative part", shown(&key)), FORM);
    }
    if key.chars().any(char::is_control) {
        return invalid("the name has a control character", FORM);
    }
    Ok(at(bucket.to_owned(), key))
}

/// Buckets have 3 to 222 characters. Upper case is left over from early S3, underscores are Google's.
fn is_bucket(name: &str) -> bool {
    let edges = [name.bytes().next(), name.bytes().next_back()];
    (3..=222).contains(&name.len())
        && edges.into_iter().flatten().all(|b| b.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}
