//! Where the tests find real models.

use std::path::PathBuf;

use weights::store::Store;

/// The file of a real model: `file` in `$PONDER_TEST_MODELS`, or what the store has under `name`.
/// Where there is neither, the test that asks says so and passes.
pub fn real_model(name: &str, file: &str) -> Option<PathBuf> {
    let given = std::env::var_os("PONDER_TEST_MODELS").map(|dir| PathBuf::from(dir).join(file));
    let found = given.filter(|path| path.is_file()).or_else(|| {
        let installed = Store::from_env().ok()?.installed(name).ok()??;
        Some(installed.path())
    });
    if found.is_none() {
        eprintln!("skipped: no {file} in $PONDER_TEST_MODELS and no {name} in the store");
    }
    found
}
