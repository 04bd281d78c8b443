//! The loop of a checker.

use std::io::{self, BufRead, Read, Write};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Recipe;

/// The longest line that is read.
const MAX_LINE: u64 = 4 << 20;

/// One line of input. What else `ponder` sends, a recipe doesn't need.
#[derive(Deserialize)]
struct Ask {
    answer: String,
    task: Value,
}

/// Reads a line for each answer and writes a line for each, with the same id: its verdict, or an
/// error that names the field at fault.
///
/// # Errors
/// A stream can't be read or written. No line is an error.
pub fn check<R: Recipe>(mut input: impl BufRead, output: &mut impl Write) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut input).take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let reply = if line.len() as u64 == MAX_LINE && !line.ends_with(b"\n") {
            skip(&mut input)?;
            json!({"id": null, "error": format!("line: it is longer than {MAX_LINE} bytes")})
        } else {
            reply::<R>(&line)
        };
        writeln!(output, "{reply}")?;
        output.flush()?;
    }
}

/// Goes past the end of the line, keeping nothing of it.
fn skip(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let (read, done) = end.map_or((buffer.len(), buffer.is_empty()), |at| (at + 1, true));
        input.consume(read);
        if done {
            return Ok(());
        }
    }
}

fn reply<R: Recipe>(line: &[u8]) -> Value {
    let line: Value = match serde_json::from_slice(line) {
        Ok(line) => line,
        Err(error) => return json!({"id": null, "error": format!("line: it is no JSON: {error}")}),
    };
    let id = line.get("id").cloned().unwrap_or(Value::Null);
    if !id.is_u64() {
        return json!({"id": null, "error": "id: a whole number is wanted"});
    }
    let verdict = read::<Ask>(line, "").and_then(|Ask { answer, task }| {
        let task = read::<R::Task>(task, "task")?;
        R::judge(&task, &answer).map_err(|bad| format!("task.{}: {}", bad.field, bad.why))
    });
    match verdict {
        Ok(verdict) => json!({
            "id": id, "score": verdict.score, "extracted": verdict.extracted, "why": verdict.why,
        }),
        Err(error) => json!({"id": id, "error": error}),
    }
}

/// A part of a line, or which of its fields is wrong and how.
fn read<T: DeserializeOwned>(value: Value, within: &str) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let at = match (within, path.as_str()) {
            ("", ".") => "line".to_owned(),
            ("", path) => path.to_owned(),
            (within, ".") => within.to_owned(),
            (within, path) => format!("{within}.{path}"),
        };
        format!("{at}: {}", error.into_inner())
    })
}

#[cfg(test)]
mod tests {
    use verify::Verdict;
    use verify::tasks::random::Random;

    use super::*;
    use crate::{Draft, Unusable};

    struct Echo;

    #[derive(serde::Serialize, Deserialize)]
    struct Task {
        says: Vec<String>,
    }

    impl Recipe for Echo {
        const NAME: &'static str = "echo";
        const ABOUT: &'static str = "Says it again.";
        type Task = Task;

        fn make(random: &mut Random, _: u32) -> Draft<Task> {
            let word = random.next().to_string();
            Draft { question: word.clone(), task: Task { says: vec![word.clone()] }, gold: word }
        }

        fn judge(task: &Task, answer: &str) -> Result<Verdict, Unusable> {
            match task.says.first() {
                None => Err(Unusable::new("says", "it is empty")),
                Some(word) if word == answer => Ok(Verdict::right(answer, "the same")),
                Some(_) => Ok(Verdict::wrong(answer, "another")),
            }
        }
    }

    fn replies(input: &[u8]) -> Vec<Value> {
        let mut output = Vec::new();
        check::<Echo>(input, &mut output).unwrap();
        let output = String::from_utf8(output).unwrap();
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn each_line_gets_its_verdict() {
        let lines = [
            json!({"id": 7, "question": "?", "answer": "a", "task": {"says": ["a"]}}),
            json!({"id": 8, "reasoning": "", "answer": "b", "task": {"says": ["a"]}}),
        ];
        let all = replies(format!("{}\n\n{}", lines[0], lines[1]).as_bytes());
        assert_eq!(all[0], json!({"id": 7, "score": 1.0, "extracted": "a", "why": "the same"}));
        assert_eq!((&all[1]["id"], &all[1]["score"]), (&json!(8), &json!(0.0)));
    }

    #[test]
    fn bad_lines_name_the_field_and_the_next_is_read() {
        let good = json!({"id": 1, "answer": "a", "task": {"says": ["a"]}}).to_string();
        for (bad, field) in [
            ("nonsense", "line: "),
            ("[1, 2]", "id: "),
            ("{}", "id: "),
            (r#"{"id": -1, "answer": "", "task": {}}"#, "id: "),
            (r#"{"id": 1, "task": {"says": ["a"]}}"#, "answer"),
            (r#"{"id": 1, "answer": 5, "task": {"says": ["a"]}}"#, "answer: "),
            (r#"{"id": 1, "answer": "a"}"#, "task"),
            (r#"{"id": 1, "answer": "a", "task": 5}"#, "task: "),
            (r#"{"id": 1, "answer": "a", "task": {}}"#, "says"),
            (r#"{"id": 1, "answer": "a", "task": {"says": ["a", 5]}}"#, "task.says[1]: "),
            (r#"{"id": 1, "answer": "a", "task": {"says": []}}"#, "task.says: "),
            ("{\"id\": 1, \"answer\": \"\u{0}\"}", "line: "),
        ] {
            let all = replies(format!("{bad}\n{good}\n").as_bytes());
            let error = all[0]["error"].as_str().unwrap();
            assert!(error.contains(field), "{bad}: {error}");
            assert_eq!(all[1]["score"], json!(1.0), "{bad}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(replies(format!("{deep}\n{good}\n").as_bytes()).len(), 2);
        assert_eq!(replies(b"\xff\xfe{\n").len(), 1);
        let long = "x".repeat(2 * MAX_LINE as usize + 5);
        let all = replies(format!("{long}\n{good}\n").as_bytes());
        assert!(all[0]["error"].as_str().unwrap().contains("longer"));
        assert_eq!((all.len(), &all[1]["score"]), (2, &json!(1.0)));
    }

    #[test]
    fn the_same_seed_gives_the_same_items() {
        let items = |seed| {
            let mut output = Vec::new();
            crate::data::<Echo>(seed, 7, &mut output).unwrap();
            String::from_utf8(output).unwrap()
        };
        assert_eq!(items(3), items(3));
        assert_ne!(items(3), items(4));
        let row: Value = serde_json::from_str(items(3).lines().nth(5).unwrap()).unwrap();
        assert_eq!((&row["id"], &row["difficulty"]), (&json!("echo-3-5"), &json!(1)));
    }
}
