//! Choosing scales: given the weights of a sub-block, the integers and the scale (and min) that
//! bring `scale * q` or `scale * q - min` closest to them.
//!
//! With the integers fixed the best scale is a least-squares fit; with the scale fixed the best
//! integers are the nearest ones. No search here tries all combinations: each starts from scales
//! near the one the sub-block's extremes suggest, rounds, fits, and keeps what came out best. An
//! error counts by the weight's `importance`, which the caller chooses; larger weights matter more.

use std::array::from_fn;

use super::extreme;
use kernels::blocks::KVALUES_IQ4NL;

/// Sub-blocks whose weights are all below this are taken for zero.
pub(super) const NEGLIGIBLE: f32 = 1e-15;

/// `x` rounded to the nearest integer of `low..=high`, ties to even.
pub(super) fn nearest(x: f32, low: f32, high: f32) -> f32 {
    // The f32 spacing at 3 * 2^22 is 1: adding it rounds, without a call on targets that lack the
    // instruction. Clamping first keeps the sum where that holds.
    const ROUND: f32 = 12_582_912.0;
    // Spelt out, each is one instruction; of `clamp` the compiler makes more.
    let x = if x < low { low } else { x };
    let x = if x > high { high } else { x };
    x + ROUND - ROUND
}

/// The trials [`fit_scale_and_min`] makes.
pub(super) struct Trials {
    /// The integers are 0 to this.
    pub highest: f32,
    /// The first trial spreads the weights over `highest + first` steps ...
    pub first: f32,
    /// ... and each further one over this much more.
    pub step: f32,
    /// How many further ones there are.
    pub further: u32,
}

/// Fits `x = scale * q - min` with `min >= 0`; returns `(scale, min)` and leaves the integers in
/// `q`. The error of a weight counts `importance * cost(error)`.
pub(super) fn fit_scale_and_min<const N: usize>(
    x: &[f32; N],
    importance: &[f32; N],
    trials: &Trials,
    cost: impl Fn(f32) -> f32,
    q: &mut [u8; N],
) -> (f32, f32) {
    let mut lanes = [[0; N]; 1];
    let (scales, mins) = fit_scales_and_mins(&[*x], &[*importance], trials, cost, &mut lanes);
    *q = lanes[0];
    (scales[0], mins[0])
}

/// [`fit_scale_and_min`] for `L` sub-blocks at once: the compiler puts each into a lane of its registers, so
/// that every sum still runs from the first weight to the last.
pub(super) fn fit_scales_and_mins<const L: usize, const N: usize>(
    x: &[[f32; N]; L],
    importance: &[[f32; N]; L],
    trials: &Trials,
    cost: impl Fn(f32) -> f32,
    q: &mut [[u8; N]; L],
) -> ([f32; L], [f32; L]) {
    let (x, w) = (turned(x), turned(importance));
    let (mut least, mut greatest) = (x[0], x[0]);
    let (mut sum_w, mut sum_wx) = ([0.0; L], [0.0; L]);
    for (x, w) in x.iter().zip(&w) {
        for l in 0..L {
            least[l] = if x[l] < least[l] { x[l] } else { least[l] };
            greatest[l] = if x[l] > greatest[l] { x[l] } else { greatest[l] };
            sum_w[l] += w[l];
            sum_wx[l] += w[l] * x[l];
        }
    }
    // A min is only ever subtracted, so the offset cannot be above zero.
    let least = least.map(|least| least.min(0.0));

    let quantize = |steps: f32, offset: &[f32; L], levels: &mut [[f32; L]; N]| {
        let inverse: [f32; L] = from_fn(|l| steps / (greatest[l] - offset[l]));
        for (levels, x) in levels.iter_mut().zip(&x) {
            for l in 0..L {
                levels[l] = nearest(inverse[l] * (x[l] - offset[l]), 0.0, trials.highest);
            }
        }
    };
    let total_cost = |levels: &[[f32; L]; N], scale: &[f32; L], offset: &[f32; L]| {
        let mut total = [0.0; L];
        for ((x, w), level) in x.iter().zip(&w).zip(levels) {
            for l in 0..L {
                total[l] += w[l] * cost(scale[l] * level[l] + offset[l] - x[l]);
            }
        }
        total
    };

    let mut best = [[0.0; L]; N];
    quantize(trials.highest, &least, &mut best);
    let mut scale: [f32; L] = from_fn(|l| 1.0 / (trials.highest / (greatest[l] - least[l])));
    let mut offset = least;
    let mut best_cost = total_cost(&best, &scale, &offset);

    let mut levels = [[0.0; L]; N];
    for trial in 0..=trials.further {
        // From the best offset so far, not from the least weight: trials build on one another.
        let steps = trials.first + trials.step * trial as f32 + trials.highest;
        quantize(steps, &offset, &mut levels);
        let (mut sum_l, mut sum_ll, mut sum_lx) = ([0.0; L], [0.0; L], [0.0; L]);
        for ((x, w), level) in x.iter().zip(&w).zip(&levels) {
            for l in 0..L {
                let wl = w[l] * level[l];
                sum_l[l] += wl;
                sum_ll[l] += wl * level[l];
                sum_lx[l] += wl * x[l];
            }
        }
        let (mut fitted_scale, mut fitted_offset) = ([0.0; L], [0.0; L]);
        let mut solved = [false; L];
        for l in 0..L {
            // The normal equations of the weighted least-squares line through (level, x).
            let determinant = sum_w[l] * sum_ll[l] - sum_l[l] * sum_l[l];
            solved[l] = determinant > 0.0;
            fitted_scale[l] = (sum_w[l] * sum_lx[l] - sum_wx[l] * sum_l[l]) / determinant;
            fitted_offset[l] = (sum_ll[l] * sum_wx[l] - sum_l[l] * sum_lx[l]) / determinant;
            if fitted_offset[l] > 0.0 {
                fitted_offset[l] = 0.0;
                fitted_scale[l] = sum_lx[l] / sum_ll[l];
            }
        }
        let fitted_cost = total_cost(&levels, &fitted_scale, &fitted_offset);
        let better: [bool; L] = from_fn(|l| solved[l] && fitted_cost[l] < best_cost[l]);
        if better.contains(&true) {
            for l in 0..L {
                if better[l] {
                    (0..N).for_each(|i| best[i][l] = levels[i][l]);
                    best_cost[l] = fitted_cost[l];
                    (scale[l], offset[l]) = (fitted_scale[l], fitted_offset[l]);
                }
            }
        }
    }
    for l in 0..L {
        if greatest[l] == least[l] {
            // Nothing to be told apart.
            (scale[l], offset[l]) = (0.0, least[l]);
            q[l].fill(0);
        } else {
            q[l] = from_fn(|i| best[i][l] as u8);
        }
    }
    (scale, offset.map(|offset| -offset))
}

/// Sub-blocks side by side: the first weight of each, then the second.
fn turned<const L: usize, const N: usize>(x: &[[f32; N]; L]) -> [[f32; L]; N] {
    from_fn(|i| from_fn(|l| x[l][i]))
}

/// Fits `x = scale * (q - half)` by least squares for integers `q` of 0 to `2 * half - 1`, the square
/// error of each weight times its `importance`. Returns the scale, whose sign makes the extreme weight
/// negative.
pub(super) fn fit_signed<const N: usize>(
    x: &[f32; N],
    importance: &[f32; N],
    half: f32,
    q: &mut [u8; N],
) -> f32 {
    let mut lanes = [[0; N]; 1];
    let [scale] = fit_signed_scales(&[*x], &[*importance], half, &mut lanes);
    *q = lanes[0];
    scale
}

/// [`fit_signed`] for `L` sub-blocks at once, as [`fit_scales_and_mins`].
pub(super) fn fit_signed_scales<const L: usize, const N: usize>(
    x: &[[f32; N]; L],
    importance: &[[f32; N]; L],
    half: f32,
    q: &mut [[u8; N]; L],
) -> [f32; L] {
    let extremes: [f32; L] = from_fn(|l| extreme(&x[l]));
    let (x, w) = (turned(x), turned(importance));
    let quantize = |steps: f32, levels: &mut [[f32; L]; N]| {
        let inverse = extremes.map(|extreme| -steps / extreme);
        for (levels, x) in levels.iter_mut().zip(&x) {
            for l in 0..L {
                levels[l] = nearest(inverse[l] * x[l], -half, half - 1.0);
            }
        }
    };
    let correlate = |levels: &[[f32; L]; N]| {
        let (mut sum_lx, mut sum_ll) = ([0.0; L], [0.0; L]);
        for ((x, w), level) in x.iter().zip(&w).zip(levels) {
            for l in 0..L {
                sum_lx[l] += w[l] * x[l] * level[l];
                sum_ll[l] += w[l] * level[l] * level[l];
            }
        }
        (sum_lx, sum_ll)
    };

    let mut best = [[0.0; L]; N];
    quantize(half, &mut best);
    let (sum_lx, sum_ll) = correlate(&best);
    let mut scale: [f32; L] =
        from_fn(|l| if sum_ll[l] == 0.0 { 0.0 } else { sum_lx[l] / sum_ll[l] });
    // By how much the fit lowers the weighted square error: sum_lx^2 / sum_ll.
    let mut gain: [f32; L] = from_fn(|l| scale[l] * sum_lx[l]);

    let mut levels = [[0.0; L]; N];
    for trial in (-9..=9).filter(|trial| *trial != 0) {
        quantize(half + 0.1 * trial as f32, &mut levels);
        let (sum_lx, sum_ll) = correlate(&levels);
        let better: [bool; L] =
            from_fn(|l| sum_ll[l] > 0.0 && sum_lx[l] * sum_lx[l] > gain[l] * sum_ll[l]);
        if better.contains(&true) {
            for l in 0..L {
                if better[l] {
                    (0..N).for_each(|i| best[i][l] = levels[i][l]);
                    scale[l] = sum_lx[l] / sum_ll[l];
                    gain[l] = scale[l] * sum_lx[l];
                }
            }
        }
    }
    for l in 0..L {
        if extremes[l].abs() < NEGLIGIBLE {
            scale[l] = 0.0;
            q[l].fill(0);
        } else {
            q[l] = from_fn(|i| (best[i][l] + half) as u8);
        }
    }
    scale
}

/// Fits `x = scale * q` for integers `q` of 0 to `highest`, the square error of each of `x`, none of which
/// is negative, times its `importance`: the best of a few scales, then single moves as in
/// [`fit_three_bits`]. Returns the scale.
pub(super) fn fit_unsigned<const N: usize>(
    x: &[f32; N],
    importance: &[f32; N],
    highest: f32,
    q: &mut [u8; N],
) -> f32 {
    let greatest = x.iter().fold(0.0f32, |most, &x| most.max(x));
    if greatest < NEGLIGIBLE {
        q.fill(0);
        return 0.0;
    }
    let quantize = |inverse_scale: f32| x.map(|x| nearest(inverse_scale * x, 0.0, highest));
    let cost = |inverse_scale: f32| {
        let scale = 1.0 / inverse_scale;
        let mut total = 0.0;
        for ((&x, &w), &level) in x.iter().zip(importance).zip(&quantize(inverse_scale)) {
            let error = x - scale * level;
            total += w * error * error;
        }
        total
    };
    let mut inverse_scale = highest / greatest;
    let mut least = cost(inverse_scale);
    for trial in (-4..=4).filter(|trial| *trial != 0) {
        let other = (0.1 * trial as f32 + highest) / greatest;
        let total = cost(other);
        if total < least {
            (inverse_scale, least) = (other, total);
        }
    }

    let mut levels = quantize(inverse_scale);
    let (mut sum_lx, mut sum_ll) = (0.0, 0.0);
    for ((&x, &w), &level) in x.iter().zip(importance).zip(&levels) {
        sum_lx += w * x * level;
        sum_ll += w * level * level;
    }
    for _ in 0..5 {
        let mut moved = false;
        for ((&x, &w), level) in x.iter().zip(importance).zip(&mut levels) {
            let others_lx = sum_lx - w * x * *level;
            let others_ll = sum_ll - w * *level * *level;
            if others_lx <= 0.0 || others_ll <= 0.0 {
                continue;
            }
            let wanted = nearest(x * others_ll / others_lx, 0.0, highest);
            if wanted == *level {
                continue;
            }
            let wanted_lx = others_lx + w * x * wanted;
            let wanted_ll = others_ll + w * wanted * wanted;
            if wanted_lx * wanted_lx * sum_ll > sum_lx * sum_lx * wanted_ll {
                (*level, sum_lx, sum_ll) = (wanted, wanted_lx, wanted_ll);
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    *q = levels.map(|level| level as u8);
    if sum_ll > 0.0 { sum_lx / sum_ll } else { 0.0 }
}

/// Fits `x = scale * (q - 4)` for integers `q` of 0 to 7, errors weighed by the square of their
/// weight: rounds once, then moves single weights to the level that suits the scale the *others*
/// ask for, as long as that helps.
pub(super) fn fit_three_bits<const N: usize>(x: &[f32; N], q: &mut [u8; N]) -> f32 {
    const HALF: f32 = 4.0;
    let extreme = extreme(x);
    if extreme.abs() < NEGLIGIBLE {
        q.fill(0);
        return 0.0;
    }
    let inverse_scale = -HALF / extreme;
    let mut levels = x.map(|x| nearest(inverse_scale * x, -HALF, HALF - 1.0));
    let (mut sum_lx, mut sum_ll) = (0.0, 0.0);
    for (&x, &level) in x.iter().zip(&levels) {
        let w = x * x;
        sum_lx += w * x * level;
        sum_ll += w * level * level;
    }

    for _ in 0..5 {
        let mut moved = false;
        for (&x, level) in x.iter().zip(&mut levels) {
            let w = x * x;
            let others_lx = sum_lx - w * x * *level;
            let others_ll = sum_ll - w * *level * *level;
            if others_lx <= 0.0 {
                continue;
            }
            let wanted = nearest(x * others_ll / others_lx, -HALF, HALF - 1.0);
            if wanted == *level {
                continue;
            }
            let wanted_lx = others_lx + w * x * wanted;
            let wanted_ll = others_ll + w * wanted * wanted;
            if wanted_ll > 0.0 && wanted_lx * wanted_lx * sum_ll > sum_lx * sum_lx * wanted_ll {
                (*level, sum_lx, sum_ll) = (wanted, wanted_lx, wanted_ll);
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    *q = levels.map(|level| (level + HALF) as u8);
    if sum_ll > 0.0 { sum_lx / sum_ll } else { 0.0 }
}

/// Fits `x = scale * KVALUES_IQ4NL[q]` by least squares, the square error of each weight times its
/// `importance`. Returns the scale alone: the caller rounds it before choosing the numbers.
pub(super) fn fit_table_scale(x: &[f32; 32], importance: &[f32; 32]) -> f32 {
    let extreme = extreme(x);
    if extreme.abs() < NEGLIGIBLE {
        return 0.0;
    }
    let correlate = |inverse_scale: f32| {
        let (mut sum_vx, mut sum_vv) = (0.0, 0.0);
        let values = nearest_values(&x.map(|x| inverse_scale * x));
        for ((&x, &w), value) in x.iter().zip(importance).zip(values) {
            let wv = w * value;
            sum_vx += wv * x;
            sum_vv += wv * value;
        }
        (sum_vx, sum_vv)
    };

    let lowest = f32::from(KVALUES_IQ4NL[0]);
    // The extreme weight goes to the table's longer, negative end, whichever its sign.
    let (sum_vx, sum_vv) = correlate(1.0 / (-extreme / lowest));
    let mut scale = if sum_vv > 0.0 { sum_vx / sum_vv } else { 0.0 };
    let mut gain = scale * sum_vx;
    for trial in -7..=7 {
        let (sum_vx, sum_vv) = correlate((trial as f32 + lowest) / extreme);
        if sum_vv > 0.0 && sum_vx * sum_vx > gain * sum_vv {
            scale = sum_vx / sum_vv;
            gain = scale * sum_vx;
        }
    }
    scale
}

/// The value of the entry of [`KVALUES_IQ4NL`] nearest to each `x`, the higher one where two are as
/// near.
fn nearest_values(x: &[f32; 32]) -> [f32; 32] {
    let mut values = [f32::from(KVALUES_IQ4NL[0]); 32];
    for (midpoint, step) in midpoints_and_steps() {
        // All weights against one midpoint rather than all midpoints for one weight: this way
        // round the compiler compares a register of weights at a time.
        for (value, &x) in values.iter_mut().zip(x) {
            *value += if x >= midpoint { step } else { 0.0 };
        }
    }
    values
}

/// The index of the entry of [`KVALUES_IQ4NL`] nearest to `x`, the higher one where two are as
/// near.
pub(super) fn nearest_entry(x: f32) -> u8 {
    midpoints_and_steps().map(|(midpoint, _)| u8::from(x >= midpoint)).sum()
}

/// Where one entry of [`KVALUES_IQ4NL`] gives way to the next, and by how much that is greater.
/// All of these are exact in an `f32`.
fn midpoints_and_steps() -> impl Iterator<Item = (f32, f32)> {
    KVALUES_IQ4NL.windows(2).map(|pair| {
        let (low, high) = (f32::from(pair[0]), f32::from(pair[1]));
        ((low + high) / 2.0, high - low)
    })
}
