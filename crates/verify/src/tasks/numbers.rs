//! Countdown, linear equations, bases.

use super::Draft;
use super::random::Random;
use crate::check::Check;
use crate::puzzles::countdown;

/// A number made of others, and how.
#[derive(Clone)]
struct Made {
    text: String,
    value: i64,
}

pub(super) fn countdown(random: &mut Random, difficulty: u32) -> Draft {
    let count = 3 + difficulty as usize / 2;
    let largest = if difficulty < 4 { 25 } else { 50 };
    // Numbers are joined two by two; where that leads too far, with others.
    for _ in 0..1000 {
        let numbers: Vec<i64> = (0..count).map(|_| random.range(1, largest)).collect();
        let mut made: Vec<Made> =
            numbers.iter().map(|&n| Made { text: n.to_string(), value: n }).collect();
        while made.len() > 1 {
            random.shuffle(&mut made);
            let (Some(a), Some(b)) = (made.pop(), made.pop()) else { break };
            made.push(join(random, &a, &b));
        }
        let Made { text, value } = made.remove(0);
        if (10..1000).contains(&value) && !numbers.contains(&value) {
            // The whole needs no parentheses.
            let text = text[1..text.len() - 1].to_owned();
            return of_numbers(&numbers, value, text);
        }
    }
    let numbers: Vec<i64> = (1..=count as i64).map(|i| 10 * i).collect();
    let texts: Vec<String> = numbers.iter().map(i64::to_string).collect();
    of_numbers(&numbers, numbers.iter().sum(), texts.join(" + "))
}

fn join(random: &mut Random, a: &Made, b: &Made) -> Made {
    let (sign, value) = match random.below(4) {
        0 if a.value * b.value < 10_000 => ("*", a.value * b.value),
        1 if b.value != 0 && a.value % b.value == 0 => ("/", a.value / b.value),
        2 if a.value > b.value => ("-", a.value - b.value),
        _ => ("+", a.value + b.value),
    };
    Made { text: format!("({} {sign} {})", a.text, b.text), value }
}

fn of_numbers(numbers: &[i64], target: i64, gold: String) -> Draft {
    let list: Vec<String> = numbers.iter().map(i64::to_string).collect();
    let question = format!(
        "Using the numbers {}, write an expression that equals {target}. Use each number at most \
         once, and only +, -, *, / and parentheses. Answer with the expression.",
        list.join(", ")
    );
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    let content = Some(format!("countdown {sorted:?} {target}"));
    let numbers = numbers.iter().map(|n| n.unsigned_abs()).collect();
    let check = Check::Countdown(countdown::Task { numbers, target, all: false });
    Draft { question, gold, check, content }
}

pub(super) fn equations(random: &mut Random, difficulty: u32) -> Draft {
    let d = i64::from(difficulty);
    let unknown = |random: &mut Random| random.range(-9 - 5 * d, 9 + 5 * d);
    let factor = |random: &mut Random| {
        let n = random.range(2, 4 + d);
        if random.chance(30) { -n } else { n }
    };
    let x = unknown(random);
    if difficulty <= 3 {
        let (a, b) = (factor(random), random.range(1, 40 + 20 * d));
        let left = format!("{} {}", term(a, "x"), signed(b));
        return Draft::number(format!("Solve {left} = {}. What is x?", a * x + b), x);
    }
    if difficulty <= 6 {
        let (a, b) = (factor(random), random.range(1, 40 + 20 * d));
        let c = loop {
            let c = factor(random);
            if c != a {
                break c;
            }
        };
        let e = (a - c) * x + b;
        let left = format!("{} {}", term(a, "x"), signed(b));
        let right = format!("{} {}", term(c, "x"), signed(e));
        return Draft::number(format!("Solve {left} = {right}. What is x?"), x);
    }
    let y = unknown(random);
    let (a, b, c, e) = loop {
        let (a, b, c, e) = (factor(random), factor(random), factor(random), factor(random));
        if a * e != b * c {
            break (a, b, c, e);
        }
    };
    let line = |a: i64, b: i64| {
        let sign = if b < 0 { "-" } else { "+" };
        format!("{} {sign} {}y = {}", term(a, "x"), b.abs(), a * x + b * y)
    };
    let (asked, gold) = *random.pick(&[("x", x), ("y", y), ("x + y", x + y), ("x - y", x - y)]);
    let question =
        format!("Two numbers satisfy {} and {}. What is {asked}?", line(a, b), line(c, e));
    Draft::number(question, gold)
}

fn term(factor: i64, name: &str) -> String {
    format!("{factor}{name}")
}

fn signed(n: i64) -> String {
    format!("{} {}", if n < 0 { "-" } else { "+" }, n.abs())
}

pub(super) fn bases(random: &mut Random, difficulty: u32) -> Draft {
    let easy = [2, 8, 10, 16];
    let pick = |random: &mut Random| match difficulty {
        ..4 => *random.pick(&easy),
        _ => random.range(2, 16) as u64,
    };
    let from = pick(random);
    let to = loop {
        let to = pick(random);
        if to != from {
            break to;
        }
    };
    let largest = 500 * 3u64.pow(difficulty);
    let number = 20 + random.below(largest);
    let question = format!(
        "Write the number {} from base {from} in base {to}. Use the letters a to f for digits above \
         9. Answer with the digits only.",
        digits(number, from)
    );
    Draft::text(question, digits(number, to))
}

fn digits(mut number: u64, base: u64) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = (number % base) as u32;
        digits.push(char::from_digit(digit, 16).expect("bases end at sixteen"));
        number /= base;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::{Kind, generate};

    #[test]
    fn digits_are_those_of_the_base() {
        assert_eq!(digits(255, 16), "ff");
        assert_eq!(digits(0, 2), "0");
        for n in [1, 7, 99, 12345] {
            for base in 2..=16 {
                assert_eq!(u64::from_str_radix(&digits(n, base), base as u32), Ok(n));
            }
        }
    }

    #[test]
    fn solutions_satisfy_their_equations() {
        for seed in 0..500 {
            let task = generate(Kind::Equations, seed, seed as u32 % 6 + 1);
            let x: i64 = task.gold.parse().unwrap();
            let equation = task.question.strip_prefix("Solve ").unwrap();
            let equation = equation.split_once(". ").unwrap().0;
            let (left, right) = equation.split_once(" = ").unwrap();
            let side = |side: &str| -> i64 {
                let words: Vec<&str> = side.split(' ').collect();
                let mut sum = 0;
                let mut sign = 1;
                for word in words {
                    sign = match (word, word.strip_suffix('x')) {
                        ("+", _) => 1,
                        ("-", _) => -1,
                        (_, Some(factor)) => {
                            sum += sign * factor.parse::<i64>().unwrap() * x;
                            1
                        }
                        (number, None) => {
                            sum += sign * number.parse::<i64>().unwrap();
                            1
                        }
                    };
                }
                sum
            };
            assert_eq!(side(left), side(right), "{equation} with {x}");
        }
    }
}
