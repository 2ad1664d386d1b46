//! comfyd's repositories without the rest of comfyd, for `repositories.py`:
//! `repositories <home> <destination> <url> <branch or commit> …`. Looks names up, fetches into the object cache
//! of an empty home, and checks out into `<destination>/<number>`, all side by side as `realize` does. Prints the
//! seconds that it took. A daemon has talked to some host before, so a look at the first one comes before the clock:
//! it reads the system's certificates, which happens once in a daemon's life.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that fails says where, and tells a figure"
)]

use comfyd::config::Config;
use comfyd::ctx::Ctx;
use comfyd::source::git::Git;
use futures_util::future::try_join_all;
use proto::event::{TaskKind, Unit};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ([home, destination], repositories) = arguments.split_first_chunk().unwrap();
    let variables =
        [("HOME", home), ("COMFY_VOLUME", home)].map(|(name, path)| (name.to_owned(), path.clone()));
    std::fs::create_dir_all(home).unwrap();
    let git = Git::new(&Config::from_vars(&BTreeMap::from(variables)).unwrap());
    let ctx = Ctx::new();
    git.resolve_ref(&ctx, &repositories[0], None).await.unwrap();
    std::fs::remove_dir_all(Path::new(home).join(".comfy-cache")).unwrap();
    let started = Instant::now();
    let pairs = repositories.chunks_exact(2).enumerate().map(async |(number, pair)| {
        let (url, name) = (pair[0].as_str(), pair[1].as_str());
        let task = ctx.progress.task(TaskKind::Repository, url, Unit::Objects);
        let found = git.resolve_ref(&ctx, url, Some(name)).await?;
        git.fetch(&ctx, (url, &found.commit), Some(&found.name), &task).await?;
        let directory = Path::new(destination).join(number.to_string());
        git.checkout(&ctx, (url, &found.commit), &directory, &task).await
    });
    try_join_all(pairs).await.unwrap();
    println!("{}", started.elapsed().as_secs_f64());
}
