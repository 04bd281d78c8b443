//! `ponder pull`: fetch a model now instead of at its first use.

use std::io::Write;

use weights::catalogue::ModelRef;
use weights::pull::human_bytes;

use crate::model_arg::Library;
use crate::progress::Bar;

/// Fetch a model, verify it and keep it.
///
/// An interrupted pull is taken up where it stopped by running it again. Honours HF_ENDPOINT,
/// HF_TOKEN, HF_HOME and HTTPS_PROXY; models are kept in PONDER_HOME (by default ~/.cache/ponder).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A short name (`ponder list --all`) or `owner/repo[@revision][:QUANT]` on the hub. Without
    /// it, the default model.
    #[arg(value_name = "MODEL")]
    models: Vec<String>,

    /// Never touch the network: only say whether the model is here.
    #[arg(long, env = "PONDER_OFFLINE", value_parser = clap::builder::FalseyValueParser::new())]
    offline: bool,
}

/// Pulls each model in turn and says where it is.
pub fn run(args: Args) -> anyhow::Result<()> {
    let library = Library::open(args.offline)?;
    let mut models = args.models;
    if models.is_empty() {
        models.push(library.catalogue.default_name().to_owned());
    }
    let mut out = std::io::stdout().lock();
    for argument in &models {
        let reference = ModelRef::parse(argument, &library.catalogue)?;
        if let ModelRef::Path(path) = &reference {
            writeln!(out, "{} is a file on this machine already", path.display())?;
            continue;
        }
        let bar = Bar::new();
        let puller = library.puller(&bar);
        let before = puller.installed(&reference)?;
        let what = if before.is_some() { "is already here" } else { "is here now" };
        let installed = match before {
            Some(found) => found,
            None => puller.pull(&reference)?,
        };
        let (name, path) = (&installed.manifest.name, installed.path());
        writeln!(out, "{name} {what}: {} ({})", path.display(), human_bytes(installed.size()))?;
    }
    Ok(())
}
