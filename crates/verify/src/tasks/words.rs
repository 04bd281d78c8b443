//! Short stories with numbers in them.

use super::Draft;
use super::random::Random;

const NAMES: [&str; 24] = [
    "Ada", "Ben", "Chloe", "David", "Elif", "Farid", "Grace", "Hiro", "Ines", "Jonas", "Kofi",
    "Lena", "Mateo", "Nadia", "Omar", "Priya", "Quinn", "Rosa", "Samuel", "Tara", "Uma", "Viktor",
    "Wanjiru", "Yara",
];
const THINGS: [&str; 16] = [
    "apples",
    "pencils",
    "stamps",
    "marbles",
    "books",
    "stickers",
    "tickets",
    "shells",
    "candles",
    "cookies",
    "buttons",
    "cards",
    "eggs",
    "bricks",
    "postcards",
    "lemons",
];
const BOXES: [&str; 6] = ["boxes", "bags", "crates", "baskets", "drawers", "trays"];

/// A story that grows: each step says what happens to a number and does it.
pub(super) fn problem(random: &mut Random, difficulty: u32) -> Draft {
    match random.below(4) {
        0 => shopping(random, difficulty),
        1 => travel(random, difficulty),
        2 => ages(random, difficulty),
        _ => possessions(random, difficulty),
    }
}

fn possessions(random: &mut Random, difficulty: u32) -> Draft {
    let names = random.sample(&NAMES, 2);
    let (name, friend) = (names[0], names[1]);
    let things = *random.pick(&THINGS);
    let boxes = *random.pick(&BOXES);
    let d = i64::from(difficulty);
    let (count, each) = (random.range(2, 4 + d), random.range(3, 8 + 2 * d));
    let mut have = count * each;
    let mut story =
        vec![format!("{name} has {count} {boxes} with {each} {things} in each of them.")];
    for _ in 0..=difficulty {
        match random.below(5) {
            0 => {
                let n = random.range(2, 10 + 5 * d);
                have += n;
                story.push(format!("{friend} gives {name} {n} more {things}."));
            }
            1 if have > 10 => {
                let n = random.range(2, have / 2);
                have -= n;
                story.push(format!("{name} then loses {n} {things}."));
            }
            2 if have % 2 == 0 && have > 0 => {
                have /= 2;
                story.push(format!("{name} gives half of all {things} away."));
            }
            3 if have < 500 => {
                let n = random.range(2, 3);
                have *= n;
                let times = if n == 2 { "twice" } else { "three times" };
                story.push(format!("A week later {name} has {times} as many {things}."));
            }
            _ => {
                let (more, size) = (random.range(2, 5), random.range(2, 6 + d));
                have += more * size;
                story.push(format!("{name} buys {more} packs of {size} {things}."));
            }
        }
    }
    story.push(format!("How many {things} does {name} have now?"));
    Draft::number(story.join(" "), have)
}

fn shopping(random: &mut Random, difficulty: u32) -> Draft {
    let name = *random.pick(&NAMES);
    let kinds = 2 + difficulty as usize / 3;
    let mut total = 0;
    let bought: Vec<String> = random
        .sample(&THINGS, kinds)
        .into_iter()
        .map(|things| {
            let n = random.range(2, 4 + i64::from(difficulty));
            let price = random.range(1, 5 + 3 * i64::from(difficulty));
            total += n * price;
            format!("{n} {things} for {price} coins each")
        })
        .collect();
    let mut story = format!("{name} buys {}.", bought.join(", "));
    if difficulty >= 5 && total % 4 == 0 {
        total -= total / 4;
        story.push_str(" A voucher takes a quarter off the whole price.");
    } else if difficulty >= 3 {
        let off = random.range(1, total / 3);
        total -= off;
        story.push_str(&format!(" A voucher takes {off} coins off the whole price."));
    }
    let paid = total + random.range(1, 30);
    story
        .push_str(&format!(" {name} pays with {paid} coins. How many coins does {name} get back?"));
    Draft::number(story, paid - total)
}

fn travel(random: &mut Random, difficulty: u32) -> Draft {
    let name = *random.pick(&NAMES);
    let vehicle = *random.pick(&["train", "bus", "boat", "van", "tram"]);
    let mut distance = 0;
    let mut minutes = 0;
    let mut story = Vec::new();
    for leg in 0..2 + difficulty / 3 {
        let speed = 12 * random.range(1, 3 + i64::from(difficulty));
        let time = 5 * random.range(2, 6 + 2 * i64::from(difficulty));
        distance += speed * time;
        minutes += time;
        let word = if leg == 0 { "first" } else { "then" };
        story.push(format!("{word} {time} minutes at {speed} kilometres per hour"));
        if difficulty >= 4 && random.chance(50) {
            let stop = random.range(2, 20);
            minutes += stop;
            story.push(format!("then it stands still for {stop} minutes"));
        }
    }
    // Kilometres times sixty: speeds are multiples of 12 and times of 5, so the sum is whole.
    let kilometres = distance / 60;
    let start = format!("{name} takes a {vehicle}. It goes {}.", story.join(", "));
    if random.chance(50) {
        Draft::number(format!("{start} How many kilometres does it go in all?"), kilometres)
    } else {
        let asked = format!(
            "{start} It goes {kilometres} kilometres in all. How many minutes does that take, with \
             all stops?"
        );
        Draft::number(asked, minutes)
    }
}

fn ages(random: &mut Random, difficulty: u32) -> Draft {
    let people = random.sample(&NAMES, 3 + difficulty as usize / 3);
    let mut age = random.range(4, 12 + i64::from(difficulty));
    let mut ages = vec![age];
    let mut story = vec![format!("{} is {age} years old.", people[0])];
    for pair in people.windows(2) {
        let (before, now) = (pair[0], pair[1]);
        match random.below(3) {
            0 if age < 60 => {
                age *= 2;
                story.push(format!("{now} is twice as old as {before}."));
            }
            1 if age > 10 => {
                let less = random.range(1, age / 2);
                age -= less;
                story.push(format!("{now} is {less} years younger than {before}."));
            }
            _ => {
                let more = random.range(2, 9);
                age += more;
                story.push(format!("{now} is {more} years older than {before}."));
            }
        }
        ages.push(age);
    }
    let years = random.range(1, 5 + i64::from(difficulty));
    let sum: i64 = ages.iter().sum::<i64>() + years * ages.len() as i64;
    let list = people.join(", ");
    story.push(format!("In {years} years, what will be the sum of the ages of {list}?"));
    Draft::number(story.join(" "), sum)
}

#[cfg(test)]
mod tests {
    use crate::tasks::{Kind, generate};

    fn numbers(text: &str) -> Vec<i64> {
        let digits = |c: char| !c.is_ascii_digit();
        text.split(digits).filter_map(|number| number.parse().ok()).collect()
    }

    /// The story, told again sentence by sentence by other code than made it.
    fn retell(story: &str) -> i64 {
        let sentences: Vec<&str> = story.split_inclusive(['.', '?']).map(str::trim).collect();
        let last = numbers(sentences[sentences.len() - 1]);
        let first = numbers(sentences[0]);
        if sentences[0].contains("years old") {
            let mut ages = first;
            for sentence in &sentences[1..sentences.len() - 1] {
                let age = ages[ages.len() - 1];
                let by = numbers(sentence).first().copied().unwrap_or(age);
                ages.push(if sentence.contains("younger") { age - by } else { age + by });
            }
            return ages.iter().map(|age| age + last[0]).sum();
        }
        if sentences[0].contains("coins each") {
            let mut total: i64 = first.chunks(2).map(|pair| pair[0] * pair[1]).sum();
            match sentences[1] {
                off if off.contains("a quarter") => total = total * 3 / 4,
                off if off.contains("voucher") => total -= numbers(off)[0],
                _ => {}
            }
            let paid = sentences.iter().find(|s| s.contains("pays with")).unwrap();
            return numbers(paid)[0] - total;
        }
        if story.contains("kilometres per hour") {
            let (mut far, mut long) = (0.0, 0);
            for leg in sentences[1].split(", ") {
                let of_leg = numbers(leg);
                long += of_leg[0];
                far += of_leg.get(1).map_or(0.0, |speed| (speed * of_leg[0]) as f64 / 60.0);
            }
            return if story.contains("How many minutes") { long } else { far as i64 };
        }
        let mut have = first[0] * first[1];
        for sentence in &sentences[1..sentences.len() - 1] {
            let n = numbers(sentence);
            have = match sentence {
                s if s.contains("packs of") => have + n[0] * n[1],
                s if s.contains("half of all") => have / 2,
                s if s.contains("twice as many") => 2 * have,
                s if s.contains("three times") => 3 * have,
                s if s.contains("loses") => have - n[0],
                s if s.contains("more") => have + n[0],
                s => panic!("{s}"),
            };
        }
        have
    }

    #[test]
    fn stories_end_as_they_say() {
        for seed in 0..2000 {
            let task = generate(Kind::WordProblems, seed, seed as u32 % 10 + 1);
            assert_eq!(retell(&task.question).to_string(), task.gold, "{}", task.question);
        }
    }
}
