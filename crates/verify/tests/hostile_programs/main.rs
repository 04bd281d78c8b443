//! Programs that try to get out, or to take the machine down, and what must have come of it.
//!
//! Every case is checked from outside: a canary in a fake home that everyone on the machine may
//! write to, listening sockets, a bystander process of the same user, the processes and temporary
//! files left, and the time it took. A program that gets what it wants says so, too (`ESCAPED`).

#![cfg(target_os = "linux")]

#[path = "../common/mod.rs"]
mod common;

mod bombs;
mod escapes;

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use verify::program::{Language, Limits, Outcome, Sandbox, Status};

/// What containment means for a case, beyond what is checked for all of them.
#[derive(Clone, Copy, Debug)]
pub enum Contained {
    /// The program got to its end, was refused everything, and says `tried`.
    Refused,
    /// It was ended for this reason.
    Ended(Status),
    /// It was refused or ended: where a limit is met depends on timing.
    Either,
}

/// A program, and what must come of it. Its source may name what is outside: see [`Outside::prepare`].
pub struct Case {
    /// What it tries.
    pub name: &'static str,
    /// What it is written in.
    pub language: Language,
    /// The program.
    pub source: &'static str,
    /// What must come of it.
    pub contained: Contained,
}

const SECRET: &str = "canary-7d1f0a";

/// What programs must not touch.
struct Outside {
    home: tempfile::TempDir,
    modified: std::time::SystemTime,
    tcp: TcpListener,
    udp: UdpSocket,
    unix: UnixListener,
    bystander: Child,
    temporary: BTreeSet<PathBuf>,
}

fn temporary() -> BTreeSet<PathBuf> {
    let all = fs::read_dir(std::env::temp_dir()).unwrap().flatten().map(|e| e.path());
    all.filter(|p| p.file_name().unwrap().to_string_lossy().starts_with("ponder-")).collect()
}

impl Outside {
    fn new() -> Self {
        let temporary = temporary();
        let home = tempfile::Builder::new().prefix("hostile-").tempdir().unwrap();
        // Nothing but the sandbox shall stand in the way.
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let canary = home.path().join("canary");
        fs::write(&canary, SECRET).unwrap();
        fs::set_permissions(&canary, fs::Permissions::from_mode(0o666)).unwrap();
        let modified = canary.metadata().unwrap().modified().unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        tcp.set_nonblocking(true).unwrap();
        let udp = UdpSocket::bind(tcp.local_addr().unwrap()).unwrap();
        udp.set_nonblocking(true).unwrap();
        let unix = UnixListener::bind(home.path().join("socket")).unwrap();
        fs::set_permissions(home.path().join("socket"), fs::Permissions::from_mode(0o777)).unwrap();
        unix.set_nonblocking(true).unwrap();
        let bystander = Command::new("sleep").arg("1000").spawn().unwrap();
        Self { home, modified, tcp, udp, unix, bystander, temporary }
    }

    /// The source with what it may want to know about the outside.
    fn prepare(&self, source: &str) -> String {
        source
            .replace("{home}", &self.home.path().display().to_string())
            .replace("{port}", &self.tcp.local_addr().unwrap().port().to_string())
            .replace("{parent}", &std::process::id().to_string())
            .replace("{bystander}", &self.bystander.id().to_string())
    }

    fn check(&self) -> Result<(), String> {
        let canary = self.home.path().join("canary");
        let data = canary.metadata().map_err(|e| format!("the canary is gone: {e}"))?;
        if fs::read(&canary).unwrap() != SECRET.as_bytes() {
            return Err("the canary's content was changed".into());
        }
        if data.modified().unwrap() != self.modified || data.permissions().mode() & 0o777 != 0o666 {
            return Err("the canary's times or mode were changed".into());
        }
        let names: BTreeSet<_> =
            fs::read_dir(self.home.path()).unwrap().flatten().map(|e| e.file_name()).collect();
        if names.len() != 2 {
            return Err(format!("files appeared in the fake home: {names:?}"));
        }
        let would_block = |error: std::io::Error| error.kind() == ErrorKind::WouldBlock;
        if !self.tcp.accept().is_err_and(would_block) {
            return Err("a TCP connection arrived".into());
        }
        if !self.udp.recv(&mut [0; 9]).is_err_and(would_block) {
            return Err("a datagram arrived".into());
        }
        if !self.unix.accept().is_err_and(would_block) {
            return Err("a connection to a socket file arrived".into());
        }
        let pid = self.bystander.id();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let nice = rest.split(' ').nth(16);
        if !rest.starts_with('S') || nice != Some(&own_nice()) {
            return Err(format!("the bystander was touched: {stat:?}"));
        }
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
        if limits.lines().any(|l| l.starts_with("Max cpu time") && !l.contains("unlimited")) {
            return Err("the bystander's limits were changed".into());
        }
        Ok(())
    }

    /// What is left after all: nothing may be.
    fn check_remains(&self) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let processes = survivors();
            let files: Vec<_> = temporary().difference(&self.temporary).cloned().collect();
            if processes.is_empty() && files.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > Duration::from_secs(2) {
                return Err(format!("left behind: {processes:?} {files:?}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.bystander.kill();
        let _ = self.bystander.wait();
    }
}

fn own_nice() -> String {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(16).unwrap().to_owned()
}

/// Processes of launchers and programs, by what their command lines show. The programs that leave
/// others behind let them sleep for 31xx seconds, as nobody else does.
fn survivors() -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| {
        entry.file_name().to_str()?.parse::<u32>().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let ours = line.contains("sandbox-launcher") && !line.contains("rustc")
            || line.contains("/program/main.")
            || line.starts_with("/tmp/main ")
            || line.contains("sleep 31");
        ours.then(|| format!("{}: {line}", entry.file_name().display()))
    })
    .collect()
}

fn limits() -> Limits {
    Limits {
        wall: Duration::from_millis(2500),
        cpu: Duration::from_millis(1500),
        memory: 200 << 20,
        processes: 32,
        disk: 16 << 20,
        files: 500,
        output: 64 << 10,
    }
}

fn judge(case: &Case, outcome: &Outcome) -> Result<(), String> {
    let said = format!("{}\n{}", outcome.stdout, outcome.stderr);
    if said.contains("ESCAPED") || said.contains(SECRET) {
        return Err("the program got what it wanted".into());
    }
    // Half a second for a machine that is busy with other cases.
    if outcome.seconds > limits().wall.as_secs_f64() + 1.0 {
        return Err("it took too long to end".into());
    }
    let most = limits().output as usize * 3;
    if outcome.stdout.len() > most || outcome.stderr.len() > most {
        return Err("too much output was kept".into());
    }
    // What is written between two looks, which a busy machine makes late, and the last of it.
    if outcome.peak_memory > limits().memory * 3 {
        return Err("it had far more memory than allowed".into());
    }
    let refused = outcome.status == Status::Exited(0) && outcome.stdout.contains("tried");
    let right = match case.contained {
        Contained::Refused => refused,
        // On a busy machine the clock may be first.
        Contained::Ended(Status::OutOfCpu) => {
            [Status::OutOfCpu, Status::OutOfTime].contains(&outcome.status)
        }
        Contained::Ended(status) => outcome.status == status,
        Contained::Either => refused || outcome.status != Status::Exited(0),
    };
    if right { Ok(()) } else { Err(format!("not {:?}", case.contained)) }
}

/// Runs all cases, two at a time.
fn run_all(no_namespaces: bool) {
    let sandbox: Sandbox = common::sandbox(no_namespaces);
    let outside = Outside::new();
    let cases: Vec<&Case> = escapes::CASES.iter().chain(bombs::CASES).collect();
    let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len(), "two cases of one name");
    assert!(cases.len() >= 40, "the suite has shrunk");
    let only = std::env::var("HOSTILE_CASE").ok();
    let next = Mutex::new(cases.into_iter().filter(|c| only.as_ref().is_none_or(|o| o == c.name)));
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(case) = next.lock().unwrap().next() else { return };
                    if let Err(why) = sandbox.has(case.language) {
                        println!("skipped {}: {why}", case.name);
                        continue;
                    }
                    let source = outside.prepare(case.source);
                    let outcome = sandbox.run(case.language, &source, "", &limits()).unwrap();
                    let judged = judge(case, &outcome).and_then(|()| outside.check());
                    let (status, seconds) = (outcome.status, outcome.seconds);
                    println!(
                        "{}: {status}, {seconds:.2} s, {} MB",
                        case.name,
                        outcome.peak_memory >> 20
                    );
                    if let Err(why) = judged {
                        failures.lock().unwrap().push(format!("{}: {why}: {outcome:?}", case.name));
                    }
                }
            });
        }
    });
    if let Err(why) = outside.check_remains() {
        failures.lock().unwrap().push(why);
    }
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// One test, not two: what is left behind by one must not be looked for during the other.
#[test]
fn everything_is_contained_with_and_without_namespaces() {
    run_all(false);
    run_all(true);
}
