//! Reads a lesson line by line.

use recipes::{Unusable, answer::shown};
use verify::Verdict;
use verify::math::equivalent;

use crate::Lesson;

/// What the last line begins with.
const MARK: &str = "answer:";
/// Longer lessons are not read.
const MAX_LESSON: usize = 20_000;
/// The longest side of an equation.
const MAX_SIDE: usize = 120;
/// The most steps of a lesson.
const MAX_STEPS: usize = 50;
/// The most numbers a lesson may be given.
const MAX_GIVEN: usize = 100;

pub fn judge(task: &Lesson, text: &str) -> Result<Verdict, Unusable> {
    let (given, answer) = usable(task)?;
    if text.len() > MAX_LESSON {
        return Ok(Verdict::missing(format!("it is longer than {MAX_LESSON} bytes")));
    }
    let mut lines: Vec<&str> = text
        .lines()
        .map(bare)
        .filter(|line| numbers(line).next().is_some() || marked(line).is_some())
        .collect();
    // What follows the answer would count, even without a number in it.
    let ends = text.lines().map(bare).rfind(|line| !line.is_empty()).and_then(marked);
    let Some(said) = ends else {
        return Ok(Verdict::missing("the last line does not begin with Answer:"));
    };
    lines.pop();
    let mut lesson = Steps { known: given, answer, count: 0, reached: false };
    for line in lines {
        let outcome = match equation(line) {
            Some((left, right)) => lesson.step(left, right),
            None => lesson.prose(line),
        };
        if let Err(why) = outcome {
            return Ok(Verdict::wrong(shown(said), format!("{why}, in {:?}", shown(line))));
        }
    }
    let least = task.least_steps;
    let wrong = if !lesson.reached {
        "no step leads to the answer".to_owned()
    } else if lesson.count < least {
        format!("{} steps; it takes at least {least}", lesson.count)
    } else if !same(&task.answer, bare(said)) {
        format!("the answer is {}", task.answer)
    } else {
        return Ok(Verdict::right(shown(said), format!("{} true steps lead there", lesson.count)));
    };
    Ok(Verdict::wrong(shown(said), wrong))
}

/// The numbers of a lesson, each in one spelling.
fn usable(task: &Lesson) -> Result<(Vec<String>, String), Unusable> {
    let read = |field: String, text: &str| match whole_number(text) {
        Some(number) => Ok(number),
        None => Err(Unusable::new(field, format!("{:?} is no plain number", shown(text)))),
    };
    if task.given.len() > MAX_GIVEN {
        return Err(Unusable::new("given", format!("there are more than {MAX_GIVEN}")));
    }
    let given = task.given.iter().enumerate();
    let given = given.map(|(i, text)| read(format!("given[{i}]"), text));
    let given = given.collect::<Result<Vec<_>, _>>()?;
    let answer = read("answer".to_owned(), &task.answer)?;
    if given.contains(&answer) {
        return Err(Unusable::new("answer", "it is one of the given numbers"));
    }
    Ok((given, answer))
}

/// How far a lesson has got.
struct Steps {
    /// What may stand on the left: what is given, and what steps have led to.
    known: Vec<String>,
    answer: String,
    count: usize,
    reached: bool,
}

impl Steps {
    fn step(&mut self, left: &str, right: &str) -> Result<(), String> {
        self.count += 1;
        if self.count > MAX_STEPS {
            return Err(format!("there are more than {MAX_STEPS} steps"));
        }
        let left = plain(left).ok_or("this is no plain equation")?;
        if !left.trim_start_matches(['-', ' ']).contains(['+', '-', '*', '/']) {
            return Err("nothing is worked out".to_owned());
        }
        let right = whole_number(right.trim()).ok_or("the right side must be one number")?;
        if let Some(unknown) = numbers(&left).find(|number| !self.known.contains(number)) {
            return Err(match unknown == self.answer {
                true => "it uses the answer before it is found".to_owned(),
                false => format!("{unknown} is neither given nor found before"),
            });
        }
        if !same(&right, &left) {
            return Err("the equation is not true".to_owned());
        }
        self.reached |= right == self.answer;
        self.known.push(right);
        Ok(())
    }

    fn prose(&self, line: &str) -> Result<(), String> {
        let tells = !self.reached && numbers(line).any(|number| number == self.answer);
        if tells { Err("it tells the answer before it is found".to_owned()) } else { Ok(()) }
    }
}

/// The two sides of a step; what stands before the last colon is not part of it.
fn equation(line: &str) -> Option<(&str, &str)> {
    line.contains('=').then(|| {
        let equation = line.rsplit_once(':').map_or(line, |(_, equation)| equation);
        equation.split_once('=').unwrap_or((equation, ""))
    })
}

/// Whether two sides are equal. What takes too long isn't.
fn same(right: &str, left: &str) -> bool {
    equivalent(right, left).unwrap_or(false)
}

/// Arithmetic and nothing else, in one spelling.
fn plain(side: &str) -> Option<String> {
    let side: String = side
        .trim()
        .chars()
        .map(|c| match c {
            '×' | '·' => '*',
            '÷' => '/',
            '−' | '–' => '-',
            c => c,
        })
        .collect();
    let fits = |c: char| c.is_ascii_digit() || " .+-*/()".contains(c);
    (!side.is_empty() && side.len() <= MAX_SIDE && side.chars().all(fits)).then_some(side)
}

/// The numbers in a text, each in one spelling.
fn numbers(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_ascii_digit() && c != '.')
        .filter_map(|word| whole_number(word.trim_matches('.')))
}

/// A decimal number without needless zeros; none if it is no number.
fn whole_number(text: &str) -> Option<String> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if text.len() > MAX_SIDE || whole.is_empty() || !digits(whole) || !digits(rest) {
        return None;
    }
    let (whole, rest) = (whole.trim_start_matches('0'), rest.trim_end_matches('0'));
    let whole = if whole.is_empty() { "0" } else { whole };
    Some(if rest.is_empty() { whole.to_owned() } else { format!("{whole}.{rest}") })
}

/// Without what only concerns the looks.
fn bare(line: &str) -> &str {
    let around = |c: char| c.is_whitespace() || matches!(c, '*' | '_' | '`' | '#');
    line.trim_matches(around).trim_end_matches('.').trim_end_matches(around)
}

/// What follows `Answer:`.
fn marked(line: &str) -> Option<&str> {
    let head = line.get(..MARK.len()).filter(|head| head.eq_ignore_ascii_case(MARK))?;
    Some(line[head.len()..].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(lesson: &str) -> f64 {
        verdict(lesson).score
    }

    /// 3 boxes of 12, less 7.
    fn verdict(lesson: &str) -> Verdict {
        let given = ["3", "12", "7"].map(str::to_owned).to_vec();
        let task = Lesson { given, answer: "29".into(), least_steps: 2 };
        judge(&task, lesson).unwrap()
    }

    #[test]
    fn lessons_that_lead_there_are_right() {
        for lesson in [
            "Step 1: 3 * 12 = 36\nStep 2: 36 - 7 = 29\nAnswer: 29",
            "How many are in 3 boxes?\nStep 1: all pencils: 12 × 3 = 36.\n\nNow 7 go.\n\
             **Step 2: 36 − 7 = 29**\nAnswer: 29 pencils.",
            "12 + 12 + 12 = 36\n36.0 - 7 = 29\nThat is 29.\nAnswer: 29",
            "3 * 12 = 36\n(36 - 7) = 29\n29 + 7 = 36\n**Answer: 29**\n\n",
        ] {
            let verdict = verdict(lesson);
            assert!(verdict.is_right(), "{lesson}\n{}", verdict.why);
        }
    }

    #[test]
    fn others_are_wrong() {
        for (lesson, why) in [
            ("", "last line"),
            ("29", "last line"),
            ("Answer: 29", "no step"),
            ("The answer is 29.\n3 * 12 = 36\n36 - 7 = 29\nAnswer: 29", "tells the answer"),
            ("3 * 12 = 36\nSo 29 are left:\n36 - 7 = 29\nAnswer: 29", "tells the answer"),
            ("Answer: 29\n3 * 12 = 36\n36 - 7 = 29\nAnswer: 29", "tells the answer"),
            ("3 * 12 = 36\n29 + 7 = 36\nAnswer: 29", "uses the answer"),
            ("3 * 12 = 35\n36 - 7 = 29\nAnswer: 29", "not true"),
            ("3 * 12 = 36\n36 - 7 = 28\nAnswer: 29", "not true"),
            ("3 * 12 = 36\n36 - 7 = 29\nAnswer: 28", "the answer is"),
            ("3 * 12 = 36\n36 - 7 = 29\nAnswer:", "the answer is"),
            ("3 * 12 = 36\n36 - 7 = 29\nAnswer: 29 or 28", "the answer is"),
            ("3 * 12 = 36\n36 - 7 = 29\nAnswer: 29\nWell done!", "last line"),
            ("3 * 12 = 36\n36 - 7 = 29", "last line"),
            ("3 * 12 - 7 = 29\nAnswer: 29", "at least 2"),
            ("3 * 12 = 36\n3 * 12 = 36\nAnswer: 29", "no step"),
            ("20 + 9 = 29\n3 * 12 = 36\nAnswer: 29", "neither given nor found"),
            ("36 = 36\n36 - 7 = 29\nAnswer: 29", "nothing is worked out"),
            ("3 * 12 = 36\n36 - 7 = 36 - 7\nAnswer: 29", "one number"),
            ("3 * 12 = 36 - 7 = 29\nAnswer: 29", "one number"),
            ("3 boxes * 12 = 36\n36 - 7 = 29\nAnswer: 29", "no plain equation"),
            ("3 * x = 36\n36 - 7 = 29\nAnswer: 29", "no plain equation"),
            ("12 / (3 - 3) = 36\n36 - 7 = 29\nAnswer: 29", "not true"),
            ("3 * 12 =\n36 - 7 = 29\nAnswer: 29", "one number"),
        ] {
            let verdict = verdict(lesson);
            assert_eq!(verdict.score, 0.0, "{lesson}");
            assert!(verdict.why.contains(why), "{lesson}\n{}", verdict.why);
        }
        assert_eq!(score(&"3 * 12 = 36\n".repeat(60)), 0.0);
        assert_eq!(score(&format!("{}\nAnswer: 29", "3 * 12 = 36\n".repeat(60))), 0.0);
        assert_eq!(score(&format!("{}3 = 36\nAnswer: 29", "3 * ".repeat(200))), 0.0);
        assert_eq!(score(&format!("{}3{} = 3\nAnswer: 29", "(".repeat(50), ")".repeat(50))), 0.0);
    }

    #[test]
    fn tasks_that_cannot_be_used_name_the_field() {
        let field = |given: &[&str], answer: &str| {
            let given = given.iter().map(|&number| number.to_owned()).collect();
            let task = Lesson { given, answer: answer.into(), least_steps: 1 };
            judge(&task, "Answer: 1").unwrap_err().field
        };
        assert_eq!(field(&["1", "x"], "2"), "given[1]");
        assert_eq!(field(&["1"], ""), "answer");
        assert_eq!(field(&["1", "2.50"], "2.5"), "answer");
        assert_eq!(field(&["1"; 101], "2"), "given");
    }

    proptest::proptest! {
        #[test]
        fn never_panics(lesson in r"(Answer:|Step 1:|[0-9.]| [-+*/=()×÷] |é|\n|29|\*\*){0,40}") {
            verdict(&lesson);
        }
    }
}
