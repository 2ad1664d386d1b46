use super::{Here, bytes, status};
use comfyd::config::ModelHosts;
use proto::ErrorKind;
use support::file_server::{Fault, FileServer};

const OBJECT: &str = "/bucket/models/a%20b.bin";
const LINK: &str = "s3://bucket/models/a%20b.bin";

fn hosts(pairs: &[(&str, &str)]) -> ModelHosts {
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let (aws, google) = pairs.partition(|(name, _)| name.starts_with("AWS_"));
    ModelHosts { aws, google, ..ModelHosts::default() }
}

fn signing(store: &FileServer) -> Here {
    Here::new(hosts(&[
        ("AWS_ENDPOINT_URL", &store.url("")),
        ("AWS_REGION", "eu-1"),
        ("AWS_ACCESS_KEY_ID", "AKIA"),
        ("AWS_SECRET_ACCESS_KEY", "s3cr3t"),
        ("AWS_SESSION_TOKEN", "t0ken-s3cr3t"),
    ]))
}

#[tokio::test]
async fn an_object_is_fetched_and_every_part_of_it_signed() {
    let store = FileServer::start();
    store.put(OBJECT, bytes(100_000));
    store.faults(OBJECT, [Fault::CutAfter(40_000)]);
    let here = signing(&store);
    assert_eq!(here.fetch(LINK).await.unwrap(), bytes(100_000));
    let seen = store.seen();
    assert_eq!(seen.len(), 2);
    for seen in &seen {
        let signature = seen.authorization.clone().unwrap();
        assert!(signature.starts_with("AWS4-HMAC-SHA256 Credential=AKIA/"), "{signature}");
        assert!(signature.contains("/eu-1/s3/aws4_request"), "{signature}");
        assert_eq!(seen.user_agent, comfyd::source::http::USER_AGENT);
    }
    assert_eq!(seen[1].range.as_deref(), Some("bytes=40000-"));
}

#[tokio::test]
async fn without_credentials_an_object_is_asked_for_anonymously() {
    let store = FileServer::start();
    store.put(OBJECT, bytes(10));
    let here =
        Here::new(hosts(&[("AWS_ENDPOINT_URL_S3", &store.url("/")), ("GOOGLE_BASE_URL", &store.url(""))]));
    for link in [LINK, "gs://bucket/models/a%20b.bin"] {
        assert_eq!(here.fetch(link).await.unwrap(), bytes(10));
        assert_eq!(here.probe(link).await.unwrap().size, Some(10));
    }
    assert!(store.seen().iter().all(|seen| seen.path == OBJECT && seen.authorization.is_none()));
}

#[tokio::test]
async fn refusals_say_what_to_do_and_hold_no_secret() {
    let store = FileServer::start();
    let table = [
        (404, "<Error><Code>NoSuchKey</Code></Error>", ErrorKind::NotFound, "object's name"),
        (404, "<Error><Code>NoSuchBucket</Code></Error>", ErrorKind::NotFound, "AWS_ENDPOINT_URL"),
        (403, "<Error><Code>AccessDenied</Code></Error>", ErrorKind::Access, "let them read it"),
        (
            400,
            "<Error><Code>ExpiredToken</Code><Token-0>t0ken-s3cr3t</Token-0></Error>",
            ErrorKind::Access,
            "fresh",
        ),
        (
            403,
            "<Error><Code>SignatureDoesNotMatch</Code></Error>",
            ErrorKind::Access,
            "AWS_SECRET_ACCESS_KEY",
        ),
        (301, "<Error><Code>PermanentRedirect</Code></Error>", ErrorKind::Access, "AWS_REGION=eu-7"),
        (418, "<Error><Code>t0ken-s3cr3t</Code></Error>", ErrorKind::Network, ""),
    ];
    let here = signing(&store);
    for (code, body, kind, hint) in table {
        store.always(OBJECT, status(code, [("x-amz-bucket-region", "eu-7"), ("location", "/x")], body));
        let error = here.probe(LINK).await.unwrap_err();
        let text = format!("{error} {error:?} {}", error.hint().unwrap_or_default());
        assert!(error.kind() == kind && text.contains(hint), "{code}: {text}");
        assert!(!text.contains("s3cr3t"), "{text}");
    }
    let half = Here::new(hosts(&[("AWS_ENDPOINT_URL", &store.url("")), ("AWS_SECRET_ACCESS_KEY", "s3cr3t")]));
    let error = half.probe(LINK).await.unwrap_err();
    let text = format!("{error} {error:?} {}", error.hint().unwrap_or_default());
    assert!(error.kind() == ErrorKind::Access && text.contains("AWS_ACCESS_KEY_ID"), "{text}");
    assert!(!text.contains("s3cr3t"), "{text}");
}
