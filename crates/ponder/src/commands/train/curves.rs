//! A run's figures as a drawing.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use learn::Recipe;
use learn::journal::curves::{Panel, Run, curves};
use learn::journal::{Record, read};

/// What is drawn where it is there: the figure, what stands above it, and its unit.
const PANELS: [(&str, &str, &str); 10] = [
    ("held_out/accuracy", "right, held out", "%"),
    ("held_out/loss", "loss, held out", "nats"),
    ("held_out/rewards/accuracies", "pairs told apart, held out", "%"),
    ("held_out/reward/accuracy", "pairs told apart, held out", "%"),
    ("reward/mean", "reward", ""),
    ("loss", "loss", ""),
    ("length/mean", "length of a completion", "tokens"),
    ("length/truncated_share", "cut off", "%"),
    ("policy/entropy", "entropy", "nats"),
    ("sampler/mismatch", "sampler and trainer apart", "nats"),
];

/// Draws the recipe's run, and those in the folders `beside`, into `file`.
pub fn draw(recipe: &Recipe, beside: &[PathBuf], file: &Path) -> Result<()> {
    let folders: Vec<&Path> =
        std::iter::once(&*recipe.out).chain(beside.iter().map(PathBuf::as_path)).collect();
    let mut runs: Vec<(String, Vec<Record>)> = Vec::new();
    for folder in &folders {
        let name = folder.file_name().unwrap_or(folder.as_os_str());
        runs.push((name.to_string_lossy().into_owned(), read(folder)?));
    }
    let runs: Vec<Run<'_>> = runs.iter().map(|(name, records)| Run { name, records }).collect();
    // The loss of rewards says nothing by itself.
    let rewards = runs.iter().any(|run| run.records.iter().any(|r| r.scalar("accuracy").is_some()));
    let panels: Vec<Panel> = PANELS
        .iter()
        .filter(|(scalar, ..)| !(rewards && *scalar == "loss"))
        .map(|(scalar, title, unit)| Panel {
            scalar: (*scalar).to_owned(),
            title: (*title).to_owned(),
            unit: (*unit).to_owned(),
        })
        .collect();
    let Some(svg) = curves(&runs, &panels) else {
        bail!("{} has no figures yet", recipe.out.display());
    };
    std::fs::write(file, svg).with_context(|| format!("cannot write {}", file.display()))
}
