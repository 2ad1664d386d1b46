//! What packages hold besides the programs, made from the programs' own definitions: `assets <dir>` fills
//! `<dir>/man` and `<dir>/completions`.
//!
//! A program of its own, so that nothing of it is in what is shipped.

#![allow(unreachable_pub, reason = "a program has no outside: `pub` means for the whole crate")]

mod format_page;
mod pages;
mod roff;

use clap::{CommandFactory as _, Parser, ValueEnum as _};
use clap_complete::Shell;
use std::io;
use std::path::{Path, PathBuf};

/// Write the man pages and the completions of comfyctl and comfyd
#[derive(Parser)]
struct Args {
    /// Directory that receives `man` and `completions`
    dir: PathBuf,
}

fn main() -> io::Result<()> {
    let dir = Args::parse().dir;
    let man = pages::all()?.into_iter().map(|page| (page.file, page.text)).collect();
    write(&dir.join("man"), man)?;
    write(&dir.join("completions"), completions()?)
}

fn write(dir: &Path, files: Vec<(String, String)>) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    files.into_iter().try_for_each(|(name, text)| std::fs::write(dir.join(name), text))
}

/// Returns the scripts by the names that shells seek them by, but for bash's and fish's directories, which take
/// `<program>` and `<program>.fish`.
fn completions() -> io::Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for shell in comfyctl::SHELLS {
        let script = comfyctl::script(shell, "comfyctl").ok_or_else(|| io::Error::other(shell))?;
        files.push((file_name(shell, "comfyctl"), if shell == "zsh" { script + ZSH_TAIL } else { script }));
        let (mut comfyd, mut text) = (comfyd::cli::Args::command(), Vec::new());
        let generator = Shell::from_str(shell, true).map_err(io::Error::other)?;
        clap_complete::generate(generator, &mut comfyd, "comfyd", &mut text);
        files.push((file_name(shell, "comfyd"), String::from_utf8(text).map_err(io::Error::other)?));
    }
    Ok(files)
}

/// zsh runs the whole file at the first Tab, as the body of `_comfyctl`, and expects that one to complete: the
/// script only says who does.
const ZSH_TAIL: &str =
    "\nif [[ $funcstack[1] == _comfyctl ]]; then\n    _clap_dynamic_completer_comfyctl \"$@\"\nfi\n";

fn file_name(shell: &str, program: &str) -> String {
    match shell {
        "zsh" => format!("_{program}"),
        _ => format!("{program}.{shell}"),
    }
}
