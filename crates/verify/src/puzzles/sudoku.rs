//! Sudoku, 4×4 and 9×9: every row, column and box holds each digit once.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::pattern::{extract, unreadable};
use crate::{Attempt, CannotTell, Verdict, Verifier};

/// The puzzle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The grid, row by row: a digit for a given cell, `.`, `_` or `0` for an empty one. White
    /// space and `|` don't count. 16 cells make a 4×4 puzzle, 81 one of 9×9.
    pub grid: String,
}

/// Judges a filled grid.
#[derive(Clone, Debug)]
pub struct Sudoku {
    side: usize,
    /// Row by row; 0 for an empty cell.
    given: Vec<u8>,
}

impl Sudoku {
    /// For this task.
    ///
    /// # Errors
    /// [`CannotTell::Task`] if the grid has another size or other characters.
    pub fn new(task: &Task) -> Result<Self, CannotTell> {
        let bad = |why: String| CannotTell::Task { field: "grid", why };
        let cells = task.grid.chars().filter(|c| !c.is_whitespace() && *c != '|');
        let given: Vec<u8> = cells
            .map(|c| match c {
                '.' | '_' => Ok(0),
                '0'..='9' => Ok(c as u8 - b'0'),
                c => Err(bad(format!("{c:?} has no place in it"))),
            })
            .collect::<Result<_, _>>()?;
        let side = match given.len() {
            16 => 4,
            81 => 9,
            n => return Err(bad(format!("it has {n} cells, not 16 or 81"))),
        };
        if given.iter().any(|&digit| usize::from(digit) > side) {
            return Err(bad(format!("its digits must be at most {side}")));
        }
        Ok(Self { side, given })
    }

    fn read(&self, answer: &str) -> Option<Vec<u8>> {
        let marked = extract::tagged(answer, "answer").or_else(|| extract::boxed(answer));
        if let Some(marked) = marked {
            return self.of_text(marked);
        }
        let blocks = extract::fenced(answer);
        blocks
            .into_iter()
            .rev()
            .find_map(|block| self.of_text(block))
            .or_else(|| self.of_text(answer))
    }

    fn of_text(&self, text: &str) -> Option<Vec<u8>> {
        let json = extract::json(text).and_then(|json| self.of_json(&json));
        json.or_else(|| self.of_lines(text))
    }

    fn of_json(&self, json: &Value) -> Option<Vec<u8>> {
        let rows = match json {
            Value::Object(fields) => fields.values().find_map(Value::as_array)?,
            json => json.as_array()?,
        };
        let cell = |cell: &Value| cell.as_u64().and_then(|n| u8::try_from(n).ok());
        let cells: Option<Vec<u8>> = rows
            .iter()
            .flat_map(|row| row.as_array().map_or(std::slice::from_ref(row), Vec::as_slice))
            .map(cell)
            .collect();
        cells.filter(|cells| cells.len() == self.given.len())
    }

    /// The last rows of as many digits as the grid is wide, or a line that is the whole grid.
    fn of_lines(&self, text: &str) -> Option<Vec<u8>> {
        let mut rows: Vec<Vec<u8>> = Vec::new();
        for line in text.lines() {
            let dress = |c: char| c.is_whitespace() || "|,;&[]()*`\\".contains(c);
            let kept: Vec<char> =
                line.chars().filter(|c| !dress(*c)).take(self.given.len() + 1).collect();
            let digits = || kept.iter().map(|c| *c as u8 - b'0').collect();
            if !kept.iter().all(char::is_ascii_digit) {
                continue;
            }
            if kept.len() == self.given.len() {
                let cells: Vec<u8> = digits();
                rows.extend(cells.chunks(self.side).map(<[u8]>::to_vec));
            } else if kept.len() == self.side {
                rows.push(digits());
            }
        }
        let from = rows.len().checked_sub(self.side)?;
        Some(rows[from..].concat())
    }

    fn mismatch(&self, cells: &[u8]) -> Option<String> {
        let place = |i: usize| format!("row {}, column {}", i / self.side + 1, i % self.side + 1);
        let changed = (0..cells.len()).find(|&i| self.given[i] != 0 && self.given[i] != cells[i]);
        if let Some(i) = changed {
            return Some(format!("{} must be {}, as given", place(i), self.given[i]));
        }
        let (side, part) = (self.side, if self.side == 9 { 3 } else { 2 });
        let mut seen = vec![[false; 10]; side * 3];
        for (i, &digit) in cells.iter().enumerate() {
            if !(1..=side).contains(&usize::from(digit)) {
                return Some(format!("{} is {digit}", place(i)));
            }
            let (row, column) = (i / side, i % side);
            let square = row / part * part + column / part;
            for (kind, group) in [("row", row), ("column", column), ("box", square)] {
                let at = match kind {
                    "row" => group,
                    "column" => side + group,
                    _ => 2 * side + group,
                };
                if std::mem::replace(&mut seen[at][usize::from(digit)], true) {
                    return Some(format!("{kind} {} has {digit} twice", group + 1));
                }
            }
        }
        None
    }
}

impl Verifier for Sudoku {
    fn verify(&self, attempt: &Attempt<'_>) -> Result<Verdict, CannotTell> {
        if let Some(verdict) = unreadable(attempt.answer) {
            return Ok(verdict);
        }
        let Some(cells) = self.read(attempt.answer) else {
            return Ok(Verdict::missing(format!("the answer holds no grid {0}×{0}", self.side)));
        };
        let text: String = cells.iter().map(u8::to_string).collect();
        Ok(match self.mismatch(&cells) {
            None => Verdict::right(text, "every row, column and box holds each digit once"),
            Some(why) => Verdict::wrong(text, why),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "1..4 ..1. .1.. 4..1";

    fn judge(grid: &str, answer: &str) -> Verdict {
        let verifier = Sudoku::new(&Task { grid: grid.to_owned() }).unwrap();
        verifier.verify(&Attempt::of(answer)).unwrap()
    }

    #[test]
    fn reads_every_form() {
        for answer in [
            "1234\n3412\n2143\n4321",
            "Grid:\n| 1 2 | 3 4 |\n| 3 4 | 1 2 |\n+----+\n| 2 1 | 4 3 |\n| 4 3 | 2 1 |\nDone.",
            "[[1,2,3,4],[3,4,1,2],[2,1,4,3],[4,3,2,1]]",
            "```\n1 2 3 4\n3 4 1 2\n2 1 4 3\n4 3 2 1\n```",
            "<answer>1234341221434321</answer>",
            "First 1..4, then:\n1,2,3,4\n3,4,1,2\n2,1,4,3\n4,3,2,1",
            "{\"grid\": [[1,2,3,4],[3,4,1,2],[2,1,4,3],[4,3,2,1]]}",
        ] {
            let verdict = judge(SMALL, answer);
            assert!(verdict.is_right(), "{answer}: {}", verdict.why);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (answer, why) in [
            ("2134\n3412\n1243\n4321", "as given"),
            ("1234\n3412\n2143\n4331", "twice"),
            ("1224\n3412\n2143\n4321", "row 1 has 2 twice"),
            ("1234\n3412\n2143", "no grid"),
            ("1204\n3412\n2143\n4321", "is 0"),
            ("", "empty"),
        ] {
            let verdict = judge(SMALL, answer);
            assert!(!verdict.is_right() && verdict.why.contains(why), "{answer}: {}", verdict.why);
        }
    }

    #[test]
    fn nine_by_nine() {
        let grid =
            "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79";
        let full =
            "534678912672195348198342567859761423426853791713924856961537284287419635345286179";
        assert!(judge(grid, full).is_right());
        assert!(!judge(grid, &full.replace("534", "543")).is_right());
        assert!(Sudoku::new(&Task { grid: "123".into() }).is_err());
        assert!(Sudoku::new(&Task { grid: "5...............".into() }).is_err());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(answer in r"([0-9 |,\n\[\]]|1234\n|é){0,60}") {
            judge(SMALL, &answer);
        }
    }
}
