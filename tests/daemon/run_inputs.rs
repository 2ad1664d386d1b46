//! Where workflows and their inputs come from, and where outputs go.

use crate::fixture::Version;
use crate::run::{files, save};
use comfyd::ctx::Ctx;
use comfyd::run::RunRequest;
use proto::ErrorKind;
use proto::method::InputSource::{Data, Path as File, Url};
use proto::method::{BucketTarget, Delivery, InputSource, RunInput, Secret};
use serde_json::{Value, json};
use support::bucket::{ACCESS_KEY, Bucket, Refusal};
use support::file_server::FileServer;

fn load(name: &str) -> Value {
    json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": name}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    })
}

fn input(name: &str, source: InputSource) -> RunInput {
    RunInput { name: name.to_owned(), source }
}

fn left(version: &Version) -> usize {
    std::fs::read_dir(version.home.join("input")).map_or(0, Iterator::count)
}

#[tokio::test]
async fn inputs_of_every_kind_reach_the_workflow_and_are_removed() {
    let version = Version::new("");
    let host = FileServer::start();
    host.put("/some.png", "picture");
    let file = version.dir.path().join("some file");
    std::fs::write(&file, "picture").unwrap();
    let name = "мой кот \"1\".png";
    let sources = [
        File(file.display().to_string()),
        Data("data:image/png;base64,cGljdHVyZQ==".to_owned()),
        Url(host.url("/some.png")),
    ];
    let mut made = Vec::new();
    for source in sources {
        let inputs = vec![input(name, source), input("sub/b.bin", Data("AA".to_owned()))];
        let request = RunRequest { inputs, ..version.request(&load(name)) };
        let answer = version.run(&Ctx::new(), request).await.unwrap();
        made.push(std::fs::read(files(&answer)[0]).unwrap());
        assert_eq!(left(&version), 0);
    }
    assert_eq!((&made[0], &made[1]), (&made[1], &made[2]), "the same picture three times");
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn an_input_that_is_not_to_be_had_is_told_and_nothing_is_left() {
    let version = Version::new("");
    let host = FileServer::start();
    let good = input("good.png", Data("AA==".to_owned()));
    for (bad, kind) in [
        (input("../x.png", Data(String::new())), ErrorKind::Usage),
        (input("x.png", File("/no/such/file".to_owned())), ErrorKind::Usage),
        (input("x.png", File("/".to_owned())), ErrorKind::Usage),
        (input("x.png", Data("p\u{e4}ng".to_owned())), ErrorKind::Usage),
        (input("x.png", Url(host.url("/no?token=s3cr3t"))), ErrorKind::NotFound),
        (input("x.png", Url("http://example.org/x?token=s3cr3t".to_owned())), ErrorKind::Usage),
    ] {
        let name = bad.name.clone();
        let request = RunRequest { inputs: vec![good.clone(), bad], ..version.request(&load("good.png")) };
        let error = version.run(&Ctx::new(), request).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(&format!("input `{name}`")), "{error}");
        assert!(!error.to_string().contains("s3cr3t"), "{error}");
        assert_eq!(left(&version), 0);
    }
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_workflow_is_read_from_a_file_or_a_link() {
    let version = Version::new("");
    let (host, file) = (FileServer::start(), version.dir.path().join("wf.json"));
    let text = format!("\u{feff}{}", save("x"));
    host.put("/wf.json", text.as_bytes().to_vec());
    std::fs::write(&file, text).unwrap();
    for place in [host.url("/wf.json"), file.display().to_string()] {
        let answer = version.run(&Ctx::new(), version.request(&json!(place))).await.unwrap();
        assert_eq!(answer.outputs.len(), 1);
    }
    for (place, kind) in [
        (host.url("/none.json"), ErrorKind::NotFound),
        ("/no/such.json".to_owned(), ErrorKind::NotFound),
        ("http://example.org/wf.json".to_owned(), ErrorKind::Usage),
        ("wf.json".to_owned(), ErrorKind::Usage),
    ] {
        let error = version.run(&Ctx::new(), version.request(&json!(place))).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn outputs_come_in_the_answer_or_lie_in_a_bucket_behind_a_signed_link() {
    let version = Version::new("");
    let bucket = Bucket::start();
    let run = async |deliver| {
        let job_id = Some("j1".to_owned());
        let request = RunRequest { deliver: Some(deliver), job_id, ..version.request(&save("x")) };
        version.run(&Ctx::new(), request).await
    };
    let answer = run(Delivery::Base64).await.unwrap();
    let made = std::fs::read(files(&answer)[0]).unwrap();
    let file = answer.outputs[0].file.as_ref().unwrap();
    assert!(file.data.as_ref().unwrap().starts_with("iVBORw0KGgo"), "{file:?}");
    let target = BucketTarget {
        url: "s3://b/made here".to_owned(),
        endpoint: Some(bucket.endpoint()),
        region: None,
        access_key_id: Some(ACCESS_KEY.to_owned()),
        secret_access_key: Some(Secret("s3cr3t".to_owned())),
        link_s: 600,
    };
    // The same job: its files are put there without another run.
    let answer = run(Delivery::Bucket(target.clone())).await.unwrap();
    let url = answer.outputs[0].file.as_ref().unwrap().url.clone().unwrap();
    assert!(url.starts_with(&format!("{}/b/made%20here/j1/", bucket.endpoint())), "{url}");
    assert!(url.contains(".png?") && url.contains("X-Amz-Expires=600"), "{url}");
    assert!(answer.outputs[0].file.as_ref().unwrap().data.is_none());
    let (path, put) = bucket.puts().pop().unwrap();
    assert!(url.contains(&path) && put.content == made, "{path}");
    assert_eq!(put.content_type, "image/png");
    bucket.refuse(Some(Refusal::Denied));
    let error = run(Delivery::Bucket(target)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Access);
    assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
    let elsewhere = BucketTarget { url: "ftp://b".to_owned(), ..target_without_keys() };
    assert_eq!(run(Delivery::Bucket(elsewhere)).await.unwrap_err().kind(), ErrorKind::Usage);
    version.supervisor.shutdown().await;
}

fn target_without_keys() -> BucketTarget {
    let (url, link_s) = (String::new(), 1);
    BucketTarget { url, endpoint: None, region: None, access_key_id: None, secret_access_key: None, link_s }
}
