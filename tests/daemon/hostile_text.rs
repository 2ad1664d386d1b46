//! Everything that others write, as any bytes and as almost right: see `tests/fuzz/properties`.

#[path = "../fuzz/properties/files.rs"]
mod files;
#[path = "../fuzz/properties/mod.rs"]
mod properties;

use properties::texts;
use proptest::prelude::*;
use std::fmt::Write as _;

/// An input by name, and the check of what holds for it.
type Property = (&'static str, fn(&[u8]));

const ALL: [Property; 8] = [
    ("frame", texts::frame),
    ("spec", texts::spec),
    ("lock", texts::lock),
    ("source", texts::source),
    ("workflow", files::workflow),
    ("requirements", files::requirements),
    ("pyproject", files::pyproject),
    ("safetensors", files::safetensors),
];

/// Pieces that the formats are made of.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\u12",
    "\n",
    "\\\n",
    " ",
    "#",
    "\u{0}",
    "\u{feff}",
    "null",
    "-1",
    "1e999",
    "18446744073709551616",
    "\"jsonrpc\":\"2.0\"",
    "\"id\":1",
    "\"id\":\"a\"",
    "\"method\":\"run\"",
    "\"params\":{}",
    "\"schema_version\":2",
    "\"comfy\":{\"repo\":\"https://h.example/a\"}",
    "\"models\":[",
    "\"class_type\":\"X\"",
    "\"inputs\":{}",
    "\"1\":",
    "\"nodes\":[]",
    "\"data_offsets\":[0,4]",
    "\"__metadata__\":{}",
    "hf://",
    "civitai://",
    "urn:air:sdxl:model:",
    "https://u:p@h.example/x?token=s#f",
    "s3://b/",
    "file:///",
    "../",
    "%2e%2e",
    "%00",
    "@main",
    "-r ",
    "-c ",
    "-e ",
    "--index-url ",
    "--hash=sha256:0",
    "torch==1",
    "tiny[x]>=1;python_version<'3'",
    "name @ ",
    "git+https://h.example/x@v1",
    "./x.whl",
    "${HOME}",
    "[project]",
    "dependencies = [",
    "'a>=1'",
    "requires-python = ",
    "\"\"\"",
    "[tool.uv]",
];

fn almost_right() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(PIECES), 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        for (_, check) in ALL {
            check(&data);
        }
    }

    #[test]
    fn almost_right_texts_are_read(text in almost_right()) {
        for (_, check) in ALL {
            check(text.as_bytes());
        }
    }
}

/// Long and deep texts are read in time and memory that grow with their length.
#[test]
fn long_and_deep_texts_are_read() {
    let mut wide = "{".to_owned();
    for at in 0..20_000 {
        write!(wide, "\"{at}\":{{\"class_type\":\"X\",\"data_offsets\":[0,{at}]}},").unwrap();
    }
    wide.push_str("\"last\":{\"class_type\":\"X\",\"data_offsets\":[0,1]}}");
    let texts = [
        wide,
        "[".repeat(500_000),
        "{\"a\":".repeat(200_000),
        format!("\"{}", "x".repeat(1_000_000)),
        "tiny\\\n".repeat(100_000),
        "-r a/../".repeat(100_000),
        "a = [".repeat(100_000),
        format!("hf://{}", "a/".repeat(100_000)),
        "tiny>=1,".repeat(50_000),
    ];
    for text in &texts {
        for (name, check) in ALL {
            let begun = std::time::Instant::now();
            check(text.as_bytes());
            let took = begun.elapsed();
            assert!(took.as_secs() < 20, "{name}: {took:?} for {} bytes of `{}…`", text.len(), &text[..8]);
        }
    }
}
