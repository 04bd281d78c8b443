//! What attention costs: decode against the time to read the cache once, prefill against the peak
//! of f32 multiply-adds.
//!
//! `cargo run --release -p ponder-kernels --example attention_bench [-- decode | prefill | store]`

use std::hint::black_box;
use std::time::Instant;

use kernels::attention::{AttentionSpan, Heads, KvShape, KvType, PAGE, attend, store_kv};
use kernels::{Aligned, Arena, Isa, Pool};

/// Heads, key-value heads, elements of a head, and of values that are the beginnings of keys, of some models.
const MODELS: [(&str, usize, usize, usize, Option<usize>); 7] = [
    ("Qwen2.5 0.5B", 14, 2, 64, None),
    ("Qwen2.5 1.5B", 12, 2, 128, None),
    ("SmolLM2 135M", 9, 3, 64, None),
    ("QwQ-32B", 40, 8, 128, None),
    ("0.5B, one kv head", 7, 1, 64, None),
    ("DeepSeek-V2-Lite", 16, 1, 576, Some(512)),
    ("DeepSeek-R1", 128, 1, 576, Some(512)),
];
const CONTEXT: usize = 16384;

fn number(seed: usize) -> f32 {
    let x = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (x >> 40) as f32 / (1 << 23) as f32 - 1.0
}

/// Layers of pages as a cache has them: a page holds all layers.
fn cache(isa: Isa, shape: &KvShape, layers: usize, positions: usize) -> Vec<Aligned> {
    let row = shape.kv_heads * shape.head_dim;
    let k: Vec<f32> = (0..PAGE * row).map(number).collect();
    let stored = if shape.latent.is_some() { 0 } else { PAGE * row };
    let v: Vec<f32> = (0..stored).map(|i| number(i + 1_000_000)).collect();
    let bytes = shape.page_bytes();
    let mut arena = Arena::default();
    (0..positions.div_ceil(PAGE))
        .map(|_| {
            let mut page = arena.zeroed(layers * bytes);
            for layer in page.chunks_exact_mut(bytes) {
                store_kv(isa, shape, layer, 0, &k, &v);
            }
            page
        })
        .collect()
}

/// Bytes a second that all threads together read from memory.
fn bandwidth(pool: &Pool) -> f64 {
    let mut arena = Arena::default();
    let mut data = arena.zeroed(512 << 20);
    data.iter_mut().step_by(4096).for_each(|x| *x = 1);
    let part = data.len() / pool.threads();
    let read = || {
        let start = Instant::now();
        pool.run(&|thread| {
            let mut sums = [0u64; 16];
            for line in data[thread * part..][..part].chunks_exact(128) {
                for (sum, x) in sums.iter_mut().zip(line.chunks_exact(8)) {
                    *sum ^= u64::from_ne_bytes(x.try_into().unwrap_or_default());
                }
            }
            black_box(sums);
        });
        data.len() as f64 / start.elapsed().as_secs_f64()
    };
    (0..5).map(|_| read()).fold(0.0, f64::max)
}

/// The shortest: what others on the machine did is not ours.
fn best(times: impl Iterator<Item = f64>) -> f64 {
    times.fold(f64::INFINITY, f64::min)
}

/// Heads that see everything, with nothing kept apart.
fn plain(shape: &KvShape) -> Heads<'_> {
    Heads { shape, scale: 0.125, apart: None, window: None, sparse: None }
}

fn decode(isa: Isa, pool: &Pool) {
    let bandwidth = bandwidth(pool);
    println!("read bandwidth {:.1} GB/s, {} threads, {isa}", bandwidth / 1e9, pool.threads());
    for (name, heads, kv_heads, head_dim, latent) in MODELS {
        for ty in [KvType::F16, KvType::Q8_0, KvType::Q4_0] {
            let shape = KvShape { heads, kv_heads, head_dim, latent, ty };
            let step = CONTEXT / PAGE * shape.page_bytes();
            // More than any cache holds.
            let layers = (256usize << 20).div_ceil(step);
            let pages = cache(isa, &shape, layers, CONTEXT);
            let q: Vec<f32> = (0..heads * head_dim).map(|i| 4.0 * number(i)).collect();
            let mut out = vec![0.0; heads * shape.value_dim()];
            let mut pass = || {
                let start = Instant::now();
                for layer in 0..layers {
                    let bytes = shape.page_bytes();
                    let pages: Vec<&[u8]> =
                        pages.iter().map(|p| &p[layer * bytes..][..bytes]).collect();
                    let span = AttentionSpan {
                        pages: &pages,
                        bounds: &[],
                        position: CONTEXT - 1,
                        tokens: 1,
                    };
                    attend(isa, pool, plain(&shape), &[span], &q, &mut out);
                }
                start.elapsed().as_secs_f64() / layers as f64
            };
            pass();
            let time = best((0..11).map(|_| pass()));
            println!(
                "decode {name:18} {ty:5} {:7.1} µs a layer, {:5.1} GB/s of cache, {:.2} x ideal",
                time * 1e6,
                step as f64 / time / 1e9,
                time * bandwidth / step as f64,
            );
        }
    }
}

fn prefill(isa: Isa, pool: &Pool) {
    for (name, heads, kv_heads, head_dim, latent) in MODELS {
        for ty in [KvType::F16, KvType::Q8_0, KvType::Q4_0] {
            for context in [512, 4096] {
                let shape = KvShape { heads, kv_heads, head_dim, latent, ty };
                let pages = cache(isa, &shape, 1, context);
                let pages: Vec<&[u8]> = pages.iter().map(|p| &p[..]).collect();
                let q: Vec<f32> =
                    (0..context * heads * head_dim).map(|i| 4.0 * number(i)).collect();
                let value_dim = shape.value_dim();
                let mut out = vec![0.0; context * heads * value_dim];
                let mut pass = || {
                    let start = Instant::now();
                    // As the engine does: 256 tokens at a time.
                    for position in (0..context).step_by(256) {
                        let span =
                            AttentionSpan { pages: &pages, bounds: &[], position, tokens: 256 };
                        let mine = |dim| position * heads * dim..(position + 256) * heads * dim;
                        attend(
                            isa,
                            pool,
                            plain(&shape),
                            &[span],
                            &q[mine(head_dim)],
                            &mut out[mine(value_dim)],
                        );
                    }
                    start.elapsed().as_secs_f64()
                };
                pass();
                let runs = if context > 512 { 5 } else { 21 };
                let time = best((0..runs).map(|_| pass()));
                // Two products, each a multiply-add for every pair of positions one may see.
                let pairs = (context * (context + 1) / 2) as f64;
                let flops = 2.0 * pairs * (heads * (head_dim + value_dim)) as f64;
                println!(
                    "prefill {name:18} {ty:5} {context:5} tokens {:8.2} ms, {:6.1} GFLOP/s",
                    time * 1e3,
                    flops / time / 1e9
                );
            }
        }
    }
}

fn store(isa: Isa) {
    for (name, heads, kv_heads, head_dim, latent) in MODELS {
        for ty in [KvType::F16, KvType::Q8_0, KvType::Q4_0] {
            let shape = KvShape { heads, kv_heads, head_dim, latent, ty };
            let row = kv_heads * head_dim;
            let x: Vec<f32> = (0..PAGE * row).map(number).collect();
            let mut pages = vec![vec![0; shape.page_bytes()]; 64];
            let mut pass = |at_once: usize| {
                let start = Instant::now();
                for page in &mut pages {
                    for slot in (0..PAGE).step_by(at_once) {
                        let x = &x[slot * row..(slot + at_once) * row];
                        let v = if latent.is_some() { &[] } else { x };
                        store_kv(isa, &shape, page, slot, x, v);
                    }
                }
                start.elapsed().as_secs_f64() / (64 * PAGE) as f64 * 1e9
            };
            pass(1);
            let one = best((0..9).map(|_| pass(1)));
            let many = best((0..9).map(|_| pass(PAGE)));
            println!(
                "store {name:18} {ty:5} one by one {one:6.0} ns a token, by the page {many:6.0} ns"
            );
        }
    }
}

fn main() {
    let isa = Isa::detect().unwrap_or(Isa::Scalar);
    let pool = Pool::with_all_cores();
    let only = std::env::args().nth(1);
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    if wanted("decode") {
        decode(isa, &pool);
    }
    if wanted("prefill") {
        prefill(isa, &pool);
    }
    if wanted("store") {
        store(isa);
    }
}
