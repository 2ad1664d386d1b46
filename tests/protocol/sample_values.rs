//! The larger values of the samples. The hosts and names are made up.

use crate::sample_ladder::{idle_step, standing};
use proto::event::{Note, ProgressEvent, ProgressState, TaskKind, TaskProgress, TaskState, Unit, Wait, Work};
use proto::lock::{LeftOut, LockedModel, LockedNode, LockedPackage, LockedPython, LockedRepo};
use proto::method::*;
use proto::plan::*;
use proto::rpc::RequestId;
use proto::spec::{
    Conflicts, Diagnostic, ExcludeNewer, ModelSpec, NodeSpec, Options, RepoSpec, Severity, Spec,
};
use proto::{CommitId, ErrorKind, Lock, ModelSource, NodeDir, Plan, RelPath, VersionId};
use serde_json::json;
use std::collections::BTreeMap;

pub(crate) fn diagnostic() -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        file: "versions/wan22.json".to_owned(),
        line: 4,
        column: 17,
        field: "comfy.repo".to_owned(),
        message: "the field is missing".to_owned(),
        hint: Some("write the URL of a repository".to_owned()),
    }
}

pub(crate) fn progress() -> ProgressEvent {
    let task = TaskProgress {
        id: 3,
        kind: TaskKind::Model,
        label: "loras/a.safetensors".to_owned(),
        state: TaskState::Running,
        done: 1 << 20,
        total: Some(1 << 30),
        unit: Unit::Bytes,
        detail: "attempt 2 of 5".to_owned(),
    };
    let note = Note { seq: 1, warning: true, text: "the index has no dates".to_owned() };
    let state = ProgressState {
        phase: "execute".to_owned(),
        tasks: vec![task],
        notes: vec![note],
        waits: vec![wait()],
    };
    ProgressEvent { id: RequestId::Number(7), state }
}

pub(crate) fn work() -> Work {
    Work::from(&progress().state)
}

pub(crate) fn wait() -> Wait {
    Wait {
        id: 9,
        for_what: "/volume/comfy-wan22".to_owned(),
        holder: "pid 7 on pod-3".to_owned(),
        for_ms: 12_000,
        left_ms: 3_588_000,
    }
}

pub(crate) fn spec() -> Spec {
    let node = NodeSpec {
        dir: NodeDir::new("ComfyUI-KJNodes").unwrap(),
        repo: RepoSpec {
            repo: "https://git.example/kijai/ComfyUI-KJNodes".to_owned(),
            git_ref: Some("main".to_owned()),
            commit: Some(commit('2')),
        },
        install_requirements: true,
    };
    let options = Options {
        offline: true,
        skip_models: true,
        no_install_scripts: true,
        exclude_newer: ExcludeNewer::At(moment()),
        conflicts: Conflicts::Warn,
        extra_args: texts(&["--fast"]),
    };
    let model =
        ModelSpec { target: rel("loras/a.safetensors"), source: source(), checksum: Some(checksum()) };
    Spec {
        version_id: id(),
        comfy: RepoSpec {
            repo: "https://git.example/comfy/ComfyUI".to_owned(),
            git_ref: Some("v0.3.75".to_owned()),
            commit: Some(commit('1')),
        },
        custom_nodes: vec![node],
        models: vec![model],
        python_packages: texts(&["numpy<2"]),
        env: map(&[("COMFY_PYTHON", "python3.11")]),
        options,
    }
}

pub(crate) fn lock() -> Lock {
    let repo = |name: &str, digit| LockedRepo {
        repo: format!("https://git.example/{name}"),
        git_ref: Some("main".to_owned()),
        commit: commit(digit),
        committed_at: moment(),
    };
    let package = LockedPackage {
        name: "numpy".to_owned(),
        version: Some("1.26.4".to_owned()),
        requirement: "numpy==1.26.4".to_owned(),
        hashes: vec![checksum()],
        size_bytes: Some(18_000_000),
    };
    let left_out = LeftOut {
        requirement: "torch==2.0.0".to_owned(),
        origin: "ComfyUI-KJNodes requirements.txt:3".to_owned(),
        reason: "torch is ComfyUI's".to_owned(),
    };
    let python = LockedPython {
        version: "3.11".to_owned(),
        inputs_digest: "ab".repeat(32),
        exclude_newer: Some(moment()),
        packages: vec![package],
        left_out: vec![left_out],
    };
    let node = LockedNode {
        dir: NodeDir::new("ComfyUI-KJNodes").unwrap(),
        repo: repo("kijai/ComfyUI-KJNodes", '2'),
        install_script: true,
    };
    Lock {
        schema_version: 1,
        version_id: id(),
        spec_digest: "cd".repeat(32),
        resolved_at: moment(),
        rolled_back_from: Some("4a5b6c7d".to_owned()),
        comfy: repo("comfy/ComfyUI", '1'),
        custom_nodes: vec![node],
        packages_digest: "ef".repeat(10),
        python,
        models: vec![LockedModel {
            target: rel("loras/a.safetensors"),
            source: source(),
            checksum: Some(checksum()),
        }],
    }
}

pub(crate) fn plan() -> Plan {
    let repository = RepositoryStep {
        name: "ComfyUI".to_owned(),
        repo: "https://git.example/comfy/ComfyUI".to_owned(),
        commit: commit('1'),
        destination: "/volume/comfy-wan22/generations/0f1e2d3c/ComfyUI".to_owned(),
        action: RepositoryAction::Fetch,
    };
    let packages = PackagesStep {
        python: "3.11".to_owned(),
        count: 81,
        download_bytes: 3_000_000_000,
        unknown_sizes: 2,
        action: PackagesAction::Install,
    };
    let problem = Problem {
        kind: ErrorKind::Access,
        message: "the model `loras/a.safetensors` cannot be fetched: access is restricted".to_owned(),
        hint: Some("accept the conditions on the model's page".to_owned()),
    };
    let model = ModelStep {
        target: rel("loras/a.safetensors"),
        source: source().to_string(),
        size_bytes: Some(1 << 30),
        action: ModelAction::Link { from: rel("unet/a.safetensors") },
        problem: Some(problem.clone()),
    };
    let link = LinkStep { link: ".venv".to_owned(), target: "current/.venv".to_owned(), present: true };
    let disk = DiskNeed {
        path: "/volume".to_owned(),
        needed_bytes: 4_000_000_000,
        available_bytes: 5_000_000_000,
        quota_bytes: Some(200_000_000_000),
    };
    Plan {
        version_id: id(),
        generation: "0f1e2d3c".to_owned(),
        home: "/volume/comfy-wan22".to_owned(),
        models_dir: "/volume/models".to_owned(),
        ready: true,
        repositories: vec![repository],
        packages,
        install_scripts: vec![NodeDir::new("ComfyUI-KJNodes").unwrap()],
        skipped_install_scripts: vec![NodeDir::new("ComfyUI-Other").unwrap()],
        models: vec![model],
        links: vec![link],
        disk: vec![disk],
        missing: texts(&["model vae/a.safetensors"]),
        warnings: texts(&["the disk will be nearly full"]),
        problems: vec![problem],
    }
}

pub(crate) fn run_answer() -> RunAnswer {
    let file = OutputFile {
        path: "/home/u/out/ComfyUI_00001_.png".to_owned(),
        filename: "ComfyUI_00001_.png".to_owned(),
        subfolder: "a".to_owned(),
        place: "output".to_owned(),
        mime: "image/png".to_owned(),
        bytes: 1234,
        data: Some("iVBORw0KGgo=".to_owned()),
        url: Some("https://s3.example/bucket/a.png".to_owned()),
    };
    let value = Some(json!({"text": ["a cat"]}));
    RunAnswer {
        version_id: id(),
        job_id: "job-7".to_owned(),
        prompt_id: "6a0c7f5e-0000-4000-8000-000000000000".to_owned(),
        outputs: vec![
            Output { node: "9".to_owned(), kind: "images".to_owned(), file: Some(file), value: None },
            Output { node: "10".to_owned(), kind: "text".to_owned(), file: None, value },
        ],
        cold: true,
        how: Some(Warmth::Started),
        queue_ms: 120,
        recoveries: texts(&["out of memory: ComfyUI was asked to free its memory"]),
        start_ms: 21_000,
        execute_ms: 900,
        warnings: texts(&["one output was skipped"]),
    }
}

pub(crate) fn status_answer() -> StatusAnswer {
    let job = JobInfo {
        version_id: id(),
        home: "/volume/comfy-wan22".to_owned(),
        phase: "execute".to_owned(),
        waiting: 2,
        background: true,
        waits: vec![wait()],
        work: work(),
    };
    let workflow = WorkflowInfo {
        job_id: "job-7".to_owned(),
        version_id: id(),
        state: WorkflowState::Running,
        for_ms: 900,
        waits: vec![wait()],
        work: work(),
    };
    let name = "NVIDIA H100 80GB HBM3".to_owned();
    let used_by = vec![GpuUse { home: "/volume/comfy-wan22".to_owned(), pid: 77, bytes: 12 << 30 }];
    let gpu = GpuInfo { index: 0, name, total_bytes: 80 << 30, free_bytes: 60 << 30, used_by };
    let version =
        VersionStanding { version_id: id(), home: "/volume/comfy-wan22".to_owned(), standing: standing() };
    StatusAnswer {
        version: "0.1.0".to_owned(),
        pid: 4242,
        uptime_s: 3600,
        socket: "/run/user/1000/comfyd.sock".to_owned(),
        places: map(&[("models", "/volume/models")]),
        jobs: vec![job],
        instances: vec![instance()],
        workflows: vec![workflow],
        gpus: vec![gpu],
        versions: vec![version],
        idle: Some(idle_step()),
        mark: "ab".repeat(32),
    }
}

pub(crate) fn show_answer() -> ShowAnswer {
    ShowAnswer {
        spec_path: "/home/u/versions/wan22.json".to_owned(),
        spec: spec(),
        diagnostics: vec![diagnostic()],
        lock_path: "/home/u/.comfy-cache/resolved/wan22.lock.json".to_owned(),
        lock: Some(lock()),
        home: "/volume/comfy-wan22".to_owned(),
        generation: Some("0f1e2d3c".to_owned()),
        previous: Some("4a5b6c7d".to_owned()),
        state: VersionState::Running,
        standing: Some(standing()),
        lacks: texts(&["model loras/a.safetensors"]),
        linked_nodes: vec![NodeDir::new("ComfyUI-KJNodes").unwrap()],
        instance: Some(instance()),
    }
}

pub(crate) fn instance() -> InstanceInfo {
    InstanceInfo {
        version_id: id(),
        home: "/volume/comfy-wan22".to_owned(),
        generation: "0f1e2d3c".to_owned(),
        rolled_back_from: Some("4a5b6c7d".to_owned()),
        state: InstanceState::Ready { pid: 77, start_ms: 21_000 },
        url: "http://127.0.0.1:40123".to_owned(),
        log: "/home/u/.local/state/comfyd/wan22.log".to_owned(),
        device: Some(Device::Gpu { index: 1 }),
        leases: 2,
        workflows: 3,
        restarts: 1,
        adopted: true,
        forked: true,
    }
}

pub(crate) fn run() -> Run {
    let workflow = json!({"1": {"class_type": "EmptyImage", "inputs": {}}});
    let input = |source| RunInput { name: "a.png".to_owned(), source };
    Run {
        target: target(),
        workflow: serde_json::value::to_raw_value(&workflow).unwrap(),
        job_id: Some("job-7".to_owned()),
        inputs: vec![
            input(InputSource::Path("/home/u/a.png".to_owned())),
            input(InputSource::Data("data:image/png;base64,iVBORw0KGgo=".to_owned())),
            input(InputSource::Url("https://h.example/a.png".to_owned())),
        ],
        comfy_org_api_key: Some(Secret("k3y".to_owned())),
        deliver: Some(Delivery::Base64),
        output_dir: Some("/home/u/out".to_owned()),
        timeout_s: Some(600),
        offline: true,
        no_install_scripts: true,
    }
}

pub(crate) fn rollback_answer() -> RollbackAnswer {
    RollbackAnswer {
        version_id: id(),
        home: "/volume/comfy-wan22".to_owned(),
        generation: "0f1e2d3c".to_owned(),
        previous: "4a5b6c7d".to_owned(),
        forward: true,
        lock_path: "/home/u/.comfy-cache/resolved/wan22.lock.json".to_owned(),
        changes: texts(&["~ ComfyUI 2222222222 → 1111111111"]),
        warnings: texts(&["the next realize makes another one"]),
        instance: Some(instance()),
    }
}

pub(crate) fn warm_answer() -> WarmAnswer {
    WarmAnswer {
        lease: "1f".to_owned(),
        instance: instance(),
        how: Warmth::Realized,
        timings: WarmTimings { realize_ms: 61_000, room_ms: 250, start_ms: 21_000, total_ms: 82_300 },
    }
}

pub(crate) fn bucket() -> BucketTarget {
    BucketTarget {
        url: "s3://bucket/prefix".to_owned(),
        endpoint: Some("https://s3.example".to_owned()),
        region: Some("us-east-1".to_owned()),
        access_key_id: Some("AKIA".to_owned()),
        secret_access_key: Some(Secret("s3cret".to_owned())),
        link_s: 604_800,
    }
}

pub(crate) fn target() -> Target {
    Target {
        version: "wan22".to_owned(),
        cwd: Some("/home/u".to_owned()),
        comfy_home: Some("/volume/{version_id}".to_owned()),
    }
}

pub(crate) fn id() -> VersionId {
    VersionId::new("wan22").unwrap()
}

fn commit(digit: char) -> CommitId {
    CommitId::new(digit.to_string().repeat(40)).unwrap()
}

pub(crate) fn rel(path: &str) -> RelPath {
    RelPath::new(path).unwrap()
}

fn source() -> ModelSource {
    ModelSource::parse("hf://owner/repo@v1/a.safetensors").unwrap()
}

fn checksum() -> String {
    format!("sha256:{}", "ef".repeat(32))
}

pub(crate) fn moment() -> jiff::Timestamp {
    "2025-11-30T12:00:00Z".parse().unwrap()
}

pub(crate) fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

pub(crate) fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}
