//! A run as a person sees it.

use learn::Recipe;
use learn::journal::Record;
use learn::run::Watch;

use crate::terminal::keyboard::Interrupt;
use crate::terminal::training::Dashboard;

/// Shows what happens, and passes Ctrl-C on.
pub struct Screen {
    dashboard: Dashboard,
    interrupt: Interrupt,
}

impl Screen {
    /// Shows the run of a recipe, what there is of it already included.
    pub fn new(recipe: &Recipe, model: &str, interrupt: Interrupt) -> Screen {
        let title = format!("{model}, {}", recipe.method().name());
        let mut dashboard = Dashboard::new(&title, recipe.steps);
        if let Ok(records) = learn::journal::read(&recipe.out) {
            dashboard.history(&records);
        }
        Screen { dashboard, interrupt }
    }
}

impl Watch for Screen {
    fn record(&mut self, record: &Record) {
        self.dashboard.record(record);
    }

    fn note(&mut self, text: &str) {
        self.dashboard.note(text);
    }

    fn phase(&mut self, what: &str, done: usize, total: usize) {
        self.dashboard.phase(what, done, total);
    }

    fn stopped(&self) -> bool {
        self.interrupt.pressed()
    }
}
