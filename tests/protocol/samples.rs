//! A value of every message type, with every field set and every variant listed.

use crate::golden::{Golden, golden, old as old_golden};
use crate::sample_diff;
use crate::sample_doctor;
use crate::sample_ladder::{self, standing};
use crate::sample_values::*;
use proto::error::{ErrorData, ErrorKind};
use proto::event::{ProgressEvent, TaskKind, TaskState, Unit};
use proto::method::*;
use proto::plan::*;
use proto::rpc::{CancelParams, Message, RequestId, RpcError};
use proto::spec::{Conflicts, ExcludeNewer, Severity};
use proto::{Lock, NodeDir, Spec};

/// All goldens.
pub(crate) fn all() -> Vec<Golden> {
    let mut all = envelope();
    all.extend(first_verbs());
    all.extend(other_verbs());
    all.extend(enums());
    all.extend(sample_doctor::all());
    all.extend(sample_ladder::all());
    all.extend(new_and_export());
    all.extend(sample_diff::all());
    all.extend([
        golden("spec_without_scripts", &spec()),
        golden("lock_rolled_back", &lock()),
        golden("plan_without_scripts", &plan()),
    ]);
    all.extend(old());
    all
}

/// Messages of earlier builds: `golden::old::<Type>("name")`.
fn old() -> Vec<Golden> {
    vec![
        old_golden::<Plan>("plan"),
        old_golden::<Vec<ModelAction>>("model_actions"),
        old_golden::<Run>("run"),
        old_golden::<RunAnswer>("run_answer"),
        old_golden::<UiAnswer>("ui_answer"),
        old_golden::<StatusAnswer>("status_answer"),
        old_golden::<ProgressEvent>("progress_event"),
        old_golden::<Message>("message_notification"),
        old_golden::<ShowAnswer>("show_answer"),
        old_golden::<Lock>("lock"),
        old_golden::<Spec>("spec"),
        old_golden::<StatusAnswer>("status_answer_with_gpus"),
        old_golden::<Plan>("plan_with_problems"),
        old_golden::<GetPlan>("get_plan"),
        old_golden::<Realize>("realize"),
        old_golden::<RealizeAnswer>("realize_answer"),
        old_golden::<Run>("run_job"),
        old_golden::<Warm>("warm"),
        old_golden::<Ui>("ui"),
        old_golden::<Test>("test"),
        old_golden::<ResolveAnswer>("resolve_answer"),
        old_golden::<WarmAnswer>("warm_answer"),
        old_golden::<UiAnswer>("ui_answer_with_device"),
        old_golden::<ShowAnswer>("show_answer_with_device"),
        old_golden::<ShowAnswer>("show_answer_rolled_back"),
        old_golden::<ListAnswer>("list_answer"),
        old_golden::<StatusAnswer>("status_answer_with_waits"),
        old_golden::<StatusAnswer>("status_answer_with_versions"),
        old_golden::<RollbackAnswer>("rollback_answer"),
        old_golden::<WarmAnswer>("warm_answer_rolled_back"),
        old_golden::<UiAnswer>("ui_answer_rolled_back"),
    ]
}

fn envelope() -> Vec<Golden> {
    let error_data = ErrorData {
        kind: ErrorKind::Spec,
        causes: vec!["`versions/wan22.json` has 1 error".to_owned()],
        hint: Some("correct the spec".to_owned()),
        diagnostics: vec![diagnostic()],
        details: vec!["node 3: required input is missing: `ckpt_name`".to_owned()],
    };
    let error = RpcError {
        code: ErrorKind::Spec.code(),
        message: "the spec has errors".to_owned(),
        data: Some(Box::new(error_data.clone())),
    };
    let number = RequestId::Number(7);
    let text = RequestId::Text("a-7".to_owned());
    vec![
        golden("message_request", &Message::request(number.clone(), "status", &Status::default()).unwrap()),
        golden("message_notification_with_waits", &Message::notification("progress", &progress()).unwrap()),
        golden(
            "message_result",
            &Message::success(
                text.clone(),
                serde_json::value::to_raw_value(&StopAnswer { stopped: true }).unwrap(),
            ),
        ),
        golden("message_error", &Message::failure(Some(number.clone()), error.clone())),
        golden("message_error_without_id", &Message::failure(None, error.clone())),
        golden("rpc_error", &error),
        golden("error_data", &error_data),
        golden("cancel_params", &CancelParams { id: number.clone() }),
        golden("progress_event_with_waits", &progress()),
        golden("request_ids", &vec![number, text, RequestId::Null]),
    ]
}

fn first_verbs() -> Vec<Golden> {
    let hello = Hello {
        protocol: 1,
        features: texts(&["progress", "cancel"]),
        client: "comfyctl 0.1.0".to_owned(),
        environment: map(&[("HF_TOKEN", ""), ("MODELS_DIR", "/volume/models")]),
    };
    let hello_answer = HelloAnswer {
        protocol: 1,
        features: texts(&["progress", "cancel"]),
        version: "0.1.0".to_owned(),
        pid: 4242,
        warnings: texts(&["`MODELS_DIR` differs"]),
    };
    let resolve_answer = ResolveAnswer {
        lock: lock(),
        path: "/home/u/.comfy-cache/resolved/wan22.lock.json".to_owned(),
        changes: texts(&["ComfyUI: 1111111111 → 2222222222"]),
        warnings: texts(&["`commit` holds a branch"]),
    };
    let realize = Realize {
        target: target(),
        offline: true,
        no_install_scripts: true,
        update: true,
        detach: true,
        background: true,
    };
    let realize_answer = RealizeAnswer {
        version_id: id(),
        outcome: RealizeOutcome::Realized,
        home: "/volume/comfy-wan22".to_owned(),
        generation: "0f1e2d3c".to_owned(),
        missing: texts(&["model loras/a.safetensors"]),
        skipped_install_scripts: vec![NodeDir::new("ComfyUI-KJNodes").unwrap()],
        warnings: texts(&["numpy was left out"]),
        elapsed_ms: 61_234,
    };
    vec![
        golden("hello", &hello),
        golden("hello_answer", &hello_answer),
        golden("resolve", &Resolve { target: target(), update: true, offline: false }),
        golden("resolve_answer_rolled_back", &resolve_answer),
        golden(
            "get_plan_without_scripts",
            &GetPlan { target: target(), offline: true, no_install_scripts: true, update: true },
        ),
        golden("realize_without_scripts", &realize),
        golden("realize_answer_without_scripts", &realize_answer),
        golden("rollback", &Rollback { target: target() }),
        golden("rollback_answer_forked", &rollback_answer()),
        golden("run_job_without_scripts", &run()),
        golden("run_job_answer", &run_answer()),
        golden("warm_without_scripts", &Warm { target: target(), offline: true, no_install_scripts: true }),
        golden("warm_answer_forked", &warm_answer()),
        golden("release", &Release { lease: "1f".to_owned() }),
        golden("release_answer", &ReleaseAnswer { released: true }),
    ]
}

fn other_verbs() -> Vec<Golden> {
    let ui = Ui {
        target: target(),
        port: Some(8188),
        listen: Some("0.0.0.0".to_owned()),
        offline: true,
        no_install_scripts: true,
    };
    let check = Check {
        name: "custom node ComfyUI-KJNodes".to_owned(),
        outcome: CheckOutcome::Failed,
        detail: "no module named `cv2`".to_owned(),
    };
    let list = List { cwd: Some("/home/u".to_owned()), comfy_home: Some("/volume/{version_id}".to_owned()) };
    let listed = ListedVersion {
        version_id: id(),
        path: "/home/u/versions/wan22.json".to_owned(),
        state: VersionState::Realized,
        standing: Some(standing()),
        errors: 2,
    };
    let list_answer = ListAnswer { searched: texts(&["/home/u/versions"]), versions: vec![listed] };
    let logs_answer = LogsAnswer {
        path: "/volume/comfy-wan22/log".to_owned(),
        text: "Prompt executed in 1.00 seconds\n".to_owned(),
        next: 4096,
        running: true,
    };
    vec![
        golden("ui_without_scripts", &ui),
        golden("ui_answer_forked", &UiAnswer { instance: instance(), already_running: true }),
        golden("test_without_scripts", &Test { target: target(), offline: true, no_install_scripts: true }),
        golden("test_answer", &TestAnswer { version_id: id(), passed: false, checks: vec![check] }),
        golden("status", &Status::default()),
        golden("status_after", &Status { after: Some("0f1e".to_owned()) }),
        golden("status_answer_with_work", &status_answer()),
        golden("list", &list),
        golden("list_answer_with_standing", &list_answer),
        golden("show", &Show { target: target() }),
        golden("show_answer_with_standing", &show_answer()),
        golden("logs", &Logs { target: target(), from: Some(1024), lines: 50 }),
        golden("logs_answer", &logs_answer),
        golden("stop", &Stop { target: target() }),
        golden("stop_answer", &StopAnswer { stopped: true }),
        golden("shutdown", &Shutdown {}),
        golden("shutdown_answer", &ShutdownAnswer { pid: 4242 }),
    ]
}

/// What makes specs of other programs' files, and the other way round.
fn new_and_export() -> Vec<Golden> {
    use UnknownKind as U;
    let from = Some(Origin::Workflow("{\"nodes\": []}".to_owned()));
    let new = New { target: target(), from, offline: true, force: true, no_write: true };
    let unknown = Unknown {
        kind: U::Model,
        name: "loras/a.safetensors".to_owned(),
        reason: "nobody here knows its link".to_owned(),
        hint: Some("add it to `models` with its link".to_owned()),
    };
    let new_answer = NewAnswer {
        version_id: id(),
        path: Some("/volume/versions/wan22.json".to_owned()),
        text: "{}\n".to_owned(),
        spec: spec(),
        unknown: vec![unknown],
        warnings: texts(&["`kj`: its version 1.2.3 has no tag"]),
    };
    let origins = ["snapshot", "workflow", "picture", "/opt/ComfyUI"].map(str::to_owned);
    let [snapshot, workflow, picture, comfyui] = origins;
    let origins = vec![
        Origin::Snapshot(snapshot),
        Origin::Workflow(workflow),
        Origin::Picture(picture),
        Origin::Comfyui(comfyui),
    ];
    let kinds = vec![U::Comfyui, U::CustomNode, U::NodeClass, U::Model, U::Package];
    let export_answer = ExportAnswer {
        version_id: id(),
        text: "{}\n".to_owned(),
        left_out: texts(&["a snapshot has no models"]),
    };
    vec![
        golden("new", &new),
        golden("new_answer", &new_answer),
        golden("origins", &origins),
        golden("unknown_kinds", &kinds),
        golden("export", &Export { target: target(), format: ExportFormat::Snapshot }),
        golden("export_answer", &export_answer),
    ]
}

/// Each enum with all its variants.
fn enums() -> Vec<Golden> {
    use RepositoryAction as R;
    use TaskKind as K;
    use VersionState as V;
    use WorkflowState as W;
    let states = [TaskState::Waiting, TaskState::Running, TaskState::Done, TaskState::Failed];
    let kinds =
        [K::Repository, K::Packages, K::Model, K::InstallScript, K::Generation, K::Instance, K::Workflow];
    let units = [Unit::Bytes, Unit::Objects, Unit::Files, Unit::Packages, Unit::Steps, Unit::Nothing];
    let outcomes =
        [RealizeOutcome::Ready, RealizeOutcome::Realized, RealizeOutcome::Repaired, RealizeOutcome::Detached];
    let instance_states = vec![
        InstanceState::Starting { pid: 77, for_ms: 1500 },
        InstanceState::Ready { pid: 77, start_ms: 21_000 },
        InstanceState::Stopping { pid: 77 },
        InstanceState::Exited,
        InstanceState::Failed { reason: "exit status 1".to_owned() },
    ];
    let packages = vec![
        PackagesAction::Present,
        PackagesAction::Reuse { generation: "0f1e2d3c".to_owned() },
        PackagesAction::Install,
    ];
    let models = vec![
        ModelAction::Present,
        ModelAction::Link { from: rel("unet/a.safetensors") },
        ModelAction::Adopt { from: "/volume/huggingface-cache/hub/models--o--r/blobs/ab".to_owned() },
        ModelAction::Download,
        ModelAction::Skipped,
        ModelAction::Missing,
    ];
    let moments = vec![ExcludeNewer::Auto, ExcludeNewer::Off, ExcludeNewer::At(moment())];
    vec![
        golden("error_kinds", &ErrorKind::ALL.to_vec()),
        golden("severities", &vec![Severity::Error, Severity::Warning]),
        golden("task_kinds", &kinds.to_vec()),
        golden("task_states", &states.to_vec()),
        golden("units", &units.to_vec()),
        golden("realize_outcomes", &outcomes.to_vec()),
        golden("check_outcomes", &vec![CheckOutcome::Passed, CheckOutcome::Failed, CheckOutcome::Skipped]),
        golden("instance_states", &instance_states),
        golden("version_states", &vec![V::Invalid, V::Unresolved, V::Resolved, V::Realized, V::Running]),
        golden("repository_actions", &vec![R::Present, R::Checkout, R::Fetch, R::Missing]),
        golden("packages_actions", &packages),
        golden("model_actions_with_adopt", &models),
        golden("exclude_newer", &moments),
        golden("devices", &vec![Device::Cpu, Device::Gpu { index: 1 }, Device::Any]),
        golden("input_sources", &run().inputs.into_iter().map(|input| input.source).collect::<Vec<_>>()),
        golden("deliveries", &vec![Delivery::Base64, Delivery::Bucket(bucket())]),
        golden("warmths", &vec![Warmth::Running, Warmth::Started, Warmth::Realized]),
        golden("workflow_states", &vec![W::Preparing, W::Queued, W::Running, W::Delivering]),
        golden("conflicts", &vec![Conflicts::Error, Conflicts::Warn]),
    ]
}
