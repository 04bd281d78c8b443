//! A file system of the program's own: what it may read, a directory it may write to, no more.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::{FsFlags, statvfs};

use super::orders::{Doing, Failure, Orders};
use crate::program::language::SYSTEM;

/// Devices a program gets. Not `/dev/zero`: shared memory mapped from it would be seen by no limit.
const DEVICES: [&str; 4] = ["null", "full", "random", "urandom"];

/// Makes a new root in memory, and leaves the old one behind. The caller must be the first process
/// of a process namespace, in a mount namespace of its own.
pub(super) fn enter(orders: &Orders) -> Result<(), Failure> {
    // Nothing mounted from here on may show outside.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .doing("cutting the mounts off")?;
    let mut readable: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    readable.extend(orders.readable.iter().cloned());
    let root = somewhere(&readable)?;
    let room = orders.source.1.len() + orders.stdin.len() + (1 << 20);
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    tmpfs(&root, quiet, &format!("mode=755,size={room}"))?;

    // Shorter paths first: what lies inside one that is there already needs nothing.
    readable.sort_by_key(|path| path.as_os_str().len());
    let mut done: Vec<PathBuf> = Vec::new();
    for path in readable {
        if done.iter().any(|above| path.starts_with(above)) {
            continue;
        }
        if show(&path, &root)? {
            done.push(path);
        }
    }
    devices(&root)?;

    let processes = root.join("proc");
    directory(&processes)?;
    let alone = quiet | MsFlags::MS_NOEXEC;
    // Only processes, and only the program's own: nothing of the machine.
    mount(Some("proc"), &processes, Some("proc"), alone, Some("subset=pid,hidepid=invisible"))
        .doing("mounting /proc")?;

    let work = inside(&root, &orders.places.work);
    directory(&work)?;
    let limits = &orders.limits;
    // One more of each for the directory itself: a size of 0 would mean no limit.
    let (size, files) = (limits.disk.max(4096), limits.files.saturating_add(1));
    tmpfs(&work, quiet, &format!("mode=1777,size={size},nr_inodes={files}"))?;
    directory(&inside(&root, &orders.places.program))?;

    std::env::set_current_dir(&root).doing("entering the new root")?;
    nix::unistd::pivot_root(".", ".").doing("changing the root")?;
    umount2(".", MntFlags::MNT_DETACH).doing("leaving the old root")?;
    std::env::set_current_dir("/").doing("entering the new root")
}

/// Makes the root unwritable, once all is in it.
pub(super) fn seal() -> Result<(), Failure> {
    let flags = MsFlags::MS_REMOUNT
        | MsFlags::MS_BIND
        | MsFlags::MS_RDONLY
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).doing("sealing the root")
}

/// A directory every machine has, to build the new root on, that hides nothing which is needed.
fn somewhere(needed: &[PathBuf]) -> Result<PathBuf, Failure> {
    ["/sys", "/mnt", "/srv", "/media", "/run", "/tmp"]
        .iter()
        .map(PathBuf::from)
        .find(|place| place.is_dir() && !needed.iter().any(|path| path.starts_with(place)))
        .ok_or_else(|| Failure("there is no directory to mount on".to_owned()))
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn tmpfs(at: &Path, flags: MsFlags, options: &str) -> Result<(), Failure> {
    mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(options))
        .doing(format_args!("mounting memory on {}", at.display()))
}

fn directory(path: &Path) -> Result<(), Failure> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .doing(format_args!("making {}", path.display()))
}

/// Shows a file or directory of the old root in the new one; false if there is none.
fn show(path: &Path, root: &Path) -> Result<bool, Failure> {
    let Ok(kind) = path.symlink_metadata() else { return Ok(false) };
    let target = inside(root, path);
    if let Some(parent) = target.parent() {
        directory(parent)?;
    }
    if kind.is_symlink() {
        // `/bin` and its like, where they are links into `/usr`. What is elsewhere is bound.
        let link = fs::read_link(path).doing(format_args!("reading {}", path.display()))?;
        return symlink(link, &target)
            .doing(format_args!("linking {}", path.display()))
            .map(|()| false);
    }
    if kind.is_dir() {
        directory(&target)?;
    } else {
        fs::write(&target, "").doing(format_args!("making {}", target.display()))?;
    }
    bind(path, &target)?;
    // Some flags of the original can't be taken away, and must be named to be kept.
    let flags = MsFlags::MS_REMOUNT
        | MsFlags::MS_BIND
        | MsFlags::MS_RDONLY
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV
        | kept(&target);
    mount(None::<&str>, &target, None::<&str>, flags, None::<&str>)
        .doing(format_args!("making {} read-only", path.display()))?;
    Ok(true)
}

fn bind(from: &Path, to: &Path) -> Result<(), Failure> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(from), to, None::<&str>, flags, None::<&str>)
        .doing(format_args!("binding {}", from.display()))
}

fn kept(path: &Path) -> MsFlags {
    let Ok(is) = statvfs(path).map(|s| s.flags()) else { return MsFlags::empty() };
    [
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ]
    .into_iter()
    .filter(|(flag, _)| is.contains(*flag))
    .fold(MsFlags::empty(), |all, (_, flag)| all | flag)
}

fn devices(root: &Path) -> Result<(), Failure> {
    let place = root.join("dev");
    directory(&place)?;
    for name in DEVICES {
        let (from, to) = (Path::new("/dev").join(name), place.join(name));
        if from.exists() {
            fs::write(&to, "").doing(format_args!("making {}", to.display()))?;
            bind(&from, &to)?;
        }
    }
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        // Semaphores of several processes live here.
        ("shm", "/tmp"),
    ];
    for (name, target) in links {
        symlink(target, place.join(name)).doing(format_args!("linking /dev/{name}"))?;
    }
    Ok(())
}
