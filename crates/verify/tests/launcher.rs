//! The launcher when things go wrong: orders that are none, a parent that is killed, a stranger.

#![cfg(target_os = "linux")]

mod common;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use verify::CannotTell;
use verify::program::sandbox::{Options, Sandbox};

const LAUNCHER: &str = env!("CARGO_BIN_EXE_sandbox-launcher");

#[test]
fn bad_orders_are_an_error_and_no_panic() {
    let framed = |text: &str| {
        let mut bytes = u32::try_from(text.len()).unwrap().to_le_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes
    };
    let orders: Vec<Vec<u8>> = vec![
        Vec::new(),
        vec![1],
        vec![255; 4],
        vec![255; 400],
        vec![0; 4],
        framed("{}"),
        framed("null"),
        framed("[1, 2"),
        framed("\"\u{0}\""),
        framed("{\"parent\": 1, \"namespaces\": true}"),
        framed("{\"parent\": 1, \"namespaces\": false}"),
        framed("{\"parent\": -1, \"namespaces\": \"yes\"}"),
        framed(&"[".repeat(100_000)),
    ];
    let roles: [&[&str]; 5] = [&["outer"], &["init"], &["confine"], &["nobody"], &[]];
    for role in roles {
        for order in &orders {
            let mut child = Command::new(LAUNCHER)
                .arg("--ponder-sandbox-launcher")
                .args(role)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            // It may have ended before all is written.
            let _ = child.stdin.take().unwrap().write_all(order);
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{role:?} {order:?}: {said}");
            assert!(said.starts_with("sandbox launcher: "), "{role:?} {order:?}: {said}");
        }
    }
}

#[test]
fn a_binary_that_is_no_launcher_is_noticed() {
    for stranger in ["/bin/true", "/bin/cat", "/nowhere/launcher"] {
        let options = Options { launcher: Some(PathBuf::from(stranger)), ..Options::default() };
        let error = Sandbox::new(options).unwrap_err();
        assert!(
            matches!(&error, CannotTell::Machine { why, .. } if why.contains(stranger)),
            "{error}"
        );
    }
}

fn running(words: &str) -> bool {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.map(|l| String::from_utf8_lossy(&l).replace('\0', " ")).any(|line| line == words)
}

fn until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what}: not in time");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn nothing_outlives_a_parent_that_is_killed() {
    // A directory for temporary files of its own shows what is left in it.
    let temporary = tempfile::tempdir().unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(temporary.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    for (mode, seconds) in [(None, 4001), (Some("no-namespaces"), 4003)] {
        let (sleep, daemon) = (format!("sleep {seconds} "), format!("sleep {} ", seconds + 1));
        let source = format!("setsid {daemon}& {sleep}");
        let mut parent = Command::new(LAUNCHER)
            .args(["run", "shell", &source])
            .args(mode)
            .env("TMPDIR", temporary.path())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("starting", || running(&sleep) && running(&daemon));
        parent.kill().unwrap();
        parent.wait().unwrap();
        until("ending", || !running(&sleep) && !running(&daemon));
        until("tidying", || std::fs::read_dir(temporary.path()).unwrap().next().is_none());
    }
}
