//! What is to be seen of a policy-gradient step.

use std::ops::AddAssign;

use super::mean::Mean;

/// Sums over the tokens that count, so that those of micro-batches add up; the means are over
/// tokens, whatever the loss is a mean of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyStatistics {
    /// Completions with tokens that count.
    pub completions: usize,
    /// Completions that were left out, or had no such tokens.
    pub left_out: usize,
    /// Tokens that count.
    pub tokens: usize,
    /// Of these, such whose gradient was cut off by `clip_low`.
    pub clipped_low: usize,
    /// Such whose gradient was cut off by `clip_high`.
    pub clipped_high: usize,
    ratio: f64,
    old_kl: f64,
    kl: Mean,
    entropy: Mean,
    weight: Mean,
    mismatch: Mean,
}

impl PolicyStatistics {
    pub(super) fn see_ratio(&mut self, ratio: f64, log_ratio: f64, low: bool, high: bool) {
        self.tokens += 1;
        self.clipped_low += usize::from(low);
        self.clipped_high += usize::from(high);
        self.ratio += ratio;
        self.old_kl += log_ratio.exp_m1() - log_ratio;
    }

    pub(super) fn see_kl(&mut self, kl: f64) {
        self.kl.see(kl);
    }

    pub(super) fn see_entropy(&mut self, entropy: f64) {
        self.entropy.see(entropy);
    }

    pub(super) fn see_sampler(&mut self, difference: f64, weight: f64) {
        self.mismatch.see(difference.abs());
        self.weight.see(weight);
    }

    /// The share of tokens that fell too far and no longer count.
    pub fn clip_low(&self) -> f64 {
        self.share(self.clipped_low as f64)
    }

    /// The share of tokens that rose too far and no longer count.
    pub fn clip_high(&self) -> f64 {
        self.share(self.clipped_high as f64)
    }

    /// The mean ratio to the old policy.
    pub fn ratio(&self) -> f64 {
        self.share(self.ratio)
    }

    /// How far the policy has gone from the old one: the mean of `r - ln r - 1` over tokens'
    /// ratios, which estimates the divergence of the old from the new.
    pub fn old_kl(&self) -> f64 {
        self.share(self.old_kl)
    }

    /// The mean estimate of the divergence from the reference, not multiplied by any ratio; `None`
    /// without one.
    pub fn kl(&self) -> Option<f64> {
        self.kl.get()
    }

    /// The mean entropy in nats; `None` where none were given.
    pub fn entropy(&self) -> Option<f64> {
        self.entropy.get()
    }

    /// The mean weight that corrects for the sampler; `None` without its log-probabilities.
    pub fn weight(&self) -> Option<f64> {
        self.weight.get()
    }

    /// The mean distance between the old policy's log-probabilities and the sampler's; `None`
    /// without the latter.
    pub fn mismatch(&self) -> Option<f64> {
        self.mismatch.get()
    }

    /// All that is known, by name.
    pub fn figures(&self) -> Vec<(&'static str, f64)> {
        let always = [
            ("policy/ratio", Some(self.ratio())),
            ("policy/clip_low", Some(self.clip_low())),
            ("policy/clip_high", Some(self.clip_high())),
            ("policy/old_kl", Some(self.old_kl())),
            ("policy/kl", self.kl()),
            ("policy/entropy", self.entropy()),
            ("sampler/weight", self.weight()),
            ("sampler/mismatch", self.mismatch()),
        ];
        always.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    fn share(&self, sum: f64) -> f64 {
        sum / self.tokens.max(1) as f64
    }
}

impl AddAssign for PolicyStatistics {
    fn add_assign(&mut self, other: PolicyStatistics) {
        self.completions += other.completions;
        self.left_out += other.left_out;
        self.tokens += other.tokens;
        self.clipped_low += other.clipped_low;
        self.clipped_high += other.clipped_high;
        self.ratio += other.ratio;
        self.old_kl += other.old_kl;
        self.kl += other.kl;
        self.entropy += other.entropy;
        self.weight += other.weight;
        self.mismatch += other.mismatch;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Completion, KlEstimator, Normalizers, PolicySettings};

    #[test]
    fn means_are_over_tokens() {
        let all = [
            Completion {
                old_log_probs: Some(&[-1.0, -2.0, -1.0]),
                reference_log_probs: Some(&[-1.5, -2.0, -0.5]),
                sampler_log_probs: Some(&[-2.0, -1.5, -1.0]),
                entropies: Some(&[0.5, 1.0, 0.0]),
                ..Completion::new(1.0, &[-0.5, -2.0, -1.5])
            },
            Completion::new(-1.0, &[-1.0]),
        ];
        let normalizers = Normalizers { completions: 2, tokens: 4, max_tokens: 4 };
        let of = |kl_estimator| {
            let settings = PolicySettings { kl_estimator, ..PolicySettings::default() };
            settings.surrogate(&all, normalizers).unwrap().statistics
        };
        let near = |got: Option<f64>, expected: f64| {
            assert!((got.unwrap() - expected).abs() < 1e-12, "{got:?} is not {expected}");
        };
        let (up, down) = (0.5f64.exp(), (-0.5f64).exp());
        let seen = of(KlEstimator::K1);
        near(Some(seen.ratio()), (up + 1.0 + down + 1.0) / 4.0);
        near(Some(seen.old_kl()), (up + down - 2.0) / 4.0);
        near(seen.entropy(), 0.5);
        // Of what was sampled e times as seldom, the cap counts.
        near(seen.weight(), (2.0 + down + 1.0) / 3.0);
        near(seen.mismatch(), 0.5);
        // The reference has 1 less, the same, and 1 more.
        near(seen.kl(), 0.0);
        near(of(KlEstimator::K2).kl(), 1.0 / 3.0);
        let one = 1.0f64;
        near(of(KlEstimator::K3).kl(), (one.exp() + (-one).exp() - 2.0) / 3.0);

        let nothing = super::PolicyStatistics::default();
        assert_eq!((nothing.ratio(), nothing.kl(), nothing.weight()), (0.0, None, None));
        assert_eq!(nothing.figures().len(), 4);
    }
}
