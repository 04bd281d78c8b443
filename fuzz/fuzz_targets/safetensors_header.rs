//! The safetensors header: whatever the bytes, no panic; and every tensor that is accepted lies
//! inside the file.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use weights::safetensors::{Header, names};

fn check(bytes: &[u8]) {
    let path = Path::new("model.safetensors");
    let Ok(header) = Header::parse(bytes, path) else { return };
    let Ok(tensors) = header.layout(bytes.len() as u64, 0, path) else { return };
    for t in &tensors {
        assert_eq!(bytes[t.offset..t.offset + t.bytes].len(), t.bytes);
        assert!(t.bytes > 0 && t.elements() > 0 && t.rows() * t.cols() == t.elements());
        if let Some(gguf) = names::to_gguf(&t.name) {
            let hf = names::to_hf(&gguf).expect("names go both ways");
            assert!(hf == t.name || hf.strip_prefix("model.") == Some(&t.name));
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // A length that fits takes the fuzzer straight to the JSON; the last byte says how much of
    // the rest is data.
    if let Some((&data, text)) = bytes.split_last() {
        let json = text.len().saturating_sub(data as usize);
        let mut file = (json as u64).to_le_bytes().to_vec();
        file.extend(text);
        check(&file);
    }
});
