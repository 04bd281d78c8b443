//! Majority votes.

use super::random::Random;

/// So many subsets of an item's samples are voted on at most; if there are more, so many are drawn.
const SUBSETS: usize = 512;

/// Which answers are the same: a number for each cluster, in order of appearance; `None` where there
/// is no answer. An answer joins the first cluster whose first member it equals.
pub fn cluster(answers: &[Option<&str>], same: &dyn Fn(&str, &str) -> bool) -> Vec<Option<usize>> {
    let mut firsts: Vec<&str> = Vec::new();
    answers
        .iter()
        .map(|answer| {
            answer.map(|answer| {
                // Text that is equal needs no judging, and judging can be slow.
                let equal = firsts.iter().position(|first| *first == answer);
                equal
                    .or_else(|| firsts.iter().position(|first| same(first, answer)))
                    .unwrap_or_else(|| {
                        firsts.push(answer);
                        firsts.len() - 1
                    })
            })
        })
        .collect()
}

/// An item's samples as votes.
///
/// *maj@k*: of `k` samples, the answer most of them give (Wang et al. 2022, self-consistency; maj1@k
/// in Minerva), averaged over all subsets of `k` of the `n` samples, or over 512 drawn from a fixed
/// seed if there are more. Samples without an answer don't vote. Ties are broken evenly: the credit
/// is the mean over the answers that tie, which is what a fair draw would earn on average. An answer
/// is right as far as the samples that give it were judged right.
///
/// *cons@k* of OpenAI's and DeepSeek's reports (cons@64 of DeepSeek-R1) is the same vote, over all
/// the samples drawn: maj@k at `k = n`.
#[derive(Clone, Debug)]
pub struct Vote {
    clusters: Vec<Option<usize>>,
    right: Vec<bool>,
}

impl Vote {
    /// What each sample answers and whether it is right.
    pub fn new(
        answers: &[Option<&str>],
        right: Vec<bool>,
        same: &dyn Fn(&str, &str) -> bool,
    ) -> Self {
        debug_assert_eq!(answers.len(), right.len());
        Self { clusters: cluster(answers, same), right }
    }

    /// maj@k; `None` if `k` is 0, or more than there are samples.
    pub fn maj_at_k(&self, k: usize, random: &mut Random) -> Option<f64> {
        let n = self.right.len();
        if k == 0 || k > n {
            return None;
        }
        let mut chosen: Vec<usize> = (0..k).collect();
        let mut tally = Tally::default();
        if choose(n, k).is_some_and(|count| count <= SUBSETS) {
            let (mut sum, mut count) = (0.0, 0.0);
            loop {
                sum += tally.credit(self, &chosen);
                count += 1.0;
                if !next_subset(&mut chosen, n) {
                    return Some(sum / count);
                }
            }
        }
        let mut order: Vec<usize> = (0..n).collect();
        let mut sum = 0.0;
        for _ in 0..SUBSETS {
            for i in 0..k {
                order.swap(i, i + random.below(n - i));
            }
            sum += tally.credit(self, &order[..k]);
        }
        Some(sum / SUBSETS as f64)
    }

    /// The share of the samples that give the commonest answer.
    pub fn agreement(&self) -> f64 {
        let mut tally = Tally::default();
        tally.count(self, &(0..self.right.len()).collect::<Vec<_>>());
        tally.most() as f64 / self.right.len() as f64
    }

    /// Whether more than half of the samples, those without an answer included, give one answer and
    /// it is right.
    pub fn majority_right(&self) -> bool {
        let all: Vec<usize> = (0..self.right.len()).collect();
        let mut tally = Tally::default();
        // More than half of the samples cannot tie.
        tally.credit(self, &all) > 0.5 && 2 * tally.most() > all.len()
    }
}

/// Votes counted, in memory that is used again for the next subset.
#[derive(Default)]
struct Tally {
    votes: Vec<u32>,
    right: Vec<u32>,
}

impl Tally {
    fn count(&mut self, vote: &Vote, chosen: &[usize]) {
        self.votes.clear();
        self.votes.resize(vote.clusters.len(), 0);
        self.right.clear();
        self.right.resize(vote.clusters.len(), 0);
        for &i in chosen {
            if let Some(cluster) = vote.clusters[i] {
                self.votes[cluster] += 1;
                self.right[cluster] += u32::from(vote.right[i]);
            }
        }
    }

    fn most(&self) -> usize {
        self.votes.iter().copied().max().unwrap_or(0) as usize
    }

    fn credit(&mut self, vote: &Vote, chosen: &[usize]) -> f64 {
        self.count(vote, chosen);
        let most = self.most() as u32;
        if most == 0 {
            return 0.0;
        }
        let (mut credit, mut tied) = (0.0, 0.0);
        for (votes, right) in self.votes.iter().zip(&self.right) {
            if *votes == most {
                credit += f64::from(*right) / f64::from(most);
                tied += 1.0;
            }
        }
        credit / tied
    }
}

/// How many subsets of `k` there are of `n`; `None` if more than can be counted.
fn choose(n: usize, k: usize) -> Option<usize> {
    (0..k.min(n - k)).try_fold(1usize, |count, i| Some(count.checked_mul(n - i)? / (i + 1)))
}

/// The next subset in lexicographic order; whether there is one.
fn next_subset(chosen: &mut [usize], n: usize) -> bool {
    let k = chosen.len();
    let Some(i) = (0..k).rev().find(|&i| chosen[i] < n - k + i) else { return false };
    chosen[i] += 1;
    for j in i + 1..k {
        chosen[j] = chosen[j - 1] + 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vote(answers: &[Option<&str>], gold: &str) -> Vote {
        let right = answers.iter().map(|a| *a == Some(gold)).collect();
        Vote::new(answers, right, &|a, b| a == b)
    }

    fn maj(vote: &Vote, k: usize) -> f64 {
        vote.maj_at_k(k, &mut Random::new(0)).unwrap()
    }

    #[test]
    fn equivalent_answers_vote_together() {
        let same = |a: &str, b: &str| a.parse::<f64>() == b.parse::<f64>();
        let answers = [Some("0.5"), Some("3"), Some(".50"), None, Some("3"), Some("0.500")];
        assert_eq!(cluster(&answers, &same), [Some(0), Some(1), Some(0), None, Some(1), Some(0)]);
        let vote = Vote::new(&answers, vec![true, false, true, false, false, true], &same);
        assert_eq!(maj(&vote, 6), 1.0);
        assert_eq!(vote.agreement(), 0.5);
        // Three of six is no majority of all.
        assert!(!vote.majority_right());
    }

    #[test]
    fn ties_are_broken_evenly_and_silence_does_not_vote() {
        assert_eq!(maj(&vote(&[Some("1"), Some("2")], "1"), 2), 0.5);
        assert_eq!(maj(&vote(&[Some("1"), None, None], "1"), 3), 1.0);
        assert_eq!(maj(&vote(&[None, None], "1"), 2), 0.0);
        assert!(vote(&[Some("1"), Some("1"), None], "1").majority_right());
    }

    #[test]
    fn a_vote_of_one_is_the_mean_and_of_three_is_by_hand() {
        let v = vote(&[Some("1"), Some("1"), Some("2"), Some("3")], "1");
        assert_eq!(maj(&v, 1), 0.5);
        // {1,1,2} and {1,1,3}: right; {1,2,3} twice: a third.
        assert!((maj(&v, 3) - (2.0 + 2.0 / 3.0) / 4.0).abs() < 1e-12);
        assert_eq!(v.maj_at_k(5, &mut Random::new(0)), None);
    }

    #[test]
    fn drawn_subsets_agree_with_the_formula() {
        // 60 samples, 36 right, all wrong ones alike: maj@3 is the chance of at least two right.
        let answers: Vec<_> = (0..60).map(|i| Some(if i % 5 < 3 { "1" } else { "2" })).collect();
        let want = 36.0 / 60.0 * (35.0 / 59.0) * (34.0 / 58.0)
            + 3.0 * (36.0 / 60.0) * (35.0 / 59.0) * (24.0 / 58.0);
        assert!((maj(&vote(&answers, "1"), 3) - want).abs() < 0.06);
    }

    #[test]
    fn subsets_are_counted_and_enumerated() {
        for n in 1..9 {
            for k in 1..=n {
                let mut chosen: Vec<usize> = (0..k).collect();
                let mut count = 1;
                while next_subset(&mut chosen, n) {
                    count += 1;
                }
                assert_eq!(Some(count), choose(n, k));
            }
        }
        assert_eq!(choose(200, 100), None);
    }

    proptest! {
        #[test]
        fn a_vote_lies_between_none_and_all(answers in proptest::collection::vec(0..4u8, 1..9), k in 1..9usize) {
            let texts: Vec<_> = answers.iter().map(u8::to_string).collect();
            let given: Vec<_> = texts.iter().map(|t| (t != "3").then_some(t.as_str())).collect();
            let v = vote(&given, "1");
            if k <= answers.len() {
                let got = maj(&v, k);
                prop_assert!((0.0..=1.0).contains(&got));
                let pass = crate::stats::pass_at_k(
                    answers.len(), answers.iter().filter(|a| **a == 1).count(), k).unwrap();
                prop_assert!(got <= pass + 1e-12);
            }
        }
    }
}
