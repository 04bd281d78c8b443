//! Programs held against tests, in the real sandbox.

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
    for answer in [
        "    return x ** 3",
        "    return y",
        "    import sys; sys.exit(0)",
        "    import os; os._exit(0)",
        "    while True: pass",
    ] {
        let verdict = judge(&check, answer).unwrap();
        assert!(!verdict.is_right() && !verdict.why.is_empty(), "{answer}: {verdict:?}");
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
    assert!(half.why.contains("10"), "{half:?}");
    let check = json!({"kind": "stdio", "cases": cases, "language": "shell"});
    assert!(judge(&check, "```sh\nread a b; echo $((a + b))\n```").unwrap().is_right());
    assert!(judge(&check, "```python\nprint(3)\n```").unwrap().extracted.is_none());
}
