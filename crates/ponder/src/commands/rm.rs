//! `ponder rm`: delete a model from the store.

use std::io::{IsTerminal, Write};

use anyhow::bail;
use weights::catalogue::{Catalogue, ModelRef};
use weights::pull::human_bytes;
use weights::store::Store;

/// Delete a model from this machine, also one that is only partly there.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The names, as `ponder list` shows them.
    #[arg(value_name = "MODEL", required = true)]
    models: Vec<String>,

    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
}

/// Asks, then deletes each model in turn.
pub fn run(args: Args) -> anyhow::Result<()> {
    let (catalogue, store) = (Catalogue::from_env()?, Store::from_env()?);
    for argument in &args.models {
        let Some(name) = stored_name(argument, &catalogue, &store) else {
            bail!("`{argument}` is not on this machine\nhint: `ponder list` shows what is");
        };
        if !args.yes && !confirm(&name)? {
            continue;
        }
        let freed = store.remove(&name)?.unwrap_or(0);
        writeln!(std::io::stdout(), "removed {name} ({})", human_bytes(freed))?;
    }
    Ok(())
}

/// The name a model is stored under: what was typed, or what that is short for. A model that is no
/// longer in the catalogue can be removed too.
fn stored_name(argument: &str, catalogue: &Catalogue, store: &Store) -> Option<String> {
    let mut names = vec![argument.to_owned()];
    match ModelRef::parse(argument, catalogue) {
        Ok(ModelRef::Row { model, quant: None }) => names.push(model.name.clone()),
        Ok(ModelRef::Row { model, quant: Some(quant) }) => {
            names.push(format!("{}:{quant}", model.name))
        }
        Ok(ModelRef::Repo { select: None, .. }) => {
            names.extend(store.installed_from(argument).ok().flatten().map(|m| m.manifest.name));
        }
        Ok(ModelRef::Repo { .. }) => {
            let upper =
                argument.rsplit_once(':').map(|(repo, q)| format!("{repo}:{}", q.to_uppercase()));
            names.extend(upper);
        }
        _ => {}
    }
    names.into_iter().find(|name| store.directory(name).is_dir())
}

fn confirm(name: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("not removing {name} unasked, and there is no terminal to ask on\nhint: add --yes");
    }
    eprint!("Remove {name}? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
