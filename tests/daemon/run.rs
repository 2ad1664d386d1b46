//! Workflows, against a ComfyUI that can misbehave.

use crate::fixture::{Version, eventually};
use comfyd::ctx::Ctx;
use comfyd::run::{Graph, RunError, RunRequest, checks};
use proto::ErrorKind;
use proto::lock::Lock;
use proto::method::CheckOutcome::{Failed, Passed, Skipped};
use proto::method::RunAnswer;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) fn save(prefix: &str) -> Value {
    json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 4, "batch_size": 1, "color": 255}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
    })
}

/// A workflow of `steps` × 20 ms.
pub(crate) fn slow(steps: u32) -> Value {
    let mut workflow = save("slow");
    workflow["3"] =
        json!({"class_type": "FakeSlow", "inputs": {"image": ["1", 0], "steps": steps, "ms": 20}});
    workflow["2"]["inputs"]["images"] = json!(["3", 0]);
    workflow
}

async fn run(version: &Version, request: RunRequest) -> Result<RunAnswer, Arc<RunError>> {
    version.run(&Ctx::new(), request).await
}

pub(crate) fn files(answer: &RunAnswer) -> Vec<&Path> {
    answer.outputs.iter().filter_map(|output| Some(Path::new(&output.file.as_ref()?.path))).collect()
}

pub(crate) fn detail(ctx: &Ctx) -> String {
    let state = ctx.progress.subscribe();
    let state = state.borrow();
    state.tasks.last().map(|task| task.detail.clone()).unwrap_or_default()
}

#[tokio::test]
async fn the_same_workflow_twice_makes_its_files_twice() {
    let version = Version::new("");
    let first = run(&version, version.request(&save("a/x"))).await.unwrap();
    let second = run(&version, version.request(&save("a/x"))).await.unwrap();
    let folder = version.home.join("output/a");
    assert_eq!(files(&first), [folder.join("x_00001_.png")]);
    assert_eq!(files(&second), [folder.join("x_00002_.png")]);
    assert!(std::fs::read(files(&second)[0]).unwrap().starts_with(b"\x89PNG"));
    let file = second.outputs[0].file.as_ref().unwrap();
    assert_eq!(
        (file.mime.as_str(), file.subfolder.as_str(), file.place.as_str()),
        ("image/png", "a", "output")
    );
    assert!(first.cold && !second.cold && first.warnings.is_empty(), "{first:?}");
    // A job's own mark must not run what is costly again.
    let ready = version.ready().await;
    let history = ready.comfy.history(&second.prompt_id).await.unwrap();
    assert!(format!("{history:?}").contains(r#""nodes": Array [String("1")]"#), "{history:?}");
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn outputs_of_every_kind_are_saved_and_none_is_overwritten() {
    let version = Version::new("");
    let mut all = save("x");
    all["3"] = json!({"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}});
    all["4"] = json!({"class_type": "FakeText", "inputs": {"text": "hello", "number": 1.5}});
    let to = version.dir.path().join("saved");
    let again = || RunRequest { output_dir: Some(to.clone()), ..version.request(&all) };
    let first = run(&version, again()).await.unwrap();
    assert_eq!(files(&first)[0], to.join("x_00001_.png"));
    assert_eq!(
        first.outputs.iter().filter_map(|o| o.value.as_ref()).collect::<Vec<_>>(),
        [&json!({"number": 1.5}), &json!("hello")]
    );
    assert_eq!(std::fs::read_to_string(to.join("4-text.txt")).unwrap(), "hello");
    assert_eq!(first.outputs.len(), 4);
    std::fs::remove_dir_all(version.home.join("output")).unwrap();
    std::fs::create_dir(version.home.join("output")).unwrap();
    let second = run(&version, again()).await.unwrap();
    assert_eq!(files(&second)[0], to.join("x_00001__2.png"));
    assert_eq!(second.outputs[0].file.as_ref().unwrap().filename, "x_00001_.png");
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn files_that_lie_elsewhere_are_fetched() {
    let version = Version::new("");
    let mut launch = version.launch("g1");
    let elsewhere = version.dir.path().join("elsewhere");
    launch.extra_args = vec!["--output-directory".to_owned(), elsewhere.display().to_string()];
    let to = version.dir.path().join("saved");
    let request = RunRequest { output_dir: Some(to.clone()), ..version.request(&save("x")) };
    let answer = version.run_launched(&Ctx::new(), request, launch.clone()).await.unwrap();
    assert_eq!(
        std::fs::read(files(&answer)[0]).unwrap(),
        std::fs::read(elsewhere.join("x_00001_.png")).unwrap()
    );
    let error = version.run_launched(&Ctx::new(), version.request(&save("x")), launch).await.unwrap_err();
    assert!(matches!(*error, RunError::Output { .. }), "{error}");
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_refused_workflow_is_explained_node_by_node() {
    let version = Version::new("");
    std::fs::write(version.comfy_dir().join("models/upscale_models/good.pth"), "").unwrap();
    let mut upscale = save("x");
    upscale["5"] = json!({"class_type": "UpscaleModelLoader", "inputs": {"model_name": "goods.pth"}});
    upscale["6"] = json!({"class_type": "ImageUpscaleWithModel",
        "inputs": {"upscale_model": ["5", 0], "image": ["1", 0]}});
    upscale["2"]["inputs"]["images"] = json!(["6", 0]);
    let error = run(&version, version.request(&upscale)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Workflow);
    assert_eq!(
        error.details(),
        ["node 5 (UpscaleModelLoader): model_name: there is no `goods.pth`; there is `good.pth`"]
    );
    assert!(error.hint().unwrap().contains("models"));
    // With another output that is valid ComfyUI says yes and leaves the first one out.
    upscale["7"] = json!({"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}});
    let answer = run(&version, version.request(&upscale)).await.unwrap();
    assert_eq!((answer.outputs.len(), answer.warnings.len()), (1, 1));
    assert!(answer.warnings[0].contains("skipped by ComfyUI: node 5"), "{:?}", answer.warnings);
    let error = run(&version, version.request(&json!({"1": {"class_type": "SaveImages", "inputs": {}}})))
        .await
        .unwrap_err();
    assert_eq!(
        error.details(),
        ["node 1: there is no class `SaveImages`; there is `SaveImage`, `LoadImage`"]
    );
    version.supervisor.shutdown().await;
}

#[test]
fn an_editor_s_workflow_is_refused_with_the_remedy_before_anything_starts() {
    let error = Graph::parse(json!({"nodes": [], "links": [], "version": 0.4})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Workflow);
    assert!(error.hint().unwrap().contains("Export (API)"));
}

#[tokio::test]
async fn a_node_s_exception_is_told_and_the_instance_goes_on() {
    let version = Version::new("");
    let mut failing = save("x");
    failing["1"] = json!({"class_type": "FakeFail", "inputs": {}});
    let error = run(&version, version.request(&failing)).await.unwrap_err();
    assert_eq!(error.to_string(), "node 1 (FakeFail) failed: ValueError: this node always fails");
    assert_eq!(error.kind(), ErrorKind::Execution);
    assert!(error.details().iter().any(|line| line.contains("nodes.py")), "{:?}", error.details());
    assert!(run(&version, version.request(&save("x"))).await.is_ok());
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_lost_socket_loses_no_job() {
    let version = Version::new("lose_ws");
    assert_eq!(run(&version, version.request(&slow(5))).await.unwrap().outputs.len(), 1);
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn cancelling_interrupts_what_runs_and_unqueues_what_waits() {
    let version = Version::new("");
    let (runs, waits) = (Ctx::new(), Ctx::new());
    let (first, second, ()) = tokio::join!(
        version.run(&runs, version.request(&slow(100_000))),
        async {
            eventually("the first one runs", || detail(&runs).starts_with("FakeSlow ")).await;
            version.run(&waits, version.request(&slow(100_000))).await
        },
        async {
            eventually("the second one waits", || detail(&waits).starts_with("behind 1")).await;
            waits.cancel.cancel();
            runs.cancel.cancel();
        }
    );
    for result in [first, second] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
    }
    assert!(run(&version, version.request(&save("x"))).await.is_ok(), "the queue is free again");
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_job_that_takes_too_long_is_interrupted() {
    let version = Version::new("");
    let limit = RunRequest { timeout: Some(Duration::from_millis(300)), ..version.request(&slow(100_000)) };
    let error = run(&version, limit).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(run(&version, version.request(&save("x"))).await.is_ok(), "the queue is free again");
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_crash_ends_the_job_at_once_with_the_end_of_the_log() {
    let version = Version::new("die_running");
    let error = run(&version, version.request(&save("x"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Instance);
    assert!(error.to_string().contains("SIGABRT"), "{error}");
    assert!(
        error.details().iter().any(|line| line.contains("illegal memory access")),
        "{:?}",
        error.details()
    );
}

// ComfyUI issue 16312: HTTP goes on, prompts are accepted and never run.
#[tokio::test]
async fn a_dead_worker_thread_is_a_crash() {
    let version = Version::new("worker_dies");
    let error = run(&version, version.request(&save("x"))).await.unwrap_err();
    assert!(matches!(&*error, RunError::Died { reason, .. } if reason.contains("worker thread")), "{error}");
    assert!(error.details().iter().any(|line| line.contains("prompt_worker")), "{:?}", error.details());
}

#[tokio::test]
async fn a_prompt_that_comfyui_has_lost_is_not_waited_for() {
    let version = Version::new("forget");
    let began = Instant::now();
    let error = run(&version, version.request(&save("x"))).await.unwrap_err();
    assert!(matches!(*error, RunError::Lost), "{error}");
    assert!(began.elapsed() < Duration::from_secs(30));
    version.supervisor.shutdown().await;
}

fn lock_of(nodes: &[&str], models: &[&str]) -> Lock {
    let commit = "a".repeat(40);
    let repo =
        json!({"repo": "https://example.org/x", "commit": commit, "committed_at": "2025-12-01T00:00:00Z"});
    let node = |dir: &&str| {
        let mut node = repo.clone();
        node["dir"] = json!(dir);
        node["install_script"] = json!(false);
        node
    };
    let model = |target: &&str| json!({"target": target, "source": "https://example.org/m"});
    serde_json::from_value(json!({
        "schema_version": 1, "version_id": "v", "spec_digest": "d", "resolved_at": "2025-12-01T00:00:00Z",
        "comfy": repo, "python": {"version": "3.11", "inputs_digest": "d", "packages": []},
        "custom_nodes": nodes.iter().map(node).collect::<Vec<_>>(),
        "models": models.iter().map(model).collect::<Vec<_>>(),
    }))
    .unwrap()
}

#[tokio::test]
async fn the_checks_tell_what_is_imported_and_listed() {
    let version = Version::new("");
    let write = |path: PathBuf, text: &str| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let nodes = version.comfy_dir().join("custom_nodes");
    write(
        nodes.join("good/__init__.py"),
        "class A:\n  RETURN_TYPES = ()\n  INPUT_TYPES = lambda: {}\nNODE_CLASS_MAPPINGS = {'A': A}",
    );
    write(nodes.join("pages/__init__.py"), "NODE_CLASS_MAPPINGS = {}");
    write(nodes.join("broken/__init__.py"), "import no_such_module");
    let models = version.dir.path().join("models");
    write(models.join("unet/sub/m.safetensors"), "");
    let yaml = version.home.join("extra.yaml");
    write(yaml.clone(), &format!("comfyd:\n  base_path: {}\n  unet: unet\n", models.display()));
    let mut launch = version.launch("g1");
    launch.extra_model_paths = Some(yaml);
    let ready = version.supervisor.ensure_ready(&Ctx::new(), launch).await.unwrap();

    let lock = lock_of(
        &["good", "pages", "broken", "absent"],
        &["unet/sub/m.safetensors", "loras/none.safetensors", "ipadapter/x.bin"],
    );
    let checks = checks(&Ctx::new(), &ready, &lock).await.unwrap();
    let seen = checks.iter().map(|c| (c.name.as_str(), c.outcome, c.detail.as_str())).collect::<Vec<_>>();
    assert_eq!(
        seen[..7],
        [
            ("custom node good", Passed, "adds 1 class"),
            ("custom node pages", Passed, "imported, adds no classes"),
            ("custom node broken", Failed, "No module named 'no_such_module'"),
            ("custom node absent", Failed, "ComfyUI did not look at it"),
            ("model unet/sub/m.safetensors", Passed, ""),
            ("model loras/none.safetensors", Failed, "ComfyUI does not list it in `loras`"),
            ("model ipadapter/x.bin", Skipped, "ComfyUI has no model folder `ipadapter`"),
        ]
    );
    assert_eq!((seen[7].0, seen[7].1), ("built-in workflow", Passed), "{:?}", seen[7]);
    version.supervisor.shutdown().await;
}
