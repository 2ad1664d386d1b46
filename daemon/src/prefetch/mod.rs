//! Idle time lifts likely versions up the warmth ladder (`proto::Rung`), as far as the budgets allow.

pub mod history;
pub mod predict;
pub mod watch;
