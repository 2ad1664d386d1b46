use super::*;
use crate::raw::{get, header, status};
use serde_json::Value;

#[test]
fn a_version_has_files_and_each_can_be_downloaded() {
    let civitai = Civitai::start();
    let files = [
        ModelFile::new(70, "a.safetensors", "a"),
        ModelFile { kind: "VAE", ..ModelFile::new(71, "v.pt", "vae") },
    ];
    civitai.put(1, 7, &files);
    let api = |path: &str| format!("{}/api/{path}", civitai.endpoint());
    let (_, body) = get(&api("v1/model-versions/7"), "");
    let version: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(version["files"][1]["hashes"]["SHA256"], Content::from("vae").sha256().to_uppercase());
    for (query, content) in [("", "a"), ("?type=VAE", "vae"), ("?fileId=71", "vae")] {
        let (head, _) = get(&api(&format!("download/models/7{query}")), "");
        assert!(head.starts_with("HTTP/1.1 307"), "{head}");
        assert_eq!(get(&header(&head, "location").unwrap(), "").1, content.as_bytes());
    }
    assert_eq!(status(&api("download/models/7?fp=int8"), ""), 404);
    assert_eq!(status(&api("v1/model-versions/1"), ""), 404);
    let model: Value = serde_json::from_slice(&get(&api("v1/models/1"), "").1).unwrap();
    assert_eq!(model["modelVersions"][0]["id"], 7);
}

#[test]
fn refusals_are_json_for_programs_and_pages_for_browsers() {
    let civitai = Civitai::start();
    civitai.put(1, 7, &[ModelFile::new(70, "a", "a")]);
    let url = format!("{}/api/download/models/7", civitai.endpoint());
    civitai.refuse(7, Refusal::Login);
    let (head, body) = get(&url, "");
    assert!(head.starts_with("HTTP/1.1 401") && body.starts_with(b"{"), "{head}");
    assert_eq!(status(&url, "Authorization: Bearer x\r\n"), 307);
    assert_eq!(
        header(&get(&url, "User-Agent: Mozilla/5.0\r\n").0, "location").as_deref(),
        Some("/login?reason=download-auth")
    );
    civitai.refuse_times(7, Refusal::Storage, 1);
    let (head, _) = get(&url, "");
    assert_eq!(header(&head, "cache-control").as_deref(), Some("private, no-store"));
    assert_eq!(status(&url, ""), 307);
}
