//! How things look. Everything but `screen`, `live` and `progress` is pure: values in, text out.
//!
//! Text may hold colours; [`screen::Screen`] takes them out where nobody would see them.

pub mod errors;
pub mod findings;
pub mod ladder;
pub mod live;
pub mod plan;
pub mod progress;
pub mod rates;
pub mod screen;
pub mod status;
pub mod table;
pub mod text;
pub mod units;

mod bars;
mod lines;

/// Marks before a line, in characters that the terminal has.
#[derive(Debug, Clone, Copy)]
pub struct Marks {
    /// Ended well.
    pub good: &'static str,
    /// Ended badly.
    pub bad: &'static str,
    /// Passed over.
    pub none: &'static str,
    /// Where text was left out.
    pub cut: &'static str,
    /// Filled, tip and empty parts of a bar.
    pub bar: &'static str,
    /// Frames of a spinner; the last one is the end.
    pub spinner: &'static str,
}

impl Marks {
    /// Returns marks for a terminal that does or does not show UTF-8.
    pub fn new(utf8: bool) -> Self {
        if utf8 {
            Self {
                good: "✓", bad: "✗", none: "-", cut: "…", bar: "━╸ ", spinner: "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "
            }
        } else {
            Self { good: "ok", bad: "FAILED", none: "-", cut: "~", bar: "=> ", spinner: "|/-\\ " }
        }
    }
}
