//! A training run while it runs: figures, curves and a sample, redrawn in place at the end of the
//! output; one plain line a step where there is no terminal.

mod rows;
mod spark;
mod view;

#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal, Stderr, Write};
use std::time::{Duration, Instant};

use learn::journal::Record;

use super::Size;
use super::keyboard::QuietKeyboard;
use super::render::printable;
use rows::Screen;
use view::View;

/// Progress within a step is redrawn no more often than this.
const CALM: Duration = Duration::from_millis(100);

/// Shows a run until it is dropped; the last figures stay on the screen then.
///
/// An output that cannot be written is done without: hours of training must not end because a
/// terminal was closed.
pub struct Dashboard<W: Write = Stderr> {
    out: W,
    live: bool,
    colour: bool,
    size: Box<dyn Fn() -> Size + Send>,
    began: Instant,
    drawn: Option<Instant>,
    view: View,
    screen: Screen,
    _quiet: Option<QuietKeyboard>,
}

impl Dashboard {
    /// A dashboard on standard error for a run of so many steps; the title tells model and method.
    pub fn new(title: &str, steps: u64) -> Dashboard {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let live = io::stderr().is_terminal() && !dumb && in_foreground();
        let mut dashboard = Dashboard::on(io::stderr(), title, steps, live, Size::now);
        dashboard.colour = live && !set("NO_COLOR");
        dashboard._quiet = live.then(QuietKeyboard::new);
        dashboard.draw(true);
        dashboard
    }
}

impl<W: Write> Dashboard<W> {
    /// A dashboard on any output, redrawn in place if it is `live`.
    fn on(
        out: W,
        title: &str,
        steps: u64,
        live: bool,
        size: impl Fn() -> Size + Send + 'static,
    ) -> Self {
        Dashboard {
            out,
            live,
            colour: live,
            size: Box::new(size),
            began: Instant::now(),
            drawn: None,
            view: View::new(title, steps),
            screen: Screen::default(),
            _quiet: None,
        }
    }

    /// Takes up what the run showed before it was interrupted, so that its curves are whole.
    pub fn history(&mut self, records: &[Record]) {
        for record in records {
            self.view.remember(record);
        }
        self.draw(true);
    }

    /// Shows what a step, or an evaluation, has come to.
    pub fn record(&mut self, record: &Record) {
        self.record_at(record, self.began.elapsed());
    }

    fn record_at(&mut self, record: &Record, at: Duration) {
        self.view.record(record, at);
        if self.live {
            self.draw_at(true, at);
        } else {
            let line = self.view.line(record, at);
            self.write(&format!("{line}\n"));
        }
    }

    /// Says something that stays, in a line above the figures.
    pub fn note(&mut self, text: &str) {
        let text = printable(text);
        if self.live {
            let rows = self.view.rows((self.size)(), self.colour, self.began.elapsed());
            let text = self.screen.note(&text, rows, (self.size)());
            self.write(&text);
        } else {
            self.write(&format!("{text}\n"));
        }
    }

    /// Tells how far a part of the step is, as `drawing completions`; without a `total` only that
    /// it is being done.
    pub fn phase(&mut self, what: &str, done: usize, total: usize) {
        let other = self.view.phase(what, done, total);
        self.draw(other);
    }

    /// Redraws what has changed; later will do unless it is `urgent`.
    fn draw(&mut self, urgent: bool) {
        self.draw_at(urgent, self.began.elapsed());
    }

    fn draw_at(&mut self, urgent: bool, at: Duration) {
        let fresh = self.drawn.is_some_and(|drawn| drawn.elapsed() < CALM);
        if !self.live || (fresh && !urgent) {
            return;
        }
        self.drawn = Some(Instant::now());
        let size = (self.size)();
        let rows = self.view.rows(size, self.colour, at);
        let text = self.screen.draw(rows, size);
        self.write(&text);
    }

    fn write(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

impl<W: Write> Drop for Dashboard<W> {
    fn drop(&mut self) {
        self.view.end();
        self.draw(true);
        if self.live {
            self.write("\r\n");
        }
    }
}

/// Whether the terminal is ours: one that a shell runs in the background must neither draw over
/// what is typed nor change the terminal's settings, for which it would be stopped.
#[cfg(unix)]
fn in_foreground() -> bool {
    rustix::termios::tcgetpgrp(io::stderr()).is_ok_and(|group| group == rustix::process::getpgrp())
}

#[cfg(not(unix))]
fn in_foreground() -> bool {
    true
}
