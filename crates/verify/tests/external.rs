//! Commands that judge, and commands that misbehave.
#![cfg(unix)]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use verify::external::{Checker, Config, External};
use verify::{Attempt, CannotTell, Verifier};

/// A shell script for each attempt's line, which is in `$line`; `$id` is its id.
fn checker(each: &str, seconds: f64) -> std::sync::Arc<Checker> {
    let script = format!(
        "while IFS= read -r line; do id=${{line#*\\\"id\\\":}}; id=${{id%%,*}}; id=${{id%\\}}}}; {each}; done"
    );
    start(&["sh", "-c", &script], seconds)
}

fn start(command: &[&str], timeout_seconds: f64) -> std::sync::Arc<Checker> {
    let command = command.iter().map(|arg| arg.to_string()).collect();
    Checker::new(Config { command, timeout_seconds }).expect("a sound configuration")
}

fn machine(result: Result<verify::Verdict, CannotTell>) -> String {
    match result {
        Err(e @ CannotTell::Machine { .. }) => e.to_string(),
        other => panic!("{other:?}"),
    }
}

const RIGHT: &str = r#"echo "{\"id\": $id, \"score\": 1, \"extracted\": \"x\", \"why\": \"so\"}""#;

#[test]
fn judges_with_a_command() {
    let checker = checker(RIGHT, 10.0);
    let verifier = External::new(checker, json!({"gold": "x"}));
    for _ in 0..3 {
        let verdict = verifier.verify(&Attempt::of("x")).unwrap();
        assert_eq!((verdict.score, verdict.extracted.as_deref()), (1.0, Some("x")));
        assert_eq!(verdict.why, "so");
    }
}

#[test]
fn the_command_sees_everything() {
    // It answers with the line itself as its reason.
    let python = r#"
import json, sys
for line in sys.stdin:
    given = json.loads(line)
    print(json.dumps({"id": given["id"], "score": 0.25, "why": json.dumps(given)}), flush=True)
"#;
    let checker = start(&["python3", "-c", python], 20.0);
    let attempt = Attempt { question: "q\n\"ß\"", reasoning: "r", answer: "a" };
    let verdict = checker.judge(&attempt, &json!({"k": [1]})).unwrap();
    let mut given: Value = serde_json::from_str(&verdict.why).unwrap();
    given.as_object_mut().unwrap().remove("id");
    let expected =
        json!({"question": "q\n\"ß\"", "reasoning": "r", "answer": "a", "task": {"k": [1]}});
    assert_eq!(given, expected);
    assert_eq!((verdict.score, verdict.extracted), (0.25, None));
}

#[test]
fn many_threads_share_one_that_answers_out_of_order() {
    // It waits for four lines and answers them from last to first, each with its own answer.
    let python = r#"
import json, sys
lines = []
for line in sys.stdin:
    lines.append(json.loads(line))
    if len(lines) == 4:
        for given in reversed(lines):
            print(json.dumps({"id": given["id"], "score": 1, "extracted": given["answer"]}), flush=True)
        lines = []
"#;
    let checker = start(&["python3", "-c", python], 20.0);
    std::thread::scope(|scope| {
        for i in 0..4 {
            let checker = &checker;
            scope.spawn(move || {
                for round in 0..5 {
                    let answer = format!("{i} {round}");
                    let verdict = checker.judge(&Attempt::of(&answer), &Value::Null).unwrap();
                    assert_eq!(verdict.extracted.as_deref(), Some(&*answer));
                }
            });
        }
    });
}

#[test]
fn garbage_is_quoted() {
    let checker = checker("echo 'Loading model…' >&2; echo 'hello there'", 10.0);
    let error = machine(checker.judge(&Attempt::of("x"), &Value::Null));
    for part in ["the command `sh -c", "hello there", "no verdict", "Loading model…"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn a_score_that_is_none_is_said() {
    for (each, why) in [
        (r#"echo "{\"id\": $id}""#, "no `score`"),
        (r#"echo "{\"id\": $id, \"score\": 7}""#, "not from 0 to 1"),
        (r#"echo "{\"id\": $id, \"error\": \"no gold\"}""#, "can't tell: no gold"),
    ] {
        let error = machine(checker(each, 10.0).judge(&Attempt::of("x"), &Value::Null));
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn silence_ends_in_time_and_is_left_behind() {
    let checker = checker(&format!("case $line in *slow*) sleep 60;; *) {RIGHT};; esac"), 0.5);
    let start = Instant::now();
    let error = checker.judge(&Attempt::of("slow"), &Value::Null).unwrap_err();
    assert!(matches!(&error, CannotTell::Limit { limit, .. } if limit == "500ms"), "{error}");
    assert!(error.to_string().contains("the command `sh"), "{error}");
    assert!(checker.judge(&Attempt::of("fast"), &Value::Null).unwrap().is_right());
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn one_that_does_not_read_holds_nobody_up() {
    let checker = start(&["sleep", "60"], 0.3);
    let long = "x".repeat(1 << 20);
    let error = checker.judge(&Attempt::of(&long), &Value::Null).unwrap_err();
    assert!(matches!(error, CannotTell::Limit { .. }), "{error}");
}

#[test]
fn death_is_told_with_its_last_words_and_followed_by_a_restart() {
    let each = format!("case $line in *die*) echo boom >&2; exit 3;; *) {RIGHT};; esac");
    let checker = checker(&each, 10.0);
    assert!(checker.judge(&Attempt::of("x"), &Value::Null).unwrap().is_right());
    let error = machine(checker.judge(&Attempt::of("die"), &Value::Null));
    for part in ["ended", "boom", "exit status: 3"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(checker.judge(&Attempt::of("x"), &Value::Null).unwrap().is_right());
}

#[test]
fn one_that_dies_after_each_answer_is_started_again() {
    let checker = checker(&format!("{RIGHT}; exit 0"), 10.0);
    for _ in 0..5 {
        assert!(checker.judge(&Attempt::of("x"), &Value::Null).unwrap().is_right());
    }
}

#[test]
fn one_that_is_not_there_is_named() {
    let error = machine(start(&["/no/such/checker"], 1.0).judge(&Attempt::of("x"), &Value::Null));
    assert!(error.contains("/no/such/checker") && error.contains("can't be started"), "{error}");
    assert!(Checker::new(Config { command: vec![], timeout_seconds: 1.0 }).is_err());
    assert!(Checker::new(Config { command: vec!["x".into()], timeout_seconds: -1.0 }).is_err());
}

#[test]
fn it_is_killed_with_what_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pids");
    let each = format!("sleep 300 & echo $! $$ > '{}'; {RIGHT}", file.display());
    let checker = checker(&each, 10.0);
    assert!(checker.judge(&Attempt::of("x"), &Value::Null).unwrap().is_right());
    let pids = std::fs::read_to_string(&file).unwrap();
    drop(checker);
    let until = Instant::now() + Duration::from_secs(10);
    for pid in pids.split_whitespace() {
        // Gone, or a zombie that nobody has waited for yet.
        let gone = || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
            status.map_or(true, |status| status.contains("State:\tZ"))
        };
        while !gone() {
            assert!(Instant::now() < until, "{pid} lives on");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
