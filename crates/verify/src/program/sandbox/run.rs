//! The parent's side of a run: starts the launcher, gives it its orders, reads what comes.

use std::io::Read;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::launcher::{MARK, Role, VARIABLE};
use super::orders::{
    Doing, Failure, Held, Hello, Orders, Places, Report, Start, VERSION, receive, send,
};
use super::tree;
use crate::CannotTell;
use crate::program::language::{Language, Toolchain};
use crate::program::{Limits, Outcome, Status};

/// Who owns nothing, on every Linux.
const NOBODY: u32 = 65534;

/// From here on nobody gives users numbers.
const UNUSED: u32 = 0x7000_0000;

/// How long the launcher may take beyond the program's own time, before it is taken for stuck.
const GRACE: Duration = Duration::from_secs(5);

/// What is the same for all runs of a sandbox.
pub(super) struct Setting<'a> {
    pub launcher: &'a Path,
    pub namespaces: bool,
    pub allow_weaker: bool,
}

/// A directory of this run's on the machine's disk, where there are no mount namespaces.
struct Base(PathBuf);

impl Base {
    fn new() -> Result<Self, Failure> {
        let base = tempfile::Builder::new()
            .prefix("ponder-")
            .tempdir()
            .doing("making a temporary directory")?
            .keep();
        let base = Self(base);
        // The program's user has to pass through, not to look around.
        std::fs::set_permissions(&base.0, std::fs::Permissions::from_mode(0o711))
            .doing("opening the temporary directory")?;
        Ok(base)
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        // Mostly the launcher has done it, even if this process was killed.
        tree::clear(&self.0);
    }
}

fn places(base: Option<&Base>) -> Places {
    let (base, work) = match base {
        Some(Base(base)) => (base.clone(), base.join("tmp")),
        None => (PathBuf::from("/box"), PathBuf::from("/tmp")),
    };
    Places { program: base.join("program"), input: base.join("input"), work }
}

/// Whom a program runs as if this is root: a user no other run has at the same time, so that the
/// kernel counts its processes alone and keeps it from its neighbours; where there aren't as many
/// users, as in a container, the common nobody. Root of a user namespace with nobody else in it is an
/// ordinary user in truth, and there is no one to become.
fn unowned() -> Option<u32> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let next = NEXT.fetch_add(1, Ordering::Relaxed) & 0xfff;
    let user = UNUSED | (std::process::id() & 0xffff) << 12 | next;
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    [user, NOBODY].into_iter().find(|&user| {
        map.lines().any(|line| {
            let numbers = line.split_whitespace().filter_map(|n| n.parse().ok());
            let numbers: Vec<u64> = numbers.collect();
            matches!(numbers[..], [first, _, count] if (first..first + count).contains(&user.into()))
        })
    })
}

/// Takes every step but running a program, and says what holds.
pub(super) fn probe(
    launcher: &Path,
    namespaces: bool,
    allow_weaker: bool,
) -> Result<Held, Failure> {
    let base = if namespaces { None } else { Some(Base::new()?) };
    let places = places(base.as_ref());
    let setting = Setting { launcher, namespaces, allow_weaker };
    let limits = Limits::seconds(5.0);
    let orders = orders(&setting, places, base.as_ref(), &limits);
    let (report, ..) = carry_out(&setting, &orders)?;
    let mut held = report.held;
    if orders.become_user.is_none() {
        // Inside its user namespace it has another number.
        held.user = nix::unistd::geteuid().as_raw();
    }
    Ok(held)
}

fn orders(setting: &Setting<'_>, places: Places, base: Option<&Base>, limits: &Limits) -> Orders {
    Orders {
        namespaces: setting.namespaces,
        allow_weaker: setting.allow_weaker,
        base: base.map(|b| b.0.clone()),
        source: ("empty".to_owned(), String::new()),
        stdin: String::new(),
        compile: None,
        run: Vec::new(),
        environment: Vec::new(),
        readable: Vec::new(),
        become_user: unowned(),
        limits: limits.clone(),
        places,
    }
}

/// Runs one program to its end.
pub(super) fn run(
    setting: &Setting<'_>,
    language: Language,
    toolchain: &Toolchain,
    source: &str,
    stdin: &str,
    limits: &Limits,
) -> Result<Outcome, CannotTell> {
    let begun = Instant::now();
    let go = || {
        let base = if setting.namespaces { None } else { Some(Base::new()?) };
        let places = places(base.as_ref());
        let commands = language.commands(toolchain, &places.program, &places.work, limits.memory);
        let orders = Orders {
            source: (commands.file.to_owned(), source.to_owned()),
            stdin: stdin.to_owned(),
            environment: environment(toolchain, &places.work),
            compile: commands.compile,
            run: commands.run,
            readable: toolchain.readable.clone(),
            ..orders(setting, places, base.as_ref(), limits)
        };
        carry_out(setting, &orders)
    };
    let (report, stdout, stderr) = go().map_err(|failure| CannotTell::Machine {
        what: format!("running {language}"),
        why: failure.0,
    })?;
    Ok(Outcome {
        status: report.status,
        stdout: stdout.text(),
        stderr: stderr.text(),
        seconds: begun.elapsed().as_secs_f64(),
        peak_memory: report.peak_memory,
    })
}

/// All a program sees of the environment.
fn environment(toolchain: &Toolchain, work: &Path) -> Vec<(String, String)> {
    let mut path = "/usr/local/bin:/usr/bin:/bin".to_owned();
    if let Some(own) = toolchain.program.parent() {
        path = format!("{}:{path}", own.display());
    }
    let work = work.display().to_string();
    // The configuration is not among what can be read, and Node gives up if that is forbidden.
    let openssl = ("OPENSSL_CONF", "/dev/null".to_owned());
    let language = ("LANG", "C.UTF-8".to_owned());
    [("PATH", path), ("HOME", work.clone()), ("TMPDIR", work), language, openssl]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
}

/// One of the program's streams, as much of it as is kept.
struct Stream<R> {
    from: Option<R>,
    kept: Vec<u8>,
    most: usize,
}

impl<R: Read> Stream<R> {
    fn new(from: Option<R>, most: u64) -> Self {
        Self { from, kept: Vec::new(), most: usize::try_from(most).unwrap_or(usize::MAX) }
    }

    /// Reads what is there; true if that is more than is kept.
    fn read(&mut self) -> bool {
        let Some(from) = &mut self.from else { return false };
        let mut chunk = [0; 1 << 16];
        match from.read(&mut chunk) {
            Ok(0) | Err(_) => {
                self.from = None;
                false
            }
            Ok(count) => {
                let room = self.most - self.kept.len();
                self.kept.extend(&chunk[..count.min(room)]);
                count > room
            }
        }
    }

    fn text(self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }
}

type Streams = (Report, Stream<std::process::ChildStdout>, Stream<std::process::ChildStderr>);

/// A started launcher, which doesn't outlive this.
struct Launcher(Child);

impl Drop for Launcher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn carry_out(setting: &Setting<'_>, orders: &Orders) -> Result<Streams, Failure> {
    let deadline = Instant::now() + orders.limits.wall + GRACE;
    let (mut socket, theirs) = UnixStream::pair().doing("making sockets")?;
    let child = Command::new(setting.launcher)
        .args([MARK, Role::Outer.name()])
        .env_clear()
        .env(VARIABLE, "1")
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .doing(format_args!("starting the launcher {}", setting.launcher.display()))?;
    let mut launcher = Launcher(child);
    let mut stdout = Stream::new(launcher.0.stdout.take(), orders.limits.output);
    let mut stderr = Stream::new(launcher.0.stderr.take(), orders.limits.output);

    socket.set_read_timeout(Some(GRACE)).doing("limiting the wait")?;
    let hello: Result<Hello, _> = receive(&mut socket);
    if hello != Ok(Hello { launcher: VERSION }) {
        return Err(Failure(format!(
            "{} is no launcher: its main must begin with enter_if_asked()",
            setting.launcher.display()
        )));
    }
    send(&mut socket, &Start { parent: std::process::id(), namespaces: setting.namespaces })?;
    // If the launcher fails before it reads these, why is waiting to be read.
    let sent = send(&mut socket, orders);

    let mut report: Option<Result<Report, Failure>> = None;
    let mut flooded = false;
    while report.is_none() || stdout.from.is_some() || stderr.from.is_some() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let [wants_report, wants_out, wants_err] =
            wait(&socket, report.is_none(), &stdout.from, &stderr.from, left)?;
        // Not both at once with `||`: each has something to read.
        let (out, err) = (wants_out && stdout.read(), wants_err && stderr.read());
        if (out || err) && !flooded {
            flooded = true;
            // The launcher takes this as the sign to end the program.
            let _ = socket.shutdown(Shutdown::Write);
        }
        if wants_report {
            report = Some(receive(&mut socket).and_then(|r| r));
        }
    }
    drop(launcher);
    let mut report = match report {
        Some(Ok(report)) => report,
        Some(Err(failure)) => {
            sent?;
            let said = stderr.text();
            let said = said.lines().last().unwrap_or_default();
            return Err(Failure(if failure.0.starts_with("waiting for a message") {
                format!("the launcher ended without a report: {said}")
            } else {
                failure.0
            }));
        }
        None => return Err(Failure("the launcher didn't end in time".to_owned())),
    };
    if flooded {
        report.status = Status::TooMuchOutput;
    }
    Ok((report, stdout, stderr))
}

/// Waits until one of the three can be read, and says which.
fn wait(
    socket: &UnixStream,
    unreported: bool,
    stdout: &Option<impl AsFd>,
    stderr: &Option<impl AsFd>,
    most: Duration,
) -> Result<[bool; 3], Failure> {
    let sources = [
        unreported.then(|| socket.as_fd()),
        stdout.as_ref().map(AsFd::as_fd),
        stderr.as_ref().map(AsFd::as_fd),
    ];
    let mut polled: Vec<PollFd<'_>> =
        sources.iter().flatten().map(|&fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    let timeout = PollTimeout::try_from(most).unwrap_or(PollTimeout::MAX);
    match poll(&mut polled, timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(error) => return Err(Failure(format!("waiting for the launcher: {error}"))),
    }
    let mut ready = polled.iter().map(|p| p.revents().is_some_and(|what| !what.is_empty()));
    Ok(sources.map(|source| source.is_some() && ready.next().unwrap_or(false)))
}
