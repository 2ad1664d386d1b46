//! The disk: where everything lies and whether it is there, locks between processes, publication.

pub mod commit;
pub mod flock;
