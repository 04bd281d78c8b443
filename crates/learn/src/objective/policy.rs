//! What the loss of a policy-gradient step is made of.

use serde::{Deserialize, Serialize};

use super::Error;
use super::error::{at_least, setting};

/// What the loss of a policy-gradient step is made of. With the ratio `r` of a token's probability
/// to what it was when sampled, the advantage `A`, the sampler's weight `w` and the entropy `H`, a
/// token's loss is
///
/// ```text
/// -w · min(min(r, delta) · A, clamp(r, 1 - clip_low, 1 + clip_high) · A)
///     + kl_coefficient · KL - entropy_coefficient · H
/// ```
///
/// The defaults are DAPO's (arXiv:2503.14476) with truncated importance sampling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicySettings {
    /// Whose ratio it is that is clipped.
    pub ratio: Ratio,
    /// How far below 1 a ratio still counts where the advantage is negative (PPO,
    /// arXiv:1707.06347). GSPO's sequence ratios want some 3e-4 here.
    pub clip_low: f64,
    /// How far above 1 a ratio still counts where the advantage is positive; more than `clip_low`
    /// is DAPO's "clip higher". GSPO's sequence ratios want some 4e-4 here.
    pub clip_high: f64,
    /// The ratio above which a token counts no further where the advantage is negative, too:
    /// two-sided clipping (INTELLECT-2, arXiv:2505.07291). More than `1 + clip_high`.
    pub delta: Option<f64>,
    /// How tokens' losses become one.
    pub aggregate: Aggregate,
    /// How much the divergence from the reference counts; 0 needs no reference.
    pub kl_coefficient: f64,
    /// How that divergence is estimated.
    pub kl_estimator: KlEstimator,
    /// Whether the divergence is multiplied by the ratio, whose gradient counts, too: then K3's
    /// gradient is in expectation that of the divergence itself (DeepSeek-V3.2, arXiv:2512.02556;
    /// TRL's `use_bias_correction_kl`).
    pub unbiased_kl: bool,
    /// How much the mean entropy of the step's tokens is favoured; 0 needs no entropies.
    pub entropy_coefficient: f64,
    /// What is done about a sampler whose log-probabilities aren't the trained network's.
    pub sampler_correction: Correction,
    /// The weight from which [`PolicySettings::sampler_correction`] steps in.
    pub sampler_cap: f64,
}

impl Default for PolicySettings {
    fn default() -> PolicySettings {
        PolicySettings {
            ratio: Ratio::default(),
            clip_low: 0.2,
            clip_high: 0.28,
            delta: None,
            aggregate: Aggregate::default(),
            kl_coefficient: 0.0,
            kl_estimator: KlEstimator::default(),
            unbiased_kl: false,
            entropy_coefficient: 0.0,
            sampler_correction: Correction::default(),
            sampler_cap: 2.0,
        }
    }
}

impl PolicySettings {
    /// # Errors
    /// A setting isn't one that can be trained with.
    pub fn check(&self) -> Result<(), Error> {
        at_least("clip_low", self.clip_low, 0.0)?;
        at_least("clip_high", self.clip_high, 0.0)?;
        at_least("kl_coefficient", self.kl_coefficient, 0.0)?;
        at_least("sampler_cap", self.sampler_cap, 0.0)?;
        if !self.entropy_coefficient.is_finite() {
            return Err(setting("entropy_coefficient", format!("{}", self.entropy_coefficient)));
        }
        match self.delta {
            Some(delta) if !(delta.is_finite() && delta > 1.0 + self.clip_high) => {
                let least = 1.0 + self.clip_high;
                Err(setting("delta", format!("{delta} is not more than 1 + clip_high = {least}")))
            }
            _ => Ok(()),
        }
    }
}

/// Whose probability is compared with what it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ratio {
    /// Each token's.
    #[default]
    Token,
    /// The completion's, to the power of one over its length: all its tokens share the geometric
    /// mean of their ratios, and its gradient (GSPO, arXiv:2507.18071).
    Sequence,
}

/// How the losses of tokens become the loss of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aggregate {
    /// The mean over completions of each one's mean over its tokens (GRPO, arXiv:2402.03300): a
    /// long completion's tokens count for less.
    SequenceMean,
    /// The mean over all tokens of the step (DAPO, arXiv:2503.14476).
    #[default]
    TokenMean,
    /// The sum over tokens, divided by completions times a constant,
    /// [`super::Normalizers::max_tokens`] (Dr. GRPO, arXiv:2503.20783).
    Constant,
}

/// How the divergence of the policy from the reference is estimated at a sampled token, with `d`
/// the reference's log-probability less the policy's (Schulman 2020, "Approximating KL
/// divergence").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KlEstimator {
    /// `-d`: unbiased and of high variance. As part of a loss its gradient is 0 in expectation
    /// unless [`PolicySettings::unbiased_kl`] is set.
    K1,
    /// `d² / 2`: biased, and its gradient is that of the divergence.
    K2,
    /// `exp(d) - d - 1`: unbiased and never negative; TRL's.
    #[default]
    K3,
}

impl KlEstimator {
    /// The estimate and its derivative with respect to the policy's log-probability.
    pub(super) fn at(self, d: f64) -> (f64, f64) {
        match self {
            KlEstimator::K1 => (-d, 1.0),
            KlEstimator::K2 => (d * d / 2.0, -d),
            KlEstimator::K3 => (d.exp_m1() - d, -d.exp_m1()),
        }
    }
}

/// What becomes of a token whose probability when sampled, as the trained network has it, is `w`
/// times the sampler's. All of them count it `w` times up to the cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Correction {
    /// Each token counts once.
    Off,
    /// Beyond the cap a token counts as often as the cap says: truncated importance sampling (TIS;
    /// Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL training").
    #[default]
    TokenTruncate,
    /// Beyond the cap a token is left out (IcePop; Ling Team 2025, arXiv:2510.18855).
    TokenMask,
    /// As `token-truncate`, of the completion's probability as a whole.
    SequenceTruncate,
    /// As `token-mask`, of the completion's probability as a whole.
    SequenceMask,
}
