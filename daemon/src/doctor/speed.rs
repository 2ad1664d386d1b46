//! What the trials of the volume mean. Pure.

use super::trial::{Locks, Rate, Tried};
use crate::store::commit::{StoreError, disk_remedy};
use proto::method::Finding;
use std::time::Duration;

/// Half of what RunPod says its network volumes typically do at least (200 MB/s, its page on network volumes).
const SLOW: u64 = 100_000_000;

/// A map that is slower than reading by this much makes models load late: safetensors files that took 1 to 2 s took 40
/// to 50 s so (ComfyUI issue 2288).
const MAP_LOSS: u64 = 4;

/// Files that a version brings, as counted with torch.
const FILES_OF_A_VERSION: u32 = 30_000;

/// Making a version's files may take so long.
const PATIENCE: Duration = Duration::from_secs(300);

/// A model of the usual size, for figures that people can imagine: 10 GB.
const MODEL: u64 = 10_000_000_000;

/// Makes findings of what was tried. `shadows` says whether starts may be made from a local copy.
pub(super) fn judge(tried: &Tried, shadows: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(links(tried));
    findings.extend(tried.locks.map(locks));
    findings.extend(sequential(tried.write, tried.read));
    findings.extend(small(tried, shadows));
    findings.extend(tried.mapped.as_ref().map(|mapped| map(mapped, tried.read)));
    findings.extend(tried.refused.as_ref().map(refused));
    findings
}

fn refused(error: &StoreError) -> Finding {
    let remedy = disk_remedy(error).unwrap_or("see what the disk's own tools say of it");
    Finding::problem("volume", crate::error::chain(error), remedy)
}

fn links(tried: &Tried) -> Vec<Finding> {
    let failed = |(what, worked): &(&'static str, Result<(), StoreError>)| {
        let why = crate::error::chain(worked.as_ref().err()?);
        Some(match *what {
            "hard links" => Finding::warning(
                "links",
                format!("there are no hard links ({why}): packages are copied for each version"),
                "name a place on a filesystem that has them with COMFY_VOLUME, or have room for copies",
            ),
            _ => Finding::problem(
                "links",
                format!("{what} does not work: {why}"),
                "name a place on another filesystem with COMFY_VOLUME",
            ),
        })
    };
    let failed: Vec<_> = tried.links.iter().filter_map(failed).collect();
    if failed.is_empty() && !tried.links.is_empty() {
        return vec![Finding::ok("links", "hard and symbolic links work, and files are replaced as a whole")];
    }
    failed
}

fn locks(locks: Locks) -> Finding {
    const SUBJECT: &str = "locks";
    match locks {
        Locks::Hold => Finding::ok(SUBJECT, "`flock` holds between processes of this machine"),
        Locks::Lie => Finding::warning(
            SUBJECT,
            "`flock` is granted to two at once: comfyd's leases decide, other programs may collide",
            "mount the volume with locks, or let only comfyd write there",
        ),
        Locks::Unsupported => Finding::warning(
            SUBJECT,
            "there is no `flock`: comfyd's leases decide, uv and git may refuse to work",
            "mount the volume with locks, or set UV_CACHE_DIR to a local disk",
        ),
    }
}

fn sequential(write: Option<Rate>, read: Option<Rate>) -> Option<Finding> {
    const SUBJECT: &str = "speed";
    let (write, read) = (write?.per_second(), read?.per_second());
    let text = format!("writes {}, reads {} in one file", rate(write), rate(read));
    let found = if read < SLOW {
        let text = format!("{text}: a model of 10 GB takes {} to load", seconds(MODEL / read.max(1)));
        let remedy = "rent a faster volume, or keep models on a nearer disk (MODELS_DIR)";
        Finding::warning(SUBJECT, text, remedy)
    } else {
        Finding::ok(SUBJECT, text)
    };
    Some(found.figure("write_bytes_per_s", write).figure("read_bytes_per_s", read))
}

fn small(tried: &Tried, shadows: bool) -> Option<Finding> {
    const SUBJECT: &str = "small files";
    let (create, remove, open) = (tried.create?, tried.remove?, tried.open?);
    let text = format!("make {}, open {}, remove {} each", time(create), time(open.volume), time(remove));
    let found = if create * FILES_OF_A_VERSION > PATIENCE {
        let all = seconds((create * FILES_OF_A_VERSION).as_secs());
        let text = format!("{text}: the files of one version take {all} to make");
        let remedy =
            "realize once for all machines of the volume; `comfyctl realize --background` waits for nobody";
        Finding::warning(SUBJECT, text, remedy)
    } else if open.is_far() && !shadows {
        let remedy = "unset COMFYD_SHADOW_BUDGET, so that starts are made from local copies";
        Finding::warning(SUBJECT, format!("{text}: ComfyUI starts slowly from here"), remedy)
    } else if open.is_far() {
        Finding::ok(SUBJECT, format!("{text}: starts are made from local copies"))
    } else {
        Finding::ok(SUBJECT, text)
    };
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let found = found.figure("create_us", micros(create)).figure("remove_us", micros(remove));
    Some(found.figure("open_us", micros(open.volume)).figure("open_local_us", micros(open.local)))
}

fn map(mapped: &Result<Rate, String>, read: Option<Rate>) -> Finding {
    const SUBJECT: &str = "memory map";
    let mapped = match mapped {
        Ok(mapped) => mapped.per_second(),
        Err(why) => {
            let text = format!("files cannot be mapped ({why}), and ComfyUI maps models");
            return Finding::problem(SUBJECT, text, "keep models on a filesystem that can (MODELS_DIR)");
        }
    };
    let text = format!("reads {} by page faults, as ComfyUI loads models", rate(mapped));
    let is_slower = read.is_some_and(|read| mapped < read.per_second() / MAP_LOSS);
    let found = if mapped < SLOW || is_slower && mapped < 4 * SLOW {
        let text = format!("{text}: 10 GB take {}", seconds(MODEL / mapped.max(1)));
        let remedy =
            "keep hot models on a nearer disk (MODELS_DIR), or pin versions: idle time reads them ahead";
        Finding::warning(SUBJECT, text, remedy)
    } else {
        Finding::ok(SUBJECT, text)
    };
    found.figure("map_bytes_per_s", mapped)
}

fn rate(per_second: u64) -> String {
    format!("{} MB/s", per_second / 1_000_000)
}

fn seconds(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        _ => format!("{} min", seconds / 60),
    }
}

/// Words for a time of microseconds to seconds.
fn time(time: Duration) -> String {
    match time.as_micros() {
        micros @ 0..1000 => format!("{micros} us"),
        micros @ 1000..100_000 => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
        micros => format!("{} ms", micros / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::speed::Speed;
    use proto::method::Verdict::{self, Ok as Fine, Problem, Warning};

    fn megabytes(per_second: u64) -> Rate {
        Rate { bytes: per_second * 1_000_000, time: Duration::from_secs(1) }
    }

    fn only(tried: &Tried, shadows: bool) -> (Verdict, String) {
        let mut found = judge(tried, shadows);
        let one = found.remove(0);
        assert!(found.is_empty(), "{found:?}");
        assert_eq!(one.remedy.is_some(), one.verdict != Fine);
        (one.verdict, one.text)
    }

    #[test]
    fn slow_reads_are_told_in_seconds_of_a_model() {
        let at = |read| {
            only(
                &Tried { write: Some(megabytes(300)), read: Some(megabytes(read)), ..Tried::default() },
                true,
            )
        };
        assert_eq!(at(380), (Fine, "writes 300 MB/s, reads 380 MB/s in one file".to_owned()));
        let (verdict, text) = at(50);
        assert!(verdict == Warning && text.ends_with("a model of 10 GB takes 3 min to load"), "{text}");
    }

    #[test]
    fn maps_are_held_against_reads() {
        let at = |read, mapped| {
            let mapped = Some(Ok(megabytes(mapped)));
            judge(&Tried { read: Some(megabytes(read)), mapped, ..Tried::default() }, true)[0].verdict
        };
        assert_eq!((at(400, 350), at(400, 80), at(1000, 200)), (Fine, Warning, Warning));
        assert_eq!(at(10_000, 2_000), Fine, "fast enough whatever reading does");
        let none = Tried { mapped: Some(Err("[Errno 19] No such device".to_owned())), ..Tried::default() };
        assert_eq!(only(&none, true).0, Problem);
    }

    #[test]
    fn small_files_far_away_need_local_copies() {
        let at = |micros: u64, shadows| {
            let each = Duration::from_micros(micros);
            let open = Some(Speed { volume: each, local: Duration::from_micros(20) });
            only(&Tried { create: Some(each), remove: Some(each), open, ..Tried::default() }, shadows)
        };
        assert_eq!(at(90, false), (Fine, "make 90 us, open 90 us, remove 90 us each".to_owned()));
        assert_eq!(at(2_100, true).0, Fine);
        assert!(at(2_100, true).1.ends_with("2.1 ms each: starts are made from local copies"));
        assert_eq!(at(2_100, false).0, Warning);
        let (verdict, text) = at(20_000, true);
        assert!(verdict == Warning && text.contains("take 10 min to make"), "{text}");
    }

    #[test]
    fn what_the_filesystem_lacks_is_told() {
        let lacks = |what, verdict| {
            let error = || StoreError::at("link", "/v/x")(std::io::ErrorKind::Unsupported.into());
            let links = vec![("hard links", Ok(())), (what, Err(error()))];
            assert_eq!(only(&Tried { links, ..Tried::default() }, true).0, verdict, "{what}");
        };
        lacks("hard links", Warning);
        lacks("symbolic links", Problem);
        for (locks, verdict) in [(Locks::Hold, Fine), (Locks::Lie, Warning), (Locks::Unsupported, Warning)] {
            assert_eq!(only(&Tried { locks: Some(locks), ..Tried::default() }, true).0, verdict);
        }
        let full = StoreError::at("write", "/v/x")(std::io::Error::from_raw_os_error(28));
        let found = judge(&Tried { refused: Some(full), ..Tried::default() }, true);
        assert!(found[0].verdict == Problem && found[0].remedy.as_ref().unwrap().contains("free some space"));
    }
}
