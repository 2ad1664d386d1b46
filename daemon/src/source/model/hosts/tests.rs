//! The seam as a transfer with many connections meets it.

use super::*;
use crate::config::ModelHosts;
use crate::source::http::Timeouts;
use crate::source::model::remote::WHOLE;
use futures_util::TryStreamExt as _;
use futures_util::future::{join_all, try_join_all};
use support::file_server::{Fault, FileServer};

fn file(server: &FileServer, path: &str) -> HostedFile {
    let http = Http::new(ModelHosts::default(), Timeouts::default());
    Hosts::new(http).file(&ModelSource::parse(&server.url(path)).unwrap()).unwrap()
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

fn forbidden() -> Fault {
    Fault::Status(403, Vec::new(), "")
}

/// Where a path was asked for so many times.
fn count(server: &FileServer, path: &str) -> usize {
    server.seen().iter().filter(|seen| seen.path.split('?').next() == Some(path)).count()
}

#[tokio::test]
async fn of_many_parts_that_are_refused_one_asks_the_link() {
    let server = FileServer::start();
    for path in ["/old", "/new"] {
        server.put(path, bytes(16_000));
    }
    server.faults("/old", [Fault::None]);
    server.always("/old", forbidden());
    server.faults("/link", [Fault::RedirectSigned("/old".to_owned())]);
    server.always("/link", Fault::RedirectSigned("/new".to_owned()));
    let (ctx, file) = (Ctx::new(), file(&server, "/link"));
    let first = file.open(&ctx, 0..1000, None).await.unwrap();
    assert!(first.is_part && file.host() == "localhost");
    let part = async |n: u64| {
        let opened = file.open(&ctx, n * 1000..(n + 1) * 1000, Some(&first.identity)).await?;
        assert!(opened.is_part && opened.start == n * 1000);
        let body: Vec<_> = opened.body.try_collect().await.unwrap();
        Ok::<_, ModelError>(body.concat())
    };
    let parts = try_join_all((1..16).map(part)).await.unwrap();
    assert!(parts.concat() == bytes(16_000)[1000..]);
    assert_eq!((count(&server, "/link"), count(&server, "/old")), (2, 16));
}

#[tokio::test]
async fn an_address_that_fails_for_good_ends_the_part_not_the_daemon() {
    let server = FileServer::start();
    server.put("/stored", bytes(100));
    server.faults("/stored", [Fault::None]);
    server.always("/stored", forbidden());
    server.always("/link", Fault::RedirectSigned("/stored".to_owned()));
    let (ctx, file) = (Ctx::new(), file(&server, "/link"));
    file.open(&ctx, 0..10, None).await.unwrap();
    let refused = join_all((0..4).map(|_| file.open(&ctx, 10..20, None))).await;
    assert!(refused.into_iter().all(|opened| matches!(opened, Err(ModelError::Refused { status: 403, .. }))));
    assert!(count(&server, "/link") <= 5, "{:?}", server.seen());
}

#[tokio::test]
async fn storage_that_is_gone_is_left_for_another() {
    let server = FileServer::start();
    server.put("/new", bytes(100));
    let old = FileServer::start();
    old.put("/old", bytes(100));
    server.faults("/link", [Fault::Redirect(old.url("/old"))]);
    server.always("/link", Fault::RedirectSigned("/new".to_owned()));
    let (ctx, file) = (Ctx::new(), file(&server, "/link"));
    let identity = file.open(&ctx, 0..10, None).await.unwrap().identity;
    drop(old);
    let error = file.open(&ctx, 10..20, Some(&identity)).await.err().unwrap();
    assert!(matches!(error, ModelError::Http(_)), "{error}");
    assert!(file.open(&ctx, 10..20, Some(&identity)).await.unwrap().is_part);
}

#[tokio::test]
async fn another_file_is_refused_and_no_part_is_told() {
    let server = FileServer::start();
    server.put("/a", bytes(100));
    let (ctx, file) = (Ctx::new(), file(&server, "/a"));
    let identity = file.open(&ctx, 0..10, None).await.unwrap().identity;
    server.always("/a", Fault::Whole);
    let whole = file.open(&ctx, 10..20, Some(&identity)).await.unwrap();
    assert!(!whole.is_part && whole.start == 0, "a host without ranges");
    assert!(!file.open(&ctx, WHOLE, Some(&identity)).await.unwrap().is_part);
    server.put("/a", bytes(101));
    for part in [10..20, WHOLE] {
        let error = file.open(&ctx, part, Some(&identity)).await.err().unwrap();
        assert!(matches!(error, ModelError::Changed { .. }), "{error}");
    }
    assert_eq!(file.open(&ctx, 10..20, None).await.unwrap().identity.size, Some(101));
}

#[tokio::test]
async fn a_cancelled_part_holds_nobody_up() {
    let server = FileServer::start();
    server.put("/a", bytes(100));
    let (stopped, ctx, file) = (Ctx::new(), Ctx::new(), file(&server, "/a"));
    stopped.cancel.cancel();
    let error = file.open(&stopped, 0..10, None).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    drop(file.open(&ctx, 0..10, None));
    assert!(file.open(&ctx, 0..10, None).await.is_ok());
}
