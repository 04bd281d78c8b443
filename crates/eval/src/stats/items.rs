//! Samples, gathered by item.

use std::collections::HashMap;

use crate::run::Sample;

/// An item and its samples.
#[derive(Clone, Debug)]
pub struct Item<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its samples, in the order of their index, each index once.
    pub samples: Vec<&'a Sample>,
}

impl Item<'_> {
    /// The share of its samples that are right.
    pub fn share_right(&self) -> f64 {
        self.right() as f64 / self.samples.len() as f64
    }

    /// How many of its samples are right.
    pub fn right(&self) -> usize {
        self.samples.iter().filter(|s| s.verdict.as_ref().is_some_and(|v| v.is_right())).count()
    }
}

/// The items in the order in which they first appear. Of two samples with the same index the later
/// counts: it is the one that was asked again.
pub fn by_item(samples: &[Sample]) -> Vec<Item<'_>> {
    let mut places = HashMap::new();
    let mut items: Vec<Item<'_>> = Vec::new();
    for sample in samples {
        let place = *places.entry(sample.item.as_str()).or_insert_with(|| {
            items.push(Item { id: &sample.item, samples: Vec::new() });
            items.len() - 1
        });
        items[place].samples.push(sample);
    }
    for item in &mut items {
        // The sort is stable and `dedup_by` keeps the first: hence the later one first.
        item.samples.reverse();
        item.samples.sort_by_key(|s| s.index);
        item.samples.dedup_by_key(|s| s.index);
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::mark::tests::sample;

    #[test]
    fn samples_are_gathered_and_the_later_of_two_counts() {
        let mut samples = vec![
            sample("b", 1, true),
            sample("a", 0, false),
            sample("b", 0, false),
            sample("b", 1, false),
        ];
        samples[3].answer = "again".to_owned();
        let items = by_item(&samples);
        assert_eq!(items.iter().map(|i| i.id).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(items[0].samples.iter().map(|s| s.index).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(items[0].samples[1].answer, "again");
        assert_eq!(items[0].right(), 0);
    }
}
