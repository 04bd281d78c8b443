//! The system calls a program may make: a list of those ordinary programs need. All others fail.
//!
//! Not among them, to name a few: `ptrace` and its kin, mounts, namespaces, keys, `bpf`,
//! `io_uring`, modules, clocks, and memory that no limit would count (`memfd_create`, System V).

use std::collections::BTreeMap;

use libc::{
    AF_UNIX, CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER,
    CLONE_NEWUTS, ENOSYS, EPERM, MAP_ANONYMOUS, MAP_PRIVATE, MAP_TYPE, c_long,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

use super::orders::{Doing, Failure};

/// What other layers hold, where this one has to make up for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings {
    /// The program is in namespaces of its own.
    pub alone: bool,
    /// The process that will be the program.
    pub me: u32,
    /// Landlock keeps signals in.
    pub scoped_signals: bool,
}

/// A flag of `clone` for a namespace of clocks; the constant is newer than the `libc` crate's.
const CLONE_NEWTIME: i32 = 0x80;

/// Allowed whatever the arguments.
const PLAIN: &[c_long] = &[
    // Files. What they are is Landlock's to decide.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_mknodat,
    libc::SYS_ftruncate,
    libc::SYS_truncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_umask,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_tee,
    libc::SYS_copy_file_range,
    libc::SYS_fadvise64,
    libc::SYS_readahead,
    libc::SYS_fchmod,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
    // Waiting.
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_signalfd4,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    // Memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_mincore,
    libc::SYS_msync,
    libc::SYS_membarrier,
    // Processes and threads.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_getpgid,
    libc::SYS_setpgid,
    libc::SYS_getsid,
    libc::SYS_setsid,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_getpriority,
    libc::SYS_getcpu,
    libc::SYS_pidfd_open,
    libc::SYS_getrusage,
    libc::SYS_times,
    libc::SYS_capget,
    // Signals of its own.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigsuspend,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_getitimer,
    libc::SYS_setitimer,
    libc::SYS_timer_create,
    libc::SYS_timer_settime,
    libc::SYS_timer_gettime,
    libc::SYS_timer_getoverrun,
    libc::SYS_timer_delete,
    // Sockets it has, to itself.
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    // The machine.
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
];

/// Older forms of the above, which newer processors' ports never had.
#[cfg(target_arch = "x86_64")]
const OLD: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_creat,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_getdents,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_mknod,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_signalfd,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_getpgrp,
    libc::SYS_arch_prctl,
    libc::SYS_alarm,
    libc::SYS_pause,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[c_long] = &[];

/// Allowed on the file system that is the program's own. Landlock doesn't look at changes of mode and
/// time, which elsewhere would reach every file of the same user, nor always at sockets' names; and
/// a deleted file that is under way in a message is counted by nobody but a file system.
const ALONE: &[c_long] = &[
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_fchmodat,
    libc::SYS_utimensat,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept4,
    libc::SYS_accept,
    libc::SYS_connect,
];
#[cfg(target_arch = "x86_64")]
const ALONE_OLD: &[c_long] =
    &[libc::SYS_chmod, libc::SYS_utime, libc::SYS_utimes, libc::SYS_futimesat];
#[cfg(not(target_arch = "x86_64"))]
const ALONE_OLD: &[c_long] = &[];

/// Signals to others.
const SIGNALS: &[c_long] = &[
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_send_signal,
];

/// Calls that programs try first and have another way for, if the kernel seems not to know them:
/// a filter of their own answers them so, and the list lets them pass.
const UNKNOWN: &[c_long] = &[
    // Its flags are in memory, where a filter can't look.
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_memfd_create,
    libc::SYS_pkey_alloc,
    libc::SYS_mbind,
    libc::SYS_get_mempolicy,
    libc::SYS_userfaultfd,
    libc::SYS_inotify_init1,
    libc::SYS_perf_event_open,
];

/// Restricts this process and all it will start.
pub(super) fn restrict(surroundings: Surroundings) -> Result<(), Failure> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).doing("this processor")?;
    let compile = |rules, otherwise, matching| -> Result<BpfProgram, Failure> {
        let filter = SeccompFilter::new(rules, otherwise, matching, arch).doing("the filter")?;
        filter.try_into().doing("the filter")
    };
    let unknown = UNKNOWN.iter().map(|&call| (call, vec![])).collect();
    let unknown = compile(unknown, SeccompAction::Allow, errno(ENOSYS))?;
    let allowed = compile(allowed(surroundings)?, errno(EPERM), SeccompAction::Allow)?;
    // The stricter answer of the two holds; and after the list, no filter can be installed.
    apply_filter(&unknown).doing("installing the filter")?;
    apply_filter(&allowed).doing("installing the filter")
}

fn errno(number: i32) -> SeccompAction {
    SeccompAction::Errno(number.cast_unsigned())
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// One argument of a call, as the kernel sees all 64 bits of it, or the lower 32 for an `int`.
fn argument(
    index: u8,
    long: bool,
    how: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, Failure> {
    let length = if long { SeccompCmpArgLen::Qword } else { SeccompCmpArgLen::Dword };
    SeccompCondition::new(index, length, how, value).doing("a condition")
}

fn allowed(surroundings: Surroundings) -> Result<Rules, Failure> {
    use SeccompCmpOp::{Eq, MaskedEq};
    let mut rules: Rules =
        PLAIN.iter().chain(OLD).chain(UNKNOWN).map(|&call| (call, vec![])).collect();
    let mut when = |call: c_long, any: Vec<Vec<SeccompCondition>>| -> Result<(), Failure> {
        let any = any.into_iter().map(SeccompRule::new).collect::<Result<Vec<_>, _>>();
        rules.insert(call, any.doing("a rule")?);
        Ok(())
    };
    let int = |index, value: i64| argument(index, false, Eq, value.cast_unsigned() & 0xffff_ffff);

    // No new namespaces.
    let spaces = [
        CLONE_NEWCGROUP,
        CLONE_NEWIPC,
        CLONE_NEWNET,
        CLONE_NEWNS,
        CLONE_NEWPID,
        CLONE_NEWUSER,
        CLONE_NEWUTS,
        CLONE_NEWTIME,
    ];
    let spaces = spaces.iter().fold(0, |all, &flag| all | u64::from(flag.cast_unsigned()));
    when(libc::SYS_clone, vec![vec![argument(0, true, MaskedEq(spaces), 0)?]])?;

    // No memory that is shared and nameless: let go of by everyone's page tables it would still be
    // there, and counted nowhere.
    let (anonymous, kind, private) = (MAP_ANONYMOUS, MAP_TYPE, MAP_PRIVATE);
    let [anonymous, kind, private] =
        [anonymous, kind, private].map(|f| u64::from(f.cast_unsigned()));
    when(
        libc::SYS_mmap,
        vec![
            vec![argument(3, true, MaskedEq(anonymous), 0)?],
            vec![argument(3, true, MaskedEq(kind), private)?],
        ],
    )?;

    // Sockets between its own processes only.
    let own = vec![vec![int(0, i64::from(AF_UNIX))?]];
    when(libc::SYS_socketpair, own.clone())?;
    if surroundings.alone {
        when(libc::SYS_socket, own)?;
    }

    // Limits, and a place among the processors, of itself only.
    when(libc::SYS_prlimit64, vec![vec![int(0, 0)?], vec![int(0, i64::from(surroundings.me))?]])?;
    when(libc::SYS_sched_setaffinity, vec![vec![int(0, 0)?]])?;
    #[cfg(target_arch = "x86_64")]
    {
        when(libc::SYS_getrlimit, vec![])?;
        when(libc::SYS_setrlimit, vec![])?;
    }

    // Of the many things descriptors can be asked and told, those about descriptors themselves:
    // nothing of terminals, and not whom to send signals to.
    let requests: [u64; 9] = [
        libc::TCGETS,
        libc::FIONBIO,
        libc::FIOCLEX,
        libc::FIONCLEX,
        libc::FIONREAD,
        libc::TIOCGWINSZ,
        libc::TIOCGPGRP,
        libc::TIOCOUTQ,
        libc::FICLONE,
    ]
    .map(|request| request & 0xffff_ffff);
    let requests = requests.iter().map(|&r| Ok(vec![argument(1, false, Eq, r)?]));
    when(libc::SYS_ioctl, requests.collect::<Result<_, Failure>>()?)?;
    let commands = [
        libc::F_DUPFD,
        libc::F_DUPFD_CLOEXEC,
        libc::F_GETFD,
        libc::F_SETFD,
        libc::F_GETFL,
        libc::F_SETFL,
        libc::F_GETLK,
        libc::F_SETLK,
        libc::F_SETLKW,
        libc::F_OFD_GETLK,
        libc::F_OFD_SETLK,
        libc::F_OFD_SETLKW,
        libc::F_GETPIPE_SZ,
        libc::F_GET_SEALS,
    ];
    let commands = commands.iter().map(|&c| Ok(vec![int(1, i64::from(c))?]));
    when(libc::SYS_fcntl, commands.collect::<Result<_, Failure>>()?)?;
    let options = [
        libc::PR_SET_NAME,
        libc::PR_GET_NAME,
        libc::PR_SET_PDEATHSIG,
        libc::PR_GET_PDEATHSIG,
        libc::PR_GET_DUMPABLE,
        libc::PR_CAPBSET_READ,
        libc::PR_GET_NO_NEW_PRIVS,
        libc::PR_SET_VMA,
        libc::PR_SET_TIMERSLACK,
        libc::PR_GET_TIMERSLACK,
    ];
    let options = options.iter().map(|&o| Ok(vec![int(0, i64::from(o))?]));
    let mut options = options.collect::<Result<Vec<_>, Failure>>()?;
    if surroundings.alone {
        // A process may hide from its siblings. Elsewhere it would hide from the watch, too, which
        // has no more rights than it; but there it can't be seen by them in the first place.
        options.push(vec![int(0, i64::from(libc::PR_SET_DUMPABLE))?, argument(1, true, Eq, 0)?]);
    }
    when(libc::SYS_prctl, options)?;

    if surroundings.alone || surroundings.scoped_signals {
        for &call in SIGNALS {
            when(call, vec![])?;
        }
    } else {
        // It may end itself; nobody else can be told apart from its own.
        let me = i64::from(surroundings.me);
        when(libc::SYS_kill, vec![vec![int(0, 0)?], vec![int(0, me)?]])?;
        when(libc::SYS_tgkill, vec![vec![int(0, me)?]])?;
    }
    if surroundings.alone {
        for &call in ALONE.iter().chain(ALONE_OLD) {
            when(call, vec![])?;
        }
    }
    Ok(rules)
}
