//! Bytecode of a generation and its custom nodes, compiled while nobody waits: the first start need not.

use super::{Realization, RealizeError};
use crate::ctx::Ctx;
use crate::source::{Sources, python};
use crate::store::places::generation as names;
use crate::store::uses::Use;
use crate::store::{StoreError, write_json};
use serde::Serialize;

/// Says that it was done: the file's presence counts.
#[derive(Serialize)]
struct Done {
    schema_version: u32,
}

/// Compiles what a realized version may import, once. Returns whether there was anything to do. Cancel-safe:
/// what is half done is gone on with by the next call.
///
/// # Errors
/// When Python cannot be run, or the disk refuses.
pub async fn compile(ctx: &Ctx, sources: &Sources, version: &Realization) -> Result<bool, RealizeError> {
    let layout = &version.layout;
    let dir = layout.generation_dir();
    let marker = dir.join(names::BYTECODE);
    let (home, generation) = (layout.home.clone(), layout.generation.clone());
    let look = move || {
        let using = Use::take(&home, &generation, std::process::id());
        let dir = home.generation(&generation);
        // By its real path, as it is started: that is what tracebacks show.
        let real = dir.canonicalize().map_err(StoreError::at("follow", &dir))?;
        Ok::<_, StoreError>((using, real, dir.join(names::BYTECODE).exists()))
    };
    let looked = tokio::task::spawn_blocking(look).await.map_err(RealizeError::Crashed)?;
    let (_use, real, is_done) = looked?;
    if is_done {
        return Ok(false);
    }
    let own = [real.join(names::VENV).join("lib"), real.join(names::COMFY)];
    let dirs: Vec<_> = own.into_iter().chain(layout.checkouts.iter().cloned()).collect();
    let compiled = python::compile_bytecode(ctx, &sources.config, &real.join(names::VENV), &dirs).await;
    compiled.map_err(RealizeError::Packages)?;
    let write = move || write_json(&marker, &Done { schema_version: 1 });
    tokio::task::spawn_blocking(write).await.map_err(RealizeError::Crashed)??;
    Ok(true)
}
