//! Progress as bars on a terminal.
//!
//! Only tasks that work, or that say what they wait for, have a bar; a task that ended becomes one
//! line above the bars. A last line tells the phase and how many tasks wait. Nothing draws from a
//! thread of its own: the call's wait ticks.

use super::progress::{name, wait_words};
use super::{Marks, units};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use owo_colors::OwoColorize as _;
use proto::event::{ProgressState, TaskProgress, TaskState, Unit, Wait};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Width of a task's name, so that a bar with its figures fits into 80 columns.
const NAME: usize = 26;

/// The bars on the terminal.
pub struct Bars {
    marks: Marks,
    multi: MultiProgress,
    shown: BTreeMap<u64, Shown>,
    ended: BTreeSet<u64>,
    waits: BTreeMap<u64, ProgressBar>,
    footer: Option<ProgressBar>,
}

struct Shown {
    bar: ProgressBar,
    begun: Instant,
    look: Look,
}

/// What a bar looks like; it changes when a task learns its total.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Bytes,
    Counted,
    Spinner,
}

impl Bars {
    /// Draws nothing yet.
    pub fn new(marks: Marks) -> Self {
        let multi = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(15));
        Self {
            marks,
            multi,
            shown: BTreeMap::new(),
            ended: BTreeSet::new(),
            waits: BTreeMap::new(),
            footer: None,
        }
    }

    /// Makes the bars equal to the state.
    pub fn update(&mut self, state: &ProgressState, now: Instant) {
        let mut waiting = 0;
        for task in &state.tasks {
            match task.state {
                TaskState::Waiting if task.detail.is_empty() => waiting += 1,
                TaskState::Waiting | TaskState::Running => self.show(task, now),
                TaskState::Done | TaskState::Failed => self.end(task, now),
            }
        }
        self.show_waits(&state.waits);
        let footer = self.footer.get_or_insert_with(|| {
            let bar = self.multi.add(ProgressBar::new_spinner());
            bar.set_style(style("  {spinner:.cyan} {msg:.dim} {elapsed:.dim}", self.marks));
            bar
        });
        footer.set_message(match waiting {
            0 => state.phase.clone(),
            some => format!("{}, {some} waiting", state.phase),
        });
    }

    /// Turns the spinners.
    pub fn tick(&self) {
        for bar in self.shown.values().map(|shown| &shown.bar).chain(self.waits.values()).chain(&self.footer)
        {
            bar.tick();
        }
    }

    /// Writes a line above the bars.
    pub fn above(&self, line: &str) {
        let stderr = std::io::stderr();
        let colours = anstream::AutoStream::choice(&stderr) != anstream::ColorChoice::Never;
        let line = if colours { line.to_owned() } else { anstream::adapter::strip_str(line).to_string() };
        // A terminal that cannot be written has nobody in front of it.
        self.multi.println(line).ok();
    }

    /// Takes the bars away.
    pub fn clear(self) {
        self.multi.clear().ok();
    }

    fn show_waits(&mut self, waits: &[Wait]) {
        let over = |(id, _): &(&u64, &ProgressBar)| !waits.iter().any(|wait| wait.id == **id);
        for id in self.waits.iter().filter(over).map(|(id, _)| *id).collect::<Vec<_>>() {
            self.waits.remove(&id).iter().for_each(|bar| self.multi.remove(bar));
        }
        for wait in waits {
            let bar = self.waits.entry(wait.id).or_insert_with(|| {
                let bar = self.multi.insert(0, ProgressBar::no_length());
                bar.set_style(style(WAIT, self.marks));
                bar
            });
            bar.set_message(format!("waiting for {}", wait_words(wait)));
        }
    }

    fn show(&mut self, task: &TaskProgress, now: Instant) {
        let look = look(task);
        let shown = self.shown.entry(task.id).or_insert_with(|| {
            let bar = match &self.footer {
                Some(footer) => self.multi.insert_before(footer, ProgressBar::no_length()),
                None => self.multi.add(ProgressBar::no_length()),
            };
            bar.set_style(style(template(look), self.marks));
            bar.set_prefix(format!("{:NAME$}", units::fit(&name(task), NAME, self.marks.cut)));
            // What was done before this client came says nothing about the speed.
            bar.set_position(task.done);
            bar.reset_eta();
            Shown { bar, begun: now, look }
        });
        if shown.look != look {
            shown.look = look;
            shown.bar.set_style(style(template(look), self.marks));
        }
        if let Some(total) = task.total {
            shown.bar.set_length(total);
        }
        shown.bar.set_position(task.done);
        shown.bar.set_message(task.detail.clone());
    }

    fn end(&mut self, task: &TaskProgress, now: Instant) {
        if !self.ended.insert(task.id) {
            return;
        }
        let shown = self.shown.remove(&task.id);
        let elapsed = shown.map(|shown| {
            self.multi.remove(&shown.bar);
            now.duration_since(shown.begun)
        });
        let mut facts = Vec::new();
        if task.unit == Unit::Bytes && task.done > 0 {
            facts.push(units::bytes(task.done));
        }
        if let Some(elapsed) = elapsed.filter(|elapsed| elapsed.as_millis() >= 100) {
            facts.push(units::duration(elapsed));
        }
        let mark = match task.state {
            TaskState::Failed => self.marks.bad.red().to_string(),
            _ => self.marks.good.green().to_string(),
        };
        self.above(&format!("  {mark} {}  {}", name(task), facts.join(", ").dimmed()));
    }
}

fn look(task: &TaskProgress) -> Look {
    match (task.unit, task.total) {
        (_, None | Some(0)) | (Unit::Nothing, _) => Look::Spinner,
        (Unit::Bytes, _) => Look::Bytes,
        _ => Look::Counted,
    }
}

const WAIT: &str = "  {spinner:.yellow} {wide_msg}";

fn template(look: Look) -> &'static str {
    match look {
        Look::Bytes => {
            "  {prefix} {bar:12.cyan} {binary_bytes:>10}/{binary_total_bytes} {binary_bytes_per_sec} {eta}"
        }
        Look::Counted => "  {prefix} {bar:12.cyan} {pos}/{len} {wide_msg:.dim}",
        Look::Spinner => "  {prefix} {spinner:.cyan} {wide_msg:.dim}",
    }
}

/// Makes a style; a template that indicatif does not take (a test parses them all) gives its default.
fn style(template: &str, marks: Marks) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars(marks.bar)
        .tick_chars(marks.spinner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indicatif_takes_every_template() {
        for look in [Look::Bytes, Look::Counted, Look::Spinner] {
            assert!(ProgressStyle::with_template(template(look)).is_ok(), "{look:?}");
        }
        assert!(ProgressStyle::with_template(WAIT).is_ok());
    }

    #[test]
    fn marks_make_bars_and_spinners() {
        // Both setters panic on too few characters, and on characters of differing width.
        for utf8 in [true, false] {
            style(template(Look::Bytes), Marks::new(utf8));
        }
    }
}
