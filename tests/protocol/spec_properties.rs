//! What holds for any text and any spec.

use crate::repository;
use proptest::prelude::*;
use proto::ModelSource;
use spec::check;

#[path = "../fuzz/properties/spec.rs"]
mod spec;

fn seeds() -> Vec<String> {
    let folders = ["versions", "tests/protocol/specs"];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(repository(folder)).unwrap());
    let paths = files.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect()
}

/// Pieces that JSON and specs are made of.
fn piece() -> impl Strategy<Value = String> {
    let fixed = proptest::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\u12",
        "\\ud83d\\ude00",
        "null",
        "true",
        "-",
        "1e9",
        "\n",
        "//",
        "/*",
        "'",
        "\u{feff}",
        "\0",
        "ы",
        "\"repo\":",
        "\"commit\":",
        "\"models\":",
        "$MODELS_DIR/",
        "..",
        "hf://",
        "civitai://models/",
        "%",
        "%00",
        "@",
        "#",
        "?",
        "https://",
        "::",
        "-x",
        "2025-11-30",
    ]);
    prop_oneof![4 => fixed.prop_map(str::to_owned), 1 => any::<String>()]
}

/// One spec with up to eight cuts, each with a piece put into it.
fn mutated() -> impl Strategy<Value = String> {
    let cuts = proptest::collection::vec((any::<prop::sample::Index>(), 0..4_usize, piece()), 0..8);
    (proptest::sample::select(seeds()), cuts).prop_map(|(mut text, cuts)| {
        for (at, removed, piece) in cuts {
            let mut chars: Vec<char> = text.chars().collect();
            let start = at.index(chars.len() + 1);
            let end = (start + removed).min(chars.len());
            chars.splice(start..end, piece.chars());
            text = chars.into_iter().collect();
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn any_heap_of_pieces_is_read_or_refused(pieces in proptest::collection::vec(piece(), 0..60)) {
        check(&pieces.concat());
    }

    #[test]
    fn any_mutated_spec_is_read_or_refused(text in mutated()) {
        check(&text);
    }

    #[test]
    fn a_canonical_link_is_its_own_canonical_form(
        scheme in proptest::sample::select(vec![
            "hf://o/r/", "hf://o/r@", "https://h.example/", "https://huggingface.co/o/r/resolve/", "file:///", "/",
            "civitai://api/download/models/7?", "https://civitai.com/",
        ]),
        pieces in proptest::collection::vec(piece(), 0..6),
    ) {
        if let Ok(source) = ModelSource::parse(&format!("{scheme}{}", pieces.concat())) {
            let again = ModelSource::parse(source.as_str()).unwrap();
            prop_assert_eq!(again.as_str(), source.as_str());
            prop_assert_eq!(again.location(), source.location());
            let shown = source.without_secrets();
            prop_assert_eq!(&shown.without_secrets(), &shown);
        }
    }
}
