//! Samples of `diff`.

use crate::golden::{Golden, golden};
use crate::sample_values::{id, lock, moment, target};
use proto::method::*;

pub(crate) fn all() -> Vec<Golden> {
    let repo = lock().comfy;
    let side = |generation: Option<&str>| DiffSide {
        version_id: id(),
        generation: generation.map(str::to_owned),
        resolved_at: moment(),
    };
    let repository = RepositoryChange {
        name: "ComfyUI".to_owned(),
        old: Some(repo.clone()),
        new: Some(repo),
        commits: Some(CommitCount { added: 41, removed: 2 }),
    };
    let change = |name: &str| Change {
        name: name.to_owned(),
        old: Some("1.26.4".to_owned()),
        new: Some("2.1.0".to_owned()),
    };
    let answer = DiffAnswer {
        old: side(Some("4a5b6c7d")),
        new: side(None),
        repositories: vec![repository],
        python: Some(change("Python")),
        packages: vec![change("numpy")],
        models: vec![change("loras/a.safetensors")],
        settings: vec![change("option extra_args")],
        warnings: vec!["the spec of `wan22` was edited".to_owned()],
    };
    let diff = Diff { old: target(), new: Some("wan22@current".to_owned()), offline: true };
    vec![golden("diff", &diff), golden("diff_answer", &answer)]
}
