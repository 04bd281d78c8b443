//! `ponder reason tune`: from a run to a calibration, kept beside the models.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use reason::strategy::{Calibration, Observed, Spec, learn};
use weights::store::Store;

use crate::commands::file_name;
use crate::reason_arg::read;

/// A run to learn from.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder of a run with several thoughts or samples of each item, as `ponder eval gsm8k -k 16`
    /// makes.
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// Accuracy that may be given up for fewer thoughts.
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    within: f64,

    /// Where to write it, instead of beside the models, where it is found by itself.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Learns.
pub fn run(args: &Args) -> Result<ExitCode> {
    let (manifest, samples) = eval::run::read(&args.run)?;
    let items: Vec<Observed> = eval::replay::thoughts(&samples)
        .into_values()
        .map(|thoughts| Observed {
            right: thoughts.iter().map(|had| had.right).collect(),
            tokens: thoughts.iter().map(|had| had.tokens).collect(),
            answers: thoughts.into_iter().map(|had| had.answer).collect(),
        })
        .collect();
    let learnt = learn(&manifest.model.name, &items, args.within)
        .with_context(|| format!("nothing can be learnt from {}", args.run.display()))?;
    let path = match &args.out {
        Some(path) => path.clone(),
        None => place(&learnt.model)?,
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&path, serde_json::to_string_pretty(&learnt)? + "\n")
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("{} items of {}: kept in {}", learnt.items, learnt.model, path.display());
    for (agree, (n, expected)) in learnt.thoughts.iter().zip(&learnt.expected).enumerate() {
        let curve: Vec<String> =
            expected.iter().map(|(n, right)| format!("{n}: {:.1} %", 100.0 * right)).collect();
        println!("{} of 3 agree: {n:>2} thoughts   ({})", agree + 1, curve.join("  "));
    }
    if let Some(most) = learnt.max_thinking {
        println!("longest thinking: {most} tokens");
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a model's calibration is kept.
fn place(model: &str) -> Result<PathBuf> {
    // Not `with_extension`: it would take the end of `qwen2.5-coder-0.5b` for one.
    let file = format!("{}.json", file_name(model));
    Ok(Store::from_env()?.root().join("calibrations").join(file))
}

/// Gives `auto` what is known of the model, if it has nothing yet.
pub fn recall(spec: &mut Spec, model: &str) {
    let Spec::Auto(auto) = spec else { return };
    if auto.calibration.is_some() {
        return;
    }
    let known = place(model).ok().filter(|path| Path::exists(path));
    auto.calibration = known.and_then(|path| -> Option<Calibration> {
        read(&path).inspect_err(|error| tracing::warn!("{error:#}")).ok()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_model_has_a_file_of_its_own() {
        let place = place("Qwen/qwen2.5-coder-0.5b").unwrap();
        assert!(place.ends_with("calibrations/Qwen-qwen2.5-coder-0.5b.json"), "{place:?}");
    }
}
