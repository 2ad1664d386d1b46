//! NVIDIA's management library, for machines without a GPU: a shared library with the driver's names, for
//! `LD_LIBRARY_PATH`.

use std::path::Path;
use std::process::Command;

/// Builds the library into `dir`, with the C compiler that Rust links with too. Its two GPUs have 16 GiB
/// each, of which 12 and 13 are free.
pub fn build(dir: &Path) {
    std::fs::create_dir_all(dir).expect("a directory can be made");
    let source = dir.join("nvml.c");
    std::fs::write(&source, include_str!("nvml.c")).expect("a file can be written");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(dir.join("libnvidia-ml.so.1"))
        .arg(&source)
        .status()
        .expect("`cc` is there, as for every Rust program");
    assert!(built.success(), "the library does not build");
}
