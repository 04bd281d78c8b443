//! The last stage: gives up one right after the other, and becomes the program.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus,
    PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr, Scope, path_beneath_rules,
};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::SigSet;
use nix::unistd::{Gid, Uid, getegid, geteuid, setgroups, setresgid, setresuid, setsid};

use super::launcher::map_user;
use super::orders::{Confinement, Doing, Failure, Held, receive, send};
use super::syscalls::{self, Surroundings};
use crate::program::Limits;
use crate::program::language::SYSTEM;

/// The newest version of Landlock whose rights are asked for; an older kernel grants those it knows.
const NEWEST: ABI = ABI::V10;

/// What a single process may have beyond the limit of memory, because the kernel counts room that
/// was only reserved: stacks of threads, heaps that are mostly empty.
const RESERVED: u64 = 256 << 20;

/// Becomes what the orders say, or reports why not.
pub(super) fn run(socket: &mut UnixStream) -> Result<(), Failure> {
    let orders: Confinement = receive(socket)?;
    // Opened while that is still allowed. The program must not find it by name.
    let ready = File::open(&orders.places.input)
        .doing("opening the input")
        .and_then(|input| Ok((confine(&orders, &input)?, input)));
    let (held, input) = match ready {
        Ok(ready) => ready,
        Err(failure) => {
            send(socket, &Err::<Held, _>(failure.clone()))?;
            return Err(failure);
        }
    };
    send(socket, &Ok::<_, Failure>(held))?;
    let _: bool = receive(socket)?;
    let Some((program, arguments)) = orders.command.split_first() else { return Ok(()) };
    let error = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(orders.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&orders.places.work)
        .stdin(input)
        .exec();
    let failure = Failure(format!("starting {program}: {error}"));
    send(socket, &failure)?;
    Err(failure)
}

fn confine(orders: &Confinement, input: &File) -> Result<Held, Failure> {
    let mut held = Held { namespaces: orders.namespaces, ..Held::default() };
    let mut missing = Vec::new();

    // The parent blocked one, and what is blocked stays so.
    SigSet::empty().thread_set_mask().doing("unblocking signals")?;
    setsid().doing("starting a session")?;
    // If memory runs out in spite of all, let it be this one.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");

    if let Some(user) = orders.become_user
        && let Err(failure) = become_user(user)
    {
        missing.push(failure.0);
    }
    if orders.namespaces || geteuid().is_root() {
        let (user, group) = (geteuid().as_raw(), getegid().as_raw());
        // In there its processes are counted alone, and whatever rights it had outside are none.
        if unshare(CloneFlags::CLONE_NEWUSER).is_ok() {
            map_user(1000, user, 1000, group)?;
            held.user_namespace = true;
        } else if orders.become_user.is_none() {
            missing.push("a user namespace to give up rights in".to_owned());
        }
    }
    held.user = orders.become_user.unwrap_or(geteuid().as_raw());
    limit(&orders.limits, orders.others)?;
    nix::sys::prctl::set_no_new_privs().doing("giving up new privileges")?;

    match landlock(orders, input) {
        Ok(0) => {
            missing.push("Landlock (Linux 5.13 or later, in the kernel's list of LSMs)".into())
        }
        // Before version 3 a file that may be read may also be cut off.
        Ok(version) if version < 3 && !orders.namespaces => {
            held.landlock = version;
            missing.push("Landlock 3 (Linux 6.2), as there are no namespaces".into());
        }
        Ok(version) => held.landlock = version,
        Err(failure) => missing.push(format!("Landlock ({failure})")),
    }
    let surroundings = Surroundings {
        alone: orders.namespaces,
        me: std::process::id(),
        scoped_signals: held.landlock >= 6,
    };
    match syscalls::restrict(surroundings) {
        Ok(()) => held.seccomp = true,
        Err(failure) => missing.push(format!("seccomp ({failure})")),
    }
    if missing.is_empty() || orders.allow_weaker {
        Ok(held)
    } else {
        Err(Failure(format!("this kernel doesn't give: {}", missing.join("; "))))
    }
}

/// From root to somebody who owns nothing.
fn become_user(user: u32) -> Result<(), Failure> {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    setgroups(&[]).doing("leaving root's groups")?;
    setresgid(gid, gid, gid).doing("leaving root's group")?;
    setresuid(uid, uid, uid).doing("becoming another user")?;
    // Changing users made this process opaque, even to itself: it has to write its user map.
    nix::sys::prctl::set_dumpable(true).doing("opening this process to itself")
}

fn limit(limits: &Limits, others: u64) -> Result<(), Failure> {
    let cpu = limits.cpu.as_secs() + u64::from(limits.cpu.subsec_nanos() > 0);
    let settings = [
        // A signal at the first, the end at the second.
        (Resource::RLIMIT_CPU, cpu.max(1), cpu.max(1) + 1),
        (Resource::RLIMIT_DATA, limits.memory.saturating_add(RESERVED), u64::MAX),
        (Resource::RLIMIT_NPROC, limits.processes.saturating_add(others), u64::MAX),
        (Resource::RLIMIT_FSIZE, limits.disk, u64::MAX),
        (Resource::RLIMIT_STACK, 8 << 20, 64 << 20),
        (Resource::RLIMIT_NOFILE, 256, u64::MAX),
        (Resource::RLIMIT_CORE, 0, u64::MAX),
        (Resource::RLIMIT_MEMLOCK, 0, u64::MAX),
        (Resource::RLIMIT_MSGQUEUE, 0, u64::MAX),
        (Resource::RLIMIT_SIGPENDING, 256, u64::MAX),
        (Resource::RLIMIT_RTPRIO, 0, u64::MAX),
        (Resource::RLIMIT_NICE, 0, u64::MAX),
    ];
    for (resource, soft, hard) in settings {
        let (_, most) = getrlimit(resource).doing(format_args!("reading {resource:?}"))?;
        // `u64::MAX` stands for the same as the soft limit.
        let hard = if hard == u64::MAX { soft } else { hard };
        setrlimit(resource, soft.min(most), hard.min(most))
            .doing(format_args!("setting {resource:?}"))?;
    }
    Ok(())
}

/// Files: those of the system and the toolchain to read, the private directory to write. Network,
/// and signals to whoever isn't confined along, not at all. Returns the version that is in force.
fn landlock(orders: &Confinement, input: &File) -> Result<u32, Failure> {
    let read = AccessFs::from_read(NEWEST);
    let write = AccessFs::from_all(NEWEST)
        & !(AccessFs::MakeBlock | AccessFs::MakeChar | AccessFs::IoctlDev);
    let use_device: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::WriteFile;
    let system = SYSTEM.iter().map(Path::new);
    let own = orders.readable.iter().map(std::path::PathBuf::as_path);
    let mut readable: Vec<&Path> = system.chain(own).collect();
    readable.push(&orders.places.program);
    readable.extend(["/dev/random", "/dev/urandom"].map(Path::new));
    if orders.namespaces {
        // Outside of a namespace it shows other programs.
        readable.push(Path::new("/proc"));
    }
    let build = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(AccessNet::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?
            .create()?
            .add_rules(path_beneath_rules(readable, read))?
            .add_rules(path_beneath_rules(["/dev/null", "/dev/full"], use_device))?
            .add_rules(path_beneath_rules([&orders.places.work], write))?
            // For opening it again as `/dev/stdin`.
            .add_rule(PathBeneath::new(input.as_fd(), AccessFs::ReadFile))?
            .restrict_self()
    };
    let status = build().doing("restricting files")?;
    Ok(match status.landlock {
        LandlockStatus::Available { effective_abi, kernel_abi } => {
            kernel_abi.unwrap_or(effective_abi as i32).cast_unsigned()
        }
        _ => 0,
    })
}
