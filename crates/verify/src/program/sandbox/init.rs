//! The stage that watches: it prepares the place, starts the program, and ends whatever is left.

use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, chown, geteuid};

use super::launcher::{Role, die_with_outer};
use super::orders::{Confinement, Doing, Failure, Held, Orders, Report, receive, send};
use super::tree::{self, Tree};
use super::{mounts, tree::Use};
use crate::program::Status;

/// How often the program's use of memory, time and disk is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Carries out the orders that come through the socket, and reports through it.
pub(super) fn run(socket: &mut UnixStream) -> Result<(), Failure> {
    let begun = Instant::now();
    let tree = Tree::new();
    if tree.is_alone() {
        die_with_outer()?;
    }
    let orders: Orders = match receive(socket) {
        Ok(orders) => orders,
        Err(failure) => {
            let _ = send(socket, &Err::<Report, _>(failure.clone()));
            return Err(failure);
        }
    };
    let report = carry_out(&orders, tree, socket, begun);
    tree.kill();
    if let Some(base) = &orders.base {
        tree::clear(base);
    }
    // Where the parent is gone nobody listens, and all is done.
    let _ = send(socket, &report);
    Ok(())
}

fn carry_out(
    orders: &Orders,
    tree: Tree,
    socket: &UnixStream,
    begun: Instant,
) -> Result<Report, Failure> {
    if orders.namespaces != tree.is_alone() {
        return Err(Failure("the launcher is not where its orders say".to_owned()));
    }
    prepare(orders)?;
    // Ends of children come as something that can be waited for along with the socket.
    let mut ends = SigSet::empty();
    ends.add(Signal::SIGCHLD);
    ends.thread_block().doing("blocking a signal")?;
    let ends = SignalFd::with_flags(&ends, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .doing("listening for ends")?;

    let mut watch = Watch { orders, tree, socket, ends, begun, peak: 0 };
    if let Some(compile) = &orders.compile {
        let (child, held) = start(orders, compile, false)?;
        let status = watch.until_end(child);
        tree.kill();
        match status {
            Status::Exited(0) => {}
            Status::Exited(_) => return Ok(watch.report(Status::NotCompiled, held)),
            other => return Ok(watch.report(other, held)),
        }
        if !orders.namespaces {
            // There the linker could not mark its result as a program.
            let _ = orders
                .run
                .first()
                .map(|binary| fs::set_permissions(binary, fs::Permissions::from_mode(0o755)));
        }
    }
    let (child, held) = start(orders, &orders.run, true)?;
    let status = watch.until_end(child);
    tree.kill();
    Ok(watch.report(status, held))
}

fn prepare(orders: &Orders) -> Result<(), Failure> {
    umask(Mode::from_bits_truncate(0o022));
    let places = &orders.places;
    if orders.namespaces {
        mounts::enter(orders)?;
        nix::unistd::sethostname("sandbox").doing("naming the machine")?;
    } else {
        for place in [&places.program, &places.work] {
            fs::create_dir_all(place).doing(format_args!("making {}", place.display()))?;
        }
        fs::set_permissions(&places.work, fs::Permissions::from_mode(0o700))
            .doing("closing the private directory")?;
        if let Some(user) = orders.become_user {
            let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
            let given = chown(&places.work, Some(uid), Some(gid));
            // With less isolation it stays with root, as the program does.
            if let (Err(error), false) = (given, orders.allow_weaker) {
                return Err(Failure(format!(
                    "making another user than root of the program, which takes CAP_CHOWN, \
                     CAP_SETUID and CAP_SETGID: {error}"
                )));
            }
        }
    }
    let (name, source) = &orders.source;
    fs::write(places.program.join(name), source).doing("writing the source")?;
    fs::write(&places.input, &orders.stdin).doing("writing the input")
}

/// Starts a command, confined. For the last one its input is taken out of sight and the root sealed.
fn start(orders: &Orders, command: &[String], last: bool) -> Result<(Child, Held), Failure> {
    let (mut ours, theirs) = UnixStream::pair().doing("making sockets")?;
    let child = Role::Confine
        .command()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .doing("starting the last stage")?;
    let shared = !orders.namespaces || !nested_users();
    let others =
        if shared { tree::threads_of(orders.become_user.unwrap_or(geteuid().as_raw())) } else { 0 };
    let confinement = Confinement {
        namespaces: orders.namespaces,
        allow_weaker: orders.allow_weaker,
        places: orders.places.clone(),
        command: command.to_vec(),
        environment: orders.environment.clone(),
        readable: orders.readable.clone(),
        become_user: orders.become_user,
        limits: orders.limits.clone(),
        others,
    };
    send(&mut ours, &confinement)?;
    let held = receive::<Result<Held, Failure>>(&mut ours)??;
    if last {
        fs::remove_file(&orders.places.input).doing("hiding the input")?;
        if orders.namespaces {
            mounts::seal()?;
        }
    }
    send(&mut ours, &true)?;
    // The other end closes when the program has taken the launcher's place.
    let mut said = Vec::new();
    ours.read_to_end(&mut said).doing("waiting for the program to start")?;
    if said.is_empty() { Ok((child, held)) } else { Err(receive(&mut said.as_slice())?) }
}

/// Whether the program will be in a user namespace of its own, where its processes count alone.
fn nested_users() -> bool {
    fs::read_to_string("/proc/sys/user/max_user_namespaces").map_or(true, |max| max.trim() != "0")
}

struct Watch<'a> {
    orders: &'a Orders,
    tree: Tree,
    socket: &'a UnixStream,
    ends: SignalFd,
    begun: Instant,
    peak: u64,
}

impl Watch<'_> {
    /// Waits for the program's end, or for a reason to end it.
    fn until_end(&mut self, mut child: Child) -> Status {
        loop {
            while let Ok(Some(_)) = self.ends.read_signal() {}
            match child.try_wait() {
                Ok(Some(status)) => return self.ended(status),
                Ok(None) => {}
                Err(_) => return Status::Signalled(Signal::SIGKILL as i32),
            }
            if let Some(reason) = self.look() {
                return reason;
            }
            self.tree.bury(child.id());
            let left = self.orders.limits.wall.saturating_sub(self.begun.elapsed());
            if left.is_zero() {
                return Status::OutOfTime;
            }
            let pause = left.min(LOOK).max(Duration::from_millis(1));
            let mut sources = [
                PollFd::new(self.ends.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            ];
            let timeout = PollTimeout::try_from(pause).unwrap_or(PollTimeout::from(10_u8));
            if poll(&mut sources, timeout).is_ok()
                && sources[1].revents().is_some_and(|what| !what.is_empty())
            {
                // Whoever ordered the run has read enough, or is gone.
                return Status::TooMuchOutput;
            }
        }
    }

    fn ended(&self, status: std::process::ExitStatus) -> Status {
        let Some(signal) = status.signal() else {
            return Status::Exited(status.code().unwrap_or(-1));
        };
        let spent = self.tree.usage().cpu >= self.orders.limits.cpu;
        if signal == Signal::SIGXCPU as i32 || (spent && signal == Signal::SIGKILL as i32) {
            Status::OutOfCpu
        } else {
            Status::Signalled(signal)
        }
    }

    fn look(&mut self) -> Option<Status> {
        let limits = &self.orders.limits;
        let Use { memory, cpu, threads } = self.tree.usage();
        self.peak = self.peak.max(memory);
        if memory > limits.memory {
            return Some(Status::OutOfMemory);
        }
        if cpu > limits.cpu {
            return Some(Status::OutOfCpu);
        }
        if threads > limits.processes {
            return Some(Status::TooManyProcesses);
        }
        if !self.orders.namespaces {
            let work = &self.orders.places.work;
            let (bytes, files) = tree::disk(work, limits.files);
            if bytes + self.tree.deleted(work) > limits.disk || files > limits.files {
                return Some(Status::OutOfDisk);
            }
        }
        None
    }

    fn report(&self, status: Status, held: Held) -> Report {
        // What ended between two looks is known to the kernel.
        let largest = getrusage(UsageWho::RUSAGE_CHILDREN)
            .map_or(0, |usage| usage.max_rss().cast_unsigned() << 10);
        Report { status, peak_memory: self.peak.max(largest), held }
    }
}
