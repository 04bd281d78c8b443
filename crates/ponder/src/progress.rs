//! Progress of a pull on stderr: one bar that never scrolls, or now and then a line where stderr is
//! no terminal.

use std::cell::{Cell, RefCell};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use weights::pull::{Progress, human_bytes};

/// How long a log is left without a line.
const QUIET: Duration = Duration::from_secs(10);

/// Shows one task after the other.
pub struct Bar {
    terminal: bool,
    task: RefCell<Option<Task>>,
}

struct Task {
    what: String,
    total: Option<u64>,
    bar: ProgressBar,
    /// The speed is reckoned from the first report on: what was here before did not come quickly.
    started: Cell<bool>,
    at: Cell<u64>,
    told: Cell<Instant>,
}

impl Bar {
    /// Shows nothing until a task begins.
    pub fn new() -> Self {
        Bar { terminal: std::io::stderr().is_terminal(), task: RefCell::new(None) }
    }
}

impl Progress for Bar {
    fn begin(&self, what: &str, total: Option<u64>) {
        let bar = if self.terminal { ProgressBar::no_length() } else { ProgressBar::hidden() };
        let template = match total {
            Some(_) => {
                "{wide_msg} {bar:24} {decimal_bytes:>9} of {decimal_total_bytes:<9} {decimal_bytes_per_sec:>11} {eta:>4}"
            }
            None => "{wide_msg} {spinner} {decimal_bytes:>9} {decimal_bytes_per_sec:>11}",
        };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is a constant"));
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        *self.task.borrow_mut() = Some(Task {
            what: what.to_owned(),
            total,
            bar,
            started: Cell::new(false),
            at: Cell::new(0),
            told: Cell::new(Instant::now()),
        });
    }

    fn at(&self, bytes: u64) {
        let task = self.task.borrow();
        let Some(task) = task.as_ref() else { return };
        task.at.set(bytes);
        task.bar.set_position(bytes);
        if !task.started.replace(true) {
            task.bar.reset_eta();
        }
        if !self.terminal && task.told.get().elapsed() >= QUIET {
            task.told.set(Instant::now());
            eprintln!("{}: {}", task.what, amount(bytes, task.total));
        }
    }

    fn end(&self) {
        let Some(task) = self.task.borrow_mut().take() else { return };
        task.bar.finish_and_clear();
        if !self.terminal {
            eprintln!("{}: {}", task.what, amount(task.at.get(), task.total));
        }
    }

    fn note(&self, text: &str) {
        // A bar on the screen is wiped first, and drawn again below the line.
        match self.task.borrow().as_ref() {
            Some(task) => task.bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }
}

fn amount(bytes: u64, total: Option<u64>) -> String {
    match total {
        Some(total) => format!("{} of {}", human_bytes(bytes), human_bytes(total)),
        None => human_bytes(bytes),
    }
}
