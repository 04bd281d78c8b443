//! A machine of its own for each test: an empty home, a hub that misbehaves on request, a pip that
//! serves wheels from a directory.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

/// The test's own home, store and `PATH`.
pub struct World {
    pub dir: tempfile::TempDir,
    env: BTreeMap<String, String>,
}

/// What a command did, with the test's own paths and ports replaced.
#[derive(Debug)]
pub struct Outcome {
    pub ok: bool,
    pub stdout: String,
    pub stderr: String,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().display().to_string();
        let env = BTreeMap::from([
            ("HOME".into(), home.clone()),
            ("PONDER_HOME".into(), format!("{home}/ponder")),
            // Nobody listens on the discard port: no test reaches the network by accident.
            ("HF_ENDPOINT".into(), "http://127.0.0.1:9".into()),
            ("HF_HUB_DOWNLOAD_TIMEOUT".into(), "2".into()),
            ("PATH".into(), format!("{home}/bin:/usr/bin:/bin")),
        ]);
        fs::create_dir(dir.path().join("bin")).unwrap();
        fs::create_dir(dir.path().join("ponder")).unwrap();
        World { dir, env }
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.env.insert(name.into(), value.into());
    }

    /// Adds rows to the user's own catalogue.
    pub fn catalogue(&self, rows: &str) {
        fs::write(self.path("ponder/catalogue.toml"), rows).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ponder"));
        command.args(args).env_clear().envs(&self.env).current_dir(self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn ponder(&self, args: &[&str]) -> Outcome {
        self.outcome(self.start(args))
    }

    pub fn start(&self, args: &[&str]) -> Child {
        self.command(args).spawn().unwrap()
    }

    pub fn outcome(&self, child: Child) -> Outcome {
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            let text = text.replace(&self.dir.path().display().to_string(), "[DIR]");
            match self.env["HF_ENDPOINT"].as_str() {
                "http://127.0.0.1:9" => text,
                hub => text.replace(hub, "[HUB]"),
            }
        };
        Outcome {
            ok: output.status.success(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Everything in the store that is not the catalogue, as sorted relative paths.
    pub fn stored(&self) -> Vec<String> {
        fn walk(root: &Path, at: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(at).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    walk(root, &path, found);
                } else {
                    found.push(path.strip_prefix(root).unwrap().display().to_string());
                }
            }
        }
        let (root, mut found) = (self.path("ponder/models"), Vec::new());
        walk(&root, &root, &mut found);
        found.sort();
        found
    }

    /// Installs a `python3` whose pip copies `wheels/NAME.whl`, holding back while `wheels/NAME.hold`
    /// exists. Every call is noted in `pip.log`.
    pub fn install_pip(&self) {
        fs::create_dir_all(self.path("wheels")).unwrap();
        let here = self.dir.path().display();
        let script = format!(
            r#"#!/bin/sh
[ "$3" = --version ] && exit 0
for requirement; do :; done
name=${{requirement%%==*}}
echo "$name" >> {here}/pip.log
while [ -e {here}/wheels/$name.hold ]; do sleep 0.05; done
mkdir -p done
cp {here}/wheels/$name.whl done/ 2>/dev/null && exit 0
echo "ERROR: Could not find a version that satisfies the requirement $requirement" >&2
echo "ERROR: No matching distribution found for $requirement" >&2
exit 1
"#
        );
        let path = self.path("bin/python3");
        fs::write(&path, script).unwrap();
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A wheel with one data file in it, and something that must never be looked at.
    pub fn wheel(&self, name: &str, member: &str, bytes: &[u8]) {
        let file = fs::File::create(self.path(&format!("wheels/{name}.whl"))).unwrap();
        let mut zip = zip::ZipWriter::new(file);
        let options = zip::write::SimpleFileOptions::default();
        zip.start_file("setup.py", options).unwrap();
        zip.write_all(b"raise SystemExit('executed')").unwrap();
        zip.start_file(member, options).unwrap();
        zip.write_all(bytes).unwrap();
        zip.finish().unwrap();
    }

    pub fn pip_log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("pip.log")).unwrap_or_default();
        let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
        names.sort();
        names
    }
}

/// Waits for something another process is about to do.
pub fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < Duration::from_secs(30), "never happened: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is wrong with one download.
#[derive(Clone, Copy)]
pub enum Fault {
    /// The connection ends after so many bytes.
    Cut(usize),
    /// After so many bytes nothing more comes, and the connection stays open.
    Stall(usize),
    /// The range that was asked for is ignored.
    NoRange,
    /// An answer with this status.
    Status(u16),
    /// The first byte is another one.
    Corrupt,
}

/// A hub with one repository, `o/r`, on one port and its content network on another.
pub struct Hub {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    faults: Mutex<Vec<Fault>>,
    listing_status: Mutex<Option<u16>>,
    requests: Mutex<Vec<Request>>,
    content: Mutex<String>,
}

/// A request that was made.
#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    pub range: Option<String>,
    pub token: Option<String>,
}

impl Hub {
    /// Starts a hub and tells the world about it.
    pub fn start(world: &mut World) -> Self {
        let shared = Arc::new(Shared::default());
        *shared.content.lock().unwrap() = serve(&shared, content);
        let url = serve(&shared, hub);
        world.set("HF_ENDPOINT", &url);
        Hub { shared }
    }

    pub fn file(&self, path: &str, bytes: &[u8]) {
        self.shared.files.lock().unwrap().insert(path.into(), bytes.into());
    }

    /// The next downloads go wrong, one after the other.
    pub fn faults(&self, faults: &[Fault]) {
        *self.shared.faults.lock().unwrap() = faults.iter().rev().copied().collect();
    }

    pub fn refuse_listing(&self, status: u16) {
        *self.shared.listing_status.lock().unwrap() = Some(status);
    }

    /// The downloads from the content network so far.
    pub fn downloads(&self) -> Vec<Request> {
        let requests = self.shared.requests.lock().unwrap();
        requests.iter().filter(|r| r.path.starts_with("/content/")).cloned().collect()
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }
}

/// A dataset viewer that has one dataset, whatever it is asked for.
pub struct Viewer {
    shown: Arc<Shown>,
}

#[derive(Default)]
struct Shown {
    rows: Mutex<Vec<serde_json::Value>>,
    requests: Mutex<Vec<Request>>,
    /// Pages that are still shown, and the status of the rest.
    failure: Mutex<Option<(usize, u16)>>,
    /// Requests that are told to come again.
    busy: Mutex<usize>,
    truncated: Mutex<Option<String>>,
}

impl Viewer {
    /// Starts one and tells the world about it.
    pub fn start(world: &mut World, rows: Vec<serde_json::Value>) -> Self {
        let shown = Arc::new(Shown::default());
        *shown.rows.lock().unwrap() = rows;
        let viewer = Viewer { shown: shown.clone() };
        let url = listen(move |request, stream| {
            shown.requests.lock().unwrap().push(request.clone());
            shown.answer(request, stream);
        });
        world.set("PONDER_DATASETS_SERVER", &url);
        viewer
    }

    pub fn replace(&self, rows: Vec<serde_json::Value>) {
        *self.shown.rows.lock().unwrap() = rows;
        *self.shown.truncated.lock().unwrap() = None;
    }

    /// After so many more pages, every request is answered with this status.
    pub fn fail_after(&self, pages: usize, status: u16) {
        *self.shown.failure.lock().unwrap() = Some((pages, status));
    }

    /// The next requests are answered with status 429.
    pub fn busy(&self, requests: usize) {
        *self.shown.busy.lock().unwrap() = requests;
    }

    /// This column is cut off in every row.
    pub fn truncate(&self, column: &str) {
        *self.shown.truncated.lock().unwrap() = Some(column.into());
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shown.requests.lock().unwrap().clone()
    }
}

impl Shown {
    fn answer(&self, request: &Request, stream: &mut TcpStream) {
        let mut busy = self.busy.lock().unwrap();
        if *busy > 0 {
            *busy -= 1;
            return answer(stream, 429, "", b"{}");
        }
        if let Some((pages, status)) = &mut *self.failure.lock().unwrap() {
            if *pages == 0 {
                return answer(stream, *status, "", b"{}");
            }
            *pages -= 1;
        }
        let number = |name: &str| -> usize {
            let value = request.path.split(&['?', '&']).find_map(|pair| pair.strip_prefix(name));
            value.unwrap().parse().unwrap()
        };
        let (offset, length) = (number("offset="), number("length="));
        let rows = self.rows.lock().unwrap();
        let cut: Vec<String> = self.truncated.lock().unwrap().iter().cloned().collect();
        let page: Vec<_> = rows.iter().enumerate().skip(offset).take(length).collect();
        let page: Vec<_> = page
            .into_iter()
            .map(|(i, row)| serde_json::json!({ "row_idx": i, "row": row, "truncated_cells": cut }))
            .collect();
        let answered = serde_json::json!({
            "features": [], "rows": page, "num_rows_total": rows.len(), "partial": false,
        });
        answer(stream, 200, "content-type: application/json\r\n", answered.to_string().as_bytes());
    }
}

fn serve(shared: &Arc<Shared>, handle: fn(&Shared, &Request, &mut TcpStream)) -> String {
    let shared = shared.clone();
    listen(move |request, stream| {
        shared.requests.lock().unwrap().push(request.clone());
        handle(&shared, request, stream);
    })
}

/// A server on a port of its own, a thread for each connection; its address.
fn listen(handle: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let handle = Arc::new(handle);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let handle = handle.clone();
            std::thread::spawn(move || {
                if let Some(request) = read_request(&stream) {
                    handle(&request, &mut stream);
                }
            });
        }
    });
    url
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream.take(1 << 16)).lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: HashMap<String, String> = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": ").map(|(k, v)| (k.to_lowercase(), v.to_owned())))
        .collect();
    let header = |name: &str| headers.get(name).cloned();
    Some(Request { path, range: header("range"), token: header("authorization") })
}

fn answer(stream: &mut TcpStream, status: u16, headers: &str, body: &[u8]) {
    let length = body.len();
    let _ = write!(
        stream,
        "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    let _ = stream.write_all(body);
}

fn hub(shared: &Shared, request: &Request, stream: &mut TcpStream) {
    if let Some(rest) = request.path.strip_prefix("/api/models/o/r/revision/") {
        if let Some(status) = *shared.listing_status.lock().unwrap() {
            return answer(stream, status, "", b"{}");
        }
        assert_eq!(rest, "main?blobs=true");
        let files = shared.files.lock().unwrap();
        let siblings: Vec<_> = files
            .iter()
            .map(|(path, bytes)| {
                let mut file = serde_json::json!({ "rfilename": path, "size": bytes.len() });
                if path.ends_with(".gguf") || path.ends_with(".safetensors") {
                    file["lfs"] =
                        serde_json::json!({ "sha256": sha256(bytes), "size": bytes.len() });
                }
                file
            })
            .collect();
        let listing = serde_json::json!({ "sha": "c0ffee", "siblings": siblings });
        return answer(stream, 200, "", listing.to_string().as_bytes());
    }
    match request.path.strip_prefix("/o/r/resolve/c0ffee/") {
        Some(path) => {
            let to = format!("location: {}/content/{path}\r\n", shared.content.lock().unwrap());
            answer(stream, 302, &to, b"");
        }
        None => answer(stream, 404, "", b"{}"),
    }
}

fn content(shared: &Shared, request: &Request, stream: &mut TcpStream) {
    let path = request.path.strip_prefix("/content/").unwrap();
    let mut body = shared.files.lock().unwrap()[path].clone();
    let fault = shared.faults.lock().unwrap().pop();
    let mut headers = String::new();
    let mut status = 200;
    let from: Option<usize> = request
        .range
        .as_ref()
        .and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    if let (Some(from), false) = (from, matches!(fault, Some(Fault::NoRange))) {
        let total = body.len();
        body.drain(..from);
        status = 206;
        headers = format!("content-range: bytes {from}-{}/{total}\r\n", total - 1);
    }
    match fault {
        None | Some(Fault::NoRange) => answer(stream, status, &headers, &body),
        Some(Fault::Status(status)) => answer(stream, status, "", b"no"),
        Some(Fault::Corrupt) => {
            body[0] ^= 1;
            answer(stream, status, &headers, &body);
        }
        Some(Fault::Cut(n) | Fault::Stall(n)) => {
            let length = body.len();
            let _ =
                write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{headers}\r\n");
            let _ = stream.write_all(&body[..n]);
            if let Some(Fault::Stall(_)) = fault {
                std::thread::sleep(Duration::from_secs(20));
            }
        }
    }
}
