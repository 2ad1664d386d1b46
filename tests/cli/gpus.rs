//! Versions on a machine with GPUs, of which the driver's library tells.

use crate::client::machine;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use support::{TestEnv, nvml, plain_path};

/// A machine with two GPUs and two versions.
fn with_gpus() -> TestEnv {
    let mut env = machine();
    let library = env.path("driver");
    nvml::build(&library);
    env.set("LD_LIBRARY_PATH", library.to_str().unwrap());
    for id in ["a", "b"] {
        env.write_spec(id, &env.spec());
    }
    env
}

/// Warms a version; returns its device, and ComfyUI's command line and environment.
fn warm(env: &TestEnv, id: &str) -> (Value, String, String) {
    let instance = env.json(&["warm", id])["instance"].take();
    let of_process = |file: &str| {
        let text = fs::read(format!("/proc/{}/{file}", instance["state"]["pid"])).unwrap();
        String::from_utf8(text).unwrap().replace('\0', "\n")
    };
    (instance["device"].clone(), of_process("cmdline"), of_process("environ"))
}

#[test]
fn each_version_gets_the_emptiest_gpu_and_sees_no_other() {
    let env = with_gpus();
    for (id, index) in [("a", 1), ("b", 0)] {
        let (device, cmdline, environ) = warm(&env, id);
        assert_eq!(device, json!({ "kind": "gpu", "index": index }), "{id}");
        assert!(!cmdline.lines().any(|arg| arg == "--cpu"), "{cmdline}");
        for variable in [format!("CUDA_VISIBLE_DEVICES={index}"), "CUDA_DEVICE_ORDER=PCI_BUS_ID".to_owned()] {
            assert!(environ.lines().any(|line| line == variable), "{variable}: {environ}");
        }
    }
    let status = env.json(&["status"]);
    let gpus = status["gpus"].as_array().unwrap();
    let expected =
        json!({ "index": 1, "name": "Tesla T4", "total_bytes": 16_u64 << 30, "free_bytes": 13_u64 << 30 });
    assert_eq!((gpus.len(), &gpus[1]), (2, &expected));
}

/// As `nvidia-smi` answers the two questions that comfyd asks it.
const NVIDIA_SMI: &str = "#!/bin/sh
case $1 in
--query-gpu=index,uuid,name,memory.total,memory.free)
    echo '0, GPU-0-5a, Tesla T4, 16384, 12288'
    echo '1, GPU-1-5a, Tesla T4, 16384, 13312' ;;
--query-compute-apps=gpu_uuid,pid,used_memory)
    echo 'GPU-0-5a, 4711, [N/A]' ;;
--query-gpu=uuid,driver_version,compute_cap)
    echo 'GPU-0-5a, 580.65.06, 7.5'
    echo 'GPU-1-5a, 580.65.06, 7.5' ;;
'')
    echo '| NVIDIA-SMI 580.65.06    Driver Version: 580.65.06    CUDA Version: 13.0     |' ;;
*)
    exit 1 ;;
esac
";

/// Puts `nvidia-smi` on the machine's PATH.
pub(crate) fn add_nvidia_smi(env: &mut TestEnv) {
    let program = env.path("driver/nvidia-smi");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    fs::write(&program, NVIDIA_SMI).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", env.path("driver").display(), plain_path());
    env.set("PATH", &path);
}

#[test]
fn where_the_library_cannot_be_loaded_nvidia_smi_tells_of_the_same_gpus() {
    let mut env = machine();
    add_nvidia_smi(&mut env);
    env.write_spec("a", &env.spec());
    assert_eq!(warm(&env, "a").0, json!({ "kind": "gpu", "index": 1 }));
    let gpus = &env.json(&["status"])["gpus"];
    let expected =
        json!({ "index": 1, "name": "Tesla T4", "total_bytes": 16_u64 << 30, "free_bytes": 13_u64 << 30 });
    assert_eq!((gpus.as_array().map(Vec::len), &gpus[1]), (Some(2), &expected));
}

#[test]
fn only_gpus_that_the_daemon_may_see_are_given_out() {
    let mut env = with_gpus();
    env.set("CUDA_VISIBLE_DEVICES", "0");
    for id in ["a", "b"] {
        assert_eq!(warm(&env, id).0, json!({ "kind": "gpu", "index": 0 }), "{id}");
    }
    assert_eq!(env.json(&["status"])["gpus"].as_array().unwrap().len(), 1);
}
