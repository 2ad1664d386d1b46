#![no_main]

#[path = "../properties/mod.rs"]
#[allow(dead_code, reason = "each target has one of them")]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::texts::frame(data));
