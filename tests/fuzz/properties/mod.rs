//! What holds for every input that others write, whatever its bytes: it is read without a panic, and what is
//! wrong with it is said shortly and with its place. Used by the fuzz targets beside this directory and by the
//! properties of `make test`, so that the two cannot drift apart. `files` stands beside this module, since it needs
//! the daemon and the rest does not.

mod spec;
pub(crate) mod texts;

/// Longest error that any of these inputs may lead to, in bytes.
const LONGEST_ERROR: usize = 2000;

/// Checks an error that is told to whoever wrote the input.
pub(crate) fn is_short(error: &str) {
    assert!(!error.is_empty() && error.len() <= LONGEST_ERROR, "an error of {} bytes: {error}", error.len());
}
