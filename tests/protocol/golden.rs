//! Golden files: one message each, as it stands on the wire or on disk.
//!
//! A golden is never edited, since old clients and old locks hold what it holds. `UPDATE=1` writes
//! those that are missing. When a type grows a field, its sample gets a new name and the old name
//! goes into `samples::old`, where it is still read and must lose nothing.

use crate::{repository, samples, update};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// One golden file and the type it belongs to.
pub(crate) struct Golden {
    name: &'static str,
    type_name: &'static str,
    /// What the type writes today; none for a message of an earlier build.
    sample: Option<String>,
    reread: fn(&str) -> serde_json::Result<String>,
}

/// A golden that holds exactly `sample`.
pub(crate) fn golden<T: Serialize + DeserializeOwned>(name: &'static str, sample: &T) -> Golden {
    let sample = serde_json::to_string_pretty(&sample).unwrap() + "\n";
    Golden { sample: Some(sample), ..old::<T>(name) }
}

/// A golden of an earlier build.
pub(crate) fn old<T: Serialize + DeserializeOwned>(name: &'static str) -> Golden {
    let reread = |text: &str| serde_json::to_string(&serde_json::from_str::<T>(text)?);
    Golden { name, type_name: std::any::type_name::<T>(), sample: None, reread }
}

impl Golden {
    fn text(&self) -> String {
        let path = repository("tests/protocol/golden").join(format!("{}.json", self.name));
        match (path.exists(), &self.sample) {
            (false, Some(sample)) if update() => std::fs::write(&path, sample).unwrap(),
            (true, _) => {}
            (false, _) => panic!("{} is missing: write it with UPDATE=1", path.display()),
        }
        std::fs::read_to_string(path).unwrap()
    }

    fn reread(&self, text: &str) -> Value {
        let written = (self.reread)(text).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        value(&written)
    }
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn messages_are_written_as_their_goldens() {
    for golden in samples::all() {
        let text = golden.text();
        if let Some(sample) = &golden.sample {
            assert_eq!(value(sample), value(&text), "{}", golden.name);
        }
    }
}

#[test]
fn goldens_are_read_and_written_back_without_loss() {
    for golden in samples::all() {
        let text = golden.text();
        assert_keeps(&value(&text), &golden.reread(&text), golden.name);
    }
}

/// Everything in `golden` is in `written`, too; what is new since may stand beside it.
fn assert_keeps(golden: &Value, written: &Value, at: &str) {
    match (golden, written) {
        (Value::Object(golden), Value::Object(written)) => {
            for (name, value) in golden {
                let kept = written.get(name).unwrap_or_else(|| panic!("{at}.{name} got lost"));
                assert_keeps(value, kept, &format!("{at}.{name}"));
            }
        }
        (Value::Array(golden), Value::Array(written)) if golden.len() == written.len() => {
            for (index, (golden, written)) in golden.iter().zip(written).enumerate() {
                assert_keeps(golden, written, &format!("{at}[{index}]"));
            }
        }
        _ => assert_eq!(golden, written, "{at}"),
    }
}

#[test]
fn unknown_fields_are_ignored() {
    for golden in samples::all() {
        let text = golden.text();
        let mut later = value(&text);
        add_unknown_fields(&mut later);
        assert_eq!(golden.reread(&later.to_string()), golden.reread(&text), "{}", golden.name);
    }
}

/// Fields whose value is free: a map by name, a value that is passed through, or an enum with data, whose
/// one field is the variant's name.
const FREE: &[&str] =
    &["env", "environment", "places", "params", "result", "workflow", "value", "exclude_newer", "figures"];

fn add_unknown_fields(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                if !FREE.contains(&name.as_str()) {
                    add_unknown_fields(value);
                }
            }
            // A lone one of these is a variant: of `ExcludeNewer`, of `InputSource`.
            let variants = ["at", "path", "data", "url"];
            if !variants.iter().any(|variant| fields.keys().eq([variant])) {
                fields.insert("a_field_of_tomorrow".to_owned(), json!({"deep": [1, null]}));
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(add_unknown_fields),
        _ => {}
    }
}

#[test]
fn every_golden_file_is_read() {
    let names: Vec<&str> = samples::all().iter().map(|golden| golden.name).collect();
    let distinct: BTreeSet<String> = names.iter().map(|name| format!("{name}.json")).collect();
    assert_eq!(distinct.len(), names.len(), "two goldens have one name");
    let files: BTreeSet<String> = std::fs::read_dir(repository("tests/protocol/golden"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files.difference(&distinct).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// Looks into the sources: each verb has a golden of its parameters and of its answer, and each enum one
/// that lists its variants.
#[test]
fn every_message_type_has_a_golden() {
    let mut needed = BTreeSet::new();
    let rooms = ["error", "event", "lock", "plan", "rpc", "spec/mod", "spec/diagnostic"];
    let mut files = rooms.map(|room| repository(&format!("proto/src/{room}.rs"))).to_vec();
    files.extend(std::fs::read_dir(repository("proto/src/method")).unwrap().map(|verb| verb.unwrap().path()));
    for file in files {
        let source = std::fs::read_to_string(file).unwrap();
        for line in source.lines().map(str::trim_start) {
            if let Some(name) = line.strip_prefix("pub enum ") {
                needed
                    .insert(format!("Vec<{}>", name.trim_end_matches([' ', '{']).split(' ').next().unwrap()));
            }
            if let Some(verb) = line.strip_prefix("method!(").and_then(|line| line.strip_suffix(");")) {
                let mut parts = verb.split(", ");
                let params = parts.next().unwrap().to_owned();
                needed.extend([params, parts.last().unwrap().to_owned()]);
            }
        }
    }
    for type_name in
        ["Message", "RpcError", "CancelParams", "ProgressEvent", "ErrorData", "Lock", "Plan", "Spec"]
    {
        needed.insert(type_name.to_owned());
    }
    let there: BTreeSet<String> = samples::all().iter().map(|golden| short(golden.type_name)).collect();
    assert_eq!(needed.difference(&there).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// `alloc::vec::Vec<proto::error::ErrorKind>` → `Vec<ErrorKind>`.
fn short(type_name: &str) -> String {
    type_name.split('<').map(|part| part.rsplit("::").next().unwrap()).collect::<Vec<_>>().join("<")
}
