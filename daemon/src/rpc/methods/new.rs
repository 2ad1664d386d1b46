//! `new`: makes a spec from what people have.

use super::Client;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::import::{self, ImportError, Request};
use crate::store::places::Home;
use crate::store::specs::SpecError;
use proto::VersionId;
use proto::method::{New, NewAnswer, Origin};

pub(super) async fn new(client: &Client<'_>, ctx: &Ctx, params: New) -> Result<NewAnswer, Error> {
    let daemon = client.daemon;
    let config = &daemon.config;
    let id = VersionId::new(&params.target.version).map_err(SpecError::from)?;
    if let Some(Origin::Comfyui(dir)) = &params.from
        && !client.is_owner
    {
        return Err(ImportError::Foreign(dir.into()).into());
    }
    let home = Home::find(config, &id, params.target.comfy_home.as_deref())?;
    let request = Request {
        path: (!params.no_write).then(|| config.versions_dir.join(format!("{id}.json"))),
        from: params.from,
        force: params.force,
        offline: params.offline || config.offline,
        cwd: params.target.cwd,
        home,
        id,
    };
    Ok(import::import(ctx, &daemon.sources, request).await?)
}
