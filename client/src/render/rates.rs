//! How fast the work goes that `status` tells of, from what it told before.

use proto::event::{TaskProgress, Unit};
use proto::method::StatusAnswer;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a measurement takes at least: what comes in pieces looks fast and slow in turn otherwise.
const STEP: Duration = Duration::from_millis(900);

/// Speeds of what counts bytes. Knows nothing at first.
#[derive(Debug, Default)]
pub struct Rates {
    seen: BTreeMap<Key, Seen>,
}

/// Home, number and name of a task.
type Key = (String, u64, String);

#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Instant,
    done: u64,
    /// Bytes a second; none before the second look.
    rate: Option<u64>,
}

impl Rates {
    /// Takes in what was told at `now`.
    pub fn update(&mut self, status: &StatusAnswer, now: Instant) {
        let mut seen = BTreeMap::new();
        for job in &status.jobs {
            for task in job.work.tasks.iter().filter(|task| task.unit == Unit::Bytes) {
                let key = key(&job.home, task);
                let new = Seen { at: now, done: task.done, rate: None };
                let known = self.seen.get(&key).map_or(new, |before| before.then(new));
                seen.insert(key, known);
            }
        }
        // What is not told any more has ended.
        self.seen = seen;
    }

    /// Returns how many bytes of a task come in a second, where that is known.
    pub fn of(&self, home: &str, task: &TaskProgress) -> Option<u64> {
        self.seen.get(&key(home, task))?.rate
    }
}

impl Seen {
    fn then(self, new: Self) -> Self {
        let took = new.at.duration_since(self.at);
        if took < STEP {
            return self;
        }
        let more = u128::from(new.done.saturating_sub(self.done));
        let now = u64::try_from(more * 1000 / took.as_millis().max(1)).unwrap_or(u64::MAX);
        // Half of what it was before: a pause of a second does not look like the end.
        let rate = self.rate.map_or(now, |before| before / 2 + now / 2);
        Self { rate: Some(rate), ..new }
    }
}

fn key(home: &str, task: &TaskProgress) -> Key {
    (home.to_owned(), task.id, task.label.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(done: u64) -> StatusAnswer {
        let task = json!({"id": 1, "kind": "model", "label": "loras/x", "state": "running", "done": done, "unit": "bytes"});
        let job = json!({"version_id": "x", "home": "/h", "phase": "execute", "waiting": 1,
                         "work": {"ended": 0, "known": 1, "tasks": [task]}});
        let answer = json!({"version": "1", "pid": 7, "uptime_s": 1, "socket": "/s", "places": {}, "instances": [], "jobs": [job]});
        serde_json::from_value(answer).unwrap()
    }

    #[test]
    fn a_rate_is_known_from_the_second_look_on() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        let mut at = |ms: u64, done: u64| {
            let status = status(done);
            rates.update(&status, start + Duration::from_millis(ms));
            rates.of("/h", &status.jobs[0].work.tasks[0])
        };
        assert_eq!(at(0, 100), None);
        assert_eq!(at(250, 600), None, "too soon");
        assert_eq!(at(1000, 2100), Some(2000));
        assert_eq!(at(2000, 2100), Some(1000), "a pause");
        let mut empty = status(0);
        empty.jobs.clear();
        rates.update(&empty, start);
        assert_eq!(rates.of("/h", &status(0).jobs[0].work.tasks[0]), None);
    }
}
