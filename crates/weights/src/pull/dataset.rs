//! The rows of a public dataset, as a file of JSON lines.
//!
//! Datasets are kept as Parquet, CSV, archives, scripts; a hub's *dataset viewer* shows the rows of all of
//! them in one form, a hundred at a time (`/rows`). Pages are appended to `SPLIT.jsonl.part`; an interrupted
//! pull is taken up at the last row that is here, if the viewer still says the same of it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::hub::Hub;
use super::part::appended;
use super::{Error, Progress};

/// Rows of a page: the most a viewer gives.
const PAGE: u64 = 100;
/// Most bytes of a page.
const PAGE_BYTES: u64 = 256 << 20;

/// A split of a dataset: `OWNER/NAME[:CONFIG[:SPLIT]]`, by default `default` and `test`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    id: String,
    config: String,
    split: String,
}

/// What was typed names no dataset.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` names no dataset\nhint: OWNER/NAME[:CONFIG[:SPLIT]] is wanted, as in openai/gsm8k:main:test"
)]
pub struct NoDataset(String);

impl FromStr for Dataset {
    type Err = NoDataset;

    fn from_str(text: &str) -> Result<Dataset, NoDataset> {
        // The parts become names of files and of a URL.
        let is_name = |part: &str| {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            !part.starts_with('.') && !part.is_empty() && part.len() <= 96 && part.bytes().all(good)
        };
        let mut parts = text.split(':');
        let id = parts.next().unwrap_or_default();
        let config = parts.next().unwrap_or("default");
        let split = parts.next().unwrap_or("test");
        let named = id.split_once('/').is_some_and(|(owner, name)| is_name(owner) && is_name(name));
        match named && is_name(config) && is_name(split) && parts.next().is_none() {
            true => Ok(Dataset { id: id.into(), config: config.into(), split: split.into() }),
            false => Err(NoDataset(text.to_owned())),
        }
    }
}

impl std::fmt::Display for Dataset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.id, self.config, self.split)
    }
}

/// A page, as far as it matters here.
#[derive(Deserialize)]
struct Page {
    rows: Vec<Row>,
    num_rows_total: u64,
    /// Whether the viewer knows only the dataset's beginning.
    #[serde(default)]
    partial: bool,
}

#[derive(Deserialize)]
struct Row {
    row: Map<String, Value>,
    #[serde(default)]
    truncated_cells: Vec<String>,
}

impl Dataset {
    /// Where its rows are in the store whose directory is `root`, once they are pulled.
    pub fn path(&self, root: &Path) -> PathBuf {
        let folder = root.join("datasets").join(self.id.replace('/', "--")).join(&self.config);
        folder.join(format!("{}.jsonl", self.split))
    }

    /// Its rows on this disk, pulled first if they are not there; without a hub, the network is not touched.
    ///
    /// # Errors
    /// The hub doesn't know it, its rows can't be had whole, or the disk is full.
    pub fn pull(
        &self,
        root: &Path,
        hub: Option<&Hub>,
        progress: &dyn Progress,
    ) -> Result<PathBuf, Error> {
        let path = self.path(root);
        if path.is_file() {
            return Ok(path);
        }
        let Some(hub) = hub else {
            return Err(Error::Offline { name: self.to_string(), store: root.to_owned() });
        };
        let folder = path.parent().unwrap_or(root);
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let part = appended(&path, ".part");
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&part).map_err(Error::io("create", &part))?;
        // Given up when the file is closed, also by a process that dies.
        file.lock().map_err(Error::io("lock", &part))?;
        if path.is_file() {
            return Ok(path); // Another process was faster.
        }
        progress.begin(&self.to_string(), None);
        let outcome = self.fill(file, &part, hub, progress);
        progress.end();
        outcome?;
        fs::rename(&part, &path).map_err(Error::io("create", &path))?;
        Ok(path)
    }

    fn fill(
        &self,
        mut file: File,
        part: &Path,
        hub: &Hub,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let mut here = Lines::read(&file, part)?;
        let (mut total, mut taken_up) = (None, here.count > 0);
        loop {
            // The last row that is here is asked for again, to see that it is still the same.
            let from = here.count.saturating_sub(1);
            let url = hub.rows_url(&self.id, &self.config, &self.split, from, PAGE);
            let page: Page = hub.json(&url, PAGE_BYTES, &self.id)?;
            let bad = |reason: String| Error::BadAnswer { url: url.clone(), reason };
            if page.num_rows_total == 0 {
                let wanted = format!("rows in {}:{}", self.config, self.split);
                let hint = "the viewer shows none of this split".into();
                return Err(Error::NothingToPull { repo: self.id.clone(), wanted, hint });
            }
            if let Some(cut) = page.rows.iter().flat_map(|row| &row.truncated_cells).next() {
                return Err(bad(format!("column {cut:?} is cut off in it: its rows are too long")));
            }
            let mut lines = page.rows.iter().map(|row| Value::from(row.row.clone()).to_string());
            let same = here.count == 0 || lines.next() == here.last;
            if !same && taken_up {
                tracing::debug!("{self}: other rows than before, so it is pulled anew");
                (here, taken_up) = (Lines::default(), false);
                continue;
            }
            if !same || total.is_some_and(|total| total != page.num_rows_total) {
                return Err(bad("the dataset changed while it was being pulled".into()));
            }
            if total.is_none() && page.partial {
                progress.note(&format!("the viewer shows only the beginning of {self}"));
            }
            (total, taken_up) = (Some(page.num_rows_total), false);
            let before = here.count;
            file.set_len(here.bytes).map_err(Error::io("write", part))?;
            file.seek(SeekFrom::Start(here.bytes)).map_err(Error::io("write", part))?;
            for line in lines {
                file.write_all(format!("{line}\n").as_bytes()).map_err(Error::io("write", part))?;
                here.add(line);
            }
            progress.at(here.bytes);
            if here.count >= page.num_rows_total {
                return file.sync_all().map_err(Error::io("write", part));
            }
            if here.count == before {
                return Err(bad(format!("{before} rows came of {}", page.num_rows_total)));
            }
        }
    }
}

/// The whole lines of an unfinished file.
#[derive(Default)]
struct Lines {
    count: u64,
    bytes: u64,
    last: Option<String>,
}

impl Lines {
    fn read(file: &File, path: &Path) -> Result<Lines, Error> {
        let mut reader = BufReader::new(file);
        let (mut lines, mut line) = (Lines::default(), Vec::new());
        loop {
            line.clear();
            reader.read_until(b'\n', &mut line).map_err(Error::io("read", path))?;
            match line.strip_suffix(b"\n").map(|line| String::from_utf8(line.to_vec())) {
                Some(Ok(line)) => lines.add(line),
                // Cut off, or nothing of ours.
                _ => return Ok(lines),
            }
        }
    }

    fn add(&mut self, line: String) {
        self.count += 1;
        self.bytes += line.len() as u64 + 1;
        self.last = Some(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let named = |text: &str| text.parse::<Dataset>().map(|d| d.to_string()).ok();
        assert_eq!(named("o/n").unwrap(), "o/n:default:test");
        assert_eq!(named("openai/gsm8k:main").unwrap(), "openai/gsm8k:main:test");
        assert_eq!(named("o/n:c:train").unwrap(), "o/n:c:train");
        for wrong in
            ["", "n", "o/n/m", "o/..", "../n", "o/n:", "o/n:c:s:x", "o/n:a/b", "o/ü", "o n/m"]
        {
            assert_eq!(named(wrong), None, "{wrong}");
        }
        let error = "x".parse::<Dataset>().unwrap_err().to_string();
        assert!(error.contains("`x`") && error.contains("openai/gsm8k"), "{error}");
    }

    #[test]
    fn a_line_cut_off_is_not_counted() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"{\"a\":1}\n{\"a\":2}\n{\"a\":").unwrap();
        file.rewind().unwrap();
        let lines = Lines::read(&file, Path::new("x")).unwrap();
        assert_eq!((lines.count, lines.bytes, lines.last.as_deref()), (2, 16, Some("{\"a\":2}")));
    }
}
