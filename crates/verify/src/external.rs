//! A team's own check: a command that reads and writes JSON lines.
//!
//! The command is started once, kept running, and shared by any number of threads. For every
//! attempt it gets one line on its standard input:
//!
//! ```json
//! {"id": 7, "question": "…", "reasoning": "…", "answer": "…", "task": {…}}
//! ```
//!
//! and writes one line to its standard output, in whatever order it finishes:
//!
//! ```json
//! {"id": 7, "score": 0.5, "extracted": "…", "why": "…"}
//! ```
//!
//! `score` is from 0 to 1; `extracted` and `why` may be left out. `{"id": 7, "error": "…"}` says that
//! it can't tell. It must flush each line. A command that ends is started again; a line that is no
//! such answer ends it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::pattern::shown;
use crate::{Attempt, CannotTell, Verdict, Verifier};

/// The longest line a command may write.
const MAX_LINE: u64 = 4 << 20;
/// How many of the last lines of standard error are quoted.
const QUOTED_LINES: usize = 5;
/// How long the end of standard error is waited for once the command has ended.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// Why a command is no more that ended by itself.
const ENDED: &str = "it ended";

/// Which command, and how long it may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The program and its arguments; no shell is involved.
    pub command: Vec<String>,
    /// How many seconds it may take for one attempt.
    #[serde(default = "thirty")]
    pub timeout_seconds: f64,
}

fn thirty() -> f64 {
    30.0
}

/// Judges attempts at one task by a command.
#[derive(Clone, Debug)]
pub struct External {
    checker: Arc<Checker>,
    task: Value,
}

impl External {
    /// For `task`, which is handed to the command as it is.
    pub fn new(checker: Arc<Checker>, task: Value) -> Self {
        Self { checker, task }
    }
}

impl Verifier for External {
    fn verify(&self, attempt: &Attempt<'_>) -> Result<Verdict, CannotTell> {
        self.checker.judge(attempt, &self.task)
    }
}

/// A command, started when it is first needed and killed when this is dropped.
#[derive(Debug)]
pub struct Checker {
    config: Config,
    timeout: Duration,
    running: Mutex<Option<Arc<Running>>>,
    next_id: AtomicU64,
}

/// Why there is no answer.
enum Failure {
    /// The command ended, or was ended for what it wrote.
    Ended(String),
    /// No answer in time.
    Late,
    /// The command's answer to this attempt can't be used.
    Unusable(String),
}

impl Checker {
    /// For this command, which isn't started yet.
    ///
    /// # Errors
    /// [`CannotTell::Task`] if there is no program, or no time for it.
    pub fn new(config: Config) -> Result<Arc<Self>, CannotTell> {
        let bad = |field, why: &str| Err(CannotTell::Task { field, why: why.to_owned() });
        if config.command.first().is_none_or(|program| program.is_empty()) {
            return bad("command", "it must name a program");
        }
        let seconds = config.timeout_seconds;
        let timeout = Duration::try_from_secs_f64(seconds).ok().filter(|t| !t.is_zero());
        let Some(timeout) = timeout.filter(|_| seconds < 1e6) else {
            return bad("timeout_seconds", "it must be above 0 and below a million");
        };
        let (running, next_id) = (Mutex::new(None), AtomicU64::new(0));
        Ok(Arc::new(Self { config, timeout, running, next_id }))
    }

    /// Has the command judge one attempt at `task`.
    ///
    /// # Errors
    /// [`CannotTell::Machine`] if the command can't be started, ends, or writes what is no verdict;
    /// [`CannotTell::Limit`] if it isn't done in time.
    pub fn judge(&self, attempt: &Attempt<'_>, task: &Value) -> Result<Verdict, CannotTell> {
        // Another attempt may have been what ended the command, so it is tried again, once.
        let mut tries = 2;
        loop {
            tries -= 1;
            let running = self.running()?;
            let failure = match self.ask(&running, attempt, task) {
                Ok(verdict) => return Ok(verdict),
                Err(failure) => failure,
            };
            match failure {
                Failure::Ended(_) if tries > 0 => self.forget(&running),
                Failure::Ended(why) => {
                    self.forget(&running);
                    return Err(self.machine(why, &running));
                }
                Failure::Unusable(why) => return Err(self.machine(why, &running)),
                Failure::Late => {
                    if running.silent_for() >= self.timeout {
                        self.forget(&running);
                    }
                    let why = format!("{} gave no answer{}", self.name(), running.last_words());
                    return Err(CannotTell::Limit { limit: format!("{:?}", self.timeout), why });
                }
            }
        }
    }

    fn ask(
        &self,
        running: &Running,
        attempt: &Attempt<'_>,
        task: &Value,
    ) -> Result<Verdict, Failure> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let line = json!({
            "id": id,
            "question": attempt.question,
            "reasoning": attempt.reasoning,
            "answer": attempt.answer,
            "task": task,
        });
        let (sender, receiver) = mpsc::channel();
        locked(&running.waiting).insert(id, sender);
        running.send(format!("{line}\n"));
        if running.ended.load(Ordering::SeqCst) {
            // It may have ended before this one was waiting, and so without telling it.
            running.end(None);
        }
        let answer = receiver.recv_timeout(self.timeout);
        locked(&running.waiting).remove(&id);
        match answer {
            Ok(Ok(answer)) => answer.verdict().map_err(Failure::Unusable),
            Ok(Err(why)) => Err(Failure::Ended(why)),
            Err(RecvTimeoutError::Timeout) => Err(Failure::Late),
            Err(RecvTimeoutError::Disconnected) => Err(Failure::Ended(ENDED.to_owned())),
        }
    }

    fn running(&self) -> Result<Arc<Running>, CannotTell> {
        let mut running = locked(&self.running);
        if let Some(running) = running.as_ref().filter(|r| !r.ended.load(Ordering::SeqCst)) {
            return Ok(running.clone());
        }
        let started = Running::start(&self.config.command).map_err(|e| CannotTell::Machine {
            what: self.name(),
            why: format!("it can't be started: {e}"),
        })?;
        *running = Some(started.clone());
        Ok(started)
    }

    /// Lets go of a command, if it is still the one in use, so that the next call starts another.
    fn forget(&self, old: &Arc<Running>) {
        let mut running = locked(&self.running);
        if running.as_ref().is_some_and(|current| Arc::ptr_eq(current, old)) {
            *running = None;
        }
        drop(running);
        old.kill();
    }

    fn name(&self) -> String {
        format!("the command `{}`", shown(&self.config.command.join(" ")))
    }

    fn machine(&self, why: String, running: &Running) -> CannotTell {
        CannotTell::Machine { what: self.name(), why: format!("{why}{}", running.last_words()) }
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        if let Some(running) = locked(&self.running).take() {
            running.kill();
        }
    }
}

/// One line that the command wrote.
#[derive(Debug, Deserialize)]
struct Answer {
    id: u64,
    score: Option<f64>,
    extracted: Option<String>,
    why: Option<String>,
    error: Option<String>,
}

impl Answer {
    fn verdict(self) -> Result<Verdict, String> {
        if let Some(error) = self.error {
            return Err(format!("it can't tell: {}", shown(&error)));
        }
        match self.score {
            Some(score) if (0.0..=1.0).contains(&score) => {
                Ok(Verdict::new(score, self.extracted, self.why.unwrap_or_default()))
            }
            Some(score) => Err(format!("its score is {score}, which is not from 0 to 1")),
            None => Err("its answer has no `score`".to_owned()),
        }
    }
}

/// A line for one who waits, or why none will come.
type Reply = Result<Answer, String>;

/// The command while it runs.
#[derive(Debug)]
struct Running {
    child: Mutex<Child>,
    /// Lines on their way to the command. A thread writes them, as a command that doesn't read
    /// would hold up whoever does.
    lines: Mutex<Option<Sender<String>>>,
    waiting: Mutex<HashMap<u64, Sender<Reply>>>,
    ended: AtomicBool,
    killed: AtomicBool,
    why: Mutex<Option<String>>,
    last_line: Mutex<Instant>,
    stderr: Mutex<Vec<String>>,
    stderr_done: AtomicBool,
}

impl Running {
    fn start(command: &[String]) -> std::io::Result<Arc<Self>> {
        let mut process = Command::new(&command[0]);
        process.args(&command[1..]);
        process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own, so that what a script has started ends with it.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut process, 0);
        let mut child = process.spawn()?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (lines, to_write) = mpsc::channel::<String>();
        let running = Arc::new(Self {
            child: Mutex::new(child),
            lines: Mutex::new(Some(lines)),
            waiting: Mutex::default(),
            ended: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            why: Mutex::default(),
            last_line: Mutex::new(Instant::now()),
            stderr: Mutex::default(),
            stderr_done: AtomicBool::new(false),
        });
        let mut stdin = stdin.expect("is piped");
        thread::spawn(move || {
            // Where writing fails the command has ended, which its output tells.
            for line in to_write {
                if stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush()).is_err() {
                    break;
                }
            }
        });
        let reader = running.clone();
        thread::spawn(move || reader.read(stdout.expect("is piped")));
        let listener = running.clone();
        thread::spawn(move || listener.listen(stderr.expect("is piped")));
        Ok(running)
    }

    fn send(&self, line: String) {
        if let Some(lines) = locked(&self.lines).as_ref() {
            // Fails only once the command has ended.
            let _ = lines.send(line);
        }
    }

    /// Hands out what the command writes, until it ends or writes something else.
    fn read(&self, stdout: impl Read) {
        let mut stdout = BufReader::new(stdout);
        let mut line = Vec::new();
        let why = loop {
            line.clear();
            match (&mut stdout).take(MAX_LINE).read_until(b'\n', &mut line) {
                Err(e) => break format!("its output can't be read: {e}"),
                Ok(0) => break ENDED.to_owned(),
                Ok(_) if line.trim_ascii().is_empty() => continue,
                Ok(_) => {}
            }
            *locked(&self.last_line) = Instant::now();
            match serde_json::from_slice::<Answer>(&line) {
                // Nobody waits for the one that comes too late.
                Ok(answer) => {
                    if let Some(waiting) = locked(&self.waiting).remove(&answer.id) {
                        let _ = waiting.send(Ok(answer));
                    }
                }
                Err(e) => {
                    let line = String::from_utf8_lossy(&line);
                    break format!("it wrote {:?}, which is no verdict: {e}", shown(line.trim()));
                }
            }
        };
        self.end(Some(why));
        self.kill();
    }

    /// Tells all who wait that no answer will come.
    fn end(&self, why: Option<String>) {
        let mut told = locked(&self.why);
        if told.is_none() {
            *told = why;
        }
        let why = told.clone().unwrap_or_else(|| ENDED.to_owned());
        drop(told);
        self.ended.store(true, Ordering::SeqCst);
        for (_, waiting) in locked(&self.waiting).drain() {
            let _ = waiting.send(Err(why.clone()));
        }
    }

    /// Keeps the last lines of standard error.
    fn listen(&self, stderr: impl Read) {
        let mut stderr = BufReader::new(stderr);
        let mut line = Vec::new();
        while let Ok(1..) = {
            line.clear();
            (&mut stderr).take(MAX_LINE).read_until(b'\n', &mut line)
        } {
            let mut lines = locked(&self.stderr);
            lines.push(shown(String::from_utf8_lossy(&line).trim_end()));
            if lines.len() > QUOTED_LINES {
                lines.remove(0);
            }
        }
        self.stderr_done.store(true, Ordering::SeqCst);
    }

    fn silent_for(&self) -> Duration {
        locked(&self.last_line).elapsed()
    }

    /// How it ended and the end of its standard error, as the rest of a sentence.
    fn last_words(&self) -> String {
        let mut words = String::new();
        if self.ended.load(Ordering::SeqCst) {
            let until = Instant::now() + LAST_WORDS;
            while !self.stderr_done.load(Ordering::SeqCst) && Instant::now() < until {
                thread::sleep(Duration::from_millis(5));
            }
            match locked(&self.child).try_wait() {
                Ok(Some(status)) if self.ended_by_itself() => words = format!(" ({status})"),
                _ => {}
            }
        }
        let lines = locked(&self.stderr);
        match lines.is_empty() {
            true => words + "; it wrote nothing to standard error",
            false => words + "; the end of its standard error: " + &lines.join(" | "),
        }
    }

    /// Ends the command and what it has started. Only the first call does anything: later its
    /// number may be another's.
    fn kill(&self) {
        if self.killed.swap(true, Ordering::SeqCst) {
            return;
        }
        *locked(&self.lines) = None;
        let mut child = locked(&self.child);
        let mut has_ended = || matches!(child.try_wait(), Ok(Some(_)));
        // One that ends by itself is left the time to, for its own status.
        let until = Instant::now() + LAST_WORDS;
        while !has_ended() && self.ended_by_itself() && Instant::now() < until {
            thread::sleep(Duration::from_millis(2));
        }
        let has_ended = has_ended();
        #[cfg(unix)]
        if let Some(group) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
            // An error says that nothing of the group is left.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        if !has_ended {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn ended_by_itself(&self) -> bool {
        locked(&self.why).as_deref() == Some(ENDED)
    }
}

/// Whoever panicked while holding a lock left nothing half done here.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
