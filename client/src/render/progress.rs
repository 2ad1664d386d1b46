//! Progress of a call: bars on a terminal, plain lines elsewhere, only warnings when quiet.
//!
//! The daemon sends the whole state each time, so showing it is a comparison with what is shown, and
//! a state that was skipped is not missed.

use super::bars::Bars;
use super::lines::Lines;
use super::screen::Screen;
use super::units::millis;
use crate::connection::Listener;
use proto::event::{ProgressState, TaskKind, TaskProgress, Wait};
use std::time::Instant;

/// Shows the progress of one call.
pub struct Reporter<'a> {
    screen: &'a mut Screen,
    view: View,
    last_note: u64,
}

enum View {
    Bars(Bars),
    Lines(Lines),
    Nothing,
}

impl<'a> Reporter<'a> {
    /// Shows nothing until there is progress.
    pub fn new(screen: &'a mut Screen) -> Self {
        let view = match (screen.quiet, screen.has_bars) {
            (true, _) => View::Nothing,
            (false, true) => View::Bars(Bars::new(screen.marks)),
            (false, false) => View::Lines(Lines::default()),
        };
        Self { screen, view, last_note: 0 }
    }

    /// Takes the bars off the terminal; lines stay.
    pub fn finish(self) {
        if let View::Bars(bars) = self.view {
            bars.clear();
        }
    }

    fn line(&self, line: &str) {
        match &self.view {
            View::Bars(bars) => bars.above(&self.screen.spelt(line)),
            View::Lines(_) | View::Nothing => self.screen.say(&format!("{line}\n")),
        }
    }

    fn notes(&mut self, state: &ProgressState) {
        for note in state.notes.iter().filter(|note| note.seq > self.last_note) {
            if note.warning {
                if let Some(line) = self.screen.warning(&note.text) {
                    self.line(&line);
                }
            } else if !self.screen.quiet {
                self.line(&note.text);
            }
        }
        self.last_note = state.notes.last().map_or(self.last_note, |note| note.seq);
    }
}

impl Listener for Reporter<'_> {
    fn progress(&mut self, state: ProgressState) {
        self.notes(&state);
        let now = Instant::now();
        match &mut self.view {
            View::Bars(bars) => bars.update(&state, now),
            View::Lines(lines) => self.screen.say(&lines.update(state, now)),
            View::Nothing => {}
        }
    }

    fn tick(&mut self) {
        match &mut self.view {
            View::Bars(bars) => bars.tick(),
            View::Lines(lines) => self.screen.say(&lines.tick(Instant::now())),
            View::Nothing => {}
        }
    }

    fn cancelling(&mut self) {
        if !self.screen.quiet {
            self.line("stopping; press Ctrl-C again to leave at once");
        }
    }
}

/// Says what is waited for, who has it, and how long that may take, after "waiting for ".
pub fn wait_words(wait: &Wait) -> String {
    let held = if wait.holder.is_empty() { String::new() } else { format!(", held by {}", wait.holder) };
    let (so_far, left) = (millis(wait.for_ms), millis(wait.left_ms));
    format!("{}{held}, for {so_far}, at most {left} more", wait.for_what)
}

/// Names a task: its kind and what it is about, unless the one says the other.
pub(super) fn title(task: &TaskProgress) -> String {
    match task.kind {
        TaskKind::Packages | TaskKind::Generation | TaskKind::Workflow => task.label.clone(),
        kind => format!("{} {}", word(kind), task.label),
    }
}

/// Names a task where there is little room.
pub(super) fn name(task: &TaskProgress) -> String {
    match task.kind {
        // A path or a repository's name speaks for itself.
        TaskKind::Model | TaskKind::Repository => task.label.clone(),
        _ => title(task),
    }
}

/// Names a kind of work in one word.
fn word(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::Repository => "repository",
        TaskKind::Packages => "packages",
        TaskKind::Model => "model",
        TaskKind::InstallScript => "install.py",
        TaskKind::Generation => "generation",
        TaskKind::Instance => "ComfyUI",
        TaskKind::Workflow => "workflow",
    }
}
