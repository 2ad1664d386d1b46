use super::{Here, bytes, status};
use comfyd::config::ModelHosts;
use comfyd::source::model::ModelError;
use proto::ErrorKind;
use std::error::Error;
use std::fmt::Write as _;
use support::file_server::{Fault, FileServer, Validator};

fn here() -> Here {
    Here::new(ModelHosts::default())
}

#[tokio::test]
async fn only_the_very_part_that_was_asked_for_is_taken() {
    let server = FileServer::start();
    server.put("/other", bytes(10));
    server.always("/other", Fault::OtherStart);
    server.always("/none", status(206, [], "x"));
    server.always("/long", status(206, [("content-range", "bytes 0-1/10")], "xx"));
    for path in ["/other", "/none", "/long"] {
        let error = here().probe(&server.url(path)).await.unwrap_err();
        assert!(matches!(error, ModelError::WrongPart { .. }), "{path}: {error}");
    }
    server.put("/part", bytes(10));
    server.validator("/part", Validator::LastModified);
    let identity = here().probe(&server.url("/part")).await.unwrap();
    assert!(identity.size == Some(10) && identity.validator.unwrap().ends_with("GMT"));
}

#[tokio::test]
async fn a_compressed_answer_is_not_the_file() {
    let server = FileServer::start();
    server.put("/a.bin", bytes(10));
    server.always("/a.bin", Fault::Gzip);
    let error = here().probe(&server.url("/a.bin")).await.unwrap_err();
    assert!(matches!(&error, ModelError::NotAModel { reason, .. } if reason.contains("gzip")), "{error}");
}

// Of an empty file no part can be had: that is told as what it is.
#[tokio::test]
async fn an_empty_file_is_found_out_at_once() {
    let server = FileServer::start();
    server.always("/a.bin", status(416, [("content-range", "bytes */0")], ""));
    let error = here().probe(&server.url("/a.bin")).await.unwrap_err();
    assert!(matches!(&error, ModelError::NotAModel { reason, .. } if reason == "it is empty"), "{error}");
}

#[tokio::test]
async fn an_expired_link_asks_for_a_fresh_one() {
    let server = FileServer::start();
    let denied = "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>";
    server.always("/s3", status(403, [], denied));
    server.always("/session", status(400, [], "<Error><Code>ExpiredToken</Code></Error>"));
    server.always("/b2", status(401, [], r#"{"code":"expired_auth_token"}"#));
    server.always("/cdn", status(403, [("date", "Sun, 01 Mar 2026 12:00:00 GMT")], ""));
    for path in [
        "/s3?X-Amz-Signature=s3cr3t",
        "/session?X-Amz-Security-Token=s3cr3t",
        "/b2?Authorization=s3cr3t",
        "/cdn?Expires=1000&Signature=s3cr3t",
    ] {
        let error = here().fetch(&server.url(path)).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(error.kind() == ErrorKind::Access && text.contains("has expired"), "{text}");
        assert!(error.hint().unwrap().contains("fresh link") && !text.contains("s3cr3t"), "{text}");
    }
    let other = server.url("/cdn?Expires=9999999999&Signature=s3cr3t");
    assert!(here().probe(&other).await.unwrap_err().to_string().contains("may have expired"));
}

// A site that hands out signed addresses by itself. Storage says 403, or 400 when its session has ended.
#[tokio::test]
async fn a_plain_link_that_redirects_is_renewed_too() {
    for refused in [403, 400, 410] {
        let server = FileServer::start();
        server.put("/stored", bytes(100_000));
        server.faults("/stored", [Fault::CutAfter(30_000), status(refused, [], "")]);
        server.always("/a.bin", Fault::RedirectSigned("/stored".to_owned()));
        assert_eq!(here().fetch(&server.url("/a.bin")).await.unwrap(), bytes(100_000), "{refused}");
        let seen = server.seen();
        let last = seen.last().unwrap();
        assert!(last.range.as_deref().is_some_and(|range| range.starts_with("bytes=30000-")), "{seen:?}");
        assert!(last.if_range.is_some() && seen.len() == 5, "{seen:?}");
    }
}

#[tokio::test]
async fn a_pause_may_be_asked_for_by_a_date() {
    let server = FileServer::start();
    server.put("/a.bin", bytes(10));
    let date = "Sun, 01 Mar 2026 12:00:00 GMT";
    server.faults("/a.bin", [status(503, [("retry-after", date), ("date", date)], "")]);
    let here = here();
    here.fetch(&server.url("/a.bin")).await.unwrap();
    assert!(here.notes()[0].starts_with("attempt 2 of 5 in 0.0 s"), "{:?}", here.notes());
}

/// All that an error tells, whoever asks it.
fn all(error: &ModelError) -> String {
    let mut text = format!("{error} {error:?} {}", error.hint().unwrap_or_default());
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(text, " {error} {error:?}").unwrap();
        cause = error.source();
    }
    text
}

#[tokio::test]
async fn no_failure_tells_a_secret() {
    let server = FileServer::start();
    let hosts = ModelHosts {
        hf_token: Some("hf-s3cr3t-token".to_owned()),
        hf_endpoint: Some(server.url("/hub")),
        civitai_token: Some("civitai-s3cr3t".to_owned()),
        civitai_endpoint: Some(server.url("/civitai")),
        ..ModelHosts::default()
    };
    let echo = "hf-s3cr3t-token civitai-s3cr3t";
    let message = r#"{"error":"hf-s3cr3t-token civitai-s3cr3t","message":"civitai-s3cr3t"}"#;
    for code in [400, 401, 403, 404, 410, 416, 418, 451] {
        for path in ["/hub/o/r/resolve/main/a", "/civitai/api/download/models/9", "/a"] {
            server.always(path, status(code, [("x-error-message", echo)], message));
        }
        server.always("/xml", status(code, [], "<Error><Code>0123456789s3cr3t</Code></Error>"));
        let signed = |path: &str| server.url(&format!("{path}?X-Amz-Signature=0123456789s3cr3t"));
        for link in ["hf://o/r/a", "civitai://models/9", &signed("/a"), &signed("/xml")] {
            let text = all(&Here::new(hosts.clone()).probe(link).await.unwrap_err());
            assert!(!text.contains("s3cr3t"), "{code} {link}: {text}");
        }
    }
    // Those that no host words.
    let secret = "?token=0123456789s3cr3t";
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let to = |url: String| Fault::Redirect(format!("{url}{secret}"));
    server.always("/file", to("file:///s".to_owned()));
    server.always("/loop", to("/loop".to_owned()));
    server.always("/gone", to(format!("http://{gone}/x")));
    server.always("/page", status(200, [("content-type", "text/html")], ""));
    server.always("/zip", status(200, [("content-encoding", "gzip")], ""));
    server.always("/part", status(206, [], "x"));
    server.put("/empty", "");
    server.put("/cut", bytes(1000));
    server.always("/cut", Fault::CutAfter(10));
    for path in ["/file", "/loop", "/gone", "/page", "/zip", "/part", "/empty", "/cut"] {
        let here = Here::new(hosts.clone());
        let link = server.url(&format!("{path}{secret}"));
        let stop = async {
            // Two attempts say all that five would.
            while here.notes().is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            here.ctx.cancel.cancel();
        };
        let error = tokio::select! {
            fetched = here.fetch(&link) => fetched.unwrap_err(),
            () = stop => here.probe(&link).await.unwrap_err(),
        };
        let text = all(&error) + &here.notes().join(" ");
        assert!(!text.contains("s3cr3t"), "{path}: {text}");
    }
}
