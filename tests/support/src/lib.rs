//! Test environment of comfyd and doubles of every outside thing.

pub mod script_daemon;
