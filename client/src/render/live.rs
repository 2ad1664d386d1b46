//! A view that is drawn in place, on the terminal's second screen: what stood on the first comes back at the end.
//!
//! A frame is written at once, over the one before it, so nothing flickers; lines are cut to the terminal's
//! width, so none of them takes two rows, whatever size the terminal has by then. Nothing draws from a thread of
//! its own: the wait for the daemon ticks.

use super::Marks;
use console::{Term, truncate_str};
use signal_hook::consts::SIGTSTP;
use signal_hook::{SigId, flag, low_level};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// To the second screen, without a cursor; and back. Terminals that know no second screen pass over it
/// (xterm, ctlseqs: DECSET 1049 and 25).
const OPEN: &str = "\x1b[?1049h\x1b[?25l";
const CLOSE: &str = "\x1b[?25h\x1b[?1049l";

/// Home; to the end of the line; to the end of the screen.
const HOME: &str = "\x1b[H";
const REST_OF_LINE: &str = "\x1b[K";
const REST_OF_SCREEN: &str = "\x1b[J";

/// Between these a terminal that can do so shows nothing half drawn (DECSET 2026).
const BEGIN: &str = "\x1b[?2026h";
const END: &str = "\x1b[?2026l";

/// A view on the terminal; dropping it brings the first screen back.
pub struct Live {
    term: Term,
    cut: &'static str,
    text: String,
    /// Rows and columns of the last frame.
    drawn: (u16, u16),
    is_open: bool,
    /// Raised by Ctrl-Z.
    stop: Arc<AtomicBool>,
    stop_id: Option<SigId>,
}

impl Live {
    /// Takes the terminal of stdout.
    pub fn open(marks: Marks) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        // Without it Ctrl-Z leaves the second screen to the shell: a flaw, and no reason to refuse.
        let stop_id = flag::register(SIGTSTP, Arc::clone(&stop)).ok();
        let (term, cut, text) = (Term::stdout(), marks.cut, String::new());
        let mut live = Self { term, cut, text, drawn: (0, 0), is_open: false, stop, stop_id };
        live.enter();
        live
    }

    /// Shows a text, in the place of the one before.
    pub fn show(&mut self, text: String) {
        self.text = text;
        self.draw();
    }

    /// Does what is due: draws for another size of the terminal, and stops where Ctrl-Z asked for it.
    pub fn tick(&mut self) {
        if self.stop.swap(false, Ordering::SeqCst) {
            self.close();
            // Goes on here when the shell wakes it; fails for no signal that has a default.
            low_level::emulate_default_handler(SIGTSTP).ok();
            self.enter();
            self.draw();
        } else if self.is_open && self.term.size() != self.drawn {
            self.draw();
        }
    }

    /// Brings the first screen back.
    pub fn close(&mut self) {
        if std::mem::take(&mut self.is_open) {
            write(CLOSE);
        }
    }

    fn enter(&mut self) {
        self.is_open = true;
        write(OPEN);
    }

    fn draw(&mut self) {
        if self.is_open {
            self.drawn = self.term.size();
            write(&frame(&self.text, self.drawn, self.cut));
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.close();
        if let Some(id) = self.stop_id.take() {
            low_level::unregister(id);
        }
    }
}

/// Writes to the terminal; when that fails nobody is in front of it.
fn write(text: &str) {
    let stdout = std::io::stdout();
    let colours = anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never;
    let mut stdout = stdout.lock();
    // Only the colours are to go: the rest moves the cursor.
    let text = if colours { text.into() } else { without_colours(text) };
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).ok();
}

/// Takes the sequences away that change how characters look (`ESC [ … m`).
fn without_colours(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain += before;
        let end = after.find(|c: char| c.is_ascii_alphabetic()).map_or(after.len(), |at| at + 1);
        if !after[..end].ends_with('m') {
            plain += "\x1b[";
            plain += &after[..end];
        }
        rest = &after[end..];
    }
    plain + rest
}

/// Returns what draws a text on a terminal of that many rows and columns.
fn frame(text: &str, (rows, columns): (u16, u16), cut: &str) -> String {
    let (rows, columns) = (usize::from(rows).max(1), usize::from(columns).max(1));
    let mut lines: Vec<_> = text.lines().map(|line| truncate_str(line, columns, cut)).collect();
    if lines.len() > rows {
        let left_out = lines.len() + 1 - rows;
        lines.truncate(rows - 1);
        lines.push(truncate_str(&format!("{cut} {left_out} more lines"), columns, cut).into_owned().into());
    }
    // No line end after the last row: the terminal would scroll.
    let lines = lines.join(&format!("{REST_OF_LINE}\r\n"));
    format!("{BEGIN}{HOME}{lines}{REST_OF_LINE}{REST_OF_SCREEN}{END}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_fits_into_the_terminal() {
        let drawn = |text: &str, size| {
            let frame = frame(text, size, "~");
            let inner = frame
                .strip_prefix("\x1b[?2026h\x1b[H")
                .and_then(|f| f.strip_suffix("\x1b[K\x1b[J\x1b[?2026l"));
            inner.unwrap().replace("\x1b[K\r\n", "|")
        };
        assert_eq!(drawn("a\nb\n", (24, 80)), "a|b");
        assert_eq!(drawn("abcdef\nb\n", (24, 4)), "abc~|b");
        assert_eq!(drawn("a\nb\nc\nd\n", (3, 80)), "a|b|~ 2 more lines");
        assert_eq!(drawn("a\nb\nc\n", (3, 80)), "a|b|c");
        assert_eq!(drawn("a\nb\n", (0, 0)), "~");
        assert_eq!(drawn("\x1b[1mabcdef\x1b[0m", (24, 4)), "\x1b[1mabc~\x1b[0m", "colours have no width");
    }

    #[test]
    fn without_colours_the_cursor_still_moves() {
        assert_eq!(without_colours("\x1b[Ha\x1b[1;32mb\x1b[0m\x1b[K\x1b[?25h"), "\x1b[Hab\x1b[K\x1b[?25h");
        assert_eq!(without_colours("a\x1b["), "a\x1b[");
    }
}
