use super::{Here, bytes, paths, status};
use comfyd::config::ModelHosts;
use comfyd::source::model::ModelError;
use proto::ErrorKind;
use support::file_server::{Fault, FileServer};

const FILE: &str = "/o/r/resolve/main/a.bin";
const COMMIT: &str = "0123456789012345678901234567890123456789";

fn here(hub: &FileServer, token: Option<&str>) -> Here {
    let (hf_endpoint, hf_token) = (Some(hub.url("")), token.map(str::to_owned));
    Here::new(ModelHosts { hf_endpoint, hf_token, ..ModelHosts::default() })
}

/// The Hub's answer for a file in LFS: a redirect to storage on another host, and what storage cannot tell.
fn redirect(hub: &FileServer, to: &str, sha256: &str, size: usize) -> Fault {
    let location = hub.other_url(&format!("{to}?X-Amz-Signature=s3cr3t"));
    status(
        302,
        [
            ("location", location.as_str()),
            ("x-repo-commit", COMMIT),
            ("x-linked-etag", &format!("\"{sha256}\"")),
            ("x-linked-size", &size.to_string()),
            ("ratelimit", "\"resolvers\";r=2999;t=290"),
        ],
        "",
    )
}

#[tokio::test]
async fn a_file_is_known_by_what_the_hub_says_not_its_storage() {
    let hub = FileServer::start();
    hub.put("/stored", bytes(1000));
    let sha256 = "AB".repeat(32);
    hub.always(FILE, redirect(&hub, "/stored", &sha256, 1000));
    let identity = here(&hub, None).probe("hf://o/r/a.bin").await.unwrap();
    assert_eq!((identity.size, identity.commit.as_deref()), (Some(1000), Some(COMMIT)));
    assert_eq!(identity.sha256, Some("ab".repeat(32)));
    assert!(identity.validator.is_some_and(|etag| etag.ends_with("-1000\"")), "the storage's own");
}

#[tokio::test]
async fn a_small_file_comes_from_the_hub_itself_by_a_relative_redirect() {
    let hub = FileServer::start();
    let cached = "/api/resolve-cache/models/o/r/c/a.bin";
    hub.put(cached, bytes(10));
    hub.always(FILE, status(307, [("location", cached), ("x-repo-commit", COMMIT)], ""));
    let here = here(&hub, Some("hf-s3cr3t"));
    assert_eq!(here.fetch("hf://o/r/a.bin").await.unwrap(), bytes(10));
    let tokens: Vec<_> = hub.seen().into_iter().map(|seen| seen.authorization).collect();
    assert!(tokens.iter().all(|token| token.as_deref() == Some("Bearer hf-s3cr3t")), "{tokens:?}");
    let identity = here.probe("hf://o/r/a.bin").await.unwrap();
    assert_eq!((identity.commit.as_deref(), identity.sha256), (Some(COMMIT), None));
}

#[tokio::test]
async fn a_signed_address_serves_all_parts_and_sees_no_token() {
    let hub = FileServer::start();
    hub.put("/stored", bytes(100_000));
    hub.faults("/stored", [Fault::CutAfter(30_000), Fault::CutAfter(30_000)]);
    hub.always(FILE, redirect(&hub, "/stored", &"a".repeat(64), 100_000));
    let here = here(&hub, Some("hf-s3cr3t"));
    assert_eq!(here.fetch("hf://o/r/a.bin").await.unwrap(), bytes(100_000));
    let seen = hub.seen();
    let asked: Vec<_> = seen.iter().map(|seen| seen.path.split('?').next().unwrap()).collect();
    assert_eq!(asked, [FILE, "/stored", "/stored", "/stored"], "the link is asked once");
    assert!(seen[1..].iter().all(|seen| seen.host.starts_with("localhost") && seen.authorization.is_none()));
    assert_eq!(seen[3].range.as_deref().map(|range| &range[..12]), Some("bytes=60000-"));
}

// Signed addresses end after an hour: S3 and CloudFront say 403, B2 401, an ended session 400.
#[tokio::test]
async fn a_refused_address_is_renewed_and_the_file_taken_up() {
    for refused in [403, 401, 400, 410] {
        let hub = FileServer::start();
        hub.put("/old", bytes(100_000));
        hub.put("/new", bytes(100_000));
        hub.faults("/old", [Fault::CutAfter(30_000), status(refused, [], "<Code>AccessDenied</Code>")]);
        let sha256 = "a".repeat(64);
        hub.faults(FILE, [redirect(&hub, "/old", &sha256, 100_000)]);
        hub.always(FILE, redirect(&hub, "/new", &sha256, 100_000));
        let here = here(&hub, None);
        assert_eq!(here.fetch("hf://o/r/a.bin").await.unwrap(), bytes(100_000), "{refused}");
        let seen = hub.seen();
        let last = seen.last().unwrap();
        assert!(last.path.starts_with("/new") && last.range.as_deref() == Some("bytes=30000-"), "{last:?}");
        assert_eq!(seen.len(), 5, "{refused}: {seen:?}");
    }
}

#[tokio::test]
async fn parts_of_two_files_are_never_joined() {
    let hub = FileServer::start();
    hub.put("/old", bytes(100_000));
    hub.put("/new", vec![7; 100_000]);
    hub.faults("/old", [Fault::CutAfter(30_000), status(403, [], "")]);
    hub.faults(FILE, [redirect(&hub, "/old", &"a".repeat(64), 100_000)]);
    hub.always(FILE, redirect(&hub, "/new", &"b".repeat(64), 100_000));
    assert_eq!(here(&hub, None).fetch("hf://o/r/a.bin").await.unwrap(), vec![7; 100_000]);
}

#[tokio::test]
async fn storage_that_always_refuses_is_not_asked_for_ever() {
    let hub = FileServer::start();
    hub.always("/stored", status(403, [], "<Error><Code>AuthFailed</Code></Error>"));
    hub.always(FILE, redirect(&hub, "/stored", &"a".repeat(64), 10));
    let error = here(&hub, None).fetch("hf://o/r/a.bin").await.unwrap_err();
    assert!(error.kind() == ErrorKind::Access && error.to_string().contains("AuthFailed"), "{error}");
    assert!(hub.seen().len() <= 6, "{:?}", paths(&hub));
}

#[tokio::test]
async fn a_rate_limit_is_waited_for_and_told() {
    let hub = FileServer::start();
    hub.put(FILE, bytes(10));
    hub.faults(FILE, [status(429, [("ratelimit", "\"resolvers\";r=0;t=0")], "")]);
    let here = here(&hub, None);
    let began = std::time::Instant::now();
    here.fetch("hf://o/r/a.bin").await.unwrap();
    assert!(began.elapsed().as_secs() >= 1, "a second more than the Hub says");
    let notes = here.notes();
    assert!(notes[0].starts_with("attempt 2 of 5 in 1.0 s: ") && notes[0].contains("429"), "{notes:?}");
}

#[tokio::test]
async fn a_web_link_to_the_mirror_is_a_link_to_the_hub() {
    let hub = FileServer::start();
    hub.put(FILE, bytes(10));
    let here = here(&hub, None);
    here.fetch(&hub.url("/o/r/blob/main/a.bin")).await.unwrap();
    assert_eq!(paths(&hub), [FILE]);
    hub.always(FILE, status(401, [("x-error-code", "GatedRepo")], ""));
    let error = here.probe(&hub.url("/o/r/resolve/main/a.bin?download=true")).await.unwrap_err();
    assert!(error.hint().unwrap().contains(&hub.url("/o/r")), "the page to accept on");
}

#[tokio::test]
async fn without_a_token_missing_and_private_are_both_possible() {
    let hub = FileServer::start();
    hub.always(FILE, status(401, [("x-error-message", "Invalid username or password.")], ""));
    let told = |error: ModelError| (error.kind(), format!("{error}: {}", error.hint().unwrap_or_default()));
    let (kind, text) = told(here(&hub, None).probe("hf://o/r/a.bin").await.unwrap_err());
    assert!(
        kind == ErrorKind::Access && text.contains("missing or private") && text.contains("set HF_TOKEN")
    );
    let (kind, text) = told(here(&hub, Some("t")).probe("hf://o/r/a.bin").await.unwrap_err());
    assert!(
        kind == ErrorKind::NotFound && text.contains("missing or private") && text.contains("may read it")
    );
    assert!(hub.seen().len() == 2, "neither is tried again");
}
