//! Models from hosts that misbehave: the right bytes, or a clear end.

use crate::client::machine;
use serde_json::{Value, json};
use std::fs;
use support::TestEnv;
use support::file_server::{Content, Expired, Fault, Life, Validator, safetensors};

/// More than is asked for with the first request, so that several connections come to it.
const BIG: u64 = 40_000_000;

/// Returns a machine with a version `v` that is realized, and has no model yet.
pub(crate) fn realized() -> TestEnv {
    let env = machine();
    env.write_spec("v", &env.spec());
    env.json(&["realize", "v"]);
    env
}

/// Gives a version models: links and the names that they get in `loras`.
pub(crate) fn wants(env: &TestEnv, version: &str, models: &[(&str, &str)]) {
    let mut spec = env.spec();
    let models =
        models.iter().map(|(link, name)| json!({ "source": link, "target_subdir": "loras", "name": name }));
    spec["models"] = models.collect();
    env.write_spec(version, &spec);
}

/// Asserts that a model has this content.
pub(crate) fn assert_here(env: &TestEnv, name: &str, content: &Content) {
    let path = env.volume("models/loras").join(name);
    assert!(content.equals_file(&path).unwrap(), "{name} has other bytes than the host");
}

/// Serves files, each with faults, and asserts that all of them come as they are. Each is named for its
/// fault.
fn come_whole(env: &TestEnv, size: u64, table: Vec<(&str, Vec<Fault>)>) {
    let mut files = Vec::new();
    for (seed, (name, faults)) in table.into_iter().enumerate() {
        let (path, content) = (format!("/{name}.safetensors"), Content::synthetic(seed as u64, size));
        env.files.put(&path, content.clone());
        env.files.faults(&path, faults);
        files.push((env.files.url(&path), format!("{name}.safetensors"), content));
    }
    let models: Vec<_> = files.iter().map(|(link, name, _)| (link.as_str(), name.as_str())).collect();
    wants(env, "v", &models);
    env.json(&["realize", "v"]);
    for (_, name, content) in &files {
        assert_here(env, name, content);
    }
}

#[test]
fn broken_and_lying_answers_cost_time_and_no_byte() {
    let env = realized();
    let table = vec![
        ("cut", vec![Fault::CutAfter(100_000), Fault::None, Fault::CutAfter(3_000_000), Fault::CutAfter(0)]),
        ("stall", vec![Fault::None, Fault::None, Fault::StallAfter(1000)]),
        ("slow_part", vec![Fault::None, Fault::None, Fault::Trickle(2000)]),
        ("half", vec![Fault::None, Fault::Half, Fault::Half]),
        ("other_start", vec![Fault::None, Fault::OtherStart]),
        ("other_total", vec![Fault::None, Fault::OtherTotal]),
        ("whole_once", vec![Fault::None, Fault::Whole]),
        ("gzip_part", vec![Fault::None, Fault::None, Fault::Gzip]),
        ("page_part", vec![Fault::None, Fault::None, Fault::Page]),
        ("too_long", vec![Fault::None, Fault::LengthOff(1000)]),
        ("busy", vec![Fault::None, Fault::busy(), Fault::busy(), Fault::too_many(Some(0))]),
        ("refused_part", vec![Fault::None, Fault::None, Fault::Status(416, vec![], "")]),
    ];
    come_whole(&env, BIG, table);
}

#[test]
fn hosts_without_parts_give_the_file_in_one_stream() {
    let env = realized();
    for (seed, (name, fault)) in
        [("whole", Fault::Whole), ("chunked", Fault::Chunked), ("half", Fault::Half)].into_iter().enumerate()
    {
        let (path, content) = (format!("/{name}.safetensors"), Content::synthetic(seed as u64, BIG));
        env.files.put(&path, content.clone());
        env.files.always(&path, fault);
        wants(&env, "v", &[(&env.files.url(&path), &format!("{name}.safetensors"))]);
        env.json(&["realize", "v"]);
        assert_here(&env, &format!("{name}.safetensors"), &content);
        assert!(env.files.sent(&path) < 2 * BIG, "{name}: {}", env.files.sent(&path));
    }
}

#[test]
fn files_that_nothing_tells_apart_are_not_joined_wrongly() {
    let env = realized();
    let kinds = [("weak", Validator::Weak), ("dated", Validator::LastModified), ("none", Validator::None)];
    let mut files = Vec::new();
    for (seed, (name, validator)) in kinds.into_iter().enumerate() {
        let (path, old, new) = (
            format!("/{name}.safetensors"),
            Content::synthetic(100 + seed as u64, BIG),
            Content::synthetic(200 + seed as u64, BIG),
        );
        env.files.put(&path, old);
        env.files.validator(&path, validator);
        env.files.faults(&path, [Fault::ChangeAfter(2_000_000, new.clone())]);
        files.push((env.files.url(&path), format!("{name}.safetensors"), new));
    }
    let models: Vec<_> = files.iter().map(|(link, name, _)| (link.as_str(), name.as_str())).collect();
    wants(&env, "v", &models);
    env.json(&["realize", "v"]);
    for (_, name, content) in &files {
        assert_here(&env, name, content);
    }
}

#[test]
fn a_file_that_changes_on_the_way_is_the_new_one_whole() {
    let env = realized();
    let (old, new) = (Content::synthetic(1, BIG), Content::synthetic(2, BIG));
    env.files.put("/m.safetensors", old);
    // The second request is one of several parts, or the rest of the first.
    env.files.faults("/m.safetensors", [Fault::CutAfter(9_000_000), Fault::ChangeAfter(1000, new.clone())]);
    wants(&env, "v", &[(&env.files.url("/m.safetensors"), "m.safetensors")]);
    env.json(&["realize", "v"]);
    assert_here(&env, "m.safetensors", &new);
}

#[test]
fn a_signed_address_that_expires_on_the_way_is_asked_for_again() {
    let env = realized();
    let content = Content::synthetic(3, BIG);
    env.files.put("/stored", content.clone());
    env.files.signed("/stored", Life::Bytes(12_000_000), Expired::Forbidden);
    env.files.always("/m.safetensors", Fault::RedirectSigned("/stored".to_owned()));
    wants(&env, "v", &[(&env.files.url("/m.safetensors"), "m.safetensors")]);
    env.json(&["realize", "v"]);
    assert_here(&env, "m.safetensors", &content);
    let resolved = env.files.seen().iter().filter(|seen| seen.path == "/m.safetensors").count();
    assert!((2..=20).contains(&resolved), "once for each refusal, not for each part: {resolved}");
}

#[test]
fn a_signed_link_of_the_spec_that_expires_keeps_its_parts_for_the_next_one() {
    let env = realized();
    let content = Content::synthetic(4, BIG);
    env.files.put("/m.safetensors", content.clone());
    env.files.signed("/m.safetensors", Life::Bytes(15_000_000), Expired::Forbidden);
    // A signature is looked at when a request begins, so none may bring much.
    env.files.always("/m.safetensors", Fault::CutAfter(3_000_000));
    wants(&env, "v", &[(&env.files.sign("/m.safetensors"), "m.safetensors")]);
    let error = env.error(&["realize", "v"], 7);
    assert!(error["hint"].as_str().unwrap().contains("into the spec"), "{error}");
    assert!(!error.to_string().contains("s1gned"), "{error}");
    let sent = env.files.sent("/m.safetensors");
    env.files.signed("/m.safetensors", Life::Forever, Expired::Forbidden);
    env.files.always("/m.safetensors", Fault::None);
    wants(&env, "v", &[(&env.files.sign("/m.safetensors"), "m.safetensors")]);
    env.json(&["realize", "v"]);
    assert_here(&env, "m.safetensors", &content);
    let more = env.files.sent("/m.safetensors") - sent;
    assert!(sent > 10_000_000 && more < BIG - 10_000_000, "{sent}, then {more}");
}

#[test]
fn a_host_that_says_wait_is_waited_for_and_people_are_told() {
    let env = realized();
    for (name, fault) in
        [("a", Fault::too_many(Some(1))), ("b", Fault::rate_limited(0)), ("c", Fault::too_many(None))]
    {
        let path = format!("/{name}.safetensors");
        env.model(&path);
        env.files.faults(&path, [fault]);
        wants(&env, "v", &[(&env.files.url(&path), &format!("{name}.safetensors"))]);
        let ended = env.comfyctl(&["realize", "v"]);
        assert_eq!(ended.status, Some(0), "{name}: {}", ended.stderr);
        assert!(ended.stderr.contains("attempt 2 of "), "{name}: {}", ended.stderr);
    }
}

#[test]
fn what_is_not_the_model_ends_with_a_reason_and_leaves_no_file() {
    let env = realized();
    env.files.put("/page.safetensors", "");
    env.files.always("/page.safetensors", Fault::Page);
    env.files.put_as("/json.safetensors", "application/json", r#"{"error":"quota"}"#);
    let packed = Content::synthetic(5, 100_000);
    env.files.put("/gzip.safetensors", packed);
    env.files.always("/gzip.safetensors", Fault::Gzip);
    env.files.put("/short.safetensors", safetensors("a file that is longer"));
    env.files.always("/short.safetensors", Fault::LengthOff(-3));
    env.files.always("/busy.safetensors", Fault::busy());
    env.files.always(
        "/denied.safetensors",
        Fault::Status(403, vec![], "<Error><Code>AccessDenied</Code></Error>"),
    );
    env.files.always("/loop.safetensors", Fault::Redirect("/loop.safetensors".to_owned()));
    env.files.always("/away.safetensors", Fault::Redirect("file:///etc/passwd".to_owned()));
    let table = [
        ("page", 6, true),
        ("json", 6, true),
        ("gzip", 6, false),
        ("short", 6, false),
        ("busy", 6, false),
        ("denied", 7, true),
        ("gone", 4, true),
        ("loop", 6, false),
        ("away", 6, false),
    ];
    for (name, status, hinted) in table {
        let file = format!("{name}.safetensors");
        wants(&env, "v", &[(&env.files.url(&format!("/{file}")), &file)]);
        let error = env.error(&["realize", "v"], status);
        assert!(error["message"].is_string() && (!hinted || error["hint"].is_string()), "{name}: {error}");
        assert!(!env.volume("models/loras").join(&file).exists(), "{name}");
    }
}

#[test]
fn sizes_are_asked_for_without_head_and_without_the_file() {
    let env = realized();
    env.files.put("/m.safetensors", Content::synthetic(6, BIG));
    wants(&env, "v", &[(&env.files.url("/m.safetensors"), "m.safetensors")]);
    let plan = env.json(&["realize", "v", "--dry-run"]);
    assert_eq!(plan["models"][0]["size_bytes"], BIG);
    assert!(env.files.sent("/m.safetensors") <= 1 << 20, "a probe is not a download");
    let heads = env.files.seen().iter().filter(|seen| seen.method == "HEAD").count();
    assert_eq!(heads, 0, "links that were signed for GET refuse it");
}

#[test]
fn a_host_sees_no_more_connections_than_are_allowed() {
    let env = realized();
    let names: Vec<_> = (0..20).map(|number| format!("{number}.safetensors")).collect();
    let mut models = Vec::new();
    for (seed, name) in names.iter().enumerate() {
        env.files.put(&format!("/{name}"), Content::synthetic(seed as u64, 2_000_000));
        models.push((env.files.url(&format!("/{name}")), name.as_str()));
    }
    let models: Vec<_> = models.iter().map(|(link, name)| (link.as_str(), *name)).collect();
    wants(&env, "v", &models);
    env.json(&["realize", "v"]);
    // The one of a probe may be on its way out.
    assert!(env.files.peak_connections() <= 17, "{}", env.files.peak_connections());
    let answers: Value = env.json(&["realize", "v"]);
    assert_eq!(answers["outcome"], "ready");
    assert_eq!(fs::read_dir(env.volume("models/loras")).unwrap().count(), 20);
}
