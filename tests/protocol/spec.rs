//! Helpers of the spec tests.

use proto::Spec;
use proto::spec::{Diagnostic, Parsed, Severity};
use serde_json::{Value, json};

/// Reads a spec called `x`.
pub(crate) fn parse(text: &str) -> Parsed {
    proto::spec::parse(text, "x.json", "x")
}

/// The smallest spec, with `fields` added or replaced; null takes a field away.
pub(crate) fn with(fields: Value) -> String {
    let mut spec = json!({"schema_version": 2, "comfy": {"repo": "https://git.example/comfy/ComfyUI"}});
    let Value::Object(fields) = fields else { panic!("no object") };
    let whole = spec.as_object_mut().unwrap();
    whole.extend(fields);
    whole.retain(|_, value| !value.is_null());
    spec.to_string()
}

/// Reads a spec that must be free of findings.
pub(crate) fn clean(fields: Value) -> Spec {
    let text = with(fields);
    let parsed = parse(&text);
    assert_eq!(shown(&parsed), Vec::<String>::new(), "{text}");
    parsed.spec.unwrap()
}

/// Reads a spec that must work with exactly one warning, for `field`, that says `says`.
pub(crate) fn warned(fields: Value, field: &str, says: &str) -> Spec {
    let text = with(fields);
    let parsed = parse(&text);
    assert_only(&parsed.diagnostics, Severity::Warning, field, says, &text);
    parsed.spec.unwrap()
}

/// Reads a spec that must be refused with exactly one error, for `field`, that says `says` in its message
/// or its hint.
pub(crate) fn refused(fields: Value, field: &str, says: &str) {
    let text = with(fields);
    let parsed = parse(&text);
    assert_only(&parsed.diagnostics, Severity::Error, field, says, &text);
    assert!(parsed.spec.is_none());
}

fn assert_only(found: &[Diagnostic], severity: Severity, field: &str, says: &str, text: &str) {
    let [one] = found else { panic!("{text}: {found:#?}") };
    assert_eq!((one.severity, one.field.as_str()), (severity, field), "{text}: {one}");
    assert!(one.to_string().contains(says), "{text}: `{one}` does not say `{says}`");
    assert!(one.hint.as_ref().is_some_and(|hint| !hint.is_empty()), "{one} has no remedy");
}

/// All findings, as people see them.
pub(crate) fn shown(parsed: &Parsed) -> Vec<String> {
    let severity = |finding: &Diagnostic| match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    parsed.diagnostics.iter().map(|finding| format!("{} {finding}", severity(finding))).collect()
}
