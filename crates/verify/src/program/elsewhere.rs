//! The sandbox on systems other than Linux: there is none, and nothing is run.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;

use super::{Language, Limits, Outcome};
use crate::CannotTell;

/// How a [`Sandbox`] is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Of no use here.
    pub launcher: Option<PathBuf>,
    /// Of no use here.
    pub allow_weaker: bool,
    /// Of no use here.
    pub no_namespaces: bool,
}

/// What holds the programs of a [`Sandbox`]: nothing does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layers(Infallible);

impl fmt::Display for Layers {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}

/// There is none.
#[derive(Debug)]
pub struct Sandbox(Infallible);

/// Returns: no process here is a launcher.
pub fn enter_if_asked() {}

impl Sandbox {
    /// # Errors
    /// Always [`CannotTell::Machine`].
    pub fn new(_: Options) -> Result<Self, CannotTell> {
        let why = "programs nobody has read are run on Linux only".to_owned();
        Err(CannotTell::Machine { what: "the sandbox".to_owned(), why })
    }

    /// What holds the programs.
    pub fn layers(&self) -> &Layers {
        match self.0 {}
    }

    /// Whether programs of the language can be run here.
    ///
    /// # Errors
    /// There is no sandbox to ask.
    pub fn has(&self, _: Language) -> Result<(), CannotTell> {
        match self.0 {}
    }

    /// Runs one program to its end.
    ///
    /// # Errors
    /// There is no sandbox to run it in.
    pub fn run(&self, _: Language, _: &str, _: &str, _: &Limits) -> Result<Outcome, CannotTell> {
        match self.0 {}
    }
}
