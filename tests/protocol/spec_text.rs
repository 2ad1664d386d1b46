//! Text that is no JSON, or too much of it: one diagnostic, at the right place.

use crate::spec::{parse, with};
use proto::spec::Severity;
use serde_json::json;

#[test]
fn text_that_is_not_json_gives_one_error_with_its_place() {
    let table = [
        ("", 1, 1),
        ("   \n  ", 2, 2),
        ("{\n  \"a\": 1,\n}", 2, 9),
        ("{\n  // comment\n}", 2, 3),
        ("/* c */ {}", 1, 1),
        ("{'a': 1}", 1, 2),
        ("{a: 1}", 1, 2),
        ("{\"a\": 0x10}", 1, 7),
        ("{\"a\": +1}", 1, 7),
        ("{\"a\": 01}", 1, 8),
        ("{\"a\": tru}", 1, 7),
        ("{\"a\": NaN}", 1, 7),
        ("{\"a\" 1}", 1, 6),
        ("{\"a\": 1 \"b\": 2}", 1, 8),
        ("{\"ы\": \"ы\", ы}", 1, 12),
        ("{} {}", 1, 4),
        ("[1,,2]", 1, 4),
        ("{\"a\": \"\\x\"}", 1, 8),
        ("{\"a\": \"\\ud800\"}", 1, 8),
        ("{\"a\": \"unfinished", 1, 7),
        ("{\"a\": [", 1, 7),
        ("{\"a\": \"tab\there\"}", 1, 11),
        ("{\"a\":\u{a0}1}", 1, 6),
        ("\"a\": 1", 1, 4),
    ];
    for (text, line, column) in table {
        let found = parse(text).diagnostics;
        let [one] = found.as_slice() else { panic!("{text:?}: {found:#?}") };
        assert_eq!((one.line, one.column), (line, column), "{text:?}: {one}");
        assert!(one.message.starts_with("not JSON: "), "{text:?}: {one}");
        assert_eq!((one.severity, one.field.as_str()), (Severity::Error, ""));
    }
}

#[test]
fn json_that_is_no_object_is_refused() {
    for text in ["1", "\"a\"", "[]", "null", "true"] {
        let found = parse(text).diagnostics;
        assert!(found.len() == 1 && found[0].message.starts_with("expected an object"), "{text}: {found:?}");
    }
}

#[test]
fn deep_nesting_is_refused_before_it_costs_a_stack() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    for text in [nested(100_000), "[".repeat(100_000), "{\"a\":".repeat(100_000), nested(65)] {
        let found = parse(&text).diagnostics;
        assert!(found.len() == 1 && found[0].message.starts_with("more than 64 levels"), "{found:?}");
    }
    assert!(parse(&nested(64)).diagnostics[0].message.starts_with("expected an object"));
    // Brackets in texts do not nest.
    let text = with(json!({"env": {"A": "[\\\"{".repeat(100)}}));
    assert!(parse(&text).spec.is_some());
}

#[test]
fn long_files_are_refused() {
    let found = parse(&" ".repeat((4 << 20) + 1)).diagnostics;
    assert!(found.len() == 1 && found[0].message.contains("4194305 bytes"), "{found:?}");
}

#[test]
fn a_flood_of_findings_is_cut() {
    let text = with(json!({"models": vec![json!({}); 50_000]}));
    let found = parse(&text).diagnostics;
    assert_eq!(found.len(), 1000);
    assert!(found[999].message.contains("more findings are not shown"), "{}", found[999]);
}

#[test]
fn columns_count_characters() {
    let text =
        "{\"schema_version\": 2, \"env\": {\"A\": \"ы😀ы\", \"B\": []}, \"comfy\": {\"repo\": \"/c\"}}";
    let found = parse(text).diagnostics;
    let column = text.chars().collect::<String>().split("[]").next().unwrap().chars().count() + 1;
    assert_eq!((found[0].line, found[0].column, found[0].field.as_str()), (1, column, "env.B"));
}

#[test]
fn a_byte_order_mark_is_no_error() {
    let parsed = parse(&format!("\u{feff}{}", with(json!({}))));
    assert!(parsed.spec.is_some() && parsed.diagnostics.is_empty());
}
