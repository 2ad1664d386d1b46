//! Which parts of its large libraries a process touched. Of torch's five gigabytes a start touches a tenth
//! (measured: 422 MB of 4.9 GB), and to read the rest ahead would take longer than the start.
//!
//! The kernel tells for each page of a process whether it is there (`/proc/<pid>/pagemap`, which its own user may
//! read, proc_pid_pagemap(5)). It maps neighbours of a page that was asked for, too, if they are cached: so it is a
//! little more than was needed, and never less.

use super::record::{OpenedFile, Part, StartRecord};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Pages are told in blocks of so many bytes: what the kernel reads at once from a network volume, where nobody says
/// otherwise.
const BLOCK: u64 = 128 << 10;

/// Files that are smaller are read whole.
const SMALLEST: u64 = 1 << 20;

/// Bytes of one page's entry in a pagemap.
const ENTRY: u64 = 8;

/// The top bits of an entry: the page is in memory, or was and is swapped.
const THERE: u64 = 0b11 << 62;

/// Files that are smaller are told of by their beginning, which is all of them.
const BEGINNING: Part = Part { offset: 0, length: SMALLEST };

/// Which parts of large files a process has touched.
#[derive(Debug, Default)]
pub struct Touched(BTreeMap<PathBuf, Vec<Part>>);

impl Touched {
    /// Asks a process that has just become ready; nothing where that cannot be told. Blocks for tens of milliseconds;
    /// asks the kernel alone, so it is as quick where the files' volume is far away.
    pub fn by(pid: u32) -> Self {
        let touched =
            touched(pid).inspect_err(|error| tracing::debug!(%error, "what a start touched is not known"));
        Self(touched.unwrap_or_default())
    }
}

impl StartRecord {
    /// Notes which parts of the large files in its record were touched. Blocks.
    pub fn note_touched(&mut self, touched: Touched, generation_dir: &Path) {
        let known: BTreeMap<PathBuf, &OpenedFile> = self
            .files
            .iter()
            .filter(|file| file.mapped)
            .filter_map(|file| Some((generation_dir.join(&file.path).canonicalize().ok()?, file)))
            .collect();
        self.touched = touched
            .0
            .into_iter()
            .filter_map(|(path, parts)| Some((known.get(&path)?.path.clone(), parts)))
            .collect();
    }

    /// Returns which parts of a file a start is to find in memory; none of them means all of it. Of a library of which
    /// nothing is known only the beginning: it may have gigabytes.
    pub(super) fn parts(&self, path: &str, mapped: bool) -> Vec<Part> {
        match self.touched.get(path) {
            Some(parts) if !parts.is_empty() => parts.clone(),
            _ if mapped => vec![BEGINNING],
            _ => Vec::new(),
        }
    }
}

/// Returns the touched parts of each large file that a process has mapped.
fn touched(pid: u32) -> io::Result<BTreeMap<PathBuf, Vec<Part>>> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let pages = File::open(format!("/proc/{pid}/pagemap"))?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?;
    let page = page.and_then(|page| u64::try_from(page).ok()).unwrap_or(4096);
    let mut mapped: BTreeMap<PathBuf, Vec<Mapping>> = BTreeMap::new();
    for mapping in maps.lines().filter_map(Mapping::parse) {
        mapped.entry(mapping.path.clone()).or_default().push(mapping);
    }
    let mut touched = BTreeMap::new();
    for (path, mappings) in mapped {
        if mappings.iter().all(|mapping| mapping.end() <= SMALLEST) {
            continue;
        }
        let mut blocks = BTreeSet::new();
        for mapping in mappings {
            let present = mapping.present(&pages, page)?;
            blocks.extend(present.into_iter().map(|number| (mapping.offset + number * page) / BLOCK));
        }
        touched.insert(path, merged(&blocks));
    }
    Ok(touched)
}

/// A part of a file in a process's memory.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    from: u64,
    to: u64,
    offset: u64,
    path: PathBuf,
}

impl Mapping {
    /// Reads a line of `/proc/<pid>/maps`, proc_pid_maps(5); none for memory that is no file's.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.splitn(6, ' ');
        let (from, to) = fields.next()?.split_once('-')?;
        let offset = fields.nth(1)?;
        let path = fields.nth(2)?.trim_start();
        let number = |text| u64::from_str_radix(text, 16).ok();
        let path = PathBuf::from(path.strip_prefix('/').map(|_| path)?);
        Some(Self { from: number(from)?, to: number(to)?, offset: number(offset)?, path })
    }

    /// Returns where in the file it ends.
    fn end(&self) -> u64 {
        self.offset + (self.to - self.from)
    }

    /// Returns the numbers of its pages that are there, from its first one on.
    fn present(&self, pagemap: &File, page: u64) -> io::Result<Vec<u64>> {
        let mut present = Vec::new();
        let count = (self.to - self.from) / page;
        let mut entries = vec![0; usize::try_from(count * ENTRY).map_err(io::Error::other)?];
        pagemap.read_exact_at(&mut entries, self.from / page * ENTRY)?;
        for (number, entry) in entries.chunks_exact(8).enumerate() {
            let entry = entry.try_into().map_or(0, u64::from_ne_bytes);
            if entry & THERE != 0 {
                present.push(number as u64);
            }
        }
        Ok(present)
    }
}

fn merged(blocks: &BTreeSet<u64>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for block in blocks {
        match parts.last_mut() {
            Some(last) if last.offset + last.length == block * BLOCK => last.length += BLOCK,
            _ => parts.push(Part { offset: block * BLOCK, length: BLOCK }),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_files_are_told_from_other_memory() {
        let line = "7f10-7f30 r-xp 00001000 fe:00 123456                     /a/lib b.so";
        let expected = Mapping { from: 0x7f10, to: 0x7f30, offset: 0x1000, path: "/a/lib b.so".into() };
        assert_eq!(Mapping::parse(line), Some(expected));
        assert_eq!(Mapping::parse("7f10-7f30 rw-p 00000000 00:00 0 "), None);
        assert_eq!(Mapping::parse("7f10-7f30 rw-p 00000000 00:00 0      [heap]"), None);
    }

    #[test]
    fn blocks_that_touch_are_one_part() {
        let parts = merged(&[0, 1, 5].into());
        let expected = [(0, 2 * BLOCK), (5 * BLOCK, BLOCK)];
        assert_eq!(parts, expected.map(|(offset, length)| Part { offset, length }));
    }

    #[test]
    fn of_a_library_of_which_nothing_is_known_only_the_beginning_is_read_ahead() {
        let mut record = StartRecord::new("g".to_owned(), "s".to_owned());
        let part = Part { offset: BLOCK, length: BLOCK };
        record.touched =
            [("known.so", vec![part]), ("unused.so", Vec::new())].map(|(k, v)| (k.to_owned(), v)).into();
        assert_eq!(record.parts("known.so", true), [part]);
        assert_eq!(record.parts("unused.so", true), [BEGINNING]);
        assert_eq!(record.parts("unknown.so", true), [BEGINNING]);
        assert_eq!(record.parts("table.bin", false), []);
    }

    #[test]
    fn a_process_is_asked_what_it_touched() {
        let parts = touched(std::process::id()).unwrap();
        let own = std::env::current_exe().unwrap().canonicalize().unwrap();
        let size = own.metadata().unwrap().len();
        let touched: u64 = parts[&own].iter().map(|part| part.length).sum();
        assert!(touched > 0 && touched <= size + BLOCK, "{touched} of {size}");
    }
}
