//! Does a text end in a loop?

use serde::Serialize;

/// Only so many characters of the end are looked at, so that time and memory are bounded.
const TAIL: usize = 20_000;
/// A loop is a unit written at least so many times on end …
const TIMES: usize = 4;
/// … over at least so many characters: `...` and `10000` are no loops.
const SPAN: usize = 160;

/// A loop at the end of a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repetition {
    /// The shortest unit that is repeated.
    pub unit: String,
    /// How many times it is written, the last of which may be cut short and is not counted then.
    pub times: usize,
    /// Over how many characters.
    pub span: usize,
}

/// The loop a text ends in: one unit of characters at least four times on end, over at least 160
/// characters, right up to the end. White space counts as one space. A loop that the model got out of
/// is none; neither is one that changes as it goes on (`Step 41 … Step 42 …`).
///
/// The whole tail is `span` characters long with period `p` exactly if the text read backwards agrees
/// with itself shifted by `p` for `span - p` characters: its Z-function, for all `p` in linear time.
pub fn repetition(text: &str) -> Option<Repetition> {
    let mut backwards: Vec<char> = Vec::new();
    for c in text.trim_end().chars().rev() {
        match (c.is_whitespace(), backwards.last()) {
            (true, Some(' ')) => {}
            (true, _) => backwards.push(' '),
            (false, _) => backwards.push(c),
        }
        if backwards.len() == TAIL {
            break;
        }
    }
    let z = z_function(&backwards);
    let (period, span) = (1..=backwards.len() / TIMES)
        .map(|p| (p, p + z[p]))
        .find(|&(p, span)| span >= SPAN && span / p >= TIMES)?;
    let unit: String = backwards[..period].iter().rev().collect();
    // A run of spaces or newlines is laid out, not said; it cannot come here, being one space.
    Some(Repetition { unit, times: span / period, span })
}

/// For each place, how many characters from there on equal the beginning.
fn z_function(text: &[char]) -> Vec<usize> {
    let mut z = vec![0; text.len()];
    let (mut left, mut right) = (0, 0);
    for i in 1..text.len() {
        if i < right {
            z[i] = z[i - left].min(right - i);
        }
        while i + z[i] < text.len() && text[z[i]] == text[i + z[i]] {
            z[i] += 1;
        }
        if i + z[i] > right {
            (left, right) = (i, i + z[i]);
        }
    }
    z
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn loops_are_found() {
        let text =
            format!("So we add them. {}Wait, let", "Wait, let me check that again.\n".repeat(9));
        let found = repetition(&text).unwrap();
        assert_eq!(found.times, 9);
        // Any rotation of the unit is the unit.
        assert_eq!(found.unit.chars().count(), "Wait, let me check that again. ".len());
        assert_eq!(
            repetition(&"等等，让我再想想。".repeat(20)).unwrap().unit,
            "等等，让我再想想。"
        );
        assert_eq!(repetition(&"0".repeat(400)).unwrap().unit, "0");
    }

    #[test]
    fn what_is_no_loop() {
        assert_eq!(repetition(""), None);
        assert_eq!(repetition("The answer is 10000000000."), None);
        assert_eq!(repetition("Let me check. Let me check. Let me check."), None);
        let out_again = format!("{}So the answer is 4.", "Let me check that again. ".repeat(30));
        assert_eq!(repetition(&out_again), None);
        let counting: String = (0..80).map(|i| format!("Step {i}: add one. ")).collect();
        assert_eq!(repetition(&counting), None);
    }

    #[test]
    fn a_million_characters_take_no_time() {
        let start = std::time::Instant::now();
        assert!(repetition(&"ab".repeat(500_000)).is_some());
        assert!(repetition(&format!("{}b", "a".repeat(1_000_000))).is_none());
        assert!(start.elapsed().as_secs_f64() < 1.0);
    }

    proptest! {
        #[test]
        fn agrees_with_the_obvious(head in "[ab]{0,30}", unit in "[abc]{1,50}", times in 1..12usize) {
            let text = format!("{head}{}", unit.repeat(times));
            let chars: Vec<char> = text.chars().rev().collect();
            let obvious = (1..=chars.len() / TIMES).find(|&p| {
                let span = p + (p..chars.len()).take_while(|&i| chars[i] == chars[i - p]).count();
                span >= SPAN && span / p >= TIMES
            });
            prop_assert_eq!(repetition(&text).map(|r| r.unit.chars().count()), obvious);
        }
    }
}
