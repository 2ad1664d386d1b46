//! Types that `comfyd` and its clients agree on: what a version asks for, what it was pinned to,
//! what is left to do, and the messages that ask for it.
//!
//! Values flow one way, `Spec` → `Lock` → `Plan`; this crate holds the three and the JSON-RPC
//! messages around them. It does no I/O: it parses text that others have read and describes values
//! that others write.
//!
//! Reading specs and model links takes the feature `parse`. A client that only passes on what the daemon
//! has read does without it, and without the parsers of JSON, URLs, host names and dates: half a megabyte.

#![warn(missing_docs)]

pub mod error;
pub mod event;
pub mod ids;
pub mod lock;
pub mod method;
#[cfg(not(feature = "parse"))]
mod moment;
pub mod picture;
pub mod places;
pub mod plan;
pub mod rpc;
pub mod rung;
#[cfg(feature = "parse")]
pub mod source;
#[cfg(not(feature = "parse"))]
#[path = "source/shown.rs"]
pub mod source;
pub mod spec;

pub use error::{ErrorData, ErrorKind};
pub use ids::{CommitId, NodeDir, RelPath, VersionId};
#[cfg(feature = "parse")]
pub use jiff::Timestamp as Moment;
pub use lock::Lock;
#[cfg(not(feature = "parse"))]
pub use moment::Moment;
pub use plan::Plan;
pub use rung::Rung;
pub use source::ModelSource;
pub use spec::Spec;

/// Number of the protocol. It changes only for a break; what is new gets a name in [`FEATURES`].
pub const PROTOCOL: u32 = 1;

/// Names of the abilities that this build speaks, exchanged in `hello`.
pub const FEATURES: &[&str] = &["progress", "cancel", "rollback", "prefetch", "pin", "doctor"];

/// Longest line, in bytes, that the daemon reads from a client.
pub const MAX_FRAME_BYTES: usize = 1 << 20;
