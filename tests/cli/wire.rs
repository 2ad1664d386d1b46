//! Clients that mean harm, thousands of them: others are served, and memory stays bounded. Prints what the
//! daemon took meanwhile, and how a good client fared.
#![allow(clippy::print_stdout, reason = "figures for whoever reads the run")]

use crate::client::machine;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use support::TestEnv;
use support::process::eventually;
use support::raw_client::{RawClient, peak_mib, raise_open_files, reset_peak};

/// Connections that an attack holds.
const CROWD: usize = 1990;

/// Most memory that the daemon may take under any attack here. It is built for debugging, and knows no versions.
const PEAK_MIB: u64 = 400;

const STATUS: &str = r#"{"jsonrpc":"2.0","id":1,"method":"status","params":{}}"#;

struct Attacked {
    env: TestEnv,
    pid: u32,
}

impl Attacked {
    fn new() -> Self {
        raise_open_files();
        let env = machine();
        let pid = u32::try_from(env.json(&["status"])["pid"].as_u64().unwrap()).unwrap();
        Self { env, pid }
    }

    fn socket(&self) -> PathBuf {
        self.env.socket()
    }

    fn crowd(&self, count: usize) -> Vec<RawClient> {
        (0..count).map(|_| RawClient::connect(&self.socket())).collect()
    }

    /// Runs an attack beside a good client that comes again and again, and prints how both fared. What the
    /// attack returns is dropped after it was looked at.
    fn withstands<T>(&self, what: &str, held: usize, attack: impl FnOnce() -> T) {
        reset_peak(self.pid);
        let good = Good::start(self.socket());
        let kept = attack();
        let answered = good.stop();
        let (peak, files) = (peak_mib(self.pid), open_files(self.pid));
        drop(kept);
        let at = |share: usize| answered[(answered.len() - 1) * share / 100];
        println!(
            "{what}: {held} clients held, daemon at most {peak} MiB, {files} files; a good client's status \
             {} times, p50 {:?}, p99 {:?}",
            answered.len(),
            at(50),
            at(99)
        );
        assert!(peak < PEAK_MIB, "{what}: {peak} MiB");
        // The memory and the files of those who left are given back.
        let left = || open_files(self.pid) < 200;
        eventually("the daemon forgets those who left", left);
    }
}

/// A client that connects, says hello and asks for the status, until it is stopped. Asks once more then.
struct Good {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Good {
    fn start(socket: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut took = Vec::new();
            loop {
                let is_last = stopped.load(Ordering::Relaxed);
                let begun = Instant::now();
                RawClient::greet(&socket).status();
                took.push(begun.elapsed());
                if is_last {
                    took.sort();
                    return took;
                }
            }
        });
        Self { stop, thread }
    }

    fn stop(self) -> Vec<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[test]
fn two_thousand_connections_are_held_and_others_served() {
    let attacked = Attacked::new();
    attacked.withstands("silent after hello", CROWD, || {
        let mut crowd: Vec<_> = (0..CROWD).map(|_| RawClient::greet(&attacked.socket())).collect();
        for client in &mut crowd {
            drop(client.status());
        }
        crowd
    });
    attacked.withstands("connected and gone at once", 0, || drop(attacked.crowd(CROWD)));
}

#[test]
fn lines_that_never_end_are_bounded_in_memory_and_in_time() {
    let attacked = Attacked::new();
    let line = "x".repeat((1 << 20) - 1);
    attacked.withstands("1 MiB without an end", CROWD, || {
        let mut crowd = attacked.crowd(CROWD);
        // Pushed until nobody takes more: the system's buffers are full, and the daemon's share is taken.
        for _ in 0..3 {
            for client in &mut crowd {
                drop(client.push(line.as_bytes()));
            }
        }
        let told = crowd[0].read_to_end();
        assert!(told.contains("not ended within 10 s") || told.contains("longer than"), "{told}");
        crowd
    });
    // Who writes long lines in earnest gets his turn, with the attackers there or gone.
    let params = json!({ "version": "v", "workflow": { "1": "x".repeat(500_000) } });
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "run", "params": params });
    let answer = RawClient::connect(&attacked.socket()).ask(&call.to_string());
    assert_eq!(answer["error"]["data"]["kind"], "not_found", "{answer}");
}

#[test]
fn clients_that_never_read_cost_others_nothing() {
    let attacked = Attacked::new();
    let calls: String =
        (0..20_000).map(|id| STATUS.replace("\"id\":1", &format!("\"id\":{id}")) + "\n").collect();
    attacked.withstands("thousands of calls, no answer read", 200, || {
        let mut crowd = attacked.crowd(200);
        for _ in 0..5 {
            for client in &mut crowd {
                drop(client.push(calls.as_bytes()));
            }
        }
        crowd
    });
}

#[test]
fn storms_of_notifications_and_garbage_pass() {
    let attacked = Attacked::new();
    let wide = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"run","params":{{"workflow":[{}0]}}}}"#,
        "0,".repeat(500_000)
    );
    let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"run","params":{}"#, "[".repeat(1_000_000));
    let unknown = r#"{"jsonrpc":"2.0","method":"$/noise","params":{}}"#;
    let cancel = r#"{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":7}}"#;
    let storms: &[(&str, &str, usize)] = &[
        ("unknown notifications", unknown, 20_000),
        ("cancellations of nothing", cancel, 20_000),
        ("wide calls", &wide, 3),
        ("deep calls", &deep, 10),
    ];
    for (what, line, times) in storms {
        attacked.withstands(what, 8, || {
            let storm = |_| {
                let (socket, line, times) = (attacked.socket(), (*line).to_owned(), *times);
                std::thread::spawn(move || {
                    let mut client = RawClient::greet(&socket);
                    // Answers are read where there are any, or the storm would be one of clients that do not read.
                    let is_call = line.contains("\"id\":1");
                    for _ in 0..times {
                        client.write(&line);
                        if is_call {
                            assert!(client.read().unwrap()["error"].is_object());
                        }
                    }
                    client.status();
                })
            };
            let storms: Vec<_> = (0..8).map(storm).collect();
            for storm in storms {
                storm.join().unwrap();
            }
        });
    }
}

/// What a line is answered with: its code, its id, and a part of the message.
type Told<'a> = (i64, Value, &'a str);

#[test]
fn wrong_messages_are_told_what_is_wrong_with_them() {
    let attacked = Attacked::new();
    let long_id = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"status"}}"#, "i".repeat(5000));
    let long_method = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#, "m".repeat(500_000));
    let long_value =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"status","params":"{}"}}"#, "p".repeat(500_000));
    let table: &[(&str, Told<'_>)] = &[
        ("garbage", (-32700, Value::Null, "not JSON")),
        ("{", (-32700, Value::Null, "not JSON")),
        (&format!("[{STATUS},{STATUS}]"), (-32600, Value::Null, "batches are not taken")),
        ("[]", (-32600, Value::Null, "batches are not taken")),
        (r#"["2.0",1,"status"]"#, (-32600, Value::Null, "batches are not taken")),
        ("null", (-32600, Value::Null, "no message of JSON-RPC 2.0")),
        ("17", (-32600, Value::Null, "no message of JSON-RPC 2.0")),
        (r#"{"id":1,"method":"status"}"#, (-32600, Value::Null, "jsonrpc")),
        (r#"{"jsonrpc":"1.0","id":1,"method":"status"}"#, (-32600, Value::Null, "`1.0`, not `2.0`")),
        (r#"{"jsonrpc":"2.0","id":-1,"method":"status"}"#, (-32600, Value::Null, "no message")),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"status"}"#, (-32600, Value::Null, "no message")),
        (
            r#"{"jsonrpc":"2.0","id":99999999999999999999,"method":"status"}"#,
            (-32600, Value::Null, "no message"),
        ),
        (r#"{"jsonrpc":"2.0","id":{},"method":"status"}"#, (-32600, Value::Null, "no message")),
        (&long_id, (-32600, Value::Null, "the id has 5000 bytes")),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, (-32600, Value::Null, "no message")),
        (r#"{"jsonrpc":"2.0","id":1}"#, (-32600, json!(1), "without a method")),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, (-32600, json!(1), "without a method")),
        (r#"{"jsonrpc":"2.0","id":1,"method":"relaize"}"#, (-32601, json!(1), "no method `relaize`")),
        (&long_method, (-32601, json!(1), "no method `mmm")),
        (&long_value, (-32602, json!(1), "parameters of `status`")),
        (r#"{"jsonrpc":"2.0","id":1,"method":"realize","params":[1,2]}"#, (-32602, json!(1), "`realize`")),
    ];
    let mut client = RawClient::connect(&attacked.socket());
    for (line, (code, id, text)) in table {
        let answer = client.ask(line);
        let shown = &line[..line.len().min(80)];
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(code), id), "{shown}: {answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(text), "{shown}: {answer}");
        assert!(answer.to_string().len() < 2000, "{shown}: an answer must not repeat what it was given");
    }
    client.push(b"\xff\xfe\n").unwrap();
    assert_eq!(client.read().unwrap()["error"]["code"], -32700, "not UTF-8");
    client.status();
}

#[test]
fn an_id_counts_once_and_calls_at_once_are_bounded() {
    let attacked = Attacked::new();
    let gate = crate::client::gate(&attacked.env, "v");
    let mut client = RawClient::connect(&attacked.socket());
    let call = |id: usize| {
        let params = json!({ "version": "v" });
        json!({ "jsonrpc": "2.0", "id": id, "method": "realize", "params": params }).to_string()
    };
    let mut answer = |line: &str| {
        client.write(line);
        // Progress of the calls under way comes in between.
        loop {
            let message = client.read().unwrap();
            if message["method"].is_null() {
                return message;
            }
        }
    };
    let mut other = RawClient::connect(&attacked.socket());
    other.write(&call(0));
    gate.reached();
    // The first call is under way as soon as its double is refused.
    let doubled = answer(&format!("{}\n{}", call(0), call(0)));
    assert_eq!(doubled["error"]["message"], "the id of this call is in use");
    let many: Vec<_> = (1..=64).map(call).collect();
    let refused = answer(&many.join("\n"));
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(64), &json!(-32009)), "{refused}");
    RawClient::connect(&attacked.socket()).status();
    gate.open();
}

#[test]
fn more_connections_than_files_allow_are_refused_by_name() {
    let env = machine();
    let mut shell = std::process::Command::new("sh");
    let comfyd = env.comfyd();
    shell.env_clear().envs(comfyd.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let program = comfyd.get_program().to_str().unwrap();
    let mut daemon = shell.args(["-c", &format!("ulimit -n 600; exec {program}")]).spawn().unwrap();
    eventually("the daemon listens", || std::os::unix::net::UnixStream::connect(env.socket()).is_ok());
    // Who says hello may then be silent for as long as it likes.
    let crowd: Vec<_> = (0..150).map(|_| RawClient::greet(&env.socket())).collect();
    eventually("all places are taken", || {
        RawClient::connect(&env.socket()).read_to_end().contains("serves 150 connections already")
    });
    let error = env.error(&["status"], 9);
    assert_eq!(error["message"], "the daemon serves 150 connections already");
    assert!(error["hint"].as_str().unwrap().contains("end clients"), "{error}");
    drop(crowd);
    eventually("there is a place again", || env.comfyctl(&["status"]).status == Some(0));
    assert_eq!(env.comfyctl(&["shutdown"]).status, Some(0));
    daemon.wait().unwrap();
}

#[test]
fn half_open_connections_end_and_calls_after_shutdown_are_answered_or_ended() {
    let attacked = Attacked::new();
    let mut half = RawClient::greet(&attacked.socket());
    half.half_close();
    assert_eq!(half.read_to_end(), "", "half a connection is none");
    let mut late = RawClient::greet(&attacked.socket());
    assert_eq!(attacked.env.comfyctl(&["shutdown"]).status, Some(0));
    late.write(STATUS);
    assert_eq!(late.read_to_end(), "", "it ended before the call came");
}
