//! Units behind a quantity. They are forgiven when left out; two that differ are not.

use num_bigint::BigInt;
use num_rational::BigRational;

use super::node::Node;

/// (names, dimension, numerator and denominator of what it is in the dimension's first unit)
const UNITS: &[(&[&str], &str, i64, i64)] = &[
    (&["mm", "millimeter", "millimetre"], "length", 1, 1000),
    (&["cm", "centimeter", "centimetre"], "length", 1, 100),
    (&["m", "meter", "metre"], "length", 1, 1),
    (&["km", "kilometer", "kilometre"], "length", 1000, 1),
    (&["in", "inch", "inche"], "feet", 1, 12),
    (&["ft", "foot", "feet"], "feet", 1, 1),
    (&["yd", "yard"], "feet", 3, 1),
    (&["mi", "mile"], "feet", 5280, 1),
    (&["mg", "milligram"], "mass", 1, 1000),
    (&["g", "gram"], "mass", 1, 1),
    (&["kg", "kilogram"], "mass", 1000, 1),
    (&["ml", "milliliter", "millilitre"], "volume", 1, 1000),
    (&["l", "liter", "litre"], "volume", 1, 1),
    (&["s", "sec", "second"], "time", 1, 1),
    (&["min", "minute"], "time", 60, 1),
    (&["h", "hr", "hour"], "time", 3600, 1),
    (&["day"], "time", 86400, 1),
    (&["week"], "time", 604_800, 1),
    (&["cent"], "money", 1, 100),
    (&["dollar", "usd"], "money", 1, 1),
];

/// A unit in its plainest form: `square inches`, `inches^2` and `in ^ 2` are all `in^2`.
fn plain(unit: &str) -> String {
    let mut power = "";
    let mut names = Vec::new();
    for word in unit.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        match word {
            "square" | "sq" | "squared" | "2" => power = "^2",
            "cubic" | "cubed" | "3" => power = "^3",
            word => names.push(name(word)),
        }
    }
    names.join(" ") + power
}

/// A word without its plural's s, and the short name of a unit.
fn name(word: &str) -> &str {
    let single = match word.strip_suffix('s') {
        Some(single) if single.len() > 1 && !single.ends_with('s') => single,
        _ => word,
    };
    let known = UNITS.iter().find(|(names, ..)| names.contains(&single) || names.contains(&word));
    known.map_or(single, |(names, ..)| names[0])
}

/// Whether two units say different things.
pub(crate) fn conflict(a: &str, b: &str) -> bool {
    let (a, b) = (plain(a), plain(b));
    // "red apples" are apples, and "dollars per day" are dollars to one who left the day out.
    let within = |a: &str, b: &str| format!(" {b} ").contains(&format!(" {a} "));
    !(a == b || within(&a, &b) || within(&b, &a))
}

/// How many of unit `a` one of unit `b` is.
pub(crate) fn factor(a: &str, b: &str) -> Option<Node> {
    let find = |unit: &str| {
        let unit = plain(unit);
        UNITS.iter().find(|(names, ..)| names[0] == unit)
    };
    let ((_, dimension, p, q), (_, other, r, s)) = (find(a)?, find(b)?);
    let ratio = BigRational::new(BigInt::from(r * q), BigInt::from(s * p));
    (dimension == other).then_some(Node::Number(ratio, None))
}
