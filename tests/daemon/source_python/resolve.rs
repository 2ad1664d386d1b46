//! One plan out of everyone's requirements.

use super::{Bench, COMMITTED, OLD, comfy, config, contributor, node, versions};
use comfyd::source::python::{Request, Role, Uv, prove, resolve};
use jiff::Timestamp;
use proto::ErrorKind;
use proto::spec::{Conflicts, ExcludeNewer};
use std::collections::BTreeMap;
use support::Wheel;

// The classic: two nodes want two numpys, the second one to be installed wins, and the first one breaks.
#[tokio::test]
async fn a_contradiction_names_both_nodes_with_file_and_line() {
    let bench = Bench::new().await;
    let nodes = [
        comfy("torch\n"),
        node("NodeA", "# what it needs\naccel\n\nlib<2\n"),
        node("NodeB", "accel\nlib>=2\n"),
    ];
    let error = bench.resolve(&nodes).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "requirements contradict each other: `lib<2` (NodeA requirements.txt:4) against `lib>=2` (NodeB requirements.txt:2)"
    );
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.hint().is_some_and(|hint| hint.contains("options.conflicts")));
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("lib<2"), "{cause}");
}

#[tokio::test]
async fn by_option_the_later_of_two_contradicting_lines_is_left_out() {
    let bench = Bench { conflicts: Conflicts::Warn, ..Bench::new().await };
    let nodes =
        [comfy("lib<2\n"), node("NodeA", "accel\nlib>=2\n"), node("NodeB", "nowhere-to-be-found\nlib\n")];
    let resolved = bench.resolve(&nodes).await.unwrap();
    assert_eq!(
        versions(&resolved.python),
        BTreeMap::from([("accel", "1.0"), ("lib", "1.5"), ("torch", "2.0")])
    );
    let left: Vec<&str> = resolved.python.left_out.iter().map(|left| left.origin.as_str()).collect();
    assert_eq!(left, ["NodeA requirements.txt:2", "NodeB requirements.txt:1"]);
    assert!(resolved.warnings[0].contains("ComfyUI requirements.txt:1"), "{:?}", resolved.warnings);
    assert!(
        bench.ctx.progress.subscribe().borrow().notes.iter().any(|n| n.warning && n.text.contains("NodeA"))
    );
}

#[tokio::test]
async fn a_requirement_that_nothing_satisfies_is_told_alone() {
    let bench = Bench::new().await;
    let error = bench.resolve(&[comfy("lib\n"), node("NodeA", "accel\nlib==7\n")]).await.unwrap_err();
    assert_eq!(error.to_string(), "no package satisfies `lib==7` (NodeA requirements.txt:2)");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

// A node's `torch<2` used to replace the CUDA build under everyone else.
#[tokio::test]
async fn a_node_cannot_change_torch_neither_by_name_nor_through_another_package() {
    let bench = Bench::new().await;
    let by_name = [comfy("torch\n"), node("NodeA", "torch<2\naccel\n")];
    let resolved = bench.resolve(&by_name).await.unwrap();
    assert_eq!(versions(&resolved.python)["torch"], "2.0");
    assert_eq!(resolved.python.left_out[0].origin, "NodeA requirements.txt:1");
    assert!(resolved.warnings.is_empty(), "{:?}", resolved.warnings);

    let through = [comfy("torch\n"), node("NodeA", "old-accel\n")];
    let error = bench.resolve(&through).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("torch==2.0") && text.contains("`old-accel` (NodeA requirements.txt:1)"), "{text}");

    let spec = contributor("the spec", Role::Spec, &[("python_packages", "torch<2")]);
    let chosen = bench.resolve(&[comfy("torch\n"), spec, node("NodeA", "old-accel\n")]).await.unwrap();
    assert_eq!(versions(&chosen.python)["torch"], "1.0");
}

#[tokio::test]
async fn packages_are_those_of_the_commits_date() {
    let bench = Bench { exclude_newer: ExcludeNewer::Auto, ..Bench::new().await };
    let resolved = bench.resolve(&[comfy("lib\n")]).await.unwrap();
    assert_eq!(versions(&resolved.python)["lib"], "1.5");
    assert_eq!(resolved.python.exclude_newer, "2025-03-08T00:00:00Z".parse().ok());
    let package = resolved.python.packages.iter().find(|p| p.name == "lib").unwrap();
    assert_eq!(package.requirement, "lib==1.5");
    assert!(package.hashes[0].starts_with("sha256:"));
    assert_eq!(package.size_bytes, Some(Wheel::new("lib", "1.5").bytes().len() as u64));
    let lock = serde_json::to_string(&resolved.python).unwrap();
    assert!(!lock.contains("127.0.0.1") && !lock.contains(bench.dir.path().to_str().unwrap()), "{lock}");
}

#[tokio::test]
async fn without_upload_dates_the_limit_is_given_up_and_that_is_said() {
    let bench = Bench { exclude_newer: ExcludeNewer::Auto, ..Bench::new().await };
    bench.index.forget_dates();
    let resolved = bench.resolve(&[comfy("lib\naccel\n")]).await.unwrap();
    assert_eq!(versions(&resolved.python)["lib"], "2.0");
    assert_eq!(resolved.python.exclude_newer, None);
    assert!(resolved.warnings.iter().any(|w| w.contains("no upload dates")), "{:?}", resolved.warnings);
}

#[tokio::test]
async fn a_single_package_without_date_does_not_lift_the_limit_for_others() {
    let bench = Bench { exclude_newer: ExcludeNewer::Auto, ..Bench::new().await };
    bench.index.add(&Wheel::new("undated", "3.0"), None);
    let resolved = bench.resolve(&[comfy("lib\nundated\n")]).await.unwrap();
    assert_eq!(versions(&resolved.python), BTreeMap::from([("lib", "1.5"), ("undated", "3.0")]));
    assert!(resolved.python.exclude_newer.is_some());
    assert!(resolved.warnings[0].contains("undated"), "{:?}", resolved.warnings);
}

#[tokio::test]
async fn a_wheels_directory_is_looked_into_whatever_the_date() {
    let mut bench = Bench { exclude_newer: ExcludeNewer::Auto, ..Bench::new().await };
    let wheels = bench.dir.path().join("wheels");
    std::fs::create_dir(&wheels).unwrap();
    Wheel::new("ours", "1.0").requires("lib").write_to(&wheels);
    bench.config = config(bench.dir.path(), &bench.index, &[("COMFY_WHEELS_DIR", wheels.to_str().unwrap())]);
    bench.uv = Uv::locate(&bench.ctx, &bench.config).await.unwrap();
    let (venv, python) = bench.installed(&[comfy("ours\n")]).await;
    assert_eq!(versions(&python), BTreeMap::from([("lib", "1.5"), ("ours", "1.0")]));
    assert!(!serde_json::to_string(&python).unwrap().contains("wheels"));
    prove(&bench.ctx, &bench.uv, &venv, &python).await.unwrap();
}

#[tokio::test]
async fn pip_is_told_to_leave_the_index_alone_and_so_is_uv() {
    let mut bench = Bench::new().await;
    let wheels = bench.dir.path().join("wheels");
    std::fs::create_dir(&wheels).unwrap();
    for name in ["ours", "pip"] {
        Wheel::new(name, "1.0").write_to(&wheels);
    }
    let vars = [("PIP_FIND_LINKS", wheels.to_str().unwrap()), ("PIP_NO_INDEX", "1")];
    bench.config = config(bench.dir.path(), &bench.index, &vars);
    bench.uv = Uv::locate(&bench.ctx, &bench.config).await.unwrap();
    let before = bench.index.requests();
    let (venv, python) = bench.installed(&[comfy("ours\n")]).await;
    prove(&bench.ctx, &bench.uv, &venv, &python).await.unwrap();
    bench.resolve(&[comfy("lib\n")]).await.unwrap_err();
    assert_eq!(bench.index.requests(), before);
}

#[tokio::test]
async fn pins_are_kept_until_an_update_is_asked_for() {
    let bench = Bench::new().await;
    let first = bench.resolve(&[comfy("lib<2\n")]).await.unwrap().python;
    bench.index.add(&Wheel::new("lib", "1.9"), OLD);
    let before = bench.index.requests();
    let again =
        bench.resolve_after(&[comfy("# a comment\nlib<2\n")], Some(&first), false).await.unwrap().python;
    assert_eq!((again, bench.index.requests()), (first.clone(), before), "nothing changed, nothing is asked");

    let more = [comfy("lib<2\n"), node("NodeA", "accel\n")];
    let grown = bench.resolve_after(&more, Some(&first), false).await.unwrap().python;
    assert_eq!(versions(&grown)["lib"], "1.5");
    assert_eq!(versions(&grown)["accel"], "1.0");
    let updated = bench.resolve_after(&more, Some(&grown), true).await.unwrap().python;
    assert_eq!(versions(&updated)["lib"], "1.9");
}

#[tokio::test]
async fn a_nodes_options_and_paths_are_left_out_with_their_place() {
    let bench = Bench::new().await;
    let text = "--extra-index-url http://127.0.0.1:9/evil\n-e ./pkg\nlib # fine\n<<<<<<< HEAD\n-r more.txt\n-r ../../etc/x\n";
    let files = [
        ("requirements.txt", text),
        ("more.txt", "accel\n"),
        ("pyproject.toml", "[project]\nname = \"x\"\ndependencies = [\n  \"lib<2\",\n  \"undeclared\",\n]\n"),
    ];
    bench.index.add(&Wheel::new("undeclared", "1.0"), OLD);
    let resolved =
        bench.resolve(&[comfy("torch\n"), contributor("NodeA", Role::Node, &files)]).await.unwrap();
    let left: Vec<&str> = resolved.python.left_out.iter().map(|left| left.origin.as_str()).collect();
    assert_eq!(left, [1, 2, 4, 6].map(|line| format!("NodeA requirements.txt:{line}")));
    assert_eq!(resolved.warnings.len(), 4);
    // requirements.txt wins over pyproject.toml's `lib<2`; what only pyproject.toml names is in.
    let expected = [("accel", "1.0"), ("lib", "2.0"), ("torch", "2.0"), ("undeclared", "1.0")];
    assert_eq!(versions(&resolved.python), BTreeMap::from(expected));
}

#[tokio::test]
async fn a_wrong_line_of_the_specs_own_is_an_error_with_its_place() {
    let bench = Bench::new().await;
    let spec = contributor("the spec", Role::Spec, &[("python_packages", "lib\n--index-url http://x\n")]);
    let error = bench.resolve(&[comfy("lib\n"), spec]).await.unwrap_err();
    assert!(error.to_string().contains("the spec python_packages:2"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Spec);
    let error = bench.resolve(&[comfy("lib\n\nlib <> 2\n")]).await.unwrap_err();
    assert!(error.to_string().contains("ComfyUI requirements.txt:3"), "{error}");
}

#[tokio::test]
async fn a_link_is_pinned_with_its_hash() {
    let bench = Bench::new().await;
    let link = bench.index.link(&Wheel::new("lib", "1.0"));
    let (venv, python) = bench.installed(&[comfy(&format!("lib @ {link}\n"))]).await;
    let package = python.packages.iter().find(|p| p.name == "lib").unwrap();
    assert_eq!((package.requirement.clone(), package.version.clone()), (format!("lib @ {link}"), None));
    assert_eq!(package.hashes.len(), 1);
    prove(&bench.ctx, &bench.uv, &venv, &python).await.unwrap();
}

// uv itself reports such an environment as complete, and so does `pip check`.
// A volume that was filled on a pod with Python in /usr/bin meets a worker that has it in /opt.
#[tokio::test]
async fn offline_without_a_cache_is_told_apart() {
    let bench = Bench::new().await;
    let contributors = [comfy("lib\n")];
    let request = Request {
        contributors: &contributors,
        interpreter: &bench.interpreter,
        exclude_newer: &bench.exclude_newer,
        newest_commit: COMMITTED.parse::<Timestamp>().unwrap(),
        conflicts: Conflicts::Error,
        offline: true,
        previous: None,
        update: false,
    };
    let error = resolve(&bench.ctx, &bench.uv, &request, &bench.task()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Offline, "{error:?}");
}
