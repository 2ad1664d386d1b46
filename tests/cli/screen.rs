//! What people see: 80 columns, no escapes where nobody would understand them, ASCII where the locale says so.

use crate::client::{comfyctl, machine, run};
use crate::terminal::Terminal;
use serde_json::json;
use support::TestEnv;
use support::env::Ended;
use support::script_daemon::ScriptDaemon;

/// Columns of a terminal as it opens.
const WIDTH: usize = 80;

/// Surroundings without a terminal, in which everything must read well.
const SURROUNDINGS: [&[(&str, &str)]; 4] = [
    &[("LANG", "C.UTF-8")],
    &[("LANG", "C")],
    &[("LANG", "en_US.UTF-8"), ("NO_COLOR", "1"), ("TERM", "xterm-256color")],
    &[("LANG", "C"), ("TERM", "dumb")],
];

/// Returns what is too wide in a text. Paths and links are as long as they are, and so is what stands with one in
/// a column: a line may be wide by them alone.
fn too_wide(text: &str) -> Vec<&str> {
    let own = |line: &str| -> usize {
        let words = line.split(' ').filter(|word| !word.contains('/'));
        words.map(|word| word.chars().count() + 1).sum()
    };
    text.lines().filter(|line| line.chars().count() > WIDTH && own(line) > WIDTH).collect()
}

fn assert_reads_well(ended: &Ended, what: &str, utf8: bool) {
    for (name, text) in [("stdout", &ended.stdout), ("stderr", &ended.stderr)] {
        assert_eq!(too_wide(text), Vec::<&str>::new(), "{what}: {name} is wide");
        assert!(!text.contains('\x1b'), "{what}: {name} has escapes: {text:?}");
        assert!(utf8 || text.is_ascii(), "{what}: {name} is not ASCII: {text:?}");
        assert!(
            text.lines().all(|line| !line.ends_with(' ')),
            "{what}: a line of {name} ends in blanks: {text:?}"
        );
    }
}

/// The verbs that the help names, `handler run` among them.
fn verbs() -> Vec<Vec<String>> {
    let home = tempfile::tempdir().unwrap();
    let help = run(&mut comfyctl(home.path()), &["--help"]).stdout;
    let verbs =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let verbs =
        verbs.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    // `help` has none of its own.
    let verbs = verbs.filter(|verb| *verb != "help");
    let mut verbs: Vec<Vec<String>> = verbs.map(|verb| vec![verb.to_owned()]).collect();
    assert!(verbs.len() > 15, "{help}");
    verbs.extend([vec![], vec!["handler".to_owned(), "run".to_owned()]]);
    verbs
}

#[test]
fn each_help_fits_and_is_ascii() {
    let home = tempfile::tempdir().unwrap();
    for verb in verbs() {
        for flag in ["--help", "-h"] {
            let mut command = comfyctl(home.path());
            let ended = run(command.args(&verb).env("LANG", "C"), &[flag]);
            assert_eq!(ended.status, Some(0), "{verb:?}: {}", ended.stderr);
            assert_reads_well(&ended, &format!("help of {verb:?}"), false);
            // Here no path excuses a long line.
            let longest = ended.stdout.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(WIDTH), "help of {verb:?}: {}", ended.stdout);
        }
    }
}

/// Runs a command in all surroundings; it must end as expected each time.
fn everywhere(env: &mut TestEnv, args: &[&str], status: i32) {
    assert_eq!(read_everywhere(env, args), [Some(status); SURROUNDINGS.len()], "{args:?}");
}

/// Runs a command in all surroundings; returns how it ended in each.
fn read_everywhere(env: &mut TestEnv, args: &[&str]) -> [Option<i32>; SURROUNDINGS.len()] {
    SURROUNDINGS.map(|vars| {
        let names = ["LANG", "NO_COLOR", "TERM"];
        for name in names {
            env.unset(name);
        }
        for (name, value) in vars {
            env.set(name, value);
        }
        let ended = env.comfyctl(args);
        assert_reads_well(&ended, &format!("{args:?} {vars:?}"), !vars.contains(&("LANG", "C")));
        ended.status
    })
}

#[test]
fn answers_read_well() {
    let mut env = machine();
    let mut spec = env.spec();
    spec["custom_nodes"] = json!([{ "repo": env.node("a-custom-node", &[("install.py", "")]).url() }]);
    spec["models"] =
        json!([{ "source": env.model("/a-model-with-a-name.safetensors"), "target_subdir": "loras" }]);
    env.write_spec("a-version", &spec);
    everywhere(&mut env, &["realize", "a-version", "--dry-run"], 0);
    everywhere(&mut env, &["list"], 0);
    everywhere(&mut env, &["resolve", "a-version"], 0);
    everywhere(&mut env, &["show", "a-version"], 0);
    everywhere(&mut env, &["prefetch", "--plan", "a-version"], 0);
    everywhere(&mut env, &["realize", "a-version"], 0);
    env.comfy.commit(&[("new.txt", "1")]);
    everywhere(&mut env, &["realize", "a-version", "--update"], 0);
    everywhere(&mut env, &["diff", "a-version"], 0);
    everywhere(&mut env, &["rollback", "a-version"], 0);
    everywhere(&mut env, &["pin", "a-version"], 0);
    everywhere(&mut env, &["pin"], 0);
    everywhere(&mut env, &["unpin", "a-version"], 0);
    everywhere(&mut env, &["warm", "a-version", "--verbose"], 0);
    everywhere(&mut env, &["test", "a-version"], 0);
    everywhere(&mut env, &["status"], 0);
    everywhere(&mut env, &["list"], 0);
    everywhere(&mut env, &["show", "a-version"], 0);
    everywhere(&mut env, &["rollback", "a-version"], 0);
    everywhere(&mut env, &["stop", "a-version"], 0);
    everywhere(&mut env, &["prefetch"], 0);
    everywhere(&mut env, &["export", "a-version", "--snapshot"], 0);
    everywhere(&mut env, &["new", "another-version", "--dry-run", "--offline"], 0);
    let found = read_everywhere(&mut env, &["doctor", "--quick"]);
    // Machines differ; what it says fits on all.
    assert!(found.iter().all(|status| matches!(status, Some(0 | 1))), "{found:?}");
}

#[test]
fn failures_read_well() {
    let mut env = machine();
    env.write_spec("a", &env.spec());
    everywhere(&mut env, &["show", "no-such-version"], 4);
    everywhere(&mut env, &["logs", "a"], 4);
    everywhere(&mut env, &["rollback", "a"], 4);
    everywhere(&mut env, &["diff", "a"], 4);
    everywhere(&mut env, &["run", "--version-id", "a", "--workflow", "none.json"], 4);
    everywhere(&mut env, &["realize", "a", "--offline", "--update"], 10);
    everywhere(&mut env, &["relaize"], 2);
    everywhere(&mut env, &["run", "--version-id", "a"], 2);
    everywhere(&mut env, &["pin", "a", "--rung", "resolved"], 2);
    everywhere(&mut env, &["realize", "--socket", &format!("/{}", "x".repeat(120)), "a"], 2);

    let mut spec = env.spec();
    spec["comfy"]["ref"] = json!("no-such-branch-or-tag");
    env.write_spec("ref", &spec);
    everywhere(&mut env, &["resolve", "ref"], 4);
    spec = env.spec();
    spec["models"] = json!([{ "source": "hf://o/r/x.safetensors?token=s3cret", "target_subdir": "loras" },
                            { "source": "civitai://x", "taget_subdir": "loras" }]);
    spec["custom_nodes"] = json!([{ "repo": "git@example.org:o/r", "comit": "1" }]);
    env.write_spec("errors", &spec);
    everywhere(&mut env, &["show", "errors"], 3);
    spec = env.spec();
    spec["models"] = json!([{ "source": env.files.url("/none.safetensors"), "target_subdir": "loras" }]);
    env.write_spec("missing", &spec);
    everywhere(&mut env, &["realize", "missing"], 4);
    everywhere(&mut env, &["realize", "missing", "--dry-run"], 4);
    spec = env.spec();
    spec["python_packages"] = json!(["a-package-that-no-index-has"]);
    env.write_spec("packages", &spec);
    everywhere(&mut env, &["resolve", "packages"], 4);
    env.json(&["shutdown"]);
    everywhere(&mut env, &["status", "--no-start"], 17);
}

#[test]
fn on_a_dumb_terminal_warnings_are_seen_and_nothing_moves() {
    let daemon = ScriptDaemon::start(|client| {
        client.hello();
        let call = client.expect("realize");
        let task =
            json!({"id": 1, "kind": "model", "label": "a", "state": "running", "done": 5, "unit": "bytes"});
        let note = json!({"seq": 1, "warning": true, "text": "`a` is slow: say `rev=…`"});
        client.progress(&call, &json!({"phase": "execute", "tasks": [task], "notes": [note]}));
        let answer = json!({"version_id": "x", "outcome": "ready", "home": "/h", "generation": "ab", "missing": [],
                            "warnings": [], "elapsed_ms": 5});
        client.answer(&call, &answer);
    });
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_comfyctl"));
    command.args(["realize", "x"]).current_dir(daemon.dir());
    command.env("COMFYD_SOCKET", daemon.socket()).env("LANG", "C").env("TERM", "dumb");
    let (status, seen) = Terminal::start(&command, (24, 80)).ended();
    assert_eq!(status, Some(0));
    let expected = "warning: `a` is slow: say `rev=...`\r\nmodel a: started\r\nx is ready in /h (5 ms)\r\n";
    assert_eq!(seen, expected);
    daemon.finish();
}
