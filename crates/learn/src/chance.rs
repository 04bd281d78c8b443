//! Chance that can be had again: a stream of numbers for each seed and each purpose, with no state
//! that a checkpoint would have to keep.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use verify::tasks::random::{Random, hash};

/// The numbers of `purpose` at `step`.
pub(crate) fn chance(seed: u64, purpose: &str, step: u64) -> Random {
    Random::new(&[seed, hash(purpose), step])
}

/// From 0 to below 1, in steps of 2⁻⁵³.
pub(crate) fn unit(random: &mut Random) -> f64 {
    (random.next() >> 11) as f64 / (1u64 << 53) as f64
}

/// Picks a place with a chance in proportion to its weight.
///
/// # Panics
/// If there is none.
pub(crate) fn weighted(random: &mut Random, weights: &[f64]) -> usize {
    let mut left = unit(random) * weights.iter().sum::<f64>();
    for (i, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return i;
        }
    }
    weights.len() - 1
}

/// The numbers below `n` in an order of their own for each round: the `i`-th of endless rounds.
pub(crate) fn shuffled(seed: u64, purpose: &str, round: u64, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    chance(seed, purpose, round).shuffle(&mut order);
    order
}

/// Which of `n` things are the `first`-th and those after it, in endless rounds through all of them,
/// each in an order of its own.
///
/// # Panics
/// The iterator does, if there are none.
pub(crate) fn rounds(
    seed: u64,
    purpose: &str,
    first: u64,
    n: usize,
) -> impl Iterator<Item = usize> {
    let mut known: Option<(u64, Vec<usize>)> = None;
    (first..).map(move |i| {
        let (round, place) = (i / n as u64, (i % n as u64) as usize);
        match &known {
            Some((of, order)) if *of == round => order[place],
            _ => {
                let order = shuffled(seed, purpose, round, n);
                let at = order[place];
                known = Some((round, order));
                at
            }
        }
    })
}

/// Takes `wanted` of the things out, by chance: `(held out, the rest)`, both in the order they had.
pub(crate) fn hold_out<T>(
    seed: u64,
    round: u64,
    things: Vec<T>,
    wanted: usize,
) -> (Vec<T>, Vec<T>) {
    let order = shuffled(seed, "held out", round, things.len());
    let mut chosen = vec![false; things.len()];
    order.iter().take(wanted).for_each(|i| chosen[*i] = true);
    let mut chosen = chosen.into_iter();
    things.into_iter().partition(|_| chosen.next() == Some(true))
}

/// The same for things that belong together where `of` says the same of them: none of a kind is held out while others
/// of it are not, and at least `wanted` are. Where that would leave less than it takes, kinds don't matter.
pub(crate) fn hold_out_kinds<T, K: Eq + Hash>(
    seed: u64,
    things: Vec<T>,
    wanted: usize,
    of: impl Fn(&T) -> K,
) -> (Vec<T>, Vec<T>) {
    let mut sizes = HashMap::<K, usize>::new();
    things.iter().for_each(|thing| *sizes.entry(of(thing)).or_default() += 1);
    let (mut chosen, mut taken) = (HashSet::new(), 0);
    for i in shuffled(seed, "held out", 0, things.len()) {
        if taken >= wanted {
            break;
        }
        let kind = of(&things[i]);
        let size = sizes[&kind];
        if chosen.insert(kind) {
            taken += size;
        }
    }
    if 2 * taken > things.len() {
        return hold_out(seed, 0, things, wanted);
    }
    things.into_iter().partition(|thing| chosen.contains(&of(thing)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_has_everything_once() {
        let all: Vec<usize> = rounds(1, "x", 0, 5).take(15).collect();
        for round in all.chunks(5) {
            let mut sorted = round.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4]);
        }
        assert!(all[..5] != all[5..10] || all[5..10] != all[10..]);
        assert_eq!(rounds(1, "x", 7, 5).take(8).collect::<Vec<_>>(), all[7..]);
        assert_eq!(all[..5], shuffled(1, "x", 0, 5));
    }

    #[test]
    fn what_is_held_out_is_nowhere_else() {
        let (held_out, rest) = hold_out(1, 0, (0..10).collect(), 3);
        assert_eq!((held_out.len(), rest.len()), (3, 7));
        assert!(held_out.is_sorted() && rest.is_sorted());
        assert!(held_out.iter().all(|x| !rest.contains(x)));
        assert_eq!(hold_out(1, 0, vec![1, 2], 9).0, [1, 2]);
    }

    #[test]
    fn what_belongs_together_is_held_out_together() {
        let things: Vec<usize> = (0..60).collect();
        for seed in 0..20 {
            let (held_out, rest) = hold_out_kinds(seed, things.clone(), 5, |x| x / 3);
            assert_eq!((held_out.len(), rest.len()), (6, 54), "two threes");
            assert!(held_out.iter().all(|x| rest.iter().all(|y| x / 3 != y / 3)));
        }
        // Where nothing belongs together it is the same choice.
        let alone = hold_out_kinds(3, things.clone(), 5, |x| *x);
        assert_eq!(alone, hold_out(3, 0, things.clone(), 5));
        assert_eq!(hold_out_kinds(1, things.clone(), 5, |_| 0), hold_out(1, 0, things, 5));
    }
}
