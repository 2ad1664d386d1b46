#![no_main]

#[path = "../properties/files.rs"]
#[allow(dead_code, reason = "each target has one of them")]
mod files;
#[path = "../properties/mod.rs"]
#[allow(dead_code, reason = "only a part is needed here")]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| files::workflow(data));
