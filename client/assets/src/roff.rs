//! The few shapes of roff that the pages are made of.

use clap_mangen::roff::{Inline, Roff, bold, roman};

/// A piece of a page, below what clap_mangen writes.
#[derive(Default)]
pub struct Part(Roff);

impl Part {
    /// Begins a section.
    pub fn section(mut self, title: &str) -> Self {
        self.0.control("SH", [title]);
        self
    }

    /// Begins a section within a section.
    pub fn subsection(mut self, title: &str) -> Self {
        self.0.control("SS", [title]);
        self
    }

    /// Writes a paragraph; what stands between backticks is bold.
    pub fn paragraph(mut self, text: &str) -> Self {
        self.0.control("PP", []).text(inline(text));
        self
    }

    /// Writes a term, in bold, and what it means; each paragraph of that begins a line.
    pub fn term(mut self, term: &str, meanings: &[&str]) -> Self {
        self.0.control("TP", []).text([bold(term)]);
        for (number, meaning) in meanings.iter().enumerate() {
            if number > 0 {
                self.0.control("IP", []);
            }
            self.0.text(inline(meaning));
        }
        self
    }

    /// Writes lines as they are.
    pub fn example(mut self, lines: &str) -> Self {
        self.0.control("PP", []).control("EX", []);
        lines.lines().for_each(|line| {
            self.0.text([roman(line)]);
        });
        self.0.control("EE", []);
        self
    }

    /// Writes a list of pages.
    pub fn see_also(self, pages: &[&str]) -> Self {
        let text: Vec<String> = pages.iter().map(|page| page.replacen('(', "`(", 1)).collect();
        self.section("SEE ALSO").paragraph(&format!("`{}", text.join(", `")))
    }

    /// Returns the text of the part.
    pub fn text(&self) -> String {
        self.0.to_roff()
    }
}

fn inline(text: &str) -> Vec<Inline> {
    let text = text.replace('\n', " ");
    let pieces = text.split('`').enumerate();
    pieces.map(|(at, piece)| if at % 2 == 0 { roman(piece) } else { bold(piece) }).collect()
}
