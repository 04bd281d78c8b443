//! Programs held against tests, in the real sandbox.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use verify::check::{Check, Tools};
use verify::program::sandbox::Options;
use verify::{Attempt, CannotTell, Verdict};

fn tools() -> Tools {
    let launcher = Some(env!("CARGO_BIN_EXE_sandbox-launcher").into());
    Tools::new(Options { launcher, ..Options::default() })
}

/// The verdict, or nothing where this machine lacks what it takes.
fn judge(check: &Value, answer: &str) -> Option<Verdict> {
    let verifier = Check::from_json(check).unwrap().verifier(&tools());
    match verifier.and_then(|verifier| verifier.verify(&Attempt::of(answer))) {
        Ok(verdict) => Some(verdict),
        Err(error @ CannotTell::Machine { .. }) => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn functions_are_held_against_their_tests() {
    let check = json!({
        "kind": "function", "entry_point": "double",
        "prompt": "def double(x):\n    \"\"\"Twice x.\"\"\"\n",
        "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-1) == -2\n",
    });
    let Some(verdict) = judge(&check, "```python\ndef double(x):\n    return x + x\n```") else {
        return;
    };
    assert!(verdict.is_right(), "{verdict:?}");
    assert!(judge(&check, "    return 2 * x").unwrap().is_right());
    for (answer, why) in [
        ("    return x ** 2", "AssertionError"),
        ("    return y", "NameError"),
        ("    import sys; sys.exit(0)", "ended before the tests"),
        ("    import os; os._exit(0)", "ended before the tests"),
        (
            "```python\nimport atexit\ndef double(x):\n    print('passed')\n    return 0\n```",
            "AssertionError",
        ),
        ("    while True: pass", "time"),
    ] {
        let verdict = judge(&check, answer).unwrap();
        assert!(!verdict.is_right() && verdict.why.contains(why), "{answer}: {verdict:?}");
    }
}

#[test]
fn assertions_and_cases_are_tried() {
    let check = json!({"kind": "asserts", "tests": ["assert f(1) == 2", "assert f(2) == 3"]});
    let Some(verdict) = judge(&check, "```python\ndef f(x): return x + 1\n```") else { return };
    assert!(verdict.is_right(), "{verdict:?}");
    assert!(!judge(&check, "def f(x): return 2").unwrap().is_right());
    let cases = json!([{"input": "1 2\n", "output": "3\n"}, {"input": "5 5\n", "output": "10\n"}]);
    let check = json!({"kind": "stdio", "cases": cases, "partial": true});
    assert!(
        judge(&check, "```python\nprint(sum(map(int, input().split())))\n```").unwrap().is_right()
    );
    let half = judge(&check, "print(3)").unwrap();
    assert_eq!(half.score, 0.5);
    assert!(half.why.contains("case 2 of 2") && half.why.contains("\"10\""), "{half:?}");
    let check = json!({"kind": "stdio", "cases": cases, "language": "shell"});
    assert!(judge(&check, "```sh\nread a b; echo $((a + b))\n```").unwrap().is_right());
    assert!(judge(&check, "```python\nprint(3)\n```").unwrap().extracted.is_none());
}

#[test]
fn published_solutions_pass_and_others_fail() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/HumanEval.jsonl.gz");
    if !path.exists() {
        eprintln!("skipped: {} is not here", path.display());
        return;
    }
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 164);
    let tools = Arc::new(tools());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let check = json!({
                        "kind": "function", "prompt": row["prompt"], "test": row["test"],
                        "entry_point": row["entry_point"],
                    });
                    let verifier = match Check::from_json(&check).unwrap().verifier(&tools) {
                        Ok(verifier) => verifier,
                        Err(error) => return eprintln!("skipped: {error}"),
                    };
                    let solution = row["canonical_solution"].as_str().unwrap();
                    let whole = format!(
                        "Here it is.\n```python\n{}{solution}```\nIt works.",
                        row["prompt"].as_str().unwrap()
                    );
                    let id = &row["task_id"];
                    let verdict = verifier.verify(&Attempt::of(&whole)).unwrap();
                    assert!(verdict.is_right(), "{id}: {}", verdict.why);
                    let verdict = verifier.verify(&Attempt::of(solution)).unwrap();
                    assert!(verdict.is_right(), "{id}, the body alone: {}", verdict.why);
                    let verdict = verifier.verify(&Attempt::of("    return None\n")).unwrap();
                    assert!(!verdict.is_right(), "{id}");
                }
            });
        }
    });
}
