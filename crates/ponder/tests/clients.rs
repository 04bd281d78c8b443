//! The official clients of OpenAI and Anthropic, and an agent framework, work with `ponder serve`
//! unchanged, on the real default model: runs `clients/test_clients.py`.
//!
//! `PONDER_TEST_PYTHON` names a Python that has what `clients/requirements.txt` lists.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use weights::store::Store;

/// Stopped when dropped, whatever happens to the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn official_clients_work_unchanged() {
    let Some(python) = std::env::var_os("PONDER_TEST_PYTHON") else {
        eprintln!("skipped: PONDER_TEST_PYTHON is not set; see clients/requirements.txt");
        return;
    };
    let name = "qwen2.5-coder-0.5b";
    if Store::from_env().unwrap().installed(name).unwrap().is_none() {
        eprintln!("skipped: `ponder pull {name}` fetches the model");
        return;
    }
    let mut server = Command::new(env!("CARGO_BIN_EXE_ponder"))
        .args(["serve", "--offline", "-m", name, "--port", "0", "--ctx", "4096"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(server.stderr.take().unwrap()).lines();
    let server = Server(server);
    let mut said = Vec::new();
    let mut url = None;
    for line in lines {
        let line = line.unwrap();
        let at = line.split_whitespace().find(|word| word.starts_with("http://"));
        url = at.map(str::to_owned);
        said.push(line);
        if url.is_some() {
            break;
        }
    }
    let url = url.unwrap_or_else(|| panic!("the server did not come up: {said:?}"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/test_clients.py");
    let status = Command::new(python)
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
        .arg(script)
        .env("PONDER_URL", url)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .status()
        .unwrap();
    drop(server);
    assert!(status.success());
}
