//! Kinds of failure. One kind has one JSON-RPC code and one exit status, on every verb.

use crate::spec::Diagnostic;
use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $name:ident = $exit:literal, $code:literal;)*) => {
        /// What kind of thing went wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorKind { $($(#[doc = $doc])* $name,)* }

        impl ErrorKind {
            /// All kinds, in the order of their exit status.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the JSON-RPC error code.
            pub fn code(self) -> i64 {
                match self { $(Self::$name => $code,)* }
            }

            /// Returns the exit status of a command that failed this way.
            pub fn exit_status(self) -> u8 {
                match self { $(Self::$name => $exit,)* }
            }

            /// Returns what it means, for people: a sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim_ascii(),)* }
            }

            /// Returns the kind of a JSON-RPC error code; unknown codes are internal errors.
            pub fn from_code(code: i64) -> Self {
                match code { $($code => Self::$name,)* _ => Self::Internal }
            }
        }
    };
}

kinds! {
    /// A test ran and something did not pass.
    TestFailed = 1, -32001;
    /// The command line or the parameters of a call are wrong.
    Usage = 2, -32602;
    /// The spec has errors.
    Spec = 3, -32003;
    /// There is no such version, file, ref or commit.
    NotFound = 4, -32004;
    /// Two demands contradict each other: requirements, or two versions in one home.
    Conflict = 5, -32005;
    /// A host could not be reached or answered wrongly.
    Network = 6, -32006;
    /// A host refused access: a token is missing or lacks rights.
    Access = 7, -32007;
    /// A disk is full, read-only, or refuses.
    Disk = 8, -32008;
    /// Someone else holds what is needed, and the wait ran out.
    Busy = 9, -32009;
    /// Needed, not cached, and offline.
    Offline = 10, -32010;
    /// git, uv or Python is absent or failed.
    Toolchain = 11, -32011;
    /// ComfyUI did not start or died.
    Instance = 12, -32012;
    /// ComfyUI refused the workflow.
    Workflow = 13, -32013;
    /// The workflow failed while it ran.
    Execution = 14, -32014;
    /// A deadline passed.
    Timeout = 15, -32015;
    /// The other side does not speak this protocol.
    Protocol = 16, -32600;
    /// The daemon is not reachable and could not be started.
    Unavailable = 17, -32017;
    /// A bug in comfyd.
    Internal = 70, -32603;
    /// The user or the daemon's shutdown stopped it.
    Cancelled = 130, -32800;
}

/// JSON-RPC code for a line that is not JSON.
pub const PARSE_ERROR: i64 = -32700;
/// JSON-RPC code for an unknown verb.
pub const METHOD_NOT_FOUND: i64 = -32601;

/// Longest excerpt, in characters, of what others wrote.
const MAX_EXCERPT: usize = 200;

/// Shortens what others wrote, for an error that shows it.
pub fn excerpt(text: &str) -> String {
    match text.char_indices().nth(MAX_EXCERPT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What a failed call tells beyond its message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorData {
    /// The kind.
    pub kind: ErrorKind,
    /// The chain of causes, outermost first, without the message itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Findings in a spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
    /// More lines that explain it: validation errors of each node, the end of a log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_kind_has_its_own_code_and_exit_status() {
        let codes: HashSet<i64> = ErrorKind::ALL.iter().map(|k| k.code()).collect();
        let statuses: HashSet<u8> = ErrorKind::ALL.iter().map(|k| k.exit_status()).collect();
        assert_eq!(codes.len(), ErrorKind::ALL.len());
        assert_eq!(statuses.len(), ErrorKind::ALL.len());
        assert!(!statuses.contains(&0));
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_code(kind.code()), *kind);
        }
    }
}
