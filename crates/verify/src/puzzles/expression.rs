//! Sums as pupils write them: whole numbers, `+ - * /` and parentheses, worked out exactly.

use std::fmt;

/// A longer expression is not read.
const MAX_CHARS: usize = 1000;

/// An exact fraction in lowest terms, its denominator positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    numerator: i128,
    denominator: i128,
}

impl Ratio {
    /// A whole number.
    pub fn whole(n: i64) -> Self {
        Self { numerator: i128::from(n), denominator: 1 }
    }

    /// `None` if the denominator is zero or a part can't be negated.
    fn new(numerator: i128, denominator: i128) -> Option<Self> {
        let sign = if denominator < 0 { -1 } else { 1 };
        let (numerator, denominator) =
            (numerator.checked_mul(sign)?, denominator.checked_mul(sign)?);
        let (mut a, mut b) = (numerator.unsigned_abs(), denominator.unsigned_abs());
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let divisor = i128::try_from(a).ok().filter(|_| denominator != 0)?;
        Some(Self { numerator: numerator / divisor, denominator: denominator / divisor })
    }

    /// `None` if it can't be worked out: division by zero, or too large for 128 bits.
    fn apply(self, op: Op, other: Self) -> Option<Self> {
        let (a, b, c, d) = (self.numerator, self.denominator, other.numerator, other.denominator);
        let across =
            |x: i128, y: i128, z: i128, w: i128| Some((x.checked_mul(y)?, z.checked_mul(w)?));
        match op {
            Op::Add | Op::Subtract => {
                let (left, right) = across(a, d, c, b)?;
                let sum = match op {
                    Op::Add => left.checked_add(right)?,
                    _ => left.checked_sub(right)?,
                };
                Self::new(sum, b.checked_mul(d)?)
            }
            Op::Multiply => across(a, c, b, d).and_then(|(n, d)| Self::new(n, d)),
            Op::Divide => across(a, d, b, c).and_then(|(n, d)| Self::new(n, d)),
        }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.denominator {
            1 => write!(f, "{}", self.numerator),
            _ => write!(f, "{}/{}", self.numerator, self.denominator),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Add,
    Subtract,
    Multiply,
    Divide,
}

impl Op {
    fn of(c: char) -> Option<Self> {
        Some(match c {
            '+' => Self::Add,
            '-' | '−' | '–' => Self::Subtract,
            '*' | '×' | '·' | '⋅' => Self::Multiply,
            '/' | '÷' | '∕' => Self::Divide,
            _ => return None,
        })
    }

    fn binds(self) -> u8 {
        matches!(self, Self::Multiply | Self::Divide).into()
    }
}

/// What an expression is worth, and the numbers in it from left to right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worth {
    /// Its value.
    pub value: Ratio,
    /// Its numbers.
    pub numbers: Vec<u64>,
    /// Whether it has an operation in it.
    pub has_operation: bool,
}

/// Whether `c` can be part of an expression.
pub fn is_part(c: char) -> bool {
    c.is_ascii_digit() || Op::of(c).is_some() || matches!(c, '(' | ')' | '[' | ']') || c == ' '
}

/// Works out `text`. Signs are not operations: `-3` is no expression.
///
/// # Errors
/// What is wrong with it, in a few words.
pub fn evaluate(text: &str) -> Result<Worth, String> {
    let text = plain(text);
    let mut chars = text.chars().peekable();
    let mut values: Vec<Ratio> = Vec::new();
    let mut waiting: Vec<Waiting> = Vec::new();
    let mut numbers = Vec::new();
    let mut has_operation = false;
    // Whether a value is due, or an operation.
    let mut due = true;
    if text.chars().count() > MAX_CHARS {
        return Err("the expression is too long".to_owned());
    }
    while let Some(c) = chars.next() {
        match c {
            _ if c.is_whitespace() => {}
            '0'..='9' if due => {
                let mut digits = c.to_string();
                while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                    digits.push(digit);
                }
                let number: i64 = digits.parse().map_err(|_| format!("{digits} is too large"))?;
                numbers.push(number.unsigned_abs());
                values.push(Ratio::whole(number));
                due = false;
            }
            '(' | '[' if due => waiting.push(Waiting::Open(c)),
            ')' | ']' if !due => loop {
                match waiting.pop() {
                    Some(Waiting::Open(open)) if (open == '(') == (c == ')') => break,
                    Some(Waiting::Op(op)) => work(op, &mut values)?,
                    _ => return Err("the parentheses don't match".to_owned()),
                }
            },
            _ if !due && Op::of(c).is_some() => {
                let op = Op::of(c).expect("was just seen");
                while let Some(&Waiting::Op(before)) = waiting.last() {
                    if before.binds() < op.binds() {
                        break;
                    }
                    work(before, &mut values)?;
                    waiting.pop();
                }
                waiting.push(Waiting::Op(op));
                has_operation = true;
                due = true;
            }
            _ => return Err(format!("{c:?} has no place there")),
        }
    }
    if due {
        return Err("it ends without a number".to_owned());
    }
    while let Some(next) = waiting.pop() {
        match next {
            Waiting::Op(op) => work(op, &mut values)?,
            Waiting::Open(_) => return Err("the parentheses don't match".to_owned()),
        }
    }
    let value = values.pop().ok_or("it is empty")?;
    Ok(Worth { value, numbers, has_operation })
}

enum Waiting {
    Open(char),
    Op(Op),
}

fn work(op: Op, values: &mut Vec<Ratio>) -> Result<(), String> {
    let (Some(right), Some(left)) = (values.pop(), values.pop()) else {
        return Err("an operation lacks a number".to_owned());
    };
    let value = left.apply(op, right);
    values.push(value.ok_or("it divides by zero or grows too large")?);
    Ok(())
}

/// LaTeX's names as plain signs.
fn plain(text: &str) -> String {
    let mut text = text.to_owned();
    for (name, sign) in [
        ("\\times", "*"),
        ("\\cdot", "*"),
        ("\\div", "/"),
        ("\\left", ""),
        ("\\right", ""),
        ("\\,", " "),
        ("\\ ", " "),
    ] {
        if text.contains(name) {
            text = text.replace(name, sign);
        }
    }
    fractions(&text)
}

/// `\frac{a}{b}` as `((a)/(b))`. Other braces stay, and have no place in an expression.
fn fractions(text: &str) -> String {
    if !text.contains("\\frac{") && !text.contains("\\dfrac{") {
        return text.to_owned();
    }
    let text = text.replace("\\dfrac{", "\\frac{").replace("\\frac{", "\u{1}");
    let mut out = String::new();
    // Per open brace of a fraction: whether its numerator is done.
    let mut open: Vec<bool> = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, open.last_mut()) {
            ('\u{1}', _) => {
                out.push_str("((");
                open.push(false);
            }
            ('}', Some(done @ false)) if chars.next_if_eq(&'{').is_some() => {
                *done = true;
                out.push_str(")/(");
            }
            ('}', Some(true)) => {
                open.pop();
                out.push_str("))");
            }
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn works_out_exactly() {
        for (text, value) in [
            ("1 + 2 * 3", "7"),
            ("(1+2)*3", "9"),
            ("8/(3-8/3)", "24"),
            ("10 - 4 - 3", "3"),
            ("16 / 4 / 2", "2"),
            ("1/3", "1/3"),
            ("[2 × (3 − 1)] ÷ 4", "1"),
            ("\\frac{6}{1-\\frac{3}{4}}", "24"),
            ("\\left(2 + 2\\right) \\times 6", "24"),
            ("3-5", "-2"),
        ] {
            assert_eq!(evaluate(text).unwrap().value.to_string(), value, "{text}");
        }
        assert_eq!(evaluate("5*(5-1)").unwrap().numbers, [5, 5, 1]);
    }

    #[test]
    fn refuses_what_is_none() {
        for text in [
            "",
            "1+",
            "-1",
            "1**2",
            "1//2",
            "1 2",
            "2.5",
            "(1",
            "1)",
            "(1]",
            "()",
            "1/0",
            "2^3",
            "x",
            "1/(2-2)",
            "+",
            "\\frac{1}",
            "99999999999999999999",
            "(1)(2)",
            "\\frac{1}{2",
        ] {
            assert!(evaluate(text).is_err(), "{text}");
        }
        let huge = vec!["9999999999"; 20].join("*");
        assert!(evaluate(&huge).is_err());
        assert!(evaluate(&"(".repeat(100_000)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in r"([0-9+*/() -]|\\frac\{|\}|\{|é|99999999){0,60}") {
            let _ = evaluate(&text);
        }

        #[test]
        fn agrees_with_floats(a in 1..50i64, b in 1..50i64, c in 1..50i64) {
            let text = format!("({a} - {b}) * {c} + {a} / {b}");
            let exact = evaluate(&text).unwrap().value;
            let float = (a - b) as f64 * c as f64 + a as f64 / b as f64;
            let value = exact.numerator as f64 / exact.denominator as f64;
            proptest::prop_assert!((value - float).abs() < 1e-9);
        }
    }
}
