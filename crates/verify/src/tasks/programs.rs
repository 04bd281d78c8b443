//! What small Python programs print.
//!
//! Each line is written and carried out at once, so that no interpreter is needed. Every value stays
//! a whole number far below 2⁶³, and divisors are positive, for which Python's `//` and `%` are
//! Euclid's.

use super::Draft;
use super::random::Random;

pub(super) fn output(random: &mut Random, difficulty: u32) -> Draft {
    let (program, printed) = match random.below(3) {
        0 => list(random, difficulty),
        1 => function(random, difficulty),
        _ => looped(random, difficulty),
    };
    let question = format!(
        "What does this Python program print?\n\n```python\n{program}```\n\nAnswer with the output \
         only."
    );
    Draft::text(question, printed)
}

/// Two numbers that change in a loop.
fn looped(random: &mut Random, difficulty: u32) -> (String, String) {
    let d = i64::from(difficulty);
    let (mut x, mut y) = (random.range(1, 10), random.range(1, 10));
    let rounds = random.range(2, 2 + d);
    let mut program = format!("x = {x}\ny = {y}\nfor i in range({rounds}):\n");
    let body: Vec<Step> = (0..1 + difficulty / 3).map(|_| Step::random(random)).collect();
    for step in &body {
        program.push_str(&step.text());
    }
    program.push_str("print(x, y)\n");
    for i in 0..rounds {
        for step in &body {
            step.run(&mut x, &mut y, i);
        }
    }
    (program, format!("{x} {y}"))
}

/// One or two lines of a loop's body.
enum Step {
    Add { factor: i64 },
    Mix { factor: i64, modulus: i64 },
    Swap { modulus: i64 },
    Branch { modulus: i64, rest: i64, more: i64 },
    Divide { by: i64, more: i64 },
}

impl Step {
    fn random(random: &mut Random) -> Self {
        match random.below(5) {
            0 => Self::Add { factor: random.range(1, 5) },
            1 => Self::Mix { factor: random.range(2, 7), modulus: random.range(11, 99) },
            2 => Self::Swap { modulus: random.range(5, 50) },
            3 => {
                let modulus = random.range(2, 4);
                let rest = random.range(0, modulus - 1);
                Self::Branch { modulus, rest, more: random.range(1, 9) }
            }
            _ => Self::Divide { by: random.range(2, 4), more: random.range(1, 20) },
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Add { factor } => format!("    x = x + {factor} * i\n"),
            Self::Mix { factor, modulus } => format!("    y = ({factor} * y + x) % {modulus}\n"),
            Self::Swap { modulus } => format!("    x, y = y, (x + y) % {modulus}\n"),
            Self::Branch { modulus, rest, more } => format!(
                "    if x % {modulus} == {rest}:\n        x += {more}\n    else:\n        y -= i\n"
            ),
            Self::Divide { by, more } => format!("    x = (x + {more}) // {by}\n"),
        }
    }

    fn run(&self, x: &mut i64, y: &mut i64, i: i64) {
        match self {
            Self::Add { factor } => *x += factor * i,
            Self::Mix { factor, modulus } => *y = (factor * *y + *x).rem_euclid(*modulus),
            Self::Swap { modulus } => (*x, *y) = (*y, (*x + *y).rem_euclid(*modulus)),
            Self::Branch { modulus, rest, more } => {
                if x.rem_euclid(*modulus) == *rest {
                    *x += more;
                } else {
                    *y -= i;
                }
            }
            Self::Divide { by, more } => *x = (*x + more).div_euclid(*by),
        }
    }
}

/// A list that is sorted, cut, filtered.
fn list(random: &mut Random, difficulty: u32) -> (String, String) {
    let count = 4 + difficulty as usize / 2;
    let mut values: Vec<i64> =
        (0..count).map(|_| random.range(1, 9 + 4 * i64::from(difficulty))).collect();
    let mut program = format!("a = {values:?}\n");
    for _ in 0..1 + difficulty / 2 {
        let n = random.range(1, 5);
        let line = match random.below(7) {
            0 => {
                values.sort_unstable();
                "a.sort()".to_owned()
            }
            1 => {
                values.reverse();
                "a = a[::-1]".to_owned()
            }
            2 if values.len() > 3 => {
                values.remove(0);
                "a = a[1:]".to_owned()
            }
            3 => {
                values.iter_mut().for_each(|v| *v = *v * n % 23);
                format!("a = [v * {n} % 23 for v in a]")
            }
            4 if values.iter().filter(|v| *v % 2 == 0).count() > 2 => {
                values.retain(|v| v % 2 == 0);
                "a = [v for v in a if v % 2 == 0]".to_owned()
            }
            5 => {
                let last = values.last().copied().unwrap_or_default();
                values.push(values[0] + last);
                "a.append(a[0] + a[-1])".to_owned()
            }
            _ => {
                values.iter_mut().enumerate().for_each(|(i, v)| *v += i as i64 * n);
                format!("a = [v + i * {n} for i, v in enumerate(a)]")
            }
        };
        program.push_str(&line);
        program.push('\n');
    }
    let sum: i64 = values.iter().sum();
    let (line, printed) = match random.below(3) {
        0 => ("print(sum(a))", sum.to_string()),
        1 => ("print(max(a) - min(a), len(a))", {
            let (low, high) = (values.iter().min(), values.iter().max());
            format!("{} {}", high.zip(low).map_or(0, |(h, l)| h - l), values.len())
        }),
        _ => ("print(a)", format!("{values:?}")),
    };
    (format!("{program}{line}\n"), printed)
}

/// A function that calls itself.
fn function(random: &mut Random, difficulty: u32) -> (String, String) {
    let (a, b) = (random.range(1, 4), random.range(1, 6));
    let (less, limit) = (random.range(1, 2), random.range(1, 3));
    let modulus = random.range(10, 100);
    let n = limit + random.range(1, 2 + i64::from(difficulty));
    let first = random.range(1, 9);
    let two = difficulty > 5;
    let more = if two { format!(" + f(n - {})", less + 1) } else { String::new() };
    let program = format!(
        "def f(n):\n    if n <= {limit}:\n        return {first} + n\n    \
         return ({a} * f(n - {less}){more} + {b} * n) % {modulus}\n\nprint(f({n}))\n"
    );
    // From the bottom up, what it calls itself with going below zero by at most three.
    let mut known = Vec::new();
    let low = -4;
    for n in low..=n {
        let at = |n: i64| -> i64 { known[(n - low) as usize] };
        known.push(match n <= limit {
            true => first + n,
            false => {
                let other = if two { at(n - less - 1) } else { 0 };
                (a * at(n - less) + other + b * n).rem_euclid(modulus)
            }
        });
    }
    (program, known.last().copied().unwrap_or_default().to_string())
}
