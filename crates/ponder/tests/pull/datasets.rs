//! `ponder eval` with the items of a public dataset. The server answers as a hub's dataset viewer does.

use std::io::Write;

use serde_json::{Value, json};

use super::support::{Viewer, World};

/// A model's place is taken by an address where nobody is, which is found out once the items are there.
const NOBODY: [&str; 3] = ["--endpoint", "http://127.0.0.1:9", "--out"];

fn rows(count: usize) -> Vec<Value> {
    (0..count)
        .map(
            |i| json!({"question": format!("{i} + {i}?"), "answer": format!("so\n#### {}", 2 * i)}),
        )
        .collect()
}

fn eval(world: &World, args: &[&str]) -> String {
    let args = [&["eval", "gsm8k"], &NOBODY[..], &["run"], args].concat();
    world.ponder(&args).stderr
}

fn pulled(world: &World) -> Vec<Value> {
    let text = std::fs::read_to_string(world.path("ponder/datasets/openai--gsm8k/main/test.jsonl"));
    text.unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_benchmark_pulls_its_items_once() {
    let mut world = World::new();
    let viewer = Viewer::start(&mut world, rows(250));
    world.set("HF_TOKEN", "hf_secret");
    let said = eval(&world, &[]);
    assert!(said.contains("connection refused"), "{said}");
    assert_eq!(pulled(&world), rows(250));
    let asked = viewer.requests();
    let paths: Vec<&str> = asked.iter().map(|request| request.path.as_str()).collect();
    let page = |offset: u32| {
        format!("/rows?dataset=openai%2Fgsm8k&config=main&split=test&offset={offset}&length=100")
    };
    assert_eq!(paths, [page(0), page(99), page(198)]);
    assert_eq!(asked[0].token.as_deref(), Some("Bearer hf_secret"));
    let said = eval(&world, &["--offline"]);
    assert!(said.contains("connection refused"), "{said}");
    assert_eq!(viewer.requests().len(), 3);
}

#[test]
fn what_was_pulled_is_kept_when_the_viewer_fails() {
    let mut world = World::new();
    let viewer = Viewer::start(&mut world, rows(250));
    viewer.fail_after(2, 404);
    let said = eval(&world, &[]);
    assert!(said.contains("does not exist (404)"), "{said}");
    assert!(!world.path("ponder/datasets/openai--gsm8k/main/test.jsonl").exists());
    // As if the process had died in the middle of a line.
    let part = world.path("ponder/datasets/openai--gsm8k/main/test.jsonl.part");
    std::fs::File::options().append(true).open(part).unwrap().write_all(b"{\"quest").unwrap();
    viewer.fail_after(usize::MAX, 404);
    eval(&world, &[]);
    assert_eq!(pulled(&world), rows(250));
    assert!(viewer.requests()[3].path.contains("offset=198&"));
}

#[test]
fn a_busy_viewer_is_waited_for_and_another_dataset_is_pulled_anew() {
    let mut world = World::new();
    let viewer = Viewer::start(&mut world, rows(150));
    viewer.fail_after(1, 404);
    eval(&world, &[]);
    let others: Vec<Value> = rows(151).split_off(1);
    viewer.replace(others.clone());
    viewer.busy(2);
    viewer.fail_after(usize::MAX, 404);
    eval(&world, &[]);
    assert_eq!(pulled(&world), others);
}

#[test]
fn what_cannot_be_pulled_is_named() {
    let mut world = World::new();
    let said = world.ponder(&["eval", "gsm8k", "--dataset", "gsm8k"]).stderr;
    assert!(
        said.contains("`gsm8k` names no dataset") && said.contains("openai/gsm8k:main:test"),
        "{said}"
    );
    let said = eval(&world, &["--offline"]);
    assert!(said.contains("--offline forbids fetching it"), "{said}");
    let said = eval(&world, &["--data", "."]);
    assert!(
        said.contains("gsm8k_test.jsonl") && said.contains("--dataset openai/gsm8k:main:test"),
        "{said}"
    );

    let viewer = Viewer::start(&mut world, rows(3));
    viewer.fail_after(0, 401);
    let said = eval(&world, &["--dataset", "o/private"]);
    assert!(
        said.contains("refused access to o/private (401)") && said.contains("HF_TOKEN"),
        "{said}"
    );
    viewer.fail_after(usize::MAX, 404);
    viewer.truncate("question");
    let said = eval(&world, &[]);
    assert!(said.contains("column \"question\" is cut off"), "{said}");
    viewer.replace(Vec::new());
    let said = eval(&world, &[]);
    assert!(said.contains("no rows in main:test"), "{said}");
}
