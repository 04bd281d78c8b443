//! `ponder inspect`: what is in a model file, complete or not.

use std::io::Write;
use std::path::PathBuf;

use anyhow::bail;
use weights::catalogue::ModelRef;
use weights::inspect::inspect;

use crate::model_arg::Library;
use crate::progress::Bar;

/// Show what a model is: architecture, parameters, types, context, template, memory.
///
/// Works on files that are not complete, too, and says what is missing; the exit code is then 1.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A GGUF or safetensors file, a directory of safetensors, or the name of a model in `ponder
    /// list`.
    #[arg(value_name = "FILE|MODEL")]
    model: String,

    /// Reckon the memory for this many tokens.
    #[arg(long, value_name = "TOKENS")]
    ctx: Option<u64>,

    /// A JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// Prints the report.
pub fn run(args: Args) -> anyhow::Result<()> {
    let path = find(&args.model)?;
    let report = inspect(&path, args.ctx)?;
    let fit = engine::available_memory().and_then(|free| Some((free, report.fitting(free)?)));
    let mut out = std::io::stdout().lock();
    if args.json {
        let mut report = serde_json::to_value(&report)?;
        report["available_memory"] = fit.map(|(free, _)| free).into();
        report["fitting_context"] = fit.map(|(_, fitting)| fitting).into();
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        write!(out, "{report}")?;
        if let Some((free, fitting)) = fit {
            writeln!(out, "\n{}", told(free, fitting, report.context))?;
        }
    }
    if !report.is_complete() {
        let hint = "hint: what is missing or wrong is in the report";
        bail!("{} is not complete\n{hint}", path.display());
    }
    Ok(())
}

/// How much of the model there is room for now.
fn told(free: u64, fitting: u64, context: Option<u64>) -> String {
    let free = format!("{:.1} GB of memory are free now", free as f64 / 1e9);
    match fitting {
        0 => format!(
            "{free}: not enough for all weights; `ponder run` reads some from the file for each step"
        ),
        _ if context.is_some_and(|whole| fitting >= whole) => {
            format!("{free}: enough for the whole context")
        }
        _ => format!(
            "{free}: enough for a context of {fitting} tokens (of twice as many with --kv-cache-type q8_0)"
        ),
    }
}

/// The file meant. Looking at a model is no reason to fetch it, but one whose pull was interrupted
/// can be looked at as far as it has come.
fn find(argument: &str) -> anyhow::Result<PathBuf> {
    let library = Library::open(true)?;
    let reference = match ModelRef::parse(argument, &library.catalogue)? {
        ModelRef::Path(path) => return Ok(path),
        reference => reference,
    };
    if let Some(installed) = library.puller(&Bar::new()).installed(&reference)? {
        return Ok(installed.path());
    }
    let directory = match &reference {
        ModelRef::Row { model, quant: None } => library.store.directory(&model.name),
        _ => library.store.directory(argument),
    };
    let parts =
        std::fs::read_dir(&directory).into_iter().flatten().flatten().map(|entry| entry.path());
    match parts.into_iter().find(|path| path.extension().is_some_and(|e| e == "part")) {
        Some(part) => Ok(part),
        None => {
            bail!("`{argument}` is not on this machine\nhint: `ponder pull {argument}` fetches it")
        }
    }
}
