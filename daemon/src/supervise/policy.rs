//! What to do, decided from what is: pure functions without clock, disk or process.

/// What tells one running ComfyUI of a home from another.
#[derive(Debug, Clone, PartialEq, Eq)]
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

    #[test]
    fn a_dead_worker_shows_in_the_log() {
        assert!(worker_died("x\nException in thread Thread-3 (prompt_worker):\nTraceback"));
        assert!(!worker_died("Exception in thread Thread-4 (downloader):"));
    }
}
