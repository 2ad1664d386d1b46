//! On which rung of the warmth ladder a version stands, and why not higher.
//!
//! The disk decides up to *realized*; that takes looks at some hundred names, so it is kept ([`Found`]). What
//! lives in this daemon, an instance or a zygote, decides the rest, and is asked each time ([`Life`]). A rung
//! holds all that is below it: a ComfyUI that runs another generation than the wanted one, or whose models have
//! gone, makes no version *running*, since a request would have to do more than to answer.

use crate::boot::StartRecord;
use crate::realize::plan::figure;
use crate::realize::{compare, plan};
use crate::resolve;
use crate::source::Sources;
use crate::store::StoreError;
use crate::store::places::{Home, generation, lock_file};
use proto::method::{InstanceInfo, InstanceState, Standing, Zygote};
use proto::plan::{ModelAction, ModelStep, PackagesAction, RepositoryAction, RepositoryStep};
use proto::{Lock, Plan, Rung, Spec};

/// What a look at the disk found.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// Where the version stands by it.
    pub found: Found,
    /// The lock that belongs to its spec.
    pub lock: Option<Lock>,
    /// What is missing of what the lock pins.
    pub plan: Option<Plan>,
}

/// Where a version stands by what is on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The rung: *realized* at most.
    pub rung: Rung,
    /// Why it is not realized; empty when it is.
    pub why: String,
    /// The generation that its lock asks for.
    pub generation: Option<String>,
    /// What is known of its start.
    pub start: Start,
}

/// What is known of a version's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Nothing: none was recorded.
    Unknown,
    /// It was recorded.
    Recorded {
        /// Milliseconds until ComfyUI listened.
        took_ms: u64,
    },
    /// It was recorded, and is not to be forked.
    Distrusted(String),
}

/// What lives in this daemon for a version.
#[derive(Debug, Default)]
pub struct Life<'a> {
    /// Its ComfyUI, ended ones too.
    pub instance: Option<&'a InstanceInfo>,
    /// Its zygote, and of which generation that is.
    pub zygote: Option<(&'a str, &'a Zygote)>,
    /// The rung that it is pinned to.
    pub pinned: Option<Rung>,
    /// What keeps idle time from lifting it.
    pub held_back: Option<&'a str>,
}

/// Looks at a version's lock, its models and its home. No network, no subprocess. Blocks, shortly.
///
/// # Errors
/// When the disk cannot be looked at.
pub fn look(sources: &Sources, spec: &Spec, home: &Home) -> Result<Look, StoreError> {
    let Some(lock) = resolve::valid_lock(sources, spec, home)? else {
        let found = Found {
            rung: Rung::Unknown,
            why: unresolved(sources, spec, home).to_owned(),
            generation: None,
            start: Start::Unknown,
        };
        return Ok(Look { found, lock: None, plan: None });
    };
    let plan = compare(sources, spec, home, &lock)?;
    let (rung, why) = rung(&plan);
    let start =
        if rung == Rung::Realized { start(&home.generation(&plan.generation)) } else { Start::Unknown };
    let found = Found { rung, why, generation: Some(plan.generation.clone()), start };
    Ok(Look { found, lock: Some(lock), plan: Some(plan) })
}

impl Look {
    /// Returns what keeps the version from being realized, a line each.
    pub fn lacks(&self) -> Vec<String> {
        self.plan.as_ref().map_or_else(|| vec!["the version is not resolved".to_owned()], plan::lacks)
    }
}

impl Found {
    /// Returns where the version stands, given what lives for it.
    pub fn standing(&self, life: &Life<'_>) -> Standing {
        let ready = life.instance.filter(|instance| matches!(instance.state, InstanceState::Ready { .. }));
        let is_its = |generation: &str| self.generation.as_deref() == Some(generation);
        let is_realized = self.rung == Rung::Realized;
        let is_running = is_realized && ready.is_some_and(|ready| is_its(&ready.generation));
        let is_primed = is_realized && life.zygote.is_some_and(|(generation, _)| is_its(generation));
        let (rung, mut why) = match () {
            () if is_running => (Rung::Running, String::new()),
            () if is_primed => (Rung::Primed, idle(life.instance)),
            () if is_realized => (Rung::Realized, self.unprimed(life.instance)),
            () => (self.rung, self.why.clone()),
        };
        if let Some(ready) = ready.filter(|_| !is_running) {
            let other = if is_its(&ready.generation) { "without it" } else { "another generation" };
            why = format!("{why}; its ComfyUI runs {other}");
        }
        if let Some(held_back) = life.held_back.filter(|_| !is_running) {
            why = format!("{why}; {held_back}");
        }
        let zygote = life.zygote.map(|(_, zygote)| zygote.clone());
        Standing { rung, why, pinned: life.pinned, zygote }
    }

    /// Why nothing waits to be forked.
    fn unprimed(&self, instance: Option<&InstanceInfo>) -> String {
        match &self.start {
            _ if instance
                .is_some_and(|instance| matches!(instance.state, InstanceState::Starting { .. })) =>
            {
                idle(instance)
            }
            Start::Unknown => "no start of it was recorded yet".to_owned(),
            Start::Distrusted(reason) => format!("it is started plainly: {reason}"),
            Start::Recorded { .. } => "no zygote of it waits".to_owned(),
        }
    }
}

/// Why no ComfyUI answers, of a version that could run at once.
fn idle(instance: Option<&InstanceInfo>) -> String {
    match instance.map(|instance| &instance.state) {
        Some(InstanceState::Starting { .. }) => "its ComfyUI is starting".to_owned(),
        Some(InstanceState::Stopping { .. }) => "its ComfyUI is ending".to_owned(),
        Some(InstanceState::Failed { reason }) => format!("its ComfyUI failed: {reason}"),
        Some(InstanceState::Exited | InstanceState::Ready { .. }) | None => {
            "nobody asked for its ComfyUI".to_owned()
        }
    }
}

/// Why no lock belongs to the spec.
fn unresolved(sources: &Sources, spec: &Spec, home: &Home) -> &'static str {
    let carried = home.current().join(generation::LOCK);
    let was_resolved = lock_file(&sources.config, &spec.version_id).is_file() || carried.is_file();
    if was_resolved { "its spec changed since it was resolved" } else { "it was never resolved" }
}

/// Where a pinned version stands by what is missing. What offline mode goes without is not missed.
fn rung(plan: &Plan) -> (Rung, String) {
    if plan.ready {
        return (Rung::Realized, String::new());
    }
    let absent = absent(plan);
    if absent.is_empty() { (Rung::Fetched, unbuilt(plan)) } else { (Rung::Resolved, absent.join(" and ")) }
}

/// What is not on this machine.
fn absent(plan: &Plan) -> Vec<String> {
    let is_absent = |(at, step): &(usize, &RepositoryStep)| match step.action {
        RepositoryAction::Fetch => true,
        // There is nothing without ComfyUI itself.
        RepositoryAction::Missing => *at == 0,
        RepositoryAction::Present | RepositoryAction::Checkout => false,
    };
    let repositories = plan.repositories.iter().enumerate().filter(is_absent).count();
    let models: Vec<&ModelStep> =
        plan.models.iter().filter(|step| step.action == ModelAction::Download).collect();
    let size: Option<u64> = models.iter().map(|step| step.size_bytes).sum();
    let size = size.map(|bytes| format!(" ({})", figure(bytes))).unwrap_or_default();
    let repositories = of("repository", "repositories", repositories, plan.repositories.len());
    let models = of("model", "models", models.len(), plan.models.len()).map(|text| text + &size);
    repositories.into_iter().chain(models).collect()
}

/// "1 of 3 models is missing"; nothing when none is.
fn of(one: &str, many: &str, missing: usize, all: usize) -> Option<String> {
    match missing {
        0 => None,
        _ if all == 1 => Some(format!("its {one} is missing")),
        1 => Some(format!("1 of {all} {many} is missing")),
        _ => Some(format!("{missing} of {all} {many} are missing")),
    }
}

/// What is not made of what is here.
fn unbuilt(plan: &Plan) -> String {
    let (packages, links) = (&plan.packages, plan.links.iter().filter(|link| !link.present).count());
    match packages.action {
        PackagesAction::Install => {
            let noun = if packages.count == 1 { "package" } else { "packages" };
            let size = Some(packages.download_bytes).filter(|bytes| *bytes > 0);
            let size = size.map(|bytes| format!(" of {}", figure(bytes))).unwrap_or_default();
            format!("its environment is not installed: {} {noun}{size}", packages.count)
        }
        PackagesAction::Reuse { .. } => "its generation is not assembled".to_owned(),
        PackagesAction::Repair => "its Python lies elsewhere on this machine".to_owned(),
        PackagesAction::Present => match plan.repositories.iter().find(|step| is_to_check_out(step)) {
            Some(step) => format!("{} is not checked out", step.name),
            None if links > 0 => "a link of its home is missing".to_owned(),
            None => "a model has not got its place".to_owned(),
        },
    }
}

fn is_to_check_out(step: &RepositoryStep) -> bool {
    step.action == RepositoryAction::Checkout
}

fn start(generation_dir: &std::path::Path) -> Start {
    match StartRecord::read(generation_dir) {
        None => Start::Unknown,
        Some(StartRecord { distrust: Some(distrust), .. }) => Start::Distrusted(distrust.reason),
        Some(record) => Start::Recorded { took_ms: record.took_ms },
    }
}

#[cfg(test)]
mod tests;
