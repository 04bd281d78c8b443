//! Times one step of LoRA on a real model, and says where the time goes.
//!
//! ```sh
//! cargo run --release -p ponder-train --example lora_step -- MODEL.gguf [texts] [tokens] [rank] [steps] [threads] [MiB kept]
//! ```

use std::path::Path;
use std::time::Instant;

use kernels::Pool;
use kernels::gemm::{Numbers, Sum, Tiles, View, gemm_weight, gemm_weight_backward};
use kernels::grad::{AdamW, Attention, AttentionShape};
use model::{Model, Target};
use train::{Batch, Gradients, LoraSettings, Network, Optimizer, Precision};
use weights::Checkpoint;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("name a model's file")?;
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |n| n.parse());
    let (texts, tokens, rank, steps) = (number(4)?, number(256)?, number(16)?, number(3)?);

    let pool = Pool::new(number(Pool::cores())?);
    let model = Model::load(Checkpoint::open(Path::new(&path))?, pool, None)?;
    let settings = LoraSettings { rank, ..LoraSettings::default() };
    let mut network = Network::lora(&model, settings, Precision::Bf16)?;
    let (all, none) = (batch(&model, texts, tokens, 1)?, batch(&model, texts, tokens, tokens)?);
    network.keep_activations(number(0)? << 20);
    println!(
        "{texts} texts of {tokens} tokens, rank {rank}, {} parameters, {} threads, {}",
        network.parameters().count(),
        model.threads(),
        model.isa(),
    );

    let mut gradients = Gradients::zeros(network.parameters());
    let mut optimizer = Optimizer::new(&network);
    for _ in 0..steps {
        gradients.clear();
        let (start, busy) = (Instant::now(), busy());
        let loss = network.cross_entropy(&all, None, &mut gradients)?;
        let passes = start.elapsed().as_secs_f64();
        let norm = optimizer.step(&mut network, &gradients, &AdamW::default(), 1.0)?;
        let step = start.elapsed().as_secs_f64();
        println!(
            "step: {step:.2} s ({passes:.2} without AdamW, this thread on its core for {:.2}), \
             {:.1} tokens/s, loss {:.4}, norm {norm:.3}",
            self::busy() - busy,
            all.len() as f64 / step,
            loss.sum / all.weight(),
        );
    }
    parts(&model, &network, (&all, &none))?;
    println!("peak memory: {} MiB", peak().unwrap_or(0) >> 10);
    Ok(())
}

/// Texts whose tokens count from the `first` on (at most the last one's prediction does not).
fn batch(
    model: &Model,
    texts: usize,
    tokens: usize,
    first: usize,
) -> Result<Batch, Box<dyn std::error::Error>> {
    let mut batch = Batch::new();
    for text in 0..texts {
        let token = |i: usize| ((i * 7919 + text * 104_729) % model.vocab()) as u32;
        let all: Vec<u32> = (0..=tokens).map(token).collect();
        let weights: Vec<f32> = (0..=tokens).map(|i| f32::from(u8::from(i >= first))).collect();
        batch.push(&all, &weights)?;
    }
    Ok(batch)
}

/// The parts of a step, each by itself.
fn parts(
    model: &Model,
    network: &Network<'_>,
    (all, none): (&Batch, &Batch),
) -> Result<(), Box<dyn std::error::Error>> {
    let layers = seconds(|| drop(network.log_probs(none)));
    let forward = seconds(|| drop(network.log_probs(all)));
    let mut gradients = Gradients::zeros(network.parameters());
    let layers_both = seconds(|| drop(network.cross_entropy(none, None, &mut gradients)));
    let both = seconds(|| drop(network.cross_entropy(all, None, &mut gradients)));
    println!("forward, layers           {layers:6.2} s");
    println!("forward, head             {:6.2}", forward - layers);
    println!("forward and back, layers  {layers_both:6.2}");
    println!("forward and back, head    {:6.2}", both - layers_both);

    let (mut ahead, mut back, mut work) = (0.0, 0.0, 0.0);
    let mut tiles = Tiles::default();
    let (isa, pool, t) = (model.isa(), model.pool(), all.len());
    let layer = model.layer(0)?;
    for target in Target::ALL {
        let Some(w) = layer.matrix(target) else { continue };
        let (x, mut y) = (vec![0.5; t * w.cols()], vec![0.5; t * w.rows()]);
        ahead += seconds(|| {
            let x = View::new(Numbers::F32(&x), t, w.cols());
            gemm_weight(isa, pool, x, w, (&mut y, Sum::Write), &mut tiles);
        });
        let mut dx = vec![0.0; x.len()];
        back += seconds(|| {
            let dy = View::new(Numbers::F32(&y), t, w.rows());
            gemm_weight_backward(isa, pool, dy, w, (&mut dx, Sum::Write), &mut tiles);
        });
        work += 2.0 * (t * w.rows() * w.cols()) as f64;
    }
    let n = model.config().layers as f64;
    let rate = |seconds: f64| work / seconds / 1e9;
    println!("of that, in all layers:");
    println!("  base, one forward       {:6.2} ({:.0} GFLOP/s)", n * ahead, rate(ahead));
    println!("  base, backward          {:6.2} ({:.0} GFLOP/s)", n * back, rate(back));
    let (ahead, back) = attention(model, all);
    println!("  attention, one forward  {:6.2}", n * ahead);
    println!("  attention, backward     {:6.2}", n * back);
    Ok(())
}

fn attention(model: &Model, batch: &Batch) -> (f64, f64) {
    let c = model.config();
    let (isa, pool, t) = (model.isa(), model.pool(), batch.len());
    let mut cu_seqlens = vec![0];
    cu_seqlens.extend((0..batch.texts()).map(|text| batch.slots(text).end));
    let q: Vec<f32> = (0..t * c.heads * c.head_dim).map(|i| (i % 17) as f32 / 17.0).collect();
    let k: Vec<f32> = (0..t * c.kv_heads * c.head_dim).map(|i| (i % 13) as f32 / 13.0).collect();
    let shape = AttentionShape { heads: c.heads, kv_heads: c.kv_heads, head_dim: c.head_dim };
    let attention =
        Attention { shape, scale: 0.1, cu_seqlens: &cu_seqlens, parents: &[], q: &q, k: &k, v: &k };
    let (mut out, mut lse) = (vec![0.0; q.len()], vec![0.0; t * c.heads]);
    let ahead = seconds(|| attention.forward(isa, pool, &mut out, &mut lse));
    let (mut dq, mut dk, mut dv) = (out.clone(), k.clone(), k.clone());
    let d = (&mut dq[..], &mut dk[..], &mut dv[..]);
    let start = Instant::now();
    attention.backward(isa, pool, (&out, &lse), &q, d);
    (ahead, start.elapsed().as_secs_f64())
}

/// The best of two.
fn seconds(mut f: impl FnMut()) -> f64 {
    let mut once = || {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    };
    let first = once();
    first.min(once())
}

/// Seconds that this thread had a core, where the system says so: on a machine that does other
/// things besides, what one thread needs.
fn busy() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().and_then(|n| n.parse::<f64>().ok());
    nanoseconds.unwrap_or(f64::NAN) / 1e9
}

/// Most memory this process ever had, in KiB, where the system says so.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
