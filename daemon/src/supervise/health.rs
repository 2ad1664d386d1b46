//! Whether a ready ComfyUI still gets anywhere, judged from looks at it: pure functions.
//!
//! That it answers proves little. Its one worker thread may have ended while the server goes on taking
//! prompts, without a word in the log if a node calls `sys.exit`: ComfyUI then lists its last prompt as
//! running for ever (0.3.75's `main.py` `prompt_worker`, `execution.py` `PromptQueue`). A long prompt looks
//! the same, and one that waits for a service on the network uses no processor time either; so a thread
//! must be missing as well. And a process that is stuck in a driver answers nothing and does nothing,
//! whereas one that loads a model from a slow volume at least has its pages read.

use std::time::Duration;

/// How long something may look wrong before it counts as wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// A process may load.
    pub loading: Duration,
    /// Until a start that came to nothing is repeated for the first time.
    pub pause: Duration,
    /// Between two requests to a ready process.
    pub asking: Duration,
    /// Prompts wait and none is executed.
    pub unexecuted: Duration,
    /// A prompt is listed as running, a thread is gone, and nothing is computed.
    pub idle: Duration,
    /// Neither an answer nor a sign of work.
    pub silent: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            // Generous: from a cold network volume it takes many minutes, and a process that dies is
            // noticed without it.
            loading: Duration::from_secs(20 * 60),
            pause: Duration::from_millis(500),
            asking: Duration::from_secs(3),
            unexecuted: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            silent: Duration::from_secs(3 * 60),
        }
    }
}

/// What ComfyUI's queue looked like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    /// No answer in time.
    Silent,
    /// Nobody listens on its port.
    Refused,
    /// Nothing to do.
    Empty,
    /// Prompts wait, and none is executed.
    Waiting,
    /// A prompt is executed, it says.
    Running,
}

/// One look at a process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// When, counted from any moment.
    pub(super) at: Duration,
    /// Its queue.
    pub(super) queue: Queue,
    /// Processor time that it used so far.
    pub(super) used: Duration,
    /// How often it waited for a page so far.
    pub(super) pages: u64,
    /// Whether a thread is gone that it had when it last had nothing to do.
    pub(super) thread_gone: bool,
}

/// What looks at a process amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing is wrong, or not for long enough.
    Well,
    /// It closed its port and lives: it starts itself anew.
    Restarts,
    /// It will get nowhere any more.
    Useless(&'static str),
}

/// Looks of one kind in a row that make up a finding, so that no single one does.
const IN_A_ROW: usize = 3;

/// Judges looks, the earliest first.
pub(super) fn judge(looks: &[Look], patience: &Patience) -> Verdict {
    let last = |is: fn(&Look) -> bool| {
        let count = looks.iter().rev().take_while(|look| is(look)).count();
        &looks[looks.len() - count..]
    };
    let for_long = |looks: &[Look], limit: Duration| looks.len() >= IN_A_ROW && span(looks) >= limit;
    if last(|look| look.queue == Queue::Refused).len() >= 2 {
        return Verdict::Restarts;
    }
    if for_long(last(|look| look.queue == Queue::Waiting), patience.unexecuted) {
        return Verdict::Useless("prompts wait and it executes none of them");
    }
    let stuck = recent(last(|look| look.queue == Queue::Running && look.thread_gone), patience.idle);
    if for_long(stuck, patience.idle) && rests(stuck) {
        return Verdict::Useless("its worker thread ended, it would execute nothing any more");
    }
    let silent = recent(last(|look| look.queue == Queue::Silent), patience.silent);
    if for_long(silent, patience.silent) && rests(silent) && reads_nothing(silent) {
        return Verdict::Useless("it neither answers nor works any more");
    }
    Verdict::Well
}

fn span(looks: &[Look]) -> Duration {
    match looks {
        [first, .., last] => last.at.saturating_sub(first.at),
        _ => Duration::ZERO,
    }
}

/// Returns the last looks, as few of them as span `limit` and make up a finding: work long ago says nothing
/// of now.
fn recent(looks: &[Look], limit: Duration) -> &[Look] {
    let enough = (looks.len() + 1).saturating_sub(IN_A_ROW);
    let first = (0..enough).rev().find(|first| span(&looks[*first..]) >= limit);
    &looks[first.unwrap_or(0)..]
}

/// Tells whether less than a fiftieth of one processor was used: as much as answering us takes.
fn rests(looks: &[Look]) -> bool {
    let [first, .., last] = looks else { return false };
    last.used.saturating_sub(first.used) * 50 <= span(looks)
}

fn reads_nothing(looks: &[Look]) -> bool {
    let [first, .., last] = looks else { return false };
    first.pages == last.pages
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATIENCE: Patience = Patience {
        loading: Duration::MAX,
        pause: Duration::ZERO,
        asking: Duration::from_secs(1),
        unexecuted: Duration::from_secs(10),
        idle: Duration::from_secs(60),
        silent: Duration::from_secs(180),
    };

    /// Looks at each of `seconds`, at a process that works this much: a hundredth of a processor's time.
    fn looks(seconds: u64, queue: Queue, effort: u32, pages: u64, thread_gone: bool) -> Vec<Look> {
        let second = |second: u64| Look {
            at: Duration::from_secs(second),
            queue,
            used: Duration::from_secs(second) * effort / 100,
            pages: pages * second,
            thread_gone,
        };
        (0..=seconds).map(second).collect()
    }

    #[test]
    fn only_what_gets_nowhere_is_useless() {
        let useless = |verdict: Verdict| matches!(verdict, Verdict::Useless(_));
        for (what, looks, expected) in [
            ("nothing to do", looks(9999, Queue::Empty, 0, 0, true), false),
            ("a long prompt", looks(9999, Queue::Running, 90, 0, true), false),
            ("a prompt that waits for the network", looks(9999, Queue::Running, 0, 0, false), false),
            ("the worker ended just now", looks(59, Queue::Running, 1, 0, true), false),
            ("the worker ended", looks(60, Queue::Running, 1, 0, true), true),
            ("between two prompts", looks(9, Queue::Waiting, 0, 0, false), false),
            ("nobody takes a prompt", looks(10, Queue::Waiting, 99, 0, false), true),
            ("a model loads", looks(9999, Queue::Silent, 90, 0, false), false),
            ("a model loads from a slow volume", looks(9999, Queue::Silent, 1, 5, false), false),
            ("silence is short", looks(179, Queue::Silent, 0, 0, false), false),
            ("stuck", looks(180, Queue::Silent, 0, 0, false), true),
            ("two looks are too few", looks(1, Queue::Waiting, 0, 0, false), false),
        ] {
            assert_eq!(useless(judge(&looks, &PATIENCE)), expected, "{what}");
        }
        assert_eq!(judge(&looks(0, Queue::Refused, 0, 0, false), &PATIENCE), Verdict::Well);
        assert_eq!(judge(&looks(1, Queue::Refused, 0, 0, false), &PATIENCE), Verdict::Restarts);
        let seldom: Vec<Look> = looks(600, Queue::Silent, 0, 0, false).into_iter().step_by(200).collect();
        assert!(useless(judge(&seldom, &PATIENCE)), "looks that are far apart are looks");
        let mut worked = looks(100, Queue::Running, 99, 0, true);
        let end = worked[100];
        worked.extend((101..=161).map(|at| Look { at: Duration::from_secs(at), ..end }));
        assert!(useless(judge(&worked, &PATIENCE)), "it worked, but that is long ago");
    }

    proptest! {
        /// One sign of life is enough: an empty queue at the last look, whatever was before.
        #[test]
        fn who_has_nothing_to_do_is_well(
            kinds in proptest::collection::vec((0_usize..5, any::<bool>(), 0_u64..9), 0..200),
        ) {
            let all = [Queue::Silent, Queue::Refused, Queue::Empty, Queue::Waiting, Queue::Running];
            let mut looks: Vec<Look> = Vec::new();
            for (kind, thread_gone, pause) in kinds {
                let at = looks.last().map_or(Duration::ZERO, |look| look.at) + Duration::from_secs(pause);
                looks.push(Look { at, queue: all[kind], used: Duration::ZERO, pages: 0, thread_gone });
            }
            let at = looks.last().map_or(Duration::ZERO, |look| look.at);
            looks.push(Look { at, queue: Queue::Empty, used: Duration::ZERO, pages: 0, thread_gone: true });
            prop_assert_eq!(judge(&looks, &PATIENCE), Verdict::Well);
        }
    }
}
