//! What to do, decided from what is: pure functions without clock, disk or process.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What tells one running ComfyUI of a home from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// The generation it runs.
    pub(super) generation: String,
    /// Digest of the environment and the arguments it was started with.
    pub(super) settings: String,
    /// The address or addresses it listens on, as ComfyUI's `--listen` takes them.
    pub(super) listen: String,
    /// The port it listens on.
    pub(super) port: u16,
}

/// What a caller wants of a home's ComfyUI.
#[derive(Debug, Clone, Copy)]
pub(super) struct Demand<'a> {
    /// The generation it must run.
    pub(super) generation: &'a str,
    /// Digest of the environment and the arguments it must have been started with.
    pub(super) settings: &'a str,
    /// The address it must listen on, if it matters.
    pub(super) listen: Option<&'a str>,
    /// The port it must listen on, if it matters.
    pub(super) port: Option<u16>,
}

/// How a home's ComfyUI stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Now<'a> {
    /// Nothing runs.
    Down,
    /// It loads.
    Starting(&'a Identity),
    /// It answers.
    Ready(&'a Identity),
}

/// What a demand leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Hand out what runs.
    Answer,
    /// Wait with those who wait already.
    Join,
    /// Start it.
    Start,
    /// Stop what runs, which is another generation or was started otherwise, and start.
    Replace,
    /// Say no: what runs listens here instead.
    Refuse(String),
}

/// Decides what a demand leads to.
pub(super) fn decide(now: Now<'_>, demand: Demand<'_>) -> Action {
    let (identity, fits) = match now {
        Now::Down => return Action::Start,
        Now::Starting(identity) => (identity, Action::Join),
        Now::Ready(identity) => (identity, Action::Answer),
    };
    if (identity.generation.as_str(), identity.settings.as_str()) != (demand.generation, demand.settings) {
        return Action::Replace;
    }
    let other_port = demand.port.is_some_and(|port| port != identity.port);
    let other_listen = demand.listen.is_some_and(|listen| listen != identity.listen);
    if other_port || other_listen {
        return Action::Refuse(format!("{}:{}", identity.listen, identity.port));
    }
    fits
}

/// How often a start is repeated because someone took the free port that was found for it.
const PORT_RETRIES: u32 = 3;

/// Decides whether a ComfyUI that died while it loaded is started once more: only if the port it was
/// given had been taken meanwhile, which says nothing about the version.
pub(super) fn start_again(tail: &[String], port_was_asked_for: bool, starts: u32) -> bool {
    let taken = tail.iter().any(|line| {
        let line = line.to_ascii_lowercase();
        line.contains("address already in use") || line.contains("[errno 98]")
    });
    taken && !port_was_asked_for && starts <= PORT_RETRIES
}

/// How far back deaths count.
pub(super) const WINDOW: Duration = Duration::from_secs(10 * 60);

/// A process that answered for this long was of use: its death does not count as one of a start that
/// goes wrong.
const SETTLED: Duration = Duration::from_secs(10);

/// After this many fruitless starts in a row nothing is started until the first of them is forgotten.
const FRUITLESS: usize = 5;

/// The same for deaths of any kind: one every 20 s.
const MANY: usize = 30;

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A process that ended without being asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Death {
    /// When, on the clock of the one who asks.
    pub(super) at: Duration,
    /// How long it had answered.
    pub(super) served: Duration,
}

/// Whether something that died is started once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MayStart {
    /// At once.
    Now,
    /// After a pause.
    After(Duration),
    /// Not before then: it has died this often lately.
    Not {
        /// When it may be tried again, on the clock of the one who asks.
        until: Duration,
        /// Deaths that count.
        deaths: usize,
    },
}

/// Decides whether something is started that died at these times, the earliest first. Starts that come to
/// nothing are repeated after pauses, the first one this long and each that follows four times as long, and
/// then not any more for a while. What was of use is started again at once, unless it dies all the time.
pub(super) fn may_start(deaths: &[Death], now: Duration, pause: Duration) -> MayStart {
    let recent: Vec<&Death> = deaths.iter().filter(|death| death.at + WINDOW > now).collect();
    let fruitless = recent.iter().rev().take_while(|death| death.served < SETTLED).count();
    let forgotten = |limit: usize| recent.len().checked_sub(limit).map(|index| recent[index].at + WINDOW);
    let too_fruitless = if fruitless >= FRUITLESS { forgotten(FRUITLESS) } else { None };
    if let Some(until) = too_fruitless.max(forgotten(MANY)) {
        return MayStart::Not {
            until,
            deaths: if too_fruitless.is_some() { fruitless } else { recent.len() },
        };
    }
    let Some(last) = recent.last().filter(|_| fruitless > 0) else { return MayStart::Now };
    let pause = (1..fruitless).fold(pause, |pause, _| (pause * 4).min(LONGEST_PAUSE));
    match (last.at + pause).saturating_sub(now) {
        Duration::ZERO => MayStart::Now,
        rest => MayStart::After(rest),
    }
}

/// Tells whether the log says that ComfyUI's one worker thread has died. The process then goes on
/// answering and taking prompts that it never executes (ComfyUI issue 16312).
pub(super) fn worker_died(log: &str) -> bool {
    log.lines().any(|line| line.contains("Exception in thread") && line.contains("(prompt_worker)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demand_leads_to_one_action() {
        let runs =
            Identity { generation: "a".into(), settings: "s".into(), listen: "127.0.0.1".into(), port: 8188 };
        let refused = Action::Refuse("127.0.0.1:8188".into());
        let table = [
            // generation, listen, port → while starting, when ready
            ("a", None, None, Action::Join, Action::Answer),
            ("a", None, Some(8188), Action::Join, Action::Answer),
            ("a", Some("127.0.0.1"), Some(8188), Action::Join, Action::Answer),
            ("a", None, Some(1), refused.clone(), refused.clone()),
            ("a", Some("0.0.0.0"), None, refused.clone(), refused),
            ("b", None, None, Action::Replace, Action::Replace),
            ("b", None, Some(1), Action::Replace, Action::Replace),
        ];
        for (generation, listen, port, starting, ready) in table {
            let demand = Demand { generation, settings: "s", listen, port };
            assert_eq!(decide(Now::Down, demand), Action::Start, "{demand:?}");
            assert_eq!(decide(Now::Starting(&runs), demand), starting, "{demand:?}");
            assert_eq!(decide(Now::Ready(&runs), demand), ready, "{demand:?}");
            let otherwise = Demand { settings: "t", ..demand };
            assert_eq!(decide(Now::Ready(&runs), otherwise), Action::Replace, "{otherwise:?}");
        }
    }

    #[test]
    fn only_a_lost_race_for_a_port_is_repeated() {
        let taken = ["OSError: [Errno 98] error while attempting to bind on address".to_owned()];
        assert!(start_again(&taken, false, 1));
        assert!(!start_again(&taken, true, 1), "the port was asked for");
        assert!(!start_again(&taken, false, PORT_RETRIES + 1), "there is an end to it");
        assert!(!start_again(&["ModuleNotFoundError".to_owned()], false, 1), "it would die again");
    }

    const PAUSE: Duration = Duration::from_millis(500);

    fn deaths(at: &[(u64, u64)]) -> Vec<Death> {
        let seconds = Duration::from_secs;
        at.iter().map(|(at, served)| Death { at: seconds(*at), served: seconds(*served) }).collect()
    }

    #[test]
    fn fruitless_starts_are_repeated_ever_later_and_then_not_at_all() {
        let after = |millis| MayStart::After(Duration::from_millis(millis));
        let table = [
            (&[][..], 9, MayStart::Now),
            (&[(9, 0)][..], 9, after(500)),
            (&[(9, 0)][..], 10, MayStart::Now),
            (&[(8, 0), (9, 9)][..], 9, after(2000)),
            (&[(8, 0), (9, 10)][..], 9, MayStart::Now),
            (&[(6, 0), (7, 0), (8, 0), (9, 0)][..], 9, after(32_000)),
            (
                &[(5, 0), (6, 0), (7, 0), (8, 0), (9, 0)][..],
                50,
                MayStart::Not { until: Duration::from_secs(605), deaths: 5 },
            ),
            (&[(5, 0), (6, 0), (7, 0), (8, 0), (9, 0)][..], 605, MayStart::Now),
        ];
        for (at, now, expected) in table {
            assert_eq!(may_start(&deaths(at), Duration::from_secs(now), PAUSE), expected, "{at:?} at {now}");
        }
    }

    proptest::proptest! {
        /// Whatever dies however often: it is never started more than MANY times in a window, a refusal has
        /// an end, and what was of use is started at once.
        #[test]
        fn there_is_an_end_to_every_loop(lives in proptest::collection::vec((0_u64..40, 0_u64..40), 1..200)) {
            let (mut now, mut died, mut starts) = (Duration::ZERO, Vec::<Death>::new(), Vec::new());
            for (loading, served) in lives {
                match may_start(&died, now, PAUSE) {
                    MayStart::Now => {}
                    MayStart::After(pause) => {
                        proptest::prop_assert!(pause <= LONGEST_PAUSE && died.last().unwrap().served < SETTLED);
                        now += pause;
                    }
                    MayStart::Not { until, .. } => {
                        proptest::prop_assert!(until > now && until <= now + WINDOW);
                        now = until;
                        let again = may_start(&died, now, PAUSE);
                        proptest::prop_assert!(!matches!(again, MayStart::Not { .. }), "{again:?}");
                    }
                }
                starts.push(now);
                now += Duration::from_secs(loading + served);
                died.push(Death { at: now, served: Duration::from_secs(served) });
                let recent = died.iter().filter(|death| death.at + WINDOW > now).count();
                proptest::prop_assert!(recent <= MANY, "{recent} deaths in {WINDOW:?}");
            }
        }
    }

    #[test]
    fn a_dead_worker_shows_in_the_log() {
        assert!(worker_died("x\nException in thread Thread-3 (prompt_worker):\nTraceback"));
        assert!(!worker_died("Exception in thread Thread-4 (downloader):"));
    }
}
