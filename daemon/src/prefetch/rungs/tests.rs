use super::*;
use proto::method::Device;
use proto::plan::{LinkStep, PackagesStep};
use proto::{CommitId, VersionId};

/// A plan of ComfyUI, a node and two models, as they stand.
fn plan(repositories: [RepositoryAction; 2], packages: PackagesAction, models: [ModelAction; 2]) -> Plan {
    let is_there = |action: &RepositoryAction| *action == RepositoryAction::Present;
    let ready = repositories.iter().all(is_there)
        && packages == PackagesAction::Present
        && models.iter().all(|action| *action == ModelAction::Present);
    let repository = |(action, name): (RepositoryAction, &str)| RepositoryStep {
        name: name.to_owned(),
        repo: format!("https://h.example/{name}"),
        commit: CommitId::new("1".repeat(40)).unwrap(),
        destination: format!("/v/{name}"),
        action,
    };
    let model = |(at, action): (usize, ModelAction)| ModelStep {
        target: proto::RelPath::new(format!("loras/{at}.safetensors")).unwrap(),
        source: "https://h.example/m".to_owned(),
        size_bytes: Some(1_550_000_000),
        action,
        problem: None,
    };
    Plan {
        version_id: VersionId::new("v").unwrap(),
        generation: "g1".to_owned(),
        home: "/v/comfy-v".to_owned(),
        models_dir: "/v/models".to_owned(),
        ready,
        repositories: repositories.into_iter().zip(["ComfyUI", "node"]).map(repository).collect(),
        packages: PackagesStep {
            python: "3.12".to_owned(),
            count: 90,
            download_bytes: 2_500_000_000,
            unknown_sizes: 0,
            action: packages,
        },
        install_scripts: Vec::new(),
        skipped_install_scripts: Vec::new(),
        models: models.into_iter().enumerate().map(model).collect(),
        links: vec![LinkStep {
            link: "current".to_owned(),
            target: "generations/g1".to_owned(),
            present: ready,
        }],
        disk: Vec::new(),
        missing: Vec::new(),
        warnings: Vec::new(),
        problems: Vec::new(),
    }
}

#[test]
fn what_is_missing_decides_up_to_realized() {
    use {ModelAction as M, PackagesAction as P, RepositoryAction as R};
    let here = || [R::Present, R::Present];
    let models = || [M::Present, M::Present];
    let table = [
        (plan(here(), P::Present, models()), Rung::Realized, ""),
        (
            plan(here(), P::Install, models()),
            Rung::Fetched,
            "its environment is not installed: 90 packages of 2.5 GB",
        ),
        (
            plan([R::Checkout, R::Checkout], P::Install, models()),
            Rung::Fetched,
            "its environment is not installed: 90 packages of 2.5 GB",
        ),
        (plan([R::Present, R::Checkout], P::Present, models()), Rung::Fetched, "node is not checked out"),
        (plan(here(), P::Present, [M::Present, M::Skipped]), Rung::Fetched, "a link of its home is missing"),
        (
            plan(here(), P::Install, [M::Download, M::Download]),
            Rung::Resolved,
            "2 of 2 models are missing (3.1 GB)",
        ),
        (
            plan([R::Fetch, R::Present], P::Install, [M::Download, M::Present]),
            Rung::Resolved,
            "1 of 2 repositories is missing and 1 of 2 models is missing (1.6 GB)",
        ),
        (
            plan([R::Missing, R::Missing], P::Install, [M::Missing, M::Present]),
            Rung::Resolved,
            "1 of 2 repositories is missing",
        ),
    ];
    for (plan, expected, why) in table {
        assert_eq!(rung(&plan), (expected, why.to_owned()));
    }
}

fn found(rung: Rung, why: &str, start: Start) -> Found {
    Found { rung, why: why.to_owned(), generation: Some("g1".to_owned()), start }
}

fn instance(generation: &str, state: InstanceState) -> InstanceInfo {
    InstanceInfo {
        version_id: VersionId::new("v").unwrap(),
        home: "/v/comfy-v".to_owned(),
        generation: generation.to_owned(),
        rolled_back_from: None,
        state,
        url: "http://127.0.0.1:1".to_owned(),
        log: "/l".to_owned(),
        device: Some(Device::Cpu),
        leases: 0,
        workflows: 0,
        restarts: 0,
        adopted: false,
        forked: false,
    }
}

#[test]
fn what_lives_decides_the_rest() {
    let zygote = Zygote { pid: 7, pss_bytes: 1, for_ms: 1 };
    let ready = |generation| instance(generation, InstanceState::Ready { pid: 8, start_ms: 9 });
    let (current, earlier) = (ready("g1"), ready("g0"));
    let failed = instance("g1", InstanceState::Failed { reason: "exit status 1".to_owned() });
    let starting = instance("g1", InstanceState::Starting { pid: 8, for_ms: 9 });
    let realized = || found(Rung::Realized, "", Start::Unknown);
    let resolved = || found(Rung::Resolved, "its model is missing", Start::Unknown);
    let with = |instance, zygote| Life { instance, zygote, ..Life::default() };
    let table = [
        (realized(), with(None, None), Rung::Realized, "no start of it was recorded yet"),
        (
            found(Rung::Realized, "", Start::Recorded { took_ms: 9 }),
            with(None, None),
            Rung::Realized,
            "no zygote of it waits",
        ),
        (
            found(Rung::Realized, "", Start::Distrusted("a fork died".to_owned())),
            with(None, None),
            Rung::Realized,
            "it is started plainly: a fork died",
        ),
        (realized(), with(Some(&starting), None), Rung::Realized, "its ComfyUI is starting"),
        (realized(), with(None, Some(("g1", &zygote))), Rung::Primed, "nobody asked for its ComfyUI"),
        (
            realized(),
            with(Some(&failed), Some(("g1", &zygote))),
            Rung::Primed,
            "its ComfyUI failed: exit status 1",
        ),
        (realized(), with(None, Some(("g0", &zygote))), Rung::Realized, "no start of it was recorded yet"),
        (realized(), with(Some(&current), None), Rung::Running, ""),
        (
            realized(),
            with(Some(&earlier), None),
            Rung::Realized,
            "no start of it was recorded yet; its ComfyUI runs another generation",
        ),
        (
            resolved(),
            with(Some(&current), Some(("g1", &zygote))),
            Rung::Resolved,
            "its model is missing; its ComfyUI runs without it",
        ),
    ];
    for (found, life, rung, why) in table {
        let standing = found.standing(&life);
        assert_eq!((standing.rung, standing.why.as_str()), (rung, why));
        assert_eq!(standing.zygote.is_some(), life.zygote.is_some());
    }
}

#[test]
fn what_holds_a_version_back_is_a_part_of_why_unless_it_runs() {
    let life = Life { pinned: Some(Rung::Primed), held_back: Some("memory is short"), ..Life::default() };
    let realized = found(Rung::Realized, "", Start::Recorded { took_ms: 9 });
    let standing = realized.standing(&life);
    assert_eq!(standing.why, "no zygote of it waits; memory is short");
    assert_eq!(standing.pinned, Some(Rung::Primed));
    let current = instance("g1", InstanceState::Ready { pid: 8, start_ms: 9 });
    assert_eq!(realized.standing(&Life { instance: Some(&current), ..life }).why, "");
}
