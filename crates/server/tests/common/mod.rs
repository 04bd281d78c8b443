//! A server with a tiny random model on a free port.

#![allow(dead_code, reason = "not every test file needs all of it")]

#[path = "../../../engine/tests/support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::{Engine, LoadOptions, Runtime, Scheduler, SchedulerOptions};
use serde_json::{Value, json};
use server::{Options, serve};
use tokio::sync::oneshot;

/// A server on a free port; it stops when this is dropped.
pub struct Server {
    pub address: SocketAddr,
    pub stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let outcome = thread.join();
            if !std::thread::panicking() {
                outcome.unwrap();
            }
        }
    }
}

pub fn start(options: Options) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let path = support::tiny_model(dir.path(), true);
    let loading = LoadOptions { ctx: Some(2048), ..LoadOptions::default() };
    let engine = Arc::new(Engine::load(&path, &loading).unwrap());
    let scheduling = SchedulerOptions { kv_tokens: Some(16384), ..SchedulerOptions::default() };
    let runtime = Runtime::start(Scheduler::new(engine, scheduling).unwrap()).unwrap();
    let (stop, stopped) = oneshot::channel();
    let (sender, address) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let tokio =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        tokio.unwrap().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            let stop = async move { drop(stopped.await) };
            serve(listener, runtime, "tiny".to_owned(), options, stop).await.unwrap();
        });
    });
    Server { address: address.recv().unwrap(), stop: Some(stop), thread: Some(thread), _dir: dir }
}

impl Server {
    /// Status, head and body of what the server answers to raw bytes.
    pub fn raw(&self, request: &str) -> (u16, String, String) {
        let mut stream = self.send(request);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        (status, head.to_lowercase(), body.to_owned())
    }

    pub fn send(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        let (status, _, body) =
            self.raw(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"));
        (status, body)
    }

    pub fn post_text(&self, path: &str, body: &str) -> (u16, Value) {
        let (status, _, body) = self.raw(&request(path, body));
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    pub fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.post_text(path, &body.to_string())
    }

    pub fn metric(&self, name: &str) -> f64 {
        self.metrics([name])[0]
    }

    /// Several of one moment.
    fn metrics<const N: usize>(&self, names: [&str; N]) -> [f64; N] {
        let (_, text) = self.get("/metrics");
        let text = text.as_str();
        names.map(|name| {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
            line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(f64::NAN)
        })
    }

    /// Waits for all requests to be over; then no page may be missing.
    pub fn assert_all_pages_are_back(&self) {
        let started = Instant::now();
        loop {
            // A request may come between two looks: what is counted is counted in one.
            let [processing, deferred, free, pages] = self.metrics([
                "ponder_requests_processing",
                "ponder_requests_deferred",
                "ponder_kv_pages_free",
                "ponder_kv_pages",
            ]);
            if processing + deferred <= 0.0 {
                assert_eq!(free, pages);
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "requests do not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

pub fn request(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A conversation in which a call is required.
pub fn tool_request() -> Value {
    let tool = json!({"type": "function", "function": {"name": "add", "parameters": {
        "type": "object",
        "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 9}, "b": {"enum": ["x", "y"]}},
        "required": ["a", "b"], "additionalProperties": false}}});
    json!({
        "messages": [{"role": "user", "content": "why?"}], "seed": 1, "max_tokens": 200,
        "tools": [tool], "tool_choice": "required", "parallel_tool_calls": false,
        "thinking_budget": 0,
    })
}
