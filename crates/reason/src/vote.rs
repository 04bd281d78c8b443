//! Votes: answers that say the same are one candidate, each thought has a vote.

use serde::{Deserialize, Serialize};
use verify::tasks::random::Random;

use crate::answer::Final;
use crate::thought::Confidence;

/// How much a thought's vote counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// As much as every other (Wang et al. 2022, self-consistency).
    #[default]
    Count,
    /// By the mean probability of its tokens: `exp` of the mean log-probability.
    Likelihood,
    /// By the confidence in its last tokens (Fu et al. 2025, DeepConf).
    Tail,
    /// By what the verifier says.
    Score,
}

impl Weight {
    /// Whether the model has to tell log-probabilities for it.
    pub fn needs_logprobs(self) -> bool {
        matches!(self, Weight::Likelihood | Weight::Tail)
    }

    /// Of a thought with this confidence and score; 1 where the confidence it needs is not known.
    pub fn of(self, confidence: Option<Confidence>, score: Option<f64>) -> f64 {
        match self {
            Weight::Count => 1.0,
            Weight::Likelihood => confidence.map_or(1.0, |c| c.mean_logprob.exp()),
            Weight::Tail => confidence.map_or(1.0, |c| c.tail),
            Weight::Score => score.unwrap_or(0.0),
        }
    }
}

/// An answer, and who gives it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cluster {
    /// As the first of its thoughts wrote it.
    pub answer: String,
    /// The weights of its votes, added.
    pub weight: f64,
    /// The thoughts' numbers, in order.
    pub thoughts: Vec<usize>,
}

/// Votes that have been cast.
#[derive(Clone, Debug, Default)]
pub struct Ballot {
    clusters: Vec<(Final, Cluster)>,
}

impl Ballot {
    /// Counts a vote.
    pub fn cast(&mut self, answer: Final, weight: f64, thought: usize) {
        let known = self.clusters.iter_mut().find(|(first, _)| first.same(&answer));
        match known {
            Some((first, cluster)) => {
                cluster.weight += weight;
                // Whoever comes first: the first is the one with the lowest number.
                let at = cluster.thoughts.partition_point(|other| *other < thought);
                cluster.thoughts.insert(at, thought);
                if at == 0 {
                    cluster.answer = answer.text().to_owned();
                    *first = answer;
                }
            }
            None => {
                let text = answer.text().to_owned();
                let cluster = Cluster { answer: text, weight, thoughts: vec![thought] };
                self.clusters.push((answer, cluster));
            }
        }
    }

    /// The candidates, those with most weight first; of equals, the one whose first thought was
    /// begun first.
    pub fn clusters(&self) -> Vec<Cluster> {
        let mut clusters: Vec<Cluster> = self.clusters.iter().map(|(_, c)| c.clone()).collect();
        clusters.sort_by(|a, b| {
            b.weight.total_cmp(&a.weight).then_with(|| a.thoughts[0].cmp(&b.thoughts[0]))
        });
        clusters
    }

    /// Votes for the answer that has most of them, by number.
    pub fn leading(&self) -> f64 {
        let votes = self.clusters.iter().map(|(_, cluster)| cluster.thoughts.len());
        votes.max().unwrap_or(0) as f64
    }

    /// Votes cast.
    pub fn votes(&self) -> usize {
        self.clusters.iter().map(|(_, cluster)| cluster.thoughts.len()).sum()
    }

    /// The probability that the leader is still the leader after `left` more votes; see
    /// [`stays_ahead`].
    pub fn sure(&self, left: usize) -> f64 {
        let votes = self.votes() as f64;
        let total: f64 = self.clusters.iter().map(|(_, cluster)| cluster.weight).sum();
        if total <= 0.0 {
            return 0.0;
        }
        // A vote's mean weight is one vote.
        let mut weights: Vec<f64> =
            self.clusters.iter().map(|(_, cluster)| cluster.weight * votes / total).collect();
        weights.sort_by(|a, b| b.total_cmp(a));
        stays_ahead(&weights, left)
    }
}

/// A new answer is as likely as a known one with so many votes.
const NEW: f64 = 1.0;
/// Futures that are played through.
const FUTURES: u32 = 2000;

/// The probability that `votes[0]`, the most, is still the most after `left` more votes. The next
/// vote goes to an answer with a probability proportional to its votes so far, or to a new one (an
/// urn of Blackwell and MacQueen, 1973): that is the posterior of a Dirichlet process, which knows
/// nothing but the votes. 1 exactly if the lead can't be made up for; otherwise estimated by playing
/// futures through, always the same ones.
pub fn stays_ahead(votes: &[f64], left: usize) -> f64 {
    let Some(&first) = votes.first() else { return 0.0 };
    let second = votes.get(1).copied().unwrap_or(0.0);
    if first > second + left as f64 {
        return 1.0;
    }
    let mut random = Random::new(&[0x7261_6e6b]);
    let mut ahead = 0.0;
    let mut urn = Vec::new();
    for _ in 0..FUTURES {
        urn.clear();
        urn.extend_from_slice(votes);
        let mut total: f64 = urn.iter().sum();
        for _ in 0..left {
            let mut at = random.below(1 << 24) as f64 / f64::from(1 << 24) * (total + NEW);
            let chosen = urn.iter().position(|votes| {
                at -= votes;
                at < 0.0
            });
            match chosen {
                Some(chosen) => urn[chosen] += 1.0,
                None => urn.push(1.0),
            }
            total += 1.0;
        }
        let best = urn[1..].iter().copied().fold(0.0, f64::max);
        // A tie goes either way.
        ahead += if urn[0] > best + 1e-9 {
            1.0
        } else if urn[0] > best - 1e-9 {
            0.5
        } else {
            0.0
        };
    }
    // What was not seen in any future is not impossible: only the lead above is certain.
    ahead / f64::from(FUTURES + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Kind;

    fn cast(answers: &[&str]) -> Ballot {
        let mut ballot = Ballot::default();
        for (i, answer) in answers.iter().enumerate() {
            let answer = Final::find(&format!("\\boxed{{{answer}}}"), Kind::Final).unwrap();
            ballot.cast(answer, 1.0, i);
        }
        ballot
    }

    #[test]
    fn equal_answers_are_one_candidate() {
        let ballot = cast(&["12", "0.5", "\\frac{1}{2}", "12.0", "1/2"]);
        let clusters = ballot.clusters();
        assert_eq!(clusters.len(), 2);
        assert_eq!((&*clusters[0].answer, &clusters[0].thoughts[..]), ("0.5", &[1, 2, 4][..]));
        assert_eq!(ballot.votes(), 5);
    }

    #[test]
    fn who_comes_first_makes_no_difference() {
        let vote = |order: &[usize]| {
            let answers = ["3", "0.5", "7", "1/2", "3.0", "7"];
            let mut ballot = Ballot::default();
            for &i in order {
                let answer =
                    Final::find(&format!("\\boxed{{{}}}", answers[i]), Kind::Final).unwrap();
                ballot.cast(answer, 1.0, i);
            }
            ballot.clusters()
        };
        assert_eq!(vote(&[0, 1, 2, 3, 4, 5]), vote(&[5, 3, 4, 1, 2, 0]));
    }

    #[test]
    fn what_cannot_be_overtaken_is_certain() {
        assert_eq!(stays_ahead(&[5.0, 1.0], 3), 1.0);
        assert!(stays_ahead(&[5.0, 1.0], 4) < 1.0);
        assert!(stays_ahead(&[8.0], 8) < 1.0);
        assert_eq!(stays_ahead(&[9.0], 7), 1.0);
        assert_eq!(stays_ahead(&[], 3), 0.0);
        assert_eq!(cast(&[]).sure(4), 0.0);
    }

    #[test]
    fn sureness_grows_with_the_lead() {
        let even = stays_ahead(&[1.0, 1.0], 10);
        assert!((0.2..0.5).contains(&even), "{even}");
        let ahead = stays_ahead(&[3.0, 1.0], 10);
        let far = stays_ahead(&[6.0, 1.0], 10);
        assert!(even < ahead && ahead < far && far > 0.95, "{even} {ahead} {far}");
        assert_eq!(ahead, stays_ahead(&[3.0, 1.0], 10), "the same every time");
    }

    /// With two candidates and no new ones the urn is Pólya's: after `left` more votes the leader's
    /// share of them is beta-binomial. (The new answers make it a bit less sure than that.)
    #[test]
    fn agrees_with_the_exact_distribution() {
        let beta_binomial = |a: u64, b: u64, n: u64, k: u64| -> f64 {
            let ln_gamma = |x: u64| (1..x).map(|i| (i as f64).ln()).sum::<f64>();
            let ln_beta = |a, b| ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b);
            let choose = ln_gamma(n + 1) - ln_gamma(k + 1) - ln_gamma(n - k + 1);
            (choose + ln_beta(k + a, n - k + b) - ln_beta(a, b)).exp()
        };
        for (a, b, n) in [(30, 20, 15), (40, 36, 24)] {
            let exact: f64 = (0..=n)
                .map(|k| {
                    let (first, second) = (a + k, b + n - k);
                    let p = beta_binomial(a, b, n, k);
                    if first > second {
                        p
                    } else if first == second {
                        p / 2.0
                    } else {
                        0.0
                    }
                })
                .sum();
            let played = stays_ahead(&[a as f64, b as f64], n as usize);
            assert!((played - exact).abs() < 0.04, "{played} {exact}");
        }
    }
}
