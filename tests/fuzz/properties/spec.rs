//! What holds for every text that is read as a spec.

use proto::Spec;
use proto::spec::Severity;
use serde_json::Value;

/// What always holds, whatever the text.
pub(crate) fn check(text: &str) {
    let parsed = proto::spec::parse(text, "versions/v.json", "v");
    let lines: Vec<&str> = text.split('\n').collect();
    let mut reached = (0, 0);
    for finding in &parsed.diagnostics {
        let line = lines.get(finding.line - 1).unwrap_or_else(|| panic!("{finding} is behind the end"));
        assert!((1..=line.chars().count() + 1).contains(&finding.column), "{finding} is behind its line");
        assert!(reached <= (finding.line, finding.column), "{finding} is out of order");
        reached = (finding.line, finding.column);
    }
    let not_json = parsed.diagnostics.iter().any(|finding| finding.message.starts_with("not JSON"));
    let strict = serde_json::from_str::<Value>(text.strip_prefix('\u{feff}').unwrap_or(text));
    assert!(!not_json || strict.is_err(), "{text:?} is JSON, but refused: {:?}", parsed.diagnostics);
    let errors = parsed.diagnostics.iter().any(|finding| finding.severity == Severity::Error);
    assert_eq!(parsed.spec.is_none(), errors);
    if let Some(spec) = parsed.spec {
        let written = serde_json::to_string(&spec).unwrap();
        let read: Spec = serde_json::from_str(&written).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), written);
        // Links lose their signatures when they are written; all else comes back.
        let mut shown = spec.clone();
        shown.models.iter_mut().for_each(|model| model.source = model.source.without_secrets());
        assert_eq!(read, shown);
    }
}
