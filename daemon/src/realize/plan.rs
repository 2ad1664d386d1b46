//! What is missing: a pure function of the lock and of what is on the disk. The value it returns is
//! printed by `--dry-run` and executed by `execute`.

use super::layout::Layout;
use crate::store::inspect::Space;
use proto::plan::{
    DiskNeed, LinkStep, ModelAction, ModelStep, PackagesAction, PackagesStep, Plan, RepositoryAction,
    RepositoryStep,
};
use proto::{Lock, NodeDir, RelPath};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// What hosts told about models that are not here, in bytes, by target.
pub type Sizes = BTreeMap<RelPath, u64>;

/// What the request allows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// Nothing may be fetched.
    pub offline: bool,
    /// Models are left alone.
    pub skip_models: bool,
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
    /// Whether each link of the layout stands.
    pub links: Vec<bool>,
    /// Space where the home is.
    pub home_space: Option<Space>,
    /// Space where the models are.
    pub models_space: Option<Space>,
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

/// Unpacked wheels take about this many times their download. Measured on ComfyUI 0.3.75's 90 packages:
/// 2.0 (torch's libraries alone: 1.7).
const UNPACKED: u64 = 2;

/// Makes the plan.
pub fn plan(lock: &Lock, layout: &Layout, disk: &Disk, rules: Rules, sizes: &Sizes) -> Plan {
    let repositories = repositories(lock, layout, disk, rules);
    let packages = packages(lock, disk);
    let models = models(lock, disk, rules, sizes);
    let links = links(layout, disk, &repositories[1..]);
    let install_scripts = install_scripts(lock, layout, disk, (&packages.action, &repositories[1..]));
    let missing = missing(&repositories, &models);
    let ready = packages.action == PackagesAction::Present
        && repositories
            .iter()
            .all(|step| matches!(step.action, RepositoryAction::Present | RepositoryAction::Missing))
        && models.iter().all(|step| is_settled(&step.action))
        && links.iter().all(|step| step.present);
    Plan {
        version_id: lock.version_id.clone(),
        generation: layout.generation.clone(),
        home: layout.home.root.display().to_string(),
        models_dir: layout.home.models.display().to_string(),
        ready,
        disk: space_needed(layout, disk, &packages, &models),
        repositories,
        packages,
        install_scripts,
        models,
        links,
        missing,
        warnings: Vec::new(),
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

fn models(lock: &Lock, disk: &Disk, rules: Rules, sizes: &Sizes) -> Vec<ModelStep> {
    let here = lock.models.iter().zip(&disk.models);
    // The link is the key: the first target that has the file, or will have it, serves the others.
    let mut serves: HashMap<&str, (&RelPath, bool)> = HashMap::new();
    for (model, _) in here.clone().filter(|(_, size)| size.is_some()) {
        serves.entry(model.source.as_str()).or_insert((&model.target, true));
    }
    here.map(|(model, size)| {
        let (from, from_is_here) = *serves.entry(model.source.as_str()).or_insert((&model.target, false));
        let action = match size {
            _ if rules.skip_models => ModelAction::Skipped,
            Some(_) => ModelAction::Present,
            None if rules.offline && !from_is_here => ModelAction::Missing,
            None if from != &model.target => ModelAction::Link { from: from.clone() },
            None => ModelAction::Download,
        };
        let size_bytes = size.or_else(|| sizes.get(from).copied());
        ModelStep { target: model.target.clone(), source: model.source.to_string(), size_bytes, action }
    })
    .collect()
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

fn space_needed(
    layout: &Layout,
    disk: &Disk,
    packages: &PackagesStep,
    models: &[ModelStep],
) -> Vec<DiskNeed> {
    let for_packages = match packages.action {
        PackagesAction::Install => packages.download_bytes * UNPACKED,
        PackagesAction::Present | PackagesAction::Reuse { .. } | PackagesAction::Repair => 0,
    };
    let downloads = models.iter().filter(|step| step.action == ModelAction::Download);
    let for_models: u64 = downloads.filter_map(|step| step.size_bytes).sum();
    let need = |path: &Path, needed_bytes, space: Space| DiskNeed {
        path: path.display().to_string(),
        needed_bytes,
        available_bytes: space.available_bytes,
    };
    let (home, models_dir) = (&layout.home.root, &layout.home.models);
    match (disk.home_space, disk.models_space) {
        (Some(a), Some(b)) if a.device == b.device => vec![need(home, for_packages + for_models, a)],
        (a, b) => {
            let home = a.map(|space| need(home, for_packages, space));
            home.into_iter().chain(b.map(|space| need(models_dir, for_models, space))).collect()
        }
    }
}

#[cfg(test)]
mod tests;
