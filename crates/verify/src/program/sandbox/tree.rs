//! The processes of a run: what they use, and their end.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, SysconfVar, getpid, sysconf};

/// What the processes use together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Use {
    pub memory: u64,
    pub cpu: Duration,
    pub threads: u64,
}

/// All processes below this one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree {
    /// Whether this is the first process of a namespace, so that all others are below it.
    alone: bool,
    tick: u64,
}

impl Tree {
    pub(super) fn new() -> Self {
        let tick = sysconf(SysconfVar::CLK_TCK).ok().flatten().map_or(100, i64::cast_unsigned);
        Self { alone: getpid().as_raw() == 1, tick: tick.max(1) }
    }

    /// Whether every process that can be seen, but this one, belongs to the run.
    pub(super) fn is_alone(self) -> bool {
        self.alone
    }

    fn members(self) -> Vec<i32> {
        let me = getpid().as_raw();
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        if self.alone {
            return numbers.filter(|&pid| pid != me).collect();
        }
        let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
        for pid in numbers {
            if let Some(parent) = fields(pid).and_then(|f| f.get(1)?.parse().ok()) {
                children.entry(parent).or_default().push(pid);
            }
        }
        let (mut found, mut next) = (Vec::new(), vec![me]);
        while let Some(pid) = next.pop() {
            let below = children.remove(&pid).unwrap_or_default();
            found.extend(&below);
            next.extend(below);
        }
        found
    }

    /// What all use now, and the processor time of those that have been waited for.
    pub(super) fn usage(self) -> Use {
        let mut sum = Use::default();
        let mut ticks = own_children();
        for pid in self.members() {
            let (memory, threads) = status(pid);
            sum.memory += memory;
            sum.threads += threads;
            ticks += fields(pid).map_or(0, |f| number(&f, 11..15));
        }
        sum.cpu = Duration::from_millis(ticks * 1000 / self.tick);
        sum
    }

    /// Takes leave of processes that ended and have nobody else to do it, so that they don't count
    /// any longer. Not of `except`, whose end somebody waits for.
    pub(super) fn bury(self, except: u32) {
        let me = getpid().as_raw();
        for pid in self.members() {
            let dead = fields(pid)
                .is_some_and(|f| f[0] == "Z" && f.get(1).is_some_and(|p| p.parse() == Ok(me)));
            if dead && pid.cast_unsigned() != except {
                let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
            }
        }
    }

    /// Bytes in files that were deleted below `work` and are still open or mapped.
    pub(super) fn deleted(self, work: &Path) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let gone = |path: &str| path.ends_with(" (deleted)") && Path::new(path).starts_with(work);
        let mut files: HashMap<u64, u64> = HashMap::new();
        for pid in self.members() {
            for open in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
                let link = fs::read_link(open.path()).unwrap_or_default();
                if link.to_str().is_some_and(gone)
                    && let Ok(data) = open.path().metadata()
                {
                    files.insert(data.ino(), data.blocks() * 512);
                }
            }
            let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
            for line in maps.lines() {
                let mut words = line.split_whitespace();
                let range = words.next().and_then(|range| range.split_once('-'));
                let Some(inode) = words.nth(3).and_then(|inode| inode.parse().ok()) else {
                    continue;
                };
                let path = line.find('/').map_or("", |start| &line[start..]);
                if let Some((from, to)) = range.filter(|_| gone(path)) {
                    let number = |digits| u64::from_str_radix(digits, 16).unwrap_or(0);
                    // Of the file itself nothing can be seen any more.
                    let size = number(to).saturating_sub(number(from));
                    files
                        .entry(inode)
                        .and_modify(|known| *known = size.max(*known))
                        .or_insert(size);
                }
            }
        }
        files.values().sum()
    }

    /// Kills all processes below this one, and returns when they are gone.
    pub(super) fn kill(self) {
        if self.alone {
            // All the first process of a namespace can see, except itself.
            let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
            while waitpid(None, None) != Err(Errno::ECHILD) {}
            return;
        }
        // Stopped first: whoever is running could start others faster than they are found.
        let mut stopped = HashSet::new();
        loop {
            let new: Vec<i32> =
                self.members().into_iter().filter(|pid| stopped.insert(*pid)).collect();
            if new.is_empty() {
                break;
            }
            for pid in new {
                let _ = kill(Pid::from_raw(pid), Signal::SIGSTOP);
            }
        }
        loop {
            for pid in self.members() {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            // As the nearest reaper, this process inherits whoever loses its parent: when it has
            // no children, there are no descendants.
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Err(Errno::ECHILD) => return,
                Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_millis(1)),
                _ => {}
            }
        }
    }
}

/// Threads of a user's processes, which the kernel counts towards the limit of any one of them.
pub(super) fn threads_of(user: u32) -> u64 {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| {
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        (value(&status, "Uid:")? == u64::from(user)).then(|| value(&status, "Threads:")).flatten()
    })
    .sum()
}

/// The fields of `/proc/PID/stat` after the name, which may contain anything.
fn fields(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn number(fields: &[String], range: std::ops::Range<usize>) -> u64 {
    fields.get(range).into_iter().flatten().filter_map(|f| f.parse::<u64>().ok()).sum()
}

/// Processor time of the children that were waited for, theirs included.
fn own_children() -> u64 {
    fields(getpid().as_raw()).map_or(0, |f| number(&f, 13..15))
}

/// A number in the status of a process, one after the given word.
fn value(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What a process has written to, wherever that is kept now, and the tables that find it; and the
/// number of its threads. Pages of files aren't counted: they can be dropped, or lie on a file
/// system with a limit of its own.
fn status(pid: i32) -> (u64, u64) {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return (0, 0) };
    let counted = ["RssAnon:", "RssShmem:", "VmSwap:", "VmPTE:"];
    let memory = counted.iter().filter_map(|name| value(&status, name)).sum::<u64>() << 10;
    (memory, value(&status, "Threads:").unwrap_or(0))
}

/// Bytes and entries below a directory, without following links. Counted no further than to more
/// than `enough` entries: directories without end would take as long.
pub(super) fn disk(path: &Path, enough: u64) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let (mut bytes, mut files, mut next) = (0, 0, vec![path.to_owned()]);
    while let Some(directory) = next.pop().filter(|_| files <= enough) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(data) = entry.metadata() else { continue };
            bytes += data.blocks() * 512;
            files += 1;
            if data.is_dir() {
                next.push(entry.path());
            }
        }
    }
    (bytes, files)
}

/// Deletes a directory whatever a program has done to it: forbidden, or nested without end.
pub(super) fn clear(base: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if fs::remove_dir_all(base).is_ok() || !base.exists() {
        return;
    }
    let mut next = vec![base.to_owned()];
    let mut emptied = Vec::new();
    let mut count = 0_u64;
    while let Some(directory) = next.pop() {
        let _ = fs::set_permissions(&directory, fs::Permissions::from_mode(0o700));
        // Listed before anything is moved into the directory being listed.
        let entries: Vec<_> = fs::read_dir(&directory).into_iter().flatten().flatten().collect();
        for entry in entries {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                // Brought up to the top, so that no path grows long.
                let _ = fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o700));
                let top = base.join(format!(".cleared-{count}"));
                count += 1;
                if fs::rename(entry.path(), &top).is_ok() {
                    next.push(top);
                }
            } else {
                let _ = fs::remove_file(entry.path());
            }
        }
        emptied.push(directory);
    }
    for directory in emptied.iter().rev() {
        let _ = fs::remove_dir(directory);
    }
}
