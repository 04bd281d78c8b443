//! Programs: run in a sandbox and held against tests.
