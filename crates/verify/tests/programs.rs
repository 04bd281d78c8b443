//! Answers that are programs: right ones, wrong ones, and ones that cheat.

#![cfg(target_os = "linux")]

mod common;

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use verify::program::{Case, Language, Limits, Sandbox, Tests};
use verify::{Attempt, CannotTell, Verdict, Verifier};

fn python() -> Option<Arc<Sandbox>> {
    let sandbox = common::sandbox(false);
    if let Err(why) = sandbox.has(Language::Python) {
        eprintln!("skipped: {why}");
        return None;
    }
    Some(Arc::new(sandbox))
}

fn verdict(tests: &Tests, answer: &str) -> Verdict {
    tests.verify(&Attempt::of(answer)).unwrap()
}

const PROMPT: &str =
    "from typing import List\n\ndef twice(xs: List[int]) -> List[int]:\n    \"\"\"Doubles.\"\"\"\n";
const CHECK: &str = "def check(candidate):\n    assert candidate([1, 2]) == [2, 4]\n    assert candidate([]) == []\n    assert abs(candidate([0.5])[0] - 1) < 1e-6\n";

#[test]
fn right_and_wrong_functions_are_told_apart() {
    let Some(sandbox) = python() else { return };
    let tests = Tests::check(sandbox, PROMPT, CHECK, "twice").unwrap();
    for right in [
        "    return [2 * x for x in xs]\n",
        "Here:\n```python\ndef twice(xs: List[int]) -> List[int]:\n    print('hello')\n    return [2 * x for x in xs]\n```\nDone.",
        "```python\nimport sys\ndef twice(xs):\n    return [helper(x) for x in xs]\ndef helper(x): return x + x\nif __name__ == '__main__':\n    sys.exit(1)\n```",
    ] {
        let verdict = verdict(&tests, right);
        assert!(verdict.is_right(), "{verdict:?}");
    }
    for (wrong, why) in [
        ("    return xs\n", "AssertionError, in `assert candidate([1, 2]) == [2, 4]`"),
        ("    return xs[0]\n", "AssertionError, in `assert candidate([1, 2]) == [2, 4]`"),
        ("    return 1 / 0\n", "division by zero"),
        ("    return (\n", "SyntaxError"),
        ("```python\ndef twice(xs): return nonsense\n```", "nonsense"),
        ("```python\ndef thrice(xs): return xs\n```", "not defined"),
    ] {
        let verdict = verdict(&tests, wrong);
        assert!(verdict.score == 0.0 && verdict.why.contains(why), "{verdict:?}");
    }
    assert_eq!(verdict(&tests, "I don't know.").extracted, None);
}

#[test]
fn cheating_fails() {
    let Some(sandbox) = python() else { return };
    let quick = Limits::seconds(3.0);
    let tests = Tests::check(sandbox, PROMPT, CHECK, "twice").unwrap().limits(quick);
    for cheat in [
        "import sys; sys.exit(0)\ndef twice(xs): pass",
        "import os; os._exit(0)\ndef twice(xs): pass",
        "def twice(xs):\n    import os; os._exit(0)",
        "def twice(xs): raise SystemExit(0)",
        // A result that agrees with everything, in all ways a test could ask.
        "class Yes(list):\n    def __eq__(self, other): return True\n    def __sub__(self, other): return 0\n    def __getitem__(self, i): return self\ndef twice(xs): return Yes()",
        "class Yes:\n    def __eq__(self, other): return True\n    def __req__(self, other): return True\n    def __sub__(self, other): return 0\n    def __getitem__(self, i): return self\n    def __abs__(self): return 0\ndef twice(xs): return Yes()",
        // Whatever the tests use, replaced.
        "import builtins\nbuiltins.abs = lambda x: 0\nbuiltins.AssertionError = Warning\nbuiltins.list.__eq__ = None\ndef twice(xs): return xs",
        "import sys\nsys.modules['__main__'].run = lambda *a: {'passed': 1, 'total': 1}\ndef check(c): pass\ndef twice(xs): return xs",
        // The tests and the token, looked for.
        "import gc, os\nfor pid in (os.getppid(), 'self'):\n    for fd in range(10):\n        try:\n            text = open(f'/proc/{pid}/fd/{fd}').read(100000)\n            import json; token = json.loads(text)['token']\n            for out in (f'/proc/{os.getppid()}/fd/1', f'/proc/self/fd/2'):\n                open(out, 'w').write('\\n' + token + ' {\"passed\": 1, \"total\": 1}\\n')\n        except Exception: pass\ndef twice(xs): return xs",
        "import os, re
pid, found = os.getppid(), set()
try:
    memory = open(f'/proc/{pid}/mem', 'rb', 0)
    for line in open(f'/proc/{pid}/maps'):
        m = re.match('([0-9a-f]+)-([0-9a-f]+) rw', line)
        if m:
            a, b = (int(x, 16) for x in m.groups())
            memory.seek(a)
            try: found |= set(re.findall(rb'[0-9a-f]{32}', memory.read(b - a)))
            except OSError: pass
except OSError: pass
def twice(xs):
    for token in found:
        with open(f'/proc/{pid}/fd/1', 'wb') as f: f.write(b'\\n' + token + b' {\"passed\": 1, \"total\": 1}\\n')
    os.kill(pid, 9)",
        "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\ndef twice(xs): return xs",
        "import sys, inspect\ndef twice(xs):\n    frame = sys._getframe()\n    while frame:\n        for v in list(frame.f_locals.values()):\n            if isinstance(v, dict) and 'token' in v: print(v['token'], '{\"passed\": 1, \"total\": 1}')\n        frame = frame.f_back\n    return xs",
        // The channel to the tests, spoken directly.
        "import os, marshal, struct\nfor fd in range(3, 20):\n    try:\n        d = marshal.dumps(('ready', ['twice', 'check', 'abs']))\n        os.write(fd, struct.pack('<Q', len(d)) + d)\n    except OSError: pass\ndef twice(xs): return xs",
    ] {
        let verdict = verdict(&tests, &format!("```python\n{cheat}\n```"));
        assert!(verdict.score == 0.0, "{cheat}\n{verdict:?}");
    }
}

#[test]
fn tests_of_many_shapes_can_be_held_apart() {
    let Some(sandbox) = python() else { return };
    let tests = Tests::check(
        sandbox,
        "def base(x):\n    return x + 1\n\ndef f(*a):\n    \"\"\"Something.\"\"\"\n",
        r#"
def check(candidate):
    assert candidate("same", {1: (2, {3})}, b"x", None, 1.5, 2j) == ({1: (2, {3})}, b"x", None, 1.5, 2j)
    assert list(candidate("generate")) == [0, 1, 4]
    assert candidate("counter") == {"a": 2}
    assert candidate("function")(20) == 21
    assert candidate("call", lambda x: x * 2) == 42
    assert candidate("base") == base(1)
    xs = [3, 1, 2]
    assert candidate("sort", xs) is None and xs == [1, 2, 3]
    point = candidate("object")
    assert point.x == 1 and point.move(2) == 3 and len(point) == 3
    point.x = 7
    assert point.move(1) == 8
    try: candidate("raise"); assert False
    except ValueError as e: assert "so" in str(e)
    assert str(candidate("decimal")) == "1.5" and candidate("decimal") + 1 == 2.5
    assert candidate("range") == range(3)
    assert candidate("nan") != candidate("nan")
    assert not candidate("object") == 1
"#,
        "f",
    );
    let answer = "```python
import collections, decimal
class Point:
    def __init__(self): self.x = 1
    def move(self, n): self.x += n; return self.x
    def __len__(self): return self.x
def f(what, *a):
    if what == 'same': return a
    if what == 'generate': return (x * x for x in range(3))
    if what == 'counter': return collections.Counter('aa')
    if what == 'function': return lambda x: x + 1
    if what == 'call': return a[0](21)
    if what == 'base': return base(1)
    if what == 'sort': a[0].sort(); return None
    if what == 'object': return Point()
    if what == 'raise': raise ValueError('so')
    if what == 'decimal': return decimal.Decimal('1.5')
    if what == 'range': return range(3)
    if what == 'nan': return float('nan')
```";
    let verdict = verdict(&tests.unwrap(), answer);
    assert!(verdict.is_right(), "{verdict:?}");
}

#[test]
fn asserts_are_counted() {
    let Some(sandbox) = python() else { return };
    let asserts =
        || ["assert f(1) == 1", "assert f(2) == 4", "assert f(3) == 9"].map(str::to_owned).to_vec();
    let tests = Tests::asserts(sandbox.clone(), "", asserts()).unwrap();
    let answer = "```python\ndef f(x):\n    return x if x < 3 else 9\n```";
    let strict = verdict(&tests, answer);
    assert_eq!(strict.score, 0.0);
    assert_eq!(strict.why, "2 of 3 passed; AssertionError, in `assert f(2) == 4`");
    let shared = verdict(&tests.partial_credit(), answer);
    assert!((shared.score - 2.0 / 3.0).abs() < 1e-9);

    // Classes of the answer's, made by the setup; and of the setup's, which can't be held apart.
    let setup = "root = Node(1)\nroot.left = Node(2)";
    let tree =
        Tests::asserts(sandbox.clone(), setup, vec!["assert total(root) == 3".into()]).unwrap();
    let answer = "class Node:\n    def __init__(self, v): self.v, self.left = v, None\ndef total(n):\n    return n.v + total(n.left) if n else 0";
    assert!(verdict(&tree, &format!("```python\n{answer}\n```")).is_right());
    let setup = "class Pair:\n    def __init__(self, a): self.a = a";
    let own =
        Tests::asserts(sandbox.clone(), setup, vec!["assert get(Pair(5)) == 5".into()]).unwrap();
    assert!(verdict(&own, "```python\ndef get(p): return p.a\n```").is_right());
    assert!(!verdict(&own, "```python\ndef get(p): return p.a + 1\n```").is_right());
    assert!(!verdict(&own, "```python\ndef get(p):\n    import os; os._exit(0)\n```").is_right());

    let broken = Tests::asserts(sandbox.clone(), "", vec!["assert f(1 ==".into()]).unwrap();
    let error = broken.verify(&Attempt::of("```python\ndef f(x): pass\n```")).unwrap_err();
    assert!(matches!(error, CannotTell::Task { .. }), "{error}");
    assert!(Tests::asserts(sandbox, "", Vec::new()).is_err());
}

#[test]
fn programs_are_held_against_cases() {
    let Some(sandbox) = python() else { return };
    let case = |input: &str, output: &str| Case { input: input.into(), output: output.into() };
    let cases = vec![case("1 2\n", "3\n"), case("5 6\n", "11\n"), case("0 0", "0")];
    let tests = Tests::cases(sandbox.clone(), Language::Python, cases.clone()).unwrap();
    assert!(verdict(&tests, "```python\nprint(sum(map(int, input().split())))\n```").is_right());
    let wrong =
        verdict(&tests, "```python\na, b = map(int, input().split())\nprint(a * b + 1)\n```");
    assert_eq!(
        (wrong.score, &*wrong.why),
        (0.0, "case 2, on \"5 6\": line 1 is \"31\", not \"11\"")
    );
    let crash = verdict(&tests, "```python\nprint(3)\nraise ValueError('so')\n```");
    assert!(crash.why.contains("exited with code 1: \"ValueError: so\""), "{crash:?}");
    let shared = tests.partial_credit();
    assert!((verdict(&shared, "```python\nprint(3)\n```").score - 1.0 / 3.0).abs() < 1e-9);
    let near = Tests::cases(sandbox.clone(), Language::Python, vec![case("", "0.333333")]).unwrap();
    assert!(!verdict(&near, "```python\nprint(1 / 3)\n```").is_right());
    assert!(verdict(&near.tolerance(1e-5), "```python\nprint(1 / 3)\n```").is_right());
    if sandbox.has(Language::Rust).is_ok() {
        let tests = Tests::cases(sandbox, Language::Rust, cases).unwrap();
        let source = "fn main() { let s = std::io::read_to_string(std::io::stdin()).unwrap(); println!(\"{}\", s.split_whitespace().map(|n| n.parse::<i32>().unwrap()).sum::<i32>()); }";
        assert!(verdict(&tests, &format!("```rust\n{source}\n```")).is_right());
        let wrong = verdict(&tests, "```rust\nfn main() { x }\n```");
        assert!(wrong.why.contains("didn't compile") && wrong.why.contains("error"), "{wrong:?}");
    }
}

#[test]
fn endless_answers_end() {
    let Some(sandbox) = python() else { return };
    let tests = Tests::check(sandbox, PROMPT, CHECK, "twice").unwrap().limits(Limits::seconds(0.5));
    let verdict = verdict(&tests, "    while True: pass\n");
    assert!(verdict.score == 0.0 && verdict.why.contains("ran out of"), "{verdict:?}");
}

/// Every reference solution of HumanEval passes, and an answer that returns nothing never does.
#[test]
fn human_eval_agrees_with_its_own_solutions() {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/HumanEval.jsonl.gz");
    let Ok(file) = std::fs::File::open(&file) else {
        return eprintln!("skipped: there is no {}", file.display());
    };
    let Some(sandbox) = python() else { return };
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let tasks: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(tasks.len(), 164);
    std::thread::scope(|scope| {
        for part in tasks.chunks(tasks.len().div_ceil(2)) {
            let sandbox = &sandbox;
            scope.spawn(move || {
                for task in part {
                    let field = |name: &str| task[name].as_str().unwrap();
                    let (prompt, entry) = (field("prompt"), field("entry_point"));
                    let tests =
                        Tests::check(sandbox.clone(), prompt, field("test"), entry).unwrap();
                    let solution = field("canonical_solution");
                    let raw = verdict(&tests, solution);
                    assert!(raw.is_right(), "{}: {raw:?}", field("task_id"));
                    let chat = format!("Sure.\n```python\n{prompt}{solution}\n```\nThis works.");
                    let chat = verdict(&tests, &chat);
                    assert!(chat.is_right(), "{}: {chat:?}", field("task_id"));
                    let nothing = verdict(&tests, "    return None\n");
                    assert!(!nothing.is_right(), "{}: {nothing:?}", field("task_id"));
                }
            });
        }
    });
}
