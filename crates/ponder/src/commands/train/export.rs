//! `ponder train export`: a recipe as a job for TRL or verl.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use learn::Recipe;
use learn::export::{Library, export};

/// Write a recipe down as a job for TRL or verl, to be run on other machines
///
/// The folder has the data, the settings, the program and, for [grpo], a reward function that asks `ponder verify`.
/// What the library does otherwise is listed in its README and here. TRL takes [grpo], [sft] and [preference], verl
/// takes [grpo].
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The recipe.
    recipe: PathBuf,

    /// Values in place of the recipe's.
    #[arg(value_name = "KEY=VALUE", value_parser = super::replaced)]
    values: Vec<(String, String)>,

    /// Who is to run it: trl or verl.
    #[arg(long, value_name = "LIBRARY")]
    to: Library,

    /// The folder of the job, which is made; nothing is written over.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,

    /// What the library is to load: OWNER/NAME on the hub, or a directory of safetensors. The recipe's model if that
    /// is one of these.
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
}

/// Writes the job.
pub fn run(args: &Args) -> Result<ExitCode> {
    let recipe = Recipe::open(&args.recipe, &args.values)
        .with_context(|| format!("cannot use {}", args.recipe.display()))?;
    let model = match &args.model {
        Some(model) => model.clone(),
        None if is_loadable(&recipe.model) => recipe.model.clone(),
        None => bail!(
            "{:?} is a name of this program's, or a file that neither library loads\n\
             hint: name what it is there, as in --model Qwen/Qwen2.5-Coder-0.5B-Instruct",
            recipe.model
        ),
    };
    let job = export(&recipe, args.to, &model)?;
    job.write(&args.output)?;
    let output = args.output.display();
    eprintln!("{output}: {} files; README.md says how it is run", job.files.len());
    if !job.differences.is_empty() {
        eprintln!("otherwise than in the recipe:");
    }
    for difference in &job.differences {
        eprintln!("- {difference}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether `transformers` can make something of a recipe's model.
fn is_loadable(model: &str) -> bool {
    let path = Path::new(model);
    let hub = model.split('/').count() == 2 && !model.starts_with(['.', '~', '/']);
    path.join("config.json").is_file()
        || (hub && !model.contains(':') && !model.ends_with(".gguf") && !path.exists())
}
