//! The first start of a generation is recorded, and nobody notices.

use crate::fixture::{Version, eventually, pid_of};
use comfyd::boot::StartRecord;
use comfyd::ctx::Ctx;
use std::path::PathBuf;
use support::comfyui::site_packages;

/// What a node sees of the process that imports it.
const LOOKS: &str = "
import os, subprocess, sys
os.environ['SET_BY_NODE'] = 'yes'
os.environ['NODE_API_KEY'] = 'hush'
import heavy
seen = [name for name in os.environ if 'RECORD' in name or name == 'PYTHONPATH']
child = subprocess.run(['env'], capture_output=True, text=True).stdout
print('node sees', seen, [path for path in sys.path if 'recorder' in path], 'RECORD' in child, flush=True)
NODE_CLASS_MAPPINGS = {}
";

fn generation(version: &Version) -> PathBuf {
    version.home.join("generations/g1")
}

fn with_node(version: &Version) {
    let node = version.comfy_dir().join("custom_nodes/looks");
    std::fs::create_dir_all(&node).unwrap();
    std::fs::write(node.join("__init__.py"), LOOKS).unwrap();
    let packages = site_packages(&generation(version));
    std::fs::write(packages.join("heavy.py"), "import json, torch").unwrap();
    std::fs::write(packages.join("torch.py"), "import os; os.environ['SET_BY_TORCH'] = 'yes'").unwrap();
}

#[tokio::test]
async fn the_first_start_leaves_a_record_with_its_generation() {
    let version = Version::new("");
    with_node(&version);
    version.ready().await;
    assert_eq!(version.logged("node sees").unwrap(), "[] [] False");
    eventually("the record is there", || StartRecord::read(&generation(&version)).is_some()).await;
    let record = StartRecord::read(&generation(&version)).unwrap();
    let at = |name: &str| record.modules.iter().position(|module| module == name);
    assert!(at("torch").unwrap() < at("heavy").unwrap(), "what is needed comes first");
    assert!(at("http.server").is_some(), "Python's own count");
    assert!(at("nodes").is_none() && at("looks").is_none() && at("sitecustomize").is_none());
    assert_eq!(record.environ.keys().collect::<Vec<_>>(), ["SET_BY_NODE"].iter().collect::<Vec<_>>());
    let opened = |end: &str| record.files.iter().position(|file| file.path.ends_with(end));
    assert!(opened("ComfyUI/main.py").unwrap() < opened("custom_nodes/looks/__init__.py").unwrap());
    assert!(record.files.iter().any(|file| file.mapped), "{:?}", record.files);
    assert!(record.files.iter().any(|file| file.path == "ComfyUI/main.py"), "relative to the generation");
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_start_that_was_recorded_is_not_recorded_again_unless_it_is_asked_for_otherwise() {
    let version = Version::new("");
    version.ready().await;
    eventually("the record is there", || StartRecord::read(&generation(&version)).is_some()).await;
    let first = StartRecord::read(&generation(&version)).unwrap();
    version.supervisor.stop(&version.home).await;
    version.ready().await;
    assert_eq!(StartRecord::read(&generation(&version)), Some(first.clone()));
    version.supervisor.stop(&version.home).await;
    let mut launch = version.launch("g1");
    launch.env.insert("MORE".to_owned(), "1".to_owned());
    version.supervisor.ensure_ready(&Ctx::new(), launch).await.unwrap();
    let settings = || StartRecord::read(&generation(&version)).map(|record| record.settings);
    eventually("it is recorded anew", || settings().is_some_and(|settings| settings != first.settings)).await;
    version.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_start_goes_well_where_it_cannot_be_recorded() {
    let version = Version::new("");
    std::fs::create_dir_all(version.dir.path().join("state")).unwrap();
    std::fs::write(version.dir.path().join("state/recorder"), "in the way").unwrap();
    let ready = version.ready().await;
    assert!(pid_of(&ready).as_raw() > 0);
    assert_eq!(StartRecord::read(&generation(&version)), None);
    version.supervisor.shutdown().await;
}
