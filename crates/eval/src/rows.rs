//! The rows of an items' file: JSON lines, plain or gzipped, or Parquet.

mod parquet;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::Error;

/// Most bytes of an items' file, unpacked: what more there is would not fit the memory either.
const MOST: u64 = 4 << 30;

/// Reads all rows. `columns` gives them other names: `(name wanted, name in the file)`.
///
/// # Errors
/// The file can't be read, or a line of it is no JSON object.
pub fn read(path: &Path, columns: &[(String, String)]) -> Result<Vec<Map<String, Value>>, Error> {
    let wrong = |error| Error::Read { path: path.to_owned(), error };
    let mut file = BufReader::new(File::open(path).map_err(wrong)?);
    if file.fill_buf().map_err(wrong)?.starts_with(parquet::MAGIC) {
        let read = parquet::read(file.into_inner());
        let mut rows = read.map_err(|why| Error::Parquet { path: path.to_owned(), why })?;
        for (i, row) in rows.iter_mut().enumerate() {
            rename(path, i + 1, row, columns)?;
        }
        return Ok(rows);
    }
    let mut rows = Vec::new();
    for (i, line) in BufReader::new(unpacked(file).map_err(wrong)?).lines().enumerate() {
        let line = line.map_err(wrong)?;
        if line.trim().is_empty() {
            continue;
        }
        let mut row: Map<String, Value> = serde_json::from_str(&line).map_err(|error| {
            let why = format!("a JSON object is wanted: {error}");
            Error::Line { path: path.to_owned(), line: i + 1, why }
        })?;
        rename(path, i + 1, &mut row, columns)?;
        rows.push(row);
    }
    Ok(rows)
}

/// Gives columns of a row the names that are wanted, too.
fn rename(
    path: &Path,
    line: usize,
    row: &mut Map<String, Value>,
    columns: &[(String, String)],
) -> Result<(), Error> {
    for (wanted, name) in columns {
        let value = row.get(name).cloned().ok_or_else(|| Error::Line {
            path: path.to_owned(),
            line,
            why: format!("there is no column {name:?}"),
        })?;
        row.insert(wanted.clone(), value);
    }
    Ok(())
}

/// Reads all bytes of a file, plain or gzipped.
///
/// # Errors
/// It can't be read.
pub fn bytes(path: &Path) -> Result<Vec<u8>, Error> {
    let wrong = |error| Error::Read { path: path.to_owned(), error };
    let mut bytes = Vec::new();
    let file = File::open(path).map(BufReader::new).and_then(unpacked);
    file.and_then(|mut file| file.read_to_end(&mut bytes)).map_err(wrong)?;
    Ok(bytes)
}

fn unpacked(mut file: BufReader<File>) -> std::io::Result<Box<dyn Read>> {
    let packed = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(match packed {
        true => Box::new(MultiGzDecoder::new(file).take(MOST)),
        false => Box::new(file.take(MOST)),
    })
}

/// SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// It can't be read.
pub fn sha256(path: &Path) -> Result<String, Error> {
    let wrong = |error| Error::Read { path: path.to_owned(), error };
    let mut file = File::open(path).map_err(wrong)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer).map_err(wrong)?;
        if n == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..n]);
    }
}

/// SHA-256 of bytes, in hexadecimal.
pub fn sha256_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn plain_and_packed_rows_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let text = "{\"q\": \"1\"}\n\n{\"q\": \"2\"}\n";
        let plain = dir.path().join("a.jsonl");
        std::fs::write(&plain, text).unwrap();
        let packed = dir.path().join("a.jsonl.gz");
        let mut encoder =
            flate2::write::GzEncoder::new(File::create(&packed).unwrap(), Default::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap();
        let columns = [("question".to_owned(), "q".to_owned())];
        let rows = read(&plain, &columns).unwrap();
        assert_eq!(rows, read(&packed, &columns).unwrap());
        assert_eq!(bytes(&packed).unwrap(), text.as_bytes());
        assert_eq!(rows[1]["question"], "2");
        assert_eq!(sha256(&plain).unwrap(), sha256_of(text.as_bytes()));
        let error = read(&plain, &[("a".into(), "b".into())]).unwrap_err().to_string();
        assert!(error.contains("a.jsonl, line 1") && error.contains("\"b\""), "{error}");
        std::fs::write(&plain, "{}\n[1]\n").unwrap();
        assert!(read(&plain, &[]).unwrap_err().to_string().contains("line 2"));
    }
}
