//! Rows with styles, and the end of the screen where they are redrawn in place.

use std::fmt::Write;

use super::super::Size;
use super::super::live::width;
use super::super::render::{printable, truncate};

/// How a piece of a row looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Dim,
    Bold,
    /// What is measured while training.
    Trained,
    /// What is measured on what the model was not trained on.
    HeldOut,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Style::Plain => "",
            Style::Dim => "\x1b[2m",
            Style::Bold => "\x1b[1m",
            Style::Trained => "\x1b[36m",
            Style::HeldOut => "\x1b[32m",
        }
    }
}

/// A row that never becomes wider than it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    text: String,
    width: usize,
    most: usize,
    colour: bool,
}

impl Row {
    /// An empty row for at most this many columns.
    pub(super) fn new(most: usize, colour: bool) -> Row {
        Row { text: String::new(), width: 0, most, colour }
    }

    /// Adds as much of the text as there is room for.
    pub(super) fn push(&mut self, style: Style, text: &str) {
        let text = cut(text, self.room());
        self.width += width(&text);
        match style.code() {
            code if self.colour && !code.is_empty() && !text.is_empty() => {
                let _ = write!(self.text, "{code}{text}\x1b[0m");
            }
            _ => self.text.push_str(&text),
        }
    }

    /// Adds blanks up to a column.
    pub(super) fn pad(&mut self, column: usize) {
        let blanks = column.min(self.most).saturating_sub(self.width);
        self.text.extend(std::iter::repeat_n(' ', blanks));
        self.width += blanks;
    }

    /// The row as it is written.
    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Columns that are left.
    pub(super) fn room(&self) -> usize {
        self.most - self.width
    }

    /// Whether nothing was added.
    pub(super) fn is_empty(&self) -> bool {
        self.width == 0
    }
}

/// As much of a text as fits into so many columns, in a line and without what would steer the
/// terminal.
pub(super) fn cut(text: &str, columns: usize) -> String {
    let mut text = printable(text).replace(['\n', '\t'], " ");
    truncate(&mut text, columns);
    text
}

/// The end of the screen. The rows are narrower than the screen and fewer than its lines, so
/// none wraps or scrolls, unless the screen has shrunk since.
#[derive(Debug, Default)]
pub(super) struct Screen {
    rows: Vec<Row>,
    size: Option<Size>,
}

impl Screen {
    /// What to write so that these rows stand where those before them stood. Everything is
    /// written over what was there and in one piece: nothing is blank in between.
    pub(super) fn draw(&mut self, rows: Vec<Row>, size: Size) -> String {
        if rows == self.rows && self.size == Some(size) {
            return String::new();
        }
        let resized = self.size.is_some_and(|before| before != size);
        let mut text = self.back(size);
        if resized {
            text.push_str("\x1b[J");
        }
        self.put(&mut text, rows, size, resized);
        in_one_piece(&text)
    }

    /// What to write so that a line stands above the rows.
    pub(super) fn note(&mut self, line: &str, rows: Vec<Row>, size: Size) -> String {
        let mut text = self.back(size);
        text.push_str("\x1b[J");
        text.push_str(&line.replace('\n', "\r\n"));
        text.push_str("\r\n");
        self.put(&mut text, rows, size, true);
        in_one_piece(&text)
    }

    /// To the start of the first row.
    fn back(&self, size: Size) -> String {
        // A terminal that became narrower has wrapped rows that fitted when they were drawn.
        let lines = |row: &Row| row.width.max(1).div_ceil(size.columns.max(1));
        let lines: usize = self.rows.iter().map(lines).sum();
        match lines.saturating_sub(1).min(size.rows.saturating_sub(1)) {
            0 => "\r".to_owned(),
            up => format!("\r\x1b[{up}A"),
        }
    }

    fn put(&mut self, text: &mut String, rows: Vec<Row>, size: Size, all: bool) {
        for (i, row) in rows.iter().enumerate() {
            if i > 0 {
                text.push_str("\r\n");
            }
            // The last one is always written, for the cursor to rest behind it.
            if all || i + 1 == rows.len() || self.rows.get(i) != Some(row) {
                text.push_str(&row.text);
                text.push_str("\x1b[K");
            }
        }
        if rows.len() < self.rows.len() {
            text.push_str("\x1b[J");
        }
        self.rows = rows;
        self.size = Some(size);
    }
}

/// Terminals that know this mode show nothing of it until it is whole; others ignore it.
fn in_one_piece(text: &str) -> String {
    format!("\x1b[?2026h{text}\x1b[?2026l")
}
