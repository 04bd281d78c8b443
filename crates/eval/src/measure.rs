//! Asking: every item `k` times, as many at a time as the completer takes, each sample into the run
//! folder as soon as it is judged.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Instant;

use engine::{FinishReason, Flow};
use reason::answer::Kind;
use reason::thought::{End, Manner};
use reason::{Ask, Completer, Mind, Problem, Receipt, Sampling, Spec};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use verify::program::Sandbox;
use verify::{Attempt, Verdict, Verifier};

use crate::Error;
use crate::benchmark::Item;
use crate::run::{RunFolder, Sample, done};

/// What is asked.
pub struct Plan {
    /// The items, in the order in which they are asked.
    pub items: Vec<Item>,
    /// Samples of each.
    pub k: usize,
    /// Seed of the run; each sample's own is made from it, the item's id and the sample's number.
    pub seed: u64,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Most tokens of an answer, thinking included.
    pub max_tokens: usize,
    /// Most tokens of the thinking.
    pub max_thinking: Option<usize>,
    /// Texts that end an answer.
    pub stop: Vec<String>,
    /// How each sample is reasoned about; a plain answer if none.
    pub how: Option<How>,
    /// Runs the programs that a strategy writes.
    pub sandbox: Option<Arc<Sandbox>>,
    /// Tells a strategy how good its thoughts are. (The item's own verifier knows the right answer.)
    pub judge: Option<Box<dyn Verifier>>,
}

/// A strategy, and the manner of its thoughts. A sample is then the strategy's whole answer.
#[derive(Clone, Debug)]
pub struct How {
    /// The strategy.
    pub spec: Spec,
    /// The manner of its thoughts.
    pub manner: Manner,
}

/// What a judge says of an attempt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// The verdict, if there can be one.
    pub verdict: Option<Verdict>,
    /// Why there can't.
    pub cannot_tell: Option<String>,
    /// What else was found, by name.
    pub details: Map<String, Value>,
}

/// Judges an attempt at a task.
pub type Judge<'a> = dyn Fn(&Value, &Attempt<'_>) -> Judgement + Sync + 'a;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All samples are there.
    Whole,
    /// It was interrupted; it can be gone on with.
    Interrupted,
}

/// Seed of one sample: below 2³¹, which every engine takes.
pub fn sample_seed(seed: u64, item: &str, index: usize) -> u64 {
    let hash = Sha256::digest(format!("{seed}/{item}/{index}"));
    u64::from(u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]]) >> 1)
}

/// Asks what isn't in `there` yet. `on_sample` is told of each new sample; the run ends as soon as
/// `interrupted` says so.
///
/// # Errors
/// The model can't be asked any more, or a sample can't be written. What was written stays.
pub fn measure(
    completer: &dyn Completer,
    plan: &Plan,
    judge: &Judge<'_>,
    folder: &mut RunFolder,
    there: &[Sample],
    interrupted: &(dyn Fn() -> bool + Sync),
    on_sample: &mut dyn FnMut(&Sample),
) -> Result<Ended, Error> {
    let there: HashSet<(String, usize)> = done(there);
    // First samples of all items come first: what is there of a run that was cut is of use.
    let jobs: VecDeque<(&Item, usize)> = (0..plan.k)
        .flat_map(|index| plan.items.iter().map(move |item| (item, index)))
        .filter(|(item, index)| !there.contains(&(item.id.clone(), *index)))
        .collect();
    // A strategy has several thoughts at a time.
    let width = plan.how.as_ref().map_or(1, |how| how.spec.width().max(1));
    let workers = (completer.slots() / width).clamp(1, jobs.len().max(1));
    let jobs = Mutex::new(jobs);
    let stop = AtomicBool::new(false);
    let halted = || stop.load(Ordering::Relaxed) || interrupted();
    let mut failure = None;
    std::thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        for _ in 0..workers {
            let (tell, jobs, halted) = (tell.clone(), &jobs, &halted);
            scope.spawn(move || {
                while !halted() {
                    let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some((item, index)) = next else { return };
                    if let Some(outcome) = one(completer, plan, judge, item, index, halted) {
                        // Whoever has stopped listening has stopped the run.
                        let _ = tell.send(outcome);
                    }
                }
            });
        }
        drop(tell);
        for outcome in told {
            let written = outcome.and_then(|sample| folder.add(&sample).map(|()| sample));
            match written {
                Ok(sample) => on_sample(&sample),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    failure = failure.take().or(Some(error));
                }
            }
        }
    });
    match (failure, interrupted()) {
        (Some(error), _) => Err(error),
        (None, true) => Ok(Ended::Interrupted),
        (None, false) => Ok(Ended::Whole),
    }
}

/// What was answered to an item, however that came about.
struct Answered {
    reasoning: String,
    content: String,
    finish_reason: &'static str,
    prompt_tokens: usize,
    completion_tokens: usize,
    reasoning_tokens: usize,
    seconds: f64,
    /// Where it was reasoned about.
    receipt: Option<Receipt>,
}

/// One sample; none if the run was halted meanwhile.
fn one(
    completer: &dyn Completer,
    plan: &Plan,
    judge: &Judge<'_>,
    item: &Item,
    index: usize,
    halted: &(dyn Fn() -> bool + Sync),
) -> Option<Result<Sample, Error>> {
    let seed = sample_seed(plan.seed, &item.id, index);
    let asked = Instant::now();
    let outcome = match &plan.how {
        None => answered(completer, plan, item, seed, halted),
        Some(how) => reasoned(completer, plan, how, item, seed, halted),
    };
    let judge = |reasoning: &str, answer: &str| {
        judge(&item.task, &Attempt { question: &item.question, reasoning, answer })
    };
    let (answered, judgement) = match outcome {
        Ok(answered) => {
            let answered = answered?;
            let judgement = judge(&answered.reasoning, &answered.content);
            (answered, judgement)
        }
        Err(error) if is_the_items(&error) => {
            let verdict = Verdict::missing(format!("the item could not be asked: {error}"));
            let refused = Answered {
                reasoning: String::new(),
                content: String::new(),
                finish_reason: "refused",
                prompt_tokens: 0,
                completion_tokens: 0,
                reasoning_tokens: 0,
                seconds: asked.elapsed().as_secs_f64(),
                receipt: None,
            };
            (refused, Judgement { verdict: Some(verdict), ..Judgement::default() })
        }
        Err(error) => return Some(Err(error.into())),
    };
    let receipt = answered.receipt.map(|receipt| kept(&receipt, &judge));
    Some(Ok(Sample {
        item: item.id.clone(),
        index,
        seed,
        question: item.question.clone(),
        task: item.task.clone(),
        reasoning: answered.reasoning,
        answer: answered.content,
        finish_reason: answered.finish_reason.to_owned(),
        prompt_tokens: answered.prompt_tokens,
        completion_tokens: answered.completion_tokens,
        reasoning_tokens: answered.reasoning_tokens,
        seconds: answered.seconds,
        verdict: judgement.verdict,
        cannot_tell: judgement.cannot_tell,
        group: item.group.clone(),
        details: judgement.details,
        receipt,
    }))
}

/// Asked once.
fn answered(
    completer: &dyn Completer,
    plan: &Plan,
    item: &Item,
    seed: u64,
    halted: &(dyn Fn() -> bool + Sync),
) -> Result<Option<Answered>, reason::Error> {
    let ask = Ask {
        prompt: item.prompt.clone(),
        sampling: plan.sampling.clone(),
        seed,
        max_tokens: Some(plan.max_tokens),
        max_thinking: plan.max_thinking,
        stop: plan.stop.clone(),
        ..Ask::chat(Vec::new())
    };
    let asked = Instant::now();
    let completion =
        completer.complete(&ask, &mut |_| if halted() { Flow::Stop } else { Flow::Continue })?;
    let finish_reason = match completion.finish_reason {
        FinishReason::Cancelled => return Ok(None),
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::Deadline => "deadline",
    };
    Ok(Some(Answered {
        reasoning: completion.reasoning,
        content: completion.content,
        finish_reason,
        prompt_tokens: completion.usage.prompt_tokens,
        completion_tokens: completion.usage.completion_tokens,
        reasoning_tokens: completion.usage.reasoning_tokens,
        seconds: asked.elapsed().as_secs_f64(),
        receipt: None,
    }))
}

/// Reasoned about.
fn reasoned(
    completer: &dyn Completer,
    plan: &Plan,
    how: &How,
    item: &Item,
    seed: u64,
    halted: &(dyn Fn() -> bool + Sync),
) -> Result<Option<Answered>, reason::Error> {
    let problem = Problem {
        prompt: item.prompt.clone(),
        question: item.question.clone(),
        instruction: Some(reason::INSTRUCTION.to_owned()),
        kind: Kind::Final,
        verifier: plan.judge.as_deref(),
    };
    let mut mind = Mind::new(completer, problem, how.manner.clone(), halted, &|_| {});
    mind.sandbox = plan.sandbox.as_deref();
    mind.seed = seed;
    let receipt = reason::reason(how.spec.strategy(), &mind)?;
    if receipt.cancelled {
        return Ok(None);
    }
    let chosen = receipt.thoughts.iter().find(|t| Some(t.number) == receipt.chosen);
    let finish_reason = match chosen.map(|thought| thought.end) {
        None => "refused",
        Some(End::Length | End::Budget) => "length",
        Some(End::Deadline) => "deadline",
        Some(_) => "stop",
    };
    Ok(Some(Answered {
        reasoning: receipt.reasoning.clone(),
        content: receipt.content.clone(),
        finish_reason,
        prompt_tokens: receipt.usage.prompt_tokens,
        completion_tokens: receipt.usage.drawn_tokens,
        reasoning_tokens: receipt.usage.reasoning_tokens,
        seconds: receipt.usage.seconds,
        receipt: Some(receipt),
    }))
}

/// What is kept of a receipt: all but the thoughts' texts. Each thought is judged, so that other rules
/// can be played through later.
fn kept(receipt: &Receipt, judge: &dyn Fn(&str, &str) -> Judgement) -> Value {
    let thoughts: Vec<Value> = receipt
        .thoughts
        .iter()
        .map(|thought| {
            let answer = thought.answer.as_ref();
            let judged = answer.and_then(|_| judge(&thought.reasoning, &thought.content).verdict);
            json!({
                "number": thought.number,
                "answer": thought.answer,
                "score": judged.map(|verdict| verdict.score),
                "end": thought.end,
                "tokens": thought.tokens,
                "confidence": thought.confidence,
                "steps": thought.steps,
            })
        })
        .collect();
    json!({
        "strategy": receipt.strategy,
        "confidence": receipt.confidence,
        "why": receipt.why,
        "usage": receipt.usage,
        "vote": receipt.vote,
        "thoughts": thoughts,
    })
}

/// Whether the error is about this one item (a prompt that doesn't fit) and not about all.
fn is_the_items(error: &reason::Error) -> bool {
    match error {
        reason::Error::Engine(error) => !matches!(
            error,
            engine::Error::Broken(_)
                | engine::Error::ShuttingDown
                | engine::Error::CacheTooSmall { .. }
        ),
        reason::Error::Refused { status, .. } => matches!(status, 400 | 413 | 422),
        reason::Error::Setting(_) | reason::Error::Unavailable { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{FORMAT, Manifest, ModelId, Source, read};
    use engine::{Completion, Delta};
    use reason::Prompt;

    /// Says the question back; fails at "down", refuses "long".
    struct Echo;

    impl Completer for Echo {
        fn name(&self) -> &str {
            "echo"
        }

        fn slots(&self) -> usize {
            3
        }

        fn complete(
            &self,
            ask: &Ask,
            _receive: &mut dyn FnMut(Delta) -> Flow,
        ) -> Result<Completion, reason::Error> {
            let Prompt::Text(text) = &ask.prompt else { panic!() };
            let url = "http://x".to_owned();
            match &**text {
                "down" => {
                    Err(reason::Error::Unavailable { url, why: "gone".into(), retry_after: None })
                }
                "long" => {
                    Err(reason::Error::Refused { url, status: 400, message: "too long".into() })
                }
                _ => Ok(Completion { content: text.clone(), ..Completion::default() }),
            }
        }
    }

    fn item(text: &str) -> Item {
        Item {
            id: text.to_owned(),
            group: None,
            prompt: Prompt::Text(text.to_owned()),
            question: text.to_owned(),
            task: "a".into(),
        }
    }

    fn plan(texts: &[&str], k: usize) -> Plan {
        Plan {
            items: texts.iter().map(|text| item(text)).collect(),
            k,
            seed: 7,
            sampling: Sampling::default(),
            max_tokens: 10,
            max_thinking: None,
            stop: Vec::new(),
            how: None,
            sandbox: None,
            judge: None,
        }
    }

    fn judge(task: &Value, attempt: &Attempt<'_>) -> Judgement {
        let verdict = match task.as_str() == Some(attempt.answer) {
            true => Verdict::right(attempt.answer, "equal"),
            false => Verdict::wrong(attempt.answer, "not equal"),
        };
        Judgement { verdict: Some(verdict), ..Judgement::default() }
    }

    fn folder(dir: &std::path::Path) -> (RunFolder, Vec<Sample>) {
        let manifest = Manifest {
            format: FORMAT,
            benchmark: "toy".into(),
            description: String::new(),
            benchmark_toml: String::new(),
            items: Source { path: String::new(), sha256: String::new() },
            item_count: 0,
            k: 1,
            model: ModelId {
                name: "echo".into(),
                file: None,
                adapter: None,
                flags: None,
                endpoints: vec![],
                parameters: None,
            },
            sampling: Value::Null,
            seed: 7,
            command: Vec::new(),
            version: String::new(),
            machine: None,
            started: 0,
        };
        RunFolder::open(dir, &manifest).unwrap()
    }

    #[test]
    fn what_is_there_is_not_asked_again() {
        let dir = tempfile::tempdir().unwrap();
        let go = || false;
        let (mut run, there) = folder(dir.path());
        let mut n = 0;
        let plan1 = plan(&["a", "b", "long"], 1);
        measure(&Echo, &plan1, &judge, &mut run, &there, &go, &mut |_| n += 1).unwrap();
        assert_eq!(n, 3);
        drop(run);
        let (mut run, there) = folder(dir.path());
        let plan2 = plan(&["a", "b", "long"], 2);
        let ended = measure(&Echo, &plan2, &judge, &mut run, &there, &go, &mut |_| n += 1).unwrap();
        assert_eq!((n, ended), (6, Ended::Whole));
        let (_, samples) = read(dir.path()).unwrap();
        assert_eq!(done(&samples).len(), 6);
        let right = samples.iter().filter(|s| s.verdict.as_ref().unwrap().is_right()).count();
        assert_eq!(right, 2);
        assert_eq!(samples.iter().filter(|s| s.finish_reason == "refused").count(), 2);
        assert_eq!(samples[0].seed, sample_seed(7, &samples[0].item, samples[0].index));
    }

    #[test]
    fn a_failing_model_ends_the_run_and_keeps_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let (mut run, there) = folder(dir.path());
        let go = || false;
        let plan = plan(&["a", "b", "c", "d", "e", "down", "f", "g", "h", "i", "j", "k"], 1);
        let error = measure(&Echo, &plan, &judge, &mut run, &there, &go, &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("gone"), "{error}");
        let (_, samples) = read(dir.path()).unwrap();
        assert!(samples.len() >= 3, "{}", samples.len());
        let stopped = || true;
        let ended =
            measure(&Echo, &plan, &judge, &mut run, &samples, &stopped, &mut |_| {}).unwrap();
        assert_eq!(ended, Ended::Interrupted);
    }
}
