//! What tests of the sandbox share.
#![allow(dead_code)]

use std::path::PathBuf;

use verify::program::sandbox::{Options, Sandbox};

/// Options with this crate's own launcher: a test's binary is none.
pub fn options() -> Options {
    Options {
        launcher: Some(PathBuf::from(env!("CARGO_BIN_EXE_sandbox-launcher"))),
        ..Options::default()
    }
}

/// A sandbox, with what holds in it printed.
pub fn sandbox(no_namespaces: bool) -> Sandbox {
    let sandbox = Sandbox::new(Options { no_namespaces, ..options() }).expect("a sandbox");
    println!("layers: {}", sandbox.layers());
    sandbox
}
