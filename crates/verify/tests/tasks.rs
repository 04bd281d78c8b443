//! Generated tasks: the same everywhere, right by their own verifier, and never in both splits.

use std::collections::HashSet;
use std::fmt::Write as _;

use proptest::prelude::*;
use verify::check::{Check, Tools};
use verify::tasks::{HARDEST, Kind, Split, generate, stream};
use verify::{Attempt, Verifier};

fn verifier(check: &Check) -> Box<dyn Verifier> {
    check.verifier(&Tools::default()).expect("a generated check is sound")
}

/// Something near the gold that is wrong.
fn perturbed(check: &Check, gold: &str, how: u64) -> String {
    match check {
        Check::Math { .. } => (gold.parse::<i64>().unwrap() + 1 + (how % 5) as i64).to_string(),
        Check::Countdown(task) => match how % 3 {
            0 => format!("{gold} + {}", task.numbers[0]),
            1 => format!("{gold} - 1 * {}", task.numbers[0]),
            _ => task.target.to_string(),
        },
        _ => match how % 3 {
            0 => format!("{gold}x"),
            1 => format!("1{gold}"),
            _ => gold.chars().skip(1).collect::<String>() + "q",
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn golds_are_right_and_others_wrong(
        kind in prop::sample::select(Kind::ALL.to_vec()),
        seed: u64,
        difficulty in 1..=HARDEST,
    ) {
        let task = generate(kind, seed, difficulty);
        prop_assert_eq!(&task, &generate(kind, seed, difficulty));
        let verifier = verifier(&task.check);
        let right = verifier.verify(&Attempt::of(&task.gold)).unwrap();
        prop_assert!(right.is_right(), "{:?}: {}", task, right.why);
        let said = format!("Let me think.\nThe answer is {}", task.gold);
        let right = verifier.verify(&Attempt::of(&said)).unwrap();
        prop_assert!(right.is_right(), "{:?}: {}", task, right.why);
        let other = perturbed(&task.check, &task.gold, seed);
        let wrong = verifier.verify(&Attempt::of(&other)).unwrap();
        prop_assert!(!wrong.is_right(), "{:?}: {}", task, other);
        prop_assert!(!verifier.verify(&Attempt::of("")).unwrap().is_right());
        // A task survives being written down.
        let json = serde_json::to_string(&task).unwrap();
        prop_assert_eq!(&serde_json::from_str::<verify::tasks::Task>(&json).unwrap(), &task);
    }
}

/// One line per kind and difficulty; the id holds a hash of the question.
fn goldens() -> String {
    let mut lines = String::new();
    for kind in Kind::ALL {
        for difficulty in 1..=HARDEST {
            for seed in [0, 1, u64::MAX] {
                let task = generate(kind, seed, difficulty);
                writeln!(lines, "{difficulty} {seed} {} {}", task.id, task.gold).unwrap();
            }
        }
    }
    lines
}

/// What is generated never changes. `BLESS=1 cargo test -p ponder-verify --test tasks` writes the
/// file again, for a kind that is new.
#[test]
fn is_the_same_everywhere() {
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tasks.txt"), goldens()).unwrap();
    }
    let expected = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tasks.txt"));
    let expected = expected.expect("the goldens");
    for (now, then) in goldens().lines().zip(expected.lines()) {
        assert_eq!(now, then);
    }
    assert_eq!(goldens().lines().count(), expected.lines().count());
}

#[test]
fn a_tenth_is_reserved_and_never_shared() {
    for kind in Kind::ALL {
        for difficulty in [1, 5, 10] {
            let train: HashSet<String> = stream(kind, Split::Train, 1, difficulty)
                .take(300)
                .map(|task| task.question)
                .collect();
            // Another seed, so that the same tasks may well be met.
            let measure: Vec<_> = stream(kind, Split::Measure, 2, difficulty).take(100).collect();
            assert!(measure.iter().all(|task| task.split == Split::Measure));
            let shared = measure.iter().find(|task| train.contains(&task.question));
            assert_eq!(shared, None);
            let distinct: HashSet<&str> = measure.iter().map(|task| &*task.id).collect();
            assert!(distinct.len() > 90, "{kind:?} at {difficulty}: {}", distinct.len());
        }
    }
    let all = (0..2000).flat_map(|seed| Kind::ALL.map(|kind| generate(kind, seed, 5)));
    let measure = all.filter(|task| task.split == Split::Measure).count();
    assert!((1850..2150).contains(&measure), "{measure} of 20000");
}

#[test]
fn kinds_have_names() {
    for kind in Kind::ALL {
        assert_eq!(kind.name().parse(), Ok(kind));
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
    }
    let error = "nonsense".parse::<Kind>().unwrap_err().to_string();
    assert!(error.contains("word-problems"), "{error}");
}

/// All programs in one run of Python, where there is one.
#[test]
fn programs_print_what_python_prints() {
    let tasks: Vec<_> =
        (0..600).map(|seed| generate(Kind::Programs, seed, seed as u32 % 10 + 1)).collect();
    let programs: Vec<&str> = tasks
        .iter()
        .map(|task| task.question.split("```python\n").nth(1).unwrap().split("```").next().unwrap())
        .collect();
    let script = "import json, sys\nfor p in json.load(sys.stdin):\n    exec(p, {})\n";
    let mut child = match std::process::Command::new("python3")
        .args(["-c", script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
    {
        Ok(child) => child,
        Err(e) => {
            eprintln!("skipped: no python3 here: {e}");
            return;
        }
    };
    serde_json::to_writer(child.stdin.take().unwrap(), &programs).unwrap();
    let output = child.wait_with_output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.lines().count(), tasks.len());
    for ((printed, task), program) in output.lines().zip(&tasks).zip(&programs) {
        assert_eq!(printed, task.gold, "{program}");
    }
}
