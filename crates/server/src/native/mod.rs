//! llama-server's own endpoints, which many tools speak.

pub(crate) mod completion;
pub(crate) mod state;
pub(crate) mod tokenize;
