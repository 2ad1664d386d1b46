//! Models of Hugging Face, Civitai and S3, by doubles that answer as they do.

use crate::client::machine;
use crate::fetch::{assert_here, wants};
use support::TestEnv;
use support::bucket::{self, ACCESS_KEY, Bucket};
use support::civitai::{self, Civitai, ModelFile};
use support::file_server::{Content, Fault, FileServer, Life};
use support::hub::{Access, Hub};

const HF: &str = "hf_c4n4ry";
const CIVITAI: &str = "civ_c4n4ry";
const BIG: u64 = 20_000_000;

/// A machine whose Hub and Civitai are doubles, with a version `v` that has no model yet.
fn machine_of(hub: &Hub, civitai: &Civitai) -> TestEnv {
    let mut env = machine();
    for (name, value) in [
        ("HF_ENDPOINT", hub.endpoint()),
        ("HF_TOKEN", HF.to_owned()),
        ("CIVITAI_ENDPOINT", civitai.endpoint()),
        ("CIVITAI_TOKEN", CIVITAI.to_owned()),
    ] {
        env.set(name, &value);
    }
    env.write_spec("v", &env.spec());
    env.json(&["realize", "v"]);
    env
}

/// Asserts that a storage has seen requests, and no token.
fn assert_no_token(storage: &FileServer) {
    let seen = storage.seen();
    assert!(!seen.is_empty() && seen.iter().all(|seen| seen.authorization.is_none()), "{seen:?}");
}

#[test]
fn the_hub_gives_big_and_small_files_and_its_token_stays_with_it() {
    let (hub, civitai) = (Hub::start(), Civitai::start());
    let env = machine_of(&hub, &civitai);
    let (big, small) = (Content::synthetic(1, BIG), Content::synthetic(2, 5000));
    hub.put("o/r", "dir/big.safetensors", big.clone());
    hub.put_small("o/r", "small.safetensors", small.clone());
    let dataset = Content::synthetic(3, 1000);
    hub.put("datasets/o/d", "d.safetensors", dataset.clone());
    let page = format!("{}/o/r/blob/main/dir/big.safetensors", hub.endpoint());
    wants(
        &env,
        "v",
        &[
            ("hf://o/r/dir/big.safetensors", "big.safetensors"),
            (&format!("hf://o/r@{}/small.safetensors", hub.commit("o/r")), "small.safetensors"),
            ("hf://datasets/o/d/d.safetensors", "d.safetensors"),
            (&page, "pasted.safetensors"),
        ],
    );
    env.json(&["realize", "v"]);
    for (name, content) in [
        ("big.safetensors", &big),
        ("small.safetensors", &small),
        ("d.safetensors", &dataset),
        ("pasted.safetensors", &big),
    ] {
        assert_here(&env, name, content);
    }
    assert_no_token(&hub.storage);
    let with_token = format!("Bearer {HF}");
    assert!(
        hub.seen().iter().all(|seen| seen.authorization.as_ref() == Some(&with_token)),
        "{:?}",
        hub.seen()
    );
    assert!(hub.seen().len() <= 12, "resolved once for a probe and a file: {:?}", hub.seen());
    let known = serde_json::to_string(&env.lock("v")).unwrap();
    assert!(!known.contains("s1gned") && !known.contains("c4n4ry"), "{known}");
}

#[test]
fn a_signature_of_the_hub_that_runs_out_is_renewed_and_the_file_is_one() {
    let (hub, civitai) = (Hub::start(), Civitai::start());
    let env = machine_of(&hub, &civitai);
    let content = Content::synthetic(4, 2 * BIG);
    hub.put("o/r", "m.safetensors", content.clone());
    hub.signatures_live("o/r", "m.safetensors", Life::Uses(2));
    hub.storage_faults("o/r", "m.safetensors", [Fault::CutAfter(1_000_000), Fault::CutAfter(1_000_000)]);
    wants(&env, "v", &[("hf://o/r/m.safetensors", "m.safetensors")]);
    env.json(&["realize", "v"]);
    assert_here(&env, "m.safetensors", &content);
    assert_no_token(&hub.storage);
}

#[test]
fn content_that_is_not_what_the_hub_lists_is_refused() {
    let (hub, civitai) = (Hub::start(), Civitai::start());
    let env = machine_of(&hub, &civitai);
    hub.put("o/r", "m.safetensors", Content::synthetic(5, 100_000));
    // The storage has a shorter file than the repository lists.
    hub.storage.put(&hub.stored("o/r", "m.safetensors"), Content::synthetic(5, 90_000));
    wants(&env, "v", &[("hf://o/r/m.safetensors", "m.safetensors")]);
    let error = env.error(&["realize", "v"], 6);
    assert!(error.to_string().contains("90000"), "{error}");
    assert!(!env.volume("models/loras/m.safetensors").exists());
}

#[test]
fn refusals_of_the_hub_say_what_to_do() {
    let (hub, civitai) = (Hub::start(), Civitai::start());
    let env = machine_of(&hub, &civitai);
    for repo in ["o/open", "o/gated", "o/private", "o/gone"] {
        hub.put(repo, "m.safetensors", Content::synthetic(6, 1000));
    }
    hub.access("o/gated", Access::Gated(vec!["another".to_owned()]));
    hub.access("o/private", Access::Private(vec!["another".to_owned()]));
    hub.access("o/gone", Access::Disabled);
    let table = [
        ("hf://o/gated/m.safetensors", 7, format!("{}/o/gated", hub.endpoint())),
        ("hf://o/private/m.safetensors", 4, "HF_TOKEN".to_owned()),
        ("hf://o/none/m.safetensors", 4, "HF_TOKEN".to_owned()),
        ("hf://o/gone/m.safetensors", 4, format!("{}/o/gone", hub.endpoint())),
        ("hf://o/open@v9/m.safetensors", 4, format!("{}/o/open", hub.endpoint())),
        ("hf://o/open/none.safetensors", 4, format!("{}/o/open", hub.endpoint())),
    ];
    for (link, status, hint) in table {
        wants(&env, "v", &[(link, "m.safetensors")]);
        let error = env.error(&["realize", "v"], status);
        let told = error["hint"].as_str().unwrap_or_default();
        assert!(told.contains(&hint) && !error.to_string().contains("c4n4ry"), "{link}: {error}");
    }
    hub.tokens(&["another"]);
    wants(&env, "v", &[("hf://o/open/m.safetensors", "m.safetensors")]);
    let error = env.error(&["realize", "v"], 7);
    assert!(error["message"].as_str().unwrap().contains("HF_TOKEN is not valid"), "{error}");
    hub.tokens(&[HF]);
    hub.rate_limit(1, 0);
    let ended = env.comfyctl(&["realize", "v"]);
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("attempt 2 of "), "{}", ended.stderr);
}

#[test]
fn civitai_gives_the_file_that_the_link_names() {
    let (hub, civitai) = (Hub::start(), Civitai::start());
    let env = machine_of(&hub, &civitai);
    let (model, vae) = (Content::synthetic(7, BIG), Content::synthetic(8, 2000));
    let file = ModelFile::new(70, "a.safetensors", model.clone());
    let other = ModelFile { kind: "VAE", ..ModelFile::new(71, "v.safetensors", vae.clone()) };
    let stored = file.stored();
    civitai.put(1, 7, &[file, other]);
    civitai.refuse(7, civitai::Refusal::Login);
    let links = [
        ("civitai://models/7", "a.safetensors"),
        ("civitai://api/download/models/7?type=VAE", "v.safetensors"),
        ("civitai://api/download/models/7?fileId=71", "w.safetensors"),
        ("urn:air:sdxl:lora:civitai:1@7", "air.safetensors"),
    ];
    // The last one once the file is here: Civitai tells that it is the same.
    wants(&env, "v", &links[..3]);
    env.json(&["realize", "v"]);
    wants(&env, "v", &links);
    env.json(&["realize", "v"]);
    for (name, content) in [
        ("a.safetensors", &model),
        ("v.safetensors", &vae),
        ("w.safetensors", &vae),
        ("air.safetensors", &model),
    ] {
        assert_here(&env, name, content);
    }
    assert_no_token(&civitai.storage);
    assert!(civitai.seen().iter().any(|seen| seen.path.contains("fileId=70")), "the exact file is asked for");
    // What lies in sockets when a part is handed to another connection was sent too.
    let sent = civitai.storage.sent(&stored);
    assert!(sent < BIG + BIG / 2, "one file under two links that name it: {sent} bytes");

    // Storage that does not answer, and an API that is down, are worth another attempt.
    let content = Content::synthetic(9, 3000);
    civitai.put(1, 8, &[ModelFile::new(80, "b.safetensors", content.clone())]);
    civitai.refuse_times(8, civitai::Refusal::Storage, 2);
    civitai.break_api();
    wants(&env, "v", &[("civitai://models/8", "b.safetensors")]);
    env.json(&["realize", "v"]);
    assert_here(&env, "b.safetensors", &content);
}

#[test]
fn refusals_of_civitai_say_what_to_do() {
    use civitai::Refusal;
    let (hub, civitai) = (Hub::start(), Civitai::start());
    let env = machine_of(&hub, &civitai);
    civitai.put(1, 7, &[ModelFile::new(70, "a.safetensors", Content::synthetic(10, 1000))]);
    let table = [
        (Refusal::Disabled, 7, "no token helps"),
        (Refusal::EarlyAccess("2099-05-01T00:00:00Z"), 7, "early access"),
        (Refusal::NoAccess, 7, "CIVITAI_TOKEN"),
        (Refusal::Blocked, 7, ""),
        (Refusal::Archived, 4, ""),
    ];
    for (refusal, status, hint) in table {
        civitai.refuse(7, refusal);
        wants(&env, "v", &[("civitai://models/7", "a.safetensors")]);
        let error = env.error(&["realize", "v"], status);
        let told = error["hint"].as_str().unwrap_or_default();
        assert!(told.contains(hint) && !error.to_string().contains("c4n4ry"), "{refusal:?}: {error}");
        if matches!(refusal, Refusal::EarlyAccess(_)) {
            assert!(error.to_string().contains("2099-05-01"), "until when: {error}");
        }
    }
    // The number of a model in place of one of its versions.
    wants(&env, "v", &[("civitai://models/1", "a.safetensors")]);
    let error = env.error(&["realize", "v"], 4);
    assert!(error["hint"].as_str().unwrap().contains('7'), "the version is named: {error}");
}

#[test]
fn a_bucket_gives_its_objects_to_who_has_the_key() {
    let bucket = Bucket::start();
    let mut env = machine();
    for (name, value) in [
        ("AWS_ENDPOINT_URL", bucket.endpoint()),
        ("AWS_ENDPOINT", bucket.endpoint()),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "s3cr3t".to_owned()),
        ("AWS_REGION", "auto".to_owned()),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
    ] {
        env.set(name, &value);
    }
    env.write_spec("v", &env.spec());
    env.json(&["realize", "v"]);
    let content = Content::synthetic(11, BIG);
    bucket.files.put("/models/dir/m.safetensors", content.clone());
    bucket.files.faults("/models/dir/m.safetensors", [Fault::None, Fault::CutAfter(1_000_000)]);
    wants(&env, "v", &[("s3://models/dir/m.safetensors", "m.safetensors")]);
    env.json(&["realize", "v"]);
    assert_here(&env, "m.safetensors", &content);
    for (refusal, status) in [(None, 4), (Some(bucket::Refusal::Denied), 7)] {
        bucket.refuse(refusal);
        wants(&env, "v", &[("s3://models/none.safetensors", "none.safetensors")]);
        let error = env.error(&["realize", "v"], status);
        assert!(!error.to_string().contains("s3cr3t"), "{error}");
    }
}
