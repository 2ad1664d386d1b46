//! A version whose ComfyUI answers: realized if need be, then started if need be.
//!
//! `start` looks at everything. `warm` first asks `recent`, which knows the versions that were found running
//! a moment ago.

mod recent;

use crate::config::{CHILD_OF, Config};
use crate::ctx::{Ctx, millis};
use crate::error::Error;
use crate::realize::job::Jobs;
use crate::realize::{self, InUse, Realization, Request, clean};
use crate::resolve::Mode;
use crate::source::Sources;
use crate::source::python::FOREIGN;
use crate::store::places::{Home, generation};
use crate::store::specs::{self, Loaded};
use crate::supervise::{Held, Launch, Primed, Purpose, Ready, Supervisor};
use proto::lock::LockedModel;
use proto::method::{InstanceInfo, InstanceState, RealizeOutcome, Target, WarmTimings, Warmth};
use proto::{Rung, Spec, VersionId};
use recent::{Recent, Stamps};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Makes versions' ComfyUIs ready. Cheap to clone.
#[derive(Clone)]
pub struct Starter {
    sources: Sources,
    jobs: Jobs,
    supervisor: Supervisor,
    recent: Arc<Recent>,
}

/// What is to answer, and for what.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which version.
    pub target: Target,
    /// What is allowed on the way.
    pub mode: Mode,
    /// Where to reach it.
    pub address: Address,
    /// What it is claimed for.
    pub purpose: Purpose,
    /// Names of models that it is to load first, as ComfyUI lists them; others may be among them.
    pub models: Vec<String>,
}

/// Where a person wants to reach ComfyUI; anything goes when empty.
#[derive(Debug, Clone, Default)]
pub struct Address {
    /// Port.
    pub port: Option<u16>,
    /// Address.
    pub listen: Option<String>,
}

/// A version whose ComfyUI answers.
#[derive(Debug)]
pub struct Started {
    /// The version.
    pub version_id: VersionId,
    /// Its home.
    pub realization: Arc<Realization>,
    /// Its process.
    pub ready: Ready,
    /// The claim on it.
    pub held: Held,
    /// How it became ready.
    pub how: Warmth,
    /// What took how long.
    pub timings: WarmTimings,
}

impl Starter {
    /// Returns a starter that has started nothing yet.
    pub fn new(sources: Sources, jobs: Jobs, supervisor: Supervisor) -> Self {
        Self { sources, jobs, supervisor, recent: Arc::default() }
    }

    /// Reads the spec that a call names and finds its home. Blocks, shortly.
    ///
    /// # Errors
    /// There is no such spec, it has errors, or the home cannot be followed.
    pub fn load(&self, target: &Target) -> Result<(Loaded, Home), Error> {
        let config = &self.sources.config;
        let loaded = specs::load(config, target)?;
        let home = Home::find(config, &loaded.spec.version_id, target.comfy_home.as_deref())?;
        Ok((loaded, home))
    }

    /// Makes the request of a realize: what is allowed is what the call, the daemon and the spec allow.
    pub fn request(&self, loaded: &Loaded, home: Home, mode: Mode) -> Request {
        let (config, options) = (&self.sources.config, &loaded.spec.options);
        let mode = Mode {
            offline: mode.offline || config.offline || options.offline,
            no_install_scripts: mode.no_install_scripts || realize::skips_scripts(config, &loaded.spec),
            ..mode
        };
        let supervisor = self.supervisor.clone();
        let in_use = InUse::new(move || supervisor.instances());
        let spec = Arc::new(loaded.spec.clone());
        Request { spec, home, mode, in_use, background: false, until: Rung::Realized }
    }

    /// Returns the version's ComfyUI: at once when it was found running a moment ago and nothing that
    /// belongs to it has changed since, else as [`Self::start`] does. Cancel-safe.
    ///
    /// # Errors
    /// As those of [`Self::start`].
    pub async fn warm(&self, ctx: &Ctx, wanted: Wanted) -> Result<Started, Error> {
        match self.recent.find(&wanted) {
            Some(started) => Ok(started),
            None => self.start(ctx, wanted).await,
        }
    }

    /// Realizes the version, looking at all of it, and waits until its ComfyUI answers. Cancel-safe.
    ///
    /// # Errors
    /// What the realize or the start says.
    pub async fn start(&self, ctx: &Ctx, wanted: Wanted) -> Result<Started, Error> {
        let began = Instant::now();
        let (loaded, home) = self.load(&wanted.target)?;
        // Before the look: what changes meanwhile is seen by the next one.
        let stamps = Stamps::take(&self.sources.config, &wanted.target, &loaded, &home);
        let request = self.request(&loaded, home, wanted.mode);
        let (spec, in_use, offline) =
            (Arc::clone(&request.spec), request.in_use.clone(), request.mode.offline);
        let realization = self.jobs.realize(ctx, request).await?;
        let home = &realization.layout.home.root;
        let realized = Instant::now();
        let held = self.supervisor.hold(home, wanted.purpose).await;
        self.tell_of_another_generation(ctx, &realization);
        if in_use.runs(&realization.layout.generation_dir()).is_none() {
            clean(ctx, &self.sources, &realization, &in_use, offline).await;
        }
        let launch = launch(&self.sources.config, &spec, &realization, wanted.address.clone())?;
        let launch = Launch { models: files(&realization, &wanted.models), ..launch };
        let running = self.supervisor.find(home);
        let is_ready = running.is_some_and(|running| matches!(running.state, InstanceState::Ready { .. }));
        let is_asked = !is_ready && !ctx.standing.is_background();
        let _busy = is_asked.then(|| self.jobs.foreground().busy());
        let ready = self.supervisor.ensure_ready(ctx, launch).await?;
        let timings = WarmTimings {
            realize_ms: millis(realized - began),
            room_ms: ready.room_ms,
            start_ms: ready.start_ms,
            total_ms: millis(began.elapsed()),
        };
        let how = warmth(realization.outcome, ready.started);
        let version_id = spec.version_id.clone();
        let started = Started { version_id, realization, ready, held, how, timings };
        self.recent.keep(&wanted, stamps, &started);
        Ok(started)
    }

    /// Has a zygote of a realized version wait. Returns why there is none, where it cannot be had for now. Cancel-safe.
    ///
    /// # Errors
    /// What the preparation says.
    pub async fn prime(
        &self,
        ctx: &Ctx,
        target: &Target,
        realized: &Realization,
    ) -> Result<Option<String>, Error> {
        let (loaded, _) = self.load(target)?;
        let launch = launch(&self.sources.config, &loaded.spec, realized, Address::default())?;
        match self.supervisor.prime(ctx, launch).await? {
            Primed::Waits(_) => Ok(None),
            Primed::NotYet(reason) => Ok(Some(reason)),
        }
    }

    fn tell_of_another_generation(&self, ctx: &Ctx, realization: &Realization) {
        let running = self.supervisor.find(&realization.layout.home.root);
        if let Some(InstanceInfo { state: InstanceState::Ready { .. }, generation, .. }) = running
            && generation != realization.layout.generation
        {
            let text = format!("stopping the ComfyUI that runs the generation before ({generation})");
            ctx.progress.note(text);
        }
    }
}

fn warmth(outcome: RealizeOutcome, started: bool) -> Warmth {
    match outcome {
        RealizeOutcome::Realized | RealizeOutcome::Repaired => Warmth::Realized,
        RealizeOutcome::Ready | RealizeOutcome::Detached if started => Warmth::Started,
        RealizeOutcome::Ready | RealizeOutcome::Detached => Warmth::Running,
    }
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
        rolled_back_from: realization.lock.rolled_back_from.clone(),
        extra_model_paths: model_paths.is_file().then_some(model_paths),
        inherited,
        env,
        extra_args: spec.options.extra_args.clone(),
        models: Vec::new(),
        generation_dir,
        port: address.port,
        listen: address.listen,
        device: None,
    })
}

/// Returns where models lie, in the order of their names. ComfyUI names a model by its path in its folder.
fn files(realization: &Realization, names: &[String]) -> Vec<PathBuf> {
    let in_folder = |model: &LockedModel| Some(model.target.as_str().split_once('/')?.1.to_owned());
    let mut by_name: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for model in &realization.lock.models {
        by_name.entry(in_folder(model)).or_default().push(realization.layout.home.model(&model.target));
    }
    names.iter().filter_map(|name| by_name.remove(&Some(name.clone()))).flatten().collect()
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
    inherited.retain(|name, _| !FOREIGN.contains(&name.as_str()) && name != CHILD_OF);
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
