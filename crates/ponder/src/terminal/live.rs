//! The last rows of the output while they are still changing: redrawn in place, erased exactly.
//!
//! Rows are made narrower than the screen, so the terminal never wraps one, and there are fewer
//! of them than the screen has lines, so none scrolls away: that is why erasing is exact.

use std::collections::VecDeque;
use std::io::{self, Write};

use unicode_width::UnicodeWidthChar;

use super::Size;

/// Rows at the end of the output; the cursor rests behind the last one.
#[derive(Debug, Default)]
pub struct Live {
    rows: Vec<String>,
}

impl Live {
    /// Shows these rows in place of those shown before, touching only what differs. Dim, if
    /// styles are wanted.
    pub fn draw(
        &mut self,
        out: &mut impl Write,
        rows: Vec<String>,
        size: Size,
        colour: bool,
    ) -> io::Result<()> {
        if rows == self.rows {
            return Ok(());
        }
        if rows.is_empty() {
            return self.erase(out, size);
        }
        let same = rows.iter().zip(&self.rows).take_while(|(new, old)| new == old).count();
        // With fewer rows than before the last one is written again, for the cursor to rest there.
        let same = same.min(rows.len() - 1);
        // Growing at the end, the usual case, needs no movement at all.
        let grown = match (rows.get(same), self.rows.get(same)) {
            (Some(new), Some(old)) if same + 1 == self.rows.len() => new.strip_prefix(&**old),
            _ => None,
        };
        let mut text = String::new();
        if let Some(more) = grown {
            push_dim(&mut text, more, colour);
        } else if same < self.rows.len() {
            back_to(&mut text, &self.rows, same, size);
            if let Some(row) = rows.get(same) {
                push_row(&mut text, row, colour);
            }
        } else {
            if same > 0 {
                text.push_str("\r\n");
            }
            push_row(&mut text, &rows[same], colour);
        }
        for row in rows.iter().skip(same + 1) {
            text.push_str("\r\n");
            push_row(&mut text, row, colour);
        }
        if rows.len() < self.rows.len() {
            text.push_str("\x1b[J");
        }
        self.rows = rows;
        out.write_all(text.as_bytes())
    }

    /// Removes the rows; the cursor is where the first one began.
    pub fn erase(&mut self, out: &mut impl Write, size: Size) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        back_to(&mut text, &self.rows, 0, size);
        text.push_str("\x1b[J");
        self.rows.clear();
        out.write_all(text.as_bytes())
    }
}

/// Moves the cursor from behind the last row to the start of row `target`.
fn back_to(text: &mut String, rows: &[String], target: usize, size: Size) {
    // A terminal that became narrower has wrapped rows that fitted when they were drawn.
    let lines = |row: &String| width(row).max(1).div_ceil(size.columns.max(1));
    let up: usize = rows[target..].iter().map(lines).sum::<usize>() - 1;
    text.push('\r');
    if up > 0 {
        text.push_str(&format!("\x1b[{up}A"));
    }
}

/// A row, and nothing of what stood there before.
fn push_row(text: &mut String, row: &str, colour: bool) {
    push_dim(text, row, colour);
    text.push_str("\x1b[K");
}

fn push_dim(text: &mut String, row: &str, colour: bool) {
    if colour {
        text.push_str("\x1b[2m");
        text.push_str(row);
        text.push_str("\x1b[0m");
    } else {
        text.push_str(row);
    }
}

/// Columns that a string takes at most: terminals that know no joined emoji show their parts.
pub(super) fn width(text: &str) -> usize {
    text.chars().filter_map(UnicodeWidthChar::width).sum()
}

/// The last rows of a stream of text, wrapped at words; blank lines are left out.
#[derive(Debug)]
pub struct Tail {
    /// Finished rows, then the one being filled.
    rows: VecDeque<String>,
}

impl Tail {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { rows: VecDeque::from([String::new()]) }
    }

    /// Adds text, in rows of at most `columns` columns of which the last `keep` are kept.
    pub fn push(&mut self, text: &str, columns: usize, keep: usize) {
        for c in text.chars() {
            let c = if c == '\t' { ' ' } else { c };
            if c == '\n' {
                if !self.last().trim().is_empty() {
                    self.rows.push_back(String::new());
                }
            } else if width(self.last()) + c.width().unwrap_or(0) <= columns.max(1) {
                self.last().push(c);
            } else if c == ' ' {
                self.rows.push_back(String::new());
            } else {
                let carried = split_word(self.last());
                self.rows.push_back(carried);
                self.last().push(c);
            }
            while self.rows.len() > keep.max(1) {
                self.rows.pop_front();
            }
        }
    }

    /// The rows as they should be shown.
    pub fn rows(&self) -> Vec<String> {
        let blank = |row: &&String| !row.trim().is_empty();
        self.rows.iter().filter(blank).cloned().collect()
    }

    fn last(&mut self) -> &mut String {
        if self.rows.is_empty() {
            self.rows.push_back(String::new());
        }
        let last = self.rows.len() - 1;
        &mut self.rows[last]
    }
}

/// Takes the unfinished word off a full row, to begin the next one; a word longer than half a
/// row is cut.
fn split_word(row: &mut String) -> String {
    match row.rfind(' ') {
        Some(space) if space > row.len() / 2 => {
            let word = row.split_off(space + 1);
            row.truncate(space);
            word
        }
        _ => String::new(),
    }
}
