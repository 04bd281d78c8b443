//! A run as a person sees it.

use learn::Recipe;
use learn::journal::Record;
use learn::run::Watch;

use crate::terminal::keyboard::Interrupt;

/// Shows what happens, and passes Ctrl-C on.
pub struct Screen {
    interrupt: Interrupt,
    steps: u64,
}

impl Screen {
    pub fn new(recipe: &Recipe, _model: &str, interrupt: Interrupt) -> Screen {
        Screen { interrupt, steps: recipe.steps }
    }
}

impl Watch for Screen {
    fn record(&mut self, record: &Record) {
        let wanted = ["reward/mean", "accuracy", "held_out/accuracy", "held_out/accuracy_strict", "held_out/loss", "loss", "policy/entropy", "sampler/mismatch", "groups/flat_share", "length/mean", "length/truncated_share", "optimizer/gradient_norm", "speed/drawn_per_second", "speed/trained_per_second", "seconds/drawing", "seconds/training"];
        let shown: Vec<String> = wanted
            .iter()
            .filter_map(|name| Some(format!("{name} {:.4}", record.scalar(name)?)))
            .collect();
        eprintln!("step {}/{}  {}", record.step, self.steps, shown.join("  "));
    }

    fn note(&mut self, text: &str) {
        eprintln!("{text}");
    }

    fn phase(&mut self, _what: &str, _done: usize, _total: usize) {}

    fn stopped(&self) -> bool {
        self.interrupt.pressed()
    }
}
