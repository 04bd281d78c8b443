//! Attention over pages, on every instruction set, against a plain softmax in f64.

use kernels::attention::{
    Angles, Apart, AttentionSpan, Heads, KeyBias, KvShape, KvShapeError, KvType, PAGE, attend,
    read_kv, store_kv,
};
use kernels::ops::{RopeLayout, rope};
use kernels::{Isa, Pool};

const TYPES: [KvType; 4] = [KvType::F16, KvType::F32, KvType::Q8_0, KvType::Q4_0];

/// Heads with nothing kept apart.
fn plain(shape: &KvShape, scale: f32) -> Heads<'_> {
    Heads { shape, scale, apart: None, window: None, sparse: None }
}

fn number(seed: usize) -> f32 {
    let x = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((x >> 40) as f32 / (1 << 23) as f32 - 1.0) * 2.0
}

/// Sequences of some positions, of which the last ask, each seeing as many as `window` says.
fn check(
    isa: Isa,
    threads: usize,
    shape: KvShape,
    spans: &[(usize, usize)],
    window: Option<usize>,
) {
    let KvShape { heads, kv_heads, head_dim, latent, ty } = shape;
    // What may be lost when a number is stored, as a share of the largest in its block.
    let rounding = match ty {
        KvType::F16 => 1.0 / 2048.0,
        KvType::F32 => 0.0,
        KvType::Q8_0 => 1.0 / 250.0,
        // Within half a step (a step for what is as large as the largest, the other way) of a
        // number up to sqrt(head_dim) times as large, once the head is turned.
        KvType::Q4_0 => (head_dim as f32).sqrt() / 7.9,
    };
    // And of a whole head's length.
    let share = match ty {
        KvType::F16 => 0.001,
        KvType::F32 => 0.0,
        KvType::Q8_0 => 0.01,
        KvType::Q4_0 => 0.17,
    };
    let pool = Pool::new(threads);
    let (kv, value_dim) = (kv_heads * head_dim, shape.value_dim());
    let (row, out_row) = (heads * head_dim, heads * value_dim);
    let k = |s: usize, pos: usize, i: usize| number(s * 7_000_000 + pos * 3000 + i);
    let v = |s: usize, pos: usize, i: usize| match latent {
        Some(_) => k(s, pos, i / value_dim * head_dim + i % value_dim),
        None => number(s * 7_000_000 + pos * 3000 + i + 1_000_000_007),
    };
    let q = |s: usize, pos: usize, i: usize| number(s * 7_000_000 + pos * 3000 + i + 77_777_777);

    let mut all_pages = Vec::new();
    for (s, &(len, _)) in spans.iter().enumerate() {
        // Slots never written hold what an earlier sequence left there.
        let mut pages = vec![vec![0x3c; shape.page_bytes()]; len.div_ceil(PAGE)];
        for pos in 0..len {
            let key: Vec<f32> = (0..kv).map(|i| k(s, pos, i)).collect();
            let value: Vec<f32> = match latent {
                Some(_) => Vec::new(),
                None => (0..kv).map(|i| v(s, pos, i)).collect(),
            };
            store_kv(isa, &shape, &mut pages[pos / PAGE], pos % PAGE, &key, &value);
        }
        all_pages.push(pages);
    }
    // What attention sees: close to what was stored.
    let mut known: Vec<Vec<(Vec<f32>, Vec<f32>)>> = Vec::new();
    for (s, &(len, _)) in spans.iter().enumerate() {
        let seen = (0..len).map(|pos| read_kv(&shape, &all_pages[s][pos / PAGE], pos % PAGE));
        known.push(seen.collect());
        for (pos, (key, value)) in known[s].iter().enumerate() {
            assert_eq!((key.len(), value.len()), (kv, kv_heads * value_dim));
            for (i, key) in key.iter().enumerate() {
                assert!((key - k(s, pos, i)).abs() <= 2.0 * rounding, "{shape:?} {pos} {i}");
            }
            for (i, value) in value.iter().enumerate() {
                assert!((value - v(s, pos, i)).abs() <= 2.0 * rounding, "{shape:?} {pos} {i}");
            }
            for head in 0..kv_heads {
                let mine = head * head_dim..(head + 1) * head_dim;
                let stored: Vec<f32> = mine.clone().map(|i| k(s, pos, i)).collect();
                let (away, whole) = lost(&key[mine], &stored);
                assert!(away <= share * whole, "{shape:?}, key {pos}: {away} of {whole}");
                let mine = head * value_dim..(head + 1) * value_dim;
                let stored: Vec<f32> = mine.clone().map(|i| v(s, pos, i)).collect();
                let (away, whole) = lost(&value[mine], &stored);
                assert!(away <= share * whole, "{shape:?}, value {pos}: {away} of {whole}");
            }
        }
    }
    let borrowed: Vec<Vec<&[u8]>> =
        all_pages.iter().map(|p| p.iter().map(Vec::as_slice).collect()).collect();
    let attention_spans: Vec<_> = spans
        .iter()
        .zip(&borrowed)
        .map(|(&(len, tokens), pages)| AttentionSpan {
            pages,
            bounds: &[],
            position: len - tokens,
            tokens,
        })
        .collect();
    let queries: Vec<f32> = spans
        .iter()
        .enumerate()
        .flat_map(|(s, &(len, tokens))| {
            (len - tokens..len).flat_map(move |pos| (0..row).map(move |i| q(s, pos, i)))
        })
        .collect();
    let mut out = vec![f32::NAN; queries.len() / row * out_row];
    let scale = 1.0 / (head_dim as f32).sqrt();
    let heads_of = Heads { window, ..plain(&shape, scale) };
    attend(isa, &pool, heads_of, &attention_spans, &queries, &mut out);

    let mut at = 0;
    for (s, &(len, tokens)) in spans.iter().enumerate() {
        for pos in len - tokens..len {
            for h in 0..heads {
                let kv_head = h / (heads / kv_heads);
                let (g, of_values) = (kv_head * head_dim, kv_head * value_dim);
                let from = (pos + 1).saturating_sub(window.unwrap_or(usize::MAX));
                let scores: Vec<f64> = (from..=pos)
                    .map(|p| {
                        let dot: f64 = (0..head_dim)
                            .map(|d| {
                                f64::from(q(s, pos, h * head_dim + d))
                                    * f64::from(known[s][p].0[g + d])
                            })
                            .sum();
                        dot * f64::from(scale)
                    })
                    .collect();
                let top = scores.iter().copied().fold(f64::MIN, f64::max);
                let weights: Vec<f64> = scores.iter().map(|x| (x - top).exp()).collect();
                let total: f64 = weights.iter().sum();
                for d in 0..value_dim {
                    let value = |p: usize| f64::from(known[s][p].1[of_values + d]);
                    let want: f64 =
                        (from..=pos).map(|p| weights[p - from] / total * value(p)).sum();
                    let got = f64::from(out[at + h * value_dim + d]);
                    assert!(
                        (got - want).abs() < 2e-5,
                        "{isa}, {shape:?}, span {s}, position {pos}, head {h}: {got}, not {want}"
                    );
                }
            }
            at += out_row;
        }
    }
}

#[test]
fn matches_plain_softmax() {
    for isa in Isa::available() {
        for ty in TYPES {
            for (heads, kv_heads, head_dim) in [(14, 2, 64), (4, 4, 16), (5, 1, 32), (9, 3, 64)] {
                let shape = KvShape { heads, kv_heads, head_dim, latent: None, ty };
                if shape.check().is_err() {
                    continue;
                }
                check(isa, 2, shape, &[(1, 1)], None);
                check(isa, 2, shape, &[(65, 1)], None);
                check(isa, 3, shape, &[(100, 37), (1, 1), (64, 64), (150, 1)], None);
            }
        }
    }
}

/// One head of keys that begin with their values, and more of them; as many queries as share the work of a page, and
/// more; a Hadamard matrix as large as what keys have more than values, and a smaller one; and a window.
#[test]
fn values_that_are_the_beginnings_of_keys() {
    for isa in Isa::available() {
        for ty in TYPES {
            for (heads, kv_heads, head_dim, value_dim) in [
                (4, 1, 48, 32),
                (3, 1, 96, 64),
                (130, 1, 32, 32),
                (6, 2, 160, 96),
                (1, 1, 576, 512),
            ] {
                let shape = KvShape { heads, kv_heads, head_dim, latent: Some(value_dim), ty };
                if shape.check().is_err() {
                    continue;
                }
                assert_eq!(2 * shape.page_bytes(), KvShape { latent: None, ..shape }.page_bytes());
                check(isa, 2, shape, &[(1, 1)], None);
                check(isa, 3, shape, &[(100, 7), (1, 1), (64, 64)], None);
                check(isa, 2, shape, &[(90, 3)], Some(30));
            }
            let shape = KvShape { heads: 20, kv_heads: 1, head_dim: 96, latent: Some(64), ty };
            check(isa, 3, shape, &[(1200, 1), (600, 5)], None);
        }
    }
}

/// One page, some pages, more than a part; rows few and many; a window of one, within a page, at its border, over
/// several, and longer than all there is.
#[test]
fn a_window_hides_what_is_before_it() {
    for isa in Isa::available() {
        for ty in TYPES {
            for (heads, kv_heads, head_dim) in [(4, 1, 32), (14, 2, 32)] {
                let shape = KvShape { heads, kv_heads, head_dim, latent: None, ty };
                for window in [1, 7, 16, 63, 64, 65, 200] {
                    check(isa, 2, shape, &[(100, 37), (1, 1), (300, 1)], Some(window));
                }
                check(isa, 3, shape, &[(1200, 1), (700, 60)], Some(520));
                check(isa, 2, shape, &[(1100, 2)], Some(5000));
            }
        }
    }
}

/// Bit for bit: what a window hides leaves no trace, nor do neighbours or threads.
#[test]
fn with_a_window_neither_neighbours_nor_threads_leave_a_trace() {
    for isa in Isa::available() {
        for ty in TYPES {
            let shape = KvShape { heads: 7, kv_heads: 1, head_dim: 32, latent: None, ty };
            let (len, row, window) = (1300, 7 * 32, 530);
            let pages_with = |hidden: f32| {
                let mut pages = vec![vec![0; shape.page_bytes()]; 21];
                for pos in 0..len {
                    let sign = if pos < len - 40 - window { hidden } else { 1.0 };
                    let key: Vec<f32> = (0..32).map(|i| sign * number(pos * 100 + i)).collect();
                    let value: Vec<f32> =
                        (0..32).map(|i| sign * number(pos * 100 + i + 55_555)).collect();
                    store_kv(isa, &shape, &mut pages[pos / PAGE], pos % PAGE, &key, &value);
                }
                pages
            };
            let run = |pages: &[Vec<u8>], threads, tokens: usize| {
                let pages: Vec<&[u8]> = pages.iter().map(Vec::as_slice).collect();
                let q: Vec<f32> = (len - tokens..len)
                    .flat_map(|pos| (0..row).map(move |i| number(pos * 1000 + i + 7)))
                    .collect();
                let mut out = vec![0.0; tokens * row];
                let span =
                    AttentionSpan { pages: &pages, bounds: &[], position: len - tokens, tokens };
                let heads = Heads { window: Some(window), ..plain(&shape, 0.2) };
                attend(isa, &Pool::new(threads), heads, &[span], &q, &mut out);
                out
            };
            let pages = pages_with(1.0);
            let whole = run(&pages, 1, 40);
            assert_eq!(run(&pages, 3, 40), whole, "{isa}, {ty}: threads");
            assert_eq!(run(&pages, 2, 1), whole[39 * row..], "{isa}, {ty}: the last alone");
            assert_eq!(run(&pages, 2, 3), whole[37 * row..], "{isa}, {ty}: the last three");
            assert_eq!(run(&pages_with(-3.0), 2, 40), whole, "{isa}, {ty}: what is hidden");
        }
    }
}

#[test]
fn positions_stored_together_or_one_by_one_are_the_same() {
    for isa in Isa::available() {
        for ty in TYPES {
            let shape = KvShape { heads: 2, kv_heads: 2, head_dim: 64, latent: None, ty };
            let row = 2 * 64;
            let k: Vec<f32> = (0..40 * row).map(number).collect();
            let v: Vec<f32> = (0..40 * row).map(|i| number(i + 1_000_000)).collect();
            let mut together = vec![0x3c; shape.page_bytes()];
            let mut alone = together.clone();
            store_kv(isa, &shape, &mut together, 7, &k, &v);
            for i in 0..40 {
                let mine = i * row..(i + 1) * row;
                store_kv(isa, &shape, &mut alone, 7 + i, &k[mine.clone()], &v[mine]);
            }
            assert_eq!(together, alone, "{isa}, {ty}");
        }
    }
}

/// The lengths of what rounding takes away and of what there was.
fn lost(seen: &[f32], x: &[f32]) -> (f32, f32) {
    let length = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
    (length(&mut seen.iter().zip(x).map(|(a, b)| a - b)), length(&mut x.iter().copied()))
}

#[test]
fn four_bits_keep_the_small_beside_the_large() {
    // One element a hundred times as large as the others: in plain Q4_0 its block would be it
    // and zeros.
    let mut k: Vec<f32> = (0..64).map(number).collect();
    k[5] = 200.0;
    let v: Vec<f32> = (0..64).map(|i| number(i + 1000)).collect();
    for isa in Isa::available() {
        let shape = KvShape { heads: 1, kv_heads: 1, head_dim: 64, latent: None, ty: KvType::Q4_0 };
        let mut page = vec![0; shape.page_bytes()];
        assert_eq!(page.len(), 2 * PAGE * 2 * (16 + 2), "4.5 bits a number");
        store_kv(isa, &shape, &mut page, 21, &k, &v);
        let (keys, values) = read_kv(&shape, &page, 21);
        let (away, whole) = lost(&keys, &k);
        assert!(away < 0.05 * whole, "{isa}: {away} of {whole}");
        let (away, whole) = lost(&values, &v);
        assert!(away < 0.12 * whole, "{isa}: {away} of {whole}");
    }
}

#[test]
fn one_token_at_a_time_or_all_at_once_is_the_same() {
    let shape = KvShape { heads: 6, kv_heads: 2, head_dim: 32, latent: None, ty: KvType::F16 };
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
        let span = AttentionSpan { pages: &pages, bounds: &[], position: 0, tokens: len };
        attend(isa, &pool, plain(&shape, 0.2), &[span], &q, &mut together);
        for pos in 0..len {
            let mut alone = vec![0.0; row];
            let span = AttentionSpan { pages: &pages, bounds: &[], position: pos, tokens: 1 };
            let mine = pos * row..(pos + 1) * row;
            attend(isa, &pool, plain(&shape, 0.2), &[span], &q[mine.clone()], &mut alone);
            assert_eq!(alone, together[mine], "{isa}, position {pos}");
        }
    }
}

/// However many threads there are, and however many heads go together.
#[test]
fn with_latent_values_neither_neighbours_nor_threads_leave_a_trace() {
    for isa in Isa::available() {
        for ty in TYPES {
            let shape = KvShape { heads: 100, kv_heads: 1, head_dim: 96, latent: Some(64), ty };
            let (len, row) = (600, 100 * 96);
            let mut pages = vec![vec![0; shape.page_bytes()]; 10];
            for pos in 0..len {
                let key: Vec<f32> = (0..96).map(|i| number(pos * 100 + i)).collect();
                store_kv(isa, &shape, &mut pages[pos / PAGE], pos % PAGE, &key, &[]);
            }
            let pages: Vec<&[u8]> = pages.iter().map(Vec::as_slice).collect();
            let run = |threads, tokens: usize| {
                let q: Vec<f32> = (len - tokens..len)
                    .flat_map(|pos| (0..row).map(move |i| number(pos * 10_000 + i + 7)))
                    .collect();
                let mut out = vec![0.0; tokens * 100 * 64];
                let span =
                    AttentionSpan { pages: &pages, bounds: &[], position: len - tokens, tokens };
                attend(isa, &Pool::new(threads), plain(&shape, 0.2), &[span], &q, &mut out);
                out
            };
            let many = run(1, 20);
            assert_eq!(run(3, 20), many, "{isa}, {ty}: threads");
            assert_eq!(run(2, 1), many[19 * 100 * 64..], "{isa}, {ty}: the last alone");
        }
    }
}

#[test]
fn the_number_of_threads_leaves_no_trace() {
    for isa in Isa::available() {
        for ty in [KvType::F16, KvType::Q8_0, KvType::Q4_0] {
            // Long enough for several parts of 512 positions.
            let shape = KvShape { heads: 7, kv_heads: 1, head_dim: 32, latent: None, ty };
            let (len, row) = (1300, 7 * 32);
            let mut pages = vec![vec![0; shape.page_bytes()]; 21];
            for pos in 0..len {
                let key: Vec<f32> = (0..32).map(|i| number(pos * 100 + i)).collect();
                let value: Vec<f32> = (0..32).map(|i| number(pos * 100 + i + 55_555)).collect();
                store_kv(isa, &shape, &mut pages[pos / PAGE], pos % PAGE, &key, &value);
            }
            let pages: Vec<&[u8]> = pages.iter().map(Vec::as_slice).collect();
            let run = |threads, tokens: usize| {
                let q: Vec<f32> = (len - tokens..len)
                    .flat_map(|pos| (0..row).map(move |i| number(pos * 1000 + i + 7)))
                    .collect();
                let mut out = vec![0.0; tokens * row];
                let span =
                    AttentionSpan { pages: &pages, bounds: &[], position: len - tokens, tokens };
                attend(isa, &Pool::new(threads), plain(&shape, 0.2), &[span], &q, &mut out);
                out
            };
            for tokens in [1, 3, 40] {
                let one = run(1, tokens);
                for threads in [2, 3, 8] {
                    assert_eq!(run(threads, tokens), one, "{isa}, {ty}, {threads} threads");
                }
                assert_eq!(run(2, 1), one[(tokens - 1) * row..], "{isa}, {ty}: the last alone");
            }
        }
    }
}

#[test]
fn shapes_that_cannot_be_cached_say_so() {
    let shape = KvShape { heads: 4, kv_heads: 2, head_dim: 48, latent: None, ty: KvType::Q8_0 };
    let error = shape.check().unwrap_err();
    assert_eq!(error, KvShapeError::HeadDim { head_dim: 48, step: 32, ty: KvType::Q8_0 });
    assert_eq!(
        error.to_string(),
        "a head of 48 elements can't be cached as q8_0: it must be a multiple of 32"
    );
    for (value_dim, said) in [(0, "values of 0"), (48, "a multiple of 32"), (96, "no longer")] {
        let shape = KvShape { head_dim: 64, latent: Some(value_dim), ..shape };
        let error = shape.check().unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let shape = KvShape { heads: 5, ..shape };
    assert!(matches!(shape.check(), Err(KvShapeError::Heads { heads: 5, kv_heads: 2 })));
}

/// With a bias kept apart, attention is what it is over keys in single precision that have it; long
/// enough for several parts.
#[test]
fn biases_kept_apart_are_the_same_as_biases_stored() {
    let (heads, kv_heads, head_dim, len) = (6, 2, 32, 600);
    let (rotated, kv) = (24, kv_heads * head_dim);
    let pool = Pool::new(2);
    let angles_of = |position: usize, cos: &mut Vec<f32>, sin: &mut Vec<f32>| {
        for i in 0..rotated / 2 {
            // Stretched a little, as YaRN does.
            let angle = position as f64 * 100f64.powf(-(i as f64) / 12.0);
            cos.push(1.1 * angle.cos() as f32);
            sin.push(1.1 * angle.sin() as f32);
        }
    };
    let (mut cos, mut sin) = (Vec::new(), Vec::new());
    (0..len).for_each(|position| angles_of(position, &mut cos, &mut sin));
    let mut angles = Angles::default();
    angles.extend(len, rotated, angles_of);
    let in_full = KvShape { heads, kv_heads, head_dim, latent: None, ty: KvType::F32 };
    for isa in Isa::available() {
        for (layout, ty) in [RopeLayout::Halves, RopeLayout::Interleaved]
            .into_iter()
            .flat_map(|layout| TYPES.map(|ty| (layout, ty)))
        {
            // Some large, some small, none in the part that isn't turned.
            let bias = |i: usize| match (i % head_dim, i % 5) {
                (d, 0 | 3) if d < rotated => 9.0 * number(i + 5),
                (d, _) if d < rotated => 0.3 * number(i + 7),
                _ => 0.0,
            };
            let bias: Vec<f32> = (0..kv).map(bias).collect();
            let mut rest = bias.clone();
            let apart = KeyBias::take(&mut rest, head_dim, rotated, layout).unwrap();
            assert!(rest.iter().any(|x| *x != 0.0), "small ones stay");
            let taken: Vec<f32> = bias.iter().zip(&rest).map(|(a, b)| a - b).collect();
            assert!(taken.iter().any(|x| x.abs() > 5.0), "large ones go");

            let turned = |mut k: Vec<f32>| {
                rope(isa, &pool, &mut k, kv, head_dim, layout, (&cos, &sin));
                k
            };
            let pages_of = |shape: &KvShape, k: &[f32], v: &[f32]| {
                let mut pages = vec![vec![0; shape.page_bytes()]; len.div_ceil(PAGE)];
                for (i, (k, v)) in k.chunks(PAGE * kv).zip(v.chunks(PAGE * kv)).enumerate() {
                    store_kv(isa, shape, &mut pages[i], 0, k, v);
                }
                pages
            };
            let shape = KvShape { ty, ..in_full };
            let k = turned((0..len * kv).map(|i| number(i) + rest[i % kv]).collect());
            let v: Vec<f32> = (0..len * kv).map(|i| number(i + 1_000_000)).collect();
            let kept = pages_of(&shape, &k, &v);
            // What is stored, and what isn't, in one.
            let read = (0..len).map(|at| read_kv(&shape, &kept[at / PAGE], at % PAGE));
            let (k, v): (Vec<_>, Vec<_>) = read.unzip();
            let biases = turned(taken.repeat(len));
            let k: Vec<f32> = k.concat().iter().zip(biases).map(|(k, b)| k + b).collect();
            let whole = pages_of(&in_full, &k, &v.concat());

            let run = |pages: &[Vec<u8>], shape: &KvShape, apart, tokens: usize| {
                let pages: Vec<&[u8]> = pages.iter().map(Vec::as_slice).collect();
                let span =
                    AttentionSpan { pages: &pages, bounds: &[], position: len - tokens, tokens };
                let first = len - tokens;
                let row = heads * head_dim;
                let q: Vec<f32> = (first * row..len * row).map(|i| number(i + 99)).collect();
                let mut out = vec![0.0; q.len()];
                let heads = Heads { shape, scale: 0.1, apart, window: None, sparse: None };
                attend(isa, &pool, heads, &[span], &q, &mut out);
                out
            };
            let apart = Apart { bias: &apart, angles: &angles };
            let alone = run(&kept, &shape, Some(apart), 1);
            for tokens in [1, 2, 40] {
                let expected = run(&whole, &in_full, None, tokens);
                let got = run(&kept, &shape, Some(apart), tokens);
                for (i, (a, b)) in got.iter().zip(&expected).enumerate() {
                    let where_ = format!("{isa}, {layout:?}, {ty}, {tokens} tokens, {i}");
                    assert!((a - b).abs() < 1e-4, "{where_}: {a}, not {b}");
                }
                assert_eq!(got[got.len() - alone.len()..], alone, "{isa}, {ty}: the last alone");
            }
        }
    }
}
