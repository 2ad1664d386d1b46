use super::{Here, bytes, status};
use comfyd::config::ModelHosts;
use proto::ErrorKind;
use support::bucket::{ACCESS_KEY, Bucket, Refusal};
use support::file_server::{Fault, FileServer};

const OBJECT: &str = "/bucket/models/a%20b.bin";
const LINK: &str = "s3://bucket/models/a%20b.bin";

fn here(pairs: &[(&str, &str)]) -> Here {
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let (aws, google) = pairs.partition(|(name, _)| name.starts_with("AWS_"));
    Here::new(ModelHosts { aws, google, ..ModelHosts::default() })
}

fn signing(endpoint: &str) -> Here {
    here(&[
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_REGION", "eu-1"),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", "s3cr3t"),
        ("AWS_SESSION_TOKEN", "t0ken-s3cr3t"),
    ])
}

#[tokio::test]
async fn an_object_is_fetched_and_every_part_of_it_signed() {
    let store = Bucket::start();
    store.files.put(OBJECT, bytes(100_000));
    store.files.faults(OBJECT, [Fault::CutAfter(40_000)]);
    let here = signing(&store.endpoint());
    assert_eq!(here.fetch(LINK).await.unwrap(), bytes(100_000));
    let seen = store.files.seen();
    assert_eq!(seen.len(), 2);
    for seen in &seen {
        let signature = seen.authorization.clone().unwrap();
        assert!(signature.contains("/eu-1/s3/aws4_request"), "{signature}");
        assert_eq!(seen.user_agent, comfyd::source::http::USER_AGENT);
    }
    assert!(seen[1].range.as_deref().is_some_and(|range| range.starts_with("bytes=40000-")), "{seen:?}");
    assert_eq!(here.probe(LINK).await.unwrap().size, Some(100_000));
}

#[tokio::test]
async fn without_credentials_an_object_is_asked_for_anonymously() {
    let store = FileServer::start();
    store.put(OBJECT, bytes(10));
    let (s3, google) = (store.url("/"), store.url(""));
    let here = here(&[("AWS_ENDPOINT_URL_S3", &s3), ("GOOGLE_BASE_URL", &google)]);
    for link in [LINK, "gs://bucket/models/a%20b.bin"] {
        assert_eq!(here.fetch(link).await.unwrap(), bytes(10));
        assert_eq!(here.probe(link).await.unwrap().size, Some(10));
    }
    assert!(store.seen().iter().all(|seen| seen.path == OBJECT && seen.authorization.is_none()));
}

#[tokio::test]
async fn a_token_of_google_is_sent_as_one() {
    let store = FileServer::start();
    store.put(OBJECT, bytes(10));
    let here = here(&[("GOOGLE_BASE_URL", &store.url("")), ("GOOGLE_BEARER_TOKEN", "ya29.s3cr3t")]);
    here.fetch("gs://bucket/models/a%20b.bin").await.unwrap();
    assert_eq!(store.seen()[0].authorization.as_deref(), Some("Bearer ya29.s3cr3t"));
}

#[tokio::test]
async fn the_stores_refusals_say_what_to_do() {
    let store = Bucket::start();
    store.files.put(OBJECT, bytes(10));
    let told = async |here: Here, link: &str| {
        let error = here.probe(link).await.unwrap_err();
        (error.kind(), format!("{error} ({})", error.hint().unwrap_or_default()))
    };
    let (kind, text) = told(signing(&store.endpoint()), "s3://bucket/none").await;
    assert!(kind == ErrorKind::NotFound && text.contains("no such object"), "{text}");
    let (kind, text) = told(here(&[("AWS_ENDPOINT_URL", &store.endpoint())]), LINK).await;
    assert!(kind == ErrorKind::Access && text.contains("start comfyd with AWS_ACCESS_KEY_ID"), "{text}");
    store.refuse(Some(Refusal::Denied));
    let (kind, text) = told(signing(&store.endpoint()), LINK).await;
    assert!(kind == ErrorKind::Access && text.contains("may not read the object"), "{text}");
    store.refuse(Some(Refusal::ExpiredToken));
    let (kind, text) = told(signing(&store.endpoint()), LINK).await;
    assert!(kind == ErrorKind::Access && text.contains("have expired"), "{text}");
}

#[tokio::test]
async fn no_refusal_tells_a_secret() {
    let store = FileServer::start();
    let table = [
        (301, "<Error><Code>PermanentRedirect</Code></Error>", "AWS_REGION=eu-7"),
        (400, "<Error><Code>ExpiredToken</Code><Token-0>t0ken-s3cr3t</Token-0></Error>", "fresh"),
        (418, "<Error><Code>t0ken-s3cr3t</Code></Error>", "418"),
    ];
    let whole = signing(&store.url(""));
    for (code, body, expected) in table {
        store.always(OBJECT, status(code, [("x-amz-bucket-region", "eu-7"), ("location", "/x")], body));
        let error = whole.probe(LINK).await.unwrap_err();
        let text = format!("{error} {error:?} {}", error.hint().unwrap_or_default());
        assert!(text.contains(expected) && !text.contains("s3cr3t"), "{code}: {text}");
    }
    let half = here(&[("AWS_ENDPOINT_URL", &store.url("")), ("AWS_SECRET_ACCESS_KEY", "s3cr3t")]);
    let error = half.probe(LINK).await.unwrap_err();
    let text = format!("{error} {error:?} {}", error.hint().unwrap_or_default());
    assert!(error.kind() == ErrorKind::Access && text.contains("AWS_ACCESS_KEY_ID"), "{text}");
    assert!(!text.contains("s3cr3t"), "{text}");
}
