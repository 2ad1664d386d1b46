//! Work in the background stands aside for what people wait for, and loses nothing by it.

use crate::fetch::{assert_here, realized, wants};
use support::env::Ended;
use support::file_server::{Content, Pace};
use support::process::eventually;

/// Bytes of the model that nobody waits for, and of the one that someone does.
const LARGE: u64 = 40_000_000;
const SMALL: u64 = 12_000_000;

#[test]
fn a_background_realize_stands_aside_for_another_one_and_loses_no_bytes() {
    let env = realized();
    env.write_spec("w", &env.spec());
    env.json(&["realize", "w"]);
    let (large, small) = (Content::synthetic(1, LARGE), Content::synthetic(2, SMALL));
    env.files.put("/large.safetensors", large.clone());
    env.files.put("/small.safetensors", small.clone());
    env.files.pace(Pace { total: Some(8_000_000), ..Pace::default() });
    wants(&env, "v", &[(&env.files.url("/large.safetensors"), "large.safetensors")]);
    wants(&env, "w", &[(&env.files.url("/small.safetensors"), "small.safetensors")]);
    let prefetch = env.spawn(&["realize", "v", "--background", "--json"]);
    eventually("the background one fetches", || env.files.sent("/large.safetensors") > 4_000_000);

    let request = env.spawn(&["realize", "w", "--json"]);
    eventually("the other one fetches", || env.files.sent("/small.safetensors") > 1_000_000);
    let background = env.json(&["status"])["jobs"].take();
    let background: Vec<_> = background.as_array().unwrap().iter().map(|job| &job["background"]).collect();
    assert!(background.contains(&&true.into()), "{background:?}");
    let before = env.files.sent("/large.safetensors");
    let request: Ended = request.wait_with_output().unwrap().into();
    assert_eq!(request.status, Some(0), "{}{}", request.stdout, request.stderr);
    let meanwhile = env.files.sent("/large.safetensors") - before;
    assert!(meanwhile < SMALL / 4, "{meanwhile} bytes came for the background meanwhile");

    let prefetch: Ended = prefetch.wait_with_output().unwrap().into();
    assert_eq!(prefetch.status, Some(0), "{}{}", prefetch.stdout, prefetch.stderr);
    assert_here(&env, "large.safetensors", &large);
    assert_here(&env, "small.safetensors", &small);
    let sent = env.files.sent("/large.safetensors");
    assert!(sent < LARGE + LARGE / 10, "it went on from where it was: {sent} bytes");
}

#[test]
fn who_asks_for_a_background_realize_takes_it_to_the_foreground() {
    let env = realized();
    for version in ["w", "x"] {
        env.write_spec(version, &env.spec());
        env.json(&["realize", version]);
    }
    let content = Content::synthetic(1, LARGE);
    env.files.put("/large.safetensors", content.clone());
    env.files.put("/slow.safetensors", Content::synthetic(2, 4 * LARGE));
    env.files.pace(Pace { total: Some(8_000_000), ..Pace::default() });
    wants(&env, "v", &[(&env.files.url("/large.safetensors"), "large.safetensors")]);
    wants(&env, "w", &[(&env.files.url("/slow.safetensors"), "slow.safetensors")]);
    let mut busy = env.spawn(&["realize", "w"]);
    eventually("someone works", || env.files.sent("/slow.safetensors") > 1_000_000);
    env.json(&["realize", "v", "--background", "--detach"]);
    assert_eq!(env.json(&["realize", "v"])["outcome"], "repaired", "it did not wait for the other");
    assert!(busy.try_wait().unwrap().is_none(), "which still works");
    assert_here(&env, "large.safetensors", &content);
    busy.kill().unwrap();
    busy.wait().unwrap();
}
