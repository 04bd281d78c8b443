//! Rows of Parquet files, the form in which most datasets are kept (<https://parquet.apache.org/docs/file-format/>).

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::{Map, Value};

use super::MOST;

/// What a Parquet file begins with, and ends with.
pub(super) const MAGIC: &[u8; 4] = b"PAR1";

/// All rows of a file. Nested columns become lists and objects, bytes base64, dates texts.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn read(file: File) -> Result<Vec<Map<String, Value>>, String> {
    // The decoder trusts a file's own figures here and there, and takes itself down over wrong ones.
    catch_unwind(AssertUnwindSafe(|| rows(file)))
        .unwrap_or_else(|_| Err("the file is damaged: its parts don't fit together".to_owned()))
}

fn rows(file: File) -> Result<Vec<Map<String, Value>>, String> {
    let said = |error: parquet::errors::ParquetError| format!("no Parquet file: {error}");
    let reader = SerializedFileReader::new(file).map_err(said)?;
    let groups = reader.metadata().row_groups();
    let bytes =
        groups.iter().map(|group| u64::try_from(group.total_byte_size()).unwrap_or(u64::MAX));
    let bytes = bytes.fold(0, u64::saturating_add);
    if bytes > MOST {
        return Err(format!("its rows take {bytes} bytes: at most {MOST} are read"));
    }
    let mut rows = Vec::new();
    for row in reader.get_row_iter(None).map_err(said)? {
        match row.map_err(said)?.to_json_value() {
            Value::Object(row) => rows.push(row),
            other => return Err(format!("row {} is no record: {other}", rows.len() + 1)),
        }
    }
    Ok(rows)
}
