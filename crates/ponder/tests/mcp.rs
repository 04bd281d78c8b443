//! Tools of MCP servers in `ponder run`: with a server that speaks the protocol and a model that says
//! what the test wants.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

/// An endpoint that gives the answers of a list, one after the other, and tells what it was asked.
fn endpoint(answers: Vec<Value>) -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, asked) = channel();
    std::thread::spawn(move || {
        for answer in answers {
            let mut stream = listener.accept().unwrap().0;
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                lines.read_line(&mut line).unwrap();
                if let Some(n) = line.to_lowercase().strip_prefix("content-length:") {
                    length = n.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            lines.read_exact(&mut body).unwrap();
            tell.send(serde_json::from_slice(&body).unwrap()).unwrap();
            let body = answer.to_string();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
                 connection: close\r\n\r\n{body}",
                body.len()
            )
            .unwrap();
        }
    });
    (url, asked)
}

fn says(text: &str) -> Value {
    json!({"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
           "usage": {"prompt_tokens": 10, "completion_tokens": 4}})
}

fn calls(calls: &[(&str, Value)]) -> Value {
    let calls: Vec<Value> = calls
        .iter()
        .enumerate()
        .map(|(i, (name, arguments))| {
            json!({"index": i, "id": format!("x{i}"), "type": "function",
                   "function": {"name": name, "arguments": arguments.to_string()}})
        })
        .collect();
    json!({"choices": [{"message": {"role": "assistant", "content": null, "tool_calls": calls},
                        "finish_reason": "tool_calls"}],
           "usage": {"prompt_tokens": 10, "completion_tokens": 7}})
}

/// A folder with a file of servers. None where there is no Python to run one.
struct World {
    folder: tempfile::TempDir,
    config: PathBuf,
}

impl World {
    fn new(fields: Value) -> Option<World> {
        if Command::new("python3").arg("--version").output().is_err() {
            eprintln!("skipped: there is no python3 to run an MCP server with");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mcp/server.py");
        let mut server = json!({"command": "python3", "args": [script, folder.path().join("end")]});
        let all = server.as_object_mut().unwrap();
        all.extend(fields.as_object().cloned().unwrap_or_default());
        let config = folder.path().join("mcp.json");
        let text = json!({"mcpServers": {"test": server}}).to_string();
        std::fs::write(&config, text).unwrap();
        Some(World { folder, config })
    }

    fn command(&self, url: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ponder"));
        command.args(["run", "--endpoint", url, "-m", "any", "--mcp"]).arg(&self.config).args(args);
        command.env("PONDER_HOME", self.folder.path()).env("A_SECRET", "x");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What was called, a name a line.
    fn calls(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("end.calls")).unwrap_or_default()
    }

    fn run(&self, url: &str, args: &[&str]) -> Output {
        self.command(url, args).output().unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_model_calls_tools_and_answers_with_what_came_of_it() {
    let Some(world) = World::new(json!({"env": {"B": "y"}})) else { return };
    let (url, asked) = endpoint(vec![
        calls(&[("add", json!({"a": 2, "b": 40})), ("get_env", json!({}))]),
        calls(&[("fail", json!({})), ("nonsense", json!({}))]),
        says("It is 42."),
    ]);
    let output = world.run(&url, &["--allow-tool", "*", "--json", "2 + 40?"]);
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["content"], "It is 42.");
    assert_eq!(report["usage"]["completion_tokens"], 7 + 7 + 4);

    let first = asked.recv().unwrap();
    let names: Vec<&str> = first["tools"].as_array().unwrap().iter().map(name).collect();
    assert_eq!(names, ["add", "die", "fail", "get_env", "sleep"], "of both pages of the list");
    assert_eq!(first["tools"][0]["function"]["parameters"]["required"], json!(["a", "b"]));
    let second = asked.recv().unwrap();
    let said = second["messages"].as_array().unwrap();
    let arguments = said[1]["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(arguments).unwrap(), json!({"a": 2, "b": 40}));
    assert_eq!((&said[2]["role"], &said[2]["content"]), (&json!("tool"), &json!("42")));
    for i in 0..2 {
        assert_eq!(said[2 + i]["tool_call_id"], said[1]["tool_calls"][i]["id"]);
    }
    let variables = said[3]["content"].as_str().unwrap();
    assert!(variables.split(' ').any(|v| v == "PATH") && variables.split(' ').any(|v| v == "B"));
    assert!(!variables.contains("A_SECRET"), "{variables}");
    let third = asked.recv().unwrap();
    let said = third["messages"].as_array().unwrap();
    assert_eq!(said[5]["content"], "Error: no such luck");
    assert_eq!(said[6]["content"], "Error: there is no tool called nonsense");
    assert_eq!(report["tools"].as_array().unwrap().len(), 6, "two rounds, two calls in each");
    assert!(world.folder.path().join("end").exists(), "the server was told of the end");
}

fn name(tool: &Value) -> &str {
    tool["function"]["name"].as_str().unwrap()
}

/// The default model, which writes its calls into blocks of code.
#[test]
fn a_model_here_calls_tools_too() {
    let Some(world) = World::new(json!({})) else { return };
    let store = weights::store::Store::from_env().unwrap();
    if store.installed("qwen2.5-coder-0.5b").unwrap().is_none() {
        eprintln!("skipped: qwen2.5-coder-0.5b is not in the store; `ponder pull` fetches it");
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_ponder"))
        .args(["run", "-m", "qwen2.5-coder-0.5b", "--offline", "--temp", "0", "--json", "--mcp"])
        .arg(&world.config)
        .args(["--allow-tool", "add", "--max-tokens", "200"])
        .arg("What is 1234 plus 5678? Use the tool.")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["tools"][0]["calls"][0]["name"], "add", "{report}");
    assert_eq!(report["tools"][1]["content"], "6912");
    // What so small a model makes of it is its own affair.
    assert!(world.calls().starts_with("add\n"));
}

#[test]
fn without_leave_nothing_is_called() {
    let Some(world) = World::new(json!({"alwaysAllow": ["fail"]})) else { return };
    let ask = || vec![calls(&[("add", json!({"a": 1, "b": 1}))]), says("2")];
    let (url, _asked) = endpoint(ask());
    let output = world.run(&url, &["1 + 1?"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--allow-tool add lets it"), "{output:?}");
    assert_eq!(world.calls(), "", "nobody allowed it");

    let (url, asked) = endpoint(ask());
    let output = world.run(&url, &["--allow-tool", "add", "1 + 1?"]);
    assert_eq!(text(&output.stdout).trim(), "2", "{output:?}");
    assert!(text(&output.stderr).contains("calls add {\"a\":1,\"b\":1}"), "{output:?}");
    assert_eq!(world.calls(), "add\n");
    assert_eq!(asked.iter().count(), 2);

    let (url, asked) = endpoint(vec![calls(&[("fail", json!({}))]), says("Oh.")]);
    let output = world.run(&url, &["try"]);
    assert_eq!(text(&output.stdout).trim(), "Oh.", "the file allows it: {output:?}");
    assert_eq!(asked.iter().count(), 2);

    let (url, _asked) = endpoint(Vec::new());
    let output = world.run(&url, &["--allow-tool", "subtract", "1 - 1?"]);
    assert!(
        text(&output.stderr).contains("there are add, die, fail, get_env, sleep"),
        "{output:?}"
    );
}

#[test]
fn servers_that_fail_are_named_with_what_they_said() {
    let Some(world) = World::new(json!({"timeout": 1})) else { return };
    let (url, asked) = endpoint(vec![calls(&[("sleep", json!({}))]), says("Too slow.")]);
    let output = world.run(&url, &["--allow-tool", "*", "sleep"]);
    assert_eq!(text(&output.stdout).trim(), "Too slow.", "{output:?}");
    let second = asked.iter().nth(1).unwrap();
    assert_eq!(second["messages"][2]["content"], "Error: no result within 1 s");

    let (url, _asked) = endpoint(vec![calls(&[("die", json!({}))])]);
    let output = world.run(&url, &["--allow-tool", "*", "die"]);
    let said = text(&output.stderr);
    assert!(said.contains("MCP server test") && said.contains("it said: out of order"), "{said}");

    for (fields, message) in [
        (json!({"command": "no-such-program"}), "cannot start no-such-program"),
        (json!({"command": "sh", "args": ["-c", "echo oops >&2; exit 1"]}), "it said: oops"),
        (json!({"command": "echo", "args": ["Hello there"]}), "MCP server test"),
        (json!({"disabled": true}), "names no server that is to be used"),
    ] {
        let world = World::new(fields.clone()).unwrap();
        let output = world.command(&url, &["hello"]).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{fields}: {said}");
        assert!(said.contains(message), "{fields}: {said}");
    }
}

#[test]
fn a_model_that_calls_without_end_is_ended() {
    let Some(world) = World::new(json!({})) else { return };
    let (url, _asked) = endpoint(vec![calls(&[("fail", json!({}))]); 40]);
    let output = world.run(&url, &["--allow-tool", "*", "go on"]);
    assert!(text(&output.stderr).contains("has called tools 32 times"), "{output:?}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_call() {
    let Some(world) = World::new(json!({})) else { return };
    let (url, asked) = endpoint(vec![calls(&[("sleep", json!({}))])]);
    let child = world.command(&url, &["--allow-tool", "*", "sleep"]).spawn().unwrap();
    asked.recv().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let began = std::time::Instant::now();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert!(began.elapsed() < Duration::from_secs(30), "not after the minute the tool takes");
}
