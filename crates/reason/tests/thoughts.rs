//! One thought at a time: budgets, waits, loops, probes, other languages, and being called off.

mod played;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use played::{Played, problem};
use reason::strategy::Single;
use reason::thought::{End, Manner, Measure, Settle, Stopping, Thought, Words};
use reason::{Event, Mind, Receipt, reason};
use verify::tasks::random::Random;

fn run(model: &Played, question: &str, manner: Manner) -> Receipt {
    let never = || false;
    let mind = Mind::new(model, problem(question), manner, &never, &|_| {});
    reason(&Single {}, &mind).unwrap()
}

fn only(receipt: Receipt) -> Thought {
    receipt.thoughts.into_iter().next().unwrap()
}

fn steps(thought: &Thought) -> Vec<Measure> {
    thought.steps.iter().map(|step| step.measure).collect()
}

/// Text without an end, that doesn't repeat itself.
fn endless(seed: u64, letters: usize) -> String {
    let mut random = Random::new(&[seed]);
    (0..letters / 6)
        .map(|_| {
            let word: String = (0..random.range(2, 8))
                .map(|_| char::from(b'a' + random.below(26) as u8))
                .collect();
            word + if random.chance(8) { ".\n\n" } else { " " }
        })
        .collect()
}

/// What is left of a text behind `begun`; something short if the text was left.
fn rest(text: &str, begun: &str) -> String {
    text.strip_prefix(begun).unwrap_or(" and so on.").to_owned()
}

#[test]
fn a_budget_is_never_exceeded_and_an_answer_always_follows() {
    let mut random = Random::new(&[1]);
    for case in 0..1000u64 {
        let thinks = random.chance(50);
        let length = random.below(600) as usize;
        let answers = random.chance(70);
        let model = Played::new(move |begun, _| {
            if begun.ends_with('{') {
                return "42} is what I found".to_owned();
            }
            if begun.contains("</think>") {
                return "So it is \\boxed{42}.".to_owned();
            }
            let text = endless(case, length);
            let text = match (answers, thinks) {
                (true, true) => text + "</think>\n\nIt is \\boxed{42}.",
                (true, false) => text + "\n\nIt is \\boxed{42}.",
                _ => text,
            };
            rest(&text, begun)
        });
        let model = Played { thinks, ..model };
        let budget = random.below(400) as usize;
        let manner = Manner {
            max_thinking: Some(budget),
            min_thinking: random.below(300) as usize,
            max_answer: 64,
            stopping: Stopping {
                settle: random.chance(30).then(Settle::default),
                ..Stopping::default()
            },
            confidence: random.chance(30),
            ..Manner::default()
        };
        let receipt = run(&model, "What is six times seven?", manner);
        let thought = &receipt.thoughts[0];
        assert!(thought.tokens.thinking <= budget, "case {case}: {budget} {:?}", thought.tokens);
        // What it says without being made to counts against the budget too.
        let most = budget + 64 + Words::default().lead.len() + 20;
        let all = thought.tokens.thinking + thought.tokens.answer;
        assert!(all <= most, "case {case}: {all} of {most}, {:?}", thought.tokens);
        assert!(!receipt.content.trim().is_empty(), "case {case}: {thought:?}");
        if thinks || thought.end == End::Budget || answers {
            assert_eq!(receipt.answer.as_deref(), Some("42"), "case {case}: {thought:?}");
        }
        let drawn = receipt.usage.drawn_tokens;
        let told = all + thought.tokens.discarded;
        assert_eq!(drawn + thought.tokens.put, told, "case {case}: {thought:?}");
    }
}

#[test]
fn what_ends_too_soon_is_made_to_wait() {
    let model = Played::new(|begun, _| match begun.matches("Hold on").count() {
        0 => "Twelve, \\boxed{12}.".to_owned(),
        _ => " thirteen, \\boxed{13}.".to_owned(),
    });
    let words = Words { wait: "Hold on:".into(), ..Words::default() };
    let manner = Manner { min_thinking: 40, words: words.clone(), ..Manner::default() };
    let thought = only(run(&model, "How many?", manner));
    assert_eq!(thought.content, "Twelve, \\boxed{12}.\n\nHold on: thirteen, \\boxed{13}.");
    assert_eq!((thought.answer.as_deref(), steps(&thought)), (Some("13"), vec![Measure::Wait]));

    // The tag that closed the thinking is taken back.
    let model = Played::new(|begun, _| match begun.matches("Hold on").count() {
        _ if begun.contains("</think>") => "13".to_owned(),
        0 => "It is 12.\n</think>\n\n12".to_owned(),
        _ => " no, 13.\n</think>\n\n13".to_owned(),
    });
    let model = Played { thinks: true, ..model };
    let manner = Manner { min_thinking: 20, words, waits: 1, ..Manner::default() };
    let thought = only(run(&model, "How many?", manner));
    assert_eq!(thought.reasoning.trim(), "It is 12.\n\nHold on: no, 13.");
    assert_eq!(thought.content.trim(), "13");
    // Not more often than allowed.
    let never_enough = Manner { min_thinking: 5000, waits: 3, ..Manner::default() };
    let model = Played::new(|_, _| " so \\boxed{1}.".to_owned());
    assert_eq!(only(run(&model, "?", never_enough)).steps.len(), 3);
}

#[test]
fn a_loop_is_cut_out_and_an_answer_given() {
    let sentence = "Wait, let me check the second step again, because it may be wrong. ";
    let model = Played::new(move |begun, _| match begun.ends_with('{') {
        true => "7}".to_owned(),
        false => "First some honest work. ".to_owned() + &sentence.repeat(100),
    });
    let receipt = run(&model, "What is it?", Manner::default());
    let thought = only(receipt);
    assert_eq!((thought.end, thought.answer.as_deref()), (End::Loop, Some("7")));
    assert_eq!(steps(&thought), [Measure::Loop, Measure::Loop]);
    // What repeats is no part of the text; the second try is not longer than the first.
    assert!(thought.content.matches("Wait, let me check").count() <= 3, "{}", thought.content);
    // The remedy is a hotter text.
    let heats: Vec<Option<f32>> =
        model.asks.lock().unwrap().iter().map(|ask| ask.sampling.temperature).collect();
    assert_eq!(heats[..2], [None, Some(0.7)]);

    let blind = Manner {
        max_answer: 50,
        max_thinking: Some(3000),
        stopping: Stopping { loops: false, ..Stopping::default() },
        ..Manner::default()
    };
    assert_eq!(only(run(&model, "What is it?", blind)).end, End::Budget);
}

#[test]
fn a_model_that_has_settled_is_stopped() {
    let model = Played::new(|begun, _| match begun.ends_with('{') {
        // After some hundred letters it knows.
        true if begun.len() > 700 => "5} of course".to_owned(),
        true => format!("{}}}", begun.len()),
        false => rest(&endless(7, 6000), begun),
    });
    let manner = Manner {
        stopping: Stopping { settle: Some(Settle::default()), ..Stopping::default() },
        ..Manner::default()
    };
    let model = Played { logprob: -0.01, ..model };
    let thought = only(run(&model, "How many?", manner.clone()));
    assert_eq!((thought.end, thought.answer.as_deref()), (End::Settled, Some("5")));
    assert!(thought.tokens.thinking < 3500, "{:?}", thought.tokens);
    assert!(thought.tokens.discarded > 0);
    // One that is never sure goes on.
    let model = Played { logprob: -0.9, ..model };
    assert_ne!(only(run(&model, "How many?", manner)).end, End::Settled);
}

#[test]
fn a_paragraph_in_another_language_is_written_anew() {
    let tries = AtomicUsize::new(0);
    let model = Played::new(move |begun, _| {
        let paragraph = "The first of them is four and the next is five, which adds up to nine. \
            That is what was asked for, as far as I can see from here; but let me go on with it. \
            Both of the numbers are small, so that nothing can go wrong when adding them up. \
            There are other ways to get there, all of which lead to the very same place. \
            Counting on one's fingers is one of those ways, and nobody needs more than two hands. \
            Writing both down and adding them column by column is another, which is slower here. \
            Whoever wants to be sure does it once more, from the other end, and compares.";
        let mut random = Random::new(&[3]);
        let letter = |_| char::from_u32(0x4e00 + random.below(0x4000) as u32);
        let foreign: String = (0..300).filter_map(letter).collect();
        let text = format!("{paragraph}\n\n我{foreign}\n\nNine.");
        match begun.trim_end() == paragraph && tries.fetch_add(1, Ordering::SeqCst) > 0 {
            true => "So the answer is \\boxed{9}.".to_owned(),
            false => rest(&text, begun),
        }
    });
    let receipt = run(&model, "What is four and five, added up?", Manner::default());
    let thought = only(receipt);
    assert_eq!(steps(&thought), [Measure::Language]);
    assert!(!thought.content.contains('我'), "{}", thought.content);
    assert_eq!(thought.answer.as_deref(), Some("9"));
}

#[test]
fn who_is_called_off_leaves_a_receipt() {
    let model = Played::new(|_, seed| endless(seed, 100_000));
    for after in [0, 1, 7, 100, 1000] {
        let heard = AtomicUsize::new(0);
        let cancelled = || heard.load(Ordering::SeqCst) >= after;
        let tell = |event| {
            if let Event::Text { .. } = event {
                heard.fetch_add(1, Ordering::SeqCst);
            }
        };
        let mind = Mind::new(&model, problem("?"), Manner::default(), &cancelled, &tell);
        let receipt = reason(&Single {}, &mind).unwrap();
        assert!(receipt.cancelled);
        let thought = &receipt.thoughts[0];
        assert_eq!((thought.end, &thought.answer), (End::Cancelled, &None));
        assert!(serde_json::to_string(&receipt).is_ok());
    }
    assert_eq!(model.under_way.load(Ordering::SeqCst), 0);
}

#[test]
fn an_answer_comes_in_time() {
    let model = Played::new(|begun, seed| match begun.ends_with('{') {
        true => "3}".to_owned(),
        false => {
            std::thread::sleep(Duration::from_millis(20));
            endless(seed, 600)
        }
    });
    let never = || false;
    let manner = Manner { min_thinking: 1 << 20, waits: 1 << 20, ..Manner::default() };
    let mut mind = Mind::new(&model, problem("?"), manner, &never, &|_| {});
    let started = Instant::now();
    mind.deadline = Some(started + Duration::from_millis(900));
    let thought = only(reason(&Single {}, &mind).unwrap());
    assert!(started.elapsed() < Duration::from_millis(1200), "{:?}", started.elapsed());
    assert_eq!((thought.end, thought.answer.as_deref()), (End::Deadline, Some("3")));
}
