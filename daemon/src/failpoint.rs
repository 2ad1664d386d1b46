//! Named places at which a test can end the process, or have the disk refuse.
//!
//! A program that is built without the feature `failpoints` has none: [`hit`] is nothing there. With it,
//! the variable `FAILPOINTS` says what happens where, in the words of the crate `fail`: `name=action;…`, such as
//! `commit.rename=3*off->return(kill)`: end the process by SIGKILL at the fourth hit. `return(EIO)`, or any other of
//! `REFUSALS`, has the step fail that way; `return(note)` writes the name into the log, so that hits can be counted.

/// Every place, for tests that go through all of them.
pub const NAMES: &[&str] = &[
    "checkout.index",
    "checkout.lfs",
    "checkout.publish",
    "checkout.sync",
    "commit.remove",
    "commit.rename",
    "commit.replace",
    "commit.second-name",
    "commit.sync",
    "commit.sync-dir",
    "commit.write",
    "current.flip",
    "current.previous",
    "generation.assemble",
    "generation.link",
    "generation.prune",
    "generation.publish",
    "generation.published",
    "generation.record",
    "generation.sync",
    "generation.unlink",
    "git.create",
    "git.discard",
    "git.fetch",
    "git.fetched",
    "instance.adopt",
    "instance.record",
    "instance.spawned",
    "job.answer",
    "job.input",
    "job.record",
    "lfs.keep",
    "lfs.place",
    "links.entry",
    "links.remove",
    "output.publish",
    "resolve.lock",
    "restore.file",
    "restore.index",
    "rollback.copy",
    "rollback.lock",
    "transfer.claim",
    "transfer.journal",
    "transfer.open",
    "transfer.prove",
    "transfer.publish",
    "transfer.published",
    "transfer.sync",
    "transfer.write",
    "uv.publish",
    "venv.repair",
];

/// How a disk may refuse, by the name that `errno(3)` gives it.
#[cfg(feature = "failpoints")]
pub const REFUSALS: &[(&str, nix::errno::Errno)] = &[
    ("EIO", nix::errno::Errno::EIO),
    ("ENOSPC", nix::errno::Errno::ENOSPC),
    ("EDQUOT", nix::errno::Errno::EDQUOT),
    ("EROFS", nix::errno::Errno::EROFS),
    ("EACCES", nix::errno::Errno::EACCES),
];

/// Reads what is to happen from the environment. Call it before the first [`hit`]; the returned value must
/// live as long as the places are to work.
#[cfg(feature = "failpoints")]
pub fn install() -> fail::FailScenario<'static> {
    fail::FailScenario::setup()
}

/// Does what the test asked for at this place, if anything. Blocks for as long as the test says.
///
/// # Errors
/// The refusal that the test asked for.
#[cfg(feature = "failpoints")]
pub fn hit(name: &'static str) -> std::io::Result<()> {
    debug_assert!(NAMES.contains(&name), "`{name}` is not among the names");
    fail::fail_point!(name, |action| act(name, action));
    Ok(())
}

#[cfg(feature = "failpoints")]
fn act(place: &'static str, action: Option<String>) -> std::io::Result<()> {
    let action = action.unwrap_or_default();
    match action.as_str() {
        "kill" => nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL)?,
        "note" => tracing::info!(place, "passed"),
        _ => {}
    }
    let refusal = REFUSALS.iter().find(|(name, _)| *name == action);
    refusal.map_or(Ok(()), |(_, errno)| Err((*errno).into()))
}

/// Does nothing: this program has no such places.
///
/// # Errors
/// None.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn hit(_name: &'static str) -> std::io::Result<()> {
    Ok(())
}
