//! Rows of Parquet files as pyarrow writes them, and of broken ones.

use std::path::{Path, PathBuf};

use eval::rows;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parquet").join(name)
}

#[test]
fn rows_are_those_of_the_same_lines() {
    let columns = [("asked".to_owned(), "question".to_owned())];
    let lines = rows::read(&golden("rows.jsonl"), &columns).unwrap();
    assert_eq!(lines.len(), 7);
    for codec in ["snappy", "zstd", "gzip", "none"] {
        let file = golden(&format!("{codec}.parquet"));
        assert_eq!(rows::read(&file, &columns).unwrap(), lines, "{codec}");
        let wrong = rows::read(&file, &[("a".to_owned(), "b".to_owned())]).unwrap_err();
        assert!(wrong.to_string().contains("there is no column \"b\""), "{wrong}");
    }
}

#[test]
fn damaged_files_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.parquet");
    let whole = std::fs::read(golden("none.parquet")).unwrap();
    let (mut refused, mut read) = (0, 0);
    let mut tell = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        match rows::read(&path, &[]) {
            Ok(_) => read += 1,
            Err(error) => {
                assert!(error.to_string().contains("damaged.parquet"), "{error}");
                refused += 1;
            }
        }
    };
    for length in (4..whole.len()).step_by(7) {
        tell(&whole[..length]);
    }
    // Whatever a byte becomes, the file is read or refused.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    for at in (4..whole.len()).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        tell(&bytes);
    }
    std::panic::set_hook(hook);
    assert!(refused > whole.len() / 5 && read > 0, "{refused} refused, {read} read");
}
