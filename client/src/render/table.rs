//! Columns and lists of text.

use std::fmt::Display;

/// Aligns rows into columns two blanks apart, each line after `indent`. The last column is as wide
/// as it likes, and no line ends in blanks.
pub fn columns<const N: usize>(indent: &str, rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = indent.to_owned();
        for (width, cell) in widths.iter().zip(row) {
            line += cell;
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
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
}
