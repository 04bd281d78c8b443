//! Where programs run that nobody has read.
//!
//! What holds a program, from the outside in:
//!
//! | layer | against | where |
//! |---|---|---|
//! | process namespace | daemons, signals, what outlives its parent | where allowed |
//! | mount namespace | reading and writing what isn't the program's | where allowed |
//! | network, IPC, name and user namespaces | connections, shared memory, rights | where allowed |
//! | another user | everything root may do | if this is root |
//! | resource limits | fork bombs, single large processes, large files | always |
//! | Landlock | files, TCP, signals and sockets to the outside | always, or refused |
//! | seccomp | system calls that ordinary programs don't need | always, or refused |
//! | the watch | memory, time and disk of all processes together | always |
//!
//! Without namespaces the last five have to do, and are stricter: no sockets at all, no changing of
//! modes and times of files, no `/proc`.
//!
//! What isn't held: memory the kernel keeps for pipes and sockets, up to some hundred KB for each
//! of 256 descriptors of each process; caches and timing shared with everyone on the machine; and a
//! flaw in the kernel itself.

mod confine;
mod init;
mod launcher;
mod mounts;
mod orders;
mod run;
mod syscalls;
mod tree;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use launcher::enter_if_asked;

use self::orders::Held;
use super::language::{Language, Toolchain};
use super::{Limits, Outcome};
use crate::CannotTell;

/// How a [`Sandbox`] is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// A binary whose `main` begins with [`enter_if_asked`]; without one, the binary that is running.
    pub launcher: Option<PathBuf>,
    /// Whether to do with what isolation there is where a required layer is missing.
    pub allow_weaker: bool,
    /// Whether to do without namespaces even where they are allowed.
    pub no_namespaces: bool,
}

/// What holds the programs of a [`Sandbox`]. Its text form is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layers {
    /// Namespaces for mounts, processes, network, IPC and the machine's name.
    pub namespaces: bool,
    /// Why there are no namespaces.
    pub no_namespaces: Option<String>,
    /// A user namespace of its own.
    pub user_namespace: bool,
    /// The user programs run as, as seen from outside.
    pub user: u32,
    /// The version of Landlock in force; 0 for none.
    pub landlock: u32,
    /// A filter of system calls.
    pub seccomp: bool,
}

impl Layers {
    fn of(held: &Held, no_namespaces: Option<String>) -> Self {
        Self {
            namespaces: held.namespaces,
            no_namespaces,
            user_namespace: held.user_namespace,
            user: held.user,
            landlock: held.landlock,
            seccomp: held.seccomp,
        }
    }
}

impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespaces {
            write!(f, "namespaces (mount, process, network, IPC, name")?;
            f.write_str(if self.user_namespace { ", user)" } else { ")" })?;
        } else {
            let why = self.no_namespaces.as_deref().unwrap_or("not wanted");
            write!(f, "no namespaces ({why})")?;
        }
        match self.landlock {
            0 => f.write_str(", no Landlock")?,
            version => write!(f, ", Landlock {version}")?,
        }
        f.write_str(if self.seccomp { ", seccomp" } else { ", no seccomp" })?;
        write!(f, ", as user {}", self.user)
    }
}

/// Runs programs. Any number of threads may, at once.
#[derive(Debug)]
pub struct Sandbox {
    launcher: PathBuf,
    allow_weaker: bool,
    layers: Layers,
    toolchains: [OnceLock<Result<Toolchain, CannotTell>>; 4],
}

impl Sandbox {
    /// Finds out what the kernel gives, by trying.
    ///
    /// # Errors
    /// [`CannotTell::Machine`] if that is less than promised and not [`Options::allow_weaker`], or
    /// if the launcher is none.
    pub fn new(options: Options) -> Result<Self, CannotTell> {
        let machine = |why: String| CannotTell::Machine { what: "the sandbox".to_owned(), why };
        if std::env::var_os(launcher::VARIABLE).is_some() {
            // A binary that doesn't know it is the launcher: without this it would start itself again.
            return Err(machine("a launcher can't have a sandbox of its own".to_owned()));
        }
        let launcher = match options.launcher {
            Some(path) => path,
            None => PathBuf::from("/proc/self/exe"),
        };
        let allow_weaker = options.allow_weaker;
        let attempt = |namespaces| run::probe(&launcher, namespaces, allow_weaker);
        let layers = if options.no_namespaces {
            attempt(false).map(|held| Layers::of(&held, None)).map_err(|e| machine(e.0))?
        } else {
            match attempt(true) {
                Ok(held) => Layers::of(&held, None),
                Err(first) => match attempt(false) {
                    Ok(held) => Layers::of(&held, Some(first.0)),
                    Err(second) if second == first => return Err(machine(first.0)),
                    Err(second) => return Err(machine(format!("{second} (and {first})"))),
                },
            }
        };
        Ok(Self { launcher, allow_weaker, layers, toolchains: Default::default() })
    }

    /// What holds the programs.
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// Whether programs of the language can be run here.
    ///
    /// # Errors
    /// [`CannotTell::Machine`] with what is missing.
    pub fn has(&self, language: Language) -> Result<(), CannotTell> {
        self.toolchain(language).map(drop)
    }

    fn toolchain(&self, language: Language) -> Result<&Toolchain, CannotTell> {
        let index = Language::ALL.iter().position(|&l| l == language).unwrap_or_default();
        // In its own file system a program gets there whoever may pass on the machine's.
        let for_all = !self.layers.namespaces && nix::unistd::geteuid().is_root();
        self.toolchains[index].get_or_init(|| language.find(for_all)).as_ref().map_err(Clone::clone)
    }

    /// Runs one program to its end, with this on its stdin.
    ///
    /// # Errors
    /// [`CannotTell::Machine`] if it couldn't be run as promised; whatever the program does is an
    /// [`Outcome`].
    pub fn run(
        &self,
        language: Language,
        source: &str,
        stdin: &str,
        limits: &Limits,
    ) -> Result<Outcome, CannotTell> {
        let toolchain = self.toolchain(language)?;
        run::run(&self.setting(), language, toolchain, source, stdin, limits)
    }

    fn setting(&self) -> run::Setting<'_> {
        run::Setting {
            launcher: Path::new(&self.launcher),
            namespaces: self.layers.namespaces,
            allow_weaker: self.allow_weaker,
        }
    }
}
