//! The launcher: this same binary, started again, which confines itself and becomes the program.
//!
//! Confining a process takes steps between `fork` and `exec`, which safe Rust can't take. So each
//! step that needs a new process is a start of this binary in another role:
//!
//! 1. *outer* takes new namespaces and starts
//! 2. *init*, the first process of the new process namespace, which builds the file system, watches
//!    over the program and, in ending, takes every process in there with it; it starts
//! 3. *confine*, which gives up users, limits, files and system calls one after the other and then
//!    executes the program in its place.
//!
//! Where there are no namespaces, outer becomes init itself.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::unistd::{getegid, geteuid, getppid};

use super::orders::{Doing, Failure, Hello, Start, VERSION, receive, send};
use super::{confine, init};

/// What the first argument of a launcher is. It is no secret: who starts the launcher by hand only
/// confines a program of his own.
pub(super) const MARK: &str = "--ponder-sandbox-launcher";

/// The variable that every launcher has in its environment, so that a binary which was taken for
/// one but isn't can't start launchers in its turn.
pub(super) const VARIABLE: &str = "PONDER_SANDBOX_LAUNCHER";

/// A stage of the launcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Outer,
    Init,
    Confine,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Outer => "outer",
            Self::Init => "init",
            Self::Confine => "confine",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Outer, Self::Init, Self::Confine].into_iter().find(|role| role.name() == name)
    }

    /// A command that starts this binary in the role. The link in `/proc` works even where the
    /// binary's path doesn't: after it was replaced, and inside the new file system.
    pub(super) fn command(self) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.args([MARK, self.name()]).env_clear().env(VARIABLE, "1");
        command
    }
}

/// Becomes the launcher if the process was started as one, and then doesn't return. To be called
/// first thing in `main` of any binary that uses the [`Sandbox`](super::Sandbox), before there are
/// threads.
pub fn enter_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != MARK) {
        return;
    }
    let role = arguments.next().and_then(|name| Role::named(name.to_str()?));
    let role = role.ok_or_else(|| Failure("there is no such role".to_owned()));
    let code = match role.and_then(enter) {
        Ok(()) => 0,
        Err(failure) => {
            // Whoever listens was told already, if there was a way to.
            let _ = writeln!(std::io::stderr(), "sandbox launcher: {failure}");
            2
        }
    };
    std::process::exit(code);
}

fn enter(role: Role) -> Result<(), Failure> {
    close_strangers();
    // Not stdin itself but a copy that closes on exec: the end of whoever holds it can be seen.
    let descriptor = std::io::stdin().as_fd().try_clone_to_owned().doing("opening the orders")?;
    let mut socket = UnixStream::from(descriptor);
    match role {
        Role::Outer => outer(socket),
        Role::Init => init::run(&mut socket),
        Role::Confine => confine::run(&mut socket),
    }
}

/// Closes what was inherited by mistake: a parent's files, opened by code that didn't mark them.
fn close_strangers() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<i32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|&d| d > 2) {
        // The listing's own descriptor is closed by now: an error is expected for that one.
        let _ = nix::unistd::close(descriptor);
    }
}

fn outer(mut socket: UnixStream) -> Result<(), Failure> {
    send(&mut socket, &Hello { launcher: VERSION })?;
    let start: Start = receive(&mut socket)?;
    if !start.namespaces {
        // This process has to outlive a parent that is killed, to tidy up: it will see the socket
        // close. Inside namespaces the kernel tidies up.
        nix::sys::prctl::set_child_subreaper(true).doing("becoming the tree's reaper")?;
        return init::run(&mut socket);
    }
    die_with_parent(start.parent)?;
    if let Err(failure) = take_namespaces() {
        send(&mut socket, &Err::<(), _>(failure.clone()))?;
        return Err(failure);
    }
    let child = Role::Init
        .command()
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(socket.try_clone().doing("a socket")?)))
        .spawn();
    match child.doing("starting the first process of the new namespaces") {
        Ok(mut child) => {
            drop(socket);
            child.wait().doing("waiting").map(drop)
        }
        Err(failure) => {
            send(&mut socket, &Err::<(), _>(failure.clone()))?;
            Err(failure)
        }
    }
}

/// Has the kernel kill this process when its parent ends, and makes sure it hasn't ended already.
fn die_with_parent(parent: u32) -> Result<(), Failure> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).doing("tying this process to its parent")?;
    if getppid().as_raw().cast_unsigned() == parent {
        Ok(())
    } else {
        Err(Failure("the parent is gone".to_owned()))
    }
}

fn take_namespaces() -> Result<(), Failure> {
    let all = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    let (user, group) = (geteuid(), getegid());
    // Root may do all this without a user namespace, and keeps the right to become nobody.
    if user.is_root() && unshare(all).is_ok() {
        return Ok(());
    }
    unshare(all | CloneFlags::CLONE_NEWUSER).doing("taking new namespaces")?;
    map_user(0, user.as_raw(), 0, group.as_raw())
}

/// Says who this process is inside the user namespace it has just made.
pub(super) fn map_user(
    user: u32,
    outside: u32,
    group: u32,
    outside_group: u32,
) -> Result<(), Failure> {
    let write = |file: &str, text: String| {
        std::fs::write(format!("/proc/self/{file}"), text).doing(format!("writing {file}"))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("{user} {outside} 1"))?;
    write("gid_map", format!("{group} {outside_group} 1"))
}

/// For the first process of a process namespace, whose parent has no number in there.
pub(super) fn die_with_outer() -> Result<(), Failure> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).doing("tying this process to its parent")
}
