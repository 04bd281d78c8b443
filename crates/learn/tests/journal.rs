//! A run's journal through crashes and new starts.

use std::fs;
use std::path::{Path, PathBuf};

use learn::journal::{Error, Journal, METRICS, Record, read};

fn record(step: u64) -> Record {
    Record {
        step,
        time: Some(1000.0 + step as f64),
        scalars: vec![("reward/mean".into(), step as f64 / 8.0), ("kl".into(), 1e-7)],
        texts: vec![("sample".into(), format!("step {step}:\n\"2 + 2 → 4\""))],
    }
}

fn written(dir: &Path, steps: impl IntoIterator<Item = u64>, after: Option<u64>) {
    let mut journal = Journal::open(dir, after).unwrap();
    for step in steps {
        journal.write(&record(step)).unwrap();
    }
}

fn event_files(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.to_str().unwrap().contains("tfevents")).collect()
}

/// The events without the two at the beginning, which tell when the file was made.
fn events(dir: &Path) -> Vec<u8> {
    let files = event_files(dir);
    assert_eq!(files.len(), 1, "{files:?}");
    fs::read(&files[0]).unwrap()[40 + 29..].to_vec()
}

#[test]
fn what_is_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("runs/first");
    written(&folder, 0..4, None);
    assert_eq!(read(&folder).unwrap(), (0..4).map(record).collect::<Vec<_>>());
    assert_eq!(read(&folder).unwrap()[2].scalar("reward/mean"), Some(0.25));
}

#[test]
fn the_time_is_filled_in() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path(), None).unwrap();
    journal.write(&Record { step: 1, ..Record::default() }).unwrap();
    assert!(read(dir.path()).unwrap()[0].time.unwrap() > 1.7e9);
}

#[test]
fn what_is_no_number_stays_valid_json() {
    let dir = tempfile::tempdir().unwrap();
    let scalars = [("a", f64::NAN), ("b", f64::INFINITY), ("c", f64::NEG_INFINITY)];
    let scalars: Vec<_> = scalars.map(|(name, value)| (name.to_owned(), value)).into();
    let mut journal = Journal::open(dir.path(), None).unwrap();
    journal.write(&Record { step: 1, time: Some(f64::NAN), scalars, ..Record::default() }).unwrap();
    let text = fs::read_to_string(dir.path().join(METRICS)).unwrap();
    assert_eq!(text, "{\"step\":1,\"scalars\":{\"a\":\"NaN\",\"b\":\"inf\",\"c\":\"-inf\"}}\n");
    let got = &read(dir.path()).unwrap()[0];
    assert!(got.scalars[0].1.is_nan());
    assert_eq!(got.scalars[1].1, f64::INFINITY);
    assert_eq!(got.scalars[2].1, f64::NEG_INFINITY);
}

#[test]
fn a_resumed_run_reads_as_if_never_interrupted() {
    let (whole, resumed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    written(whole.path(), 0..9, None);
    written(resumed.path(), 0..7, None);
    written(resumed.path(), 5..6, Some(4));
    written(resumed.path(), 5..9, Some(4));
    let lines = |dir: &Path| fs::read_to_string(dir.join(METRICS)).unwrap();
    assert_eq!(lines(whole.path()), lines(resumed.path()));
    assert_eq!(events(whole.path()), events(resumed.path()));
}

#[test]
fn the_checkpoint_before_the_first_step_is_none() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 0..3, None);
    written(dir.path(), 0..1, None);
    assert_eq!(read(dir.path()).unwrap(), [record(0)]);
}

#[test]
fn killed_at_any_byte() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(METRICS);
    written(dir.path(), 1..4, None);
    let whole = fs::read(&path).unwrap();
    let ends: Vec<usize> =
        whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(i, _)| i).collect();
    for cut in 0..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let there = ends.iter().filter(|end| **end <= cut).count() as u64;
        assert_eq!(read(dir.path()).unwrap().len() as u64, there, "cut at {cut}");
        written(dir.path(), there + 1..4, Some(3));
        assert_eq!(fs::read(&path).unwrap(), whole, "cut at {cut}");
    }
}

#[test]
fn zeroes_after_a_power_cut_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(METRICS);
    written(dir.path(), 1..3, None);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, [&whole[..], &[0; 50], b"\n\0\0"].concat()).unwrap();
    assert_eq!(read(dir.path()).unwrap().len(), 2);
    written(dir.path(), [], Some(9));
    assert_eq!(fs::read(&path).unwrap(), whole);
}

#[test]
fn damage_in_the_middle_is_told_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(METRICS);
    written(dir.path(), 1..4, None);
    let damaged = fs::read_to_string(&path).unwrap().replace("{\"step\":2", "{\"step\":-2");
    fs::write(&path, &damaged).unwrap();
    for error in [read(dir.path()).unwrap_err(), Journal::open(dir.path(), Some(3)).unwrap_err()] {
        assert!(matches!(error, Error::Line { line: 2, .. }), "{error}");
        assert!(error.to_string().contains("metrics.jsonl, line 2: "), "{error}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
}

#[test]
#[cfg(unix)]
fn two_runs_in_one_folder() {
    let dir = tempfile::tempdir().unwrap();
    let first = Journal::open(dir.path(), None).unwrap();
    assert!(matches!(Journal::open(dir.path(), None), Err(Error::InUse { .. })));
    drop(first);
    assert!(Journal::open(dir.path(), None).is_ok());
}

#[test]
fn files_of_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("events.out.tfevents.17.host");
    fs::write(&other, "").unwrap();
    written(dir.path(), 1..3, None);
    written(dir.path(), 3..4, Some(2));
    assert!(other.exists());
    assert_eq!(event_files(dir.path()).len(), 2);
}
