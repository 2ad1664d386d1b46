//! Columns and lists of text.

use super::text::{WIDTH, fold};
use std::fmt::Display;

/// Columns that sentences need to stand beside something.
const NARROW: usize = 24;

/// Aligns rows into columns two blanks apart, each line after `indent`. The last column is as wide
/// as it likes, and no line ends in blanks.
pub fn columns<const N: usize>(indent: &str, rows: &[[String; N]]) -> String {
    let widths = widths(rows);
    let line = |row: &[String; N]| padded(indent, row, &widths).trim_end().to_owned() + "\n";
    rows.iter().map(line).collect()
}

/// Aligns rows into columns whose last one holds sentences: they are folded beside the others, or below them
/// where there is too little room.
pub fn sentences<const N: usize>(indent: &str, rows: &[[String; N]]) -> String {
    let widths = widths(rows);
    let mut text = String::new();
    for row in rows {
        let Some((last, names)) = row.split_last() else { continue };
        let head = padded(indent, names, &widths);
        let width = head.chars().count();
        if width + last.chars().count() > WIDTH && width + NARROW > WIDTH {
            text += head.trim_end();
            text.push('\n');
            text += &fold("    ", last, 4);
        } else {
            text += &fold(&head, last, width);
        }
    }
    text
}

fn widths<const N: usize>(rows: &[[String; N]]) -> [usize; N] {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths
}

/// Puts cells after each other, each padded to the width of its column and two blanks more.
fn padded(indent: &str, cells: &[String], widths: &[usize]) -> String {
    let mut line = indent.to_owned();
    for (width, cell) in widths.iter().zip(cells) {
        line += cell;
        line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
    }
    line
}

/// Puts each item on a line of its own, after `indent`.
pub fn items<T: Display>(indent: &str, items: &[T]) -> String {
    items.iter().fold(String::new(), |text, item| text + &format!("{indent}{item}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "1", "x y"], ["long", "22", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(columns("  ", &rows), "  a     1   x y\n  long  22\n");
    }

    #[test]
    fn sentences_stand_beside_or_below() {
        let (long, why) = ("x".repeat(60), "nobody has asked for its ComfyUI in the last few days or so");
        let beside = [["a", "1", why], ["long", "22", ""]].map(|row| row.map(str::to_owned));
        let expected = "  a     1   nobody has asked for its ComfyUI in the last few days or so
  long  22
";
        assert_eq!(sentences("  ", &beside), expected);
        let folded = [["a", &*why.repeat(2)]].map(|row| row.map(str::to_owned));
        let expected = "\
a  nobody has asked for its ComfyUI in the last few days or sonobody has asked
   for its ComfyUI in the last few days or so
";
        assert_eq!(sentences("", &folded), expected);
        let below = [["a", &*long, why], ["b", "c", "short"]].map(|row| row.map(str::to_owned));
        let pad = " ".repeat(59);
        assert_eq!(sentences("", &below), format!("a  {long}\n    {why}\nb  c{pad}  short\n"));
    }
}
