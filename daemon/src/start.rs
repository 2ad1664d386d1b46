//! A version whose ComfyUI answers: realized if need be, then started if need be.

use crate::config::Config;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::realize::job::Jobs;
use crate::realize::{Realization, Request, clean};
use crate::source::Sources;
use crate::source::python::FOREIGN;
use crate::store::places::{Home, generation};
use crate::supervise::{Launch, Ready, Supervisor};
use proto::Spec;
use proto::method::{InstanceInfo, InstanceState};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Where a person wants to reach ComfyUI; anything goes when empty.
#[derive(Debug, Clone, Default)]
pub struct Address {
    /// Port.
    pub port: Option<u16>,
    /// Address.
    pub listen: Option<String>,
}

/// Realizes the version and waits until its ComfyUI answers. Cancel-safe.
///
/// # Errors
/// What the realize or the start says.
pub async fn start(
    ctx: &Ctx,
    sources: &Sources,
    jobs: &Jobs,
    supervisor: &Supervisor,
    wanted: (Request, Address),
) -> Result<(Arc<Realization>, Ready), Error> {
    let (request, address) = wanted;
    let (spec, in_use, offline) = (Arc::clone(&request.spec), request.in_use.clone(), request.mode.offline);
    let realization = jobs.realize(ctx, request).await?;
    let running = supervisor.find(&realization.layout.home.root);
    if let Some(InstanceInfo { state: InstanceState::Ready { .. }, generation, .. }) = running
        && generation != realization.layout.generation
    {
        ctx.progress.note(format!("stopping the ComfyUI that runs the generation before ({generation})"));
    }
    if in_use.runs(&realization.layout.generation_dir()).is_none() {
        clean(ctx, sources, &realization, &in_use, offline).await;
    }
    let launch = launch(&sources.config, &spec, &realization, address)?;
    let ready = supervisor.ensure_ready(ctx, launch).await?;
    Ok((realization, ready))
}

fn launch(
    config: &Config,
    spec: &Spec,
    realization: &Realization,
    address: Address,
) -> Result<Launch, Error> {
    let home = &realization.layout.home;
    let dir = realization.layout.generation_dir();
    // Each link on the way costs a look-up per file that Python opens.
    let generation_dir = dir.canonicalize().map_err(crate::store::StoreError::at("follow", &dir))?;
    let model_paths = generation_dir.join(generation::MODEL_PATHS);
    let (inherited, env) = environment(config, spec, home, &generation_dir.join(generation::VENV));
    Ok(Launch {
        version_id: spec.version_id.clone(),
        home: home.root.clone(),
        generation: realization.layout.generation.clone(),
        extra_model_paths: model_paths.is_file().then_some(model_paths),
        inherited,
        env,
        extra_args: spec.options.extra_args.clone(),
        generation_dir,
        port: address.port,
        listen: address.listen,
    })
}

/// Returns the daemon's environment without tokens, with the version's programs first; and what the version
/// and the spec's `env` set on top.
fn environment(
    config: &Config,
    spec: &Spec,
    home: &Home,
    venv: &Path,
) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let mut inherited = config.child_env.clone();
    inherited.retain(|name, _| !FOREIGN.contains(&name.as_str()));
    let path = inherited.get("PATH").cloned().unwrap_or_default();
    inherited.insert("PATH".to_owned(), format!("{}/bin:{path}", venv.display()));
    let places = [
        ("COMFY_HOME", home.root.display().to_string()),
        ("MODELS_DIR", home.models.display().to_string()),
        ("VIRTUAL_ENV", venv.display().to_string()),
    ];
    let known: BTreeMap<&str, &str> = places.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut env: BTreeMap<String, String> =
        places.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    env.extend(spec.env.iter().map(|(name, value)| (name.clone(), expand(value, &known, config))));
    (inherited, env)
}

/// Replaces `$NAME` and `${NAME}` of the version's places, and of the tokens: a spec that wants ComfyUI to
/// have one asks for it this way. Anything else stays as it is.
fn expand(value: &str, known: &BTreeMap<&str, &str>, config: &Config) -> String {
    let tokens = [("HF_TOKEN", &config.hosts.hf_token), ("CIVITAI_TOKEN", &config.hosts.civitai_token)];
    let tokens = tokens.into_iter().map(|(name, token)| (name, token.as_deref().unwrap_or_default()));
    let places = known.iter().map(|(name, value)| (*name, *value));
    tokens.chain(places).fold(value.to_owned(), |text, (name, value)| {
        let text = text.replace(&format!("${{{name}}}"), value);
        match text.strip_suffix(&format!("${name}")) {
            Some(before) => format!("{before}{value}"),
            None => text.replace(&format!("${name}/"), &format!("{value}/")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_asks_for_places_and_tokens_by_name() {
        let volume = tempfile::tempdir().unwrap();
        let vars = [("HOME", "/h"), ("HF_TOKEN", "t0ken"), ("COMFY_VOLUME", volume.path().to_str().unwrap())];
        let config = Config::from_vars(&vars.map(|(k, v)| (k.to_owned(), v.to_owned())).into()).unwrap();
        let known = BTreeMap::from([("COMFY_HOME", "/v/a")]);
        for (given, expected) in [
            ("$HF_TOKEN", "t0ken"),
            ("${COMFY_HOME}-x", "/v/a-x"),
            ("$COMFY_HOME/x", "/v/a/x"),
            ("$COMFY_HOMEX", "$COMFY_HOMEX"),
            ("$OTHER", "$OTHER"),
        ] {
            assert_eq!(expand(given, &known, &config), expected);
        }
        assert!(!config.child_env.contains_key("HF_TOKEN"));
    }
}
