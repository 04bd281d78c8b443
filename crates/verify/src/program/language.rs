//! The languages, as installed on this machine.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::CannotTell;

/// A language programs can be run in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// `python3`, isolated from the user's settings (`-I`). The installation's packages can be
    /// imported, but code they would have run at every start (`.pth` files) isn't: it can take
    /// longer than all the rest.
    #[default]
    Python,
    /// `node`.
    JavaScript,
    /// `rustc`, which needs a linker: one file, edition 2021, no crates. Compiling counts towards
    /// the limits.
    Rust,
    /// `bash` where there is one, else `sh`.
    Shell,
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Python => "Python",
            Self::JavaScript => "JavaScript",
            Self::Rust => "Rust",
            Self::Shell => "shell",
        })
    }
}

/// Where an interpreter or compiler is, and what it has to be able to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Toolchain {
    /// The real program, not a shim that would look for it again at each start.
    pub program: PathBuf,
    /// Directories it lives in, beyond those of the system.
    pub readable: Vec<PathBuf>,
    /// Where packages are looked for.
    pub packages: Vec<String>,
}

impl Toolchain {
    /// Whether a user who owns nothing can get there.
    fn is_for_all(&self) -> bool {
        let real = self.program.canonicalize();
        let places = self.readable.iter().chain([&self.program]).chain(real.as_ref());
        places.flat_map(|place| place.ancestors()).all(is_open)
    }
}

/// How to start a program: its file's name, and the commands to compile and to run it.
pub(crate) struct Commands {
    pub file: &'static str,
    pub compile: Option<Vec<String>>,
    pub run: Vec<String>,
}

impl Language {
    pub(crate) const ALL: [Self; 4] = [Self::Python, Self::JavaScript, Self::Rust, Self::Shell];

    /// Looks for the language on `PATH`, and asks what it finds where it really lives. With
    /// `for_all`, only what every user of the machine can reach is taken.
    pub(crate) fn find(self, for_all: bool) -> Result<Toolchain, CannotTell> {
        let names: &[&str] = match self {
            Self::Python => &["python3", "python"],
            Self::JavaScript => &["node", "nodejs"],
            Self::Rust => &["rustc"],
            Self::Shell => &["bash", "sh"],
        };
        let mut why = self.missing(format!(
            "there is no `{}` on PATH; install it to run {self} programs",
            names.join("` or `")
        ));
        for program in names.iter().flat_map(|name| on_path(name)) {
            match self.examine(program) {
                Ok(toolchain) if for_all && !toolchain.is_for_all() => {
                    why = self.missing(format!(
                        "{} is in a place only its owner can reach; install it for all users",
                        toolchain.program.display()
                    ));
                }
                Ok(toolchain) => return Ok(toolchain),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    fn examine(self, found: PathBuf) -> Result<Toolchain, CannotTell> {
        let question: &[&str] = match self {
            Self::Python => &[
                "-I",
                "-c",
                "import sys, site\n\
                 print(sys.executable, sys.prefix, sys.base_prefix, *site.getsitepackages(), sep='\\n')",
            ],
            Self::JavaScript => &["-p", "process.execPath"],
            Self::Rust => &["--print", "sysroot"],
            Self::Shell => return self.toolchain(found, Vec::new()),
        };
        let answer = self.ask(&found, question)?;
        let mut lines = answer.lines().map(PathBuf::from);
        let first = lines.next().unwrap_or_default();
        if self == Self::Rust {
            return self.toolchain(first.join("bin/rustc"), vec![first]);
        }
        let readable = lines.by_ref().take(2).collect();
        let packages = lines.map(|path| path.display().to_string()).collect();
        Ok(Toolchain { packages, ..self.toolchain(first, readable)? })
    }

    /// Runs the trusted program that was found, outside the sandbox.
    fn ask(self, program: &Path, question: &[&str]) -> Result<String, CannotTell> {
        let output = Command::new(program)
            .args(question)
            .stdin(Stdio::null())
            .output()
            .map_err(|e| self.missing(format!("{} doesn't start: {e}", program.display())))?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !output.status.success() || text.is_empty() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or_default().to_owned();
            return Err(self.missing(format!("{} doesn't work: {last}", program.display())));
        }
        Ok(text)
    }

    fn toolchain(
        self,
        program: PathBuf,
        mut readable: Vec<PathBuf>,
    ) -> Result<Toolchain, CannotTell> {
        let real = program
            .canonicalize()
            .map_err(|e| self.missing(format!("{} can't be resolved: {e}", program.display())))?;
        // A link's target may live elsewhere, as a virtual environment's interpreter does.
        readable.extend(real.parent().map(Path::to_owned));
        readable.retain(|path| path.is_absolute() && !is_system(path));
        readable.sort();
        readable.dedup();
        let home = std::env::var_os("HOME").map(PathBuf::from).filter(|h| h.is_absolute());
        if let Some(path) =
            readable.iter().find(|p| **p == Path::new("/") || home.as_ref() == Some(p))
        {
            return Err(self.missing(format!(
                "it is installed in {} itself, which programs must not read; install it elsewhere",
                path.display()
            )));
        }
        Ok(Toolchain { program, readable, packages: Vec::new() })
    }

    fn missing(self, why: String) -> CannotTell {
        CannotTell::Machine { what: self.to_string(), why }
    }

    /// The commands, with the source in `program` and a writable directory at `work`.
    pub(crate) fn commands(
        self,
        toolchain: &Toolchain,
        program: &Path,
        work: &Path,
        memory: u64,
    ) -> Commands {
        let tool = toolchain.program.to_string_lossy().into_owned();
        let file = match self {
            Self::Python => "main.py",
            Self::JavaScript => "main.js",
            Self::Rust => "main.rs",
            Self::Shell => "main.sh",
        };
        let source = program.join(file).to_string_lossy().into_owned();
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        match self {
            Self::Python => {
                let mut run =
                    words(&[&tool, "-I", "-S", "-B", "-X", "utf8", "-c", PYTHON, &source]);
                run.extend(toolchain.packages.iter().cloned());
                Commands { file, compile: None, run }
            }
            Self::JavaScript => {
                // V8 sizes its heap by the machine unless told otherwise, and would rather be
                // killed than collect.
                let heap = format!("--max-old-space-size={}", (memory >> 20) * 3 / 4);
                Commands { file, compile: None, run: words(&[&tool, &heap, &source]) }
            }
            Self::Rust => {
                let binary = work.join("main").to_string_lossy().into_owned();
                let compile = words(&[
                    &tool,
                    "--edition=2021",
                    "-Copt-level=2",
                    "-Cdebuginfo=0",
                    "-Ccodegen-units=1",
                    "--cap-lints=allow",
                    "-o",
                    &binary,
                    &source,
                ]);
                Commands { file, compile: Some(compile), run: vec![binary] }
            }
            Self::Shell => Commands { file, compile: None, run: words(&[&tool, &source]) },
        }
    }
}

/// Does of Python's `site` what programs rely on, `exit()` and packages, and runs the program as
/// `__main__` with nothing of this left in sight.
const PYTHON: &str = "\
import sys as _s, site as _t
_t.setquit(); _t.sethelper()
__file__ = _s.argv[1]
_s.path += _s.argv[2:]
del _s.argv[0], _s.argv[1:]
del _s, _t
exec(compile(open(__file__, 'rb').read(), __file__, 'exec'))
";

/// What every program may read: the system's programs and libraries. Not `/etc` as a whole, nor
/// anything of a user's.
pub(crate) const SYSTEM: [&str; 12] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/gnu/store",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/localtime",
];

fn is_system(path: &Path) -> bool {
    SYSTEM.iter().any(|root| path.starts_with(root))
}

fn on_path(name: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .filter(|file| is_executable(file))
        .collect()
}

#[cfg(unix)]
fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(unix)]
fn is_open(place: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    place.metadata().is_ok_and(|m| m.permissions().mode() & 0o001 != 0)
}

#[cfg(not(unix))]
fn is_open(_: &Path) -> bool {
    true
}

#[cfg(not(unix))]
fn is_executable(file: &Path) -> bool {
    file.is_file()
}
