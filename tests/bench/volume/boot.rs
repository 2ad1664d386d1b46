//! What the room `boot` does to one generation, by itself: `boot record|pack|tree <generation> [<pid>]`.
//!
//! `record` notes what the process touched that was started from the generation's record; `pack` makes the image;
//! `tree` prints where a start would begin, and how long it took to know.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a tool of the benchmarks, which read its output"
)]

use comfyd::boot::{Boot, StartRecord, Touched};
use comfyd::config::Config;
use comfyd::ctx::Ctx;
use std::path::PathBuf;
use std::time::Instant;

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let dir = PathBuf::from(&args[2]).canonicalize().unwrap();
    let boot = Boot::new(&Config::from_env(None).unwrap());
    let began = Instant::now();
    let said = match args[1].as_str() {
        "record" => {
            let mut record = StartRecord::read(&dir).expect("a record");
            record.note_touched(Touched::by(args[3].parse().unwrap()), &dir);
            record.write(&dir).unwrap();
            let touched: u64 = record.touched.values().flatten().map(|part| part.length).sum();
            format!("{touched} bytes")
        }
        "pack" => format!("{:?}", boot.pack(&Ctx::new(), &dir).await.unwrap()),
        _ => boot.tree(&dir).await.display().to_string(),
    };
    println!("{said}\n{:.3}", began.elapsed().as_secs_f64());
    // What goes on in the background goes on: it reads ahead what the start needs.
    if args[1] == "tree" {
        std::io::stdin().lines().for_each(drop);
        boot.shutdown().await;
    }
}
