//! Records as lines of JSON.
//!
//! JSON has no NaN and no infinity: they are written as strings, since a run that went wrong is
//! just where the difference between "not a number" and "not there" matters.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Error, Record};

#[derive(Serialize, Deserialize)]
struct Line {
    step: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time: Option<f64>,
    #[serde(default)]
    scalars: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    texts: Map<String, Value>,
}

/// A record as a line, its end included.
pub(super) fn line(record: &Record, time: f64) -> String {
    let scalars = record.scalars.iter().map(|(name, value)| (name.clone(), figure(*value)));
    let texts = record.texts.iter().map(|(name, text)| (name.clone(), Value::from(text.clone())));
    let line = Line {
        step: record.step,
        time: Some(time).filter(|time| time.is_finite()),
        scalars: scalars.collect(),
        texts: texts.collect(),
    };
    // Maps with strings for keys always have a JSON form.
    let mut text = serde_json::to_string(&line).unwrap_or_default();
    text.push('\n');
    text
}

fn figure(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or_else(|| Value::from(value.to_string()), Value::from)
}

/// Whole records, each with where its line ends; the torn end of a file is left out.
pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Vec<(Record, usize)>, Error> {
    let mut records = Vec::new();
    let mut torn = None;
    let mut end = 0;
    for (i, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        end += line.len();
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice::<Line>(line) {
            Ok(line) => {
                // A crash damages the end only.
                if let Some((line, source)) = torn.take() {
                    return Err(Error::Line { path: path.to_owned(), line, source });
                }
                records.push((record(line), end));
            }
            Err(source) => {
                torn.get_or_insert((i + 1, source));
            }
        }
    }
    Ok(records)
}

fn record(line: Line) -> Record {
    let number = |value: Value| match value {
        Value::Number(number) => number.as_f64().unwrap_or(f64::NAN),
        Value::String(text) => text.parse().unwrap_or(f64::NAN),
        _ => f64::NAN,
    };
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Record {
        step: line.step,
        time: line.time,
        scalars: line.scalars.into_iter().map(|(name, value)| (name, number(value))).collect(),
        texts: line.texts.into_iter().map(|(name, value)| (name, text(value))).collect(),
    }
}
