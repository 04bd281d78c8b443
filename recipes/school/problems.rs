//! Word problems, from chance: a heap of things that grows and shrinks.

use recipes::Draft;
use verify::tasks::random::Random;

use crate::Lesson;

const PEOPLE: &[&str] = &["Anna", "Ben", "Chloe", "Dan", "Emma", "Femi", "Grace", "Hugo"];
const THINGS: &[&str] = &["pencils", "marbles", "stickers", "apples", "beads", "cards"];
const HOLDERS: &[&str] = &["boxes", "bags", "packets", "tins"];
/// More than a lesson has steps.
const MOST_STEPS: i64 = 12;
/// The largest heap.
const MOST: i64 = 2000;

/// A problem while it is written.
struct Story {
    heap: i64,
    sentences: Vec<String>,
    given: Vec<i64>,
    steps: Vec<(String, i64)>,
}

impl Story {
    /// A step from the heap to the next.
    fn step(&mut self, left: String, heap: i64) {
        self.steps.push((left, heap));
        self.heap = heap;
    }
}

pub fn make(random: &mut Random, difficulty: u32) -> Draft<Lesson> {
    loop {
        let story = story(random, difficulty);
        let (last, earlier) = match story.steps.split_last() {
            Some(((_, last), earlier)) => (*last, earlier),
            None => continue,
        };
        // The answer must be told apart from whatever else a lesson says, as the steps' numbers.
        let known = story.given.iter().chain(earlier.iter().map(|(_, heap)| heap));
        if last <= MOST_STEPS || last > MOST || known.clone().any(|&number| number == last) {
            continue;
        }
        let steps = story.steps.iter().enumerate();
        let mut gold: Vec<String> =
            steps.map(|(i, (left, right))| format!("Step {}: {left} = {right}", i + 1)).collect();
        gold.push(format!("Answer: {last}"));
        let given = story.given.iter().map(i64::to_string).collect();
        let task = Lesson { given, answer: last.to_string(), least_steps: story.steps.len() };
        return Draft { question: story.sentences.join(" "), task, gold: gold.join("\n") };
    }
}

/// A problem of `difficulty + 1` events.
fn story(random: &mut Random, difficulty: u32) -> Story {
    let who = *random.pick(PEOPLE);
    let things = *random.pick(THINGS);
    let (count, each) = (random.range(3, 12), random.range(4, 25));
    let holders = *random.pick(HOLDERS);
    let mut story = Story {
        heap: 0,
        sentences: vec![format!("{who} has {count} {holders} with {each} {things} in each.")],
        given: vec![count, each],
        steps: Vec::new(),
    };
    story.step(format!("{count} * {each}"), count * each);
    for _ in 0..difficulty {
        event(random, &mut story, things, difficulty);
    }
    story.sentences.push(format!("How many {things} does {who} have in the end?"));
    story
}

fn event(random: &mut Random, story: &mut Story, things: &str, difficulty: u32) {
    let heap = story.heap;
    let n = random.range(3, 60);
    let kind = random.below(if difficulty < 3 { 2 } else { 5 });
    let shares: Vec<i64> = (3..10).filter(|k| heap % k == 0 && heap / k > 3).collect();
    let percents: Vec<i64> =
        [10, 20, 25, 40, 60].into_iter().filter(|p| heap * p % 100 == 0 && heap > 9).collect();
    match kind {
        0 if n < heap => {
            story.sentences.push(format!("{n} {things} are given away."));
            story.given.push(n);
            story.step(format!("{heap} - {n}"), heap - n);
        }
        2 if heap < 200 => {
            let times = random.range(3, 5);
            story.sentences.push(format!("Then there are {times} times as many {things}."));
            story.given.push(times);
            story.step(format!("{heap} * {times}"), heap * times);
        }
        3 if !shares.is_empty() => {
            let k = *random.pick(&shares);
            story.sentences.push(format!(
                "The {things} are shared out equally among {k} children, and one share is kept."
            ));
            story.given.push(k);
            story.step(format!("{heap} / {k}"), heap / k);
        }
        4 if !percents.is_empty() => {
            let p = *random.pick(&percents);
            story.sentences.push(format!("Of all the {things}, {p}% are lost."));
            story.given.extend([p, 100]);
            let lost = heap * p / 100;
            story.step(format!("{heap} * {p} / 100"), lost);
            story.step(format!("{heap} - {lost}"), heap - lost);
        }
        _ => {
            story.sentences.push(format!("{n} more {things} are bought."));
            story.given.push(n);
            story.step(format!("{heap} + {n}"), heap + n);
        }
    }
}

#[cfg(test)]
mod tests {
    use recipes::{Recipe, item};

    use crate::School;

    #[test]
    fn its_own_lessons_are_right_and_damaged_ones_wrong() {
        for index in 0..300 {
            let (difficulty, draft) = item::<School>(61, index);
            let score = |lesson: &str| School::judge(&draft.task, lesson).unwrap().score;
            let gold = &draft.gold;
            assert_eq!(score(gold), 1.0, "{}\n{gold}", draft.question);
            assert!(draft.task.least_steps > difficulty as usize);
            let lines: Vec<&str> = gold.lines().collect();
            let (answer, steps) = lines.split_last().unwrap();
            assert_eq!(score(answer), 0.0);
            assert_eq!(score(&steps.join("\n")), 0.0);
            assert_eq!(score(&format!("It is {}.\n{gold}", draft.task.answer)), 0.0);
            assert_eq!(score(&format!("{gold}0")), 0.0);
            for at in 0..steps.len() {
                let mut damaged = lines.clone();
                damaged.remove(at);
                assert_eq!(score(&damaged.join("\n")), 0.0, "{damaged:?}");
                let mut damaged: Vec<String> = lines.iter().map(|&line| line.into()).collect();
                damaged[at].push('1');
                assert_eq!(score(&damaged.join("\n")), 0.0, "{damaged:?}");
            }
        }
    }

    #[test]
    fn numbers_given_stand_in_the_question() {
        for index in 0..200 {
            let (_, draft) = item::<School>(62, index);
            for number in draft.task.given.iter().filter(|number| *number != "100") {
                assert!(draft.question.contains(number.as_str()), "{number}: {}", draft.question);
            }
        }
    }
}
