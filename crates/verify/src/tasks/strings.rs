//! Texts changed step by step.

use super::Draft;
use super::random::Random;

pub(super) fn steps(random: &mut Random, difficulty: u32) -> Draft {
    let length = 4 + difficulty as usize;
    let mut text: String = (0..length).map(|_| letter(random)).collect();
    let mut question = format!("Start with the text \"{text}\" and do these steps in order.\n");
    let count = 1 + difficulty as usize / 2;
    for number in 1..=count {
        let (what, changed) = loop {
            let (what, changed) = step(random, &text);
            // Something must be left, and something must have happened.
            if changed.len() > 1 && changed.len() < 40 && changed != text {
                break (what, changed);
            }
        };
        question.push_str(&format!("{number}. {what}\n"));
        text = changed;
    }
    question.push_str("Answer with the resulting text only.");
    Draft::text(question, text)
}

/// A letter, vowels being as frequent as all others together every third time.
fn letter(random: &mut Random) -> char {
    let letters = if random.chance(33) { "aeiou" } else { "bcdfghjklmnpqrstvwxyz" };
    char::from(*random.pick(letters.as_bytes()))
}

fn step(random: &mut Random, text: &str) -> (String, String) {
    let vowel = |c: char| "aeiou".contains(c);
    let chars: Vec<char> = text.chars().collect();
    match random.below(9) {
        0 => ("Reverse it.".to_owned(), chars.iter().rev().collect()),
        1 => {
            let mut sorted = chars;
            sorted.sort_unstable();
            ("Sort its letters alphabetically.".to_owned(), sorted.into_iter().collect())
        }
        2 => {
            let kept = chars.into_iter().filter(|&c| !vowel(c)).collect();
            ("Remove all vowels (a, e, i, o, u).".to_owned(), kept)
        }
        3 => {
            let shift = random.range(1, 5) as u8;
            let moved = chars.iter().map(|&c| char::from(b'a' + (c as u8 - b'a' + shift) % 26));
            let what = format!(
                "Replace each letter by the one {shift} later in the alphabet, going on from z to a."
            );
            (what, moved.collect())
        }
        4 => {
            let kept = chars.iter().step_by(2).collect();
            ("Keep only the letters at odd places (the first, third, fifth …).".to_owned(), kept)
        }
        5 => {
            let by = 1 + random.below(3) as usize;
            let mut turned = chars;
            let by_chars = by % turned.len().max(1);
            turned.rotate_left(by_chars);
            let what = match by {
                1 => "Move the first letter to the end.".to_owned(),
                n => format!("Move the first {n} letters to the end, one after the other."),
            };
            (what, turned.into_iter().collect())
        }
        6 => {
            let (old, new) = (*random.pick(&chars), letter(random));
            let what = format!("Replace every \"{old}\" by \"{new}\".");
            (what, text.replace(old, &new.to_string()))
        }
        7 => {
            let mut once: Vec<char> = Vec::new();
            for c in chars {
                if !once.contains(&c) {
                    once.push(c);
                }
            }
            let what = "Of each letter keep only its first occurrence.".to_owned();
            (what, once.into_iter().collect())
        }
        _ => {
            let doubled = chars.iter().flat_map(|&c| [c].repeat(1 + usize::from(vowel(c))));
            ("Double every vowel (a, e, i, o, u).".to_owned(), doubled.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::tasks::{Kind, generate};

    /// The steps, carried out as the question words them by other code than made them.
    fn carry_out(step: &str, text: &str) -> String {
        let vowels = ['a', 'e', 'i', 'o', 'u'];
        let words: Vec<&str> = step.split(' ').collect();
        let quoted: Vec<&str> = step.split('"').skip(1).step_by(2).collect();
        let bytes = text.as_bytes();
        match words[0] {
            "Reverse" => text.chars().rev().collect(),
            "Sort" => ('a'..='z').map(|c| text.matches(c).collect::<String>()).collect(),
            "Remove" => text.replace(vowels, ""),
            "Keep" => (0..text.len()).filter(|i| i % 2 == 0).map(|i| bytes[i] as char).collect(),
            "Move" => {
                let n = words[3].parse().unwrap_or(1) % text.len();
                format!("{}{}", &text[n..], &text[..n])
            }
            "Replace" if words[1] == "every" => text.replace(quoted[0], quoted[1]),
            "Replace" => {
                let by: u8 = words[6].parse().unwrap();
                let later = |c: u8| if c + by > b'z' { c + by - 26 } else { c + by };
                text.bytes().map(|c| later(c) as char).collect()
            }
            "Of" => {
                let first = |i: &usize| text.find(bytes[*i] as char) == Some(*i);
                (0..text.len()).filter(first).map(|i| bytes[i] as char).collect()
            }
            "Double" => {
                vowels.iter().fold(text.to_owned(), |text, v| text.replace(*v, &format!("{v}{v}")))
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn steps_do_what_they_say() {
        for seed in 0..1000 {
            let task = generate(Kind::Strings, seed, seed as u32 % 10 + 1);
            let start = task.question.split('"').nth(1).unwrap().to_owned();
            let steps = task.question.lines().filter_map(|line| {
                let (number, step) = line.split_once(". ")?;
                number.parse::<u32>().ok().map(|_| step)
            });
            let end = steps.fold(start, |text, step| carry_out(step, &text));
            assert_eq!(end, task.gold, "{}", task.question);
        }
    }
}
