//! Measuring through the binary: what scripts rely on in its output.

#[path = "../../engine/tests/support/mod.rs"]
#[expect(dead_code, reason = "the engine's own tests use more of it")]
mod support;

use std::process::{Command, Output};

use serde_json::Value;

fn bench(args: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let model = support::tiny_model(folder.path(), false);
    let mut command = Command::new(env!("CARGO_BIN_EXE_ponder"));
    command.arg("bench").arg("-m").arg(&model).args(args);
    command.env_clear().env("PONDER_HOME", folder.path()).output().unwrap()
}

fn text(args: &[&str]) -> String {
    let output = bench(args);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "no progress where nobody looks: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&text(&[args, &["-o", "json"]].concat())).unwrap()
}

#[test]
fn json_has_a_row_for_each_combination() {
    let args = ["-p", "8,16", "-n", "4", "-b", "1,3", "-d", "0,5", "-r", "2", "--threads", "1"];
    let rows = json(&args);
    let rows = rows.as_array().unwrap();
    let cases: Vec<_> = rows
        .iter()
        .map(|row| {
            let number = |key: &str| row[key].as_u64().unwrap();
            (number("n_prompt"), number("n_gen"), number("n_batch"), number("n_depth"))
        })
        .collect();
    let one_depth = |d| [(8, 0, 1, d), (16, 0, 1, d), (0, 4, 1, d), (0, 4, 3, d)];
    assert_eq!(cases, [one_depth(0), one_depth(5)].concat());
    for row in rows {
        let decode = row["test"] == "decode";
        assert_eq!(row["threads"], 1);
        assert_eq!(row["samples_ts"].as_array().unwrap().len(), 2);
        assert_eq!(row["bytes_per_token"].is_number(), decode, "{row}");
        assert_eq!(row["read_share"].is_number(), decode, "{row}");
        for key in ["avg_ts", "operations_per_token", "read_peak", "arithmetic_peak"] {
            assert!(row[key].as_f64().unwrap() > 0.0, "{key}: {row}");
        }
        let ops = row["operations_per_token"].as_f64().unwrap() * row["avg_ts"].as_f64().unwrap();
        let share = ops / 1e9 / row["arithmetic_peak"].as_f64().unwrap();
        assert!((row["arithmetic_share"].as_f64().unwrap() / share - 1.0).abs() < 1e-9, "{row}");
        assert!(row["arithmetic_unit"].as_str().unwrap().contains(' '));
    }
}

#[test]
fn without_the_machine_there_are_no_shares() {
    let rows = json(&["-p", "8", "-n", "0", "-r", "1", "--no-warmup", "--no-roofline"]);
    assert_eq!(rows.as_array().unwrap().len(), 1);
    assert!(rows[0].get("read_peak").is_none());
    let csv = text(&["-p", "0", "-n", "4", "-r", "1", "--no-roofline", "-o", "csv"]);
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0].len(), lines[1].len());
    assert_eq!(lines[1][3..8], ["decode", "0", "4", "1", "0"]);
    let table = text(&["-p", "8", "-n", "4", "-d", "2", "-r", "1", "--no-roofline"]);
    assert!(table.contains("| prefill 8 @ 2 |") && table.contains("| decode 4 @ 2  |"), "{table}");
}

#[test]
fn the_machine_can_be_measured_without_a_model() {
    let run = |output: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ponder"));
        command.args(["bench", "--roofline", "--threads", "2", "-o", output]).env_clear();
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let machine: Value = serde_json::from_str(&run("json")).unwrap();
    assert_eq!(machine["threads"], 2);
    assert!(machine["read_gbs_one"].as_f64().unwrap() > 0.1);
    let peaks = machine["peaks"].as_array().unwrap();
    for isa in kernels::Isa::available() {
        let found = peaks.iter().any(|p| p["isa"] == isa.to_string());
        assert!(found, "{isa}: {machine}");
    }
    let csv = run("csv");
    assert_eq!(csv.lines().count(), 2 + peaks.len());
    assert!(csv.lines().all(|line| line.split(',').count() == 7), "{csv}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (args, named) in [
        (["-p", "12,many"], "many"),
        (["-b", "0"], "0"),
        (["-b", "2000"], "2000"),
        (["-d", "-1"], "-1"),
        (["-r", "0"], "0"),
    ] {
        let output = bench(&args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(named), "{said}");
    }
}
