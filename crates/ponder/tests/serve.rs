//! A server that is killed in mid-answer: its clients see the end, the next one starts clean, and no
//! file is left behind.

#[path = "../../engine/tests/support/mod.rs"]
#[expect(dead_code, reason = "the engine's own tests use more of it")]
mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(model: &Path, folder: &Path, port: &str) -> Server {
    start_with(model, folder, &["--port", port])
}

fn start_with(model: &Path, folder: &Path, args: &[&str]) -> Server {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ponder"))
        .args(["serve", "--ctx", "2048", "-m"])
        .arg(model)
        .args(args)
        .env("PONDER_HOME", folder.join("home"))
        .env("TMPDIR", folder.join("tmp"))
        .current_dir(folder)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let address = lines
        .find_map(|line| {
            line.split_whitespace().find_map(|w| w.strip_prefix("http://")).map(str::to_owned)
        })
        .expect("the server comes up");
    Server { child, address }
}

fn send(server: &Server, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    stream
}

fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => drop(all.insert(entry.path())),
            }
        }
    }
    all
}

#[test]
fn killed_under_load_it_starts_clean_again() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("tmp")).unwrap();
    let model = support::tiny_model(folder.path(), true);
    let before = files(folder.path());
    let endless = r#"{"messages": [{"role": "user", "content": "why?"}], "stream": true,
        "ignore_eos": true, "max_tokens": 1900, "n": 8}"#;
    let vote = r#"{"messages": [{"role": "user", "content": "why?"}], "stream": true,
        "max_tokens": 1900, "reasoning": {"strategy": "vote", "n": 16, "sure": null, "give_up": null}}"#;
    let mut server = start(&model, folder.path(), "0");
    let mut streams: Vec<TcpStream> =
        (0..12).map(|i| send(&server, if i % 3 == 0 { vote } else { endless })).collect();
    // All are being answered.
    for stream in &mut streams {
        let mut some = [0; 200];
        stream.read_exact(&mut some).unwrap();
    }
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    // Each client sees the end at once, and not a whole answer.
    let killed = Instant::now();
    for mut stream in streams {
        let mut rest = Vec::new();
        // Cut off, or reset: both are the end.
        let _ = stream.read_to_end(&mut rest);
        assert!(!String::from_utf8_lossy(&rest).contains("data: [DONE]"));
    }
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
    let port = server.address.rsplit(':').next().unwrap().to_owned();
    let again = start(&model, folder.path(), &port);
    assert_eq!(again.address, server.address, "the same port can be had at once");
    let short = r#"{"messages": [{"role": "user", "content": "why?"}], "max_tokens": 5}"#;
    let mut answer = String::new();
    send(&again, short).read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(again);
    assert_eq!(files(folder.path()), before, "nothing is left behind");
}

#[cfg(unix)]
#[test]
fn what_was_read_is_kept_when_it_is_told_to_stop_and_not_when_it_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["home", "tmp"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    let model = support::tiny_model(folder.path(), false);
    let file = folder.path().join("kept.kv");
    let begin = || {
        let args = ["--port", "0", "--kv-cache-file", "kept.kv"];
        start_with(&model, folder.path(), &args)
    };
    let cached = |server: &Server, text: &str| {
        let body = format!(
            r#"{{"messages": [{{"role": "user", "content": "{}"}}], "max_tokens": 3}}"#,
            text.repeat(100)
        );
        let mut answer = String::new();
        send(server, &body).read_to_string(&mut answer).unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        body["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
    };
    let stop = |mut server: Server, signal: &str| {
        let pid = server.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        server.child.wait().unwrap()
    };

    let server = begin();
    assert_eq!(cached(&server, "once "), 0);
    assert!(stop(server, "-TERM").success());
    assert!(file.exists());
    let server = begin();
    assert!(cached(&server, "once ") > 490);
    cached(&server, "twice ");
    stop(server, "-KILL");
    let server = begin();
    assert!(cached(&server, "once ") > 490);
    assert!(cached(&server, "twice ") < 64, "what was read since the last stop is lost");
    drop(server);
    assert!(files(&folder.path().join("tmp")).is_empty());
    let unfinished = |path: &PathBuf| path.extension().is_some_and(|end| end == "tmp");
    assert!(!files(folder.path()).iter().any(unfinished));
}
