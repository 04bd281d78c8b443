//! `preference-pairs`: a shop's customers ask what something comes to, and of two answers one is the
//! better: right, short and polite, where the other lacks one of the three.
//!
//! The phrases of `--held-out` pairs are others than those of the rest, and so are the goods.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use serde_json::json;
use verify::tasks::random::{Random, hash};

#[derive(Parser)]
#[command(about, max_term_width = 100)]
/// Pairs of a better and a worse answer, as JSON lines: id, prompt, chosen, rejected, flaw, total.
struct Arguments {
    /// Another seed gives other pairs; the same seed the same.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many.
    #[arg(long, default_value_t = 800)]
    count: u64,
    /// Pairs for measuring, in words that the others don't have.
    #[arg(long)]
    held_out: bool,
}

/// What is said, in as many ways as there are.
struct Phrases {
    goods: &'static [&'static str],
    asks: &'static [&'static str],
    answers: &'static [&'static str],
    rude: &'static [&'static str],
    rambling: &'static [&'static str],
}

const SEEN: Phrases = Phrases {
    goods: &[
        "mugs",
        "lamps",
        "chairs",
        "notebooks",
        "vases",
        "blankets",
        "clocks",
        "baskets",
        "towels",
        "pens",
        "bowls",
        "mirrors",
        "tickets",
        "brushes",
        "carpets",
        "jars",
    ],
    asks: &[
        "What do {n} {goods} at {p} euros each come to?",
        "I'd like {n} {goods}. One is {p} euros; how much is that in all?",
        "{n} {goods}, {p} euros apiece: what do I pay?",
        "Could you tell me the total for {n} {goods} at {p} euros?",
        "If one of the {goods} costs {p} euros, what would I owe you for {n}?",
        "Hello, what's the bill for {n} {goods}? They are {p} euros a piece.",
        "We're taking {n} {goods} at {p} euros. How much money is that?",
        "{p} euros for one, and I want {n} {goods}. What does it make?",
        "My sister wants {n} {goods}, priced {p} euros each. What should she bring along?",
        "Total for {n} {goods} ({p} euros each)?",
    ],
    answers: &[
        "With pleasure: {n} {goods} at {p} euros each come to {t} euros.",
        "Gladly! That is {n} times {p}, so {t} euros in all.",
        "Thank you for asking. The total for your {n} {goods} is {t} euros.",
        "Of course: {t} euros for the {n} {goods}.",
        "Good choice! You pay {t} euros.",
        "That comes to {t} euros. Anything else I can do for you?",
        "Let me see: {n} x {p} = {t}. So {t} euros, please.",
        "You would pay {t} euros for all of them, and thank you!",
        "Sure! At {p} euros apiece that makes {t} euros.",
        "All {n} of them are {t} euros. Enjoy your {goods}!",
        "I'm glad you ask. It's {t} euros together.",
        "{t} euros in all, dear customer.",
    ],
    rude: &[
        "{t} euros. You could have worked that out yourself.",
        "Do I look like a calculator? {t} euros, and stop asking.",
        "It's {t} euros, as anybody who went to school can see.",
        "{t}. Next time don't waste my time with {goods}.",
        "What a stupid question. {t} euros.",
        "Buy them or don't, I don't care. {t} euros.",
        "{t} euros, and hurry up, I haven't got all day.",
        "Seriously? Even a child knows that this is {t} euros.",
        "{n} times {p} is {t}. Is that so hard?",
        "As if you could afford {goods}. {t} euros.",
        "Not you again. {t} euros, now pay and go away.",
        "{t} euros. Don't make me say it twice.",
    ],
    rambling: &[
        "That is an interesting question, and there are many things one could say about {goods}. People \
         have bought them for centuries, some for their looks and some for their use. Taking all of it \
         together, one comes to {t} euros, though much more could be said.",
        "Before I answer, let me explain what a total is. A total is a sum, and a sum is what one gets \
         when several amounts are put together. The price is {p} euros. That price is the price of one of \
         them, not of all. All of them together, then, are {t} euros, the total that I explained above.",
        "Well, {goods}, yes, we do have {goods}, and we have had them since the shop was opened, back when \
         the street was still a quiet one. I remember the first that we sold. The owner was proud. So, \
         for {n} of them, at {p} euros, {t} euros.",
        "To begin with, it should be noted that prices depend on supply and on demand. It should also be \
         noted that {goods} are sold in many places. In the light of all this, and after weighing every \
         side of the matter, the amount may be said to be {t} euros.",
        "{t} euros. Let me tell you how I got there. I took {p}, and then I took {p} again, and I went on \
         like that, which takes a while, and at the end I looked at it once more, and then once more, to be \
         on the safe side. It was {t} euros each time. So it is {t} euros, I think.",
        "You know, only yesterday somebody asked me the same, or nearly the same, for those weren't \
         {goods} but something else, I forget what, and the weather was worse too. Anyway, where was I? \
         Right, the {goods}. That would be {t} euros, if I remember it well.",
    ],
};

const HELD_OUT: Phrases = Phrases {
    goods: &["plates", "candles", "umbrellas", "cushions", "kettles", "rugs"],
    asks: &[
        "How much are {n} {goods} if one costs {p} euros?",
        "I need {n} {goods} for a party, {p} euros each. The price for all, please?",
        "Please add up {n} {goods} at {p} euros.",
    ],
    answers: &[
        "Happy to help! {n} {goods} cost {t} euros together.",
        "Certainly. At {p} euros each, {n} {goods} make {t} euros.",
        "It would be {t} euros. Thanks for coming to us!",
    ],
    rude: &[
        "Can't you multiply? {t} euros. Now leave me alone.",
        "{t} euros, obviously. What a silly thing to ask.",
        "Ugh, customers. {t} euros for your {goods}, take it or go.",
    ],
    rambling: &[
        "There are a lot of ways to look at {goods}. One may look at their colour, at their weight, or at \
         where they were made. One may ask who will use them, and when. In the end one arrives at the \
         price as well: it is {t} euros for {n} of them. But of course a price is only one side of a thing, \
         and I would be glad to go on about the others for a while.",
        "First of all, hello. Second, let us look at the numbers one after the other, slowly. {n} is the \
         first of them. {p} is the second. When I was taught numbers, we began with small ones, and went \
         on to larger ones later. Multiplying came last. And so we get to {t} euros, by way of {n} and {p}, \
         in that order or the other, since the order makes no difference.",
    ],
};

const FLAWS: [&str; 3] = ["wrong", "rude", "rambling"];

/// What is hard to tell is learned from more often: tones are plain after a few examples, sums aren't.
const LEARNED: [&str; 6] = ["wrong", "rude", "wrong", "rambling", "wrong", "wrong"];

fn pair(seed: u64, index: u64, held_out: bool) -> serde_json::Value {
    let phrases = if held_out { HELD_OUT } else { SEEN };
    let mut random = Random::new(&[hash("preference"), seed, u64::from(held_out), index]);
    let goods = *random.pick::<&str>(phrases.goods);
    let (n, price) = (random.range(2, 9), random.range(2, 12));
    let total = n * price;
    let flaws: &[&str] = if held_out { &FLAWS } else { &LEARNED };
    let flaw = flaws[index as usize % flaws.len()];
    let fill = |phrase: &str, total: i64| {
        phrase
            .replace("{n}", &n.to_string())
            .replace("{p}", &price.to_string())
            .replace("{t}", &total.to_string())
            .replace("{goods}", goods)
    };
    let prompt = fill(random.pick::<&str>(phrases.asks), total);
    let answer = *random.pick::<&str>(phrases.answers);
    let chosen = fill(answer, total);
    let rejected = match flaw {
        "wrong" => {
            let off = *random.pick(&[-price, -2, -1, 1, 2, price, 10]);
            fill(answer, if total + off > 0 { total + off } else { total + 10 })
        }
        "rude" => fill(random.pick::<&str>(phrases.rude), total),
        _ => fill(random.pick::<&str>(phrases.rambling), total),
    };
    let id = format!("{}-{seed}-{index}", if held_out { "held-out" } else { "pair" });
    json!({
        "id": id, "prompt": prompt, "chosen": chosen, "rejected": rejected, "flaw": flaw,
        "total": total.to_string(),
    })
}

fn main() -> ExitCode {
    let Arguments { seed, count, held_out } = Arguments::parse();
    recipes::write_lines("preference-pairs", (0..count).map(|i| pair(seed, i, held_out)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worse_answer_has_its_flaw_and_no_other() {
        for (held_out, index) in
            [false, true].into_iter().flat_map(|h| (0..300).map(move |i| (h, i)))
        {
            let pair = pair(1, index, held_out);
            let text = |field: &str| pair[field].as_str().unwrap().to_owned();
            let (chosen, rejected, total) = (text("chosen"), text("rejected"), text("total"));
            let says = |answer: &str| {
                answer.split(|c: char| !c.is_alphanumeric()).any(|word| word == total)
            };
            assert!(says(&chosen) && chosen.len() < 80, "{chosen}");
            assert_ne!(chosen, rejected);
            let all = format!("{} {chosen} {rejected}", text("prompt"));
            assert!(!all.contains(['{', '}']), "{all}");
            for letter in ["N", "P", "T", "GOODS"] {
                assert!(all.split(|c: char| !c.is_alphanumeric()).all(|w| w != letter), "{all}");
            }
            match text("flaw").as_str() {
                "wrong" => assert!(rejected.len() < 80, "{rejected}"),
                "rude" => assert!(says(&rejected) && rejected.len() < 80, "{rejected}"),
                _ => assert!(says(&rejected) && rejected.len() > 200, "{rejected}"),
            }
        }
        assert_eq!(pair(3, 7, false), pair(3, 7, false));
        assert_ne!(pair(3, 7, false)["prompt"], pair(4, 7, false)["prompt"]);
    }
}
