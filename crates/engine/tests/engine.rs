//! What a caller of the engine relies on, shown on a tiny random model.

mod support;

use engine::sampler::Sampling;
use engine::{
    BenchPlan, BenchTest, Completion, Delta, Engine, Error, FinishReason, Flow, LoadOptions,
    Request, Scheduler, SchedulerOptions,
};
use kernels::attention::KvType;
use std::sync::Arc;
use support::{CONTEXT, byte, special, tiny_model, tiny_safetensors};
use text::template::Message;
use text::tokenizer::Special;

fn load(thinks: bool, ctx: Option<usize>) -> (tempfile::TempDir, Scheduler) {
    let dir = tempfile::tempdir().unwrap();
    let path = tiny_model(dir.path(), thinks);
    let engine = Engine::load(&path, &LoadOptions { ctx, ..LoadOptions::default() }).unwrap();
    (dir, Scheduler::new(Arc::new(engine), SchedulerOptions::default()).unwrap())
}

fn ask(engine: &Engine, text: &str) -> Request {
    let mut request =
        engine.chat(&[Message::new("user", text)], None, serde_json::Map::new()).unwrap();
    request.sampling = Sampling { seed: Some(7), ..Sampling::default() };
    request
}

fn answer(scheduler: &mut Scheduler, request: &Request) -> Completion {
    scheduler.complete(request, &mut |_| Flow::Continue).unwrap()
}

/// Never one of the tokens that end the turn or the thinking.
fn talkative(mut request: Request) -> Request {
    for text in support::SPECIAL {
        request.sampling.logit_bias.push((special(text), -100.0));
    }
    request
}

#[test]
fn the_same_seed_gives_the_same_text() {
    let (_dir, mut scheduler) = load(false, None);
    let mut request = talkative(ask(scheduler.engine(), "hello"));
    request.max_tokens = Some(40);
    let first = answer(&mut scheduler, &request);
    assert_eq!(first.usage.completion_tokens, 40);
    assert_eq!(first.finish_reason, FinishReason::Length);
    assert_eq!(first.tokens, answer(&mut scheduler, &request).tokens);
    scheduler.forget();
    assert_eq!(first.tokens, answer(&mut scheduler, &request).tokens);
    request.sampling.seed = Some(8);
    assert_ne!(first.tokens, answer(&mut scheduler, &request).tokens);
}

#[test]
fn what_a_prompt_shares_with_the_last_one_is_not_read_again() {
    let (_dir, mut scheduler) = load(false, None);
    let mut request =
        talkative(ask(scheduler.engine(), "a long beginning that both prompts share: one"));
    request.max_tokens = Some(10);
    let first = answer(&mut scheduler, &request);
    assert_eq!(first.usage.cached_tokens, 0);

    let mut other =
        talkative(ask(scheduler.engine(), "a long beginning that both prompts share: two"));
    other.max_tokens = Some(10);
    let warm = answer(&mut scheduler, &other);
    let shared = request.prompt.iter().zip(&other.prompt).take_while(|(a, b)| a == b).count();
    assert_eq!(warm.usage.cached_tokens, shared);
    scheduler.forget();
    let cold = answer(&mut scheduler, &other);
    assert_eq!(cold.usage.cached_tokens, 0);
    assert_eq!(warm.tokens, cold.tokens);

    // The answer itself is in the cache too, but for its last token.
    let mut next = other.clone();
    next.prompt.extend(&cold.tokens);
    let next = answer(&mut scheduler, &next);
    assert_eq!(next.usage.cached_tokens, other.prompt.len() + 9);
}

#[test]
fn thinking_is_told_from_the_answer_and_kept_to_its_budget() {
    let (_dir, mut scheduler) = load(true, None);
    assert!(scheduler.engine().thinks());
    let mut request = talkative(ask(scheduler.engine(), "why?"));
    request.max_thinking = Some(12);
    request.max_tokens = Some(40);
    let mut order = Vec::new();
    let completion = scheduler
        .complete(&request, &mut |delta| {
            match delta {
                Delta::Reasoning(_) if order.last() != Some(&"reasoning") => {
                    order.push("reasoning");
                }
                Delta::Thought { tokens } => {
                    assert_eq!(tokens, 14);
                    order.push("thought");
                }
                Delta::Content(_) if order.last() != Some(&"content") => order.push("content"),
                _ => {}
            }
            Flow::Continue
        })
        .unwrap();
    assert_eq!(order, ["reasoning", "thought", "content"]);
    // Twelve tokens of its own, then the line end and the tag that were forced on it.
    assert_eq!(completion.tokens[12..14], [byte(b'\n'), special("</think>")]);
    assert_eq!(completion.usage.reasoning_tokens, 14);
    assert_eq!(completion.usage.completion_tokens, 40);
    assert!(!completion.content.is_empty());
    assert!(!completion.reasoning.contains("think"));
    assert!(completion.timings.thinking_s > 0.0);
    assert!(completion.timings.thinking_s < completion.timings.decode_s);
}

#[test]
fn the_model_ends_its_turn() {
    let (_dir, mut scheduler) = load(false, None);
    let mut request = ask(scheduler.engine(), "hi");
    request.sampling.logit_bias.push((special("<|im_end|>"), 100.0));
    let completion = answer(&mut scheduler, &request);
    assert_eq!(completion.tokens, [special("<|im_end|>")]);
    assert_eq!(completion.content, "");
    assert_eq!(completion.finish_reason, FinishReason::Stop);
}

#[test]
fn a_stop_string_ends_the_answer_and_is_left_out() {
    let (_dir, mut scheduler) = load(false, None);
    let mut request = ask(scheduler.engine(), "hi");
    request.sampling.temperature = 0.0;
    request.sampling.logit_bias.push((byte(b'x'), 100.0));
    request.stop = vec!["xxxx".to_owned()];
    request.max_tokens = Some(50);
    let completion = answer(&mut scheduler, &request);
    assert_eq!((completion.content.as_str(), completion.tokens.len()), ("", 4));
    assert_eq!(completion.finish_reason, FinishReason::Stop);
    request.stop = vec!["y".to_owned()];
    request.max_tokens = Some(3);
    assert_eq!(answer(&mut scheduler, &request).content, "xxx");
}

#[test]
fn the_end_of_the_context_ends_the_answer() {
    let (_dir, mut scheduler) = load(false, Some(80));
    let request = talkative(ask(scheduler.engine(), "go on"));
    let completion = answer(&mut scheduler, &request);
    assert_eq!(completion.finish_reason, FinishReason::Length);
    let usage = completion.usage;
    assert_eq!(usage.prompt_tokens + usage.completion_tokens, 80);
}

#[test]
fn a_prompt_that_does_not_fit_is_refused_with_the_numbers() {
    let (_dir, mut scheduler) = load(false, Some(64));
    let request = ask(scheduler.engine(), &"x".repeat(100));
    let error = scheduler.complete(&request, &mut |_| Flow::Continue).unwrap_err();
    assert!(matches!(error, Error::PromptTooLong { context: 64, model_context: CONTEXT, .. }));
    assert!(error.to_string().contains("--ctx"), "{error}");
    let empty = Request::default();
    let error = scheduler.complete(&empty, &mut |_| Flow::Continue).unwrap_err();
    assert!(matches!(error, Error::EmptyPrompt));
}

#[test]
fn the_caller_can_stop_while_the_prompt_is_read_and_later() {
    let (_dir, mut scheduler) = load(false, None);
    let request = talkative(ask(scheduler.engine(), "hello"));
    let completion = scheduler.complete(&request, &mut |_| Flow::Stop).unwrap();
    assert_eq!(completion.finish_reason, FinishReason::Cancelled);
    // A stop is heard within one step, and this short a prompt is read in one.
    assert!(completion.tokens.len() <= 1);

    let mut pieces = 0;
    let completion = scheduler
        .complete(&request, &mut |delta| {
            pieces += usize::from(matches!(delta, Delta::Content(_)));
            if pieces == 3 { Flow::Stop } else { Flow::Continue }
        })
        .unwrap();
    assert_eq!(completion.finish_reason, FinishReason::Cancelled);
    assert!((3..20).contains(&completion.tokens.len()));
    // And the engine goes on working.
    scheduler.forget();
    assert!(scheduler.complete(&request, &mut |_| Flow::Stop).unwrap().tokens.len() <= 1);
}

#[test]
fn log_probabilities_belong_to_the_tokens() {
    let (_dir, mut scheduler) = load(false, None);
    let mut request = talkative(ask(scheduler.engine(), "hello"));
    request.sampling = Sampling { temperature: 0.0, ..Sampling::default() };
    request.max_tokens = Some(5);
    request.logprobs = Some(3);
    let completion = answer(&mut scheduler, &request);
    assert_eq!(completion.logprobs.len(), completion.tokens.len());
    for (entry, token) in completion.logprobs.iter().zip(&completion.tokens) {
        assert_eq!(entry.token, *token);
        assert_eq!(entry.top[0], (*token, entry.logprob), "greedy takes the likeliest");
        assert!(entry.top.len() == 3 && entry.top[0].1 >= entry.top[1].1);
        let sum: f32 = entry.top.iter().map(|(_, p)| p.exp()).sum();
        assert!(sum <= 1.0 + 1e-5);
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    let (_dir, mut scheduler) = load(false, None);
    let mut request = ask(scheduler.engine(), "hi");
    request.sampling.top_p = 1.5;
    let error = scheduler.complete(&request, &mut |_| Flow::Continue).unwrap_err().to_string();
    assert!(error.contains("top_p is 1.5"), "{error}");
}

#[test]
fn scoring_agrees_with_itself_whatever_the_piece() {
    let (_dir, scheduler) = load(false, None);
    let engine = scheduler.engine();
    let text = "the quick brown fox jumps over the lazy dog, and over it again. ".repeat(4);
    let tokens = engine.tokenizer().encode(&text, Special::Plain);
    let mut rows = Vec::new();
    engine
        .logits_of(&tokens, 100, KvType::F32, |position, logits| {
            assert_eq!(position, rows.len());
            rows.push(logits.to_vec());
            Ok::<(), Error>(())
        })
        .unwrap();
    assert_eq!(rows.len(), tokens.len());
    // A piece begins anew: positions 100 and 0 see one token each.
    let mut alone = Vec::new();
    let each = |_: usize, logits: &[f32]| {
        alone.push(logits.to_vec());
        Ok::<(), Error>(())
    };
    engine.logits_of(&tokens[100..101], 100, KvType::F32, each).unwrap();
    assert_eq!(rows[100], alone[0]);

    let mut told = 0;
    let result = engine.perplexity(&tokens, 64, KvType::F16, |_, _| told += 1).unwrap();
    assert_eq!(told, tokens.len() / 64);
    assert_eq!(result.scored, tokens.len() / 64 * 31);
    assert!((result.perplexity.ln() - result.nll).abs() < 1e-9);
    // A model that knows nothing of text is no better than chance, nor much worse.
    assert!(result.perplexity > 30.0 && result.perplexity < 1e5, "{result:?}");
    let error = engine.perplexity(&tokens[..10], 64, KvType::F16, |_, _| ()).unwrap_err();
    assert!(matches!(error, Error::TextTooShort { tokens: 10, context: 64 }));
}

fn plan(n_prompt: &[usize], n_gen: &[usize], n_batch: &[usize], n_depth: &[usize]) -> BenchPlan {
    BenchPlan {
        n_prompt: n_prompt.to_vec(),
        n_gen: n_gen.to_vec(),
        n_batch: n_batch.to_vec(),
        n_depth: n_depth.to_vec(),
        repetitions: 2,
        cache: KvType::F16.into(),
        warmup: true,
    }
}

#[test]
fn the_bench_counts_what_it_is_asked_to() {
    let (_dir, scheduler) = load(false, None);
    let engine = scheduler.engine();
    let mut runs = Vec::new();
    let plan = plan(&[32, 0], &[8], &[1, 3], &[0, 70]);
    let rows = engine::bench(engine.model(), &plan, |case, run| runs.push((*case, run))).unwrap();
    let cases: Vec<_> = rows
        .iter()
        .map(|r| (r.case.n_prompt, r.case.n_gen, r.case.n_batch, r.case.n_depth))
        .collect();
    let expected =
        [(32, 0, 1, 0), (0, 8, 1, 0), (0, 8, 3, 0), (32, 0, 1, 70), (0, 8, 1, 70), (0, 8, 3, 70)];
    assert_eq!(cases, expected);
    assert!(rows.iter().all(|r| r.samples_ts.len() == 2 && r.avg_ts > 0.0));
    assert_eq!(runs.last(), Some(&(rows[5].case, 2)));
}

#[test]
fn the_bench_can_do_without() {
    let (_dir, scheduler) = load(false, None);
    let engine = scheduler.engine();
    let nothing = engine::bench(engine.model(), &plan(&[0], &[0], &[1], &[0]), |_, _| ()).unwrap();
    assert!(nothing.is_empty());
    let cold = BenchPlan { warmup: false, ..plan(&[5], &[], &[1], &[0]) };
    let mut runs = Vec::new();
    let rows = engine::bench(engine.model(), &cold, |_, run| runs.push(run)).unwrap();
    assert_eq!(rows[0].samples_ts.len(), 2);
    assert!(!runs.contains(&0));
}

#[test]
fn the_bench_knows_what_a_token_costs() {
    let (_dir, scheduler) = load(false, None);
    let engine = scheduler.engine();
    let model = engine.model();
    let rows = engine::bench(model, &plan(&[4], &[3], &[1, 2], &[0, 10]), |_, _| ()).unwrap();
    let c = model.config();
    let (q, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
    let layer = c.hidden * (2 * q + 2 * kv + 3 * c.ffn);
    let output = c.hidden * model.vocab();
    // A token at position p sees p + 1 positions, and meets each of them twice.
    let attention = |seen: f64| 2.0 * seen * (c.layers * q) as f64;
    let fixed = (c.layers * layer) as f64;
    for row in &rows {
        let depth = row.case.n_depth as f64;
        let expected = match row.case.test {
            BenchTest::Prefill => fixed + attention(depth + 2.5) + output as f64 / 4.0,
            BenchTest::Decode => fixed + attention(depth + 2.0) + output as f64,
        };
        assert!((row.operations_per_token - 2.0 * expected).abs() < 1e-6, "{row:?}");
        // Keys and values are two numbers of two bytes.
        let cached = (depth + 2.0) * (4 * c.layers * kv) as f64;
        let weights = model.weight_bytes(row.case.n_batch) / row.case.n_batch as f64;
        let bytes = (row.case.test == BenchTest::Decode).then_some(weights + cached);
        assert_eq!(row.bytes_per_token, bytes);
    }
    // The tiny model's weights are f32, in whole panels of sixteen rows.
    assert!(model.weight_bytes(1) >= (4 * (c.layers * layer + output)) as f64);
}

#[test]
fn a_directory_of_safetensors_can_be_talked_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = tiny_safetensors(dir.path());
    let engine = Arc::new(Engine::load(&path, &LoadOptions::default()).unwrap());
    let mut scheduler = Scheduler::new(Arc::clone(&engine), SchedulerOptions::default()).unwrap();
    let defaults = engine.defaults();
    assert_eq!((defaults.temperature, defaults.top_k), (0.6, 40));
    assert_eq!((defaults.top_p, defaults.repetition_penalty), (0.95, 1.05));
    assert!(!engine.has_template(), "ChatML is assumed");
    assert!(engine.tokenizer().is_end_of_generation(special("<|im_end|>")));
    let mut request = talkative(ask(scheduler.engine(), "hello"));
    assert_eq!(request.prompt[0], special("<|im_start|>"));
    request.max_tokens = Some(20);
    let completion = answer(&mut scheduler, &request);
    assert_eq!(completion.tokens.len(), 20);
    assert!(completion.tokens.iter().all(|t| *t < 256));

    std::fs::remove_file(path.join("tokenizer.json")).unwrap();
    let error = Engine::load(&path, &LoadOptions::default()).err().unwrap().to_string();
    assert!(error.contains("tokenizer.json"), "{error}");
}
