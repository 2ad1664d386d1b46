//! Text → a JSON tree with places, for strict JSON only.
//!
//! The tree comes from a parser for JSON with comments, with every leniency switched off; what it
//! still lets through (control characters, odd white space) is caught by `serde_json`.

use super::report::Problem;
use jsonc_parser::ast::Value;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use serde::de::IgnoredAny;

/// Longest spec, in bytes. The longest one known has 20 KB.
const LONGEST: usize = 4 << 20;

/// Deepest nesting. A spec needs four levels; the parser recurses, so the bound protects its stack.
const DEEPEST: usize = 64;

/// Reads `text` as strict JSON. An error comes with its place, a byte offset.
pub(super) fn read(text: &str) -> Result<Value<'_>, (usize, Problem)> {
    if text.len() > LONGEST {
        let size = text.len();
        return Err((0, Problem::new(format!("the file has {size} bytes"), "a spec has at most 4 MiB")));
    }
    if let Some(at) = too_deep(text) {
        let message = format!("more than {DEEPEST} levels of `{{` and `[`");
        return Err((at, Problem::new(message, "a spec needs four levels")));
    }
    let tree = parse_to_ast(text, &CollectOptions::default(), &strict())
        .map_err(|error| (error.range().start, not_json(&error.kind().to_string())))?;
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        // The empty text ends here too: the tree parser takes it for "no value".
        let message = error.to_string();
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
        // Columns count from 1, except that for a control character they count what stands before it.
        let from_zero = message.starts_with("control character");
        return Err((offset(text, error.line(), error.column() + usize::from(from_zero)), not_json(message)));
    }
    tree.value.ok_or_else(|| (0, not_json("no value")))
}

fn not_json(what: &str) -> Problem {
    let hint =
        "a spec is plain JSON: names and texts in double quotes, no comments, no comma before a `}` or `]`";
    let mut chars = what.chars();
    let what: String = chars.next().into_iter().flat_map(char::to_lowercase).chain(chars).collect();
    Problem::new(format!("not JSON: {what}"), hint)
}

fn strict() -> ParseOptions {
    ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
    }
}

/// Returns where the nesting passes [`DEEPEST`]. Right for all text up to its first JSON error, and the
/// tree parser goes no further than that.
fn too_deep(text: &str) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > DEEPEST {
                    return Some(at);
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// Byte offset of a line (from 1) and a column (in bytes, from 1; 0 stands for the end of the line before).
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let mut at = (start + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
