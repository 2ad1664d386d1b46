//! What is missing: a pure function of the lock and of what is on the disk. The value it returns is
//! printed by `--dry-run` and executed by `execute`.

mod models;
mod space;

pub use space::figure;

use super::layout::Layout;
use crate::source::model::hub_cache::Cached;
use crate::source::model::links::Files;
use crate::store::inspect::{Quota, Space};
use proto::lock::LockedNode;
use proto::plan::{
    LinkStep, ModelAction, ModelStep, PackagesAction, PackagesStep, Plan, Problem, RepositoryAction,
    RepositoryStep,
};
use proto::{Lock, NodeDir};
use std::collections::BTreeMap;
use std::path::Path;

/// What was asked before the plan was made for good.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Models that are to be downloaded, by link.
    pub models: BTreeMap<String, Told>,
    /// What the volume's quota leaves.
    pub quota: Option<Quota>,
    /// What people should know of the answers.
    pub warnings: Vec<String>,
}

impl Facts {
    /// Returns where a model lies in a Hugging Face cache: by its host's word, else without one.
    pub fn found<'a>(&'a self, disk: &'a Disk, link: &str) -> Option<&'a Cached> {
        let told = self.models.get(link).and_then(|told| told.cached.as_ref());
        told.or_else(|| disk.cached.get(link))
    }
}

/// What a host told about a model, and what was found by it.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Its size in bytes.
    pub size: Option<u64>,
    /// Bytes that an earlier attempt holds on the disk for it already.
    pub held: u64,
    /// Its SHA-256.
    pub sha256: Option<String>,
    /// The same file in a Hugging Face cache.
    pub cached: Option<Cached>,
    /// Why the host will not give it.
    pub problem: Option<Problem>,
}

/// What the request allows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// Nothing may be fetched.
    pub offline: bool,
    /// Models are left alone.
    pub skip_models: bool,
    /// No custom node's `install.py` may be run.
    pub no_install_scripts: bool,
}

/// What is on the disk, as far as a plan needs to know. Made by `snapshot`.
#[derive(Debug, Clone, PartialEq)]
pub struct Disk {
    /// The wanted generation.
    pub generation: Generation,
    /// Another generation of this home with the same environment.
    pub same_venv: Option<String>,
    /// ComfyUI's commit is in the object cache.
    pub comfy_cached: bool,
    /// Custom nodes, in the lock's order.
    pub nodes: Vec<Checkout>,
    /// Size of each model that is there, in the lock's order.
    pub models: Vec<Option<u64>>,
    /// Which files of the models directory came from which link.
    pub files: Files,
    /// Models that lie in a Hugging Face cache, found without asking a host, by link.
    pub cached: BTreeMap<String, Cached>,
    /// Whether each link of the layout stands.
    pub links: Vec<bool>,
    /// Space where the home is.
    pub home_space: Option<Space>,
    /// Space where the models are.
    pub models_space: Option<Space>,
    /// Space where each model's folder is, if that is on another filesystem. In the lock's order.
    pub folder_spaces: Vec<Option<Space>>,
}

/// How the wanted generation stands on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// Not published.
    Absent,
    /// Published on a machine that has its Python elsewhere.
    OtherPython,
    /// Published, and its environment works here.
    Complete,
}

/// How a repository's commit stands on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkout {
    /// Its files are published.
    Present,
    /// Its objects are cached.
    Cached,
    /// Nothing of it is here.
    Absent,
}

/// Makes the plan.
pub fn plan(lock: &Lock, layout: &Layout, disk: &Disk, rules: Rules, facts: &Facts) -> Plan {
    let repositories = repositories(lock, layout, disk, rules);
    let packages = packages(lock, disk);
    let (models, mut warnings) = models::steps(lock, disk, rules, facts);
    warnings.extend(facts.warnings.iter().cloned());
    let links = links(layout, disk, &repositories[1..]);
    let mut install_scripts = install_scripts(lock, layout, disk, (&packages.action, &repositories[1..]));
    let mut skipped_install_scripts = Vec::new();
    if rules.no_install_scripts {
        install_scripts.clear();
        skipped_install_scripts = scripts(lock).map(|node| node.dir.clone()).collect();
    }
    let missing = missing(&repositories, &models);
    let ready = packages.action == PackagesAction::Present
        && repositories
            .iter()
            .all(|step| matches!(step.action, RepositoryAction::Present | RepositoryAction::Missing))
        && models.iter().all(|step| is_settled(&step.action))
        && links.iter().all(|step| step.present);
    let needs = space::needs(layout, disk, &packages, &models, facts);
    let problems = models.iter().filter_map(|step| step.problem.clone()).chain(space::problems(&needs));
    Plan {
        version_id: lock.version_id.clone(),
        generation: layout.generation.clone(),
        home: layout.home.root.display().to_string(),
        models_dir: layout.home.models.display().to_string(),
        ready,
        problems: problems.collect(),
        disk: needs,
        repositories,
        packages,
        install_scripts,
        skipped_install_scripts,
        models,
        links,
        missing,
        warnings,
    }
}

/// Tells whether a plan makes a new generation, rather than completing one that stands.
pub fn is_built(plan: &Plan) -> bool {
    matches!(plan.packages.action, PackagesAction::Reuse { .. } | PackagesAction::Install)
}

/// Says in words what a plan has to do; nothing when it is ready.
pub fn lacks(plan: &Plan) -> Vec<String> {
    let repositories = plan.repositories.iter().filter(|step| step.action != RepositoryAction::Present);
    let packages = Some(&plan.packages).filter(|step| step.action != PackagesAction::Present);
    let models =
        plan.models.iter().filter(|step| !matches!(step.action, ModelAction::Present | ModelAction::Skipped));
    let links = plan.links.iter().filter(|step| !step.present);
    repositories
        .map(|step| format!("repository {} at {}", step.name, step.commit.short()))
        .chain(packages.map(|step| format!("{} Python packages", step.count)))
        .chain(models.map(|step| format!("model {}", step.target)))
        .chain(links.map(|step| format!("link {}", step.link)))
        .collect()
}

fn is_settled(action: &ModelAction) -> bool {
    matches!(action, ModelAction::Present | ModelAction::Skipped | ModelAction::Missing)
}

fn repositories(lock: &Lock, layout: &Layout, disk: &Disk, rules: Rules) -> Vec<RepositoryStep> {
    let action = |state: Checkout| match state {
        Checkout::Present => RepositoryAction::Present,
        Checkout::Cached => RepositoryAction::Checkout,
        Checkout::Absent if rules.offline => RepositoryAction::Missing,
        Checkout::Absent => RepositoryAction::Fetch,
    };
    let comfy_state = match disk.generation {
        Generation::Complete | Generation::OtherPython => Checkout::Present,
        Generation::Absent if disk.comfy_cached => Checkout::Cached,
        Generation::Absent => Checkout::Absent,
    };
    let comfy = RepositoryStep {
        name: "ComfyUI".to_owned(),
        repo: lock.comfy.repo.clone(),
        commit: lock.comfy.commit.clone(),
        destination: layout.generation_dir().join("ComfyUI").display().to_string(),
        action: action(comfy_state),
    };
    let nodes = lock.custom_nodes.iter().zip(&layout.checkouts).zip(&disk.nodes);
    let nodes = nodes.map(|((node, checkout), state)| RepositoryStep {
        name: node.dir.to_string(),
        repo: node.repo.repo.clone(),
        commit: node.repo.commit.clone(),
        destination: checkout.display().to_string(),
        action: action(*state),
    });
    std::iter::once(comfy).chain(nodes).collect()
}

fn packages(lock: &Lock, disk: &Disk) -> PackagesStep {
    let action = match (disk.generation, &disk.same_venv) {
        (Generation::Complete, _) => PackagesAction::Present,
        (Generation::OtherPython, _) => PackagesAction::Repair,
        (Generation::Absent, Some(generation)) => PackagesAction::Reuse { generation: generation.clone() },
        (Generation::Absent, None) => PackagesAction::Install,
    };
    let sizes = lock.python.packages.iter().map(|package| package.size_bytes);
    PackagesStep {
        python: lock.python.version.clone(),
        count: lock.python.packages.len(),
        download_bytes: sizes.clone().flatten().sum(),
        unknown_sizes: sizes.filter(Option::is_none).count(),
        action,
    }
}

fn links(layout: &Layout, disk: &Disk, nodes: &[RepositoryStep]) -> Vec<LinkStep> {
    let wanted = layout.links.iter().zip(&disk.links);
    let there = |node: Option<usize>| node.is_none_or(|at| nodes[at].action != RepositoryAction::Missing);
    wanted
        .filter(|(link, _)| there(link.node))
        .map(|(link, present)| LinkStep {
            link: shown_link(&layout.home.root, &link.path),
            target: link.target.display().to_string(),
            present: *present,
        })
        .collect()
}

fn shown_link(home: &Path, link: &Path) -> String {
    link.strip_prefix(home).unwrap_or(link).display().to_string()
}

/// Returns the custom nodes that bring an `install.py`.
pub fn scripts(lock: &Lock) -> impl Iterator<Item = &LockedNode> {
    lock.custom_nodes.iter().filter(|node| node.install_script)
}

/// `install.py` changes both the environment and the node's own directory: it is run where either is new.
/// In a generation that stands, a node's link is made after its script has run: one that lacks its link
/// may lack what the script does.
fn install_scripts(
    lock: &Lock,
    layout: &Layout,
    disk: &Disk,
    steps: (&PackagesAction, &[RepositoryStep]),
) -> Vec<NodeDir> {
    let (packages, nodes) = steps;
    let stands = matches!(packages, PackagesAction::Present | PackagesAction::Repair);
    let links = layout.links.iter().zip(&disk.links);
    let is_linked = |node: usize| links.clone().any(|(link, there)| link.node == Some(node) && *there);
    let scripts =
        lock.custom_nodes.iter().zip(nodes).enumerate().filter(|(_, (node, _))| node.install_script);
    let wanted = scripts.filter(|(at, (_, step))| match step.action {
        RepositoryAction::Missing => false,
        RepositoryAction::Present => *packages == PackagesAction::Install || (stands && !is_linked(*at)),
        RepositoryAction::Checkout | RepositoryAction::Fetch => true,
    });
    wanted.map(|(_, (node, _))| node.dir.clone()).collect()
}

fn missing(repositories: &[RepositoryStep], models: &[ModelStep]) -> Vec<String> {
    let repositories = repositories.iter().filter(|step| step.action == RepositoryAction::Missing);
    let models = models.iter().filter(|step| step.action == ModelAction::Missing);
    repositories
        .map(|step| format!("repository {} ({} at {})", step.name, step.repo, step.commit.short()))
        .chain(models.map(|step| format!("model {} ({})", step.target, step.source)))
        .collect()
}

#[cfg(test)]
mod tests;
