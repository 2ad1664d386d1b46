//! What idle time may take.

use super::{ConfigError, count, size};
use proto::Rung;
use proto::places;
use std::time::Duration;

/// Versions that are kept primed, where nobody says otherwise.
const WARM: usize = 2;

/// Share of the memory in hundredths, where nobody says otherwise.
const MEMORY: u8 = 25;

/// Seconds without foreground work before idle time begins, where nobody says otherwise.
const AFTER: usize = 5;

/// The budgets of idle time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budgets {
    /// `COMFYD_PREFETCH`: the highest rung that it lifts a version to; nothing is lifted when absent.
    pub until: Option<Rung>,
    /// `COMFYD_PREFETCH_WARM`: versions that it keeps primed.
    pub warm: usize,
    /// `COMFYD_PREFETCH_MEMORY`: what zygotes, and files that are read ahead, may take.
    pub memory: Share,
    /// `COMFYD_PREFETCH_DISK`: bytes that stay free on each disk; see [`Budgets::reserve`].
    pub disk: Option<u64>,
    /// `COMFYD_PREFETCH_RATE`: bytes a second of its transfers, where they are bounded.
    pub rate: Option<u64>,
    /// `COMFYD_PREFETCH_AFTER`: how long nothing of the foreground has to be under way first.
    pub after: Duration,
}

/// A part of something, or a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Hundredths of it.
    Percent(u8),
    /// So many bytes.
    Bytes(u64),
}

impl Share {
    /// Returns how many bytes that are of a whole.
    pub fn of(self, whole: u64) -> u64 {
        match self {
            Self::Percent(hundredths) => whole / 100 * u64::from(hundredths),
            Self::Bytes(bytes) => bytes.min(whole),
        }
    }
}

impl Budgets {
    /// Returns how many bytes have to stay free on a disk of this size.
    pub fn reserve(&self, disk: u64) -> u64 {
        /// Enough for what a workflow puts out, and for what others on the volume do meanwhile.
        const MOST: u64 = 20 << 30;
        self.disk.unwrap_or_else(|| MOST.min(disk / 10))
    }

    /// Reads them.
    pub(super) fn from_vars(get: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let size_of = |name| places::text(&get, name).map(|text| size(name, &text)).transpose();
        let after = count(&get, "COMFYD_PREFETCH_AFTER", 0)?.unwrap_or(AFTER);
        Ok(Self {
            until: until(places::text(&get, "COMFYD_PREFETCH").as_deref())?,
            warm: count(&get, "COMFYD_PREFETCH_WARM", 0)?.unwrap_or(WARM),
            memory: share(places::text(&get, "COMFYD_PREFETCH_MEMORY"))?,
            disk: size_of("COMFYD_PREFETCH_DISK")?,
            rate: size_of("COMFYD_PREFETCH_RATE")?,
            after: Duration::from_secs(after as u64),
        })
    }
}

fn until(text: Option<&str>) -> Result<Option<Rung>, ConfigError> {
    match text {
        None => Ok(Some(Rung::Primed)),
        Some("off" | "0") => Ok(None),
        Some(text) => {
            let rung = text.parse().ok().filter(|rung| *rung >= Rung::Fetched);
            rung.map(Some).ok_or_else(|| ConfigError::Prefetch(text.to_owned()))
        }
    }
}

fn share(text: Option<String>) -> Result<Share, ConfigError> {
    const VARIABLE: &str = "COMFYD_PREFETCH_MEMORY";
    let Some(text) = text else { return Ok(Share::Percent(MEMORY)) };
    let Some(percent) = text.strip_suffix('%') else { return size(VARIABLE, &text).map(Share::Bytes) };
    let hundredths = percent.trim().parse().ok().filter(|hundredths| *hundredths <= 100);
    let wrong = || ConfigError::Size { variable: VARIABLE, text: text.clone() };
    hundredths.map(Share::Percent).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Budgets, ConfigError> {
        let value = |name: &str| vars.iter().find(|(set, _)| *set == name).map(|(_, v)| (*v).to_owned());
        Budgets::from_vars(value)
    }

    #[test]
    fn budgets_are_read() {
        let budgets = read(&[]).unwrap();
        assert_eq!((budgets.until, budgets.warm), (Some(Rung::Primed), 2));
        assert_eq!(budgets.memory.of(64 << 30), (64 << 30) / 100 * 25);
        assert_eq!(budgets.reserve(100 << 30), 10 << 30);
        assert_eq!(budgets.reserve(1 << 40), 20 << 30);
        let budgets = read(&[
            ("COMFYD_PREFETCH", "fetched"),
            ("COMFYD_PREFETCH_WARM", "0"),
            ("COMFYD_PREFETCH_MEMORY", "8GiB"),
            ("COMFYD_PREFETCH_DISK", "1GB"),
            ("COMFYD_PREFETCH_RATE", "5MB"),
            ("COMFYD_PREFETCH_AFTER", "60"),
        ]);
        let expected = Budgets {
            until: Some(Rung::Fetched),
            warm: 0,
            memory: Share::Bytes(8 << 30),
            disk: Some(1_000_000_000),
            rate: Some(5_000_000),
            after: Duration::from_secs(60),
        };
        assert_eq!(budgets.unwrap(), expected);
        assert_eq!(read(&[("COMFYD_PREFETCH", "off")]).unwrap().until, None);
    }

    #[test]
    fn what_is_no_budget_is_refused_by_name() {
        for (name, value) in [
            ("COMFYD_PREFETCH", "resolved"),
            ("COMFYD_PREFETCH", "warm"),
            ("COMFYD_PREFETCH_WARM", "-1"),
            ("COMFYD_PREFETCH_MEMORY", "101%"),
            ("COMFYD_PREFETCH_RATE", "fast"),
            ("COMFYD_PREFETCH_AFTER", "soon"),
        ] {
            let error = read(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
    }
}
