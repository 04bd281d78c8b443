//! safetensors, and the JSON files around it.

use std::path::Path;

use proptest::prelude::*;
use weights::inspect::inspect;
use weights::safetensors::{Header, SafetensorsDir};

/// A file with this header and `data` bytes behind it.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0x55);
    bytes
}

fn entry(name: &str, dtype: &str, shape: &str, start: u64, end: u64) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
}

fn sound() -> Vec<u8> {
    let a = entry("model.norm.weight", "BF16", "[4]", 0, 8);
    let b = entry("lm_head.weight", "F32", "[2,4]", 8, 40);
    file(&format!(r#"{{"__metadata__":{{"format":"pt"}},{a},{b}}}"#), 40)
}

/// The message that opening these bytes gives, with the directory cut off.
fn refusal(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    std::fs::write(&path, bytes).unwrap();
    std::fs::write(dir.path().join("config.json"), "{}").unwrap();
    let report = inspect(dir.path(), None).unwrap();
    assert!(!report.is_complete() && !report.to_string().is_empty());
    let error = SafetensorsDir::open(dir.path()).expect_err("must be refused");
    error.to_string().replace(&format!("{}/", dir.path().display()), "")
}

#[test]
fn the_sound_file_opens() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("model.safetensors"), sound()).unwrap();
    std::fs::write(dir.path().join("config.json"), "{}").unwrap();
    let model = SafetensorsDir::open(dir.path()).unwrap();
    assert_eq!(model.tensor("lm_head.weight").unwrap().data, [0x55; 32]);
    assert_eq!(model.gguf_tensor("output.weight").unwrap().info.shape, [2, 4]);
    assert_eq!(inspect(dir.path(), None).unwrap().problems, [""; 0]);
}

#[test]
fn cut_at_every_byte() {
    let whole = sound();
    for len in 0..whole.len() {
        let message = refusal(&whole[..len]);
        assert!(
            message.contains("bytes too early; the file is damaged or incomplete"),
            "{message}"
        );
    }
}

#[test]
fn every_byte_changed_is_survived() {
    let whole = sound();
    for at in 0..whole.len() - 40 {
        for change in [0x01, 0x02, 0x10, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= change;
            if let Ok(header) = Header::parse(&bytes, Path::new("m")) {
                let _ = header.layout(bytes.len() as u64, 0, Path::new("m"));
            }
        }
    }
}

#[test]
fn bad_headers() {
    let damaged = "the file is damaged or incomplete, fetch it again";
    assert_eq!(
        refusal(&u64::MAX.to_le_bytes()),
        "model.safetensors: header length: 18446744073709551615 bytes, more than the 100000000 \
         the format allows; this is not a safetensors file or it is damaged, fetch it again"
    );
    assert_eq!(
        refusal(&99_000_000u64.to_le_bytes()),
        format!("model.safetensors: header: the file ends 99000000 bytes too early; {damaged}")
    );
    for (header, why) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("[]", "invalid type: sequence, expected an object with an entry per tensor"),
        (r#"{"a":3}"#, "entry `a`: invalid type: integer `3`, expected struct Entry"),
        (r#"{"a":{"dtype":"F32"}}"#, "entry `a`: missing field `shape`"),
        (
            r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#,
            "entry `a`: invalid value: integer `-1`, expected u64",
        ),
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}"#,
            "entry `a`: trailing characters",
        ),
        (r#"{"__metadata__":{"a":1}}"#, "entry `__metadata__`: invalid type: integer `1`"),
    ] {
        let message = refusal(&file(header, 0));
        assert!(message.starts_with(&format!("model.safetensors: header: {why}")), "{message}");
        assert!(message.ends_with(damaged), "{message}");
    }
    let twice = format!("{{{0},{0}}}", entry("a", "F32", "[1]", 0, 4));
    let message = refusal(&file(&twice, 4));
    assert!(message.contains("header: entry `a`: appears twice"), "{message}");
    let deep = format!(r#"{{"a":{{"dtype":{}"#, "[".repeat(100_000));
    assert!(refusal(&file(&deep, 0)).contains("header: entry `a`"));
}

#[test]
fn bad_tensors() {
    let one = |dtype, shape, start, end| {
        refusal(&file(&format!("{{{}}}", entry("t", dtype, shape, start, end)), 16))
    };
    let damaged = "the file is damaged or incomplete, fetch it again";
    let huge = u64::MAX;
    for (message, expected) in [
        (one("F32", "[4]", 0, 8), "data_offsets [0, 8] are not the 16 bytes of shape [4] in F32"),
        (one("F32", "[4]", 16, 0), "data_offsets [16, 0] are not the 16 bytes of shape [4] in F32"),
        (one("F32", "[4]", 8, 24), "the file ends 8 bytes too early"),
        (
            one("F32", "[4]", huge - 16, huge),
            "data_offsets up to 18446744073709551615 lie outside any file",
        ),
        (one("F32", "[0]", 0, 0), "has a dimension of 0 in its shape [0]"),
        (
            one("F16", "[4294967296,4294967296,2]", 0, 16),
            "shape [4294967296, 4294967296, 2] is too large",
        ),
        (one("F16", "[1,1,1,1,1,1,1,1,1]", 0, 2), "9 dimensions, more than the 8 allowed"),
    ] {
        assert_eq!(message, format!("model.safetensors: tensor `t`: {expected}; {damaged}"));
    }
    assert_eq!(
        one("I64", "[2]", 0, 16),
        "model.safetensors: tensor `t`: element type I64 is not supported; use a file of the same \
         model in F32, F16 or BF16"
    );
    let header =
        format!("{{{},{}}}", entry("a", "F32", "[2]", 0, 8), entry("b", "F32", "[2]", 4, 12));
    assert_eq!(
        refusal(&file(&header, 12)),
        format!("model.safetensors: tensor `b`: its data overlaps that of `a`; {damaged}")
    );
}

#[test]
fn bad_indexes() {
    let dir = tempfile::tempdir().unwrap();
    let index = dir.path().join("model.safetensors.index.json");
    let refusal = |json: &str| {
        std::fs::write(&index, json).unwrap();
        let _ = inspect(dir.path(), None);
        let error = SafetensorsDir::open(dir.path()).expect_err(json);
        error.to_string().replace(&format!("{}/", dir.path().display()), "")
    };
    for escape in ["../secret.safetensors", "/etc/passwd", "a/b.safetensors", "..", ""] {
        assert_eq!(
            refusal(&format!(r#"{{"weight_map":{{"t":"{escape}"}}}}"#)),
            format!(
                "model.safetensors.index.json: weight_map: \"{escape}\" is not a plain file name; \
                 the file is damaged or incomplete, fetch it again"
            )
        );
    }
    assert!(refusal("{").starts_with("model.safetensors.index.json: JSON: EOF"));
    assert!(refusal("{}").contains("index: missing field `weight_map`"));
    assert!(refusal(r#"{"weight_map":{}}"#).contains("weight_map: is empty"));
    assert_eq!(
        refusal(r#"{"weight_map":{"t":"s1.safetensors"}}"#),
        "model.safetensors.index.json: shard 1 of 1 (s1.safetensors) is missing; fetch it, or put \
         it beside the others"
    );
    std::fs::write(dir.path().join("s1.safetensors"), sound()).unwrap();
    assert_eq!(
        refusal(r#"{"weight_map":{"t":"s1.safetensors"}}"#),
        "model.safetensors.index.json: weight_map: tensor `t` is not in s1.safetensors; the \
         shards are not of one model, fetch them again"
    );
}

#[test]
fn a_tensor_under_two_names_is_refused() {
    let header = format!(
        "{{{},{}}}",
        entry("model.norm.weight", "F32", "[1]", 0, 4),
        entry("norm.weight", "F32", "[1]", 4, 8)
    );
    assert!(
        refusal(&file(&header, 8)).contains("tensor `output_norm.weight`: is in the model twice")
    );
}

proptest! {
    #[test]
    fn any_header_is_survived(text in r#"[{}\[\]":,0-9a-fF]{0,80}"#, data in 0usize..20) {
        let bytes = file(&text, data);
        if let Ok(header) = Header::parse(&bytes, Path::new("m")) {
            let _ = header.layout(bytes.len() as u64, 0, Path::new("m"));
        }
    }

    #[test]
    fn any_entry_is_survived(
        dtype in "F32|F16|BF16|I8|x", dims in proptest::collection::vec(any::<u64>(), 0..4),
        start in any::<u64>(), end in any::<u64>(),
    ) {
        let shape = format!("{dims:?}");
        let bytes = file(&format!("{{{}}}", entry("t", &dtype, &shape, start, end)), 8);
        let header = Header::parse(&bytes, Path::new("m")).unwrap();
        prop_assert_eq!(header.tensors[0].shape.clone(), dims);
        let _ = header.layout(bytes.len() as u64, 0, Path::new("m"));
    }
}
