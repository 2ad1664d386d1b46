//! Transfers of models: many connections, taken up after anything, one owner.

use comfyd::config::ModelHosts;
use comfyd::ctx::{Ctx, Task};
use comfyd::source::http::{Http, Timeouts};
use comfyd::source::model::{Fetched, ModelError, Models, Place};
use proto::event::{TaskKind, TaskState, Unit};
use proto::source::ModelSource;
use proto::{ErrorKind, RelPath};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::file_server::{Content, Fault, FileServer, Pace};
use tempfile::TempDir;

/// Several parts for four connections, and more than one for sixteen.
const SIZE: u64 = 150_000_000;

/// A process that fetches into a models directory.
struct Fetcher {
    ctx: Ctx,
    models: Models,
    dir: PathBuf,
    link: String,
}

impl Fetcher {
    fn new(dir: &Path, link: String) -> Self {
        let timeouts = Timeouts { connect: Duration::from_secs(5), read: Duration::from_secs(2) };
        let models = Models::with_http(Http::new(ModelHosts::default(), timeouts));
        Self { ctx: Ctx::new(), models, dir: dir.to_owned(), link }
    }

    async fn fetch(&self) -> Result<Fetched, ModelError> {
        let (target, source) = (RelPath::new("vae/m.bin").unwrap(), ModelSource::parse(&self.link).unwrap());
        let place = Place { models_dir: &self.dir, target: &target };
        let task: Task = self.ctx.progress.task(TaskKind::Model, "m", Unit::Bytes);
        let turn = self.models.turn(&self.ctx, &source, place, &task).await?;
        let fetched = self.models.fetch(&self.ctx, turn, &task).await;
        task.done("");
        fetched
    }

    /// Fetches until the journal says that at least so much is written, and drops the transfer then.
    async fn fetch_until(&self, bytes: u64) {
        let enough = async {
            while written(&self.dir) < bytes {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::select! {
            fetched = self.fetch() => panic!("it ended: {fetched:?}"),
            () = enough => (),
        }
    }

    fn progress(&self) -> (TaskState, String, u64) {
        let seen = self.ctx.progress.subscribe();
        let state = seen.borrow();
        state.tasks.first().map_or((TaskState::Waiting, String::new(), 0), |task| {
            (task.state, task.detail.clone(), task.done)
        })
    }
}

/// A host with one file, and an empty models directory.
fn host(content: &Content) -> (FileServer, TempDir, String) {
    let server = FileServer::start();
    server.put("/m.bin", content.clone());
    let link = server.url("/m.bin");
    (server, tempfile::tempdir().unwrap(), link)
}

/// Lets a file come in about two seconds.
fn slow() -> Pace {
    Pace { total: Some(SIZE / 2), ..Pace::default() }
}

fn assert_here(dir: &Path, content: &Content) {
    assert!(content.equals_file(&dir.join("vae/m.bin")).unwrap(), "other bytes than the host's");
    let parts = std::fs::read_dir(dir.join(".comfyd/parts")).unwrap().count();
    assert_eq!(parts, 0, "parts are left");
}

fn journal_path(dir: &Path) -> Option<PathBuf> {
    let claims = std::fs::read_dir(dir.join(".comfyd/parts")).ok()?.flatten();
    claims.map(|claim| claim.path().join("journal.json")).find(|path| path.exists())
}

fn journal(dir: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(journal_path(dir)?).ok()?).ok()
}

fn written(dir: &Path) -> u64 {
    let journal = journal(dir).unwrap_or_default();
    let ranges = journal["written"].as_array().into_iter().flatten();
    ranges.map(|range| range[1].as_u64().unwrap() - range[0].as_u64().unwrap()).sum()
}

fn change_journal(dir: &Path, change: impl FnOnce(&mut Value)) {
    let mut changed = journal(dir).unwrap();
    change(&mut changed);
    let path = journal_path(dir).unwrap();
    let staging = path.with_extension("changed");
    std::fs::write(&staging, changed.to_string()).unwrap();
    #[allow(clippy::disallowed_methods, reason = "the test plays another process")]
    std::fs::rename(&staging, &path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_file_comes_over_a_bounded_number_of_connections() {
    let content = Content::synthetic(1, SIZE);
    let (server, dir, link) = host(&content);
    server.pace(Pace { per_connection: Some(SIZE / 24), ..Pace::default() });
    assert_eq!(Fetcher::new(dir.path(), link).fetch().await.unwrap(), Fetched::Here { size: SIZE });
    assert_here(dir.path(), &content);
    // The host may see one open before it sees another one closed.
    let peak = server.peak_connections();
    assert!((12..=18).contains(&peak), "{peak} connections at a time");
    let sent = server.sent("/m.bin");
    assert!(sent <= SIZE + SIZE / 10, "{sent} bytes were sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_not_fetched_again() {
    let content = Content::synthetic(2, SIZE);
    let (server, dir, link) = host(&content);
    server.pace(slow());
    Fetcher::new(dir.path(), link.clone()).fetch_until(SIZE / 2).await;
    assert_eq!(journal(dir.path()).unwrap()["given_up"], true);
    let (left, before) = (SIZE - written(dir.path()), server.sent("/m.bin"));
    // As a new process would.
    Fetcher::new(dir.path(), link).fetch().await.unwrap();
    assert_here(dir.path(), &content);
    let sent = server.sent("/m.bin") - before;
    assert!(sent <= left + SIZE / 10, "{left} bytes were missing, {sent} were sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changed_meanwhile_is_begun_anew() {
    let (server, dir, link) = host(&Content::synthetic(3, SIZE));
    server.pace(slow());
    let here = Fetcher::new(dir.path(), link);
    here.fetch_until(SIZE / 4).await;
    let content = Content::synthetic(4, SIZE);
    server.put("/m.bin", content.clone());
    server.pace(Pace::default());
    here.fetch().await.unwrap();
    assert_here(dir.path(), &content);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_or_file_that_is_damaged_costs_bytes_only() {
    let content = Content::synthetic(5, SIZE);
    let (server, dir, link) = host(&content);
    let here = Fetcher::new(dir.path(), link);
    for damage in [
        |journal: &Path| std::fs::write(journal, "{\"schema_version\":1,\"wri").unwrap(),
        |journal: &Path| std::fs::write(journal, "").unwrap(),
        |journal: &Path| std::fs::remove_file(journal).unwrap(),
        |journal: &Path| {
            let files = std::fs::read_dir(journal.parent().unwrap()).unwrap().flatten();
            let mut data = files.filter(|file| file.path() != journal);
            std::fs::remove_file(data.next().unwrap().path()).unwrap();
        },
    ] {
        server.pace(slow());
        here.fetch_until(SIZE / 4).await;
        damage(&journal_path(dir.path()).unwrap());
    }
    server.pace(Pace::default());
    here.fetch().await.unwrap();
    assert_here(dir.path(), &content);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_an_owner_that_died_are_taken_over_at_once() {
    let content = Content::synthetic(6, SIZE);
    let (server, dir, link) = host(&content);
    server.pace(slow());
    Fetcher::new(dir.path(), link.clone()).fetch_until(SIZE / 2).await;
    change_journal(dir.path(), |journal| {
        journal["given_up"] = false.into();
        journal["owner"]["pid"] = 4_000_000.into();
    });
    let left = SIZE - written(dir.path());
    let before = server.sent("/m.bin");
    Fetcher::new(dir.path(), link).fetch().await.unwrap();
    assert_here(dir.path(), &content);
    let sent = server.sent("/m.bin") - before;
    assert!(sent <= left + SIZE / 10, "{left} bytes were missing, {sent} were sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_want_one_link_one_fetches_and_the_other_shows_it() {
    let content = Content::synthetic(7, SIZE);
    let (server, dir, link) = host(&content);
    server.pace(slow());
    let (first, second) = (Fetcher::new(dir.path(), link.clone()), Fetcher::new(dir.path(), link));
    let fetching = first.fetch();
    let waiting = async {
        while written(dir.path()) == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let half = async {
            while second.progress().2 < SIZE / 2 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            second.progress()
        };
        tokio::select! {
            fetched = second.fetch() => panic!("it did not wait: {fetched:?}"),
            progress = half => progress,
        }
    };
    let (fetched, (state, detail, _)) = tokio::join!(fetching, waiting);
    assert_eq!(fetched.unwrap(), Fetched::Here { size: SIZE });
    let who = format!("downloaded by pid {} on ", std::process::id());
    assert!(state == TaskState::Waiting && detail.starts_with(&who), "{detail}");
    assert_here(dir.path(), &content);
    let sent = server.sent("/m.bin");
    assert!(sent <= SIZE + SIZE / 10, "{sent} bytes were sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_was_taken_for_dead_stops() {
    let (server, dir, link) = host(&Content::synthetic(8, SIZE));
    server.pace(slow());
    let here = Fetcher::new(dir.path(), link);
    let other = async {
        while written(dir.path()) < SIZE / 4 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // Its own write may come in between: whoever writes last owns it.
        loop {
            change_journal(dir.path(), |journal| {
                journal["owner"]["nonce"] = "other".into();
                journal["owner"]["host"] = "elsewhere".into();
            });
            tokio::time::sleep(Duration::from_millis(400)).await;
            if journal(dir.path()).unwrap()["owner"]["nonce"] == "other" {
                break;
            }
        }
    };
    let (fetched, ()) = tokio::join!(here.fetch(), other);
    assert_eq!(fetched.unwrap(), Fetched::Lost);
    assert_eq!(journal(dir.path()).unwrap()["owner"]["nonce"], "other", "it left the journal alone");
    assert!(!dir.path().join("vae/m.bin").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_transfer_is_durable_and_nobodys() {
    let content = Content::synthetic(9, SIZE);
    let (server, dir, link) = host(&content);
    server.pace(slow());
    let here = Fetcher::new(dir.path(), link.clone());
    let cancel = async {
        while written(dir.path()) < SIZE / 4 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        here.ctx.cancel.cancel();
    };
    let (fetched, ()) = tokio::join!(here.fetch(), cancel);
    assert_eq!(fetched.unwrap_err().kind(), ErrorKind::Cancelled);
    let left = journal(dir.path()).unwrap();
    assert_eq!((&left["given_up"], &left["synced"]), (&true.into(), &left["written"]));
    Fetcher::new(dir.path(), link).fetch().await.unwrap();
    assert_here(dir.path(), &content);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_refused_does_not_cost_the_rest() {
    let content = Content::synthetic(10, SIZE);
    let (server, dir, link) = host(&content);
    server.pace(slow());
    let refused = || Fault::Status(403, vec![], "");
    server.faults(
        "/m.bin",
        [Fault::None, refused(), Fault::None, Fault::StallAfter(10_000), Fault::CutAfter(10)],
    );
    let here = Fetcher::new(dir.path(), link);
    here.fetch().await.unwrap();
    assert_here(dir.path(), &content);
    assert!(server.sent("/m.bin") <= SIZE + SIZE / 10, "{}", server.sent("/m.bin"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_before_the_first_byte_and_keeps_the_parts() {
    let content = Content::synthetic(11, SIZE);
    let (server, dir, link) = host(&content);
    let Some(disk) = SmallDisk::mount(dir.path(), SIZE * 3 / 2) else {
        // Only root may mount; the other tests of a full disk need none.
        return;
    };
    server.pace(slow());
    let here = Fetcher::new(dir.path(), link);
    here.fetch_until(SIZE / 4).await;
    // What was reserved is given back, and taken by someone else.
    let data = std::fs::read_dir(journal_path(dir.path()).unwrap().parent().unwrap()).unwrap().flatten();
    let data =
        data.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|name| name == "data"));
    let data = std::fs::File::options().write(true).open(data.unwrap()).unwrap();
    data.set_len(SIZE / 2).unwrap();
    data.set_len(SIZE).unwrap();
    let filler = disk.fill();
    let error = here.fetch().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disk, "{error:?}");
    assert!(error.hint().unwrap().contains("free some space"));
    std::fs::remove_file(filler).unwrap();
    let left = written(dir.path());
    assert!(left >= SIZE / 4, "{left} bytes are left");
}

/// A small filesystem of its own.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a Path, size: u64) -> Option<Self> {
        let size = format!("size={size}");
        let mounted =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then_some(Self(at))
    }

    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let block = vec![1; 1 << 20];
        let mut file = std::fs::File::create(&path).unwrap();
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
        path
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        std::process::Command::new("umount").args(["-l"]).arg(self.0).output().unwrap();
    }
}
