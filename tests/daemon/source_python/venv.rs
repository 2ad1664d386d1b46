//! The environment itself: built, proved, moved, repaired.

use super::{Bench, OLD, comfy, config};
use comfyd::source::python::{
    InstallScript, Uv, find_interpreter, prove, python_works, repair, run_install_script,
};
use proto::ErrorKind;
use std::path::Path;
use support::Wheel;

#[tokio::test]
async fn a_missing_or_cut_file_is_noticed_and_named() {
    let bench = Bench::new().await;
    let (venv, python) = bench.installed(&[comfy("lib\naccel\n")]).await;
    let proof = prove(&bench.ctx, &bench.uv, &venv, &python).await.unwrap();
    assert_eq!(proof.packages, 4);
    let site = venv.join(format!("lib/python{}/site-packages", python.version));

    let module = site.join("lib/__init__.py");
    let text = std::fs::read(&module).unwrap();
    // A new file: the old one may be shared with uv's cache.
    std::fs::remove_file(&module).unwrap();
    std::fs::write(&module, &text[..text.len() - 1]).unwrap();
    let error = prove(&bench.ctx, &bench.uv, &venv, &python).await.unwrap_err();
    assert_eq!(error.to_string(), "`lib/__init__.py` of the package `lib-2.0` has 15 bytes instead of 16");

    std::fs::remove_file(&module).unwrap();
    let error = prove(&bench.ctx, &bench.uv, &venv, &python).await.unwrap_err();
    assert_eq!(error.to_string(), "`lib/__init__.py` of the package `lib-2.0` is missing");
    std::fs::write(&module, &text).unwrap();

    std::fs::remove_dir_all(site.join("accel-1.0.dist-info")).unwrap();
    let error = prove(&bench.ctx, &bench.uv, &venv, &python).await.unwrap_err();
    assert_eq!(error.to_string(), "the environment has no `accel` where the lock has `accel==1.0`");
}

#[tokio::test]
async fn packages_that_do_not_fit_together_are_noticed() {
    let bench = Bench::new().await;
    let (venv, mut python) = bench.installed(&[comfy("accel\n")]).await;
    let site = venv.join(format!("lib/python{}/site-packages", python.version));
    std::fs::remove_dir_all(site.join("torch-2.0.dist-info")).unwrap();
    python.packages.retain(|package| package.name != "torch");
    let error = prove(&bench.ctx, &bench.uv, &venv, &python).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("`accel` requires `torch`"), "{cause}");
}

async fn output_of(program: &Path) -> String {
    let output = tokio::process::Command::new(program).output().await.unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn an_environment_works_after_it_was_renamed() {
    let bench = Bench::new().await;
    bench.index.add(
        &Wheel::new("tool", "1.0")
            .file("tool/main.py", "")
            .script("say", "say")
            .file("tool/__init__.py", "def say(): print('here')\n"),
        OLD,
    );
    let (venv, python) = bench.installed(&[comfy("tool\n")]).await;
    let moved = bench.dir.path().join("final");
    tokio::process::Command::new("mv").arg(venv.parent().unwrap()).arg(&moved).status().await.unwrap();
    assert_eq!(output_of(&moved.join(".venv/bin/say")).await, "here");
    prove(&bench.ctx, &bench.uv, &moved.join(".venv"), &python).await.unwrap();
}

#[tokio::test]
async fn an_environment_from_another_machine_is_led_to_this_ones_python() {
    let bench = Bench::new().await;
    let (venv, python) = bench.installed(&[comfy("lib\n")]).await;
    assert!(python_works(&venv));
    let link = venv.join("bin/python");
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("/elsewhere/bin/python3", &link).unwrap();
    assert!(!python_works(&venv));
    repair(&bench.ctx, &bench.uv, &venv, &python.version).await.unwrap();
    assert!(python_works(&venv));
    prove(&bench.ctx, &bench.uv, &venv, &python).await.unwrap();
    let error = repair(&bench.ctx, &bench.uv, &venv, "2.99").await.unwrap_err();
    assert!(error.to_string().contains("`2.99`"), "{error}");
}

#[tokio::test]
async fn an_install_script_runs_as_under_the_manager_and_shows_why_it_failed() {
    let bench = Bench::new().await;
    let (venv, python) = bench.installed(&[comfy("lib\ntorch\n")]).await;
    let node_dir = bench.dir.path().join("NodeA");
    std::fs::create_dir(&node_dir).unwrap();
    let script =
        InstallScript { venv: &venv, node_dir: &node_dir, comfy_dir: bench.dir.path(), python: &python };
    let good = "import lib, os, sys\nassert os.getcwd().endswith('NodeA')\nassert os.environ['COMFYUI_PATH']\nassert sys.prefix == os.environ['VIRTUAL_ENV']\nassert open(os.environ['PIP_CONSTRAINT']).read() == 'torch==2.0\\n'\nassert 'HF_TOKEN' not in os.environ\nopen('done', 'w')\n";
    std::fs::write(node_dir.join("install.py"), good).unwrap();
    run_install_script(&bench.ctx, &bench.config, &script).await.unwrap();
    assert!(node_dir.join("done").exists());

    std::fs::write(
        node_dir.join("install.py"),
        "print('looking for nvcc')\nraise SystemExit('no nvcc here')\n",
    )
    .unwrap();
    let error = run_install_script(&bench.ctx, &bench.config, &script).await.unwrap_err();
    assert!(error.to_string().contains("`install.py` of `NodeA` failed"), "{error}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("looking for nvcc") && cause.contains("no nvcc here"), "{cause}");
}

#[tokio::test]
async fn an_absent_interpreter_or_uv_is_named() {
    let bench = Bench::new().await;
    let error = find_interpreter(&bench.ctx, &bench.uv, Some("python3.99"), None).await.unwrap_err();
    assert!(error.to_string().contains("`python3.99`") && error.to_string().contains("cpython"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Toolchain);
    let newest = find_interpreter(&bench.ctx, &bench.uv, None, Some(">=3.9")).await.unwrap();
    assert!(newest.path.is_absolute() && newest.version.starts_with("3."), "{newest:?}");
    let config = config(bench.dir.path(), &bench.index, &[("COMFYD_UV", "/not/there/uv")]);
    let error = Uv::locate(&bench.ctx, &config).await.unwrap_err();
    assert!(error.to_string().contains("`/not/there/uv`"), "{error}");
}
