//! Attention over pages, on every instruction set, against a plain softmax in f64.

use kernels::attention::{AttentionSpan, KvShape, KvType, PAGE, attend, store_kv};
use kernels::{Isa, Pool};

fn number(seed: usize) -> f32 {
    let x = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((x >> 40) as f32 / (1 << 23) as f32 - 1.0) * 2.0
}

fn stored(ty: KvType, x: f32) -> f64 {
    match ty {
        KvType::F16 => half::f16::from_f32(x).to_f64(),
        KvType::F32 => f64::from(x),
    }
}

/// A sequence of `len` positions, of which the last `tokens` ask.
fn check(isa: Isa, threads: usize, shape: KvShape, spans: &[(usize, usize)]) {
    let KvShape { heads, kv_heads, head_dim, ty } = shape;
    let pool = Pool::new(threads);
    let kv = kv_heads * head_dim;
    let row = heads * head_dim;
    let k = |s: usize, pos: usize, i: usize| number(s * 7_000_000 + pos * 3000 + i);
    let v = |s: usize, pos: usize, i: usize| number(s * 7_000_000 + pos * 3000 + i + 1_000_000_007);
    let q = |s: usize, pos: usize, i: usize| number(s * 7_000_000 + pos * 3000 + i + 77_777_777);

    let mut all_pages = Vec::new();
    for (s, &(len, _)) in spans.iter().enumerate() {
        // Slots never written hold what an earlier sequence left there.
        let mut pages = vec![vec![0x3c; shape.page_bytes()]; len.div_ceil(PAGE)];
        for pos in 0..len {
            let key: Vec<f32> = (0..kv).map(|i| k(s, pos, i)).collect();
            let value: Vec<f32> = (0..kv).map(|i| v(s, pos, i)).collect();
            store_kv(isa, &shape, &mut pages[pos / PAGE], pos % PAGE, &key, &value);
        }
        all_pages.push(pages);
    }
    let borrowed: Vec<Vec<&[u8]>> =
        all_pages.iter().map(|p| p.iter().map(Vec::as_slice).collect()).collect();
    let attention_spans: Vec<_> = spans
        .iter()
        .zip(&borrowed)
        .map(|(&(len, tokens), pages)| AttentionSpan { pages, position: len - tokens, tokens })
        .collect();
    let queries: Vec<f32> = spans
        .iter()
        .enumerate()
        .flat_map(|(s, &(len, tokens))| {
            (len - tokens..len).flat_map(move |pos| (0..row).map(move |i| q(s, pos, i)))
        })
        .collect();
    let mut out = vec![f32::NAN; queries.len()];
    let scale = 1.0 / (head_dim as f32).sqrt();
    attend(isa, &pool, &shape, scale, &attention_spans, &queries, &mut out);

    let mut at = 0;
    for (s, &(len, tokens)) in spans.iter().enumerate() {
        for pos in len - tokens..len {
            for h in 0..heads {
                let g = h / (heads / kv_heads) * head_dim;
                let scores: Vec<f64> = (0..=pos)
                    .map(|p| {
                        let dot: f64 = (0..head_dim)
                            .map(|d| {
                                f64::from(q(s, pos, h * head_dim + d)) * stored(ty, k(s, p, g + d))
                            })
                            .sum();
                        dot * f64::from(scale)
                    })
                    .collect();
                let top = scores.iter().copied().fold(f64::MIN, f64::max);
                let weights: Vec<f64> = scores.iter().map(|x| (x - top).exp()).collect();
                let total: f64 = weights.iter().sum();
                for d in 0..head_dim {
                    let want: f64 =
                        (0..=pos).map(|p| weights[p] / total * stored(ty, v(s, p, g + d))).sum();
                    let got = f64::from(out[at + h * head_dim + d]);
                    assert!(
                        (got - want).abs() < 2e-5,
                        "{isa}, {shape:?}, span {s}, position {pos}, head {h}: {got}, not {want}"
                    );
                }
            }
            at += row;
        }
    }
}

#[test]
fn matches_plain_softmax() {
    for isa in Isa::available() {
        for ty in [KvType::F16, KvType::F32] {
            for (heads, kv_heads, head_dim) in [(14, 2, 64), (4, 4, 16), (5, 1, 32), (9, 3, 64)] {
                let shape = KvShape { heads, kv_heads, head_dim, ty };
                check(isa, 2, shape, &[(1, 1)]);
                check(isa, 2, shape, &[(65, 1)]);
                check(isa, 3, shape, &[(100, 37), (1, 1), (64, 64), (150, 1)]);
            }
        }
    }
}

#[test]
fn one_token_at_a_time_or_all_at_once_is_the_same() {
    let shape = KvShape { heads: 6, kv_heads: 2, head_dim: 32, ty: KvType::F16 };
    let row = shape.heads * shape.head_dim;
    let pool = Pool::new(2);
    for isa in Isa::available() {
        let mut pages = vec![vec![0; shape.page_bytes()]; 2];
        let (len, kv) = (90, shape.kv_heads * shape.head_dim);
        for pos in 0..len {
            let key: Vec<f32> = (0..kv).map(|i| number(pos * 1000 + i)).collect();
            let value: Vec<f32> = (0..kv).map(|i| number(pos * 1000 + i + 555_555)).collect();
            store_kv(isa, &shape, &mut pages[pos / PAGE], pos % PAGE, &key, &value);
        }
        let pages: Vec<&[u8]> = pages.iter().map(Vec::as_slice).collect();
        let q: Vec<f32> = (0..len * row).map(|i| number(i + 99)).collect();
        let mut together = vec![0.0; q.len()];
        let span = AttentionSpan { pages: &pages, position: 0, tokens: len };
        attend(isa, &pool, &shape, 0.2, &[span], &q, &mut together);
        for pos in 0..len {
            let mut alone = vec![0.0; row];
            let span = AttentionSpan { pages: &pages, position: pos, tokens: 1 };
            let mine = pos * row..(pos + 1) * row;
            attend(isa, &pool, &shape, 0.2, &[span], &q[mine.clone()], &mut alone);
            assert_eq!(alone, together[mine], "{isa}, position {pos}");
        }
    }
}
