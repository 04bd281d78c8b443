//! How much better a completion was than was to be expected: rewards in, advantages out.

use serde::{Deserialize, Serialize};

use super::Error;
use super::error::setting;

/// Keeps small deviations from becoming large advantages; TRL's.
const EPSILON: f64 = 1e-4;
/// Rewards that deviate by no more are the same but for rounding.
const FLAT: f64 = 1e-8;

/// What a reward is held against, and by what the difference is divided.
///
/// Standard deviations are unbiased (over `n - 1`), and 1e-4 is added to them, as TRL has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Baseline {
    /// The group's mean, over the group's standard deviation: GRPO (DeepSeekMath,
    /// arXiv:2402.03300).
    Grpo,
    /// The group's mean, over nothing: a question that is almost always or almost never answered
    /// counts for no more than another (Dr. GRPO, arXiv:2503.20783).
    #[default]
    DrGrpo,
    /// The group's mean, over the standard deviation of the whole batch's rewards (Lite PPO,
    /// arXiv:2508.08221; TRL's `scale_rewards="batch"`).
    LitePpo,
    /// The group's mean, over the standard deviation of what that leaves in the whole batch
    /// (REINFORCE++-baseline, arXiv:2501.03262).
    ReinforcePlusPlusBaseline,
    /// The mean of the group's other completions, over nothing (RLOO, arXiv:2402.14740). It is Dr.
    /// GRPO's advantage times `n / (n - 1)`.
    Rloo,
    /// The batch's mean, over the batch's standard deviation; groups don't matter, and may be of
    /// one completion each (REINFORCE++, arXiv:2501.03262).
    ReinforcePlusPlus,
}

impl Baseline {
    /// Whether a group whose rewards are all the same teaches nothing.
    pub fn needs_spread(self) -> bool {
        self != Baseline::ReinforcePlusPlus
    }
}

/// What rewards come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Advantages {
    /// One a completion, group after group.
    pub advantages: Vec<f64>,
    /// The rewards' mean, one a group; 0 of an empty one.
    pub means: Vec<f64>,
    /// The rewards' unbiased standard deviation, one a group; 0 of fewer than two.
    pub stds: Vec<f64>,
}

impl Advantages {
    /// Which groups have rewards that are all the same (such as groups of one): nothing is to be
    /// learned from them unless by [`Baseline::ReinforcePlusPlus`], and DAPO's dynamic sampling
    /// (arXiv:2503.14476) draws others in their place.
    pub fn flat(&self) -> impl Iterator<Item = usize> {
        self.stds.iter().enumerate().filter(|(_, std)| **std <= FLAT).map(|(group, _)| group)
    }

    /// The share of groups whose rewards are all the same; 0 without groups.
    pub fn flat_share(&self) -> f64 {
        self.flat().count() as f64 / self.stds.len().max(1) as f64
    }
}

/// The advantage of each completion. A group is the completions of one prompt, and groups may be of
/// any sizes; none at all have no advantages. Groups without spread have advantages of exactly 0
/// where their own mean is the baseline.
///
/// # Errors
/// A reward isn't finite, or they are so large that their deviation isn't.
pub fn advantages<G: AsRef<[f64]>>(groups: &[G], baseline: Baseline) -> Result<Advantages, Error> {
    for (group, rewards) in groups.iter().enumerate() {
        let rewards = rewards.as_ref();
        if let Some(completion) = rewards.iter().position(|r| !r.is_finite()) {
            return Err(Error::Reward { group, completion, value: rewards[completion] });
        }
    }
    let mut out = Advantages::default();
    for rewards in groups {
        let rewards = rewards.as_ref();
        let (mean, std) = mean_std(rewards);
        out.means.push(mean);
        out.stds.push(std);
        let n = rewards.len() as f64;
        let factor = match baseline {
            Baseline::Grpo => 1.0 / (std + EPSILON),
            Baseline::Rloo if rewards.len() > 1 => n / (n - 1.0),
            _ => 1.0,
        };
        let from_mean = |r: &f64| if std <= FLAT { 0.0 } else { (r - mean) * factor };
        out.advantages.extend(rewards.iter().map(from_mean));
    }
    let all = || -> Vec<f64> { groups.iter().flat_map(|g| g.as_ref()).copied().collect() };
    match baseline {
        Baseline::Grpo | Baseline::DrGrpo | Baseline::Rloo => {}
        Baseline::LitePpo => divide(&mut out.advantages, mean_std(&all()).1),
        Baseline::ReinforcePlusPlusBaseline => {
            let (_, std) = mean_std(&out.advantages);
            divide(&mut out.advantages, std);
        }
        Baseline::ReinforcePlusPlus => {
            let (mean, std) = mean_std(&all());
            let from_mean = |r| if std <= FLAT { 0.0 } else { r - mean };
            out.advantages = all().into_iter().map(from_mean).collect();
            divide(&mut out.advantages, std);
        }
    }
    if out.advantages.iter().chain(&out.stds).any(|x| !x.is_finite()) {
        return Err(setting("rewards", "too large to tell how far they are apart"));
    }
    Ok(out)
}

fn divide(advantages: &mut [f64], std: f64) {
    advantages.iter_mut().for_each(|a| *a /= std + EPSILON);
}

/// Mean and unbiased standard deviation, in two passes so that large rewards don't cancel.
fn mean_std(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / n };
    if values.len() < 2 {
        return (mean, 0.0);
    }
    let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    (mean, (squares / (n - 1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Baseline; 6] = [
        Baseline::Grpo,
        Baseline::DrGrpo,
        Baseline::LitePpo,
        Baseline::ReinforcePlusPlusBaseline,
        Baseline::Rloo,
        Baseline::ReinforcePlusPlus,
    ];

    fn of(groups: &[Vec<f64>], baseline: Baseline) -> Vec<f64> {
        advantages(groups, baseline).unwrap().advantages
    }

    fn near(got: &[f64], expected: &[f64]) {
        assert_eq!(got.len(), expected.len());
        for (g, e) in got.iter().zip(expected) {
            assert!((g - e).abs() < 1e-12, "{got:?} is not {expected:?}");
        }
    }

    #[test]
    fn by_hand() {
        let groups = [vec![1.0, 0.0, 0.0], vec![3.0, 1.0]];
        let std = (1.0f64 / 3.0).sqrt() + 1e-4;
        let grpo = [2.0 / 3.0 / std, -1.0 / 3.0 / std, -1.0 / 3.0 / std];
        near(&of(&groups, Baseline::Grpo)[..3], &grpo);
        near(&of(&groups, Baseline::DrGrpo), &[2.0 / 3.0, -1.0 / 3.0, -1.0 / 3.0, 1.0, -1.0]);
        near(&of(&groups, Baseline::Rloo), &[1.0, -0.5, -0.5, 2.0, -2.0]);
        // All rewards: mean 1, squares 0 + 1 + 1 + 4 + 0.
        let batch = 1.5f64.sqrt() + 1e-4;
        let d = [0.0, -1.0, -1.0, 2.0, 0.0].map(|d| d / batch);
        near(&of(&groups, Baseline::ReinforcePlusPlus), &d);
        let d = [2.0 / 3.0, -1.0 / 3.0, -1.0 / 3.0, 1.0, -1.0].map(|d| d / batch);
        near(&of(&groups, Baseline::LitePpo), &d);
        // What the groups' means leave: squares 2 / 3 + 2.
        let left = (2.0f64 / 3.0).sqrt() + 1e-4;
        let d = [2.0 / 3.0, -1.0 / 3.0, -1.0 / 3.0, 1.0, -1.0].map(|d| d / left);
        near(&of(&groups, Baseline::ReinforcePlusPlusBaseline), &d);
    }

    #[test]
    fn groups_without_spread_are_found() {
        let flat = 0.1 + 0.2; // rounded otherwise than 0.3
        let groups = [vec![flat, 0.3, 0.3], vec![1.0, 0.0], vec![5.0], vec![]];
        for baseline in ALL {
            let all = advantages(&groups, baseline).unwrap();
            assert_eq!(all.flat().collect::<Vec<_>>(), [0, 2, 3]);
            assert_eq!(all.flat_share(), 0.75);
            assert_eq!(all.advantages.len(), 6);
            assert!(all.advantages.iter().all(|a| a.is_finite()));
            if baseline.needs_spread() {
                assert_eq!(all.advantages[..3], [0.0; 3]);
                assert_eq!(all.advantages[5], 0.0);
            } else {
                assert!(all.advantages[5] > 1.0);
            }
        }
    }

    #[test]
    fn nothing_and_one() {
        for baseline in ALL {
            assert_eq!(of(&[], baseline), [0.0; 0]);
            assert_eq!(of(&[vec![]], baseline), [0.0; 0]);
            assert_eq!(of(&[vec![7.0]], baseline), [0.0]);
        }
        assert_eq!(advantages::<Vec<f64>>(&[], Baseline::Grpo).unwrap().flat_share(), 0.0);
    }

    #[test]
    fn rewards_that_are_not_numbers_are_named() {
        for (value, shown) in [(f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
            let error = advantages(&[vec![0.0], vec![1.0, value]], Baseline::Rloo).unwrap_err();
            let expected =
                format!("reward of completion 1 of group 1: {shown} is not a finite number");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn names() {
        let names = ALL.map(|b| serde_json::to_string(&b).unwrap());
        let expected = [
            "\"grpo\"",
            "\"dr-grpo\"",
            "\"lite-ppo\"",
            "\"reinforce-plus-plus-baseline\"",
            "\"rloo\"",
            "\"reinforce-plus-plus\"",
        ];
        assert_eq!(names, expected);
    }
}
