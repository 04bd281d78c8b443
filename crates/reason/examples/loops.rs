//! How often loops are seen in a run of `ponder eval`: false alarms in texts that ended by themselves,
//! and those cut off at their limit, most of which go in circles.
//!
//! ```sh
//! cargo run --release -p ponder-reason --example loops -- runs/gsm8k/samples.jsonl
//! ```

use std::error::Error;

use reason::watch::Loops;
use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("a run's samples.jsonl is wanted")?;
    let mut counts = [(0, 0), (0, 0)];
    for line in std::fs::read_to_string(path)?.lines() {
        let sample: Value = serde_json::from_str(line)?;
        let ended = sample["finish_reason"] == "stop";
        let mut loops = Loops::default();
        let text = |field: &str| sample[field].as_str().unwrap_or_default().to_owned();
        let text = text("reasoning") + &text("answer");
        // A piece at a time, as it comes from a model.
        let found = text.split_inclusive(' ').find_map(|piece| loops.push(piece));
        let (texts, alarms) = &mut counts[usize::from(!ended)];
        *texts += 1;
        if let Some(found) = found {
            *alarms += 1;
            let tail: String = text[..text.len()].chars().rev().take(160).collect();
            let tail: String =
                tail.chars().rev().map(|c| if c == '\n' { '⏎' } else { c }).collect();
            println!("{} {found:?}\n    …{tail}", sample["item"]);
        }
    }
    for ((texts, alarms), what) in counts.iter().zip(["ended by themselves", "cut off"]) {
        println!("{what}: {texts} texts, {alarms} with a loop");
    }
    Ok(())
}
