//! An importance matrix of the older form: no panic, and nothing larger than the file.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use weights::quantize::Importance;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(importance) = Importance::of_bytes(bytes, Path::new("imatrix.dat")) {
        // Each entry takes at least a length, a name, two numbers and a value.
        assert!(16 * importance.len() <= bytes.len());
    }
});
