//! The plan's decisions, as cases, and its one law: a plan made true leaves nothing to plan.

use super::*;
use crate::config::Config;
use crate::source::model::links::Entry;
use crate::store::places::Home;
use proptest::prelude::*;
use proto::RelPath;
use proto::lock::{LOCK_SCHEMA_VERSION, LockedModel, LockedNode, LockedPackage, LockedPython, LockedRepo};
use proto::{CommitId, ModelSource, VersionId};
use std::path::PathBuf;

const ONE: &str = "https://example.org/one";
const TWO: &str = "https://example.org/two";
const SPACE: Space =
    Space { device: 1, total_bytes: 2_000_000, used_bytes: 0, available_bytes: 1_000_000, quota_bytes: None };

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
        rolled_back_from: None,
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
    Layout::new(&config, Home { root: "/v/comfy-v".into(), models: "/v/models".into() }, lock, false)
}

fn empty(lock: &Lock) -> Disk {
    Disk {
        generation: Generation::Absent,
        same_venv: None,
        comfy_cached: false,
        nodes: vec![Checkout::Absent; lock.custom_nodes.len()],
        models: vec![None; lock.models.len()],
        files: Files::new(),
        cached: BTreeMap::new(),
        folder_spaces: vec![None; lock.models.len()],
        links: vec![false; layout(lock).links.len()],
        home_space: Some(SPACE),
        models_space: Some(SPACE),
    }
}

fn planned(lock: &Lock, disk: &Disk, rules: Rules) -> Plan {
    let two = Told { size: Some(7), ..Told::default() };
    asked(lock, disk, rules, &[(TWO, two)])
}

fn asked(lock: &Lock, disk: &Disk, rules: Rules, told: &[(&str, Told)]) -> Plan {
    let models = told.iter().map(|(link, told)| ((*link).to_owned(), told.clone()));
    plan(lock, &layout(lock), disk, rules, &Facts { models: models.collect(), ..Facts::default() })
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
        ModelAction::Download | ModelAction::Link { .. } | ModelAction::Adopt { .. } => Some(7),
        _ => *size,
    };
    let brought = plan.models.iter().filter(|step| {
        matches!(step.action, ModelAction::Download | ModelAction::Link { .. } | ModelAction::Adopt { .. })
    });
    let mut files = disk.files.clone();
    files.extend(brought.map(|step| (step.target.clone(), entry(&step.source))));
    Disk {
        generation: Generation::Complete,
        files,
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
    let plan = planned(&lock, &disk, Rules { offline: true, ..Rules::default() });
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

fn entry(source: &str) -> Entry {
    Entry { source: source.to_owned(), size: 7, sha256: Some("ab".repeat(32)), ..Entry::default() }
}

fn files(files: &[(&str, &str)]) -> Files {
    files.iter().map(|(target, source)| (RelPath::new(*target).unwrap(), entry(source))).collect()
}

fn cached(path: &str) -> Cached {
    Cached { path: path.into(), size: 7, sha256: None, commit: None }
}

fn hub<const N: usize>(files: [(&str, &str); N]) -> BTreeMap<String, Cached> {
    files.map(|(path, link)| (link.to_owned(), cached(path))).into()
}

fn actions(plan: &Plan) -> Vec<ModelAction> {
    plan.models.iter().map(|step| step.action.clone()).collect()
}

fn linked(from: &str) -> ModelAction {
    ModelAction::Link { from: RelPath::new(from).unwrap() }
}

#[test]
fn a_link_that_lies_at_any_target_is_linked_offline_too() {
    let lock = lock();
    let known = files(&[("other/1.safetensors", "https://example.org/one")]);
    let disk = Disk { comfy_cached: true, files: known, ..empty(&lock) };
    for offline in [false, true] {
        let plan = planned(&lock, &disk, Rules { offline, ..Rules::default() });
        assert_eq!(actions(&plan)[0], linked("other/1.safetensors"));
        assert_eq!(plan.models[0].size_bytes, Some(7));
        assert!(!plan.missing.iter().any(|missing| missing.contains("one.safetensors")));
    }
}

#[test]
fn a_file_of_another_link_is_replaced_and_both_are_named() {
    let lock = lock();
    let known = files(&[("loras/one.safetensors", "https://example.org/old")]);
    let disk = Disk { models: vec![Some(7), None, None], files: known, ..empty(&lock) };
    let plan = planned(&lock, &disk, Rules::default());
    assert_eq!(actions(&plan)[0], ModelAction::Download);
    let warning = "`loras/one.safetensors` holds the file of `https://example.org/old`; it is replaced by that of \
                   `https://example.org/one`";
    assert_eq!(plan.warnings, [warning]);
    assert!(lacks(&plan).contains(&"model loras/one.safetensors".to_owned()));
    let offline = planned(&lock, &disk, Rules { offline: true, ..Rules::default() });
    assert_eq!(actions(&offline)[0], ModelAction::Missing);
}

#[test]
fn two_names_that_changed_places_are_linked_from_each_other() {
    let mut lock = lock();
    lock.models.truncate(2);
    let known = files(&[
        ("loras/one.safetensors", "https://example.org/two"),
        ("unet/two.safetensors", "https://example.org/one"),
    ]);
    let disk = Disk { models: vec![Some(7); 2], files: known, ..empty(&lock) };
    let plan = planned(&lock, &disk, Rules::default());
    assert_eq!(actions(&plan), [linked("unet/two.safetensors"), linked("loras/one.safetensors")]);
}

#[test]
fn a_file_of_the_same_content_is_linked_where_the_host_tells_it() {
    let lock = lock();
    let known = files(&[("other/1.safetensors", "https://elsewhere.org/1")]);
    let disk = Disk { files: known, ..empty(&lock) };
    let told = |sha256: String, size| Told { sha256: Some(sha256), size: Some(size), ..Told::default() };
    let action = |told| actions(&asked(&lock, &disk, Rules::default(), &[(ONE, told)])).remove(0);
    assert_eq!(action(told("ab".repeat(32), 7)), linked("other/1.safetensors"));
    assert_eq!(action(told("cd".repeat(32), 7)), ModelAction::Download);
    assert_eq!(action(told("ab".repeat(32), 8)), ModelAction::Download);
}

#[test]
fn what_is_told_of_a_link_counts_for_all_its_targets() {
    let lock = lock();
    let disk = Disk { files: files(&[("other/2.safetensors", "https://elsewhere.org/2")]), ..empty(&lock) };
    let told = Told { sha256: Some("ab".repeat(32)), ..Told::default() };
    let plan = asked(&lock, &disk, Rules::default(), &[(TWO, told)]);
    assert_eq!(actions(&plan)[1..], [linked("other/2.safetensors"), linked("other/2.safetensors")]);
}

#[test]
fn a_file_in_a_cache_is_adopted_and_serves_the_other_name() {
    let lock = lock();
    let disk = Disk { cached: hub([("/hub/two", TWO)]), ..empty(&lock) };
    let adopted = |path: &str| ModelAction::Adopt { from: path.to_owned() };
    let offline = planned(&lock, &disk, Rules { offline: true, ..Rules::default() });
    assert_eq!(
        actions(&offline),
        [ModelAction::Missing, adopted("/hub/two"), linked("unet/two.safetensors")]
    );
    let told = Told { cached: Some(cached("/hub/one")), ..Told::default() };
    let plan = asked(&lock, &disk, Rules::default(), &[(ONE, told)]);
    assert_eq!(actions(&plan)[0], adopted("/hub/one"));
    assert_eq!(plan.disk[0].needed_bytes, 200, "packages only");
    assert!(!plan.ready);
}

#[test]
fn what_a_host_refuses_is_a_problem_only_where_the_host_is_needed() {
    let lock = lock();
    let problem = Problem { kind: proto::ErrorKind::Access, message: "gated".to_owned(), hint: None };
    let told = Told { problem: Some(problem.clone()), ..Told::default() };
    let told = [(ONE, told)];
    let plan = asked(&lock, &empty(&lock), Rules::default(), &told);
    assert_eq!((&plan.problems, &plan.models[0].problem), (&vec![problem.clone()], &Some(problem)));
    let disk = Disk { models: vec![Some(7), None, None], ..empty(&lock) };
    assert_eq!(asked(&lock, &disk, Rules::default(), &told).problems, []);
}

#[test]
fn a_disk_or_quota_that_is_too_small_is_a_problem_with_figures() {
    let lock = lock();
    let told = Told { size: Some(2_000_000_000), ..Told::default() };
    let models = BTreeMap::from([(ONE.to_owned(), told)]);
    let facts = |left_bytes| Facts {
        models: models.clone(),
        quota: Some(Quota { device: 1, bytes: 5_000_000_000, left_bytes }),
        ..Facts::default()
    };
    let space = Space { available_bytes: 4_000_000_000, ..SPACE };
    let disk = Disk { home_space: Some(space), models_space: Some(space), ..empty(&lock) };
    let plan = |disk: &Disk, left| plan(&lock, &layout(&lock), disk, Rules::default(), &facts(left));
    assert_eq!(plan(&disk, 3_000_000_000).problems, []);
    let limited = plan(&disk, 1_500_000_000);
    assert_eq!(
        (limited.disk[0].available_bytes, limited.disk[0].quota_bytes),
        (1_500_000_000, Some(5_000_000_000))
    );
    let message = "`/v/comfy-v` has 1.5 GB of its quota of 5.0 GB free, and 2.0 GB are needed";
    assert_eq!(limited.problems[0].message, message);
    assert_eq!(limited.problems[0].kind, proto::ErrorKind::Disk);
    let mut resumed = facts(1_500_000_000);
    resumed
        .models
        .insert(ONE.to_owned(), Told { size: Some(2_000_000_000), held: 1_900_000_000, ..Told::default() });
    let resumed = super::plan(&lock, &layout(&lock), &disk, Rules::default(), &resumed);
    assert_eq!((resumed.disk[0].needed_bytes, resumed.problems.len()), (100_000_200, 0));
    let small = Space { device: 3, available_bytes: 1_000_000_000, ..SPACE };
    // A model folder on a disk of its own, which is none of the volume's.
    let elsewhere = plan(&Disk { folder_spaces: vec![Some(small), None, None], ..disk }, 1_500_000_000);
    assert_eq!(elsewhere.disk.len(), 2);
    assert_eq!(elsewhere.problems[0].message, "`/v/models/loras` has 1.0 GB free, and 2.0 GB are needed");
}

fn any_disk() -> impl Strategy<Value = Disk> {
    let generation =
        prop_oneof![Just(Generation::Absent), Just(Generation::OtherPython), Just(Generation::Complete)];
    let checkout = prop_oneof![Just(Checkout::Present), Just(Checkout::Cached), Just(Checkout::Absent)];
    let nodes = prop::collection::vec(checkout, 2);
    let models = prop::collection::vec(prop::option::of(Just(7_u64)), 3);
    let links = prop::collection::vec(any::<bool>(), layout(&lock()).links.len());
    let venv = prop::option::of(Just("older".to_owned()));
    let source = prop_oneof![
        Just("https://example.org/one"),
        Just("https://example.org/two"),
        Just("https://o.org/3")
    ];
    let known = prop::collection::vec(prop::option::of(source), 4);
    let hub = prop_oneof![Just(BTreeMap::new()), Just(hub([("/hub/1", ONE)])), Just(hub([("/hub/2", TWO)]))];
    (generation, nodes, models, links, (venv, known, hub), any::<bool>()).prop_map(
        |(generation, nodes, models, links, (same_venv, known, cached), has_comfy)| {
            let comfy_cached = has_comfy || generation != Generation::Absent;
            // An entry stands only beside a file.
            let targets = lock().models.into_iter().map(|model| model.target);
            let targets: Vec<_> = targets.chain([RelPath::new("other/1.safetensors").unwrap()]).collect();
            let stands = |at: usize| at == 3 || models[at].is_some();
            let known = known.iter().enumerate().filter_map(|(at, source)| Some((at, (*source)?)));
            let known = known.filter(|(at, _)| stands(*at));
            let files: Files = known.map(|(at, source)| (targets[at].clone(), entry(source))).collect();
            Disk {
                generation,
                same_venv,
                comfy_cached,
                nodes,
                models,
                files,
                cached,
                links,
                ..empty(&lock())
            }
        },
    )
}

proptest! {
    #[test]
    fn a_plan_made_true_leaves_nothing_to_plan(disk in any_disk(), offline: bool, skip_models: bool) {
        let (lock, rules) = (lock(), Rules { offline, skip_models, ..Rules::default() });
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
