//! The clipped surrogate of policy gradients, and its gradient.

use super::error::{item, not_finite, setting};
use super::{Aggregate, Correction, Error, PolicySettings, PolicyStatistics, Ratio};

/// How good a completion's tokens were.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Advantage<'a> {
    /// All the same.
    Completion(f64),
    /// One a token, as of [`super::Gae`].
    Tokens(&'a [f32]),
}

/// A completion of a micro-batch. All slices are of one number a token of the completion, and of
/// the same length.
#[derive(Clone, Copy, Debug)]
pub struct Completion<'a> {
    /// How good it was.
    pub advantage: Advantage<'a>,
    /// The trained network's log-probabilities, now.
    pub log_probs: &'a [f32],
    /// The trained network's before the first step on these samples; without them they are those of
    /// now, which is right for the only step on them.
    pub old_log_probs: Option<&'a [f32]>,
    /// The reference's: needed for a divergence.
    pub reference_log_probs: Option<&'a [f32]>,
    /// What whoever sampled the tokens gave them: needed for a correction.
    pub sampler_log_probs: Option<&'a [f32]>,
    /// The distributions' entropies in nats: needed for an entropy bonus.
    pub entropies: Option<&'a [f32]>,
    /// Which tokens the policy wrote, where others (a tool's answer) are among them.
    pub mask: Option<&'a [bool]>,
    /// Whether it is left out wholly, as DAPO's overlong filtering does with truncated completions.
    /// Its numbers aren't looked at, and its gradients are 0.
    pub left_out: bool,
}

impl<'a> Completion<'a> {
    /// One with nothing beside its log-probabilities.
    pub fn new(advantage: f64, log_probs: &'a [f32]) -> Completion<'a> {
        Completion {
            advantage: Advantage::Completion(advantage),
            log_probs,
            old_log_probs: None,
            reference_log_probs: None,
            sampler_log_probs: None,
            entropies: None,
            mask: None,
            left_out: false,
        }
    }

    /// How many of its tokens count.
    pub fn tokens(&self) -> usize {
        match self.mask {
            _ if self.left_out => 0,
            None => self.log_probs.len(),
            Some(mask) => mask.iter().filter(|m| **m).count(),
        }
    }

    fn counts(&self, token: usize) -> bool {
        self.mask.is_none_or(|mask| mask[token])
    }

    fn advantage(&self, token: usize) -> f64 {
        match self.advantage {
            Advantage::Completion(advantage) => advantage,
            Advantage::Tokens(advantages) => f64::from(advantages[token]),
        }
    }

    fn old(&self, token: usize) -> f64 {
        f64::from(self.old_log_probs.unwrap_or(self.log_probs)[token])
    }

    fn check(&self, at: usize) -> Result<(), Error> {
        let tokens = self.log_probs.len();
        let per_token = match self.advantage {
            Advantage::Completion(a) if a.is_finite() => None,
            Advantage::Completion(a) => return Err(item("advantage", at, format!("{a}"))),
            Advantage::Tokens(advantages) => Some(advantages),
        };
        let fields = [
            ("log_probs", Some(self.log_probs)),
            ("advantage", per_token),
            ("old_log_probs", self.old_log_probs),
            ("reference_log_probs", self.reference_log_probs),
            ("sampler_log_probs", self.sampler_log_probs),
            ("entropies", self.entropies),
        ];
        let lengths = fields.iter().map(|(field, values)| (*field, values.map(<[f32]>::len)));
        let mask = ("mask", self.mask.map(<[bool]>::len));
        for (field, length) in lengths.chain([mask]) {
            if let Some(given) = length.filter(|given| *given != tokens) {
                return Err(item(field, at, format!("{given} for {tokens} log_probs")));
            }
        }
        let problems = |values: &Option<&[f32]>| values.and_then(not_finite);
        match fields.iter().find_map(|(field, values)| Some((*field, problems(values)?))) {
            None => Ok(()),
            Some((field, problem)) => Err(item(field, at, problem)),
        }
    }
}

/// What the losses of a step are divided by, whichever micro-batch they are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Normalizers {
    /// The step's completions. TRL counts those that are left out, too.
    pub completions: usize,
    /// The step's tokens that count.
    pub tokens: usize,
    /// The most tokens a completion may have, for [`Aggregate::Constant`].
    pub max_tokens: usize,
}

/// What a micro-batch comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Surrogate {
    /// Its part of the step's loss: those of all micro-batches add up to it.
    pub loss: f64,
    /// The loss's gradient with respect to each completion's log-probabilities, one a token.
    pub d_log_probs: Vec<Vec<f32>>,
    /// The same with respect to entropies; `None` where they don't count.
    pub d_entropies: Option<Vec<Vec<f32>>>,
    /// What there is to be seen.
    pub statistics: PolicyStatistics,
}

impl PolicySettings {
    /// The loss of a micro-batch, and its gradients. Completions without tokens, and no completions
    /// at all, add nothing.
    ///
    /// # Errors
    /// A setting is bad; a normalizer that is needed is 0; a completion lacks what the settings
    /// call for, has slices of different lengths or numbers that aren't finite, or has drifted so
    /// far that its ratio isn't.
    pub fn surrogate(
        &self,
        completions: &[Completion<'_>],
        normalizers: Normalizers,
    ) -> Result<Surrogate, Error> {
        self.check()?;
        let zeros = || completions.iter().map(|c| vec![0.0; c.log_probs.len()]).collect();
        let mut out = Surrogate {
            loss: 0.0,
            d_log_probs: zeros(),
            d_entropies: (self.entropy_coefficient != 0.0).then(zeros),
            statistics: PolicyStatistics::default(),
        };
        for (at, completion) in completions.iter().enumerate() {
            if !completion.left_out {
                completion.check(at)?;
            }
            if completion.tokens() > 0 {
                self.add(at, completion, normalizers, &mut out)?;
            } else {
                out.statistics.left_out += 1;
            }
        }
        Ok(out)
    }

    fn add(
        &self,
        at: usize,
        completion: &Completion<'_>,
        normalizers: Normalizers,
        out: &mut Surrogate,
    ) -> Result<(), Error> {
        let missing = |field| item(field, at, "missing, and the settings need it");
        if self.kl_coefficient != 0.0 && completion.reference_log_probs.is_none() {
            return Err(missing("reference_log_probs"));
        }
        let per_entropy = match (self.entropy_coefficient, completion.entropies) {
            (0.0, _) => 0.0,
            (_, None) => return Err(missing("entropies")),
            (coefficient, Some(_)) => -coefficient / positive("tokens", normalizers.tokens)?,
        };
        let tokens = completion.tokens() as f64;
        let per_token = self.per_token(tokens, normalizers)?;
        let counted = || (0..completion.log_probs.len()).filter(|t| completion.counts(*t));
        let log_prob = |token: usize| f64::from(completion.log_probs[token]);
        let log_ratio = |token: usize| log_prob(token) - completion.old(token);
        let shared = match self.ratio {
            Ratio::Token => None,
            Ratio::Sequence => Some((counted().map(log_ratio).sum::<f64>() / tokens).exp()),
        };
        let whole_weight = self.whole_weight(completion);
        let mut d = vec![0.0; completion.log_probs.len()];
        let (mut loss, mut d_shared) = (0.0, 0.0);
        let seen = &mut out.statistics;
        seen.completions += 1;
        for token in counted() {
            let ratio = shared.unwrap_or_else(|| log_ratio(token).exp());
            let advantage = completion.advantage(token);
            let weight = whole_weight.unwrap_or_else(|| self.token_weight(completion, token));
            let (surrogate, slope) = self.clipped(ratio, advantage);
            // The derivatives of the token's loss with respect to its ratio and its
            // log-probability.
            let mut d_ratio = -weight * slope;
            let mut d_log_prob = 0.0;
            loss -= per_token * weight * surrogate;
            if let Some(reference) = completion.reference_log_probs {
                let (kl, d_kl) =
                    self.kl_estimator.at(f64::from(reference[token]) - log_prob(token));
                let factor = if self.unbiased_kl { ratio } else { 1.0 };
                loss += per_token * self.kl_coefficient * kl * factor;
                d_log_prob += self.kl_coefficient * d_kl * factor;
                if self.unbiased_kl {
                    d_ratio += self.kl_coefficient * kl;
                }
                seen.see_kl(kl);
            }
            match shared {
                None => d_log_prob += d_ratio * ratio,
                Some(_) => d_shared += d_ratio * ratio / tokens,
            }
            d[token] = d_log_prob;
            if let Some(entropies) = completion.entropies {
                let entropy = f64::from(entropies[token]);
                loss += per_entropy * entropy;
                seen.see_entropy(entropy);
            }
            if let Some(d) = &mut out.d_entropies {
                d[at][token] = per_entropy as f32;
            }
            if let Some(sampler) = completion.sampler_log_probs {
                seen.see_sampler(completion.old(token) - f64::from(sampler[token]), weight);
            }
            let low = advantage < 0.0 && ratio < 1.0 - self.clip_low;
            let high = advantage > 0.0 && ratio > 1.0 + self.clip_high;
            seen.see_ratio(ratio, log_ratio(token), low, high);
        }
        for token in counted() {
            out.d_log_probs[at][token] = (per_token * (d[token] + d_shared)) as f32;
        }
        out.loss += loss;
        if !(loss.is_finite() && out.d_log_probs[at].iter().all(|d| d.is_finite())) {
            return Err(item(
                "log_probs",
                at,
                "too far from old or reference ones: no finite loss",
            ));
        }
        Ok(())
    }

    /// What a token's loss is multiplied by.
    fn per_token(&self, tokens: f64, normalizers: Normalizers) -> Result<f64, Error> {
        let completions = || positive("completions", normalizers.completions);
        Ok(match self.aggregate {
            Aggregate::SequenceMean => 1.0 / (tokens * completions()?),
            Aggregate::TokenMean => 1.0 / positive("tokens", normalizers.tokens)?,
            Aggregate::Constant => {
                1.0 / (completions()? * positive("max_tokens", normalizers.max_tokens)?)
            }
        })
    }

    /// The clipped surrogate, and its derivative with respect to the ratio.
    fn clipped(&self, ratio: f64, advantage: f64) -> (f64, f64) {
        let delta = self.delta.unwrap_or(f64::INFINITY);
        let free = ratio.min(delta) * advantage;
        let clipped = ratio.clamp(1.0 - self.clip_low, 1.0 + self.clip_high) * advantage;
        // Where both are the same the ratio is within bounds, or nothing depends on it.
        let flows = free <= clipped && ratio <= delta;
        (free.min(clipped), if flows { advantage } else { 0.0 })
    }

    /// The weight all tokens share, where they do.
    fn whole_weight(&self, completion: &Completion<'_>) -> Option<f64> {
        let Some(sampler) = completion.sampler_log_probs else { return Some(1.0) };
        let sum = || {
            let tokens = (0..sampler.len()).filter(|t| completion.counts(*t));
            tokens.map(|t| completion.old(t) - f64::from(sampler[t])).sum::<f64>().exp()
        };
        match self.sampler_correction {
            Correction::Off => Some(1.0),
            Correction::TokenTruncate | Correction::TokenMask => None,
            Correction::SequenceTruncate => Some(sum().min(self.sampler_cap)),
            Correction::SequenceMask => {
                Some(Some(sum()).filter(|w| *w <= self.sampler_cap).unwrap_or(0.0))
            }
        }
    }

    /// The weight of a token that has its own.
    fn token_weight(&self, completion: &Completion<'_>, token: usize) -> f64 {
        let Some(sampler) = completion.sampler_log_probs else { return 1.0 };
        let weight = (completion.old(token) - f64::from(sampler[token])).exp();
        match self.sampler_correction {
            Correction::TokenMask if weight > self.sampler_cap => 0.0,
            _ => weight.min(self.sampler_cap),
        }
    }
}

fn positive(field: &'static str, value: usize) -> Result<f64, Error> {
    if value > 0 {
        Ok(value as f64)
    } else {
        Err(setting(field, "0, but something is divided by it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(tokens: usize) -> Normalizers {
        Normalizers { completions: 1, tokens, max_tokens: 8 }
    }

    #[test]
    fn the_first_step_is_reinforce() {
        let log_probs = [-0.5, -2.0];
        let out = PolicySettings::default()
            .surrogate(&[Completion::new(3.0, &log_probs)], one(2))
            .unwrap();
        assert_eq!(out.loss, -3.0);
        assert_eq!(out.d_log_probs, [[-1.5, -1.5]]);
        assert_eq!(out.d_entropies, None);
        assert_eq!(out.statistics.ratio(), 1.0);
        assert_eq!(out.statistics.kl(), None);
    }

    #[test]
    fn what_is_clipped_has_no_gradient() {
        let (now, old) = ([-0.5f32, -1.0], [-1.0f32, -0.5]);
        let up = Completion { old_log_probs: Some(&old), ..Completion::new(1.0, &now) };
        let down = Completion { advantage: Advantage::Completion(-1.0), ..up };
        let settings = PolicySettings::default();
        let out = settings.surrogate(&[up, down], one(4)).unwrap();
        let (more, less) = (0.5f64.exp(), (-0.5f64).exp());
        let expected = [[0.0, -less / 4.0], [more / 4.0, 0.0]];
        for (d, e) in out.d_log_probs.iter().flatten().zip(expected.iter().flatten()) {
            assert!((f64::from(*d) - e).abs() < 1e-7);
        }
        let loss = (-1.28 - less + more + 0.8) / 4.0;
        assert!((out.loss - loss).abs() < 1e-7);
        assert_eq!((out.statistics.clip_low(), out.statistics.clip_high()), (0.25, 0.25));
        let bounded = PolicySettings { delta: Some(1.5), ..settings };
        let out = bounded.surrogate(&[down], one(4)).unwrap();
        assert_eq!(out.d_log_probs, [[0.0, 0.0]]);
    }

    #[test]
    fn what_is_left_out_is_not_looked_at() {
        let bad = [f32::NAN; 3];
        let out = Completion { left_out: true, ..Completion::new(f64::NAN, &bad) };
        let all = [out, Completion::new(1.0, &[]), Completion::new(1.0, &[-1.0])];
        let got = PolicySettings::default().surrogate(&all, one(1)).unwrap();
        assert_eq!(got.d_log_probs, [vec![0.0; 3], vec![], vec![-1.0]]);
        assert_eq!((got.statistics.completions, got.statistics.left_out), (1, 2));
        assert_eq!(PolicySettings::default().surrogate(&[], one(0)).unwrap().loss, 0.0);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let settings = PolicySettings::default();
        let kl = PolicySettings { kl_coefficient: 0.1, ..settings.clone() };
        let entropy = PolicySettings { entropy_coefficient: 0.1, ..settings.clone() };
        let delta = PolicySettings { delta: Some(1.2), ..settings.clone() };
        let constant = PolicySettings { aggregate: Aggregate::Constant, ..settings.clone() };
        let good = Completion::new(1.0, &[-1.0, -2.0]);
        let far = Completion { old_log_probs: Some(&[-9e9, -2.0]), ..good };
        let far = Completion { advantage: Advantage::Completion(-1.0), ..far };
        let none = Normalizers { max_tokens: 0, ..one(2) };
        for (settings, completion, normalizers, expected) in [
            (&settings, Completion::new(f64::NAN, &[-1.0]), one(1), "advantage of item 0 of"),
            (&settings, Completion::new(1.0, &[f32::NAN]), one(1), "log_probs of item 0 of the"),
            (&settings, Completion { old_log_probs: Some(&[-1.0]), ..good }, one(2), "old_log_p"),
            (&settings, Completion { mask: Some(&[true]), ..good }, one(2), "mask of item 0"),
            (&settings, far, one(2), "log_probs of item 0 of the batch: too far from old"),
            (&settings, good, one(0), "tokens: 0, but something is divided by it"),
            (&constant, good, none, "max_tokens: 0, but"),
            (&kl, good, one(2), "reference_log_probs of item 0 of the batch: missing"),
            (&entropy, good, one(2), "entropies of item 0 of the batch: missing"),
            (&delta, good, one(2), "delta: 1.2 is not more than 1 + clip_high = 1.28"),
        ] {
            let error = settings.surrogate(&[completion], normalizers).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
