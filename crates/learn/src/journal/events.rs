//! The event file that TensorBoard reads: records of `tensorboard/compat/proto/event.proto` in
//! TensorFlow's framing. Half a dozen messages of a format that must never change are written by
//! hand; a protobuf crate would be more text than this.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Error, Record, io_error};

const PREFIX: &str = "events.out.tfevents.";
/// Tells our file from those of others in the same folder.
const SUFFIX: &str = ".ponder";

/// An event file that grows.
#[derive(Debug)]
pub(super) struct Events {
    path: PathBuf,
    file: File,
    /// Bytes of whole events.
    length: u64,
}

impl Events {
    /// A new file that begins with these records, in place of any earlier one.
    pub(super) fn create<'a>(
        dir: &Path,
        records: impl Iterator<Item = &'a Record>,
        now: f64,
    ) -> Result<Events, Error> {
        let mut bytes = framed(&event(now, 0, |event| event.text(3, "brain.Event:2")));
        // The start of a session at step 0: whoever followed an earlier file forgets it.
        let start = |event: &mut Message| event.message(7, |session| session.number(1, 1));
        bytes.extend(framed(&event(now, 0, start)));
        for record in records {
            bytes.extend(framed(&summary(record, record.time.unwrap_or(now))));
        }
        // Another name than the earlier file's, and later in the alphabet: TensorBoard takes up a
        // new file only when it follows the one that it knows.
        let earlier = ours(dir)?;
        let last = earlier.iter().filter_map(|path| number(path)).max();
        let number = (now as u64).max(last.map_or(0, |last| last.saturating_add(1)));
        let path = dir.join(format!("{PREFIX}{number:010}{SUFFIX}"));
        let fail = |doing| move |path: &Path, source| io_error(doing, path, source);
        let mut file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&path)
            .map_err(|source| fail("make")(&path, source))?;
        file.write_all(&bytes).map_err(|source| fail("write")(&path, source))?;
        for path in earlier {
            std::fs::remove_file(&path).map_err(|source| fail("remove")(&path, source))?;
        }
        Ok(Events { path, file, length: bytes.len() as u64 })
    }

    /// Appends one record.
    pub(super) fn write(&mut self, record: &Record, time: f64) -> Result<(), Error> {
        let bytes = framed(&summary(record, time));
        if let Err(source) = self.file.write_all(&bytes) {
            let _ = self.file.set_len(self.length);
            return Err(io_error("write", &self.path, source));
        }
        self.length += bytes.len() as u64;
        Ok(())
    }
}

/// The event files in the folder that were written here.
fn ours(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let fail = |source| io_error("list", dir, source);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if number(&path).is_some() {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// The number in the name of a file of ours.
fn number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
}

fn event(time: f64, step: u64, what: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut event = Message::default();
    event.double(1, time);
    if step > 0 {
        event.number(2, step);
    }
    what(&mut event);
    event.0
}

fn summary(record: &Record, time: f64) -> Vec<u8> {
    event(time, record.step, |event| {
        event.message(5, |summary| {
            for (name, value) in &record.scalars {
                summary.message(1, |entry| {
                    entry.text(1, name);
                    entry.float(2, *value as f32);
                });
            }
            for (name, text) in &record.texts {
                summary.message(1, |entry| {
                    entry.text(1, name);
                    entry.message(8, |tensor| {
                        const DT_STRING: u64 = 7;
                        tensor.number(1, DT_STRING);
                        // No dimensions: a single string.
                        tensor.message(2, |_| {});
                        tensor.text(8, &verbatim(text));
                    });
                    entry.message(9, |metadata| {
                        metadata.message(1, |plugin| plugin.text(1, "text"))
                    });
                });
            }
        });
    })
}

/// The text as a code block: TensorBoard shows Markdown, in which a completion's line breaks and
/// tags would be lost.
fn verbatim(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("    {line}")).collect();
    lines.join("\n")
}

/// A protobuf message.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn number(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.varint(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
    }

    fn float(&mut self, field: u64, value: f32) {
        self.varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }

    fn text(&mut self, field: u64, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    fn message(&mut self, field: u64, fill: impl FnOnce(&mut Message)) {
        let mut message = Message::default();
        fill(&mut message);
        self.bytes(field, &message.0);
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// An event in its frame: length, checksum of the length, event, checksum of the event.
fn framed(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    let mut bytes = Vec::with_capacity(event.len() + 16);
    bytes.extend(length);
    bytes.extend(masked(crc32c(&length)).to_le_bytes());
    bytes.extend(event);
    bytes.extend(masked(crc32c(event)).to_le_bytes());
    bytes
}

/// Checksums inside of data that is itself under a checksum are disguised.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!0, |crc, byte| TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8))
}

/// The remainders of Castagnoli's polynomial, low bits first.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        // The check value in the catalogue of checksums.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn tensorboards_own_code_writes_the_same() {
        let figure = |name: &str, value| (name.to_owned(), value);
        let before = Record {
            time: Some(1000.0),
            scalars: vec![figure("eval/accuracy", 0.25)],
            ..Record::default()
        };
        let step = Record {
            step: 300,
            time: None,
            scalars: vec![figure("reward/mean", 0.1), figure("loss", f64::INFINITY)],
            texts: vec![("sample".to_owned(), "<think>\n2 + 2 → 4".to_owned())],
        };
        let dir = tempfile::tempdir().unwrap();
        let mut events = Events::create(dir.path(), [before].iter(), 1000.0).unwrap();
        events.write(&step, 1002.5).unwrap();
        let written = std::fs::read(&events.path).unwrap();
        // Made by tests/journal/golden.py.
        assert_eq!(written, include_bytes!("../../tests/journal/known.tfevents"));
    }

    #[test]
    fn numbers_of_every_length() {
        let mut message = Message::default();
        for value in [0, 127, 128, u64::MAX] {
            message.varint(value);
        }
        let mut want = vec![0, 127, 0x80, 1];
        want.extend([0xff; 9]);
        want.push(1);
        assert_eq!(message.0, want);
    }
}
