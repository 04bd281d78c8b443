//! The angles of rotary position embedding, and how they are stretched for long contexts.

use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

use kernels::ops::RopeLayout;
use weights::Checkpoint;

use crate::config::yarn_mscale;
use crate::load::read_f32;
use crate::{Error, Model, Sequence};

/// The tensor with a divisor for each frequency.
pub(crate) const DIVISORS: &str = "rope_freqs.weight";

/// How positions are stretched beyond the length a model was trained on.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum RopeScaling {
    /// Not at all.
    #[default]
    None,
    /// All frequencies divided by a factor (Chen et al. 2023, arXiv:2306.15595).
    Linear {
        /// By how much.
        factor: f32,
    },
    /// Low frequencies divided, high ones kept, as in Llama 3.1.
    Llama3 {
        /// By how much low frequencies are divided.
        factor: f32,
        /// Wavelengths over `original / low_freq_factor` count as low frequencies.
        low_freq_factor: f32,
        /// Wavelengths under `original / high_freq_factor` count as high frequencies.
        high_freq_factor: f32,
        /// The context the model was first trained on.
        original: usize,
    },
    /// YaRN (Peng et al. 2023, arXiv:2309.00071), static: the same for every length.
    Yarn {
        /// By how much the context grows.
        factor: f32,
        /// The context the model was trained on.
        original: usize,
        /// Rotations over the original context above which a frequency is kept.
        beta_fast: f32,
        /// Rotations below which a frequency is divided.
        beta_slow: f32,
        /// What cosines and sines are multiplied with; `None` means `0.1 ln(factor) + 1`.
        attention_factor: Option<f32>,
    },
    /// LongRoPE (Ding et al. 2024, arXiv:2402.13753): each frequency has a divisor of its own, one for
    /// texts that are longer than the original context and one for those that aren't.
    LongRope {
        /// Divisors for long texts, `[dim / 2]`.
        long: Vec<f32>,
        /// Divisors for short ones.
        short: Vec<f32>,
        /// The context the model was first trained on.
        original: usize,
        /// What cosines and sines are multiplied with, of either kind.
        attention_factor: f32,
    },
}

/// LongRoPE's attention factor for a context `factor` times the original one.
pub(crate) fn long_rope_attention(factor: f32, original: usize) -> f32 {
    match factor > 1.0 {
        true => (1.0 + f64::from(factor).ln() / (original as f64).ln()).sqrt() as f32,
        false => 1.0,
    }
}

impl RopeScaling {
    /// What goes for texts that need no scaling.
    fn unscaled(&self) -> RopeScaling {
        match self {
            RopeScaling::LongRope { short, original, attention_factor, .. } => {
                RopeScaling::LongRope {
                    long: short.clone(),
                    short: short.clone(),
                    original: *original,
                    attention_factor: *attention_factor,
                }
            }
            _ => RopeScaling::None,
        }
    }

    /// YaRN with the paper's constants.
    pub fn yarn(factor: f32, original: usize) -> RopeScaling {
        RopeScaling::Yarn {
            factor,
            original,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention_factor: None,
        }
    }
}

/// A `--rope-scaling` argument: what a user asks for before the model is known.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum RopeScalingRequest {
    /// `none`: the context a model was first trained on.
    None,
    /// `linear:FACTOR`.
    Linear(f32),
    /// `yarn:FACTOR[:ORIGINAL_CONTEXT]`; without the length, the model's own context.
    Yarn(f32, Option<usize>),
    /// `auto:FACTOR[:ORIGINAL_CONTEXT]`: the same for texts that are longer than the original context, and
    /// nothing for those that aren't.
    Auto(f32, Option<usize>),
}

impl RopeScalingRequest {
    /// The scaling for a model trained on `context` positions.
    pub fn resolve(self, context: usize) -> RopeScaling {
        match self {
            RopeScalingRequest::None => RopeScaling::None,
            RopeScalingRequest::Linear(factor) => RopeScaling::Linear { factor },
            RopeScalingRequest::Yarn(factor, original)
            | RopeScalingRequest::Auto(factor, original) => {
                RopeScaling::yarn(factor, original.unwrap_or(context))
            }
        }
    }
}

impl FromStr for RopeScalingRequest {
    type Err = Error;

    fn from_str(given: &str) -> Result<RopeScalingRequest, Error> {
        let bad = |problem: &str| Error::RopeScaling {
            given: given.to_owned(),
            problem: problem.to_owned(),
        };
        let mut parts = given.split(':');
        let kind = parts.next().unwrap_or_default();
        let factor = parts.next().map(|f| match f.parse::<f32>() {
            Ok(f) if (1.0..=1024.0).contains(&f) => Ok(f),
            _ => Err(bad("the factor must be a number from 1 to 1024")),
        });
        let original = parts.next().map(|n| match n.parse::<usize>() {
            Ok(n) if (1..=1 << 30).contains(&n) => Ok(n),
            _ => Err(bad("the original context must be a positive whole number")),
        });
        if parts.next().is_some() {
            return Err(bad("there are too many parts"));
        }
        match (kind, factor.transpose()?, original.transpose()?) {
            ("none", None, None) => Ok(RopeScalingRequest::None),
            ("linear", Some(factor), None) => Ok(RopeScalingRequest::Linear(factor)),
            ("yarn", Some(factor), original) => Ok(RopeScalingRequest::Yarn(factor, original)),
            ("auto", Some(factor), original) => Ok(RopeScalingRequest::Auto(factor, original)),
            ("linear" | "yarn" | "auto", None, _) => Err(bad("the factor is missing")),
            ("none" | "linear", ..) => Err(bad("there are too many parts")),
            _ => Err(bad("that kind is unknown")),
        }
    }
}

/// As it is given.
impl fmt::Display for RopeScalingRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RopeScalingRequest::None => f.write_str("none"),
            RopeScalingRequest::Linear(factor) => write!(f, "linear:{factor}"),
            RopeScalingRequest::Yarn(factor, None) => write!(f, "yarn:{factor}"),
            RopeScalingRequest::Yarn(factor, Some(original)) => {
                write!(f, "yarn:{factor}:{original}")
            }
            RopeScalingRequest::Auto(factor, None) => write!(f, "auto:{factor}"),
            RopeScalingRequest::Auto(factor, Some(original)) => {
                write!(f, "auto:{factor}:{original}")
            }
        }
    }
}

impl fmt::Display for RopeScaling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RopeScaling::None => f.write_str("none"),
            RopeScaling::Linear { factor } => write!(f, "linear ×{factor}"),
            RopeScaling::Llama3 { factor, original, .. } => {
                write!(f, "llama3 ×{factor} over {original}")
            }
            RopeScaling::Yarn { factor, original, .. } => {
                write!(f, "yarn ×{factor} over {original}")
            }
            RopeScaling::LongRope { original, .. } => write!(f, "longrope over {original}"),
        }
    }
}

/// Rotary settings of a model.
#[derive(Clone, PartialEq, Debug)]
pub struct RopeConfig {
    /// Base of the frequencies.
    pub theta: f32,
    /// Elements of a head that are rotated.
    pub dim: usize,
    /// Which elements are rotated together.
    pub layout: RopeLayout,
    /// How positions are stretched.
    pub scaling: RopeScaling,
    /// Whether the file has a divisor of its own for each frequency, whatever the text (`rope_freqs.weight`, which is how
    /// GGUF has Llama 3's scaling).
    pub divided: bool,
    /// Texts of at most so many tokens are not (with LongRoPE: have its short divisors), where that is decided
    /// text by text, as `transformers` does for LongRoPE; else all texts are read alike.
    pub unscaled_to: Option<usize>,
}

impl RopeConfig {
    /// Settings as a model's files have them: all texts are read alike, but with LongRoPE.
    pub(crate) fn new(
        theta: f32,
        dim: usize,
        layout: RopeLayout,
        scaling: RopeScaling,
    ) -> RopeConfig {
        let unscaled_to = match scaling {
            RopeScaling::LongRope { original, .. } => Some(original),
            _ => None,
        };
        RopeConfig { theta, dim, layout, scaling, divided: false, unscaled_to }
    }

    /// The settings that go for texts that aren't scaled, if some aren't.
    pub fn unscaled(&self) -> Option<RopeConfig> {
        self.unscaled_to?;
        Some(RopeConfig { scaling: self.scaling.unscaled(), unscaled_to: None, ..self.clone() })
    }
}

/// Frequencies, worked out once.
#[derive(Clone, Debug)]
pub struct Rope {
    /// Radians per position, `[dim / 2]`.
    inv_freq: Vec<f32>,
    /// What cosines and sines are multiplied with.
    attention_factor: f32,
}

impl Rope {
    /// The frequencies of an open model's texts that are scaled as `config` says.
    ///
    /// # Errors
    /// The file has factors for its frequencies (`rope_freqs.weight`), but not one for each.
    pub fn read(checkpoint: &Checkpoint, config: &RopeConfig) -> Result<Rope, Error> {
        let divisors = match config.divided {
            true => Some(read_f32(checkpoint, DIVISORS, &[config.dim / 2])?),
            false => None,
        };
        Ok(Rope::new(config, divisors.as_deref()))
    }

    /// `divisors` are the per-frequency factors a GGUF file may carry (`rope_freqs.weight`).
    pub(crate) fn new(config: &RopeConfig, divisors: Option<&[f32]>) -> Rope {
        let half = config.dim / 2;
        let theta = f64::from(config.theta);
        let plain = |i: usize| theta.powf(-2.0 * i as f64 / config.dim as f64);
        let mut attention_factor = 1.0;
        let inv_freq = (0..half).map(plain);
        let mut inv_freq: Vec<f64> = match &config.scaling {
            RopeScaling::None => inv_freq.collect(),
            RopeScaling::Linear { factor } => inv_freq.map(|f| f / f64::from(*factor)).collect(),
            &RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => {
                let (factor, original) = (f64::from(factor), original as f64);
                let (low, high) = (f64::from(low_freq_factor), f64::from(high_freq_factor));
                inv_freq
                    .map(|f| {
                        let wavelength = 2.0 * PI / f;
                        if wavelength < original / high {
                            f
                        } else if wavelength > original / low {
                            f / factor
                        } else {
                            let smooth = (original / wavelength - low) / (high - low);
                            (1.0 - smooth) * f / factor + smooth * f
                        }
                    })
                    .collect()
            }
            RopeScaling::LongRope { long, attention_factor: a, .. } => {
                attention_factor = *a;
                inv_freq.zip(long).map(|(f, d)| f / f64::from(*d)).collect()
            }
            &RopeScaling::Yarn { factor, original, beta_fast, beta_slow, attention_factor: a } => {
                attention_factor = a.unwrap_or_else(|| yarn_mscale(factor, 1.0));
                // The dimension whose frequency makes so many turns over the original context.
                let dimension = |turns: f32| {
                    config.dim as f64 * (original as f64 / (f64::from(turns) * 2.0 * PI)).ln()
                        / (2.0 * theta.ln())
                };
                let low = dimension(beta_fast).floor().max(0.0);
                let mut high = dimension(beta_slow).ceil().min(config.dim as f64 - 1.0);
                if low == high {
                    high += 0.001;
                }
                inv_freq
                    .enumerate()
                    .map(|(i, f)| {
                        let divided = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                        f / f64::from(factor) * divided + f * (1.0 - divided)
                    })
                    .collect()
            }
        };
        for (f, d) in inv_freq.iter_mut().zip(divisors.unwrap_or_default()) {
            *f /= f64::from(*d);
        }
        Rope { inv_freq: inv_freq.into_iter().map(|f| f as f32).collect(), attention_factor }
    }

    /// Appends the cosines and sines of one position, `[dim / 2]` each.
    pub fn angles(&self, position: usize, cos: &mut Vec<f32>, sin: &mut Vec<f32>) {
        for f in &self.inv_freq {
            // The product is rounded to f32 before its cosine is taken, as the reference does; at
            // position 100,000 the difference is visible.
            let (s, c) = f64::from(position as f32 * f).sin_cos();
            cos.push(c as f32 * self.attention_factor);
            sin.push(s as f32 * self.attention_factor);
        }
    }
}

/// Texts whose positions are stretched, and others.
impl Model {
    /// Whether a text of so many tokens is read with its positions stretched.
    pub fn scales(&self, tokens: usize) -> bool {
        self.config.rope.unscaled_to.is_some_and(|most| tokens > most)
    }

    /// The beginning of a text that will have up to so many tokens.
    pub fn sequence(&self, tokens: usize) -> Sequence {
        Sequence::default().scaled(self.scales(tokens))
    }

    /// The angles of a text's positions.
    pub(crate) fn rope_of(&self, sequence: &Sequence) -> &Rope {
        match &self.unscaled_rope {
            Some(rope) if !sequence.is_scaled() => rope,
            _ => &self.rope,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_understood() {
        assert_eq!("none".parse::<RopeScalingRequest>().unwrap(), RopeScalingRequest::None);
        for given in ["none", "linear:2.5", "yarn:4", "yarn:4:32768", "auto:4", "auto:2:4096"] {
            assert_eq!(given.parse::<RopeScalingRequest>().unwrap().to_string(), given);
        }
        let yarn = "yarn:4:32768".parse::<RopeScalingRequest>().unwrap();
        assert_eq!(yarn.resolve(40960), RopeScaling::yarn(4.0, 32768));
        let yarn = "yarn:2".parse::<RopeScalingRequest>().unwrap();
        assert_eq!(yarn.resolve(40960), RopeScaling::yarn(2.0, 40960));
        let bad = ["", "yarn", "auto", "yarn:0.5", "yarn:nan", "yarn:2:0", "yarn:2:3:4", "none:2"];
        for bad in bad.into_iter().chain(["ntk:2", "auto:0.5"]) {
            let error = bad.parse::<RopeScalingRequest>().unwrap_err().to_string();
            assert!(error.contains("yarn:FACTOR"), "{bad}: {error}");
        }
    }

    fn config(dim: usize, scaling: RopeScaling) -> RopeConfig {
        RopeConfig::new(1e6, dim, RopeLayout::Halves, scaling)
    }

    #[test]
    fn short_texts_are_read_without_scaling_where_some_are() {
        let long = RopeScaling::LongRope {
            long: vec![2.0, 4.0],
            short: vec![1.0, 1.5],
            original: 4096,
            attention_factor: 1.2,
        };
        let plain = Rope::new(&config(4, RopeScaling::None), None);
        let yarn = config(4, RopeScaling::yarn(4.0, 4096));
        assert_eq!(yarn.unscaled(), None);
        let short = RopeConfig { unscaled_to: Some(4096), ..yarn }.unscaled().unwrap();
        assert_eq!(short, config(4, RopeScaling::None));
        let long = config(4, long);
        assert_eq!(long.unscaled_to, Some(4096));
        let short = Rope::new(&long.unscaled().unwrap(), None);
        assert_eq!(short.attention_factor, 1.2);
        assert_eq!(short.inv_freq[0], plain.inv_freq[0]);
        assert!((short.inv_freq[1] * 1.5 / plain.inv_freq[1] - 1.0).abs() < 1e-6);
    }

    #[test]
    fn yarn_keeps_fast_frequencies_and_divides_slow_ones() {
        let config = |scaling| config(128, scaling);
        let plain = Rope::new(&config(RopeScaling::None), None);
        let yarn = Rope::new(&config(RopeScaling::yarn(4.0, 32768)), None);
        assert_eq!(plain.inv_freq[0], yarn.inv_freq[0]);
        assert!((plain.inv_freq[63] / yarn.inv_freq[63] - 4.0).abs() < 1e-5);
        assert!((yarn.attention_factor - 1.138_629_4).abs() < 1e-6);
    }
}
