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

impl StartRecord {
    /// Notes which parts of the large files in its record a process touched that was started from it and has just
    /// become ready. What cannot be told is left out. Blocks shortly.
    pub fn note_touched(&mut self, pid: u32, generation_dir: &Path) {
        let touched = touched(pid)
            .inspect_err(|error| tracing::debug!(%error, "what a start touched is not known"))
            .unwrap_or_default();
        let known: BTreeMap<PathBuf, &OpenedFile> = self
            .files
            .iter()
            .filter(|file| file.mapped)
            .filter_map(|file| Some((generation_dir.join(&file.path).canonicalize().ok()?, file)))
            .collect();
        self.touched = touched
            .into_iter()
            .filter_map(|(path, parts)| Some((known.get(&path)?.path.clone(), parts)))
            .collect();
    }
}

/// Returns the touched parts of each large file that a process has mapped.
fn touched(pid: u32) -> io::Result<BTreeMap<PathBuf, Vec<Part>>> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let pages = File::open(format!("/proc/{pid}/pagemap"))?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?;
    let page = page.and_then(|page| u64::try_from(page).ok()).unwrap_or(4096);
    let mut blocks: BTreeMap<PathBuf, BTreeSet<u64>> = BTreeMap::new();
    for mapping in maps.lines().filter_map(Mapping::parse) {
        if !blocks.contains_key(&mapping.path) && !is_large(&mapping.path) {
            continue;
        }
        let blocks = blocks.entry(mapping.path.clone()).or_default();
        for number in mapping.present(&pages, page)? {
            blocks.insert((mapping.offset + number * page) / BLOCK);
        }
    }
    Ok(blocks.into_iter().map(|(path, blocks)| (path, merged(&blocks))).collect())
}

fn is_large(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() > SMALLEST)
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
    fn a_process_is_asked_what_it_touched() {
        let parts = touched(std::process::id()).unwrap();
        let own = std::env::current_exe().unwrap().canonicalize().unwrap();
        let size = own.metadata().unwrap().len();
        let touched: u64 = parts[&own].iter().map(|part| part.length).sum();
        assert!(touched > 0 && touched <= size + BLOCK, "{touched} of {size}");
    }
}
