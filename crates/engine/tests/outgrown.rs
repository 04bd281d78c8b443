//! Texts that become longer than the model was made for: read unstretched until then, and as stretched texts
//! from there on.

mod support;

use std::path::Path;
use std::sync::Arc;

use engine::sampler::Sampling;
use engine::{
    Completion, Engine, Event, FinishReason, Flow, LoadOptions, Request, Scheduler,
    SchedulerOptions, TokenLogprob,
};
use kernels::attention::KvType;
use support::{CONTEXT, byte, tiny_model};
use text::splitter::Start;

fn engine(dir: &Path, rope_scaling: Option<&str>) -> Arc<Engine> {
    let rope_scaling = rope_scaling.map(|text| text.parse().unwrap());
    let ctx = Some(3 * CONTEXT);
    let options = LoadOptions { threads: Some(2), ctx, rope_scaling, ..LoadOptions::default() };
    Arc::new(Engine::load(&tiny_model(dir, false), &options).unwrap())
}

fn scheduler(engine: &Arc<Engine>, ty: KvType, kv_tokens: usize) -> Scheduler {
    let options = SchedulerOptions {
        cache: ty.into(),
        kv_tokens: Some(kv_tokens),
        ..SchedulerOptions::default()
    };
    Scheduler::new(Arc::clone(engine), options).unwrap()
}

/// Goes on with a text for `n` tokens, the likeliest ones.
fn request(prompt: Vec<u32>, n: usize) -> Request {
    Request {
        prompt,
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        max_tokens: Some(n),
        ignore_eos: true,
        start: Start::After,
        logprobs: Some(3),
        ..Request::default()
    }
}

fn prompt(seed: usize, n: usize) -> Vec<u32> {
    (0..n).map(|i| byte((seed + i * i * 7 % 89) as u8)).collect()
}

fn ask(scheduler: &mut Scheduler, request: &Request) -> Completion {
    scheduler.complete(request, &mut |_| Flow::Continue).unwrap()
}

/// What a text of `prompt` tokens and an answer of `n` says, read without stretching as far as it goes, then with all of
/// it stretched.
fn expected(dir: &Path, ty: KvType, text: &[u32], n: usize) -> Vec<TokenLogprob> {
    let [plain, yarn] = ["none", "yarn:3"].map(|scaling| engine(dir, Some(scaling)));
    let first = (CONTEXT + 1).saturating_sub(text.len()).min(n);
    let mut text = text.to_vec();
    let mut all = Vec::new();
    for (engine, n) in [(plain, first), (yarn, n - first)] {
        if n > 0 {
            let answer = ask(&mut scheduler(&engine, ty, 3 * CONTEXT), &request(text.clone(), n));
            text.extend(&answer.tokens);
            all.extend(answer.logprobs);
        }
    }
    all
}

#[test]
fn a_text_is_read_again_once_it_is_longer_than_the_model_was_made_for() {
    let dir = tempfile::tempdir().unwrap();
    // What a longer context than the model's own asks for by itself.
    let engine = engine(dir.path(), None);
    let config = engine.model().config();
    assert_eq!((config.made_for(), config.context_length), (CONTEXT, 3 * CONTEXT));
    for ty in [KvType::F16, KvType::F32] {
        let mut scheduler = scheduler(&engine, ty, 3 * CONTEXT);
        for seed in [1, 2] {
            let text = prompt(seed, 190);
            let answer = ask(&mut scheduler, &request(text.clone(), 200));
            assert_eq!(answer.finish_reason, FinishReason::Length);
            assert_eq!(answer.logprobs, expected(dir.path(), ty, &text, 200), "{ty} {seed}");
            // As much as the context has room for.
            let all = ask(&mut scheduler, &request(text.clone(), usize::MAX));
            assert_eq!((all.finish_reason, all.tokens.len()), (FinishReason::Length, 578));
            assert_eq!(all.logprobs[..200], answer.logprobs, "{ty} {seed}");
        }
        scheduler.forget();
        let load = scheduler.load();
        assert_eq!(load.kv_pages_free, load.kv_pages);
    }
    let plain = self::engine(dir.path(), Some("none"));
    let plain =
        ask(&mut self::scheduler(&plain, KvType::F16, 3 * CONTEXT), &request(prompt(1, 190), 200));
    assert_ne!(plain.logprobs, expected(dir.path(), KvType::F16, &prompt(1, 190), 200));
}

#[test]
fn long_prompts_and_those_with_long_answers_to_come_are_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path(), None);
    let yarn = self::engine(dir.path(), Some("yarn:3"));
    // An eighth of the context is kept for answers of unknown length; shorter ones may be known to fit.
    for (length, n, scaled) in [
        (CONTEXT + 1, 20, true),
        (CONTEXT - 30, usize::MAX, true),
        (CONTEXT - 30, 30, false),
        (CONTEXT - 32, 33, false),
    ] {
        let mut scheduler = scheduler(&engine, KvType::F16, 3 * CONTEXT);
        let text = prompt(3, length);
        let answer = ask(&mut scheduler, &request(text.clone(), n));
        let n = answer.tokens.len();
        let want = match scaled {
            true => {
                let mut yarn = self::scheduler(&yarn, KvType::F16, 3 * CONTEXT);
                ask(&mut yarn, &request(text.clone(), n)).logprobs
            }
            false => expected(dir.path(), KvType::F16, &text, n),
        };
        assert_eq!(answer.logprobs, want, "{length}, {n}");
        assert_eq!(scheduler.load().prompt_tokens as usize, length);
    }
}

/// What was read without stretching is of no use to a longer text, and the other way round.
#[test]
fn only_texts_of_a_kind_share_their_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path(), None);
    let mut scheduler = scheduler(&engine, KvType::F16, 6 * CONTEXT);
    let text = prompt(4, 2 * CONTEXT);
    let mut cached =
        |n: usize| ask(&mut scheduler, &request(text[..n].to_vec(), 3)).usage.cached_tokens;
    assert_eq!(cached(200), 0);
    assert_eq!(cached(300), 0);
    assert_eq!(cached(210), 200);
    assert!(cached(400) >= 300);
    // What outgrew the model is there as both: what came before that, and all of it.
    let long = ask(&mut scheduler, &request(prompt(5, 200), 100));
    let mut all = prompt(5, 200);
    all.extend(&long.tokens);
    let mut cached =
        |n: usize| ask(&mut scheduler, &request(all[..n].to_vec(), 3)).usage.cached_tokens;
    assert!(cached(240) >= 239);
    assert!(cached(300) >= 298);
}

#[test]
fn several_outgrow_it_in_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path(), None);
    let texts = [(6, 200), (7, 240), (8, 100), (9, 300)].map(|(seed, n)| prompt(seed, n));
    for kv_tokens in [3 * CONTEXT, 12 * CONTEXT] {
        let mut scheduler = scheduler(&engine, KvType::F32, kv_tokens);
        let requests = texts.clone().map(|text| request(text, 180));
        let ids = requests.clone().map(|request| scheduler.submit(request).unwrap());
        let mut answers = Vec::new();
        while !scheduler.is_idle() {
            for update in scheduler.step().unwrap() {
                if let Event::Finished(answer) = update.event {
                    answers.push((update.request, answer));
                }
            }
        }
        for ((id, text), request) in ids.iter().zip(&texts).zip(&requests) {
            let (_, answer) = answers.iter().find(|(of, _)| of == id).unwrap();
            // The longest, and the one with an eighth of the context to come, are stretched from the start.
            let want = match text.len() > CONTEXT - CONTEXT / 8 {
                false => expected(dir.path(), KvType::F32, text, 180),
                true => {
                    let yarn = self::engine(dir.path(), Some("yarn:3"));
                    ask(&mut self::scheduler(&yarn, KvType::F32, 3 * CONTEXT), request).logprobs
                }
            };
            assert_eq!(answer.logprobs, want, "{}", text.len());
        }
        let load = scheduler.load();
        assert_eq!((load.running, load.kv_pages_free), (0, load.kv_pages));
    }
}

/// A context that ends where the model's own does is never left.
#[test]
fn nothing_is_stretched_that_can_not_get_long() {
    let dir = tempfile::tempdir().unwrap();
    let options = LoadOptions {
        threads: Some(2),
        ctx: Some(CONTEXT),
        rope_scaling: Some("auto:3".parse().unwrap()),
        ..LoadOptions::default()
    };
    let short = Engine::load(&tiny_model(dir.path(), false), &options).unwrap();
    let mut scheduler = scheduler(&Arc::new(short), KvType::F16, CONTEXT);
    let text = prompt(1, 240);
    let answer = ask(&mut scheduler, &request(text.clone(), usize::MAX));
    assert_eq!(answer.tokens.len(), 16);
    let plain = engine(dir.path(), Some("none"));
    let mut plain = self::scheduler(&plain, KvType::F16, 3 * CONTEXT);
    assert_eq!(answer.logprobs, ask(&mut plain, &request(text, 16)).logprobs);
}

/// What answers to one prompt have in common is read again once, and kept once.
#[test]
fn answers_that_outgrow_it_together_share_what_they_share() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path(), None);
    // Three pages are common to all, and each ends in two more: eleven. Apart they would take twenty.
    let mut scheduler = scheduler(&engine, KvType::F16, 3 * CONTEXT);
    let sampling = Sampling { seed: Some(3), ..Sampling::default() };
    let request = Request { n: 4, sampling, ..request(prompt(2, 220), 80) };
    scheduler.submit(request).unwrap();
    let mut ended = 0;
    while !scheduler.is_idle() {
        let updates = scheduler.step().unwrap();
        ended += updates.iter().filter(|u| matches!(u.event, Event::Finished(_))).count();
    }
    let load = scheduler.load();
    assert_eq!((ended, load.preempted, load.prompt_tokens), (4, 0, 220));
}

/// A draft model has as much to do with it as the model.
#[test]
fn guesses_outgrow_it_too() {
    let dir = tempfile::tempdir().unwrap();
    let engine = engine(dir.path(), None);
    let options = SchedulerOptions { ngram: false, guesses: Some(4), ..Default::default() };
    let mut scheduler = Scheduler::new(Arc::clone(&engine), options).unwrap();
    scheduler.set_draft(Arc::clone(&engine)).unwrap();
    let text = prompt(1, 190);
    let answer = ask(&mut scheduler, &request(text.clone(), 200));
    assert_eq!(answer.logprobs, expected(dir.path(), KvType::F16, &text, 200));
    // The model's own guesses come true, but for those right before the border, where it looks further ahead.
    assert!(
        answer.usage.accepted_tokens * 10 > answer.usage.drafted_tokens * 7,
        "{:?}",
        answer.usage
    );
}
