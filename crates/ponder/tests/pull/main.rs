//! Stories of `ponder pull`, `list` and `rm`, told through the binary: no test here touches the
//! network or the user's own store.

#![cfg(unix)]

mod datasets;
mod hub;
mod pip;
mod support;
