//! Low-rank adapters: what they compute, and which files are refused.

mod hostile;
mod results;
mod support;
