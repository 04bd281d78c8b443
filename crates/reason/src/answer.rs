//! Final answers, and whether two of them are the same.

use serde::{Deserialize, Serialize};
use verify::math;

/// What kind of answer a question has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A number, formula, choice or short text, at the end or in a box: as [`verify::math`] finds it.
    #[default]
    Final,
    /// All that is said.
    Whole,
}

/// A final answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Final {
    text: String,
    read: Option<math::Answer>,
}

impl Final {
    /// The answer that a text gives, if it does.
    pub fn find(text: &str, kind: Kind) -> Option<Final> {
        match kind {
            Kind::Final => {
                let read = math::extract(text)?;
                Some(Final { text: read.text().to_owned(), read: Some(read) })
            }
            Kind::Whole => {
                let words: Vec<&str> = text.split_whitespace().collect();
                (!words.is_empty()).then(|| Final { text: words.join(" "), read: None })
            }
        }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether both say the same. What can't be decided within [`verify::math`]'s limits is not.
    pub fn same(&self, other: &Final) -> bool {
        if self.text == other.text {
            return true;
        }
        match (&self.read, &other.read) {
            // Neither is known to be right: whichever reading agrees will do.
            (Some(a), Some(b)) => a.same(b).unwrap_or(false) || b.same(a).unwrap_or(false),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_compared_by_what_they_say() {
        let find = |text| Final::find(text, Kind::Final).unwrap();
        assert!(find("So \\boxed{\\frac{1}{2}}.").same(&find("The answer is 0.5.")));
        assert!(!find("\\boxed{12}").same(&find("\\boxed{13}")));
        assert_eq!(Final::find("Hm.", Kind::Final), None);
        let whole = |text| Final::find(text, Kind::Whole).unwrap();
        assert!(whole("a  b\n").same(&whole("a b")));
        assert_eq!(Final::find(" \n", Kind::Whole), None);
    }
}
