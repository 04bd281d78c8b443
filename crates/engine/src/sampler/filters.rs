//! Which tokens may be drawn at all.
//!
//! A vocabulary has 150,000 entries and is filtered every token, so it is never sorted: one scan
//! picks out the few entries that can matter, and only those are ordered.

use std::cmp::Ordering;

use super::{Sampling, exp};

/// Entries compared at once while scanning.
const LANES: usize = 16;

/// A token that may be drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) id: u32,
    /// Never NaN or infinite.
    pub(super) logit: f32,
}

/// What [`keep`] left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// Everything, and the list of candidates was not made.
    All,
    /// The candidates in the list: at least one.
    Some,
}

/// The largest logit; infinity counts as the largest float, NaN as minus infinity.
pub(super) fn max(logits: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in logits.chunks(LANES) {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            *lane = if logit > *lane { logit } else { *lane };
        }
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max).min(f32::MAX)
}

/// The first token whose logit is (at least) `max`.
pub(super) fn first_at(logits: &[f32], max: f32) -> u32 {
    logits.iter().position(|&logit| logit >= max).unwrap_or(0) as u32
}

/// Applies top-k, typical-p, top-p and min-p in this order, each to what the one before left.
/// `max` is the largest logit and is finite.
pub(super) fn keep(
    logits: &[f32],
    max: f32,
    sampling: &Sampling,
    candidates: &mut Vec<Candidate>,
) -> Kept {
    candidates.clear();
    let mut total = None;
    if (1..logits.len()).contains(&sampling.top_k) {
        top_k(logits, sampling.top_k, candidates);
    } else if sampling.typical_p < 1.0 {
        above(logits, f32::NEG_INFINITY, candidates);
    } else if sampling.top_p < 1.0 {
        // Tokens less likely than (1 - top_p) / n hold less than 1 - top_p together, so the
        // others hold enough without them. The margin outweighs rounding.
        let sum = exp::sum(logits, max, 1.0);
        let tail = (1.0 - f64::from(sampling.top_p)) / logits.len() as f64;
        above(logits, max + (sum * tail).ln() as f32 - 0.01, candidates);
        total = Some(sum);
    } else if sampling.min_p > 0.0 {
        above(logits, max + sampling.min_p.ln() - 0.01, candidates);
    } else {
        return Kept::All;
    }
    if sampling.typical_p < 1.0 {
        typical_p(candidates, sampling.typical_p);
    }
    if sampling.top_p < 1.0 {
        top_p(candidates, sampling.top_p, total);
    }
    if sampling.min_p > 0.0 {
        min_p(candidates, sampling.min_p);
    }
    Kept::Some
}

/// Likelier first; of equals the lower token.
fn by_logit(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.partial_cmp(&a.logit).unwrap_or(Ordering::Equal).then(a.id.cmp(&b.id))
}

/// Appends the possible tokens from `floor` upwards, in the order of their ids.
fn above(logits: &[f32], floor: f32, out: &mut Vec<Candidate>) {
    for (id, &logit) in logits.iter().enumerate() {
        if logit >= floor && logit > f32::NEG_INFINITY {
            out.push(Candidate { id: id as u32, logit: logit.min(f32::MAX) });
        }
    }
}

/// Appends the `k` most likely tokens, best first.
pub(super) fn top_k(logits: &[f32], k: usize, out: &mut Vec<Candidate>) {
    // A token is worth holding only above the k-th best of those seen before it. The list is cut
    // back whenever it is twice as long as needed, which raises that bar.
    let limit = (2 * k).max(128);
    let mut bar = f32::NEG_INFINITY;
    for (chunk_index, chunk) in logits.chunks(LANES).enumerate() {
        if !chunk.iter().fold(false, |any, &logit| any | (logit > bar)) {
            continue;
        }
        for (lane, &logit) in chunk.iter().enumerate() {
            if logit > bar {
                let id = (chunk_index * LANES + lane) as u32;
                out.push(Candidate { id, logit: logit.min(f32::MAX) });
                if out.len() == limit {
                    out.select_nth_unstable_by(k - 1, by_logit);
                    out.truncate(k);
                    bar = out[k - 1].logit;
                }
            }
        }
    }
    out.sort_unstable_by(by_logit);
    out.truncate(k);
}

/// The largest logit of a list, or minus infinity.
pub(super) fn best(candidates: &[Candidate]) -> f32 {
    candidates.iter().fold(f32::NEG_INFINITY, |max, candidate| max.max(candidate.logit))
}

/// Probability of a candidate relative to the likeliest one's.
fn weight(candidate: &Candidate, max: f32) -> f64 {
    (f64::from(candidate.logit) - f64::from(max)).exp()
}

/// Keeps the most likely candidates up to a share of `total`, the sum of the weights of all
/// tokens if candidates are only a part of them. Leaves them sorted, best first.
fn top_p(candidates: &mut Vec<Candidate>, share: f32, total: Option<f64>) {
    let max = best(candidates);
    let total = total.unwrap_or_else(|| candidates.iter().map(|c| weight(c, max)).sum());
    keep_share(candidates, f64::from(share) * total, |c| weight(c, max), by_logit);
}

/// Keeps the candidates whose surprise is nearest to the mean surprise, up to a share.
fn typical_p(candidates: &mut Vec<Candidate>, share: f32) {
    let max = best(candidates);
    let total: f64 = candidates.iter().map(|c| weight(c, max)).sum();
    let surprise = |c: &Candidate| total.ln() + f64::from(max) - f64::from(c.logit);
    let entropy: f64 = candidates.iter().map(|c| weight(c, max) / total * surprise(c)).sum();
    let distance = |c: &Candidate| (surprise(c) - entropy).abs();
    keep_share(
        candidates,
        f64::from(share) * total,
        |c| weight(c, max),
        |a, b| distance(a).total_cmp(&distance(b)).then(a.id.cmp(&b.id)),
    );
}

/// Keeps candidates at least `share` times as likely as the best.
fn min_p(candidates: &mut Vec<Candidate>, share: f32) {
    let floor = f64::from(best(candidates)) + f64::from(share).ln();
    candidates.retain(|c| f64::from(c.logit) >= floor);
}

/// Keeps the shortest prefix, in the given order, whose weights reach `enough`; all if they never
/// do. Sorts no more than it has to.
fn keep_share(
    candidates: &mut Vec<Candidate>,
    enough: f64,
    weight: impl Fn(&Candidate) -> f64,
    order: impl Fn(&Candidate, &Candidate) -> Ordering,
) {
    let (mut sum, mut done, mut step) = (0.0, 0, 64);
    while done < candidates.len() {
        let rest = &mut candidates[done..];
        let step_now = step.min(rest.len());
        if step_now < rest.len() {
            rest.select_nth_unstable_by(step_now - 1, &order);
        }
        rest[..step_now].sort_unstable_by(&order);
        for (i, candidate) in rest[..step_now].iter().enumerate() {
            sum += weight(candidate);
            if sum >= enough {
                candidates.truncate(done + i + 1);
                return;
            }
        }
        done += step_now;
        step *= 4;
    }
}
