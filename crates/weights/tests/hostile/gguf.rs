//! GGUF.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use weights::gguf::{Gguf, Header, Partial};
use weights::inspect::inspect;

use crate::bytes::*;

fn write(dir: &Path, raw: &Raw) -> PathBuf {
    let path = dir.join("m.gguf");
    std::fs::write(&path, &raw.0).unwrap();
    path
}

/// The message that opening these bytes gives, with the directory cut off.
fn refusal(raw: &Raw) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), raw);
    // The tolerant readers must survive the same bytes, and must not call them sound.
    if let Ok(partial) = Partial::open(&path) {
        assert!(!partial.problems.is_empty(), "Partial found nothing wrong");
        assert!(!inspect(&path, None).unwrap().to_string().is_empty());
    }
    let error = Gguf::open(&path).expect_err("must be refused");
    assert_eq!(error.path(), path);
    error.to_string().replace(&format!("{}/", dir.path().display()), "")
}

#[test]
fn the_sound_file_opens() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), &sound());
    let gguf = Gguf::open(&path).unwrap();
    assert_eq!(gguf.tensors()[0].shape, [3, 32]);
    assert_eq!(gguf.tensor("output_norm.weight").unwrap().data, [0x55; 20]);
    assert_eq!(
        gguf.metadata().require_str_array("tokenizer.ggml.tokens").unwrap().get(2),
        Some("ßü")
    );
    assert_eq!(Partial::open(&path).unwrap().problems, [""; 0]);
}

#[test]
fn cut_at_every_byte() {
    let whole = sound();
    let dir = tempfile::tempdir().unwrap();
    for len in 0..whole.0.len() {
        let path = write(dir.path(), &Raw(whole.0[..len].to_vec()));
        let message = Gguf::open(&path).expect_err(&format!("cut at {len}")).to_string();
        assert!(message.starts_with(path.to_str().unwrap()), "{message}");
        assert!(
            message.contains("bytes too early; the file is damaged or incomplete"),
            "{message}"
        );
        match Partial::open(&path) {
            // Not even the version is there.
            Err(_) => assert!(len < 8, "cut at {len}"),
            Ok(partial) => {
                assert!(!partial.problems.is_empty(), "cut at {len}");
                assert!(!inspect(&path, Some(1)).unwrap().is_complete());
            }
        }
    }
}

#[test]
fn every_byte_changed_is_survived() {
    let whole = sound();
    let dir = tempfile::tempdir().unwrap();
    for at in 0..whole.0.len() - 148 {
        for change in [0x01, 0x80] {
            let mut raw = whole.clone();
            raw.0[at] ^= change;
            let path = write(dir.path(), &raw);
            if let Err(error) = Gguf::open(&path) {
                assert!(error.to_string().starts_with(path.to_str().unwrap()), "{error}");
            }
            let _ = inspect(&path, None);
        }
    }
}

#[test]
fn what_is_not_gguf() {
    assert_eq!(
        refusal(&Raw::default()),
        "m.gguf: magic: the file ends 4 bytes too early; the file is damaged or incomplete, fetch \
         it again"
    );
    assert_eq!(
        refusal(&Raw(b"PK\x03\x04....".to_vec())),
        "m.gguf: magic: \"PK\\x03\\x04\" is not \"GGUF\"; this is not a GGUF file, name another"
    );
    let version = |bytes: &[u8]| refusal(&Raw(b"GGUF".to_vec()).bytes(bytes).u64(0).u64(0));
    assert_eq!(
        version(&[0, 0, 0, 3]),
        "m.gguf: version: big-endian GGUF is not supported; use the little-endian file of the \
         same model"
    );
    assert_eq!(
        version(&[1, 0, 0, 0]),
        "m.gguf: version: GGUF version 1 is not supported; convert the model again with a current \
         converter"
    );
    assert_eq!(
        version(&[4, 0, 0, 0]),
        "m.gguf: version: GGUF version 4 is not supported; versions 2 and 3 are; use a newer \
         ponder or convert the model again"
    );
}

#[test]
fn absurd_counts_and_lengths() {
    for (raw, field) in [
        (Raw::file(0, 1 << 16), "name of metadata key 1 of 65536"),
        (Raw::file(u64::MAX, 0), "name of tensor 1 of 18446744073709551615"),
        (Raw::file(0, 1).u64(u64::MAX), "name of metadata key 1 of 1"),
        (Raw::file(0, 1).key("k", STR).u64(1 << 62), "metadata key `k` (1 of 1)"),
        (Raw::file(0, 1).key("k", ARRAY).u32(U32).u64(u64::MAX), "metadata key `k` (1 of 1)"),
        (Raw::file(0, 1).key("k", ARRAY).u32(STR).u64(u64::MAX), "metadata key `k` (1 of 1)"),
        (Raw::file(0, 1).key("k", ARRAY).u32(STR).u64(1 << 61), "metadata key `k` (1 of 1)"),
        (Raw::file(0, 1).key("k", ARRAY).u32(ARRAY).u64(u64::MAX), "metadata key `k` (1 of 1)"),
        (
            Raw::file(0, 1).key("k", ARRAY).u32(STR).u64(1).u64(u64::MAX),
            "metadata key `k` (1 of 1)",
        ),
        (Raw::file(1, 0).u64(u64::MAX), "name of tensor 1 of 1"),
    ] {
        let message = refusal(&raw);
        assert!(message.starts_with(&format!("m.gguf: {field}: the file ends ")), "{message}");
    }
}

#[test]
fn more_keys_than_any_model_has() {
    assert_eq!(
        refusal(&Raw::file(0, u64::MAX)),
        "m.gguf: metadata key count: 18446744073709551615 keys are more than 65536; the file is \
         damaged or incomplete, fetch it again"
    );
}

#[test]
fn bad_metadata() {
    let deep = (0..20).fold(Raw::file(0, 1).key("k", ARRAY), |raw, _| raw.u32(ARRAY).u64(1));
    for (raw, message) in [
        (
            Raw::file(0, 2).key("k", BOOL).bytes(&[1]).key("k", BOOL).bytes(&[1]),
            "metadata key `k` (2 of 2): appears twice",
        ),
        (
            Raw::file(0, 1).u64(3).bytes(b"a\xffb").u32(U8).bytes(&[0]),
            "name of metadata key 1 of 1: is not UTF-8 after its first 1 bytes",
        ),
        (
            Raw::file(0, 1).key("k", STR).u64(2).bytes(b"\xc3\x28"),
            "metadata key `k` (1 of 1): is not UTF-8 after its first 0 bytes",
        ),
        (
            Raw::file(0, 1).key("k", ARRAY).u32(STR).u64(2).str("ok").u64(1).bytes(b"\xff"),
            "metadata key `k` (1 of 1): string 1 of the array is not UTF-8",
        ),
        (
            // "ß", cut between two strings.
            Raw::file(0, 1)
                .key("k", ARRAY)
                .u32(STR)
                .u64(3)
                .str("ok")
                .u64(1)
                .bytes(b"\xc3")
                .u64(1)
                .bytes(b"\x9f"),
            "metadata key `k` (1 of 1): string 1 of the array is not UTF-8",
        ),
        (Raw::file(0, 1).key("k", 13), "metadata key `k` (1 of 1): 13 is no value type"),
        (
            Raw::file(0, 1).key("k", ARRAY).u32(99).u64(1),
            "metadata key `k` (1 of 1): 99 is no value type",
        ),
        (Raw::file(0, 1).key("k", BOOL).bytes(&[2]), "metadata key `k` (1 of 1): 2 is no boolean"),
        (deep, "metadata key `k` (1 of 1): arrays nested more than 4 deep"),
    ] {
        let expected =
            format!("m.gguf: {message}; the file is damaged or incomplete, fetch it again");
        assert_eq!(refusal(&raw), expected);
    }
}

#[test]
fn a_hostile_name_neither_floods_nor_steers_the_terminal() {
    let name = format!("\x1b[2J{}", "x".repeat(5000));
    let message = refusal(&Raw::file(0, 1).key(&name, 13));
    assert!(message.len() < 300, "{message}");
    assert!(message.contains("`\\u{1b}[2Jxxx"), "{message}");
}

#[test]
fn bad_alignment() {
    for alignment in [0u32, 3, 48, 1 << 21] {
        let raw = Raw::file(0, 1).key("general.alignment", U32).u32(alignment);
        assert_eq!(
            refusal(&raw),
            format!(
                "m.gguf: metadata key `general.alignment`: {alignment} is not a power of two up \
                 to 1048576; the file is damaged or incomplete, fetch it again"
            )
        );
    }
    assert_eq!(
        refusal(&Raw::file(0, 1).key("general.alignment", STR).str("32")),
        "m.gguf: metadata key `general.alignment`: expected an unsigned integer, found a string \
         of 2 bytes; convert the model again with a current converter"
    );
}

#[test]
fn bad_tensors() {
    let one = |dims: &[u64], ty, offset| Raw::file(1, 0).tensor("t", dims, ty, offset).data(64);
    let damaged = "; the file is damaged or incomplete, fetch it again";
    for (raw, message) in [
        (one(&[], F32, 0), format!("tensor `t` (1 of 1): has 0 dimensions, not 1 to 4{damaged}")),
        (
            one(&[1; 5], F32, 0),
            format!("tensor `t` (1 of 1): has 5 dimensions, not 1 to 4{damaged}"),
        ),
        (
            one(&[4, 0], F32, 0),
            format!("tensor `t`: has a dimension of 0 in its shape [0, 4]{damaged}"),
        ),
        (
            one(&[33, 1], Q8_0, 0),
            format!("tensor `t`: rows of 33 are not a whole number of Q8_0 blocks of 32{damaged}"),
        ),
        (
            one(&[1 << 33, 1 << 33], F32, 0),
            format!("tensor `t`: shape [8589934592, 8589934592] is too large{damaged}"),
        ),
        (
            one(&[u64::MAX, 2], F32, 0),
            format!("tensor `t`: shape [2, 18446744073709551615] is too large{damaged}"),
        ),
        (
            one(&[4], F32, 8),
            format!("tensor `t`: offset 8 is not a multiple of the alignment 32{damaged}"),
        ),
        (
            one(&[16], F32, 32),
            "tensor `t`: the file ends 32 bytes too early; the file is damaged or incomplete, \
             fetch it again"
                .to_owned(),
        ),
        (
            one(&[16], F32, u64::MAX - 31),
            format!("tensor `t`: offset 18446744073709551584 lies outside any file{damaged}"),
        ),
        (
            one(&[16], 40, 0),
            "tensor `t`: storage type 40 (NVFP4) is not supported; use a file of the same model \
             in a type that is, such as Q4_K_M or Q8_0"
                .to_owned(),
        ),
        (
            one(&[250, 2], IQ2_XXS, 0),
            format!(
                "tensor `t`: rows of 250 are not a whole number of IQ2_XXS blocks of 256{damaged}"
            ),
        ),
        (
            one(&[256], IQ2_XXS, 0),
            "tensor `t`: the file ends 2 bytes too early; the file is damaged or incomplete, \
             fetch it again"
                .to_owned(),
        ),
        (
            one(&[16], 4711, 0),
            "tensor `t`: storage type 4711 (unknown) is not supported; use a file of the same \
             model in a type that is, such as Q4_K_M or Q8_0"
                .to_owned(),
        ),
        (
            Raw::file(2, 0).tensor("t", &[4], F32, 0).tensor("t", &[4], F32, 32).data(64),
            format!("tensor `t`: appears twice{damaged}"),
        ),
        (
            Raw::file(2, 0).tensor("a", &[12], F32, 0).tensor("b", &[4], F32, 32).data(64),
            format!("tensor `b`: its data overlaps that of `a`{damaged}"),
        ),
        (
            Raw::file(2, 0).tensor("a", &[4], F32, 0).tensor("b", &[4], F32, 0).data(64),
            format!("tensor `b`: its data overlaps that of `a`{damaged}"),
        ),
    ] {
        assert_eq!(refusal(&raw), format!("m.gguf: {message}"));
    }
}

#[test]
fn unknown_types_are_listed_by_inspect() {
    let dir = tempfile::tempdir().unwrap();
    let raw = Raw::file(2, 0).tensor("a", &[256], 40, 0).tensor("b", &[4], F32, 96).data(112);
    let report = inspect(&write(dir.path(), &raw), None).unwrap();
    assert_eq!(report.types[0].ty, "NVFP4");
    assert_eq!((report.types[0].bytes, report.types[0].parameters), (96, 256));
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert!(report.problems[0].contains("storage type 40 (NVFP4)"));
}

#[test]
fn what_is_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let message = Gguf::open(&dir.path().join("absent.gguf")).unwrap_err().to_string();
    assert!(message.contains("absent.gguf: cannot open: No such file"), "{message}");
    assert!(message.ends_with("; check the path"), "{message}");
    let message = Gguf::open(dir.path()).unwrap_err().to_string();
    assert!(message.ends_with("file: this is a directory; name a model file"), "{message}");
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let raw = Raw(b"GGUF\x03\0\0\0".to_vec()).bytes(&bytes);
        let (header, _) = Header::parse_partial(&raw.0, Path::new("m.gguf"));
        let _ = header.layout(raw.0.len() as u64, 0, Path::new("m.gguf"));
    }

    /// Small numbers in all the fields get deeper into the parser than random bytes do.
    #[test]
    fn any_small_numbers_are_survived(
        tensors in 0u64..4, keys in 0u64..4, words in proptest::collection::vec(0u32..12, 0..100),
    ) {
        let raw = words.iter().fold(Raw::file(tensors, keys), |raw, &word| raw.u32(word));
        let (header, _) = Header::parse_partial(&raw.0, Path::new("m.gguf"));
        let _ = header.layout(raw.0.len() as u64, 0, Path::new("m.gguf"));
    }
}
