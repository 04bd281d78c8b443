//! Ctrl-C, and a quiet keyboard, while an answer is being written.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Exit code after Ctrl-C, as shells have it: 128 and the signal's number.
pub const INTERRUPTED: u8 = 130;

/// Counts how often Ctrl-C was pressed.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    presses: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Takes over Ctrl-C: from now on it is counted and no longer ends the program, unless it
    /// is pressed `limit` times without anyone having reacted.
    ///
    /// # Errors
    /// The signal handler cannot be installed.
    pub fn install(limit: usize) -> anyhow::Result<Self> {
        let interrupt = Self::default();
        let presses = Arc::clone(&interrupt.presses);
        ctrlc::set_handler(move || {
            if presses.fetch_add(1, Ordering::Relaxed) + 1 >= limit {
                echo::restore();
                std::process::exit(INTERRUPTED.into());
            }
        })?;
        Ok(interrupt)
    }

    /// Whether Ctrl-C was pressed since the last [`Interrupt::reset`].
    pub fn pressed(&self) -> bool {
        self.presses.load(Ordering::Relaxed) > 0
    }

    /// Forgets earlier presses.
    pub fn reset(&self) {
        self.presses.store(0, Ordering::Relaxed);
    }

    /// As if Ctrl-C had been pressed.
    #[cfg(test)]
    pub fn press(&self) {
        self.presses.fetch_add(1, Ordering::Relaxed);
    }
}

/// Keys pressed while this lives do not appear on the screen, where they would push the rows
/// that are to be folded out of place. They are kept for the next prompt.
#[derive(Debug)]
pub struct QuietKeyboard(());

impl QuietKeyboard {
    /// Switches echo off, if standard input is a terminal.
    pub fn new() -> Self {
        echo::switch_off();
        Self(())
    }
}

impl Drop for QuietKeyboard {
    fn drop(&mut self) {
        echo::restore();
    }
}

#[cfg(unix)]
mod echo {
    use std::sync::Mutex;

    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

    /// The settings before echo was switched off.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    pub(super) fn switch_off() {
        let stdin = std::io::stdin();
        let (Ok(mut before), Ok(settings)) = (BEFORE.lock(), tcgetattr(&stdin)) else { return };
        let mut quiet = settings.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        if tcsetattr(&stdin, OptionalActions::Now, &quiet).is_ok() {
            before.get_or_insert(settings);
        }
    }

    pub(super) fn restore() {
        let Ok(mut before) = BEFORE.lock() else { return };
        if let Some(settings) = before.take() {
            // Nothing can be done if the terminal is gone.
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &settings);
        }
    }
}

#[cfg(not(unix))]
mod echo {
    pub(super) fn switch_off() {}
    pub(super) fn restore() {}
}
