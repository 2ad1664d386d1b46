use super::{Here, bytes, status};
use comfyd::config::ModelHosts;
use proto::ErrorKind;
use support::civitai::{Civitai, ModelFile, Refusal};
use support::file_server::{Content, Expired, Fault, FileServer, Life};

const LINK: &str = "civitai://models/9";
const DOWNLOAD: &str = "/api/download/models/9";

fn here(endpoint: String) -> Here {
    let civitai_token = Some("civitai-s3cr3t".to_owned());
    Here::new(ModelHosts { civitai_endpoint: Some(endpoint), civitai_token, ..ModelHosts::default() })
}

fn primary() -> ModelFile {
    ModelFile::new(7, "a.bin", bytes(10_000))
}

/// The site with version 9 of model 5: a primary file and another.
fn site() -> Civitai {
    let site = Civitai::start();
    let other = ModelFile { format: "PickleTensor", ..ModelFile::new(6, "a.ckpt", bytes(20_000)) };
    site.put(5, 9, &[primary(), other]);
    site
}

fn paths(site: &Civitai) -> Vec<String> {
    site.seen().into_iter().map(|seen| seen.path).collect()
}

#[tokio::test]
async fn the_exact_file_is_asked_for_and_known_by_its_checksum() {
    let site = site();
    let here = here(site.endpoint());
    let identity = here.probe(LINK).await.unwrap();
    let sha256 = Content::from(bytes(10_000)).sha256();
    assert_eq!((identity.size, identity.sha256), (Some(10_000), Some(sha256)));
    assert_eq!(here.fetch("urn:air:sdxl:lora:civitai:5@9").await.unwrap(), bytes(10_000));
    let (version, by_id) = ("/api/v1/model-versions/9", format!("{DOWNLOAD}?fileId=7"));
    assert_eq!(paths(&site), [version, &by_id, version, &by_id]);
    assert_eq!(here.fetch("civitai://models/9?type=Model&format=PickleTensor").await.unwrap(), bytes(20_000));
    assert_eq!(here.fetch("urn:air:sdxl:lora:civitai:5@9+6").await.unwrap(), bytes(20_000));
    assert!(site.seen().iter().all(|seen| seen.authorization.is_some()));
    assert!(site.storage.seen().iter().all(|seen| seen.authorization.is_none()));
}

#[tokio::test]
async fn a_broken_download_asks_neither_the_api_nor_the_link_again() {
    let site = site();
    site.storage.faults(&primary().stored(), [Fault::CutAfter(4000)]);
    assert_eq!(here(site.endpoint()).fetch(LINK).await.unwrap(), bytes(10_000));
    assert_eq!(site.seen().len(), 2, "{:?}", paths(&site));
}

// Backblaze's storage says 401, which elsewhere means a missing token.
#[tokio::test]
async fn an_address_that_ended_is_renewed_whatever_the_storage_says() {
    let site = site();
    site.storage.signed(&primary().stored(), Life::Bytes(3000), Expired::Unauthorized);
    site.storage.faults(&primary().stored(), [Fault::CutAfter(4000)]);
    assert_eq!(here(site.endpoint()).fetch(LINK).await.unwrap(), bytes(10_000));
    assert_eq!(site.seen().len(), 3, "the API once, the link twice: {:?}", paths(&site));
}

#[tokio::test]
async fn without_the_api_the_link_has_to_do() {
    let site = site();
    site.break_api();
    assert_eq!(here(site.endpoint()).fetch("civitai://models/9?type=Model").await.unwrap(), bytes(10_000));
    assert_eq!(paths(&site)[1], format!("{DOWNLOAD}?type=Model"));
    // A proxy's page in place of the API's answer.
    let site = FileServer::start();
    site.put_as("/api/v1/model-versions/9", "text/html", "<html>");
    site.put(DOWNLOAD, bytes(10));
    assert_eq!(here(site.url("")).fetch(LINK).await.unwrap(), bytes(10));
}

#[tokio::test]
async fn the_id_of_a_model_is_told_from_that_of_a_version() {
    let site = site();
    site.put(5, 12, &[primary()]);
    let error = here(site.endpoint()).probe("civitai://models/5").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let hint = error.hint().unwrap();
    assert_eq!(hint, "`5` is a model; its newest version is 12: write `civitai://models/12`");
    let unknown = here(site.endpoint()).probe("civitai://models/77").await.unwrap_err();
    assert!(unknown.hint().unwrap().contains("check its id"), "{unknown:?}");
}

#[tokio::test]
async fn a_choice_that_no_file_fits_is_answered_with_the_files() {
    let error = here(site().endpoint()).probe("civitai://models/9?fp=int8").await.unwrap_err();
    assert!(error.hint().unwrap().contains("`fileId=7` (a.bin, Model SafeTensor full fp16)"), "{error:?}");
}

#[tokio::test]
async fn refusals_are_passed_on_with_what_to_do() {
    let site = site();
    let table = [
        (Refusal::Disabled, ErrorKind::Access, "no token helps"),
        (Refusal::EarlyAccess("2026-12-01T00:00:00Z"), ErrorKind::Access, "(until 2026-12-01T00:00:00Z)"),
        (Refusal::NoAccess, ErrorKind::Access, "the account of CIVITAI_TOKEN"),
        (Refusal::Blocked, ErrorKind::Access, "blocks this address"),
        (Refusal::Archived, ErrorKind::NotFound, "archived, not available for download use another version"),
    ];
    for (refusal, kind, expected) in table {
        site.refuse(9, refusal);
        let error = here(site.endpoint()).probe(LINK).await.unwrap_err();
        let text = format!("{error} {}", error.hint().unwrap_or_default());
        assert!(error.kind() == kind && text.contains(expected), "{refusal:?}: {text}");
        assert!(!text.contains("s3cr3t"), "{text}");
    }
    site.refuse(9, Refusal::Login);
    assert!(here(site.endpoint()).probe(LINK).await.is_ok(), "the token helps");
    let without = ModelHosts { civitai_endpoint: Some(site.endpoint()), ..ModelHosts::default() };
    let error = Here::new(without).probe(LINK).await.unwrap_err();
    assert_eq!(error.hint().as_deref(), Some("set CIVITAI_TOKEN"), "{error}");
}

#[tokio::test]
async fn storage_that_did_not_answer_is_tried_again_and_a_missing_model_is_not() {
    let site = site();
    site.refuse_times(9, Refusal::Storage, 1);
    let here = here(site.endpoint());
    assert_eq!(here.fetch(LINK).await.unwrap(), bytes(10_000));
    assert_eq!(here.notes().len(), 1, "{:?}", here.notes());
}

#[tokio::test]
async fn a_limit_without_a_time_is_given_half_a_minute() {
    let site = site();
    site.refuse(9, Refusal::TooMany);
    let here = here(site.endpoint());
    let told = async {
        while here.notes().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        here.ctx.cancel.cancel();
    };
    let (probed, ()) = tokio::join!(here.probe(LINK), told);
    assert_eq!(probed.unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(here.notes()[0].starts_with("attempt 2 of 5 in 30.0 s: "), "{:?}", here.notes());
    // A time that the host tells counts.
    let asked = FileServer::start();
    asked.put(DOWNLOAD, bytes(10));
    asked.faults(DOWNLOAD, [status(429, [("retry-after", "0")], "{}")]);
    self::here(asked.url("")).probe(LINK).await.unwrap();
}
