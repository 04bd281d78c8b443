//! Several thoughts: votes, when they are enough, the best of several, revisions, steps.

mod played;

use std::sync::atomic::Ordering;

use played::{Played, problem};
use reason::strategy::{Auto, BestOf, By, Revise, Search, Strategy, Vote};
use reason::thought::{End, Manner};
use reason::vote::Weight;
use reason::{Completer, Error, Event, Mind, Receipt, Spec, reason};
use verify::check::{Check, Tools};

fn run(model: &dyn Completer, strategy: &dyn Strategy) -> Result<Receipt, Error> {
    let never = || false;
    let mind = Mind::new(model, problem("How many?"), Manner::default(), &never, &|_| {});
    reason(strategy, &mind)
}

/// Says 4 two times of three, and otherwise something else each time.
fn mostly_four() -> Played {
    Played::new(|_, seed| {
        let answer = if seed % 3 < 2 { 4 } else { seed % 97 + 10 };
        format!("Let me see.\n\nThat makes \\boxed{{{answer}}}.")
    })
}

#[test]
fn the_commonest_answer_wins_whoever_comes_first() {
    let vote = Vote { n: 16, sure: None, give_up: None, ..Vote::default() };
    let receipt = run(&mostly_four(), &vote).unwrap();
    assert_eq!((receipt.answer.as_deref(), receipt.usage.thoughts), (Some("4"), 16));
    let votes: usize = receipt.vote.iter().map(|cluster| cluster.thoughts.len()).sum();
    assert_eq!(votes, 16);
    // The same seeds give the same texts, however many run at a time.
    let alone = run(&Played { slots: 1, ..mostly_four() }, &vote).unwrap();
    let texts = |receipt: &Receipt| -> Vec<String> {
        receipt.thoughts.iter().map(|thought| thought.content.clone()).collect()
    };
    assert_eq!(texts(&receipt), texts(&alone));
}

#[test]
fn sampling_stops_when_the_vote_is_clear() {
    let model = Played::new(|_, _| "\\boxed{4}".to_owned());
    let certain = Vote { n: 16, sure: Some(1.0), ..Vote::default() };
    let receipt = run(&model, &certain).unwrap();
    // Nine of sixteen can't be overtaken; those under way then are given up.
    assert!((9..=12).contains(&receipt.usage.thoughts), "{}", receipt.usage.thoughts);
    let sure = Vote { n: 16, sure: Some(0.9), ..Vote::default() };
    let receipt = run(&model, &sure).unwrap();
    assert!(receipt.usage.thoughts <= 8, "{}", receipt.usage.thoughts);
    assert_eq!(receipt.confidence, Some(1.0));
    for thought in &receipt.thoughts {
        assert!(matches!(thought.end, End::Ended | End::Unwanted), "{:?}", thought.end);
    }
}

#[test]
fn a_question_on_which_answers_scatter_is_given_up() {
    let model = Played::new(|_, seed| format!("\\boxed{{{seed}}}"));
    let receipt = run(&model, &Vote { n: 32, give_up: Some(0.25), ..Vote::default() }).unwrap();
    assert!((16..=20).contains(&receipt.usage.thoughts), "{}", receipt.usage.thoughts);
    let stubborn = Vote { n: 32, give_up: None, ..Vote::default() };
    assert_eq!(run(&model, &stubborn).unwrap().usage.thoughts, 32);
}

#[test]
fn thoughts_without_an_answer_do_not_vote() {
    let model = Played::new(|_, seed| match seed % 2 {
        0 => "I don't know.".to_owned(),
        _ => "\\boxed{1}".to_owned(),
    });
    let receipt =
        run(&model, &Vote { n: 12, sure: None, give_up: None, ..Vote::default() }).unwrap();
    assert_eq!(receipt.answer.as_deref(), Some("1"));
    assert_eq!(receipt.confidence, Some(1.0));
    let silent = Played::new(|_, _| "I don't know.".to_owned());
    let receipt = run(&silent, &Vote::default()).unwrap();
    assert_eq!((receipt.answer, receipt.vote.len()), (None, 0));
    assert_eq!(receipt.content, "I don't know.");
}

#[test]
fn a_verifier_chooses_and_ends_the_search() {
    let model = Played::new(|_, seed| format!("\\boxed{{{}}}", seed % 5));
    let gold = serde_json::json!({"kind": "math", "gold": "3"});
    let verifier = Check::from_json(&gold).unwrap().verifier(&Tools::default()).unwrap();
    let never = || false;
    let mut problem = problem("How many?");
    problem.verifier = Some(&*verifier);
    let model = Played { slots: 2, ..model };
    let mind = Mind::new(&model, problem, Manner::default(), &never, &|_| {});
    let receipt = reason(&BestOf { n: 64 }, &mind).unwrap();
    assert_eq!((receipt.answer.as_deref(), receipt.confidence), (Some("3"), Some(1.0)));
    assert!(receipt.usage.thoughts < 64);
    let votes = Vote { n: 8, weight: Weight::Score, sure: None, give_up: None, drop_weak: false };
    assert_eq!(reason(&votes, &mind).unwrap().answer.as_deref(), Some("3"));
    assert!(run(&model, &BestOf::default()).unwrap_err().to_string().contains("--check"));
    assert!(run(&model, &votes).is_err());
}

#[test]
fn easy_questions_get_three_thoughts() {
    let sure = Played::new(|_, _| "\\boxed{4}".to_owned());
    assert_eq!(run(&sure, &Auto::default()).unwrap().usage.thoughts, 3);
    let unsure = Played::new(|_, seed| format!("\\boxed{{{seed}}}"));
    let receipt = run(&unsure, &Auto::default()).unwrap();
    assert_eq!(receipt.usage.thoughts, 16);
}

#[test]
fn a_draft_is_doubted_before_it_is_believed() {
    // Who is asked to doubt sees the mistake; who is asked to mend it does.
    let model = Played::new(|_, _| String::new());
    let model = std::sync::Arc::new(model);
    struct Careful(std::sync::Arc<Played>);
    impl Completer for Careful {
        fn name(&self) -> &str {
            "careful"
        }
        fn slots(&self) -> usize {
            1
        }
        fn complete(
            &self,
            ask: &reason::Ask,
            receive: &mut dyn FnMut(engine::Delta) -> engine::Flow,
        ) -> Result<engine::Completion, Error> {
            let reason::Prompt::Chat(messages) = &ask.prompt else { panic!() };
            let last = messages.last().unwrap().content.clone();
            let said = messages.iter().any(|m| m.content.contains("\\boxed{5}"));
            let says = move |_: &str, _| match () {
                _ if last.contains("mistake in the solution") && said => {
                    "All of it holds. NO MISTAKE".to_owned()
                }
                _ if last.contains("mistake in the solution") => "Step 1 is wrong.".to_owned(),
                _ if last.contains("solve the problem again") => "\\boxed{5}".to_owned(),
                _ => "\\boxed{6}".to_owned(),
            };
            Played::new(says).complete(ask, receive)
        }
        fn opening(&self, ask: &reason::Ask) -> Result<reason::Opening, Error> {
            self.0.opening(ask)
        }
        fn text_of(&self, tokens: &[u32]) -> Option<(String, Vec<usize>)> {
            self.0.text_of(tokens)
        }
    }
    let receipt = run(&Careful(model), &Revise { rounds: 3 }).unwrap();
    assert_eq!(receipt.answer.as_deref(), Some("5"));
    assert!(receipt.why.contains("confirmed"), "{}", receipt.why);
    assert_eq!(receipt.usage.thoughts, 4);
}

#[test]
fn steps_are_searched() {
    let model = Played::new(|begun, seed| match begun.matches("\n\n").count() {
        0..3 => format!("Step {} goes on here.\n\nAnd then more", seed % 1000),
        _ => "So \\boxed{8}.".to_owned(),
    });
    let receipt = run(&model, &Search::default()).unwrap();
    assert_eq!(receipt.answer.as_deref(), Some("8"));
    let usage = receipt.usage;
    assert!(usage.drawn_tokens > usage.reasoning_tokens + usage.answer_tokens);
    assert!(usage.discarded_tokens > 0);
}

#[test]
fn a_verifier_guides_the_search() {
    // Steps are numbers; the verifier likes those with a 7, and only they lead to the answer.
    let model = Played::new(|begun, seed| match begun.matches("\n\n").count() {
        0..3 => format!("Take {}.\n\nAnd then more", seed % 10),
        _ if begun.matches('7').count() == 3 => "So \\boxed{777}.".to_owned(),
        _ => "So \\boxed{0}.".to_owned(),
    });
    struct Sevens;
    impl verify::Verifier for Sevens {
        fn verify(
            &self,
            attempt: &verify::Attempt<'_>,
        ) -> Result<verify::Verdict, verify::CannotTell> {
            let score = attempt.answer.matches('7').count() as f64 / 10.0;
            Ok(verify::Verdict::new(score, None, "sevens"))
        }
    }
    let never = || false;
    let mut problem = problem("How many?");
    problem.verifier = Some(&Sevens);
    let mind = Mind::new(&model, problem, Manner::default(), &never, &|_| {});
    let search = Search { width: 2, expand: 24, by: By::Score, ..Search::default() };
    let receipt = reason(&search, &mind).unwrap();
    assert_eq!(receipt.answer.as_deref(), Some("777"));
    assert!(run(&model, &search).unwrap_err().to_string().contains("needs a verifier"));
}

#[test]
fn any_strategy_can_be_called_off_at_any_moment() {
    for name in Spec::NAMES.iter().filter(|name| !["program", "best-of"].contains(name)) {
        for after in [0, 3, 50, 400] {
            let model = mostly_four();
            let heard = std::sync::atomic::AtomicUsize::new(0);
            let cancelled = || heard.load(Ordering::SeqCst) >= after;
            let tell = |event| {
                if let Event::Text { .. } = event {
                    heard.fetch_add(1, Ordering::SeqCst);
                }
            };
            let mind = Mind::new(&model, problem("?"), Manner::default(), &cancelled, &tell);
            let spec = Spec::named(name).unwrap();
            let receipt = reason(spec.strategy(), &mind).unwrap();
            assert!(serde_json::to_value(&receipt).unwrap()["usage"]["seconds"].is_number());
            assert_eq!(model.under_way.load(Ordering::SeqCst), 0, "{name}");
        }
    }
}

#[test]
fn what_cannot_go_on_says_so() {
    struct Plain;
    impl Completer for Plain {
        fn name(&self) -> &str {
            "plain"
        }
        fn slots(&self) -> usize {
            1
        }
        fn complete(
            &self,
            _: &reason::Ask,
            _: &mut dyn FnMut(engine::Delta) -> engine::Flow,
        ) -> Result<engine::Completion, Error> {
            panic!("it is not asked");
        }
    }
    let error = run(&Plain, &Vote::default()).unwrap_err().to_string();
    assert!(error.contains("half-written"), "{error}");
}
