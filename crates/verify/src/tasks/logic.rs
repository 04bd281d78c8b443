//! Knights, who always speak the truth, and knaves, who always lie.

use super::Draft;
use super::random::Random;
use crate::pattern::exact::Normalise;

const NAMES: [&str; 16] = [
    "Alma", "Boris", "Carla", "Dimitri", "Esther", "Felix", "Gina", "Hugo", "Irma", "Jorge",
    "Klara", "Lars", "Mina", "Nico", "Olga", "Pavel",
];

/// What someone says of people, who are numbers.
#[derive(Clone, Copy, Debug)]
enum Claim {
    Knight(usize),
    Knave(usize),
    Same(usize, usize),
    Different(usize, usize),
    Either(usize, usize),
    AtLeast(u32),
    Exactly(u32),
}

impl Claim {
    /// Whether it is true where the bits of `knights` say who is one.
    fn holds(self, knights: u32) -> bool {
        let is = |i: usize| knights >> i & 1 == 1;
        match self {
            Self::Knight(a) => is(a),
            Self::Knave(a) => !is(a),
            Self::Same(a, b) => is(a) == is(b),
            Self::Different(a, b) => is(a) != is(b),
            Self::Either(a, b) => is(a) || is(b),
            Self::AtLeast(n) => knights.count_ones() >= n,
            Self::Exactly(n) => knights.count_ones() == n,
        }
    }

    fn said(self, names: &[&str]) -> String {
        match self {
            Self::Knight(a) => format!("{} is a knight", names[a]),
            Self::Knave(a) => format!("{} is a knave", names[a]),
            Self::Same(a, b) => format!("{} and {} are of the same kind", names[a], names[b]),
            Self::Different(a, b) => {
                format!("{} and {} are of different kinds", names[a], names[b])
            }
            Self::Either(a, b) => {
                format!("At least one of {} and {} is a knight", names[a], names[b])
            }
            Self::AtLeast(n) => format!("At least {n} of us {} knights", plural(n)),
            Self::Exactly(n) => format!("Exactly {n} of us {} knights", plural(n)),
        }
    }
}

fn plural(n: u32) -> &'static str {
    if n == 1 { "is one of the" } else { "are" }
}

/// All who may be knights if those who are speak the truth and the others lie.
fn solutions(claims: &[Claim]) -> Vec<u32> {
    let fits = |knights: &u32| {
        claims.iter().enumerate().all(|(i, claim)| claim.holds(*knights) == (knights >> i & 1 == 1))
    };
    (0..1 << claims.len()).filter(fits).collect()
}

pub(super) fn knights(random: &mut Random, difficulty: u32) -> Draft {
    let count = 3 + (difficulty as usize - 1) / 2;
    let mut names = random.sample(&NAMES, count);
    names.sort_unstable();
    let mut claims = Vec::new();
    let mut unique = false;
    for _ in 0..10_000 {
        // That nobody is one is an answer easily guessed.
        let fewest = u64::from(random.chance(95));
        let knights = (fewest + random.below((1 << count) - fewest)) as u32;
        claims = (0..count).map(|who| claim(random, who, count, difficulty, knights)).collect();
        unique = solutions(&claims).len() == 1;
        if unique {
            break;
        }
    }
    if !unique {
        // Everybody says that the next one is a knave but the last, who can't be a knave at once
        // with nobody: "at least one of us is a knight" is true of this chain, so the last is one.
        claims = (1..count).map(Claim::Knave).collect();
        claims.push(Claim::AtLeast(1));
    }
    let knights = solutions(&claims).first().copied().unwrap_or_default();
    let mut question = format!(
        "On an island everybody is either a knight, who always tells the truth, or a knave, who \
         always lies. You meet {}.\n",
        names.join(", ")
    );
    for (name, claim) in names.iter().zip(&claims) {
        question.push_str(&format!("{name} says: \"{}.\"\n", claim.said(&names)));
    }
    question.push_str(
        "Who are the knights? Answer with their names in alphabetical order, separated by commas, \
         or with \"none\".",
    );
    let found: Vec<&str> =
        names.iter().enumerate().filter(|(i, _)| knights >> i & 1 == 1).map(|(_, n)| *n).collect();
    let gold = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    Draft::exact(question, gold, Normalise { punctuation: true, ..Normalise::default() })
}

/// What `who` may say: something true if a knight, something false if a knave.
fn claim(random: &mut Random, who: usize, count: usize, difficulty: u32, knights: u32) -> Claim {
    let truth = knights >> who & 1 == 1;
    let mut last = Claim::AtLeast(0);
    for _ in 0..100 {
        let mut others: Vec<usize> = (0..count).filter(|&other| other != who).collect();
        random.shuffle(&mut others);
        let a = others[0];
        // Two others where there are, otherwise the speaker and the other.
        let b = others.get(1).copied().unwrap_or(who);
        let n = random.range(1, count as i64) as u32;
        // Counting all is rarer: most such claims are false, which makes them dull.
        last = match random.below(if difficulty < 3 { 8 } else { 12 }) {
            0 | 1 => Claim::Knight(a),
            2 | 3 => Claim::Knave(a),
            4 | 5 => Claim::Same(a, b),
            6 | 7 => Claim::Different(a, b),
            8 | 9 => Claim::Either(a, b),
            10 => Claim::AtLeast(n),
            _ => Claim::Exactly(n),
        };
        if last.holds(knights) == truth {
            return last;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::{Kind, generate};

    #[test]
    fn the_fallback_has_one_solution() {
        for count in 2..=7 {
            let mut claims: Vec<Claim> = (1..count).map(Claim::Knave).collect();
            claims.push(Claim::AtLeast(1));
            assert_eq!(solutions(&claims).len(), 1, "{count}");
        }
    }

    /// Read back from the question alone, by other code than made it.
    #[test]
    fn the_gold_is_the_only_solution() {
        for seed in 0..300 {
            let task = generate(Kind::Knights, seed, seed as u32 % 10 + 1);
            let said: Vec<(&str, &str)> = task
                .question
                .lines()
                .filter_map(|line| line.split_once(" says: \""))
                .map(|(who, what)| (who, what.trim_end_matches(".\"")))
                .collect();
            let names: Vec<&str> = said.iter().map(|(who, _)| *who).collect();
            let mut fitting = Vec::new();
            for knights in 0..1u32 << names.len() {
                let is = |name: &str| {
                    let at = names.iter().position(|n| *n == name).unwrap();
                    knights & (1 << at) != 0
                };
                let holds = |what: &str| {
                    let words: Vec<&str> = what.split(' ').collect();
                    let ones = knights.count_ones();
                    if what.ends_with("is a knight") && words.len() == 4 {
                        is(words[0])
                    } else if what.ends_with("is a knave") {
                        !is(words[0])
                    } else if what.ends_with("of the same kind") {
                        is(words[0]) == is(words[2])
                    } else if what.ends_with("of different kinds") {
                        is(words[0]) != is(words[2])
                    } else if what.starts_with("At least one of") {
                        is(words[4]) || is(words[6])
                    } else if what.starts_with("At least") {
                        ones >= words[2].parse().unwrap()
                    } else {
                        assert!(what.starts_with("Exactly"), "{what}");
                        ones == words[1].parse::<u32>().unwrap()
                    }
                };
                if said.iter().all(|(who, what)| is(who) == holds(what)) {
                    let all: Vec<&str> = names.iter().copied().filter(|name| is(name)).collect();
                    fitting.push(if all.is_empty() { "none".into() } else { all.join(", ") });
                }
            }
            assert_eq!(fitting, [task.gold], "{}", task.question);
        }
    }
}
