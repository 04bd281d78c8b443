//! The exponential over a whole vocabulary, every token: written so that the compiler can use
//! vector instructions, which a call to the library function per element forbids.

/// Entries worked on at once.
pub(super) const BLOCK: usize = 256;

/// `exp(x)` for `x <= 0`, within 2e-7 of its value; 0 below -87 and for NaN.
fn exp(x: f32) -> f32 {
    /// Adding this to a small float leaves its nearest integer in the low mantissa bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let possible = x > -87.0;
    let x = if possible { x } else { 0.0 };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let power = rounded - ROUND;
    // x = power ln 2 + r, |r| <= ln 2 / 2: Taylor's series on r, 2^power put into the exponent.
    let r = (x - power * LN2_HIGH) - power * LN2_LOW;
    let mut y = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        y = y * r + coefficient;
    }
    let scale = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
    if possible { y * scale } else { 0.0 }
}

/// `exp((logit - max) * scale)` of up to [`BLOCK`] logits, where no logit is above `max` but
/// infinity, which counts as the largest float.
pub(super) fn weights(logits: &[f32], max: f32, scale: f32) -> [f32; BLOCK] {
    let mut out = [0.0; BLOCK];
    for (out, &logit) in out.iter_mut().zip(logits) {
        let logit = if logit > f32::MAX { f32::MAX } else { logit };
        *out = exp((logit - max) * scale);
    }
    out
}

/// The sum of [`weights`] of one block.
pub(super) fn block_sum(logits: &[f32], max: f32, scale: f32) -> f64 {
    let weights = weights(logits, max, scale);
    let mut lanes = [0.0f64; 8];
    for chunk in weights.chunks_exact(8) {
        for (lane, &weight) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(weight);
        }
    }
    lanes.iter().sum()
}

/// The sum of `exp((logit - max) * scale)` of all logits.
pub(super) fn sum(logits: &[f32], max: f32, scale: f32) -> f64 {
    logits.chunks(BLOCK).map(|block| block_sum(block, max, scale)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_library() {
        for i in 0..200_000 {
            let x = -(i as f32) * 86.9 / 200_000.0;
            let (got, want) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((got / want - 1.0).abs() < 2e-7, "exp({x}) = {got}, want {want}");
        }
    }

    #[test]
    fn impossible_is_zero() {
        for x in [-87.1, -1e30, f32::NEG_INFINITY, f32::NAN] {
            assert_eq!(exp(x), 0.0, "exp({x})");
        }
        assert_eq!(exp(0.0), 1.0);
    }
}
