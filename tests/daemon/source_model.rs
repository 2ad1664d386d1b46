//! Models from hosts that misbehave.

use comfyd::config::ModelHosts;
use comfyd::ctx::{Ctx, Task};
use comfyd::source::http::{Http, Timeouts};
use comfyd::source::model::{Fetched, ModelError, Models, Place, Probed};
use proto::event::{TaskKind, Unit};
use proto::source::ModelSource;
use proto::{ErrorKind, RelPath};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;
use support::file_server::{Fault, FileServer};
use tempfile::TempDir;

/// comfyd's side: an empty models directory.
struct Here {
    dir: TempDir,
    ctx: Ctx,
    models: Models,
}

impl Here {
    fn new() -> Self {
        Self::with_hosts(ModelHosts::default())
    }

    fn with_hosts(hosts: ModelHosts) -> Self {
        let timeouts = Timeouts { connect: Duration::from_secs(5), read: Duration::from_millis(500) };
        let models = Models::with_http(Http::new(hosts, timeouts));
        Self { dir: tempfile::tempdir().unwrap(), ctx: Ctx::new(), models }
    }

    /// With Hugging Face and Civitai played by servers.
    fn played_by(hub: &FileServer, civitai: &FileServer) -> Self {
        Self::with_hosts(ModelHosts {
            hf_token: Some("hf-s3cr3t".to_owned()),
            hf_endpoint: Some(hub.url("")),
            civitai_token: Some("civitai-s3cr3t".to_owned()),
            civitai_endpoint: Some(civitai.url("")),
            ..ModelHosts::default()
        })
    }

    fn task(&self) -> Task {
        self.ctx.progress.task(TaskKind::Model, "model", Unit::Bytes)
    }

    async fn fetch(&self, link: &str, target: &str) -> Result<u64, ModelError> {
        let target = RelPath::new(target).unwrap();
        let place = Place { models_dir: self.dir.path(), target: &target };
        let (source, task) = (source(link), self.task());
        let turn = self.models.turn(&self.ctx, &source, place, &task).await?;
        match self.models.fetch(&self.ctx, turn, &task).await? {
            Fetched::Here { size } => Ok(size),
            Fetched::Lost => panic!("nobody else fetches"),
        }
    }

    async fn probe(&self, link: &str) -> Result<Probed, ModelError> {
        self.models.probe(&self.ctx, &source(link)).await
    }

    fn path(&self, target: &str) -> PathBuf {
        self.dir.path().join(target)
    }

    /// Asserts that no file, finished or not, is anywhere under the models directory.
    fn assert_no_file(&self) {
        let mut dirs = vec![self.dir.path().to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                assert!(path.is_dir(), "{} was left", path.display());
                dirs.push(path);
            }
        }
    }

    fn notes(&self) -> Vec<String> {
        self.ctx.progress.subscribe().borrow().notes.iter().map(|note| note.text.clone()).collect()
    }
}

fn source(link: &str) -> ModelSource {
    ModelSource::parse(link).unwrap()
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

/// A refusal that asks for another attempt at once.
fn busy(status: u16) -> Fault {
    Fault::Status(status, vec![("retry-after", "0".to_owned())], "")
}

#[tokio::test]
async fn a_file_comes_whole_and_under_its_name_only() {
    let server = FileServer::start();
    let content = bytes(3_000_000);
    server.put("/a.pth", content.clone());
    let here = Here::new();
    let link = server.url("/a.pth");
    assert_eq!(here.probe(&link).await.unwrap().identity.size, Some(3_000_000));
    assert_eq!(here.fetch(&link, "upscale_models/x/a.pth").await.unwrap(), 3_000_000);
    assert!(std::fs::read(here.path("upscale_models/x/a.pth")).unwrap() == content);
    let listed: Vec<_> = std::fs::read_dir(here.path("upscale_models")).unwrap().collect();
    assert_eq!(listed.len(), 1, "nothing else stands in a model folder");
    let task = here.ctx.progress.subscribe().borrow().tasks[0].clone();
    assert_eq!((task.done, task.total), (3_000_000, Some(3_000_000)));
    assert_eq!(server.seen()[0].user_agent, comfyd::source::http::USER_AGENT);
}

#[tokio::test]
async fn a_broken_connection_is_taken_up_where_it_broke() {
    let server = FileServer::start();
    let content = bytes(500_000);
    server.put("/a.pth", content.clone());
    server.faults("/a.pth", [Fault::CutAfter(200_000), Fault::StallAfter(100_000)]);
    let here = Here::new();
    here.fetch(&server.url("/a.pth"), "vae/a.pth").await.unwrap();
    assert!(std::fs::read(here.path("vae/a.pth")).unwrap() == content);
    let ranges: Vec<_> = server.seen().into_iter().map(|seen| seen.range).collect();
    let expected = ["bytes=0-67108863", "bytes=200000-499999", "bytes=300000-499999"];
    assert_eq!(ranges, expected.map(|range| Some(range.to_owned())));
    assert!(here.notes()[0].starts_with("attempt 2 of 5 in "), "{:?}", here.notes());
}

#[tokio::test]
async fn a_file_that_changed_meanwhile_begins_anew() {
    let server = FileServer::start();
    server.put("/a.pth", vec![1; 100_000]);
    server.faults("/a.pth", [Fault::CutAfter(50_000)]);
    let here = Here::new();
    let link = server.url("/a.pth");
    let change = async {
        while here.notes().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.put("/a.pth", vec![2; 80_000]);
    };
    let (fetched, ()) = tokio::join!(here.fetch(&link, "vae/a.pth"), change);
    assert_eq!(fetched.unwrap(), 80_000);
    assert!(std::fs::read(here.path("vae/a.pth")).unwrap() == vec![2; 80_000]);
}

// Storage hosts have refused valid ranges, and mirrors have answered them with the whole file.
#[tokio::test]
async fn a_host_that_refuses_parts_is_asked_for_the_whole() {
    let server = FileServer::start();
    let content = bytes(100_000);
    server.put("/a.pth", content.clone());
    server.faults("/a.pth", [Fault::CutAfter(1000)]);
    server.always("/a.pth", Fault::NoParts);
    let here = Here::new();
    here.fetch(&server.url("/a.pth"), "vae/a.pth").await.unwrap();
    assert!(std::fs::read(here.path("vae/a.pth")).unwrap() == content);
    let ranges: Vec<_> = server.seen().into_iter().map(|seen| seen.range).collect();
    assert_eq!(ranges.last().unwrap(), &None, "{ranges:?}");
}

#[tokio::test]
async fn a_busy_host_is_tried_again_a_bounded_number_of_times() {
    let server = FileServer::start();
    server.put("/a.pth", bytes(10));
    server.faults("/a.pth", [busy(503), busy(429)]);
    let here = Here::new();
    here.fetch(&server.url("/a.pth"), "vae/a.pth").await.unwrap();
    assert_eq!(here.notes().len(), 2);
    assert!(here.notes()[1].starts_with("attempt 3 of 5 in 0.0 s: "), "{:?}", here.notes());

    let server = FileServer::start();
    server.always("/a.pth", busy(503));
    let here = Here::new();
    let error = here.fetch(&server.url("/a.pth"), "vae/a.pth").await.unwrap_err();
    assert_eq!((error.kind(), server.seen().len()), (ErrorKind::Network, 5), "{error}");
    here.assert_no_file();
}

#[tokio::test]
async fn what_is_not_a_model_never_gets_its_name() {
    let server = FileServer::start();
    server.put_as("/page.safetensors", "text/html; charset=utf-8", "<html>log in</html>");
    server.put_as("/error.safetensors", "application/json", "{}");
    server.put("/page.pth", "<!DOCTYPE html><html>");
    server.put("/short.safetensors", b"\x02\0\0\0\0\0\0\0{}trailing".to_vec());
    server.put("/bad.gguf", "not gguf");
    server.put("/empty.pth", "");
    server.put("/pointer.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n");
    let here = Here::new();
    for name in [
        "page.safetensors",
        "error.safetensors",
        "page.pth",
        "short.safetensors",
        "bad.gguf",
        "empty.pth",
        "pointer.bin",
    ] {
        let error = here.fetch(&server.url(&format!("/{name}")), &format!("loras/{name}")).await.unwrap_err();
        assert!(matches!(error, ModelError::NotAModel { .. }), "{name}: {error}");
    }
    here.assert_no_file();
    server.put("/good.safetensors", b"\x02\0\0\0\0\0\0\0{}".to_vec());
    here.fetch(&server.url("/good.safetensors"), "loras/good.safetensors").await.unwrap();
}

#[tokio::test]
async fn a_token_goes_to_its_host_and_no_further() {
    let (hub, civitai) = (FileServer::start(), FileServer::start());
    hub.put("/stored", bytes(10));
    let stored = hub.other_url("/stored?X-Amz-Signature=abc");
    hub.always("/o/r/resolve/main/a.bin", Fault::Redirect(stored.clone()));
    civitai.always("/api/download/models/7", Fault::Redirect(stored.clone()));
    let here = Here::played_by(&hub, &civitai);
    here.fetch("hf://o/r/a.bin", "vae/a.bin").await.unwrap();
    here.fetch("civitai://models/7", "vae/b.bin").await.unwrap();
    here.fetch(&stored, "vae/c.bin").await.unwrap();
    let tokens = |server: &FileServer| -> Vec<_> {
        let seen = server.seen().into_iter();
        seen.map(|seen| (seen.host.split(':').next().unwrap().to_owned(), seen.authorization)).collect()
    };
    let stored = ("localhost".to_owned(), None);
    let asked = |token: &str| ("127.0.0.1".to_owned(), Some(format!("Bearer {token}")));
    assert_eq!(tokens(&hub), [asked("hf-s3cr3t"), stored.clone(), stored.clone(), stored]);
    assert_eq!(tokens(&civitai), [asked("civitai-s3cr3t"), asked("civitai-s3cr3t")], "its API, its link");
}

#[tokio::test]
async fn redirects_are_bounded_and_stay_on_the_web() {
    let server = FileServer::start();
    server.always("/loop", Fault::Redirect("/loop".to_owned()));
    server.always("/file", Fault::Redirect("file:///etc/passwd".to_owned()));
    let here = Here::new();
    for path in ["/loop", "/file"] {
        let error = here.fetch(&server.url(path), "vae/a.bin").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network, "{error}");
    }
    assert_eq!(server.seen().len(), 12, "ten redirects, no second attempt");
}

#[tokio::test]
async fn refusals_say_what_to_do_and_hold_no_secret() {
    let server = FileServer::start();
    let refuse = |path: &str, status, code: &str| {
        server.always(path, Fault::Status(status, vec![("x-error-code", code.to_owned())], ""));
    };
    refuse("/o/gated/resolve/main/a.bin", 403, "GatedRepo");
    refuse("/o/r/resolve/main/gone.bin", 404, "EntryNotFound");
    refuse("/o/r/resolve/v9/a.bin", 404, "RevisionNotFound");
    refuse("/o/none/resolve/main/a.bin", 401, "RepoNotFound");
    let login = r#"{"error":"Unauthorized","message":"log in first"}"#;
    server.always("/api/download/models/7", Fault::Status(401, vec![], login));
    server.always("/signed.bin", Fault::Status(403, vec![], "<Error>expired</Error>"));
    let here = Here::played_by(&server, &server);
    let signed = server.url("/signed.bin?X-Amz-Signature=abc123&expires=1");
    let table = [
        ("hf://o/gated/a.bin", ErrorKind::Access, "/o/gated"),
        ("hf://o/r/gone.bin", ErrorKind::NotFound, "see the files"),
        ("hf://o/r@v9/a.bin", ErrorKind::NotFound, "/o/r"),
        ("hf://o/none/a.bin", ErrorKind::NotFound, "HF_TOKEN"),
        ("civitai://models/7", ErrorKind::Access, "CIVITAI_TOKEN"),
        (&signed, ErrorKind::Access, "fresh link"),
    ];
    for (link, kind, hint) in table {
        for error in [here.fetch(link, "vae/a.bin").await.unwrap_err(), here.probe(link).await.unwrap_err()] {
            let told = error.hint().unwrap_or_default();
            assert!(error.kind() == kind && told.contains(hint), "{link}: {error} ({told})");
            let text = format!("{error}{error:?}{told}");
            assert!(!text.contains("s3cr3t") && !text.contains("abc123"), "{text}");
        }
    }
    here.assert_no_file();
}

#[tokio::test]
async fn an_unreachable_host_is_a_matter_of_the_network() {
    // Nobody listens on a port that was just given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let here = Here::new();
    let link = format!("http://127.0.0.1:{port}/a.bin?key=s3cr3t");
    let cancel = async {
        while here.notes().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        here.ctx.cancel.cancel();
    };
    let (error, ()) = tokio::join!(here.fetch(&link, "vae/a.bin"), cancel);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Cancelled, "a pause can be cancelled");
    assert!(here.notes()[0].contains("refused") && !here.notes()[0].contains("s3cr3t"), "{:?}", here.notes());
    here.assert_no_file();
}

#[tokio::test]
async fn a_file_of_this_machine_is_linked_not_copied() {
    let here = Here::new();
    let original = here.path("original.bin");
    std::fs::write(&original, "model").unwrap();
    let link = original.display().to_string();
    assert_eq!(here.probe(&link).await.unwrap().identity.size, Some(5));
    assert_eq!(here.fetch(&link, "vae/a.bin").await.unwrap(), 5);
    let inode = |path: &PathBuf| std::fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&here.path("vae/a.bin")), inode(&original));
    let missing = here.fetch("file:///nowhere/a.bin", "vae/b.bin").await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
    let directory = here.fetch("file:///etc", "vae/b.bin").await.unwrap_err();
    assert_eq!(directory.kind(), ErrorKind::NotFound, "{directory}");
}

#[tokio::test]
async fn a_model_folder_may_be_a_link_to_another_disk() {
    let server = FileServer::start();
    server.put("/a.bin", bytes(10));
    let here = Here::new();
    // A disk of its own on Linux; where it is not, this is the plain case again.
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else { return };
    std::os::unix::fs::symlink(other.path(), here.path("vae")).unwrap();
    here.fetch(&server.url("/a.bin"), "vae/a.bin").await.unwrap();
    assert!(std::fs::read(here.path("vae/a.bin")).unwrap() == bytes(10));
}
