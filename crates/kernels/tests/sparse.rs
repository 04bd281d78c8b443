//! Attention that leaves pages out, on every instruction set, against plain choices in f64.

use kernels::attention::{
    Angles, Apart, AttentionSpan, Heads, KeyBias, KvShape, KvType, PAGE, Sparse, attend,
    bound_keys, bounds_bytes, read_kv, store_kv,
};
use kernels::ops::{RopeLayout, rope};
use kernels::{Isa, Pool};

const TYPES: [KvType; 4] = [KvType::F16, KvType::F32, KvType::Q8_0, KvType::Q4_0];

fn number(seed: usize) -> f32 {
    let x = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((x >> 40) as f32 / (1 << 23) as f32 - 1.0) * 2.0
}

/// What was read of a text: its pages, and what is known of those that are full.
struct Past {
    shape: KvShape,
    len: usize,
    pages: Vec<Vec<u8>>,
    bounds: Vec<Vec<u8>>,
}

impl Past {
    /// A text whose pages differ more from each other than their positions do.
    fn read(isa: Isa, shape: KvShape, len: usize, seed: usize) -> Past {
        let row = shape.kv_heads * shape.head_dim;
        let mut pages = vec![vec![0; shape.page_bytes()]; len.div_ceil(PAGE)];
        for at in 0..len {
            let of_page = |i: usize| number(seed + at / PAGE * 5003 + i + 31);
            let own = |i: usize| 0.3 * number(seed + at * 3001 + i);
            let k: Vec<f32> = (0..row).map(|i| of_page(i) + own(i)).collect();
            let v = (0..row).map(|i| number(seed + at * 3001 + i + 1_000_003));
            let v: Vec<f32> = if shape.latent.is_some() { Vec::new() } else { v.collect() };
            store_kv(isa, &shape, &mut pages[at / PAGE], at % PAGE, &k, &v);
        }
        let mut bounds = vec![vec![0; bounds_bytes(&shape)]; pages.len()];
        for page in 0..len / PAGE {
            bound_keys(isa, &shape, &pages[page], (None, page), &mut bounds[page]);
        }
        Past { shape, len, pages, bounds }
    }

    /// Attention of the last `tokens` tokens.
    fn attend(&self, isa: Isa, threads: usize, tokens: usize, sparse: Option<Sparse>) -> Vec<f32> {
        attend_all(isa, threads, &[(self, tokens)], sparse, None)
    }
}

fn queries(shape: &KvShape, len: usize, tokens: usize) -> Vec<f32> {
    let row = shape.heads * shape.head_dim;
    ((len - tokens) * row..len * row).map(|i| number(i + 77_777)).collect()
}

fn attend_all(
    isa: Isa,
    threads: usize,
    texts: &[(&Past, usize)],
    sparse: Option<Sparse>,
    window: Option<usize>,
) -> Vec<f32> {
    let shape = &texts[0].0.shape;
    let pages: Vec<Vec<&[u8]>> =
        texts.iter().map(|(t, _)| t.pages.iter().map(Vec::as_slice).collect()).collect();
    let bounds: Vec<Vec<&[u8]>> =
        texts.iter().map(|(t, _)| t.bounds.iter().map(Vec::as_slice).collect()).collect();
    let spans: Vec<AttentionSpan<'_>> = texts
        .iter()
        .zip(pages.iter().zip(&bounds))
        .map(|(&(text, tokens), (pages, bounds))| AttentionSpan {
            pages,
            bounds,
            position: text.len - tokens,
            tokens,
        })
        .collect();
    let q: Vec<f32> =
        texts.iter().flat_map(|&(text, tokens)| queries(shape, text.len, tokens)).collect();
    let mut out = vec![f32::NAN; q.len() / shape.head_dim * shape.value_dim()];
    let heads = Heads { shape, scale: 0.3, apart: None, window, sparse };
    attend(isa, &Pool::new(threads), heads, &spans, &q, &mut out);
    out
}

fn shapes() -> Vec<KvShape> {
    let plain = TYPES.map(|ty| KvShape { heads: 6, kv_heads: 2, head_dim: 32, latent: None, ty });
    let others = [
        KvShape { heads: 3, kv_heads: 3, head_dim: 64, latent: None, ty: KvType::F16 },
        KvShape { heads: 8, kv_heads: 1, head_dim: 96, latent: Some(64), ty: KvType::F32 },
    ];
    plain.into_iter().chain(others).collect()
}

/// Positions that are known together.
const GROUP: usize = 16;

/// Least and greatest of element `d` of a group's keys.
fn bound(shape: &KvShape, bounds: &[u8], (kv_head, group): (usize, usize), d: usize) -> [f32; 2] {
    [0, 1].map(|which| {
        let place = (kv_head * PAGE / GROUP + group) * 2 + which;
        let at = 2 * (place * shape.head_dim + d);
        half::f16::from_le_bytes([bounds[at], bounds[at + 1]]).to_f32()
    })
}

/// Holds what is known of a page's keys against the keys, `[position][kv_heads * head_dim]`.
fn check_bounds(shape: &KvShape, bounds: &[u8], keys: &[Vec<f32>], what: &str) {
    for (group, keys) in keys.chunks(GROUP).enumerate() {
        for i in 0..shape.kv_heads * shape.head_dim {
            let least = keys.iter().map(|k| k[i]).fold(f32::INFINITY, f32::min);
            let greatest = keys.iter().map(|k| k[i]).fold(f32::NEG_INFINITY, f32::max);
            let got = bound(shape, bounds, (i / shape.head_dim, group), i % shape.head_dim);
            // In half precision.
            let close = |a: f32, b: f32| (a - b).abs() <= 1e-4 + b.abs() / 2000.0;
            let both = close(got[0], least) && close(got[1], greatest);
            assert!(both, "{what} {shape:?} {group} {i}: {got:?}, not {least}, {greatest}");
        }
    }
}

#[test]
fn bounds_are_those_of_the_keys_that_are_seen() {
    for isa in Isa::available() {
        for shape in shapes() {
            let past = Past::read(isa, shape, 2 * PAGE + 3, 5);
            for page in 0..2 {
                let seen: Vec<Vec<f32>> =
                    (0..PAGE).map(|slot| read_kv(&shape, &past.pages[page], slot).0).collect();
                check_bounds(&shape, &past.bounds[page], &seen, &isa.to_string());
            }
        }
    }
}

#[test]
fn bounds_hold_what_is_kept_apart_of_keys() {
    let (kv_heads, head_dim, rotated, len) = (2, 32, 32, 3 * PAGE);
    let kv = kv_heads * head_dim;
    let angles_of = |position: usize, cos: &mut Vec<f32>, sin: &mut Vec<f32>| {
        for i in 0..rotated / 2 {
            let angle = position as f64 * 100f64.powf(-(i as f64) / 16.0);
            cos.push(angle.cos() as f32);
            sin.push(angle.sin() as f32);
        }
    };
    let (mut cos, mut sin) = (Vec::new(), Vec::new());
    (0..len).for_each(|position| angles_of(position, &mut cos, &mut sin));
    let mut angles = Angles::default();
    angles.extend(len, rotated, angles_of);
    for isa in Isa::available() {
        for (layout, ty) in [RopeLayout::Halves, RopeLayout::Interleaved]
            .into_iter()
            .flat_map(|layout| TYPES.map(|ty| (layout, ty)))
        {
            let shape = KvShape { heads: 4, kv_heads, head_dim, latent: None, ty };
            let bias: Vec<f32> = (0..kv).map(|i| 9.0 * number(i + 5)).collect();
            let mut rest = bias.clone();
            let apart = KeyBias::take(&mut rest, head_dim, rotated, layout).unwrap();
            let mut taken: Vec<f32> =
                bias.iter().zip(&rest).map(|(a, b)| a - b).collect::<Vec<_>>().repeat(len);
            rope(isa, &Pool::new(1), &mut taken, kv, head_dim, layout, (&cos, &sin));
            let k: Vec<f32> = (0..len * kv).map(number).collect();
            for page in 0..len / PAGE {
                let mut stored = vec![0; shape.page_bytes()];
                let mine = page * PAGE * kv..(page + 1) * PAGE * kv;
                store_kv(isa, &shape, &mut stored, 0, &k[mine.clone()], &k[mine]);
                let mut bounds = vec![0; bounds_bytes(&shape)];
                let apart = Apart { bias: &apart, angles: &angles };
                bound_keys(isa, &shape, &stored, (Some(apart), page), &mut bounds);
                let seen = (0..PAGE).map(|slot| {
                    let (k, _) = read_kv(&shape, &stored, slot);
                    let at = (page * PAGE + slot) * kv;
                    k.iter().zip(&taken[at..at + kv]).map(|(k, b)| k + b).collect()
                });
                let seen: Vec<Vec<f32>> = seen.collect();
                check_bounds(&shape, &bounds, &seen, &format!("{isa} {layout:?}"));
            }
        }
    }
}

#[test]
fn with_room_for_all_it_is_attention_to_all() {
    for isa in Isa::available() {
        for shape in shapes() {
            let past = Past::read(isa, shape, 20 * PAGE + 9, 1);
            for tokens in [1, 5, 70] {
                let full = past.attend(isa, 2, tokens, None);
                let room = Some(Sparse { budget: 21 * PAGE });
                assert_eq!(past.attend(isa, 2, tokens, room), full, "{isa} {shape:?} {tokens}");
            }
            // A window is what it is.
            let texts = [(&past, 3)];
            let [windowed, both] = [None, Some(Sparse { budget: 0 })]
                .map(|sparse| attend_all(isa, 2, &texts, sparse, Some(10 * PAGE)));
            assert_eq!(windowed, both, "{isa} {shape:?}");
        }
    }
}

/// The positions that the heads of one token which share `kv_head` should attend to, and how much more the last group of
/// them is wanted than the next one.
fn choose(past: &Past, q: &[f32], kv_head: usize, wanted: usize) -> (Vec<usize>, f64) {
    let KvShape { heads, kv_heads, head_dim, .. } = past.shape;
    let recent = (past.len - 1) / PAGE - 4;
    let groups: Vec<usize> = (PAGE / GROUP..recent * PAGE / GROUP).collect();
    let mut votes = vec![0.0; groups.len()];
    for head in 0..heads / kv_heads {
        let query = &q[(kv_head * (heads / kv_heads) + head) * head_dim..][..head_dim];
        let known: Vec<f64> = groups
            .iter()
            .map(|group| {
                let (page, group) = (group * GROUP / PAGE, group % (PAGE / GROUP));
                let term = |d: usize| {
                    let [a, b] = bound(&past.shape, &past.bounds[page], (kv_head, group), d);
                    let (q, a, b) = (0.3 * f64::from(query[d]), f64::from(a), f64::from(b));
                    q * (a + b) / 2.0 + (q * (b - a) / 3.53).powi(2) / 2.0
                };
                (0..head_dim).map(term).sum::<f64>()
            })
            .collect();
        let largest = known.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let all: f64 = known.iter().map(|b| (b - largest).exp()).sum();
        for (vote, b) in votes.iter_mut().zip(&known) {
            *vote += (b - largest).exp() / all;
        }
    }
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_by(|a, b| votes[*b].total_cmp(&votes[*a]));
    let ahead = votes[order[wanted - 1]] / votes[order[wanted]];
    let mut chosen: Vec<usize> = order[..wanted].iter().map(|i| groups[*i]).collect();
    chosen.extend(0..PAGE / GROUP);
    chosen.extend(recent * PAGE / GROUP..past.len.div_ceil(GROUP));
    let positions = (0..past.len).filter(|at| chosen.contains(&(at / GROUP)));
    (positions.collect(), ahead)
}

#[test]
fn what_matters_is_chosen() {
    let mut compared = 0;
    for isa in Isa::available() {
        for (shape, seed) in shapes().into_iter().flat_map(|s| [(s, 3), (s, 90_000)]) {
            let KvShape { heads, kv_heads, head_dim, .. } = shape;
            let value_dim = shape.value_dim();
            let past = Past::read(isa, shape, 40 * PAGE + 17, seed);
            let wanted = 6;
            // With the first page, four recent ones and its own.
            let sparse = Sparse { budget: (wanted + 6) * PAGE };
            let got = past.attend(isa, 2, 1, Some(sparse));
            let q = queries(&shape, past.len, 1);
            let seen: Vec<_> = (0..past.len)
                .map(|at| read_kv(&shape, &past.pages[at / PAGE], at % PAGE))
                .collect();
            for kv_head in 0..kv_heads {
                let (positions, ahead) = choose(&past, &q, kv_head, wanted * PAGE / GROUP);
                if ahead < 1.0001 {
                    continue;
                }
                for head in kv_head * (heads / kv_heads)..(kv_head + 1) * (heads / kv_heads) {
                    let query = &q[head * head_dim..][..head_dim];
                    let score = |at: usize| {
                        let key = &seen[at].0[kv_head * head_dim..][..head_dim];
                        let dot = key.iter().zip(query).map(|(k, q)| f64::from(k * q));
                        (0.3 * dot.sum::<f64>()).exp()
                    };
                    let all: f64 = positions.iter().map(|at| score(*at)).sum();
                    for d in 0..value_dim {
                        let value = |at: usize| f64::from(seen[at].1[kv_head * value_dim + d]);
                        let want: f64 = positions.iter().map(|at| score(*at) * value(*at)).sum();
                        let got = f64::from(got[head * value_dim + d]);
                        let off = (got - want / all).abs();
                        assert!(off < 2e-4, "{isa} {shape:?} {head} {d}: {got}, {}", want / all);
                    }
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 30, "{compared} heads");
}

#[test]
fn what_is_looked_for_is_found_and_neighbours_leave_no_trace() {
    for isa in Isa::available() {
        let shape = KvShape { heads: 4, kv_heads: 2, head_dim: 32, latent: None, ty: KvType::F16 };
        let mut past = Past::read(isa, shape, 60 * PAGE + 5, 8);
        // One key, far back, is what all queries of the last token ask for; its value is 7.
        let (at, row) = (23 * PAGE + 40, shape.kv_heads * shape.head_dim);
        let q = queries(&shape, past.len, 1);
        let key: Vec<f32> = (0..row)
            .map(|i| 8.0 * (q[i / 32 * 64 + i % 32] + q[i / 32 * 64 + 32 + i % 32]))
            .collect();
        store_kv(isa, &shape, &mut past.pages[23], at % PAGE, &key, &vec![7.0; row]);
        bound_keys(isa, &shape, &past.pages[23], (None, 23), &mut past.bounds[23]);
        let sparse = Some(Sparse { budget: Sparse::LEAST });
        let alone = past.attend(isa, 1, 1, sparse);
        assert!(alone.iter().all(|x| (x - 7.0).abs() < 0.1), "{isa}: {alone:?}");
        assert_eq!(past.attend(isa, 3, 1, sparse), alone);
        let other = Past::read(isa, shape, 33 * PAGE + 50, 4);
        let together = attend_all(isa, 2, &[(&other, 40), (&past, 1), (&other, 1)], sparse, None);
        let first = 40 * shape.heads * shape.head_dim;
        assert_eq!(together[first..first + alone.len()], alone, "{isa}");
        assert_eq!(together[first + alone.len()..], other.attend(isa, 2, 1, sparse), "{isa}");
        assert_eq!(together[..first], other.attend(isa, 1, 40, sparse), "{isa}");
        assert!(together.iter().all(|x| x.is_finite()));
    }
}
