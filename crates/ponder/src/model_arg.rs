//! `-m`: from what the user typed to a file on this disk, pulled first if need be.

use std::path::PathBuf;

use weights::catalogue::{Catalogue, Model, ModelRef};
use weights::pull::{self, Dataset, Hub, Puller};
use weights::store::Store;

use crate::progress::Bar;

/// The arguments that name a model, to be flattened into a command's own.
#[derive(Debug, Clone, clap::Args)]
pub struct ModelArg {
    /// The model: a short name (`ponder list --all`), `owner/repo:QUANT` on the hub, or a path.
    ///
    /// Fetched first if it is not on this machine.
    #[arg(short, long, env = "PONDER_MODEL", value_name = "MODEL")]
    pub model: Option<String>,

    /// Never touch the network.
    #[arg(long, env = "PONDER_OFFLINE", value_parser = clap::builder::FalseyValueParser::new())]
    pub offline: bool,
}

/// A model ready to be opened.
#[derive(Debug, Clone)]
pub struct ResolvedModel {
    /// The (first) GGUF file, or the directory of a safetensors model.
    pub path: PathBuf,
    /// What to call it: catalogue name, `owner/repo:QUANT`, or the file's name.
    pub name: String,
    /// The catalogue's row, with the sampling its makers recommend, where there is one. A path has
    /// one too if its file bears the name of a file in the catalogue.
    pub row: Option<Model>,
}

impl ModelArg {
    /// Finds the model, or pulls it with a progress bar on stderr. Without `-m` it is the
    /// catalogue's default.
    pub fn resolve(&self) -> anyhow::Result<ResolvedModel> {
        let library = Library::open(self.offline)?;
        let argument = self.model.as_deref().unwrap_or(library.catalogue.default_name());
        library.resolve(argument)
    }
}

/// Catalogue, store and hub, as this user has them.
pub struct Library {
    /// What there is.
    pub catalogue: Catalogue,
    /// What is here.
    pub store: Store,
    hub: Option<Hub>,
}

impl Library {
    /// As the environment says; offline, there is no hub.
    pub fn open(offline: bool) -> anyhow::Result<Self> {
        Ok(Library {
            catalogue: Catalogue::from_env()?,
            store: Store::from_env()?,
            hub: (!offline).then(Hub::from_env),
        })
    }

    /// A puller that reports to `progress`.
    pub fn puller<'a>(&'a self, progress: &'a Bar) -> Puller<'a> {
        Puller { store: &self.store, hub: self.hub.as_ref(), progress }
    }

    /// The rows of a public dataset as a file of JSON lines, pulled first if they are not here.
    pub fn dataset(&self, dataset: &Dataset) -> Result<PathBuf, pull::Error> {
        dataset.pull(self.store.root(), self.hub.as_ref(), &Bar::new())
    }

    /// A file on this disk for what was typed, pulled first if it has to be.
    pub fn resolve(&self, argument: &str) -> anyhow::Result<ResolvedModel> {
        let reference = ModelRef::parse(argument, &self.catalogue)?;
        if let ModelRef::Path(path) = reference {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            let bears =
                |model: &&Model| model.files.iter().any(|f| f.name.eq_ignore_ascii_case(&name));
            let row = self.catalogue.models().iter().find(bears).cloned();
            return Ok(ResolvedModel { path, name, row });
        }
        let installed = self.puller(&Bar::new()).pull(&reference)?;
        let row = match reference {
            ModelRef::Row { model, .. } => Some(model.clone()),
            _ => None,
        };
        Ok(ResolvedModel { path: installed.path(), name: installed.manifest.name, row })
    }
}
