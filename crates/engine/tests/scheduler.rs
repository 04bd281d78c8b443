//! Many requests at once, shown on a tiny random model.

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::sampler::Sampling;
use engine::{
    Completion, Delta, Engine, Event, FinishReason, Grammar, LoadOptions, Request, RequestId,
    Scheduler, SchedulerOptions, Scope,
};
use kernels::attention::KvType;
use support::{CONTEXT, SPECIAL, byte, special, tiny_model};
use text::splitter::Start;

fn engine(dir: &Path, thinks: bool) -> Arc<Engine> {
    let options = LoadOptions { threads: Some(2), ..LoadOptions::default() };
    Arc::new(Engine::load(&tiny_model(dir, thinks), &options).unwrap())
}

fn scheduler(engine: &Arc<Engine>, options: SchedulerOptions) -> Scheduler {
    Scheduler::new(Arc::clone(engine), options).unwrap()
}

/// Goes on with `text` for `n` tokens, whatever happens.
fn go_on(text: &str, n: usize, seed: u64) -> Request {
    Request {
        prompt: text.bytes().map(byte).collect(),
        sampling: Sampling { seed: Some(seed), ..Sampling::default() },
        max_tokens: Some(n),
        ignore_eos: true,
        start: Start::After,
        ..Request::default()
    }
}

type Answers = HashMap<(RequestId, usize), Completion>;

/// Steps until there is nothing to do; the finished answers, and the order in which they ended.
fn drain(scheduler: &mut Scheduler) -> (Answers, Vec<RequestId>) {
    let (mut answers, mut order) = (Answers::new(), Vec::new());
    let mut steps = 0;
    while !scheduler.is_idle() {
        for update in scheduler.step().unwrap() {
            match update.event {
                Event::Finished(completion) => {
                    order.push(update.request);
                    let twice = answers.insert((update.request, update.choice), *completion);
                    assert!(twice.is_none(), "{update:?} ended twice", update = update.request);
                }
                Event::Failed(error) => panic!("{error}"),
                Event::Delta(_) | Event::Logprob(_) => {}
            }
        }
        steps += 1;
        assert!(steps < 10_000, "no end in sight");
    }
    (answers, order)
}

fn alone(engine: &Arc<Engine>, request: &Request) -> Vec<u32> {
    let mut scheduler =
        scheduler(engine, SchedulerOptions { ngram: false, ..SchedulerOptions::default() });
    let id = scheduler.submit(request.clone()).unwrap();
    drain(&mut scheduler).0.remove(&(id, 0)).unwrap().tokens
}

#[test]
fn company_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path(), false);
    let mut scheduler =
        scheduler(&engine, SchedulerOptions { kv_tokens: Some(4096), ..Default::default() });
    let requests: Vec<Request> =
        (0..9).map(|i| go_on(&"word ".repeat(1 + 3 * i), 10 + 7 * i, i as u64)).collect();
    let ids: Vec<RequestId> =
        requests.iter().map(|r| scheduler.submit(r.clone()).unwrap()).collect();
    let (answers, _) = drain(&mut scheduler);
    for (id, request) in ids.iter().zip(&requests) {
        assert_eq!(answers[&(*id, 0)].tokens, alone(&engine, request));
    }
    let load = scheduler.load();
    assert_eq!((load.running, load.waiting, load.kv_pages_free), (0, 0, load.kv_pages));
}

#[test]
fn several_answers_read_the_prompt_once_and_have_their_own_seeds() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path(), false);
    let mut scheduler =
        scheduler(&engine, SchedulerOptions { kv_tokens: Some(2048), ..Default::default() });
    let request = Request { n: 5, ..go_on(&"prompt ".repeat(15), 30, 100) };
    let id = scheduler.submit(request.clone()).unwrap();
    let (answers, _) = drain(&mut scheduler);
    assert_eq!(answers.len(), 5);
    assert_eq!(scheduler.load().prompt_tokens, request.prompt.len() as u64);
    for choice in 0..5 {
        let single = go_on(&"prompt ".repeat(15), 30, 100 + choice as u64);
        assert_eq!(answers[&(id, choice)].tokens, alone(&engine, &single), "choice {choice}");
    }
}

#[test]
fn short_memory_delays_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path(), false);
    // Four pages and a spare one, for six texts of three or four pages.
    let mut scheduler = scheduler(&engine, SchedulerOptions::default());
    let requests: Vec<Request> =
        (0..6).map(|i| go_on(&format!("text {i} {}", "x".repeat(40)), 140, i)).collect();
    let ids: Vec<RequestId> =
        requests.iter().map(|r| scheduler.submit(r.clone()).unwrap()).collect();
    let (answers, _) = drain(&mut scheduler);
    for (id, request) in ids.iter().zip(&requests) {
        assert_eq!(answers[&(*id, 0)].tokens, alone(&engine, request));
    }
    let load = scheduler.load();
    assert!(load.preempted > 0, "{load:?}");
    scheduler.forget();
    assert_eq!(scheduler.load().kv_pages_free, load.kv_pages);
}

#[test]
fn what_another_request_has_read_is_not_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path(), false);
    let mut scheduler =
        scheduler(&engine, SchedulerOptions { kv_tokens: Some(2048), ..Default::default() });
    let shared = "the same beginning, ".repeat(8);
    let first = go_on(&format!("{shared}one"), 5, 1);
    scheduler.submit(first).unwrap();
    drain(&mut scheduler);
    // Together, too: the second waits for the first to have read it.
    let other = "another beginning, ".repeat(8);
    let ids = [
        scheduler.submit(go_on(&format!("{shared}two"), 5, 1)).unwrap(),
        scheduler.submit(go_on(&format!("{other}three"), 5, 1)).unwrap(),
        scheduler.submit(go_on(&format!("{other}four"), 5, 1)).unwrap(),
    ];
    let (answers, _) = drain(&mut scheduler);
    let cached = ids.map(|id| answers[&(id, 0)].usage.cached_tokens);
    assert_eq!(cached[0], shared.len());
    assert_eq!(cached[1], 0);
    assert!(cached[2] >= 128, "whole pages are shared at once: {cached:?}");
}

#[test]
fn priorities_go_first_and_tenants_share() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path(), false);
    let mut scheduler =
        scheduler(&engine, SchedulerOptions { parallel: 1, ..SchedulerOptions::default() });
    let mut ask = |tenant: &str, priority: i32| {
        let request = Request { tenant: tenant.into(), priority, ..go_on("abc", 8, 1) };
        scheduler.submit(request).unwrap()
    };
    let busy: Vec<RequestId> = (0..4).map(|_| ask("busy", 0)).collect();
    let quiet = ask("quiet", 0);
    let urgent = ask("busy", 5);
    let (_, order) = drain(&mut scheduler);
    // The urgent one, then one of each in turn.
    assert_eq!(order, [urgent, quiet, busy[0], busy[1], busy[2], busy[3]]);
}

#[test]
fn cancelled_and_late_requests_end_within_a_step() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path(), false);
    let mut scheduler =
        scheduler(&engine, SchedulerOptions { parallel: 2, ..SchedulerOptions::default() });
    let running = scheduler.submit(Request { n: 1, ..go_on("abc", 200, 1) }).unwrap();
    let waiting = {
        scheduler.submit(go_on("def", 200, 1)).unwrap();
        scheduler.submit(Request { n: 3, ..go_on("ghi", 200, 1) }).unwrap()
    };
    for _ in 0..5 {
        scheduler.step().unwrap();
    }
    scheduler.cancel(running);
    scheduler.cancel(waiting);
    let ended: Vec<_> = scheduler
        .step()
        .unwrap()
        .into_iter()
        .filter_map(|update| match update.event {
            Event::Finished(c) => {
                Some((update.request, update.choice, c.finish_reason, c.tokens.len()))
            }
            _ => None,
        })
        .collect();
    let cancelled = FinishReason::Cancelled;
    assert_eq!(ended.len(), 4, "{ended:?}");
    assert_eq!(ended[0], (waiting, 0, cancelled, 0));
    assert_eq!(ended[2], (waiting, 2, cancelled, 0));
    assert!(ended[3].0 == running && ended[3].2 == cancelled && ended[3].3 >= 4, "{ended:?}");
    drain(&mut scheduler);

    let deadline = Some(Instant::now() + Duration::from_millis(30));
    let id = scheduler
        .submit(Request { deadline, max_tokens: None, ..go_on("in time?", 0, 1) })
        .unwrap();
    let late = Request { deadline: Some(Instant::now()), ..go_on("late", 9, 1) };
    let late = scheduler.submit(late).unwrap();
    let mut last = None;
    while !scheduler.is_idle() {
        std::thread::sleep(Duration::from_millis(5));
        for update in scheduler.step().unwrap() {
            if let Event::Finished(completion) = update.event {
                if update.request == late {
                    assert_eq!(completion.finish_reason, FinishReason::Deadline);
                    assert!(completion.tokens.is_empty());
                } else {
                    assert_eq!(update.request, id);
                    last = Some(completion);
                }
            }
        }
    }
    let last = last.unwrap();
    assert_eq!(last.finish_reason, FinishReason::Deadline);
    assert!(!last.tokens.is_empty() && last.tokens.len() < 100, "{}", last.tokens.len());
}

#[test]
fn the_deltas_of_all_answers_make_up_their_texts() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path(), false);
    let mut scheduler =
        scheduler(&engine, SchedulerOptions { kv_tokens: Some(1024), ..Default::default() });
    let request = Request { n: 3, logprobs: Some(2), ..go_on("abc", 25, 1) };
    scheduler.submit(request).unwrap();
    let (mut texts, mut logprobs) =
        (HashMap::<usize, String>::new(), HashMap::<usize, usize>::new());
    let mut finished = 0;
    while !scheduler.is_idle() {
        for update in scheduler.step().unwrap() {
            match update.event {
                Event::Delta(Delta::Content(text)) => {
                    texts.entry(update.choice).or_default().push_str(&text);
                }
                Event::Logprob(_) => *logprobs.entry(update.choice).or_default() += 1,
                Event::Finished(completion) => {
                    assert_eq!(texts[&update.choice], completion.content);
                    assert_eq!(logprobs[&update.choice], completion.tokens.len());
                    finished += 1;
                }
                _ => {}
            }
        }
    }
    assert_eq!(finished, 3);
}

/// Makes the tiny model repeat itself.
fn repetitive(n: usize, seed: u64, temperature: f32) -> Request {
    let mut request = go_on(&"abcdefgh abcdefgh ".repeat(4), n, seed);
    request.sampling.temperature = temperature;
    request.sampling.logit_bias = "abcdefgh ".bytes().map(|b| (byte(b), 60.0)).collect();
    request
}

#[test]
fn guessing_from_the_text_does_not_change_it() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path(), false);
    let (mut drafted, mut accepted) = (0, 0);
    for temperature in [0.0, 0.3, 1.0] {
        for seed in 0..4 {
            let request = repetitive(120, seed, temperature);
            let mut scheduler = scheduler(
                &engine,
                SchedulerOptions { guesses: Some(4), ..SchedulerOptions::default() },
            );
            let id = scheduler.submit(request.clone()).unwrap();
            let (answers, _) = drain(&mut scheduler);
            assert_eq!(answers[&(id, 0)].tokens, alone(&engine, &request));
            drafted += scheduler.load().drafted_tokens;
            accepted += scheduler.load().accepted_tokens;
        }
    }
    assert!(accepted > 0 && accepted <= drafted, "{accepted} of {drafted}");
}

#[test]
fn a_draft_model_does_not_change_the_text() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path(), false);
    let request = |seed, temperature, top_k, repetition_penalty| {
        let mut request = go_on("some text", 60, seed);
        let sampling = &mut request.sampling;
        (sampling.temperature, sampling.top_k) = (temperature, top_k);
        sampling.repetition_penalty = repetition_penalty;
        request
    };
    // The model is its own draft: all that it guesses comes true, but for the penalties.
    for (temperature, top_k, penalty) in
        [(0.0, 0, 1.0), (1.0, 0, 1.0), (0.8, 20, 1.0), (0.8, 20, 1.1)]
    {
        let requests: Vec<Request> =
            (0..3).map(|seed| request(seed, temperature, top_k, penalty)).collect();
        let mut scheduler = scheduler(
            &engine,
            SchedulerOptions {
                kv_tokens: Some(1024),
                guesses: Some(3),
                ngram: false,
                ..Default::default()
            },
        );
        scheduler.set_draft(Arc::clone(&engine)).unwrap();
        let ids: Vec<RequestId> =
            requests.iter().map(|r| scheduler.submit(r.clone()).unwrap()).collect();
        let (answers, _) = drain(&mut scheduler);
        for (id, request) in ids.iter().zip(&requests) {
            assert_eq!(answers[&(*id, 0)].tokens, alone(&engine, request));
        }
        let load = scheduler.load();
        assert!(load.drafted_tokens > 0, "{load:?}");
        assert!(load.accepted_tokens == load.drafted_tokens || penalty != 1.0, "{load:?}");
    }
}

/// Pearson's statistic over the first two tokens of many answers that were guessed ahead, the second
/// of them always: they come as often as the model's own probabilities say.
#[test]
fn guessing_does_not_change_the_distribution() {
    const TOP: usize = 4;
    const ANSWERS: usize = 4000;
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path(), false);
    let prompt = go_on("some text", 1, 0).prompt;
    let next = |text: &[u32]| -> Vec<(u32, f64)> {
        let mut last = Vec::new();
        engine
            .logits_of(text, CONTEXT, KvType::default(), |_, row| {
                last = row.to_vec();
                Ok::<(), engine::Error>(())
            })
            .unwrap();
        let mut ids: Vec<u32> = (0..last.len() as u32).filter(|id| *id < 256).collect();
        ids.sort_by(|a, b| last[*b as usize].total_cmp(&last[*a as usize]));
        let top = &ids[..TOP];
        let weight = |id: u32| f64::from(last[id as usize] - last[top[0] as usize]).exp();
        let sum: f64 = top.iter().map(|id| weight(*id)).sum();
        top.iter().map(|id| (*id, weight(*id) / sum)).collect()
    };
    let mut expected: HashMap<Vec<u32>, f64> = HashMap::new();
    for (a, p) in next(&prompt) {
        for (b, q) in next(&[prompt.as_slice(), &[a]].concat()) {
            expected.insert(vec![a, b], p * q * ANSWERS as f64);
        }
    }

    let options = SchedulerOptions { guesses: Some(2), ngram: false, ..Default::default() };
    let mut scheduler = scheduler(&engine, options);
    scheduler.set_draft(Arc::clone(&engine)).unwrap();
    let mut request = go_on("some text", 4, 1);
    request.sampling.top_k = TOP;
    request.sampling.temperature = 1.0;
    request.sampling.logit_bias = SPECIAL.iter().map(|text| (special(text), -100.0)).collect();
    let mut seen: HashMap<Vec<u32>, f64> = HashMap::new();
    for batch in 0..ANSWERS / 100 {
        request.n = 100;
        request.sampling.seed = Some(1 + 100 * batch as u64);
        scheduler.submit(request.clone()).unwrap();
        for answer in drain(&mut scheduler).0.values() {
            *seen.entry(answer.tokens[..2].to_vec()).or_default() += 1.0;
        }
    }
    assert!(scheduler.load().accepted_tokens > 0);
    assert!(seen.keys().all(|pair| expected.contains_key(pair)), "{seen:?}");
    let statistic: f64 =
        expected.iter().map(|(pair, e)| (seen.get(pair).unwrap_or(&0.0) - e).powi(2) / e).sum();
    // 15 degrees of freedom: one run in a million is above 56.
    assert!(statistic < 56.0, "{statistic}");
}

#[test]
fn answers_follow_their_grammar() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path(), false);
    let schema = serde_json::json!({
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 99}, "ok": {"type": "boolean"}},
        "required": ["n", "ok"],
        "additionalProperties": false
    });
    let json = engine.constrain(&Grammar::JsonSchema(schema), Scope::Answer).unwrap();
    let regex =
        engine.constrain(&Grammar::Regex("(yes|no), [0-9]{3}".to_owned()), Scope::Answer).unwrap();
    let lark = Grammar::Lark("start: \"a\"+ \"b\" \"c\"".to_owned());
    let lark = engine.constrain(&lark, Scope::Everything).unwrap();
    let mut scheduler =
        scheduler(&engine, SchedulerOptions { kv_tokens: Some(4096), ..Default::default() });
    let mut ask = |constraint: &engine::Constraint, seed| {
        let mut request = go_on("?", 150, seed);
        request.ignore_eos = false;
        request.constraint = Some(constraint.clone());
        // White space between the parts is allowed, and this model likes it.
        request.sampling.logit_bias = vec![
            (byte(b' '), -50.0),
            (byte(b'\n'), -50.0),
            (byte(b'\t'), -50.0),
            (byte(b'\r'), -50.0),
            (byte(b'a'), -3.0),
        ];
        scheduler.submit(request).unwrap()
    };
    let asked: Vec<(RequestId, RequestId, RequestId)> =
        (0..4).map(|seed| (ask(&json, seed), ask(&regex, seed), ask(&lark, seed))).collect();
    let (answers, _) = drain(&mut scheduler);
    for (j, r, l) in asked {
        let text = &answers[&(j, 0)].content;
        let value: serde_json::Value = serde_json::from_str(text).expect(text);
        assert!(value["n"].as_u64().unwrap() < 100 && value["ok"].is_boolean(), "{text}");
        let text = &answers[&(r, 0)].content;
        assert!(text.starts_with("yes, ") || text.starts_with("no, "), "{text}");
        let text = &answers[&(l, 0)].content;
        assert_eq!(text.trim_start_matches('a'), "bc", "{text}");
        assert_eq!(answers[&(l, 0)].finish_reason, FinishReason::Stop);
    }
    let gbnf = "root ::= item-one+ \"!\"\nitem-one ::= [a-c]{2} |\n  (\"\\x78\" | \"y\" \"z\")";
    let pairs = engine.constrain(&Grammar::context_free(gbnf.to_owned()), Scope::Answer).unwrap();
    let choice = Grammar::Choice(vec!["one".to_owned(), "two \"2\"".to_owned()]);
    let choice = engine.constrain(&choice, Scope::Answer).unwrap();
    for seed in 0..4 {
        let mut request = go_on("?", 40, seed);
        request.ignore_eos = false;
        request.sampling.logit_bias = vec![(byte(b'!'), 3.0)];
        request.constraint = Some(pairs.clone());
        let pairs = scheduler.submit(request.clone()).unwrap();
        request.constraint = Some(choice.clone());
        let choice = scheduler.submit(request).unwrap();
        let (answers, _) = drain(&mut scheduler);
        let text = answers[&(choice, 0)].content.as_str();
        assert!(text == "one" || text == "two \"2\"", "{text}");
        let text = answers[&(pairs, 0)].content.as_str();
        let body = text.trim_end_matches('!').replace('x', "").replace("yz", "");
        assert!(body.chars().all(|c| "abc".contains(c)) && body.len() % 2 == 0, "{text}");
    }
    let error = engine.constrain(&Grammar::Regex("(".to_owned()), Scope::Answer).unwrap_err();
    assert!(error.to_string().starts_with("grammar: "), "{error}");
}

#[test]
fn thinking_is_free_of_the_grammar() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path(), true);
    let digits = engine.constrain(&Grammar::Regex("[0-9]{4}".to_owned()), Scope::Answer).unwrap();
    let mut scheduler = scheduler(&engine, SchedulerOptions::default());
    let mut request = go_on("?", 60, 3);
    request.ignore_eos = false;
    request.start = Start::Inside;
    request.max_thinking = Some(20);
    request.thinking_close = "</think>".to_owned();
    request.sampling.logit_bias =
        support::SPECIAL.iter().map(|text| (special(text), -100.0)).collect();
    request.constraint = Some(digits);
    let id = scheduler.submit(request).unwrap();
    let answer = &drain(&mut scheduler).0[&(id, 0)];
    assert_eq!(answer.usage.reasoning_tokens, 21);
    assert!(answer.tokens[..20].iter().any(|t| !(48..58).contains(t)));
    assert!(answer.content.len() == 4 && answer.content.bytes().all(|b| b.is_ascii_digit()));
}

#[test]
fn fewest_tokens_and_no_end() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path(), false);
    let mut scheduler = scheduler(&engine, SchedulerOptions::default());
    let end = special("<|im_end|>");
    let mut request = go_on("abc", 20, 1);
    request.ignore_eos = false;
    request.sampling.logit_bias = vec![(end, 100.0)];
    request.min_tokens = 6;
    let id = scheduler.submit(request.clone()).unwrap();
    let answer = drain(&mut scheduler).0.remove(&(id, 0)).unwrap();
    assert_eq!(answer.tokens.len(), 7);
    assert_eq!(answer.tokens.last(), Some(&end));
    let id = scheduler.submit(Request { ignore_eos: true, ..request.clone() }).unwrap();
    assert_eq!(drain(&mut scheduler).0[&(id, 0)].tokens.len(), 20);
    let id = scheduler.submit(Request { max_tokens: Some(0), n: 2, ..request }).unwrap();
    let (answers, _) = drain(&mut scheduler);
    assert!(answers[&(id, 0)].tokens.is_empty() && answers[&(id, 1)].tokens.is_empty());
}
