//! Sizes, times and names, short enough for a column.

use indicatif::BinaryBytes;
use std::time::Duration;

/// Renders a size with a binary unit: `1.50 GiB`.
pub fn bytes(count: u64) -> String {
    BinaryBytes(count).to_string()
}

/// Renders a time with the precision that matters at its length.
pub fn duration(time: Duration) -> String {
    let (ms, s) = (time.as_millis(), time.as_secs());
    match s {
        0 => format!("{ms} ms"),
        1..60 => format!("{}.{} s", s, (ms % 1000) / 100),
        60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        _ => format!("{} h {:02} min", s / 3600, s / 60 % 60),
    }
}

/// Renders a time given in milliseconds.
pub fn millis(ms: u64) -> String {
    duration(Duration::from_millis(ms))
}

/// Renders a number with its noun: `1 package`, `2 packages`.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Cuts a name at its front to `width` characters: the end of a path tells more.
pub fn fit(name: &str, width: usize, cut: &str) -> String {
    let length = name.chars().count();
    if length <= width {
        return name.to_owned();
    }
    let kept = width.saturating_sub(cut.chars().count());
    cut.chars().chain(name.chars().skip(length - kept)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_precise_as_they_are_long() {
        let table =
            [(0, "0 ms"), (999, "999 ms"), (3_290, "3.2 s"), (59_999, "59.9 s"), (65_000, "1 min 05 s")];
        for (ms, expected) in table {
            assert_eq!(millis(ms), expected);
        }
        assert_eq!(millis(3_725_000), "1 h 02 min");
    }

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1_536), "1.50 KiB");
        assert_eq!(bytes(6_938_040_682), "6.46 GiB");
    }

    #[test]
    fn long_names_keep_their_end() {
        assert_eq!(fit("loras/x.safetensors", 30, "…"), "loras/x.safetensors");
        assert_eq!(fit("checkpoints/x.safetensors", 14, "…"), "…x.safetensors");
        assert_eq!(fit("日本語.bin", 5, "…"), "….bin");
    }
}
