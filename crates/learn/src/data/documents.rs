//! Texts to be gone on with, plain or gzipped:
//!
//! | file | documents |
//! |---|---|
//! | `*.jsonl`, `*.ndjson`, `*.json` | one a line, in its field `text` |
//! | any other | one, or several with a line `<|endoftext|>` between them |

use std::path::Path;

use eval::rows;
use serde_json::Value;

use crate::Error;

/// The line between two documents of a plain file.
const BETWEEN: &str = "<|endoftext|>";

/// Reads all documents of a file that aren't empty.
///
/// # Errors
/// It can't be read, a line has no text, or it is no UTF-8; the message names the line.
pub fn documents(path: &Path) -> Result<Vec<String>, Error> {
    let mut all = match is_rows(path) {
        true => of_rows(path)?,
        false => plain(path, rows::bytes(path)?)?,
    };
    all.retain(|text| !text.trim().is_empty());
    Ok(all)
}

fn is_rows(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    [".jsonl", ".ndjson", ".json"].iter().any(|end| name.ends_with(end))
}

fn of_rows(path: &Path) -> Result<Vec<String>, Error> {
    let text = |(i, mut row): (usize, serde_json::Map<String, Value>)| match row.remove("text") {
        Some(Value::String(text)) => Ok(text),
        other => {
            let problem = match other {
                Some(_) => "`text` is no text".to_owned(),
                None => {
                    let fields: Vec<&str> = row.keys().map(|key| &**key).collect();
                    format!("there is no `text`; its fields are {}", fields.join(", "))
                }
            };
            Err(Error::Line { path: path.to_owned(), line: i + 1, problem })
        }
    };
    rows::read(path, &[])?.into_iter().enumerate().map(text).collect()
}

fn plain(path: &Path, bytes: Vec<u8>) -> Result<Vec<String>, Error> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        let problem = format!("byte {} of the file is no UTF-8; convert it first", good.len() + 1);
        Error::Line { path: path.to_owned(), line, problem }
    })?;
    let mut all = vec![String::new()];
    for line in text.split_inclusive('\n') {
        match (line.trim_end() == BETWEEN, all.last_mut()) {
            (false, Some(last)) => last.push_str(line),
            _ => all.push(String::new()),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, bytes: &[u8]) -> Result<Vec<String>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        documents(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn both_kinds_are_read() {
        let rows = b"{\"text\": \"one\", \"id\": 1}\n{\"text\": \" \"}\n{\"text\": \"two\\n\"}\n";
        assert_eq!(of("a.jsonl", rows).unwrap(), ["one", "two\n"]);
        let plain = b"first\n\nlines\n<|endoftext|>\r\n<|endoftext|>\nsecond <|endoftext|>";
        assert_eq!(of("a.txt", plain).unwrap(), ["first\n\nlines\n", "second <|endoftext|>"]);
        assert_eq!(of("a", b"").unwrap(), [""; 0]);
        // "hi", packed.
        let packed = [
            0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xcb, 0xc8, 4, 0, 0xac, 0x2a, 0x93, 0xd8, 2, 0, 0,
            0,
        ];
        assert_eq!(of("a.txt.gz", &packed).unwrap(), ["hi"]);
        assert!(of("a.txt.gz", &packed[..14]).is_err());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (name, bytes, wanted) in [
            (
                "a.jsonl",
                &b"{\"text\": \"x\"}\n{\"body\": \"x\", \"id\": 3}\n"[..],
                "line 2: there is no `text`; its fields are body, id",
            ),
            ("a.JSON.gz", b"{\"text\": 3}\n", "line 1: `text` is no text"),
            ("a.jsonl", b"text\n", "line 1"),
            ("a.txt", b"good\nba\xffd\n", "line 2: byte 8"),
            ("a.txt", b"cut \xe2\x82", "byte 5"),
        ] {
            let error = of(name, bytes).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
