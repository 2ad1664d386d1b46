//! How ComfyUI is started: its command line, its address, the directories it gets.

use super::{Launch, gpu};
use crate::process::Command;
use crate::store::commit::{StoreError, create_dir_all};
use crate::store::places::generation;
use proto::method::Device;
use std::collections::BTreeSet;
use std::path::Path;
use tokio::net::TcpListener;

/// Where ComfyUI listens if nobody says otherwise.
pub(super) const LOOPBACK: &str = "127.0.0.1";

/// Largest upload that ComfyUI is told to take, in MB: its own 100 is less than a short video.
const MAX_UPLOAD_MB: &str = "10240";

/// Set by comfy-cli for the ComfyUI that it starts.
const COMFY_CLI_SESSION: &str = "__COMFY_CLI_SESSION__";

/// Flags of ComfyUI that choose where models live; at most one may be given.
const MEMORY_FLAGS: &[&str] = &["--gpu-only", "--highvram", "--normalvram", "--lowvram", "--novram", "--cpu"];

/// Makes the command for a launch from `tree`, its generation or a copy of that. Creates the home's directories. Blocks.
///
/// # Errors
/// A directory that cannot be created, or a generation that is not there.
pub(super) fn command(
    launch: &Launch,
    tree: &Path,
    (listen, port): (&str, u16),
) -> Result<Command, StoreError> {
    for name in ["input", "output", "user", "temp"] {
        create_dir_all(&launch.home.join(name))?;
    }
    let comfy = tree.join(generation::COMFY);
    let cli_args = comfy.join("comfy/cli_args.py");
    let text = std::fs::read_to_string(&cli_args).map_err(StoreError::at("read", &cli_args))?;
    let args = command_line(&known_flags(&text), launch, listen, port);
    Ok(environment(launch, tree).arg(comfy.join("main.py")).args(args))
}

/// Makes the command of a launch's Python, without arguments.
pub(super) fn environment(launch: &Launch, tree: &Path) -> Command {
    let mut env = launch.inherited.clone();
    env.extend(launch.env.clone());
    if let Some(Device::Gpu { index }) = launch.device {
        // In the environment, since nodes may look before ComfyUI follows its own flag.
        env.extend([(gpu::VISIBLE, index.to_string()), (gpu::ORDER.0, gpu::ORDER.1.to_owned())].map(own));
    }
    // With it ComfyUI-Manager ends the process where it means to restart it; without, the process goes on
    // as another program, which is understood (its `manager_server.py`).
    env.remove(COMFY_CLI_SESSION);
    let command = Command::new(tree.join(generation::VENV).join("bin/python"), env);
    // Without it Python keeps the last lines of a crash to itself: the log is a file, not a terminal.
    command.env("PYTHONUNBUFFERED", "1").cwd(&tree.join(generation::COMFY))
}

fn own((name, value): (&str, String)) -> (String, String) {
    (name.to_owned(), value)
}

/// Returns ComfyUI's arguments after `main.py`. A flag that this commit does not know is left out:
/// ComfyUI would end with status 2. What the version asks for itself is passed as it is.
fn command_line(known: &BTreeSet<String>, launch: &Launch, listen: &str, port: u16) -> Vec<String> {
    let home = |name: &str| launch.home.join(name).display().to_string();
    let mut args = Vec::new();
    let mut add = |flag: &str, value: Option<String>| {
        if known.contains(flag) {
            args.push(flag.to_owned());
            args.extend(value);
        }
    };
    add("--disable-auto-launch", None);
    if let Some(path) = &launch.extra_model_paths {
        add("--extra-model-paths-config", Some(path.display().to_string()));
    }
    add("--input-directory", Some(home("input")));
    add("--output-directory", Some(home("output")));
    add("--user-directory", Some(home("user")));
    // ComfyUI deletes `<this>/temp` at its start and at its end.
    add("--temp-directory", Some(home("temp")));
    // Without it the database lies in the checkout, which is not the version's to write.
    add("--database-url", Some(format!("sqlite:///{}", home("user/comfyui.db"))));
    add("--max-upload-size", Some(MAX_UPLOAD_MB.to_owned()));
    if launch.device == Some(Device::Cpu)
        && !launch.extra_args.iter().any(|arg| MEMORY_FLAGS.contains(&arg.as_str()))
    {
        add("--cpu", None);
    }
    args.extend(launch.extra_args.iter().cloned());
    // Last, so that they win: we have to find it there.
    args.extend(["--listen".to_owned(), listen.to_owned(), "--port".to_owned(), port.to_string()]);
    args
}

/// Returns the flags that a `cli_args.py` declares: every quoted text that begins with two dashes.
fn known_flags(cli_args: &str) -> BTreeSet<String> {
    let quoted = cli_args.split(['"', '\'']);
    let is_flag = |text: &&str| {
        text.strip_prefix("--").is_some_and(|name| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
    };
    quoted.filter(is_flag).map(str::to_owned).collect()
}

/// Returns a port that is free on all of `listen`'s addresses right now: `asked`, or any. ComfyUI
/// itself notices a taken port only after it has loaded everything, which takes minutes.
pub(super) async fn free_port(listen: &str, asked: Option<u16>) -> std::io::Result<u16> {
    let mut port = asked.unwrap_or(0);
    let mut held = Vec::new();
    for host in listen.split(',') {
        let listener = TcpListener::bind((host.trim(), port)).await?;
        port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(port)
}

/// Returns the URL under which a ComfyUI that listens on `listen` is reached from here.
pub(super) fn url(listen: &str, port: u16) -> String {
    match listen.split(',').next().unwrap_or(LOOPBACK).trim() {
        "0.0.0.0" | "" => format!("http://{LOOPBACK}:{port}"),
        "::" => format!("http://[::1]:{port}"),
        host if host.contains(':') => format!("http://[{host}]:{port}"),
        host => format!("http://{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::VersionId;
    use std::collections::BTreeMap;

    fn launch(extra_args: &[&str]) -> Launch {
        Launch {
            version_id: VersionId::new("v").unwrap(),
            home: "/h".into(),
            generation: "g".into(),
            generation_dir: "/h/generations/g".into(),
            rolled_back_from: None,
            extra_model_paths: Some("/h/x.yaml".into()),
            inherited: BTreeMap::new(),
            env: BTreeMap::new(),
            extra_args: extra_args.iter().map(|&arg| arg.to_owned()).collect(),
            models: Vec::new(),
            port: None,
            listen: None,
            device: None,
        }
    }

    #[test]
    fn flags_are_read_from_the_source() {
        let source = "parser.add_argument(\"--listen\", help=\"If --cpu is given\")\n\
                      g.add_argument('--fp8_e5m2-unet', metavar=\"--\")";
        assert_eq!(known_flags(source), ["--listen", "--fp8_e5m2-unet"].map(str::to_owned).into());
    }

    #[test]
    fn the_command_line_holds_what_the_commit_knows() {
        let old = known_flags("'--listen' '--port' '--cpu' '--output-directory'");
        let new = known_flags(
            "'--listen' '--port' '--cpu' '--output-directory' '--database-url' '--extra-model-paths-config' \
             '--user-directory'",
        );
        let table = [
            (&old, false, &[][..], "--output-directory /h/output --cpu"),
            (&old, true, &[][..], "--output-directory /h/output"),
            (&old, false, &["--lowvram"][..], "--output-directory /h/output --lowvram"),
            (&old, true, &["--port", "1"][..], "--output-directory /h/output --port 1"),
            (
                &new,
                true,
                &[][..],
                "--extra-model-paths-config /h/x.yaml --output-directory /h/output --user-directory /h/user \
                 --database-url sqlite:////h/user/comfyui.db",
            ),
        ];
        for (known, gpu, extra, expected) in table {
            let device = Some(if gpu { Device::Any } else { Device::Cpu });
            let args = command_line(known, &Launch { device, ..launch(extra) }, LOOPBACK, 9);
            assert_eq!(args.join(" "), format!("{expected} --listen 127.0.0.1 --port 9"));
        }
    }

    #[test]
    fn the_url_reaches_what_listens() {
        let table = [
            ("127.0.0.1", "http://127.0.0.1:1"),
            ("0.0.0.0,::", "http://127.0.0.1:1"),
            ("::", "http://[::1]:1"),
            ("fe80::2", "http://[fe80::2]:1"),
            ("10.0.0.5", "http://10.0.0.5:1"),
        ];
        for (listen, expected) in table {
            assert_eq!(url(listen, 1), expected);
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_noticed_at_once() {
        let taken = free_port(LOOPBACK, None).await.unwrap();
        let _held = TcpListener::bind((LOOPBACK, taken)).await.unwrap();
        let error = free_port(LOOPBACK, Some(taken)).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    }
}
