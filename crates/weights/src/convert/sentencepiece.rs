//! SentencePiece's vocabularies: GGUF has a score for each token, `tokenizer.json` rules for pairs of them.
//!
//! `transformers` makes the rules of the scores: for each token all pairs of tokens that are its two halves, the
//! best score first, and among equals those with the longer halves.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde_json::{Value, json};

/// What stands for a space.
pub(super) const SPACE: &str = "▁";

/// The score of a token that was added after training, of a byte, and of a row without a token, as llama.cpp's
/// converter gives them.
pub(super) const ADDED: f32 = -1000.0;
pub(super) const BYTE: f32 = 0.0;
pub(super) const NONE: f32 = -10_000.0;

/// Bytes of a token that rules are made for: to look for the halves of a megabyte would take forever.
const LONGEST: usize = 1 << 10;

/// Whether a token is a byte, `<0xHH>`.
pub(super) fn is_byte(text: &str) -> bool {
    let digits = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}

/// The tokens that rules lead to, in groups of equal scores, the best first: tokens whose rules lie between each
/// other's have equal scores. `None` if no scores give the rules in this order.
pub(super) fn by_score(
    merges: &[(String, String)],
    token: impl Fn(&str) -> Option<usize>,
) -> Option<Vec<Vec<usize>>> {
    let lengths = |(left, right): &(String, String)| (left.chars().count(), right.chars().count());
    // Of each group its tokens and the range of its rules.
    let mut groups: Vec<(Vec<usize>, std::ops::Range<usize>)> = Vec::new();
    let mut place = HashMap::new();
    for (rank, (left, right)) in merges.iter().enumerate() {
        let Some(id) = token(&format!("{left}{right}")) else { continue };
        match place.get(&id) {
            None => {
                place.insert(id, groups.len());
                groups.push((vec![id], rank..rank + 1));
            }
            Some(&at) => {
                let later: Vec<usize> = groups.drain(at + 1..).flat_map(|(ids, _)| ids).collect();
                place.extend(later.iter().map(|id| (*id, at)));
                groups[at].0.extend(later);
                groups[at].1.end = rank + 1;
            }
        }
    }
    let ordered = |(ids, ranks): &(Vec<usize>, std::ops::Range<usize>)| {
        let lengths = merges[ranks.clone()].iter().map(lengths);
        ids.len() == 1
            || lengths.clone().zip(lengths.skip(1)).all(|(before, after)| before >= after)
    };
    groups.iter().all(ordered).then(|| groups.into_iter().map(|(ids, _)| ids).collect())
}

/// The rules for tokens with scores.
pub(super) fn merges<'t>(tokens: impl Iterator<Item = (&'t str, f32)>) -> Vec<Value> {
    let known: HashMap<&str, f32> = tokens.filter(|(text, _)| text.len() <= LONGEST).collect();
    let mut rules = Vec::new();
    for (&text, &score) in &known {
        let cuts = text.char_indices().skip(1).map(|(at, _)| text.split_at(at));
        let halves = cuts.filter(|(a, b)| known.contains_key(a) && known.contains_key(b));
        rules.extend(halves.map(|halves| (score, halves)));
    }
    rules.sort_unstable_by(|(score, (a, b)), (other, (c, d))| {
        let lengths = |a: &str, b: &str| Reverse((a.chars().count(), b.chars().count()));
        let shorter = lengths(a, b).cmp(&lengths(c, d));
        other.total_cmp(score).then(shorter).then_with(|| (a, b).cmp(&(c, d)))
    });
    rules.into_iter().map(|(_, (a, b))| json!([a, b])).collect()
}

/// Whether a `tokenizer.json` puts a space before a text.
pub(super) fn opens_with_space(json: &Value) -> bool {
    let steps = |name: &str, steps: &str| -> Vec<Value> {
        match &json[name] {
            sequence if sequence["type"] == "Sequence" => {
                sequence[steps].as_array().cloned().unwrap_or_default()
            }
            step => vec![step.clone()],
        }
    };
    let prepends = |step: &Value| step["type"] == "Prepend";
    let spaces = |step: &Value| {
        step["type"] == "Metaspace"
            && step["prepend_scheme"] != "never"
            && step["add_prefix_space"] != false
    };
    steps("normalizer", "normalizers").iter().any(prepends)
        || steps("pre_tokenizer", "pretokenizers").iter().any(spaces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(rules: &[Value]) -> Vec<(String, String)> {
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        rules.iter().map(|rule| (text(&rule[0]), text(&rule[1]))).collect()
    }

    #[test]
    fn scores_become_rules_and_rules_scores() {
        let tokens = [
            ("a", -9.0),
            ("b", -10.0),
            ("▁", -1e9),
            ("ab", 0.0),
            ("▁a", -1.0),
            ("aba", -2.0),
            ("abab", -3.0),
            ("▁▁", -1e9),
            ("▁▁▁", -1e9),
            ("▁▁▁▁", -1e9),
        ];
        let rules = pairs(&merges(tokens.iter().copied()));
        let expected = [
            ("a", "b"),
            ("▁", "a"),
            ("ab", "a"),
            ("aba", "b"),
            ("ab", "ab"),
            ("▁▁▁", "▁"),
            ("▁▁", "▁▁"),
            ("▁▁", "▁"),
            ("▁", "▁▁▁"),
            ("▁", "▁▁"),
            ("▁", "▁"),
        ];
        assert_eq!(rules, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        let id = |text: &str| tokens.iter().position(|(token, _)| *token == text);
        // Runs of spaces whose rules lie between each other's are equals.
        let groups = by_score(&rules, id).unwrap();
        assert_eq!(groups, [vec![3], vec![4], vec![5], vec![6], vec![9, 8], vec![7]]);
        // Rules of two tokens in turn, the shorter halves first: no scores do that.
        let odd = [("a", "b"), ("▁", "a"), ("b", "aba"), ("▁▁", "▁"), ("ab", "ab")];
        let tokens = ["ab", "▁a", "baba", "▁▁▁", "abab"];
        let odd: Vec<_> = odd.map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec();
        let id = |text: &str| tokens.iter().position(|token| *token == text);
        assert!(by_score(&odd, id).is_some());
        let again = [("ba", "ba"), ("a", "bab")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert!(by_score(&[&odd[..], &again].concat(), id).is_none());
    }

    #[test]
    fn bytes_are_known_by_their_spelling() {
        assert!(is_byte("<0x0A>") && is_byte("<0xff>"));
        assert!(!is_byte("<0x0>") && !is_byte("<0xGG>") && !is_byte("0x0A"));
    }

    #[test]
    fn a_space_before_a_text_is_found_where_it_is_described() {
        let prepend = json!({"type": "Prepend", "prepend": SPACE});
        let sequence = json!({"type": "Sequence", "normalizers": [prepend]});
        let metaspace = |scheme: &str| json!({"type": "Metaspace", "prepend_scheme": scheme});
        assert!(opens_with_space(&json!({"normalizer": sequence})));
        assert!(opens_with_space(&json!({"pre_tokenizer": metaspace("first")})));
        assert!(!opens_with_space(&json!({"pre_tokenizer": metaspace("never")})));
        assert!(!opens_with_space(&json!({"normalizer": {"type": "Replace"}})));
    }
}
