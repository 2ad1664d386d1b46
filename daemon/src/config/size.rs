//! Sizes as people write them.

use super::ConfigError;

/// Reads the size that a variable holds: bytes, or a decimal number with a unit of 1000 or 1024.
pub(super) fn size(variable: &'static str, text: &str) -> Result<u64, ConfigError> {
    let wrong = || ConfigError::Size { variable, text: text.to_owned() };
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = (text[..split].trim(), text[split..].trim().to_ascii_lowercase());
    let (base, power) = match unit.strip_suffix('b').unwrap_or(&unit) {
        "" => (1000, 0),
        "k" => (1000_u64, 1),
        "m" => (1000, 2),
        "g" => (1000, 3),
        "t" => (1000, 4),
        "ki" => (1024, 1),
        "mi" => (1024, 2),
        "gi" => (1024, 3),
        "ti" => (1024, 4),
        _ => return Err(wrong()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // Nine digits behind the point are more than any disk is sold by.
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 9 || !is_digits(whole) || !is_digits(fraction) {
        return Err(wrong());
    }
    let unit = base.pow(power);
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let digits = u32::try_from(fraction.len()).map_err(|_| wrong())?;
    let part = u128::from(fraction.parse::<u64>().unwrap_or(0)) * u128::from(unit) / 10_u128.pow(digits);
    let bytes = whole.checked_mul(unit).zip(u64::try_from(part).ok());
    bytes.and_then(|(whole, part)| whole.checked_add(part)).filter(|bytes| *bytes > 0).ok_or_else(wrong)
}

/// Reads the size that a variable holds, where `0` means nothing at all.
pub(super) fn size_or_none(variable: &'static str, text: &str) -> Result<u64, ConfigError> {
    if text.trim() == "0" { Ok(0) } else { size(variable, text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_nought_is_nothing_at_all() {
        assert_eq!(size_or_none("X", "0").unwrap(), 0);
        assert_eq!(size_or_none("X", "1k").unwrap(), 1000);
        assert!(size_or_none("X", "0GB").is_err());
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("1", 1),
            ("214748364800", 214_748_364_800),
            ("200GB", 200_000_000_000),
            ("200 gb", 200_000_000_000),
            ("200GiB", 200 << 30),
            ("200Gi", 200 << 30),
            ("0.5TB", 500_000_000_000),
            ("1.5k", 1500),
            ("3MiB", 3 << 20),
        ] {
            assert_eq!(size("X", text).unwrap(), bytes, "{text}");
        }
        for text in [
            "",
            "0",
            "GB",
            "-1GB",
            "1e9",
            "10 gigs",
            "1.2.3GB",
            "99999999999999999999",
            "9999999999TB",
            "٣GB",
        ] {
            assert!(matches!(size("X", text), Err(ConfigError::Size { .. })), "{text}");
        }
    }
}
