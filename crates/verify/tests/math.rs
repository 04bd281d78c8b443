//! The mathematics verifier against pairs that were judged by hand, public gold answers, and noise.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use verify::math::{self, Math};
use verify::{Attempt, Verifier};

/// Share of equal pairs that may be missed; no unequal pair may be taken for equal.
const MAY_MISS: f64 = 0.01;

/// A line of `math/pairs.tsv`.
struct Pair {
    line: &'static str,
    equal: bool,
    gold: &'static str,
    answer: &'static str,
    note: &'static str,
}

/// Every line of a table beside this file that isn't a comment: a mark, two texts, and perhaps a note.
fn pairs(table: &'static str) -> Vec<Pair> {
    let lines = table.lines().filter(|line| !line.starts_with("# ") && !line.is_empty());
    lines
        .map(|line| {
            let mut columns = line.split('\t');
            let (Some(mark @ ("=" | "!")), Some(gold), Some(answer)) =
                (columns.next(), columns.next(), columns.next())
            else {
                panic!("a mark, = or !, and two texts are wanted: {line}");
            };
            Pair {
                line,
                equal: mark == "=",
                gold,
                answer,
                note: columns.next().unwrap_or_default(),
            }
        })
        .collect()
}

const BY_HAND: &str = include_str!("math/pairs.tsv");

#[test]
fn pairs_are_judged_as_by_hand() {
    let pairs = pairs(BY_HAND);
    assert!(pairs.len() >= 500, "{} pairs", pairs.len());
    let judged = |pair: &Pair| math::equivalent(pair.gold, pair.answer).unwrap_or(false);
    let (equal, unequal): (Vec<&Pair>, Vec<&Pair>) = pairs.iter().partition(|pair| pair.equal);
    let lines =
        |pairs: Vec<&Pair>| pairs.iter().map(|pair| pair.line).collect::<Vec<_>>().join("\n");
    let accepted: Vec<&Pair> = unequal.into_iter().filter(|pair| judged(pair)).collect();
    assert!(accepted.is_empty(), "wrong answers accepted:\n{}", lines(accepted));
    let missed: Vec<&Pair> = equal.iter().copied().filter(|pair| !judged(pair)).collect();
    let share = missed.len() as f64 / equal.len() as f64;
    assert!(share <= MAY_MISS, "right answers missed:\n{}", lines(missed));
}

/// `math/math-verify.tsv` is what Hugging Face's Math-Verify says of the same pairs; `math-verify.py` made it.
#[test]
fn where_math_verify_says_otherwise_a_note_says_why() {
    let (ours, theirs) = (pairs(BY_HAND), pairs(include_str!("math/math-verify.tsv")));
    assert_eq!(ours.len(), theirs.len(), "make math-verify.tsv again");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let line = ours.line;
        assert_eq!(
            (ours.gold, ours.answer),
            (theirs.gold, theirs.answer),
            "make math-verify.tsv again"
        );
        let explained = ours.note.strip_prefix("M: ").is_some_and(|why| !why.is_empty());
        assert_eq!(explained, ours.equal != theirs.equal, "{line}");
    }
}

fn data(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not here", path.display());
    None
}

fn rows(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn published_solutions_earn_their_own_answers() {
    let Some(path) = data("math500.jsonl") else { return };
    let rows = rows(&path);
    let mut wrong = Vec::new();
    for row in &rows {
        let (gold, solution) = (row["answer"].as_str().unwrap(), row["solution"].as_str().unwrap());
        let verdict = Math::new(gold).unwrap().verify(&Attempt::of(solution)).unwrap();
        if !verdict.is_right() {
            wrong.push(format!("{gold}  <>  {:?}", verdict.extracted));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn other_items_answers_are_wrong() {
    let Some(path) = data("math500.jsonl") else { return };
    let golds: Vec<String> =
        rows(&path).iter().map(|row| row["answer"].as_str().unwrap().to_owned()).collect();
    let plain = |text: &str| text.replace([' ', '$', '\\', '!', ','], "").replace("dfrac", "frac");
    let mut same = Vec::new();
    for step in 1..=20 {
        for (i, gold) in golds.iter().enumerate() {
            let other = &golds[(i + step) % golds.len()];
            if plain(gold) != plain(other) && math::equivalent(gold, other).unwrap() {
                same.push(format!("{gold}  ==  {other}"));
            }
        }
    }
    // Looked at by hand: what is here is equal but for a unit or a form.
    same.sort();
    same.dedup();
    println!("{} pairs of different texts are equal:\n{}", same.len(), same.join("\n"));
    assert!(same.len() <= 40, "{}", same.join("\n"));
}

#[test]
fn word_problems_are_read() {
    let Some(path) = data("gsm8k_test.jsonl") else { return };
    for row in rows(&path) {
        let solution = row["answer"].as_str().unwrap();
        let gold = solution.rsplit("####").next().unwrap().trim();
        let math = Math::new(solution).unwrap();
        for answer in [
            solution.to_owned(),
            format!("So it is \\boxed{{{gold}}}."),
            format!("The answer is ${gold}."),
            format!("**Answer:** {gold} dollars"),
            format!("In all that makes {gold}."),
        ] {
            assert!(math.verify(&Attempt::of(&answer)).unwrap().is_right(), "{gold}: {answer}");
        }
        let wrong = format!("\\boxed{{{}}}", gold.replace(',', "").parse::<i64>().unwrap() + 1);
        assert!(!math.verify(&Attempt::of(&wrong)).unwrap().is_right(), "{gold}: {wrong}");
    }
}

proptest! {
    #[test]
    fn a_number_is_equal_to_itself_however_it_is_written(n in -100_000i64..100_000, d in 1i64..1000) {
        let gold = format!("\\frac{{{n}}}{{{d}}}");
        for answer in [
            format!("{n}/{d}"),
            format!("\\dfrac{{{}}}{{{}}}", n * 3, d * 3),
            format!("{}\\cdot {d}^{{-1}}", if n < 0 { format!("({n})") } else { n.to_string() }),
            format!("$\\frac {{{n}}} {{ {d} }}$"),
        ] {
            prop_assert!(math::equivalent(&gold, &answer).unwrap(), "{gold} {answer}");
            prop_assert!(math::equivalent(&answer, &gold).unwrap(), "{answer} {gold}");
        }
        let other = format!("{}/{d}", n + 1);
        prop_assert!(!math::equivalent(&gold, &other).unwrap(), "{gold} {other}");
    }

    #[test]
    fn polynomials_may_be_multiplied_out(a in -9i64..10, b in -9i64..10, c in -9i64..10) {
        let factored = format!("(x+({a}))(x+({b}))+({c})");
        let written = format!("x^2+({})x+({})", a + b, a * b + c);
        prop_assert!(math::equivalent(&factored, &written).unwrap());
        let other = format!("x^2+({})x+({})", a + b, a * b + c + 1);
        prop_assert!(!math::equivalent(&factored, &other).unwrap());
    }

    #[test]
    fn any_answer_is_equal_to_itself(text in "[0-9a-z+*/^(), =.{}\\\\-]{1,40}") {
        if let Some(answer) = math::extract(&format!("\\boxed{{{text}}}")) {
            prop_assert!(answer.same(&answer).unwrap());
        }
    }
}

/// Pieces of which hostile answers are made.
const PIECES: &[&str] = &[
    "\\frac",
    "{",
    "}",
    "\\sqrt",
    "[",
    "]",
    "(",
    ")",
    "1",
    "9",
    "10",
    "999999999",
    "^",
    "_",
    "!",
    "%",
    "x",
    "y",
    "+",
    "-",
    "*",
    "/",
    "\\pm",
    "=",
    "<",
    "\\le",
    ",",
    "\\cup",
    "\\infty",
    "\\pi",
    "e",
    "i",
    "\\log",
    "\\sin",
    "|",
    "\\left",
    "\\right",
    "\\begin{pmatrix}",
    "\\end{pmatrix}",
    "\\\\",
    "&",
    "\\text{",
    "$",
    "\\$",
    " ",
    ".",
    "\\boxed{",
    "####",
    "the answer is ",
    "é",
    "中",
    "\\",
    "\\binom",
    "\\lfloor",
    "^\\circ",
    "1e99",
    "0",
];

#[test]
fn noise_neither_panics_nor_hangs() {
    let mut state = 0x243f_6a88_85a3_08d3u64;
    let mut random = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as usize
    };
    let mut slowest = (Duration::ZERO, String::new());
    let golds: Vec<Math> =
        ["18", "\\frac{x+1}{2}", "(1,2)", "\\{1,2\\}", "x<5", "C", "\\sqrt{2}+\\pi"]
            .map(|gold| Math::new(gold).unwrap())
            .into();
    for _ in 0..200_000 {
        let length = 1 + random(24);
        let text: String = (0..length).map(|_| PIECES[random(PIECES.len())]).collect();
        let begun = Instant::now();
        let _ = golds[random(golds.len())].verify(&Attempt::of(&text));
        let _ = Math::new(&text).map(|gold| gold.verify(&Attempt::of(&text)));
        let took = begun.elapsed();
        if took > slowest.0 {
            slowest = (took, text);
        }
    }
    assert!(slowest.0 < Duration::from_secs(1), "{slowest:?}");
}

#[test]
fn large_inputs_are_bounded() {
    let begun = Instant::now();
    for text in [
        "9^{9^{9^{9^9}}}".to_owned(),
        "(".repeat(1900),
        "{".repeat(1900),
        "\\frac".repeat(390),
        "\\sqrt{".repeat(300),
        format!("{}1", "-".repeat(1900)),
        "1,".repeat(900) + "1",
        "x+".repeat(900) + "x",
        "x^".repeat(900) + "x",
        "100000!".to_owned(),
        "\\binom{100000}{50000}".to_owned(),
        "1".repeat(1999),
        "\\boxed{".repeat(50_000),
        "}".repeat(500_000),
        "the answer is ".repeat(50_000),
    ] {
        let _ = math::equivalent(&text, &text);
        let _ = math::extract(&text);
        let _ = Math::new("x+1").unwrap().verify(&Attempt::of(&format!("\\boxed{{{text}}}")));
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// `cargo test --release -p ponder-verify --test math -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn verdicts_per_second() {
    let answer =
        "He sells 16 - 3 - 4 = 9 eggs a day.\nHe makes 9 * 2 = $18.\n\nThe answer is \\boxed{18}.";
    let begun = Instant::now();
    let n = 200_000;
    for _ in 0..n {
        assert!(Math::new("18").unwrap().verify(&Attempt::of(answer)).unwrap().is_right());
    }
    println!("{:.0} verdicts a second on one core", f64::from(n) / begun.elapsed().as_secs_f64());
}
