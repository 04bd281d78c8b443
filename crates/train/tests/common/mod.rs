//! What the tests share: golden files, tiny models, and comparisons.

// Each test file uses some of it.
#![allow(dead_code)]

pub mod gguf;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kernels::Pool;
use kernels::attention::KvType;
use kernels::blocks::dequantize_row;
use model::{AdapterUse, KvCache, Model, Sequence, Span, Target, Want, Workspace};
use train::{Batch, Continuation, Gradients, LoraSettings, Network, Precision};
use weights::Checkpoint;
use weights::safetensors::{SafetensorsDir, names};

/// The tiny models of `model`'s goldens.
pub fn tiny(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/goldens").join(name)
}

pub fn open(path: &Path, threads: usize) -> Model {
    Model::load(Checkpoint::open(path).unwrap(), Pool::new(threads), None).unwrap()
}

/// What PyTorch made of a model (see goldens/make_gradients.py).
pub struct Golden(BTreeMap<String, Vec<f32>>);

impl Golden {
    pub fn read(name: &str) -> Golden {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
        let file = SafetensorsDir::open(&dir.join(format!("{name}.safetensors"))).unwrap();
        let read = |info: &weights::TensorInfo| {
            let mut values = vec![0.0; info.elements()];
            dequantize_row(info.ty, file.tensor(&info.name).unwrap().data, &mut values).unwrap();
            (info.name.clone(), values)
        };
        Golden(file.tensors().iter().map(read).collect())
    }

    fn get(&self, kind: &str, text: usize) -> &[f32] {
        &self.0[&format!("{kind}.{text}")]
    }

    pub fn batch(&self) -> Batch {
        let mut batch = Batch::new();
        for text in 0..3 {
            let tokens: Vec<u32> = self.get("tokens", text).iter().map(|t| *t as u32).collect();
            batch.push(&tokens, self.get("weights", text)).unwrap();
        }
        batch
    }

    /// Log-probabilities or entropies, where the batch has targets; 0 elsewhere.
    pub fn scores(&self, kind: &str, batch: &Batch) -> Vec<f32> {
        let all = (0..3).flat_map(|text| self.get(kind, text));
        all.zip(batch.targets()).map(|(x, t)| t.map_or(0.0, |_| *x)).collect()
    }

    /// The tensors whose name begins with `kind.`, under the names that [`Network`] uses.
    pub fn tensors(&self, kind: &str) -> BTreeMap<String, &[f32]> {
        let name = |name: &str| Some(ours(name.strip_prefix(kind)?.strip_prefix('.')?));
        self.0.iter().filter_map(|(n, values)| Some((name(n)?, &values[..]))).collect()
    }
}

/// `model.layers.0.self_attn.q_proj.lora_A.weight` is `blk.0.attn_q.lora_a` here.
fn ours(name: &str) -> String {
    for (half, ours) in [(".lora_A.weight", "lora_a"), (".lora_B.weight", "lora_b")] {
        if let Some(module) = name.strip_suffix(half) {
            let base = names::to_gguf("llama", &format!("{module}.weight")).unwrap();
            return format!("{}.{ours}", base.strip_suffix(".weight").unwrap());
        }
    }
    names::to_gguf("llama", name).unwrap()
}

/// `‖a - b‖ / ‖b‖`.
pub fn error(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let difference = a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b));
    norm(&mut { difference }) / norm(&mut b.iter().map(|x| f64::from(*x)))
}

/// The mean absolute difference of scores, where there are any.
pub fn mean_difference(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let scored = a.iter().zip(b).filter(|(a, b)| **a != 0.0 || **b != 0.0);
    let (sum, n) =
        scored.fold((0.0, 0.0), |(sum, n), (a, b)| (sum + f64::from((a - b).abs()), n + 1.0));
    sum / n
}

/// What the model itself makes of a batch's targets, read in pieces as small as those of sampling,
/// which are not multiplied in bf16 tiles, with a cache of type `kv`: 0 where there is none.
pub fn sampled(
    model: &Model,
    batch: &Batch,
    adapter: Option<AdapterUse<'_>>,
    kv: KvType,
) -> Vec<f32> {
    let vocab = model.vocab();
    let mut cache = KvCache::new(model.config(), kv, 4096);
    let (mut work, mut out) = (Workspace::default(), vec![0.0; batch.len()]);
    for text in 0..batch.texts() {
        let slots = batch.slots(text);
        let mut sequence = Sequence::default();
        let mut logits = Vec::new();
        for tokens in batch.tokens()[slots.clone()].chunks(15) {
            let span = Span { sequence: &mut sequence, tokens, want: Want::All, adapter };
            let n = model.forward(&mut cache, &mut [span], &mut work).unwrap();
            let mut some = vec![0.0; n * vocab];
            model.logits(&mut work, 0..n, &mut some);
            logits.extend(some);
        }
        for (slot, logits) in slots.zip(logits.chunks_exact(vocab)) {
            let Some(target) = batch.targets()[slot] else { continue };
            let top = logits.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
            let sum: f64 = logits.iter().map(|x| f64::from(x - top).exp()).sum();
            out[slot] = (f64::from(logits[target] - top) - sum.ln()) as f32;
        }
        cache.release(sequence);
    }
    out
}

/// Texts of these lengths that the model writes itself, at temperature 1, after four given tokens.
pub fn written(model: &Model, lengths: &[usize]) -> Batch {
    let mut batch = Batch::new();
    let mut cache = KvCache::new(model.config(), KvType::F16, 4096);
    let (mut work, mut logits) = (Workspace::default(), vec![0.0; model.vocab()]);
    for (i, n) in lengths.iter().enumerate() {
        let mut sequence = Sequence::default();
        let mut tokens: Vec<u32> = vec![40, 300 + i as u32, 264, 12];
        let mut at = 0;
        for draw in numbers(n - tokens.len(), i as u64) {
            let span = Span {
                sequence: &mut sequence,
                tokens: &tokens[at..],
                want: Want::Last,
                adapter: None,
            };
            model.forward(&mut cache, &mut [span], &mut work).unwrap();
            model.logits(&mut work, 0..1, &mut logits);
            at = tokens.len();
            tokens.push(drawn(&logits, f64::from(draw) * 0.5 + 0.5));
        }
        let mut weights = vec![1.0; tokens.len()];
        weights[..4].fill(0.0);
        batch.push(&tokens, &weights).unwrap();
        cache.release(sequence);
    }
    batch
}

/// The token below which a share `draw` of the probability lies.
fn drawn(logits: &[f32], draw: f64) -> u32 {
    let top = logits.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
    let of = |x: &f32| f64::from(x - top).exp();
    let mut left = draw * logits.iter().map(of).sum::<f64>();
    for (i, x) in logits.iter().enumerate() {
        left -= of(x);
        if left <= 0.0 {
            return i as u32;
        }
    }
    logits.len() as u32 - 1
}

/// The gradients of a batch's weighted cross-entropy.
pub fn gradients(network: &Network<'_>, batch: &Batch, dropout: Option<u64>) -> Gradients {
    let mut gradients = Gradients::zeros(network.parameters());
    network.cross_entropy(batch, dropout, &mut gradients).unwrap();
    gradients
}

/// The slope of a loss along the gradient itself, which is the gradient's [`norm`].
pub fn slope(network: &mut Network<'_>, g: &Gradients, loss: impl Fn(&Network<'_>) -> f64) -> f64 {
    let (norm, step) = (norm(g), 2e-3);
    let mut at = |distance: f64| {
        for (values, g) in network.parameters_mut().values_mut().zip(g.all()) {
            let along = values.iter_mut().zip(g);
            along.for_each(|(v, g)| *v += (distance / norm) as f32 * g);
        }
        loss(network)
    };
    let above = at(step);
    let below = at(-2.0 * step);
    at(step);
    (above - below) / (2.0 * step)
}

pub fn norm(g: &Gradients) -> f64 {
    g.all().iter().flatten().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}

/// A network with an adapter whose B, too, is not zero, the same for the same settings.
pub fn adapted<'m>(model: &'m Model, settings: LoraSettings, precision: Precision) -> Network<'m> {
    let mut network = Network::lora(model, settings, precision).unwrap();
    let mut seed = 1;
    for values in network.parameters_mut().values_mut() {
        seed += 1;
        let reach = 0.7 / (values.len() as f32).powf(0.25);
        let random = numbers(values.len(), seed);
        values.iter_mut().zip(random).for_each(|(v, x)| *v = reach * x);
    }
    network
}

pub fn small(targets: &[Target]) -> LoraSettings {
    LoraSettings { rank: 4, alpha: 6.0, targets: targets.to_vec(), ..LoraSettings::default() }
}

/// Uniform in [-1, 1).
pub fn numbers(n: usize, seed: u64) -> Vec<f32> {
    (0..n as u64)
        .map(|i| {
            let x = (i + (seed << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let x = (x ^ (x >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (x >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

pub fn tokens(n: usize, vocab: usize, seed: u64) -> Vec<u32> {
    let token = |x: f32| ((x * 0.5 + 0.5) * vocab as f32) as u32;
    numbers(n, seed).into_iter().map(token).collect()
}

/// Weights of either sign, every third of them 0.
fn weights(n: usize, seed: u64) -> Vec<f32> {
    let mut weights = numbers(n, seed);
    weights.iter_mut().step_by(3).for_each(|w| *w = 0.0);
    weights
}

/// Texts of these lengths with [`weights`].
pub fn texts(lengths: &[usize], vocab: usize, seed: u64) -> Batch {
    let mut batch = Batch::new();
    for (i, n) in lengths.iter().enumerate() {
        let at = seed + 2 * i as u64;
        batch.push(&tokens(*n, vocab, at), &weights(*n, at + 1)).unwrap();
    }
    batch
}

/// Groups, each of a prompt and continuations of these lengths: with what they share held once, and
/// all of their texts by themselves.
pub fn groups(lengths: &[(usize, &[usize])], vocab: usize, mut seed: u64) -> [Batch; 2] {
    let [mut shared, mut apart] = [Batch::new(), Batch::new()];
    for (prompt, lengths) in lengths {
        let prompt = tokens(*prompt, vocab, seed);
        let mut one = |n: &usize| {
            seed += 2;
            (tokens(*n, vocab, seed - 1), weights(*n, seed))
        };
        let all: Vec<(Vec<u32>, Vec<f32>)> = lengths.iter().map(&mut one).collect();
        let continuations: Vec<Continuation<'_>> =
            all.iter().map(|(tokens, weights)| Continuation { tokens, weights }).collect();
        shared.push_group(&prompt, &continuations).unwrap();
        for (tokens, weights) in &all {
            let nothing = vec![0.0; prompt.len()];
            let whole = [&prompt[..], tokens].concat();
            apart.push(&whole, &[&nothing[..], weights].concat()).unwrap();
        }
        seed += 1;
    }
    [shared, apart]
}

/// What is said of the continuations' slots, text after text, whether or not they share a prompt:
/// `like` is the batch in which they do.
pub fn of_continuations(values: &[f32], batch: &Batch, like: &Batch) -> Vec<f32> {
    let of = |text| {
        let end = batch.slots(text).end;
        &values[end - like.slots(text).len()..end]
    };
    (0..like.texts()).flat_map(of).copied().collect()
}

/// The file of a real model: `file` in `$PONDER_TEST_MODELS`, or what the store has under `name`.
/// Where there is neither, the test that asks says so and passes.
pub fn real_model(name: &str, file: &str) -> Option<PathBuf> {
    let given = std::env::var_os("PONDER_TEST_MODELS").map(|dir| PathBuf::from(dir).join(file));
    let found = given.filter(|path| path.is_file()).or_else(|| {
        let store = weights::store::Store::from_env().ok()?;
        Some(store.installed(name).ok()??.path())
    });
    if found.is_none() {
        eprintln!("skipped: no {file} in $PONDER_TEST_MODELS and no {name} in the store");
    }
    found
}
