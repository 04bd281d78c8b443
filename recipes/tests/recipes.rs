//! The programs, as `ponder eval` uses them: items of `data`, put to nobody, and answers judged by the
//! benchmark's own check.

use std::io::Write;
use std::process::{Command, Stdio};

use eval::benchmark::Benchmark;
use serde_json::{Map, Value, json};
use verify::Attempt;
use verify::check::{Check, Tools};
use verify::tasks::random::hash;

/// Name, program, benchmark, and a hash of its first items: to change what a seed gives makes the
/// figures in the recipe's page out of date.
const RECIPES: &[(&str, &str, &str, u64)] = &[
    ("shop", env!("CARGO_BIN_EXE_shop"), include_str!("../shop/shop.toml"), 0x754c_f18f_9c7b_cd56),
    ("bank", env!("CARGO_BIN_EXE_bank"), include_str!("../bank/bank.toml"), 0x2ed4_11d2_69ea_0a17),
    (
        "hospital",
        env!("CARGO_BIN_EXE_hospital"),
        include_str!("../hospital/hospital.toml"),
        0x5285_e5db_bc0c_1b8f,
    ),
    (
        "factory",
        env!("CARGO_BIN_EXE_factory"),
        include_str!("../factory/factory.toml"),
        0x4357_56ba_c460_1998,
    ),
    (
        "carrier",
        env!("CARGO_BIN_EXE_carrier"),
        include_str!("../carrier/carrier.toml"),
        0xe442_e50f_47fb_012b,
    ),
    (
        "school",
        env!("CARGO_BIN_EXE_school"),
        include_str!("../school/school.toml"),
        0x0d73_8db3_2ede_a12d,
    ),
];

fn data(program: &str, seed: u64, count: u64) -> String {
    let output = Command::new(program)
        .args(["data", "--seed", &seed.to_string(), "--count", &count.to_string()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn rows(lines: &str) -> Vec<Map<String, Value>> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What the verb `check` says to these lines.
fn check(program: &str, lines: &[u8]) -> Vec<Value> {
    let mut child = Command::new(program)
        .arg("check")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines = lines.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&lines));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_same_seed_gives_the_same_items() {
    for &(name, program, _, golden) in RECIPES {
        let items = data(program, 1, 20);
        assert_eq!(items, data(program, 1, 20), "{name}");
        assert_ne!(items, data(program, 2, 20), "{name}");
        assert_eq!(hash(&items), golden, "{name}: its items have changed");
        let ids: std::collections::HashSet<_> =
            rows(&data(program, 3, 200)).iter().map(|row| row["id"].to_string()).collect();
        assert_eq!(ids.len(), 200, "{name}");
    }
}

#[test]
fn questions_seldom_come_again() {
    for &(name, program, ..) in RECIPES {
        let questions: std::collections::HashSet<_> =
            rows(&data(program, 4, 500)).iter().map(|row| row["question"].to_string()).collect();
        assert!(questions.len() > 480, "{name}: {}", questions.len());
    }
}

#[test]
fn benchmarks_judge_by_the_programs() {
    let tools = Tools::default();
    for &(name, program, toml, _) in RECIPES {
        let benchmark = Benchmark::parse(toml, name).unwrap();
        assert_eq!(benchmark.name, name);
        let rows = rows(&data(program, 1, 25));
        let items = benchmark.items(&rows).unwrap();
        assert_eq!(items[7].id, format!("{name}-1-7"));
        assert_eq!(items[7].group.as_deref(), Some("3"));
        for (i, item) in items.iter().enumerate() {
            let mut task = item.task.clone();
            if let Some(command) = task.get_mut("command") {
                assert_eq!(*command, json!([format!("target/release/{name}"), "check"]));
                *command = json!([program, "check"]);
            }
            let verifier = Check::from_json(&task).unwrap().verifier(&tools).unwrap();
            let judge = |answer: &str| verifier.verify(&Attempt::of(answer)).unwrap();
            let gold = rows[i]["gold"].as_str().unwrap();
            let verdict = judge(gold);
            assert!(verdict.is_right(), "{name}: {gold}: {}", verdict.why);
            assert!(judge(&format!("Let me think.\n\n{gold}")).is_right(), "{name}: {gold}");
            for other in &rows {
                let other = other["gold"].as_str().unwrap();
                if other != gold {
                    assert!(!judge(other).is_right(), "{name}: {other} for {gold}");
                }
            }
            let question = rows[i]["question"].as_str().unwrap();
            for answer in ["", "I can't tell.", "{}", "ANSWER: 1", question] {
                assert!(!judge(answer).is_right(), "{name}: {answer}");
            }
        }
    }
}

#[test]
fn hostile_lines_are_survived() {
    for &(name, program, ..) in RECIPES {
        let row = rows(&data(program, 1, 4)).pop().unwrap();
        let good = json!({"id": 9, "answer": row["gold"], "task": row["task"]}).to_string();
        let mut lines: Vec<Vec<u8>> = Vec::new();
        for answer in
            ["{".repeat(9999), "[".repeat(9999), "\u{0}é\u{202e}".into(), "9".repeat(99_999)]
        {
            lines.push(json!({"id": 1, "answer": answer, "task": row["task"]}).to_string().into());
        }
        // Every field of the task in turn is missing, or is something else.
        let task = row["task"].as_object().unwrap();
        for field in task.keys() {
            let mut without = task.clone();
            without.remove(field);
            lines.push(json!({"id": 2, "answer": row["gold"], "task": without}).to_string().into());
            for value in [json!(null), json!(-1), json!([[]]), json!("\u{0}"), json!({"type": 5})] {
                let mut other = task.clone();
                other.insert(field.clone(), value);
                lines.push(
                    json!({"id": 3, "answer": row["gold"], "task": other}).to_string().into(),
                );
            }
        }
        for cut in (1..good.len()).step_by(7) {
            lines.push(good.as_bytes()[..cut].to_vec());
        }
        lines.push(b"\xff\xfe\x00".to_vec());
        let count = lines.len();
        lines.push(good.clone().into_bytes());
        let replies = check(program, &lines.join(&b'\n'));
        assert_eq!(replies.len(), count + 1, "{name}");
        for (reply, line) in replies.iter().zip(&lines).take(count) {
            let told =
                reply.get("error").is_some_and(|error| error.as_str().unwrap().contains(": "));
            assert!(
                told || reply["score"] == 0.0,
                "{name}: {reply}: {}",
                String::from_utf8_lossy(line)
            );
        }
        assert_eq!((&replies[count]["id"], &replies[count]["score"]), (&json!(9), &json!(1.0)));
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    for &(_, program, ..) in RECIPES {
        let mut child = Command::new(program)
            .args(["data", "--count", "100000"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        assert!(child.wait().unwrap().success());
    }
}
