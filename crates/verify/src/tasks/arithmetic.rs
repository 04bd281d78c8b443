//! Sums of several steps.

use super::Draft;
use super::random::Random;

/// No value on the way is larger.
const LARGEST: i64 = 1_000_000;

/// An expression with what is needed to write it.
struct Sum {
    text: String,
    value: i64,
    /// How strongly its outermost operation binds: 0 for `+ -`, 1 for `*`, 2 for a number.
    binds: u8,
}

pub(super) fn chain(random: &mut Random, difficulty: u32) -> Draft {
    let sum = sum(random, difficulty as usize + 1, 9 + 9 * i64::from(difficulty));
    let question = format!("Work out {}. Answer with a whole number.", sum.text);
    Draft::number(question, sum.value)
}

/// A sum of `steps` operations on numbers up to `largest`.
fn sum(random: &mut Random, steps: usize, largest: i64) -> Sum {
    if steps == 0 {
        let value = random.range(2, largest);
        return Sum { text: value.to_string(), value, binds: 2 };
    }
    let before = random.below(steps as u64) as usize;
    let left = sum(random, before, largest);
    let right = sum(random, steps - 1 - before, largest);
    let small = |n: i64| n.abs() <= 1000;
    let product = left.value * right.value;
    let multiply = small(left.value) && small(right.value) && product.abs() <= LARGEST;
    let (sign, value, binds) = match random.below(3) {
        0 if multiply => ("*", product, 1),
        0 | 1 => ("+", left.value + right.value, 0),
        _ => ("-", left.value - right.value, 0),
    };
    // What binds less than the operation stands in parentheses; so does an equal to its right.
    let wrap = |sum: &Sum, needed: bool| {
        if needed { format!("({})", sum.text) } else { sum.text.clone() }
    };
    let left_text = wrap(&left, left.binds < binds);
    let right_text = wrap(&right, right.binds < 2 && right.binds <= binds);
    Sum { text: format!("{left_text} {sign} {right_text}"), value, binds }
}

#[cfg(test)]
mod tests {
    use crate::puzzles::expression;
    use crate::tasks::{Kind, generate};

    #[test]
    fn is_worth_what_it_says() {
        for seed in 0..2000 {
            let task = generate(Kind::Arithmetic, seed, seed as u32 % 10 + 1);
            let text = task.question.strip_prefix("Work out ").unwrap();
            let text = text.split_once(". ").unwrap().0;
            let worth = expression::evaluate(text).unwrap();
            assert_eq!(worth.value.to_string(), task.gold, "{text}");
        }
    }
}
