//! The spec as people write it.
