//! The `ponder` binary.
fn main() {}
