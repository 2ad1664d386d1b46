//! Following an instance's log, for `logs --follow` and `ui`.

use crate::failure::Failure;
use crate::session::Session;
use proto::method::{Logs, Target};
use std::time::{Duration, Instant};

/// How often the log is asked for more.
const POLL: Duration = Duration::from_millis(300);

/// How long a sleep may keep a Ctrl-C waiting.
const NAP: Duration = Duration::from_millis(50);

/// Why following ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The instance ended: there will be no more.
    Log,
    /// The user stopped it.
    User,
    /// Nobody reads stdout any more.
    Reader,
}

/// Hands new text of the log to `show` until the instance or the user ends it, beginning at byte
/// `from`, or with the last `lines` lines. A Ctrl-C is taken: it ends the following well.
///
/// # Errors
/// What the daemon answered, or what `show` could not do.
pub fn follow(
    session: &mut Session,
    target: &Target,
    lines: usize,
    mut show: impl FnMut(&mut Session, &str) -> Result<(), Failure>,
) -> Result<Ended, Failure> {
    let mut from = None;
    loop {
        let answer = session.call(&Logs { target: target.clone(), from, lines });
        // A Ctrl-C during the call cancelled it; the answer does not matter any more.
        if session.interrupt.take() {
            return Ok(Ended::User);
        }
        let answer = answer?.read()?;
        show(session, &answer.text)?;
        if session.screen.reader_gone() {
            return Ok(Ended::Reader);
        }
        if !answer.running {
            return Ok(Ended::Log);
        }
        from = Some(answer.next);
        let until = Instant::now() + POLL;
        while Instant::now() < until && !session.interrupt.is_set() {
            std::thread::sleep(NAP);
        }
        if session.interrupt.take() {
            return Ok(Ended::User);
        }
    }
}
