//! Logs and schedules, from chance.

use recipes::Draft;
use recipes::clock::{Clock, DAY};
use serde_json::json;
use verify::tasks::random::Random;

use crate::Task;

/// The classes, as the benchmark's prompt states them.
const CLASSES: &[&str] = &["JAM", "SENSOR", "OVERHEAT", "POWER", "LUBRICATION"];
const JAMS: &[&str] = &["part stuck in infeed", "outfeed blocked", "carton wedged at the gate"];
const SENSORS: &[&str] =
    &["signal lost from light barrier", "encoder does not answer", "no signal from scale"];
const HARMLESS: &[&str] =
    &["operator logged in", "counter reset", "door closed", "batch label printed"];

/// A line of a log, as yet without its machine's name.
fn cause(random: &mut Random, class: &str) -> String {
    match class {
        "JAM" => (*random.pick(JAMS)).to_owned(),
        "SENSOR" => (*random.pick(SENSORS)).to_owned(),
        "OVERHEAT" => format!("temperature {} C", random.range(91, 120)),
        "POWER" => format!("voltage {} V", random.range(290, 359)),
        _ => format!("oil pressure {} bar", tenths(random.range(5, 19))),
    }
}

/// A line that means nothing.
fn harmless(random: &mut Random) -> String {
    match random.below(4) {
        0 => format!("temperature {} C", random.range(55, 90)),
        1 => format!("voltage {} V", random.range(360, 410)),
        2 => format!("oil pressure {} bar", tenths(random.range(20, 45))),
        _ => (*random.pick(HARMLESS)).to_owned(),
    }
}

fn tenths(n: i64) -> String {
    format!("{}.{}", n / 10, n % 10)
}

pub fn make(random: &mut Random, difficulty: u32) -> Draft<Task> {
    let machine = random.range(1, 4) as u32;
    let class = *random.pick(CLASSES);
    let stops = if difficulty >= 4 { 2 } else { 1 };

    // The hard ones go past midnight, the easy ones never do.
    let mut now = match difficulty {
        5 => random.range(i64::from(DAY) - 150, i64::from(DAY) - 60),
        _ => random.range(6 * 60, 17 * 60),
    };
    let mut lines: Vec<(i64, u32, String)> = Vec::new();
    let mut downtime = 0;
    for _ in 0..stops {
        for _ in 0..difficulty {
            now += random.range(1, 9);
            lines.push((now, other(random, machine, difficulty), harmless(random)));
        }
        now += random.range(1, 9);
        lines.push((now, machine, cause(random, class)));
        if difficulty >= 3 {
            // Another machine is in trouble, and does not stop.
            now += random.range(1, 4);
            let trouble = *random.pick(CLASSES);
            let elsewhere = machine % 4 + 1;
            lines.push((now, elsewhere, cause(random, trouble)));
        }
        now += random.range(1, 5);
        lines.push((now, machine, "STOP".to_owned()));
        let minutes = random.range(8, 55);
        if difficulty >= 2 {
            let at = now + random.range(1, minutes - 1);
            lines.push((at, other(random, machine, 5), harmless(random)));
        }
        now += minutes;
        downtime += minutes;
        lines.push((now, machine, "RESTART".to_owned()));
    }

    let setup = random.range(2, 9) * 5;
    let left = random.range(10, 95);
    let (schedule, start) = match difficulty {
        1 => (format!("The next job starts {setup} minutes after the restart."), now + setup),
        2 | 3 => (
            format!(
                "The job that was stopped has {left} minutes left and goes on at the restart. \
                 Changing over takes {setup} minutes; then the next job starts."
            ),
            now + left + setup,
        ),
        _ => (
            format!(
                "The job that was stopped has {left} minutes left at the last restart and goes on \
                 then. Changing over takes {setup} minutes; the next job starts at the first full \
                 quarter of an hour (:00, :15, :30, :45) at which that is done."
            ),
            (now + left + setup + 14) / 15 * 15,
        ),
    };
    let log: Vec<String> = lines
        .iter()
        .map(|(at, machine, text)| format!("{} M{machine} {text}", Clock::new(*at as u32)))
        .collect();
    let machine = format!("M{machine}");
    let next_start = Clock::new(start as u32).to_string();
    let right = json!({
        "machine": machine, "fault": class, "downtime_minutes": downtime, "next_start": next_start,
    });
    let schema = json!({
        "type": "object",
        "required": ["machine", "fault", "downtime_minutes", "next_start"],
        "additionalProperties": false,
        "properties": {
            "machine": {"const": machine},
            "fault": {"const": class},
            "downtime_minutes": {"const": downtime},
            "next_start": {"const": next_start},
        },
    });
    let question = format!("Log:\n{}\n\nSchedule: {schedule}", log.join("\n"));
    Draft { question, task: Task { schema }, gold: right.to_string() }
}

/// A machine for a harmless line: where it is easy, the one that stops.
fn other(random: &mut Random, machine: u32, difficulty: u32) -> u32 {
    if difficulty < 2 { machine } else { random.range(1, 4) as u32 }
}

#[cfg(test)]
mod tests {
    use recipes::clock::{Clock, DAY};
    use recipes::{Recipe, item};
    use serde_json::{Value, json};

    use crate::Factory;

    /// The answer as it is worked out from the question's text alone.
    fn read(question: &str) -> Value {
        let (log, schedule) = question.split_once("\n\nSchedule: ").unwrap();
        let (mut day, mut last) = (0, 0);
        let (mut cause, mut stopped, mut down, mut restart) = (String::new(), 0, 0, 0);
        let machine =
            log.lines().find_map(|line| line.strip_suffix(" STOP")).unwrap()[6..].to_owned();
        for line in log.lines().skip(1) {
            let (time, rest) = line.split_once(' ').unwrap();
            let (of, text) = rest.split_once(' ').unwrap();
            let minutes = time.parse::<Clock>().unwrap().minutes();
            if minutes < last {
                day += DAY;
            }
            last = minutes;
            if of != machine {
                continue;
            }
            let number = || text.split(' ').find_map(|word| word.parse::<f64>().ok()).unwrap();
            match text {
                "STOP" => stopped = day + minutes,
                "RESTART" => {
                    restart = day + minutes;
                    down += restart - stopped;
                }
                _ if text.starts_with("temperature") && number() > 90.0 => {
                    cause = "OVERHEAT".into()
                }
                _ if text.starts_with("voltage") && number() < 360.0 => cause = "POWER".into(),
                _ if text.starts_with("oil") && number() < 2.0 => cause = "LUBRICATION".into(),
                _ if text.contains("signal") || text.contains("encoder") => cause = "SENSOR".into(),
                _ if ["stuck", "blocked", "wedged"].iter().any(|w| text.contains(w)) => {
                    cause = "JAM".into();
                }
                _ => {}
            }
        }
        let numbers: Vec<u32> = schedule.split(' ').filter_map(|word| word.parse().ok()).collect();
        let ready = restart + numbers.iter().sum::<u32>();
        let start = if schedule.contains("quarter") { ready.div_ceil(15) * 15 } else { ready };
        json!({
            "machine": machine, "fault": cause, "downtime_minutes": down,
            "next_start": Clock::new(start).to_string(),
        })
    }

    #[test]
    fn the_text_leads_to_the_answer() {
        for index in 0..500 {
            let (_, draft) = item::<Factory>(41, index);
            let right = read(&draft.question);
            assert_eq!(right.to_string(), draft.gold, "{}", draft.question);
            let verdict = Factory::judge(&draft.task, &draft.gold).unwrap();
            assert!(verdict.is_right(), "{}", verdict.why);
        }
    }

    #[test]
    fn any_other_value_is_wrong() {
        for index in 0..30 {
            let (_, draft) = item::<Factory>(42, index);
            let right: Value = serde_json::from_str(&draft.gold).unwrap();
            let score = |v: &Value| Factory::judge(&draft.task, &v.to_string()).unwrap().score;
            for (field, value) in [
                ("machine", json!("M9")),
                ("machine", json!(1)),
                ("fault", json!("NONE")),
                ("fault", json!(right["fault"].as_str().unwrap().to_lowercase())),
                ("downtime_minutes", json!(right["downtime_minutes"].as_i64().unwrap() + 1)),
                ("downtime_minutes", json!(right["downtime_minutes"].to_string())),
                ("next_start", json!("25:00")),
                ("next_start", json!(null)),
                ("more", json!(1)),
            ] {
                let mut other = right.clone();
                other[field] = value;
                assert_eq!(score(&other), 0.0, "{other}");
            }
            for field in ["machine", "fault", "downtime_minutes", "next_start"] {
                let mut other = right.clone();
                other.as_object_mut().unwrap().remove(field);
                assert_eq!(score(&other), 0.0, "{other}");
            }
            for answer in ["", "{}", "M1 had a jam.", "[]"] {
                assert_eq!(Factory::judge(&draft.task, answer).unwrap().score, 0.0);
            }
        }
    }

    #[test]
    fn a_schema_that_is_none_names_its_field() {
        let task = crate::Task { schema: json!({"type": "nonsense"}) };
        assert_eq!(Factory::judge(&task, "{}").unwrap_err().field, "schema");
    }
}
