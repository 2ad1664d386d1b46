use super::{Here, bytes, paths, status};
use comfyd::config::ModelHosts;
use proto::ErrorKind;
use serde_json::json;
use support::file_server::{Fault, FileServer};

const DOWNLOAD: &str = "/api/download/models/9";
const VERSION: &str = "/api/v1/model-versions/9";

fn here(site: &FileServer) -> Here {
    let civitai_endpoint = Some(site.url(""));
    let civitai_token = Some("civitai-s3cr3t".to_owned());
    Here::new(ModelHosts { civitai_endpoint, civitai_token, ..ModelHosts::default() })
}

/// The site with version 9, whose file 7 is the primary one.
fn site() -> FileServer {
    let site = FileServer::start();
    let files = json!({ "id": 9, "files": [
        { "id": 6, "name": "a.ckpt", "type": "Model", "metadata": { "format": "PickleTensor" } },
        { "id": 7, "name": "a.safetensors", "type": "Model", "metadata": { "format": "SafeTensor" },
          "primary": true, "sizeKB": 9.7, "hashes": { "SHA256": "CD".repeat(32) } },
    ] });
    site.put_as(VERSION, "application/json", files.to_string());
    site.put("/stored", bytes(10_000));
    site.always(DOWNLOAD, Fault::Redirect(site.other_url("/stored?X-Amz-Signature=abc")));
    site
}

#[tokio::test]
async fn the_exact_file_is_asked_for_and_known_by_its_checksum() {
    let site = site();
    let here = here(&site);
    let identity = here.probe("civitai://models/9").await.unwrap();
    assert_eq!((identity.size, identity.sha256), (Some(10_000), Some("cd".repeat(32))));
    assert_eq!(here.fetch("urn:air:sdxl:lora:civitai:1@9").await.unwrap(), bytes(10_000));
    let by_id = format!("{DOWNLOAD}?fileId=7");
    let stored = "/stored?X-Amz-Signature=abc";
    assert_eq!(paths(&site), [VERSION, &by_id, stored, VERSION, &by_id, stored]);
    here.probe("civitai://models/9?type=Model&format=PickleTensor").await.unwrap();
    assert_eq!(paths(&site)[7], format!("{DOWNLOAD}?fileId=6"));
    for seen in site.seen() {
        assert_eq!(seen.authorization.is_some(), seen.host.starts_with("127.0.0.1"), "{seen:?}");
    }
}

#[tokio::test]
async fn a_broken_download_asks_neither_the_api_nor_the_link_again() {
    let site = site();
    site.faults("/stored", [Fault::CutAfter(4000)]);
    assert_eq!(here(&site).fetch("civitai://models/9").await.unwrap(), bytes(10_000));
    let paths = paths(&site);
    assert_eq!(paths.iter().filter(|path| path.starts_with("/api")).count(), 2, "{paths:?}");
}

#[tokio::test]
async fn without_the_api_the_link_has_to_do() {
    for answer in [status(503, [], ""), status(404, [], "{}"), status(200, [], "<html>")] {
        let site = site();
        site.always(VERSION, answer);
        assert_eq!(here(&site).fetch("civitai://models/9?type=Model").await.unwrap(), bytes(10_000));
        assert_eq!(paths(&site)[1], format!("{DOWNLOAD}?type=Model"));
    }
}

#[tokio::test]
async fn the_id_of_a_model_is_told_from_that_of_a_version() {
    let site = FileServer::start();
    let model = json!({ "id": 9, "modelVersions": [{ "id": 31, "name": "v2" }, { "id": 30 }] });
    site.put_as("/api/v1/models/9", "application/json", model.to_string());
    site.always(DOWNLOAD, status(404, [], r#"{"error":"Model not found"}"#));
    let error = here(&site).probe("civitai://models/9").await.unwrap_err();
    let hint = error.hint().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(hint, "`9` is a model; its newest version is 31: write `civitai://models/31`");
}

#[tokio::test]
async fn a_choice_that_no_file_fits_is_answered_with_the_files() {
    let site = site();
    site.always(DOWNLOAD, status(404, [], r#"{"error":"File not found"}"#));
    let error = here(&site).probe("civitai://models/9?fp=int8").await.unwrap_err();
    assert!(error.hint().unwrap().contains("`fileId=7` (a.safetensors, Model SafeTensor)"), "{error:?}");
}

#[tokio::test]
async fn refusals_of_the_site_are_passed_on_with_what_to_do() {
    let early = r#"{"error":"Early Access","deadline":"2026-12-01T00:00:00.000Z","message":"Buy it"}"#;
    let busy = r#"{"error":"an unusual amount of downloading"}"#;
    let site = site();
    let here = here(&site);
    site.faults(DOWNLOAD, [status(403, [], early)]);
    let error = here.probe("civitai://models/9").await.unwrap_err();
    assert!(error.to_string().contains("Buy it (until 2026-12-01T00:00:00.000Z)"), "{error}");
    // Storage behind the site that does not answer passes; a missing model does not.
    let storage = status(404, [("cache-control", "private, no-store"), ("retry-after", "0")], "{}");
    site.faults(DOWNLOAD, [storage, status(429, [("retry-after", "0")], busy)]);
    assert_eq!(here.fetch("civitai://models/9").await.unwrap(), bytes(10_000));
    assert_eq!(here.notes().len(), 2, "{:?}", here.notes());
}
