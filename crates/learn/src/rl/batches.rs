//! Groups of completions through the network, a micro-batch at a time.

use std::ops::Range;

use train::{Batch, Continuation, Network};

use super::critic::Worth;
use crate::Error;
use crate::error::recipe;
use crate::learner::Learner;
use crate::objective::{Advantage, Completion, Normalizers, PolicySettings, PolicyStatistics};
use crate::run::Watch;

/// A prompt and its completions.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Group {
    pub prompt: Vec<u32>,
    pub members: Vec<Member>,
}

/// A completion that is to be learned from.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Member {
    pub tokens: Vec<u32>,
    pub sampler_log_probs: Option<Vec<f32>>,
    pub old_log_probs: Option<Vec<f32>>,
    pub reference_log_probs: Option<Vec<f32>>,
    pub advantage: Earned,
    /// What its tokens were worth, where a critic has said so.
    pub worth: Option<Worth>,
    pub left_out: bool,
}

/// How much better than expected a completion was.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Earned {
    /// As a whole.
    Completion(f64),
    /// Token for token.
    Tokens(Vec<f32>),
}

impl Default for Earned {
    fn default() -> Earned {
        Earned::Completion(0.0)
    }
}

impl Earned {
    /// One a token; none of a whole.
    pub fn tokens(&self) -> &[f32] {
        match self {
            Earned::Completion(_) => &[],
            Earned::Tokens(advantages) => advantages,
        }
    }

    /// Whether it pulls no way at all.
    pub fn is_zero(&self) -> bool {
        match self {
            Earned::Completion(advantage) => *advantage == 0.0,
            Earned::Tokens(advantages) => advantages.iter().all(|a| *a == 0.0),
        }
    }

    fn view(&self) -> Advantage<'_> {
        match self {
            Earned::Completion(advantage) => Advantage::Completion(*advantage),
            Earned::Tokens(advantages) => Advantage::Tokens(advantages),
        }
    }
}

/// What one optimizer step's completions came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Learned {
    pub loss: f64,
    pub statistics: PolicyStatistics,
    /// Tokens that went through the network, prompts included.
    pub tokens: usize,
}

/// How completions are learned from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan<'a> {
    pub objective: &'a PolicySettings,
    pub max_tokens: usize,
    pub size: usize,
    pub dropout: Option<u64>,
}

/// Completions of one group that go through the network together: `(group, members)`.
pub(super) type Part = (usize, Vec<usize>);

/// Micro-batches of at most `size` tokens, of members that `wanted` picks.
pub(super) fn split(
    groups: &[&Group],
    size: usize,
    wanted: impl Fn(&Member) -> bool,
) -> Vec<Vec<Part>> {
    let mut batches: Vec<Vec<Part>> = Vec::new();
    let mut room = 0;
    for (g, group) in groups.iter().enumerate() {
        let mut open = false;
        for (m, member) in group.members.iter().enumerate().filter(|(_, m)| wanted(m)) {
            let cost = |open| member.tokens.len() + if open { 0 } else { group.prompt.len() };
            if batches.is_empty() || cost(open) > room {
                batches.push(Vec::new());
                (room, open) = (size, false);
            }
            room = room.saturating_sub(cost(open));
            let Some(batch) = batches.last_mut() else { continue };
            match batch.last_mut() {
                Some((last, members)) if open && *last == g => members.push(m),
                _ => batch.push((g, vec![m])),
            }
            open = true;
        }
    }
    batches
}

/// The batch, and of each member where its first token is predicted.
pub(super) fn batch(groups: &[&Group], parts: &[Part]) -> Result<(Batch, Vec<usize>), Error> {
    let mut batch = Batch::new();
    let mut starts = Vec::new();
    for (g, members) in parts {
        let group = groups[*g];
        let tokens = || members.iter().map(|m| &group.members[*m].tokens[..]);
        let ones = vec![1.0; tokens().map(<[u32]>::len).max().unwrap_or(0)];
        let continuations: Vec<Continuation<'_>> = tokens()
            .map(|tokens| Continuation { tokens, weights: &ones[..tokens.len()] })
            .collect();
        let texts = batch.push_group(&group.prompt, &continuations)?;
        starts.extend(texts.map(|text| batch.slots(text).start));
    }
    Ok((batch, starts))
}

/// A completion, and its slots in the batch it was in: group, member, slots.
pub(super) type Place = (usize, usize, Range<usize>);
/// Of each micro-batch, where its completions are and what was made of it.
pub(super) type Found<T> = Vec<(Vec<Place>, T)>;

/// What `run` makes of the completions that are `wanted`, a micro-batch of at most `size` tokens at a
/// time, and where each is in it. None if stopped.
pub(super) fn over<T>(
    groups: &[Group],
    size: usize,
    wanted: impl Fn(&Member) -> bool,
    (what, watch): (&str, &mut dyn Watch),
    run: impl Fn(&Batch) -> Result<T, Error>,
) -> Result<Option<Found<T>>, Error> {
    let view: Vec<&Group> = groups.iter().collect();
    let batches = split(&view, size, wanted);
    let mut found = Vec::new();
    for (i, parts) in batches.iter().enumerate() {
        watch.phase(what, i, batches.len());
        if watch.stopped() {
            return Ok(None);
        }
        let (batch, starts) = batch(&view, parts)?;
        let members = parts.iter().flat_map(|(g, ms)| ms.iter().map(move |m| (*g, *m)));
        let places = members
            .zip(starts)
            .map(|((g, m), start)| (g, m, start..start + groups[g].members[m].tokens.len()))
            .collect();
        found.push((places, run(&batch)?));
    }
    Ok(Some(found))
}

/// Scores all completions with the network as it is now, and with the reference. False if stopped.
pub(super) fn score(
    groups: &mut [Group],
    old: Option<&Network<'_>>,
    reference: Option<&Network<'_>>,
    size: usize,
    watch: &mut dyn Watch,
) -> Result<bool, Error> {
    let of = |network: Option<&Network<'_>>, batch: &Batch| -> Result<_, Error> {
        Ok(network.map(|n| n.log_probs(batch)).transpose()?)
    };
    let run = |batch: &Batch| Ok((of(old, batch)?, of(reference, batch)?));
    let found = over(groups, size, |member| !member.left_out, ("scoring", watch), run)?;
    let Some(found) = found else { return Ok(false) };
    for (places, (old, reference)) in found {
        for (g, m, slots) in places {
            let member = &mut groups[g].members[m];
            let of = |scores: &Option<train::Scores>| {
                scores.as_ref().map(|scores| scores.log_probs[slots.clone()].to_vec())
            };
            member.old_log_probs = of(&old);
            member.reference_log_probs = of(&reference);
        }
    }
    Ok(true)
}

/// Gathers the gradients of one optimizer step. None if stopped.
pub(super) fn learn(
    learner: &mut Learner<'_>,
    groups: &[&Group],
    plan: &Plan<'_>,
    stoppable: bool,
    watch: &mut dyn Watch,
) -> Result<Option<Learned>, Error> {
    let members = || groups.iter().flat_map(|group| &group.members);
    let normalizers = Normalizers {
        completions: members().count(),
        tokens: members().filter(|m| !m.left_out).map(|m| m.tokens.len()).sum(),
        max_tokens: plan.max_tokens,
    };
    // Where nothing but the advantage pulls, completions without one need no pass.
    let pulled = plan.objective.kl_coefficient > 0.0 || plan.objective.entropy_coefficient != 0.0;
    let wanted = |member: &Member| !member.left_out && (pulled || !member.advantage.is_zero());
    let batches = split(groups, plan.size, wanted);
    let mut learned = Learned::default();
    for (i, parts) in batches.iter().enumerate() {
        watch.phase("learning", i, batches.len());
        if stoppable && watch.stopped() {
            return Ok(None);
        }
        let (batch, starts) = batch(groups, parts)?;
        learned.tokens += batch.len();
        let members: Vec<&Member> = parts
            .iter()
            .flat_map(|(g, members)| members.iter().map(|m| &groups[*g].members[*m]))
            .collect();
        let dropout = plan.dropout.map(|seed| seed.wrapping_add(i as u64));
        learner.learn(&batch, dropout, |scores| {
            let completions: Vec<Completion<'_>> = members
                .iter()
                .zip(&starts)
                .map(|(member, start)| {
                    let slots = *start..start + member.tokens.len();
                    Completion {
                        old_log_probs: member.old_log_probs.as_deref(),
                        reference_log_probs: member.reference_log_probs.as_deref(),
                        sampler_log_probs: member.sampler_log_probs.as_deref(),
                        entropies: Some(&scores.entropies[slots.clone()]),
                        advantage: member.advantage.view(),
                        ..Completion::new(0.0, &scores.log_probs[slots])
                    }
                })
                .collect();
            let surrogate = plan
                .objective
                .surrogate(&completions, normalizers)
                .map_err(|error| recipe("grpo.objective", error.to_string()))?;
            learned.loss += surrogate.loss;
            learned.statistics += surrogate.statistics;
            let spread = |of: &Vec<Vec<f32>>| {
                let mut slots = vec![0.0; scores.log_probs.len()];
                for (start, tokens) in starts.iter().zip(of) {
                    slots[*start..start + tokens.len()].copy_from_slice(tokens);
                }
                slots
            };
            let d_entropies = surrogate.d_entropies.as_ref().map(spread);
            Ok((spread(&surrogate.d_log_probs), d_entropies))
        })?;
    }
    Ok(Some(learned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn micro_batches_hold_what_they_may() {
        let earned = Earned::Completion(1.0);
        let member = |n: usize| Member {
            tokens: vec![7; n],
            advantage: earned.clone(),
            ..Member::default()
        };
        let a = Group { prompt: vec![1; 4], members: vec![member(6), member(6), member(16)] };
        let b = Group { prompt: vec![2; 4], members: vec![member(1), Member::default()] };
        let found = split(&[&a, &b], 20, |m| !m.advantage.is_zero());
        assert_eq!(found, [vec![(0, vec![0, 1])], vec![(0, vec![2])], vec![(1, vec![0])]]);
        let (batch, starts) = batch(&[&a, &b], &found[0]).unwrap();
        // Three tokens of the prompt once, and of each answer six slots.
        assert_eq!((batch.texts(), batch.len(), starts), (2, 15, vec![3, 9]));
        assert_eq!(batch.targets()[2], None);
        assert_eq!(batch.targets()[3], Some(7));
        assert_eq!(split(&[&a], 1, |_| true).len(), 3);
    }
}
