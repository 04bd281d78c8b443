//! A run seen on a screen.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use learn::journal::sample;
use proptest::prelude::*;

use super::super::live::width;
use super::spark::{figure, spark, time};
use super::*;

const SIZE: Size = Size { columns: 80, rows: 24 };

/// A screen that the dashboard writes to, and the bytes of the last write.
#[derive(Clone)]
struct Shown(Arc<Mutex<(vt100::Parser, String, Size)>>);

impl Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut shown = self.0.lock().expect("not poisoned");
        // What the terminal driver does with the end of a line.
        let text = std::str::from_utf8(bytes).expect("UTF-8").replace('\n', "\r\n");
        shown.0.process(text.replace("\r\r\n", "\r\n").as_bytes());
        shown.1 = text;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shown {
    fn dashboard(size: Size, live: bool) -> (Shown, Dashboard<Shown>) {
        let mut screen = vt100::Parser::new(size.rows as u16, size.columns as u16, 200);
        screen.process(b"$ ponder train\r\n");
        let shown = Shown(Arc::new(Mutex::new((screen, String::new(), size))));
        let asked = shown.clone();
        let size = move || asked.0.lock().expect("not poisoned").2;
        let dashboard = Dashboard::on(shown.clone(), "smollm2-135m, GRPO", 100, live, size);
        (shown, dashboard)
    }

    fn resize(&self, size: Size) {
        let mut shown = self.0.lock().expect("not poisoned");
        shown.0.screen_mut().set_size(size.rows as u16, size.columns as u16);
        shown.2 = size;
    }

    fn text(&self) -> String {
        self.0.lock().expect("not poisoned").0.screen().contents()
    }

    fn rows(&self) -> Vec<String> {
        self.text().lines().map(str::to_owned).collect()
    }

    fn last_write(&self) -> String {
        self.0.lock().expect("not poisoned").1.clone()
    }

    fn scrolled_away(&self) -> usize {
        let mut shown = self.0.lock().expect("not poisoned");
        shown.0.screen_mut().set_scrollback(usize::MAX);
        let away = shown.0.screen().scrollback();
        shown.0.screen_mut().set_scrollback(0);
        away
    }
}

/// A made-up step of a run.
fn record(step: u64) -> Record {
    let x = step as f64;
    let noise = (x * 12.9898).sin() * 0.08;
    let mut scalars = vec![
        ("loss".to_owned(), 0.02 + noise / 10.0),
        ("reward/mean".to_owned(), 0.75 - 0.6 * (-x / 40.0).exp() + noise),
        ("reward/std".to_owned(), 0.3 - noise),
        ("policy/kl".to_owned(), 2e-5 * x + noise.abs() / 100.0),
        ("policy/entropy".to_owned(), 0.9 - x / 250.0 + noise),
        ("completion/length".to_owned(), 300.0 + 3.0 * x + 300.0 * noise),
        ("tokens/s".to_owned(), 812.0 + 200.0 * noise),
        ("gradient/norm".to_owned(), 0.4 + noise),
        ("learning_rate".to_owned(), 1e-6),
        (sample::REWARD.to_owned(), 1.0),
    ];
    if step.is_multiple_of(10) {
        scalars.push(("eval/accuracy".to_owned(), 0.2 + x / 400.0));
    }
    let completion = "<think>\nShe has 16 eggs a day. She eats three for breakfast and bakes four \
        into muffins, so 16 − 3 − 4 = 9 are left to be sold. At 2 dollars each that makes \
        9 × 2 = 18 dollars.\n\nWait, 每天都是这样吗？ The question asks what she makes every day. \
        Nothing suggests that one day differs from another, so it is the same each day. "
        .repeat(3)
        + "\n</think>\nShe makes **18** dollars every day at the farmers' market.";
    let prompt = "Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning \
        and bakes muffins for her friends every day with four. She sells the remainder at the \
        farmers' market daily for $2 per fresh duck egg. How much in dollars does she make every \
        day at the farmers' market?";
    let texts = vec![
        (sample::PROMPT.to_owned(), prompt.to_owned()),
        (sample::COMPLETION.to_owned(), completion),
    ];
    Record { step, time: None, scalars, texts }
}

/// To be looked at: `cargo test -p ponder training::tests::look -- --ignored --nocapture`.
#[test]
#[ignore = "for the eye"]
fn look() {
    let mut dashboard = Dashboard::new("smollm2-135m, GRPO, groups of 8", 100);
    dashboard.history(&(1..=20).map(record).collect::<Vec<_>>());
    dashboard.note("goes on after step 20, from runs/eggs/checkpoint-20");
    for step in 21..=60 {
        for done in 0..=16 {
            dashboard.phase("drawing completions", done, 16);
            std::thread::sleep(Duration::from_millis(30));
        }
        dashboard.phase("a step of the optimizer", 0, 0);
        dashboard.record(&record(step));
        if step.is_multiple_of(20) {
            dashboard.note(&format!("a checkpoint after step {step}"));
        }
    }
}

#[test]
fn a_screen_of_80_by_24() {
    let (shown, mut dashboard) = Shown::dashboard(SIZE, true);
    for step in 1..=50 {
        dashboard.record_at(&record(step), Duration::from_secs(60 * step));
    }
    dashboard.phase("drawing completions", 5, 20);
    dashboard.draw_at(true, Duration::from_secs(60 * 50));
    let rows = shown.rows();
    assert!(rows.len() <= 24, "{}", shown.text());
    assert!(rows.iter().all(|row| width(row) < 80), "{}", shown.text());
    assert!(rows[1].starts_with("smollm2-135m, GRPO  "), "{}", rows[1]);
    assert!(rows[1].ends_with("step 50/100  50 min, 50 min left"), "{}", rows[1]);
    assert_eq!(rows[2].matches('━').count(), 39);
    for what in ["reward/mean 0.", "eval/accuracy 0.3", "policy/kl ", "entropy ", "tokens/s 8"] {
        assert!(shown.text().contains(what), "{what}: {}", shown.text());
    }
    assert!(shown.text().contains("loss 0.0") && shown.text().contains("learning_rate 1.0e-6"));
    assert!(shown.text().contains("a sample  reward 1.00"), "{}", shown.text());
    assert!(shown.text().contains("every day at the farmers' market?"), "{}", shown.text());
    assert!(shown.text().contains("She makes **18** dollars"), "{}", shown.text());
    assert!(rows[rows.len() - 2].starts_with("drawing completions  ━━━━━━─"), "{}", shown.text());
    assert!(rows[rows.len() - 2].ends_with(" 5/20"));
    assert_eq!(rows[rows.len() - 1], "Ctrl-C: saves a checkpoint and stops");
}

#[test]
fn what_stays_in_the_end() {
    let (shown, mut dashboard) = Shown::dashboard(SIZE, true);
    dashboard.record(&record(1));
    dashboard.phase("drawing completions", 5, 20);
    drop(dashboard);
    let text = shown.text();
    assert!(text.starts_with("$ ponder train\nsmollm2-135m, GRPO "), "{text}");
    assert!(!text.contains("Ctrl-C") && !text.contains("drawing"), "{text}");
    let rows = shown.rows().len() as u16;
    let cursor = shown.0.lock().unwrap().0.screen().cursor_position();
    assert!(cursor.0 >= rows && cursor.1 == 0, "{cursor:?}\n{text}");
}

#[test]
fn notes_stand_above_in_their_order() {
    let (shown, mut dashboard) = Shown::dashboard(Size { columns: 80, rows: 40 }, true);
    dashboard.note("first\x1b[2J");
    dashboard.record(&record(1));
    dashboard.note("second");
    let text = shown.text();
    assert!(text.starts_with("$ ponder train\nfirst[2J\nsecond\nsmollm2-135m"), "{text}");
    assert_eq!(text.matches("Ctrl-C").count(), 1, "{text}");
}

#[test]
fn only_what_changed_is_written() {
    let (shown, mut dashboard) = Shown::dashboard(SIZE, true);
    dashboard.record_at(&record(1), Duration::from_secs(1));
    let all = shown.last_write().len();
    dashboard.phase("drawing completions", 1, 20);
    dashboard.draw_at(true, Duration::from_secs(1));
    let some = shown.last_write();
    assert!(some.len() < all / 3, "{} of {all}: {some:?}", some.len());
    assert!(!some.contains("\x1b[J") && !some.contains("sample"), "{some:?}");
    let before = shown.last_write();
    dashboard.draw_at(true, Duration::from_secs(1));
    assert_eq!(before, shown.last_write());
}

#[test]
fn a_window_that_changes_its_size() {
    let (shown, mut dashboard) = Shown::dashboard(SIZE, true);
    dashboard.record(&record(1));
    for (columns, rows) in [(120, 40), (60, 30), (30, 12), (5, 4), (100, 24)] {
        shown.resize(Size { columns, rows });
        dashboard.record(&record(2));
        let rows = shown.rows();
        assert!(rows.iter().all(|row| width(row) < columns), "{}", shown.text());
    }
    let text = shown.text();
    assert_eq!(text.matches("Ctrl-C").count(), 1, "{text}");
    assert!(text.contains("step 2/100"), "{text}");
}

#[test]
fn without_a_terminal_a_line_a_step() {
    let (shown, mut dashboard) = Shown::dashboard(Size { columns: 200, rows: 10 }, false);
    dashboard.note("begins");
    dashboard.phase("drawing completions", 1, 2);
    let first = Record {
        scalars: vec![("loss".to_owned(), 0.028), ("reward/mean".to_owned(), 0.264)],
        ..record(4)
    };
    dashboard.record_at(&first, Duration::from_secs(10));
    let held_out = Record {
        step: 4,
        scalars: vec![("eval/accuracy".to_owned(), f64::NAN)],
        ..Record::default()
    };
    dashboard.record_at(&held_out, Duration::from_secs(20));
    drop(dashboard);
    assert_eq!(
        shown.text(),
        "$ ponder train\nbegins\n\
         step 4/100  loss 0.0280  reward/mean 0.264  10 s, 16 min left\n\
         step 4/100  eval/accuracy NaN  20 s, 32 min left"
    );
}

#[test]
fn other_methods_have_other_figures() {
    let (shown, mut dashboard) = Shown::dashboard(SIZE, true);
    let figures = ["learning_rate", "loss", "eval/loss", "tokens/s", "eval/accuracy"];
    let scalars = figures.map(|name| (name.to_owned(), 1.0)).to_vec();
    dashboard.record(&Record { step: 1, scalars, ..Record::default() });
    let rows = shown.rows();
    assert!(rows[3].starts_with("loss 1.00") && rows[3].contains("eval/accuracy"), "{rows:?}");
    assert!(!shown.text().contains("sample"), "{}", shown.text());
}

#[test]
fn the_time_left_is_that_of_the_last_steps() {
    let mut view = View::new("", 100);
    let row = |view: &View, at| format!("{:?}", view.rows(SIZE, false, Duration::from_secs(at))[0]);
    assert!(row(&view, 3).contains("step 0/100  3 s\""), "{}", row(&view, 3));
    // The evaluation before the first step says nothing of a step's time.
    view.record(&Record::default(), Duration::from_secs(500));
    for step in 1..=50 {
        let record = Record { step, ..Record::default() };
        view.record(&record, Duration::from_secs(500 + 10 * step));
    }
    assert!(row(&view, 1000).contains("17 min, 8 min left"), "{}", row(&view, 1000));
    assert!(row(&view, 1300).contains("22 min, 3 min left"), "{}", row(&view, 1300));
    assert!(row(&view, 9999).contains("2 h 47 min, 0 s left"), "{}", row(&view, 9999));
}

#[test]
fn curves_of_characters() {
    let ramp: Vec<f64> = (0..8).map(f64::from).collect();
    assert_eq!(spark(&ramp, 20, 1), ["▁▂▃▄▅▆▇█"]);
    assert_eq!(spark(&ramp, 4, 1), ["▁▃▆█"]);
    assert_eq!(spark(&[0.0, 15.0, f64::NAN, 7.0], 9, 2), [" █  ", "▁█×█"]);
    assert_eq!(spark(&[3.0; 3], 9, 1), ["▅▅▅"]);
    assert_eq!(spark(&[f64::MIN, f64::MAX], 9, 1), ["▁█"]);
    assert_eq!(spark(&[], 9, 1), [""]);
}

#[test]
fn figures_and_times_are_short() {
    let figures =
        [0.0, 0.001234, 0.0128, 0.41234, 0.9999, 23.456, 812.3, 1e5, -1e-6, f64::INFINITY];
    let figures = figures.map(figure).join(" ");
    assert_eq!(figures, "0 0.00123 0.0128 0.412 1.00 23.5 812 1.0e5 -1.0e-6 inf");
    let times = [0, 89, 90, 3600, 5369, 5400, 86400].map(|s| time(Duration::from_secs(s)));
    assert_eq!(times.join(", "), "0 s, 89 s, 2 min, 60 min, 89 min, 1 h 30 min, 24 h 0 min");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_run_fits_any_screen(
        columns in 1usize..140,
        rows in 1usize..50,
        title in "\\PC{0,30}",
        text in "[a 字🙂\u{1b}\t\n]{0,400}",
        names in prop::collection::vec("[a/字\u{301}\n]{0,30}", 0..12),
        value in any::<f64>(),
    ) {
        let size = Size { columns, rows };
        let mut view = View::new(&title, 3);
        let scalars = names.into_iter().map(|name| (name, value)).collect();
        let record = Record { step: 2, scalars, texts: vec![(text.clone(), text)], ..Record::default() };
        view.record(&record, Duration::from_secs(1));
        view.phase(&title, 7, 3);
        let drawn = view.rows(size, false, Duration::from_secs(2));
        prop_assert!(drawn.len() <= rows.saturating_sub(1).max(1));
        for row in &drawn {
            prop_assert!(width(row.text()) < columns.max(2), "{row:?}");
            prop_assert!(!row.text().chars().any(char::is_control), "{row:?}");
        }
    }
}

#[test]
fn nothing_scrolls_away_while_figures_change() {
    let (shown, mut dashboard) = Shown::dashboard(SIZE, true);
    dashboard.record(&record(1));
    let away = shown.scrolled_away();
    for step in 2..90 {
        dashboard.record(&record(step));
        dashboard.phase("drawing completions", 1, 2);
    }
    // The curve of the first evaluation adds no row.
    assert_eq!(shown.scrolled_away(), away, "{}", shown.text());
}
