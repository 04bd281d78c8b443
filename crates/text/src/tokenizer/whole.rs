//! Texts that aren't cut into words before they are merged, as SentencePiece has them: a space is a letter like
//! any other, `▁`, and there may be one more at the beginning than the text has.

use serde_json::Value;

use super::scores::Scores;

/// What stands for a space.
pub(super) const SPACE: &str = "▁";

/// Texts are merged whole.
pub(super) struct Whole {
    /// Where a space is put before a text; nowhere, if there is none.
    pub(super) opening: Option<Opening>,
    /// Runs of spaces are one, and there are none at either end.
    pub(super) collapses: bool,
    /// How letters become tokens.
    pub(super) merging: Merging,
}

/// Where a space is put before a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    /// After every added token, not only at the beginning of it all.
    pub(super) after_added: bool,
    /// Only where there isn't one already.
    pub(super) unless_there: bool,
}

/// How letters become tokens.
pub(super) enum Merging {
    /// By the scores of the tokens they become.
    Scores(Scores),
    /// By rules, each for a pair of tokens.
    Pairs,
    /// By such rules; ends of lines are apart from the rest, and a run of them that is a token is that token
    /// (Gemma 4).
    PairsInLines,
}

impl Whole {
    /// A stretch between added tokens in the vocabulary's letters. `begins` says whether it is the beginning of
    /// the text, `follows_added` whether an added token stands before it.
    pub(super) fn spell(&self, stretch: &str, begins: bool, follows_added: bool) -> String {
        let opens = self.opening.is_some_and(|opening| {
            (begins || follows_added && opening.after_added)
                && !(opening.unless_there && stretch.starts_with([' ', '▁']))
        });
        let words = stretch.split(' ');
        let letters = match self.collapses {
            true => words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(SPACE),
            false => words.collect::<Vec<_>>().join(SPACE),
        };
        // Of spaces alone nothing is left that another could be put before.
        let opens = opens && !(self.collapses && letters.is_empty());
        if opens { format!("{SPACE}{letters}") } else { letters }
    }

    /// What the description in a `tokenizer.json` amounts to; `None` if it is none we know.
    pub(super) fn described(normalizer: &Value, pre_tokenizer: &Value) -> Option<Whole> {
        let opening = match (&steps(normalizer)[..], &steps(pre_tokenizer)[..]) {
            ([prepend, replace], []) if prepends(prepend) && replaces(replace) => {
                Some(Opening { after_added: true, unless_there: false })
            }
            ([replace], []) if replaces(replace) => None,
            // No space is left to cut at.
            ([replace], [split])
                if replaces(replace)
                    && split["type"] == "Split"
                    && split["pattern"]["String"] == " " =>
            {
                None
            }
            ([], [metaspace])
                if metaspace["type"] == "Metaspace"
                    && metaspace["replacement"] == SPACE
                    && metaspace["split"] == false =>
            {
                match metaspace["prepend_scheme"].as_str().unwrap_or("always") {
                    "always" => Some(Opening { after_added: true, unless_there: true }),
                    "first" => Some(Opening { after_added: false, unless_there: true }),
                    _ => None,
                }
            }
            _ => return None,
        };
        Some(Whole { opening, collapses: false, merging: Merging::Pairs })
    }
}

/// The steps of a description: none of null, several of a sequence.
fn steps(description: &Value) -> Vec<&Value> {
    match description {
        Value::Null => Vec::new(),
        _ if description["type"] == "Sequence" => ["normalizers", "pretokenizers"]
            .into_iter()
            .filter_map(|name| description[name].as_array())
            .flatten()
            .collect(),
        _ => vec![description],
    }
}

fn prepends(step: &Value) -> bool {
    step["type"] == "Prepend" && step["prepend"] == SPACE
}

fn replaces(step: &Value) -> bool {
    step["type"] == "Replace" && step["pattern"]["String"] == " " && step["content"] == SPACE
}

/// Runs of line ends, and what is between them.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let ends = rest.starts_with('\n');
        let length = rest.find(|letter| (letter == '\n') != ends).unwrap_or(rest.len());
        let (run, after) = rest.split_at(length);
        rest = after;
        (!run.is_empty()).then_some(run)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn opening(after_added: bool, unless_there: bool) -> Option<Opening> {
        Some(Opening { after_added, unless_there })
    }

    #[test]
    fn spaces_are_letters() {
        let spell = |opening, collapses, stretch: &str, begins, follows| {
            let merging = Merging::Pairs;
            Whole { opening, collapses, merging }.spell(stretch, begins, follows)
        };
        let prefix = opening(true, false);
        assert_eq!(spell(prefix, false, " a  b", true, false), "▁▁a▁▁b");
        assert_eq!(spell(prefix, false, "a", false, true), "▁a");
        assert_eq!(spell(prefix, false, "a", false, false), "a");
        assert_eq!(spell(prefix, true, "  a  b ", true, false), "▁a▁b");
        assert_eq!(spell(prefix, true, "  ", true, false), "");
        assert_eq!(spell(None, false, "a b", true, true), "a▁b");
        let first = opening(false, true);
        assert_eq!(spell(first, false, " a", true, false), "▁a");
        assert_eq!(spell(first, false, "a", true, false), "▁a");
        assert_eq!(spell(first, false, "a", false, true), "a");
    }

    #[test]
    fn descriptions_of_three_generations_are_known() {
        let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        let prepend = json!({"type": "Prepend", "prepend": "▁"});
        let legacy = json!({"type": "Sequence", "normalizers": [prepend, replace]});
        let split = json!({
            "type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious",
            "invert": false,
        });
        let metaspace = |scheme: &str, split: bool| {
            json!({
                "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split,
            })
        };
        let known = |normalizer: &Value, pre_tokenizer: &Value| {
            Whole::described(normalizer, pre_tokenizer).map(|whole| whole.opening)
        };
        assert_eq!(known(&legacy, &Value::Null), Some(opening(true, false)));
        assert_eq!(known(&replace, &Value::Null), Some(None));
        assert_eq!(known(&replace, &split), Some(None));
        assert_eq!(known(&Value::Null, &metaspace("first", false)), Some(opening(false, true)));
        assert_eq!(known(&Value::Null, &metaspace("always", false)), Some(opening(true, true)));
        assert_eq!(known(&Value::Null, &metaspace("never", false)), Some(None));
        assert_eq!(known(&Value::Null, &metaspace("first", true)), None);
        assert_eq!(known(&json!({"type": "NFC"}), &Value::Null), None);
        assert_eq!(known(&Value::Null, &Value::Null), None);
    }

    #[test]
    fn lines_are_all_of_the_text() {
        let runs: Vec<&str> = lines("\n\na\nbc\n").collect();
        assert_eq!(runs, ["\n\n", "a", "\n", "bc", "\n"]);
        assert_eq!(lines("").count(), 0);
    }
}
