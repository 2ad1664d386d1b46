use super::{Here, bytes, status};
use comfyd::config::ModelHosts;
use comfyd::source::model::ModelError;
use proto::ErrorKind;
use support::file_server::{Content, Fault, FileServer, Life};
use support::hub::{Access, Hub};

const REPO: &str = "o/r";
const LINK: &str = "hf://o/r/a.bin";
const TOKEN: &str = "hf-s3cr3t";

fn here(endpoint: String, token: Option<&str>) -> Here {
    let hf_token = token.map(str::to_owned);
    Here::new(ModelHosts { hf_endpoint: Some(endpoint), hf_token, ..ModelHosts::default() })
}

/// A Hub with a big file.
fn hub() -> Hub {
    let hub = Hub::start();
    hub.put(REPO, "a.bin", bytes(100_000));
    hub
}

fn told(error: &ModelError) -> String {
    format!("{error} ({})", error.hint().unwrap_or_default())
}

#[tokio::test]
async fn a_file_is_known_by_what_the_hub_says_not_its_storage() {
    let hub = hub();
    let identity = here(hub.endpoint(), None).probe(LINK).await.unwrap();
    assert_eq!((identity.size, identity.commit), (Some(100_000), Some(hub.commit(REPO))));
    let sha256 = Content::from(bytes(100_000)).sha256();
    assert_ne!(identity.validator.unwrap().trim_matches('"'), sha256, "the storage's own");
    assert_eq!(identity.sha256, Some(sha256));
    assert_eq!(hub.storage.seen()[0].range.as_deref(), Some("bytes=0-0"), "no more than a byte");
}

#[tokio::test]
async fn a_small_file_comes_from_the_hub_itself_by_a_relative_redirect() {
    let hub = Hub::start();
    hub.put_small(REPO, "a.bin", bytes(10));
    let here = here(hub.endpoint(), Some(TOKEN));
    assert_eq!(here.fetch(LINK).await.unwrap(), bytes(10));
    let tokens: Vec<_> = hub.seen().into_iter().map(|seen| seen.authorization).collect();
    assert!(tokens.iter().all(|token| token.as_deref() == Some("Bearer hf-s3cr3t")), "{tokens:?}");
    let identity = here.probe(LINK).await.unwrap();
    assert_eq!(
        (identity.commit, identity.sha256),
        (Some(hub.commit(REPO)), None),
        "git's checksum is no SHA-256"
    );
}

#[tokio::test]
async fn the_link_is_asked_once_and_storage_sees_no_token() {
    let hub = hub();
    hub.storage_faults(REPO, "a.bin", [Fault::CutAfter(30_000), Fault::CutAfter(30_000)]);
    let here = here(hub.endpoint(), Some(TOKEN));
    assert_eq!(here.fetch(LINK).await.unwrap(), bytes(100_000));
    assert_eq!(hub.seen().len(), 1);
    let seen = hub.storage.seen();
    assert!(seen.iter().all(|seen| seen.authorization.is_none()));
    assert!(seen[2].range.as_deref().is_some_and(|range| range.starts_with("bytes=60000-")), "{seen:?}");
}

#[tokio::test]
async fn a_small_file_that_arrived_damaged_is_fetched_again_and_never_kept() {
    let hub = hub();
    hub.storage_faults(REPO, "a.bin", [Fault::Damaged]);
    let here = here(hub.endpoint(), None);
    assert_eq!(here.fetch(LINK).await.unwrap(), bytes(100_000));
    assert_eq!(hub.storage.seen().len(), 2);

    hub.put(REPO, "b.bin", bytes(100_000));
    hub.storage_faults(REPO, "b.bin", vec![Fault::Damaged; 4]);
    let error = here.fetch("hf://o/r/b.bin").await.unwrap_err();
    assert!(matches!(error, ModelError::Damaged { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Network);
    assert_eq!(here.fetch("hf://o/r/b.bin").await.unwrap(), bytes(100_000), "nothing of it was kept");
}

#[tokio::test]
async fn a_signed_address_that_ended_is_renewed_and_the_file_taken_up() {
    let hub = hub();
    hub.signatures_live(REPO, "a.bin", Life::Bytes(20_000));
    hub.storage_faults(REPO, "a.bin", [Fault::CutAfter(30_000)]);
    assert_eq!(here(hub.endpoint(), None).fetch(LINK).await.unwrap(), bytes(100_000));
    assert_eq!(hub.seen().len(), 2);
    let seen = hub.storage.seen();
    let last = seen.last().unwrap();
    assert!(last.range.as_deref().is_some_and(|range| range.starts_with("bytes=30000-")), "{seen:?}");
    assert_eq!(seen.len(), 3, "the part, the refusal, the rest: {seen:?}");
}

#[tokio::test]
async fn parts_of_two_files_are_never_joined() {
    let hub = hub();
    let refusal = status(403, [], "<Error><Code>AccessDenied</Code></Error>");
    // Storage keeps the old file; the Hub's link leads to a new one.
    hub.storage_faults(REPO, "a.bin", [Fault::CutAfter(30_000), refusal]);
    let here = here(hub.endpoint(), None);
    let change = async {
        while here.notes().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        hub.put(REPO, "a.bin", vec![7; 100_000]);
    };
    let (fetched, ()) = tokio::join!(here.fetch(LINK), change);
    assert!(fetched.unwrap() == vec![7; 100_000]);
}

#[tokio::test]
async fn storage_that_always_refuses_is_not_asked_for_ever() {
    let hub = hub();
    let refusal = status(403, [], "<Error><Code>AuthFailed</Code></Error>");
    hub.storage.always(&hub.stored(REPO, "a.bin"), refusal);
    let error = here(hub.endpoint(), None).fetch(LINK).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Access && error.to_string().contains("AuthFailed"), "{error}");
    assert!(hub.seen().len() <= 3, "{:?}", hub.seen());
}

#[tokio::test]
async fn a_rate_limit_is_waited_for_and_told() {
    let hub = hub();
    hub.rate_limit(1, 0);
    let here = here(hub.endpoint(), None);
    let began = std::time::Instant::now();
    here.fetch(LINK).await.unwrap();
    assert!(began.elapsed().as_secs() >= 1, "a second more than the Hub says");
    let notes = here.notes();
    assert!(notes[0].starts_with("attempt 2 of 5 in 1.0 s: ") && notes[0].contains("429"), "{notes:?}");
}

#[tokio::test]
async fn a_web_link_to_the_mirror_is_a_link_to_the_hub() {
    let hub = hub();
    let here = here(hub.endpoint(), None);
    let page = format!("{}/{REPO}", hub.endpoint());
    here.fetch(&format!("{page}/blob/main/a.bin")).await.unwrap();
    assert_eq!(hub.seen()[0].path, "/o/r/resolve/main/a.bin");
    hub.access(REPO, Access::Gated(Vec::new()));
    let error = here.probe(&format!("{page}/resolve/main/a.bin?download=true")).await.unwrap_err();
    assert!(told(&error).contains(&format!("accept its conditions at {page}")), "{}", told(&error));
}

#[tokio::test]
async fn refusals_name_what_to_do() {
    let hub = hub();
    hub.tokens(&[TOKEN]);
    let table = [
        (Access::Gated(Vec::new()), LINK, None, ErrorKind::Access, "and set HF_TOKEN"),
        (Access::Gated(Vec::new()), LINK, Some(TOKEN), ErrorKind::Access, "ask for access at"),
        (
            Access::Private(Vec::new()),
            LINK,
            None,
            ErrorKind::Access,
            "missing or private (check the link; if",
        ),
        (Access::Private(Vec::new()), LINK, Some(TOKEN), ErrorKind::NotFound, "HF_TOKEN may read it"),
        (Access::Disabled, LINK, None, ErrorKind::NotFound, "taken down"),
        (Access::Public, LINK, Some("hf-0ld-s3cr3t"), ErrorKind::Access, "HF_TOKEN is not valid"),
        (Access::Public, "hf://o/r/gone.bin", None, ErrorKind::NotFound, "no such file (see the files at"),
        (Access::Public, "hf://o/r@v9/a.bin", None, ErrorKind::NotFound, "no such revision"),
    ];
    for (access, link, token, kind, expected) in table {
        hub.access(REPO, access.clone());
        let before = hub.seen().len();
        let error = here(hub.endpoint(), token).probe(link).await.unwrap_err();
        let text = told(&error);
        assert!(error.kind() == kind && text.contains(expected), "{access:?} {link}: {text}");
        assert!(!text.contains("s3cr3t"), "{text}");
        assert_eq!(hub.seen().len(), before + 1, "it is not tried again");
    }
}

// Without a code, a 401 means either too.
#[tokio::test]
async fn a_refusal_without_a_code_may_mean_missing_or_private() {
    let hub = FileServer::start();
    hub.always("/o/r/resolve/main/a.bin", status(401, [], "Invalid username or password."));
    let error = here(hub.url(""), None).probe(LINK).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Access && told(&error).contains("missing or private"), "{error}");
}
