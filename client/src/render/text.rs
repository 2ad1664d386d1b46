//! Sentences on lines of 80 columns, in characters that the terminal has.
//!
//! Also where there is no terminal, so that what a person reads is the same everywhere. Text of others (logs,
//! values) is not touched.

use std::borrow::Cow;

/// Columns of a line.
pub const WIDTH: usize = 80;

/// Puts `head` and the words of `text` on lines; those after the first begin with `indent` blanks. A word is
/// never cut, and what stands in backticks is one word: people copy it. No line ends in blanks. Text of several
/// lines was laid out by whoever wrote it: they are kept.
pub fn fold(head: &str, text: &str, indent: usize) -> String {
    if text.contains('\n') {
        return format!("{head}{}\n", text.replace('\n', &format!("\n{}", " ".repeat(indent))));
    }
    let mut lines = String::from(head);
    // Of the colours that a head may have nothing is seen.
    let mut column = anstream::adapter::strip_str(head).to_string().chars().count();
    let mut is_first = true;
    for word in words(text) {
        let width = word.chars().count();
        if !is_first && column + 1 + width > WIDTH {
            lines.push('\n');
            lines.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if !is_first {
            lines.push(' ');
            column += 1;
        }
        lines += word;
        column += width;
        is_first = false;
    }
    lines.truncate(lines.trim_end().len());
    lines.push('\n');
    lines
}

/// Splits at blanks outside of backticks.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let splits = move |c: char| {
        is_quoted ^= c == '`';
        c.is_whitespace() && !is_quoted
    };
    text.split(splits).filter(|word| !word.is_empty())
}

/// Writes the few marks that texts of comfyd and comfyctl have beyond ASCII in ASCII, for terminals without UTF-8.
pub fn ascii(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace('…', "...").replace('→', "->"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_folded_between_words_and_never_in_what_is_copied() {
        let text = "there is no `/runpod-volume/versions/x.json` and no `versions/x.json`; `comfyctl list` shows \
                    the versions there are";
        let expected = "\
hint: there is no `/runpod-volume/versions/x.json` and no `versions/x.json`;
      `comfyctl list` shows the versions there are
";
        assert_eq!(fold("hint: ", text, 6), expected);
        let long = "x".repeat(100);
        assert_eq!(fold("", &format!("a {long} b"), 2), format!("a\n  {long}\n  b\n"));
        assert_eq!(fold("head ", "", 2), "head\n");
        let quoted =
            "say `comfyctl realize --dry-run a-version-with-quite-a-long-name --offline` or nothing at all";
        assert_eq!(fold("", quoted, 0).lines().next(), quoted.strip_suffix(" nothing at all"));
    }

    #[test]
    fn lines_of_others_stay_as_they_are() {
        assert_eq!(fold("error: ", "CUDA error\n  at  x", 2), "error: CUDA error\n    at  x\n");
    }

    #[test]
    fn an_open_backtick_costs_nothing_but_a_long_line() {
        assert_eq!(fold("", "a ` b c", 0), "a ` b c\n");
    }

    #[test]
    fn marks_have_ascii_spellings_and_names_stay() {
        assert_eq!(ascii("`rev=…`: a → b in `/tmp/ж`"), "`rev=...`: a -> b in `/tmp/ж`");
        assert_eq!(ascii("plain"), "plain");
    }
}
