//! Strategies on the real engine, with a tiny random model.

#[path = "../../engine/tests/support/mod.rs"]
#[expect(dead_code, reason = "the engine's own tests use more of it")]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use engine::{Engine, LoadOptions, Runtime, Scheduler, SchedulerOptions};
use reason::answer::Kind;
use reason::strategy::{Search, Single, Vote};
use reason::thought::{End, Manner, Settle, Stopping};
use reason::vote::Weight;
use reason::{Event, Local, Mind, Problem, Prompt, Sampling, Spec, reason};
use text::template::Message;
use verify::tasks::random::Random;

fn local(thinks: bool) -> Local {
    let dir = tempfile::tempdir().unwrap();
    let path = support::tiny_model(dir.path(), thinks);
    let loading = LoadOptions { ctx: Some(2048), ..LoadOptions::default() };
    let engine = Arc::new(Engine::load(&path, &loading).unwrap());
    let scheduling = SchedulerOptions { kv_tokens: Some(32768), ..SchedulerOptions::default() };
    let runtime = Runtime::start(Scheduler::new(engine, scheduling).unwrap()).unwrap();
    Local::new(runtime, "tiny", 16)
}

fn problem() -> Problem<'static> {
    Problem {
        prompt: Prompt::Chat(vec![Message::new("user", "How many?")]),
        question: "How many?".to_owned(),
        instruction: None,
        kind: Kind::Final,
        verifier: None,
    }
}

#[test]
fn budgets_are_exact() {
    let mut random = Random::new(&[5]);
    for thinks in [true, false] {
        let local = local(thinks);
        let cases: Vec<(u64, Manner)> = (0..500)
            .map(|case| {
                let manner = Manner {
                    sampling: Sampling { temperature: Some(1.0), ..Sampling::default() },
                    max_thinking: Some(random.below(240) as usize),
                    min_thinking: random.below(120) as usize,
                    max_answer: 8 + random.below(24) as usize,
                    confidence: random.chance(20),
                    stopping: Stopping {
                        settle: random.chance(20).then(Settle::default),
                        ..Stopping::default()
                    },
                    ..Manner::default()
                };
                (case, manner)
            })
            .collect();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    while let Some((case, manner)) = cases.get(next.fetch_add(1, Ordering::SeqCst))
                    {
                        let never = || false;
                        let mut mind =
                            Mind::new(&local, problem(), manner.clone(), &never, &|_| {});
                        mind.seed = *case;
                        let receipt = reason(&Single {}, &mind).unwrap();
                        let thought = &receipt.thoughts[0];
                        let budget = manner.max_thinking.unwrap();
                        let tokens = thought.tokens;
                        assert!(tokens.thinking <= budget, "{case}: {budget} {tokens:?}");
                        assert!(
                            matches!(
                                thought.end,
                                End::Ended | End::Budget | End::Length | End::Loop
                            ),
                            "{case}: {thought:?}"
                        );
                        // The model's noise may end at once; but what it was made to answer is there.
                        assert!(
                            thought.end == End::Ended || !thought.content.is_empty(),
                            "{case}: {thought:?}"
                        );
                        let told = tokens.thinking + tokens.answer + tokens.discarded;
                        assert_eq!(receipt.usage.drawn_tokens + tokens.put, told, "{case}");
                    }
                });
            }
        });
    }
}

#[test]
fn whatever_is_called_off_gives_its_pages_back() {
    let local = local(false);
    let names = Spec::NAMES.iter().filter(|name| !["program", "best-of"].contains(name));
    for (round, name) in names.cycle().take(40).enumerate() {
        let after = [0, 1, 5, 20, 100, 250][round % 6];
        let heard = AtomicUsize::new(0);
        let cancelled = || heard.load(Ordering::SeqCst) >= after;
        let tell = |event| {
            if let Event::Text { .. } = event {
                heard.fetch_add(1, Ordering::SeqCst);
            }
        };
        let manner = Manner { max_thinking: Some(200), ..Manner::default() };
        let mind = Mind::new(&local, problem(), manner, &cancelled, &tell);
        let receipt = reason(Spec::named(name).unwrap().strategy(), &mind).unwrap();
        let json = serde_json::to_value(&receipt).unwrap();
        assert!(json["usage"]["drawn_tokens"].is_number() && json["thoughts"].is_array(), "{name}");
    }
    let runtime = local.runtime();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let load = runtime.load();
        if load.running == 0 && load.waiting == 0 && load.kv_pages_free == load.kv_pages {
            return;
        }
        assert!(Instant::now() < deadline, "{load:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_same_seed_gives_the_same_thoughts_and_one_prompt_is_read() {
    let vote =
        Vote { n: 12, sure: None, weight: Weight::Likelihood, give_up: None, drop_weak: false };
    let texts = |local: &Local, strategy: &dyn reason::strategy::Strategy| -> Vec<String> {
        let never = || false;
        let manner = Manner { max_thinking: Some(90), ..Manner::default() };
        let mut long = problem();
        long.prompt = Prompt::Chat(vec![Message::new("user", "How many? ".repeat(60))]);
        let mut mind = Mind::new(local, long, manner, &never, &|_| {});
        mind.seed = 9;
        let receipt = reason(strategy, &mind).unwrap();
        assert!(receipt.thoughts.iter().all(|thought| thought.confidence.is_some()));
        receipt.thoughts.into_iter().map(|thought| thought.content).collect()
    };
    let (one, other) = (local(false), local(false));
    assert_eq!(texts(&one, &vote), texts(&other, &vote));
    let load = one.runtime().load();
    assert!(load.prompt_tokens < 600 + 12 * 150, "{load:?}");
    // The order in which branches come back makes no difference to what is kept.
    let search = Search { depth: 4, ..Search::default() };
    assert_eq!(texts(&one, &search), texts(&other, &search));
}

#[test]
fn a_text_that_is_gone_on_with_is_the_text_that_would_have_come() {
    // Pieces are joined token by token: cutting a greedy text into segments changes nothing.
    let local = local(false);
    let run = |confidence: bool| {
        let never = || false;
        let manner = Manner {
            sampling: Sampling { temperature: Some(0.0), ..Sampling::default() },
            max_thinking: Some(700),
            confidence,
            stopping: Stopping { loops: false, language: false, settle: None },
            ..Manner::default()
        };
        let mind = Mind::new(&local, problem(), manner, &never, &|_| {});
        reason(&Single {}, &mind).unwrap().content
    };
    assert_eq!(run(false), run(true));
}
