//! JSON as Python writes it.

use serde::de::DeserializeOwned;
use std::borrow::Cow;

/// Reads JSON as Python's `json.dumps` writes it: `NaN`, `Infinity` and `-Infinity`, which JSON has no
/// words for, become null. ComfyUI sends them wherever a node has an input without a bound.
pub(super) fn parse<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    serde_json::from_str(text).or_else(|error| match without_specials(text) {
        Cow::Borrowed(_) => Err(error),
        Cow::Owned(text) => serde_json::from_str(&text),
    })
}

fn without_specials(text: &str) -> Cow<'_, str> {
    let mut kept = String::new();
    let (mut copied, mut at, mut in_string) = (0, 0, false);
    let bytes = text.as_bytes();
    while let Some(byte) = bytes.get(at) {
        let word = ["NaN", "Infinity", "-Infinity"]
            .into_iter()
            .find(|word| !in_string && bytes[at..].starts_with(word.as_bytes()));
        if let Some(word) = word {
            kept.push_str(&text[copied..at]);
            kept.push_str("null");
            at += word.len();
            copied = at;
            continue;
        }
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => at += 1,
            _ => {}
        }
        at += 1;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    kept.push_str(&text[copied..]);
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn python_s_numbers_become_null_and_texts_stay() {
        let text = r#"{"max": Infinity, "min": -Infinity, "x": [NaN], "s": "NaN \" Infinity ж", "k": 1}"#;
        let value: Value = parse(text).unwrap();
        assert_eq!(value, json!({"max": null, "min": null, "x": [null], "s": "NaN \" Infinity ж", "k": 1}));
    }

    #[test]
    fn what_is_not_json_stays_an_error() {
        for text in ["", "{", "NaN NaN", "\"\\"] {
            assert!(parse::<Value>(text).is_err(), "{text}");
        }
    }
}
