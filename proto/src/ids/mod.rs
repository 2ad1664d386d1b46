//! Names that were checked once and need no second look: a value of these types is safe to use as
//! a file name or to hand to git.

mod check;

#[cfg(feature = "parse")]
pub(crate) use check::{ref_name as check_ref_name, shown};

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a text is not a valid name. The text says what is wrong and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidName(pub String);

macro_rules! checked_string {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks `text` and wraps it.
            ///
            /// # Errors
            /// Says what is wrong with the text and what is allowed.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidName> {
                let text = text.into();
                $check(&text).map_err(InvalidName)?;
                Ok(Self(text))
            }

            /// Returns the checked text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

checked_string!(
    /// Id of a version: the name of its spec without `.json`. Letters, digits, `.`, `_`, `-`;
    /// starts with a letter or digit; at most 128 bytes.
    VersionId,
    check::version_id
);

checked_string!(
    /// Full id of a git commit: 40 (SHA-1) or 64 (SHA-256) lower-case hex digits.
    CommitId,
    check::commit_id
);

checked_string!(
    /// Name of a directory directly under `ComfyUI/custom_nodes`. ComfyUI looks no deeper.
    NodeDir,
    check::node_dir
);

checked_string!(
    /// Relative path with `/` that stays inside the directory it is joined to.
    RelPath,
    check::rel_path
);

impl CommitId {
    /// Returns the first ten digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..10]
    }
}

impl RelPath {
    /// Returns the last component.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// Returns the first component when there is more than one: the model folder of a target.
    pub fn folder(&self) -> Option<&str> {
        self.0.split_once('/').map(|(first, _)| first)
    }
}
