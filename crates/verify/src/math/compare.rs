//! Whether two answers are the same.
//!
//! Rational numbers are compared exactly. Other constants are evaluated to about 31 digits and have to
//! agree to [`CONSTANTS_AGREE`]; formulas with letters are evaluated at [`POINTS`] random points, of either
//! sign, and have to agree to [`FORMULAS_AGREE`] wherever both have a value. A decimal equals a number that
//! it is the correct rounding of if it has at least [`ROUNDED_DIGITS`] digits.

use std::cell::Cell;

use num_rational::BigRational;
use num_traits::{Signed, ToPrimitive, Zero};

use super::double::{Complex, Double};
use super::node::{Constant, Node, Relation};
use super::units;
use super::value::{approximate, exact};

/// Largest relative difference of equal constants.
const CONSTANTS_AGREE: f64 = 1e-20;
/// Largest relative difference of equal formulas at a point.
const FORMULAS_AGREE: f64 = 1e-16;
/// Points at which formulas are compared.
const POINTS: u64 = 8;
/// Points at which both must have a value.
const ENOUGH: usize = 3;
/// Significant digits from which on a decimal may stand for what it is the rounding of.
const ROUNDED_DIGITS: i32 = 6;
/// Evaluations of formulas that one comparison may take.
const MAX_WORK: usize = 20_000;
/// Items of collections that are compared in any order.
const MAX_UNORDERED: usize = 128;

/// Compares, and counts what that takes.
#[derive(Default)]
pub(crate) struct Comparison {
    work: Cell<usize>,
}

/// The work was more than [`MAX_WORK`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMuch;

type Outcome = Result<bool, TooMuch>;

impl Comparison {
    fn worked(&self) -> Result<(), TooMuch> {
        self.work.set(self.work.get() + 1);
        if self.work.get() > MAX_WORK { Err(TooMuch) } else { Ok(()) }
    }

    /// Whether `answer` says what `gold` does.
    pub(crate) fn equal(&self, gold: &Node, answer: &Node) -> Outcome {
        if gold == answer {
            return Ok(true);
        }
        if let Some((plus, minus)) = both_signs(gold) {
            return self.equal(&Node::List(vec![plus, minus]), answer);
        }
        if let Some((plus, minus)) = both_signs(answer) {
            return self.equal(gold, &Node::List(vec![plus, minus]));
        }
        match (gold, answer) {
            (Node::Measured(a, u), Node::Measured(b, v)) => {
                if units::conflict(u, v) {
                    return match units::factor(u, v) {
                        Some(factor) => {
                            let scaled = Node::Product(vec![(**b).clone(), factor]);
                            self.equal(a, &scaled)
                        }
                        None => Ok(false),
                    };
                }
                self.equal(a, b)
            }
            (Node::Measured(a, _), b) | (b, Node::Measured(a, _)) => self.equal(a, b),
            (Node::Percent(a), b) | (b, Node::Percent(a)) if !matches!(b, Node::Percent(_)) => {
                // "What percent" is answered with and without the sign.
                Ok(self.formulas(&Node::Percent(a.clone()), b)? || self.equal(a, b)?)
            }
            (Node::Degrees(a), b) | (b, Node::Degrees(a)) if !matches!(b, Node::Degrees(_)) => {
                Ok(self.formulas(&Node::Degrees(a.clone()), b)? || self.equal(a, b)?)
            }
            (Node::Based(a, base), Node::Based(b, other)) => Ok(a == b && base == other),
            (Node::Based(digits, _), Node::Number(..))
            | (Node::Number(..), Node::Based(digits, _)) => {
                let number = if matches!(gold, Node::Number(..)) { gold } else { answer };
                Ok(exact(number).is_some_and(|n| n.to_string() == *digits))
            }
            (Node::Words(a), Node::Words(b)) => Ok(a == b),
            (Node::Matrix(a), Node::Matrix(b)) => {
                if a.len() != b.len() || a[0].len() != b[0].len() {
                    return Ok(false);
                }
                self.in_order(&a.concat(), &b.concat())
            }
            (Node::Relation(..), _) | (_, Node::Relation(..)) => self.relations(gold, answer),
            _ if gold.is_formula() && answer.is_formula() => self.formulas(gold, answer),
            _ => self.collections(gold, answer),
        }
    }

    fn in_order(&self, a: &[Node], b: &[Node]) -> Outcome {
        if a.len() != b.len() {
            return Ok(false);
        }
        for (a, b) in a.iter().zip(b) {
            if !self.equal(a, b)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn in_any_order(&self, a: &[Node], b: &[Node]) -> Outcome {
        if a.len() != b.len() || a.len() > MAX_UNORDERED {
            return Ok(false);
        }
        let mut left: Vec<&Node> = b.iter().collect();
        for a in a {
            let mut found = None;
            for (i, b) in left.iter().enumerate() {
                if self.equal(a, b)? {
                    found = Some(i);
                    break;
                }
            }
            match found {
                Some(i) => drop(left.swap_remove(i)),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn collections(&self, gold: &Node, answer: &Node) -> Outcome {
        match (gold, answer) {
            (Node::Bracket { square: s, items: a }, Node::Bracket { square: t, items: b }) => {
                Ok(s == t && self.in_order(a, b)?)
            }
            // A point without its brackets.
            (Node::Bracket { square: (false, false), items }, Node::List(list))
            | (Node::List(list), Node::Bracket { square: (false, false), items }) => {
                self.in_order(items, &right_sides(list).unwrap_or_else(|| list.clone()))
            }
            (Node::Set(a) | Node::List(a), Node::Set(b) | Node::List(b)) => {
                if self.in_any_order(a, b)? {
                    return Ok(true);
                }
                match (same_letter(a), same_letter(b)) {
                    (None, None) => Ok(false),
                    (a2, b2) => {
                        let (a2, b2) = (a2.as_ref().unwrap_or(a), b2.as_ref().unwrap_or(b));
                        self.in_any_order(a2, b2)
                    }
                }
            }
            (Node::Union(a), Node::Union(b)) => {
                let (a, b) = (pieces(a), pieces(b));
                self.in_any_order(&a, &b)
            }
            // `x = 1 or x = 2`
            (Node::Union(a), list @ (Node::List(_) | Node::Set(_)))
            | (list @ (Node::List(_) | Node::Set(_)), Node::Union(a)) => match same_letter(a) {
                Some(values) => self.equal(&Node::List(values), list),
                None => Ok(false),
            },
            (Node::Set(one), other) | (other, Node::Set(one)) if one.len() == 1 => {
                self.equal(&one[0], other)
            }
            _ => Ok(false),
        }
    }

    fn relations(&self, gold: &Node, answer: &Node) -> Outcome {
        match (gold, answer) {
            (Node::Relation(a, r), Node::Relation(b, s)) => {
                if let (Some(a), Some(b)) = (interval(gold), interval(answer)) {
                    return Ok(a.0 == b.0 && self.equal(&a.1, &b.1)?);
                }
                self.two_relations(a, r, b, s)
            }
            (Node::Relation(sides, relations), other)
            | (other, Node::Relation(sides, relations)) => {
                if matches!(other, Node::Bracket { .. }) {
                    let relation = if matches!(gold, Node::Relation(..)) { gold } else { answer };
                    if let Some((_, interval)) = interval(relation) {
                        return self.equal(&interval, other);
                    }
                }
                if relations.iter().any(|r| *r != Relation::Equal) {
                    return Ok(false);
                }
                self.stated(sides, other)
            }
            _ => Ok(false),
        }
    }

    /// Whether `x = 5`, `10/2 = 5` or `m + n = 5` says `other`.
    fn stated(&self, sides: &[Node], other: &Node) -> Outcome {
        let Some((last, before)) = sides.split_last() else { return Ok(false) };
        for (i, side) in before.iter().enumerate() {
            // What is named on the left may be anything but an equation that is still to be solved.
            let names = i == 0 && names(side);
            if !names && !self.equal(last, side)? {
                return Ok(false);
            }
        }
        self.equal(last, other)
    }

    fn two_relations(&self, a: &[Node], r: &[Relation], b: &[Node], s: &[Relation]) -> Outcome {
        let turned = |sides: &[Node], relations: &[Relation]| {
            let sides: Vec<Node> = sides.iter().rev().cloned().collect();
            let relations: Vec<Relation> = relations.iter().rev().map(|r| r.turned()).collect();
            (sides, relations)
        };
        if r == s && self.in_order(a, b)? {
            return Ok(true);
        }
        let (c, t) = turned(b, s);
        if r == t && self.in_order(a, &c)? {
            return Ok(true);
        }
        let ([a1, a2], [b1, b2], [r], [s]) = (a, b, r, s) else { return Ok(false) };
        let difference =
            |x: &Node, y: &Node| Node::Sum(vec![x.clone(), Node::Negative(Box::new(y.clone()))]);
        let equation = matches!(r, Relation::Equal | Relation::NotEqual);
        let (mine, theirs) = match (r == s, *r == s.turned()) {
            (true, _) => (difference(a1, a2), difference(b1, b2)),
            (false, true) => (difference(a1, a2), difference(b2, b1)),
            _ => return Ok(false),
        };
        if mine.variables().is_empty() || mine.variables() != theirs.variables() {
            return Ok(false);
        }
        self.proportional(&mine, &theirs, !equation)
    }

    /// Whether one formula is the other times a number other than zero.
    fn proportional(&self, a: &Node, b: &Node, positive: bool) -> Outcome {
        let mut ratio: Option<Complex> = None;
        let mut seen = 0;
        for point in 0..POINTS {
            self.worked()?;
            let letters = |name: &str| at(point, name);
            let (Some(x), Some(y)) = (approximate(a, &letters), approximate(b, &letters)) else {
                return Ok(false);
            };
            let quotient = x / y;
            if !quotient.is_finite() || quotient.abs().0 == 0.0 {
                continue;
            }
            if positive && !(quotient.is_real() && quotient.re.0 > 0.0) {
                return Ok(false);
            }
            if ratio.is_some_and(|ratio| !agree(ratio, quotient, FORMULAS_AGREE)) {
                return Ok(false);
            }
            ratio = Some(quotient);
            seen += 1;
        }
        Ok(seen >= ENOUGH)
    }

    fn formulas(&self, gold: &Node, answer: &Node) -> Outcome {
        self.worked()?;
        if let (Some(a), Some(b)) = (exact(gold), exact(answer)) {
            return Ok(a == b || rounded(gold, answer, &a, &b));
        }
        if let (Some(a), Some(b)) = (endless(gold), endless(answer)) {
            return Ok(a == b);
        }
        let mut letters = gold.variables();
        letters.extend(answer.variables());
        if letters.is_empty() {
            return self.constants(gold, answer);
        }
        if let (Node::Variable(a), Node::Variable(b)) = (gold, answer) {
            // The letter of a choice.
            let choice = a.len() == 1 && ("A".."K").contains(&&**a);
            return Ok(choice && a.to_lowercase() == *b);
        }
        let mut seen = 0;
        for point in 0..POINTS {
            self.worked()?;
            let letters = |name: &str| at(point, name);
            let (Some(a), Some(b)) = (approximate(gold, &letters), approximate(answer, &letters))
            else {
                return Ok(false);
            };
            if !a.is_finite() || !b.is_finite() {
                continue;
            }
            if !agree(a, b, FORMULAS_AGREE) {
                return Ok(false);
            }
            seen += 1;
        }
        Ok(seen >= ENOUGH)
    }

    fn constants(&self, gold: &Node, answer: &Node) -> Outcome {
        let none = |_: &str| Complex::number(f64::NAN);
        let (Some(a), Some(b)) = (approximate(gold, &none), approximate(answer, &none)) else {
            return Ok(false);
        };
        if !a.is_finite() || !b.is_finite() {
            return Ok(false);
        }
        if agree(a, b, CONSTANTS_AGREE) {
            return Ok(true);
        }
        let real = a.is_real() && b.is_real();
        Ok(real && (rounds_to(gold, a.re, b.re) || rounds_to(answer, b.re, a.re)))
    }
}

fn agree(a: Complex, b: Complex, tolerance: f64) -> bool {
    let size = a.abs().0.max(b.abs().0);
    // What has cancelled out to nothing has lost its digits.
    let floor = if size < 1e-10 { 1e-24 } else { 0.0 };
    (a - b).abs().0 <= (tolerance * size).max(floor)
}

/// The value of a letter at a point: of either sign, and never 0 or 1.
fn at(point: u64, name: &str) -> Complex {
    let mut state =
        name.bytes().fold(point.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, |state, byte| {
            (state ^ u64::from(byte)).wrapping_mul(0x1000_0000_01b3)
        });
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^= state >> 31;
    let size = 1.1 + 2.0 * (state >> 11) as f64 / (1u64 << 53) as f64;
    // Half of the points are all positive, so that roots and logarithms have a value there.
    let negative = point % 2 == 1 && state & 1 == 1;
    Complex::number(if negative { -size } else { size })
}

/// Whether the decimal of the two is the correct rounding of the other, which is none.
fn rounded(gold: &Node, answer: &Node, a: &BigRational, b: &BigRational) -> bool {
    let near = |node: &Node, decimal: &BigRational, other: &BigRational| {
        let (Some(decimals), false) = (decimals(node), terminates(other)) else { return false };
        let half = 0.5 * 10f64.powi(-decimals);
        let difference = (decimal - other).abs().to_f64().unwrap_or(f64::INFINITY);
        digits(decimal, decimals) >= ROUNDED_DIGITS && difference <= half * 1.000_001
    };
    near(gold, a, b) || near(answer, b, a)
}

/// The same for a value that is not rational.
fn rounds_to(node: &Node, value: Double, other: Double) -> bool {
    let Some(decimals) = decimals(node) else { return false };
    let half = 0.5 * 10f64.powi(-decimals);
    let written = exact(node).map_or(0, |number| digits(&number, decimals));
    written >= ROUNDED_DIGITS && (value - other).abs().0 <= half * 1.000_001
}

/// Digits behind the point of a plain decimal.
fn decimals(node: &Node) -> Option<i32> {
    match node {
        Node::Number(_, Some(decimals)) => i32::try_from(*decimals).ok(),
        Node::Negative(inner) => decimals(inner),
        _ => None,
    }
}

/// Significant digits of a number written with so many decimals.
fn digits(number: &BigRational, decimals: i32) -> i32 {
    if number.is_zero() {
        return 0;
    }
    let size = number.abs().to_f64().map_or(0.0, f64::log10).floor() as i32;
    size + 1 + decimals
}

/// Whether a number has a last decimal.
fn terminates(number: &BigRational) -> bool {
    let mut rest = number.denom().clone();
    for prime in [2u32, 5] {
        while (&rest % prime).is_zero() {
            rest /= prime;
        }
    }
    rest == 1.into()
}

/// Infinity and its sign.
fn endless(node: &Node) -> Option<bool> {
    match node {
        Node::Constant(Constant::Infinity) => Some(true),
        Node::Negative(inner) => endless(inner).map(|sign| !sign),
        _ => None,
    }
}

/// Whether a left side only names what the right side is: `x`, `f(x)`, `m + n`, but not `3x`.
fn names(node: &Node) -> bool {
    fn plain(node: &Node) -> bool {
        !matches!(node, Node::Number(..)) && node.parts().iter().all(|part| plain(part))
    }
    plain(node) && (!node.variables().is_empty() || matches!(node, Node::Words(_)))
}

/// The values in `x = 1, x = 2`, all of one letter.
fn same_letter(items: &[Node]) -> Option<Vec<Node>> {
    let values = right_sides(items)?;
    let letter = |node: &Node| match node {
        Node::Relation(sides, _) => sides.first().cloned(),
        _ => None,
    };
    let first = items.first().and_then(letter);
    items.iter().all(|item| letter(item) == first).then_some(values)
}

/// The right sides of items that are all `letter = value`.
fn right_sides(items: &[Node]) -> Option<Vec<Node>> {
    items
        .iter()
        .map(|item| match item {
            Node::Relation(sides, relations) => match (&sides[..], &relations[..]) {
                ([Node::Variable(_), value], [Relation::Equal]) => Some(value.clone()),
                _ => None,
            },
            _ => None,
        })
        .collect()
}

/// Intervals in place of inequalities.
fn pieces(parts: &[Node]) -> Vec<Node> {
    parts
        .iter()
        .map(|part| interval(part).map_or_else(|| part.clone(), |(_, interval)| interval))
        .collect()
}

/// The interval that an inequality in one letter describes, and the letter.
fn interval(node: &Node) -> Option<(String, Node)> {
    let Node::Relation(sides, relations) = node else { return None };
    let bracket = |low: Node, closed: bool, high: Node, closes: bool| Node::Bracket {
        square: (closed, closes),
        items: vec![low, high],
    };
    let constant = |node: &Node| node.variables().is_empty() && node.is_formula();
    let below = || Node::Negative(Box::new(Node::infinity()));
    match (&sides[..], &relations[..]) {
        ([Node::Variable(x), bound], [r]) if constant(bound) => Some((
            x.clone(),
            match r {
                Relation::Less => bracket(below(), false, bound.clone(), false),
                Relation::LessEqual => bracket(below(), false, bound.clone(), true),
                Relation::Greater => bracket(bound.clone(), false, Node::infinity(), false),
                Relation::GreaterEqual => bracket(bound.clone(), true, Node::infinity(), false),
                _ => return None,
            },
        )),
        ([bound, x @ Node::Variable(_)], [r]) if constant(bound) => {
            interval(&Node::Relation(vec![x.clone(), bound.clone()], vec![r.turned()]))
        }
        ([low, Node::Variable(x), high], [r, s]) if constant(low) && constant(high) => {
            use Relation::{Greater, GreaterEqual, Less, LessEqual};
            let closed = |r: &Relation| matches!(r, LessEqual | GreaterEqual);
            match (r, s) {
                (Less | LessEqual, Less | LessEqual) => {
                    Some((x.clone(), bracket(low.clone(), closed(r), high.clone(), closed(s))))
                }
                (Greater | GreaterEqual, Greater | GreaterEqual) => {
                    Some((x.clone(), bracket(high.clone(), closed(s), low.clone(), closed(r))))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// A formula with `±` in it, once with each sign.
fn both_signs(node: &Node) -> Option<(Node, Node)> {
    fn holds(node: &Node) -> bool {
        matches!(node, Node::PlusMinus(..)) || node.parts().iter().any(|part| holds(part))
    }
    (!matches!(node, Node::List(_) | Node::Set(_) | Node::Union(_)) && holds(node))
        .then(|| (with_sign(node, true), with_sign(node, false)))
}

fn with_sign(node: &Node, upper: bool) -> Node {
    let one = |node: &Node| Box::new(with_sign(node, upper));
    let all = |nodes: &[Node]| nodes.iter().map(|node| with_sign(node, upper)).collect::<Vec<_>>();
    match node {
        Node::PlusMinus(a, b, plus_above) => {
            let b = with_sign(b, upper);
            let b = if *plus_above == upper { b } else { Node::Negative(Box::new(b)) };
            Node::Sum(vec![with_sign(a, upper), b])
        }
        Node::Negative(a) => Node::Negative(one(a)),
        Node::Percent(a) => Node::Percent(one(a)),
        Node::Degrees(a) => Node::Degrees(one(a)),
        Node::Measured(a, unit) => Node::Measured(one(a), unit.clone()),
        Node::Quotient(a, b) => Node::Quotient(one(a), one(b)),
        Node::Power(a, b) => Node::Power(one(a), one(b)),
        Node::Sum(terms) => Node::Sum(all(terms)),
        Node::Product(factors) => Node::Product(all(factors)),
        Node::Call(function, arguments) => Node::Call(*function, all(arguments)),
        Node::Bracket { square, items } => Node::Bracket { square: *square, items: all(items) },
        Node::Relation(sides, relations) => Node::Relation(all(sides), relations.clone()),
        other => other.clone(),
    }
}
