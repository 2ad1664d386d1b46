//! The plan's decisions, as cases, and its one law: a plan made true leaves nothing to plan.

use super::*;
use crate::config::Config;
use crate::store::places::Home;
use proptest::prelude::*;
use proto::lock::{LOCK_SCHEMA_VERSION, LockedModel, LockedNode, LockedPackage, LockedPython, LockedRepo};
use proto::{CommitId, ModelSource, VersionId};
use std::path::PathBuf;

const SPACE: Space = Space { device: 1, available_bytes: 1_000_000 };

fn repo(url: &str, digit: &str) -> LockedRepo {
    let commit = CommitId::new(digit.repeat(40)).unwrap();
    LockedRepo { repo: url.to_owned(), git_ref: None, commit, committed_at: jiff::Timestamp::UNIX_EPOCH }
}

fn node(dir: &str, digit: &str) -> LockedNode {
    let repo = repo(&format!("https://example.org/o/{dir}"), digit);
    LockedNode { dir: NodeDir::new(dir).unwrap(), repo, install_script: true }
}

fn model(target: &str, source: &str) -> LockedModel {
    let source = ModelSource::parse(source).unwrap();
    LockedModel { target: RelPath::new(target).unwrap(), source, checksum: None }
}

fn package(name: &str, size_bytes: Option<u64>) -> LockedPackage {
    let (version, requirement) = (Some("1".to_owned()), format!("{name}==1"));
    LockedPackage { name: name.to_owned(), version, requirement, hashes: Vec::new(), size_bytes }
}

/// A lock with one of everything, and one link under two names.
fn lock() -> Lock {
    Lock {
        schema_version: LOCK_SCHEMA_VERSION,
        version_id: VersionId::new("v").unwrap(),
        spec_digest: String::new(),
        resolved_at: jiff::Timestamp::UNIX_EPOCH,
        comfy: repo("https://example.org/o/ComfyUI", "0"),
        custom_nodes: vec![node("a", "a"), node("b", "b")],
        packages_digest: String::new(),
        python: LockedPython {
            version: "3.12".to_owned(),
            inputs_digest: String::new(),
            exclude_newer: None,
            packages: vec![package("x", Some(100)), package("y", None)],
            left_out: Vec::new(),
        },
        models: vec![
            model("loras/one.safetensors", "https://example.org/one"),
            model("unet/two.safetensors", "https://example.org/two"),
            model("diffusion_models/two.safetensors", "https://example.org/two"),
        ],
    }
}

fn layout(lock: &Lock) -> Layout {
    let vars = [("HOME", "/home/u"), ("COMFY_CACHE_ROOT", "/c"), ("COMFY_CACHE_NODES", "/n")];
    let config = Config::from_vars(&vars.map(|(k, v)| (k.to_owned(), v.to_owned())).into()).unwrap();
    Layout::new(&config, Home { root: "/v/comfy-v".into(), models: "/v/models".into() }, lock)
}

fn empty(lock: &Lock) -> Disk {
    Disk {
        generation: Generation::Absent,
        same_venv: None,
        comfy_cached: false,
        nodes: vec![Checkout::Absent; lock.custom_nodes.len()],
        models: vec![None; lock.models.len()],
        links: vec![false; layout(lock).links.len()],
        home_space: Some(SPACE),
        models_space: Some(SPACE),
    }
}

fn planned(lock: &Lock, disk: &Disk, rules: Rules) -> Plan {
    plan(lock, &layout(lock), disk, rules, &Sizes::from([(RelPath::new("unet/two.safetensors").unwrap(), 7)]))
}

/// What the disk is like once the plan has been made true.
fn applied(lock: &Lock, disk: &Disk, plan: &Plan) -> Disk {
    let shown = |path: &PathBuf| path.strip_prefix("/v/comfy-v").unwrap().display().to_string();
    let stands = |link: &str| plan.links.iter().any(|step| step.link == link);
    let node = |(state, step): (&Checkout, &RepositoryStep)| match step.action {
        RepositoryAction::Fetch | RepositoryAction::Checkout => Checkout::Present,
        RepositoryAction::Present | RepositoryAction::Missing => *state,
    };
    let model = |(size, step): (&Option<u64>, &ModelStep)| match step.action {
        ModelAction::Download | ModelAction::Link { .. } => Some(7),
        _ => *size,
    };
    Disk {
        generation: Generation::Complete,
        same_venv: None,
        comfy_cached: true,
        nodes: disk.nodes.iter().zip(&plan.repositories[1..]).map(node).collect(),
        models: disk.models.iter().zip(&plan.models).map(model).collect(),
        links: layout(lock)
            .links
            .iter()
            .zip(&disk.links)
            .map(|(link, had)| *had || stands(&shown(&link.path)))
            .collect(),
        ..disk.clone()
    }
}

#[test]
fn on_an_empty_disk_everything_is_to_be_done_once() {
    let lock = lock();
    let plan = planned(&lock, &empty(&lock), Rules::default());
    assert!(!plan.ready);
    assert!(plan.repositories.iter().all(|step| step.action == RepositoryAction::Fetch));
    assert_eq!(plan.packages.action, PackagesAction::Install);
    assert_eq!((plan.packages.download_bytes, plan.packages.unknown_sizes), (100, 1));
    assert_eq!(plan.install_scripts.len(), 2);
    let from = RelPath::new("unet/two.safetensors").unwrap();
    let actions: Vec<_> = plan.models.iter().map(|step| step.action.clone()).collect();
    assert_eq!(actions, [ModelAction::Download, ModelAction::Download, ModelAction::Link { from }]);
    // One filesystem: packages unpacked, and each link's bytes once.
    assert_eq!(plan.disk.iter().map(|disk| disk.needed_bytes).collect::<Vec<_>>(), [207]);
}

#[test]
fn a_second_filesystem_is_counted_by_itself() {
    let lock = lock();
    let disk = Disk { models_space: Some(Space { device: 2, ..SPACE }), ..empty(&lock) };
    let needs = planned(&lock, &disk, Rules::default()).disk;
    assert_eq!(
        needs.iter().map(|need| (need.path.as_str(), need.needed_bytes)).collect::<Vec<_>>(),
        [("/v/comfy-v", 200), ("/v/models", 7)]
    );
}

#[test]
fn a_new_model_touches_neither_code_nor_packages() {
    let lock = lock();
    let everything = applied(&lock, &empty(&lock), &planned(&lock, &empty(&lock), Rules::default()));
    let disk = Disk { models: vec![None, Some(7), Some(7)], ..everything };
    let plan = planned(&lock, &disk, Rules::default());
    assert_eq!(lacks(&plan), ["model loras/one.safetensors"]);
}

#[test]
fn a_removed_checkout_is_made_again_with_its_script() {
    let lock = lock();
    let everything = applied(&lock, &empty(&lock), &planned(&lock, &empty(&lock), Rules::default()));
    let disk = Disk { nodes: vec![Checkout::Cached, Checkout::Present], ..everything };
    let plan = planned(&lock, &disk, Rules::default());
    assert_eq!(plan.repositories[1].action, RepositoryAction::Checkout);
    assert_eq!(plan.install_scripts.iter().map(NodeDir::as_str).collect::<Vec<_>>(), ["a"]);
    assert_eq!(plan.packages.action, PackagesAction::Present);
}

// A script that failed used to count as run once its node's checkout was there.
#[test]
fn a_node_without_its_link_has_its_script_run_again() {
    let lock = lock();
    let everything = applied(&lock, &empty(&lock), &planned(&lock, &empty(&lock), Rules::default()));
    let links = layout(&lock).links.iter().map(|link| link.node != Some(1)).collect();
    let plan = planned(&lock, &Disk { links, ..everything }, Rules::default());
    assert_eq!(plan.install_scripts.iter().map(NodeDir::as_str).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn offline_names_what_is_missing_and_links_nothing_to_it() {
    let lock = lock();
    let disk = Disk { comfy_cached: true, nodes: vec![Checkout::Cached, Checkout::Absent], ..empty(&lock) };
    let plan = planned(&lock, &disk, Rules { offline: true, skip_models: false });
    assert_eq!(plan.missing.len(), 4, "{:?}", plan.missing);
    assert!(!plan.links.iter().any(|step| step.link.ends_with("custom_nodes/b")));
    assert!(plan.links.iter().any(|step| step.link.ends_with("custom_nodes/a")));
}

#[test]
fn an_environment_of_another_generation_is_shared() {
    let lock = lock();
    let disk = Disk { same_venv: Some("older".to_owned()), ..empty(&lock) };
    let plan = planned(&lock, &disk, Rules::default());
    assert_eq!(plan.packages.action, PackagesAction::Reuse { generation: "older".to_owned() });
    assert_eq!(plan.disk[0].needed_bytes, 7, "only the model");
}

fn any_disk() -> impl Strategy<Value = Disk> {
    let generation =
        prop_oneof![Just(Generation::Absent), Just(Generation::OtherPython), Just(Generation::Complete)];
    let checkout = prop_oneof![Just(Checkout::Present), Just(Checkout::Cached), Just(Checkout::Absent)];
    let nodes = prop::collection::vec(checkout, 2);
    let models = prop::collection::vec(prop::option::of(Just(7_u64)), 3);
    let links = prop::collection::vec(any::<bool>(), layout(&lock()).links.len());
    let venv = prop::option::of(Just("older".to_owned()));
    (generation, nodes, models, links, venv, any::<bool>()).prop_map(
        |(generation, nodes, models, links, same_venv, cached)| {
            let comfy_cached = cached || generation != Generation::Absent;
            Disk {
                generation,
                same_venv,
                comfy_cached,
                nodes,
                models,
                links,
                home_space: Some(SPACE),
                models_space: Some(SPACE),
            }
        },
    )
}

proptest! {
    #[test]
    fn a_plan_made_true_leaves_nothing_to_plan(disk in any_disk(), offline: bool, skip_models: bool) {
        let (lock, rules) = (lock(), Rules { offline, skip_models });
        let first = planned(&lock, &disk, rules);
        // Without ComfyUI nothing comes up: realize refuses before it executes.
        prop_assume!(first.repositories[0].action != RepositoryAction::Missing);
        let second = planned(&lock, &applied(&lock, &disk, &first), rules);
        prop_assert!(second.ready, "{:?}", lacks(&second));
        prop_assert_eq!(second.missing, first.missing);
    }

    #[test]
    fn a_ready_plan_lacks_nothing_but_what_is_missing(disk in any_disk()) {
        let plan = planned(&lock(), &disk, Rules::default());
        prop_assert_eq!(plan.ready, lacks(&plan).is_empty());
    }
}
