//! The question: from the command line, from a file, from standard input, or from all of them.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};

/// Joins what was typed with the file's text and with standard input, in this order and with a
/// blank line between; `None` if all of it is blank.
///
/// # Errors
/// The file or the input cannot be read, or is no UTF-8.
pub fn question(
    words: &[String],
    file: Option<&Path>,
    stdin: Option<&mut dyn Read>,
) -> Result<Option<String>> {
    let mut parts = vec![words.join(" ")];
    if let Some(path) = file {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        parts.push(text(bytes, &path.display().to_string())?);
    }
    if let Some(stdin) = stdin {
        let mut bytes = Vec::new();
        stdin.read_to_end(&mut bytes).context("cannot read standard input")?;
        parts.push(text(bytes, "standard input")?);
    }
    parts.retain(|part| !part.trim().is_empty());
    Ok((!parts.is_empty()).then(|| parts.join("\n\n")))
}

fn text(bytes: Vec<u8>, from: &str) -> Result<String> {
    let text = String::from_utf8(bytes)
        .with_context(|| format!("{from} is not UTF-8 text\nhint: convert it, as with iconv"))?;
    // A byte order mark is no part of the question.
    Ok(text.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_in_order() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("notes.txt");
        std::fs::write(&file, "\u{feff}from the file\n\n").expect("written");
        let words = ["what", "is", "this?"].map(str::to_owned);
        let piped = || "  indented\n".as_bytes();
        let all = question(&words, Some(&file), Some(&mut piped())).expect("readable");
        assert_eq!(all.as_deref(), Some("what is this?\n\nfrom the file\n\n  indented"));
        let only = question(&[], None, Some(&mut piped())).expect("readable");
        assert_eq!(only.as_deref(), Some("  indented"));
        assert_eq!(question(&[], None, Some(&mut "\n \n".as_bytes())).expect("readable"), None);
        assert_eq!(question(&[], None, None).expect("nothing to read"), None);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let missing = question(&[], Some(Path::new("no/such/file")), None);
        assert_eq!(missing.expect_err("no file").to_string(), "cannot read no/such/file");
        let binary = question(&[], None, Some(&mut &b"\xff\xfe"[..]));
        let error = binary.expect_err("not UTF-8").to_string();
        assert!(error.contains("standard input is not UTF-8"), "{error}");
    }
}
