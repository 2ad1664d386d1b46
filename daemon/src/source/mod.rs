//! Where the parts of a version come from.

pub mod python;
