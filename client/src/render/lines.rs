//! Progress as plain lines: a task begins, goes on (every ten seconds), ends.

use super::progress::{title, wait_words};
use super::units;
use proto::event::{ProgressState, TaskProgress, TaskState, Unit};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often a long task says that it goes on.
const EVERY: Duration = Duration::from_secs(10);

/// What was told so far, and what was last heard.
#[derive(Debug, Default)]
pub struct Lines {
    told: BTreeMap<u64, Told>,
    /// When each wait was told last.
    waits: BTreeMap<u64, Instant>,
    state: ProgressState,
}

#[derive(Debug)]
struct Told {
    state: TaskState,
    begun: Instant,
    last: Instant,
    done: u64,
}

impl Lines {
    /// Takes a new state; returns the lines that it gives, each with its end.
    pub fn update(&mut self, state: ProgressState, now: Instant) -> String {
        self.state = state;
        self.tick(now)
    }

    /// Returns the lines that are due by now.
    pub fn tick(&mut self, now: Instant) -> String {
        let mut text = String::new();
        self.waits.retain(|id, _| self.state.waits.iter().any(|wait| wait.id == *id));
        for wait in &self.state.waits {
            let is_due = self.waits.get(&wait.id).is_none_or(|last| now.duration_since(*last) >= EVERY);
            if is_due {
                self.waits.insert(wait.id, now);
                text += &format!("waiting for {}\n", wait_words(wait));
            }
        }
        for task in &self.state.tasks {
            if let Some(line) = tell(&mut self.told, task, now) {
                text += &format!("{}: {line}\n", title(task));
            }
        }
        text
    }
}

fn tell(told: &mut BTreeMap<u64, Told>, task: &TaskProgress, now: Instant) -> Option<String> {
    let detail = if task.detail.is_empty() { String::new() } else { format!(", {}", task.detail) };
    let Some(before) = told.get_mut(&task.id) else {
        // A task that waits without a reason is not worth a line: it will begin or never be needed.
        if task.state == TaskState::Waiting && task.detail.is_empty() {
            return None;
        }
        told.insert(task.id, Told { state: task.state, begun: now, last: now, done: task.done });
        return Some(match task.state {
            TaskState::Waiting => format!("waiting{detail}"),
            TaskState::Running => format!("started{detail}"),
            TaskState::Done => "done".to_owned(),
            TaskState::Failed => format!("failed{detail}"),
        });
    };
    let elapsed = now.duration_since(before.begun);
    if before.state != task.state {
        before.state = task.state;
        before.last = now;
        let size = if task.unit == Unit::Bytes && task.done > 0 {
            format!(", {}", units::bytes(task.done))
        } else {
            String::new()
        };
        return Some(match task.state {
            TaskState::Waiting => format!("waiting{detail}"),
            TaskState::Running => {
                before.begun = now;
                format!("started{detail}")
            }
            TaskState::Done => format!("done in {}{size}", units::duration(elapsed)),
            TaskState::Failed => format!("failed after {}{detail}", units::duration(elapsed)),
        });
    }
    let since = now.duration_since(before.last);
    if since < EVERY || matches!(task.state, TaskState::Done | TaskState::Failed) {
        return None;
    }
    let amount = amount(task, task.done.saturating_sub(before.done), since);
    before.last = now;
    before.done = task.done;
    Some(format!("{amount}after {}{detail}", units::duration(elapsed)))
}

/// Renders how much of a task is done, and for bytes how fast, followed by a comma; may be empty.
fn amount(task: &TaskProgress, new: u64, since: Duration) -> String {
    let of = |shown: fn(u64) -> String| match task.total {
        Some(total) => format!("{} of {}", shown(task.done), shown(total)),
        None => shown(task.done),
    };
    let speed = || units::bytes(new * 1000 / u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1));
    match task.unit {
        Unit::Bytes => format!("{}, {}/s, ", of(units::bytes), speed()),
        Unit::Objects => format!("{} objects, ", of(|n| n.to_string())),
        Unit::Files => format!("{} files, ", of(|n| n.to_string())),
        Unit::Packages => format!("{} packages, ", of(|n| n.to_string())),
        Unit::Steps => format!("{} steps, ", of(|n| n.to_string())),
        Unit::Nothing => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::event::{TaskKind, Wait};

    fn model(state: TaskState, done: u64) -> ProgressState {
        let task = TaskProgress {
            id: 1,
            kind: TaskKind::Model,
            label: "loras/x.safetensors".to_owned(),
            state,
            done,
            total: Some(4 << 30),
            unit: Unit::Bytes,
            detail: String::new(),
        };
        ProgressState { phase: "execute".to_owned(), tasks: vec![task], ..ProgressState::default() }
    }

    #[test]
    fn a_download_begins_goes_on_and_ends() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut lines = Lines::default();
        assert_eq!(lines.update(model(TaskState::Waiting, 0), at(0)), "");
        assert_eq!(lines.update(model(TaskState::Running, 0), at(1)), "model loras/x.safetensors: started\n");
        assert_eq!(lines.update(model(TaskState::Running, 1 << 29), at(6)), "");
        assert_eq!(
            lines.update(model(TaskState::Running, 1 << 30), at(11)),
            "model loras/x.safetensors: 1.00 GiB of 4.00 GiB, 102.40 MiB/s, after 10.0 s\n"
        );
        assert_eq!(
            lines.update(model(TaskState::Done, 4 << 30), at(61)),
            "model loras/x.safetensors: done in 1 min 00 s, 4.00 GiB\n"
        );
        assert_eq!(lines.tick(at(90)), "");
    }

    #[test]
    fn a_wait_says_who_has_it_and_how_long_it_may_take() {
        let wait = Wait {
            id: 1,
            for_what: "/v/comfy-x".to_owned(),
            holder: "pid 7 on h".to_owned(),
            for_ms: 2_000,
            left_ms: 58_000,
        };
        let state = ProgressState { waits: vec![wait], ..ProgressState::default() };
        let (mut lines, start) = (Lines::default(), Instant::now());
        let line = "waiting for /v/comfy-x, held by pid 7 on h, for 2.0 s, at most 58.0 s more\n";
        assert_eq!(lines.update(state.clone(), start), line);
        assert_eq!(lines.update(state.clone(), start + Duration::from_secs(9)), "");
        assert_eq!(lines.update(state.clone(), start + Duration::from_secs(10)), line);
        assert_eq!(lines.update(ProgressState::default(), start + Duration::from_secs(30)), "");
    }

    #[test]
    fn silence_of_the_daemon_does_not_silence_a_long_task() {
        let start = Instant::now();
        let mut lines = Lines::default();
        lines.update(model(TaskState::Running, 5), start);
        assert_eq!(lines.tick(start + Duration::from_secs(9)), "");
        assert_eq!(
            lines.tick(start + Duration::from_secs(10)),
            "model loras/x.safetensors: 5 B of 4.00 GiB, 0 B/s, after 10.0 s\n"
        );
    }

    #[test]
    fn a_task_that_was_over_before_is_told_once() {
        let start = Instant::now();
        let mut lines = Lines::default();
        assert_eq!(lines.update(model(TaskState::Done, 1), start), "model loras/x.safetensors: done\n");
        assert_eq!(lines.update(model(TaskState::Done, 1), start), "");
    }
}
