use super::*;
use std::process::Command;

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("locks/x.lock");
    (dir, path)
}

/// A lease of a process of this machine that ended, and of one that cannot be seen from here.
fn lease_of_another(path: &Path, is_ended: bool) {
    let lease = Lease::take(&lease_path(path)).unwrap();
    let mut text: serde_json::Value = crate::store::read_json(&lease_path(path)).unwrap().unwrap();
    drop(lease);
    if is_ended {
        let mut process = Command::new("true").spawn().unwrap();
        text["owner"]["pid"] = process.id().into();
        process.wait().unwrap();
    } else {
        text["owner"]["host"] = "elsewhere".into();
    }
    crate::store::write_json(&lease_path(path), &text).unwrap();
}

async fn take(path: &Path, deadline: u64) -> Result<FileLock, LockError> {
    FileLock::take(&Ctx::new(), path.to_owned(), "x", Duration::from_millis(deadline)).await
}

#[tokio::test]
async fn a_waiter_is_told_who_holds_the_lock_and_gives_up_in_time() {
    let (_dir, path) = place();
    let held = FileLock::try_take(&path).unwrap().unwrap();
    let ctx = Ctx::new();
    let mut progress = ctx.progress.subscribe();
    let me = format!("pid {} on ", std::process::id());
    let (error, ()) = tokio::join!(FileLock::take(&ctx, path.clone(), "x", Duration::from_secs(1)), async {
        let state = progress.wait_for(|state| !state.waits.is_empty()).await.unwrap();
        let wait = &state.waits[0];
        assert!(wait.for_what == "x" && wait.holder.starts_with(&me) && wait.left_ms < 1000, "{wait:?}");
    });
    assert!(error.unwrap_err().to_string().contains(&me));
    assert_eq!(ctx.progress.waits(), []);
    drop(held);
    assert!(take(&path, 0).await.unwrap().is_mine().unwrap());
}

#[tokio::test]
async fn a_cancelled_wait_ends_and_leaves_the_lock_to_others() {
    let (_dir, path) = place();
    let held = FileLock::try_take(&path).unwrap().unwrap();
    let ctx = Ctx::new();
    ctx.cancel.cancel();
    let error = FileLock::take(&ctx, path.clone(), "x", Duration::from_secs(60)).await.unwrap_err();
    assert!(matches!(error, LockError::Cancelled(_)), "{error}");
    drop(held);
    assert!(FileLock::try_take(&path).unwrap().is_some());
}

#[tokio::test]
async fn what_was_let_go_in_this_process_is_had_at_once() {
    let (_dir, path) = place();
    let held = FileLock::try_take(&path).unwrap().unwrap();
    let (told, waits) = tokio::join!(
        async {
            // The waiter has looked several times, and pauses for as long as it ever does.
            tokio::time::sleep(4 * LOOK).await;
            drop(held);
            std::time::Instant::now()
        },
        async { (take(&path, 60_000).await.unwrap(), std::time::Instant::now()) },
    );
    println!("handed over in {:?}", waits.1 - told);
}

#[tokio::test]
async fn a_granted_flock_beside_a_living_lease_is_worth_nothing() {
    let (_dir, path) = place();
    lease_of_another(&path, false);
    assert!(FileLock::try_take(&path).unwrap().is_none());
    let error = take(&path, 300).await.unwrap_err();
    assert!(error.to_string().contains("on elsewhere"), "{error}");
    assert!(matches!(Flock::ask(&path).unwrap(), Asked::Granted(_)), "nor is it kept");
}

#[tokio::test]
async fn a_lock_whose_owner_ended_is_taken_over() {
    let (_dir, path) = place();
    lease_of_another(&path, true);
    assert!(take(&path, 5_000).await.unwrap().is_mine().unwrap());
    // MooseFS keeps a dead host's flock.
    lease_of_another(&path, true);
    let _stale = Flock::ask(&path).unwrap();
    assert!(take(&path, 5_000).await.unwrap().is_mine().unwrap());
}

#[tokio::test]
async fn of_many_without_flock_one_holds_it_at_a_time() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
    let (_dir, path) = place();
    lease_of_another(&path, true);
    let (holders, done) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)));
    // A file that is another one each time locks nothing.
    let replaces = std::thread::spawn({
        let (path, done) = (path.clone(), Arc::clone(&done));
        move || {
            while !done.load(SeqCst) {
                std::fs::remove_file(&path).ok();
            }
        }
    });
    let tries = (0..8).map(|_| async {
        let lock = take(&path, 60_000).await.unwrap();
        assert_eq!(holders.fetch_add(1, SeqCst), 0, "alone");
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(lock.is_mine().unwrap());
        holders.fetch_sub(1, SeqCst);
    });
    futures_util::future::join_all(tries).await;
    done.store(true, SeqCst);
    replaces.join().unwrap();
}
