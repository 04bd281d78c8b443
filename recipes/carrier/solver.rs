//! The best route: Dijkstra's algorithm, over towns where time is what counts, and over trips where
//! it is money, as an earlier arrival at a town may then be of use only at a higher price.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use recipes::clock::Clock;

use crate::route::can_take;
use crate::{Journey, Route, Wanted};

/// A best route, if there is any.
pub fn best(journey: &Journey) -> Option<Route> {
    let last = match journey.wanted {
        Wanted::EarliestArrival => earliest(journey),
        Wanted::LowestPrice => cheapest(journey),
    };
    let (last, before) = last?;
    let mut trips = vec![last];
    while let Some(&earlier) = before.get(trips.last()?) {
        trips.push(earlier);
    }
    trips.reverse();
    let arrival = journey.trips[last].arrives;
    let price = trips.iter().map(|&trip| u64::from(journey.trips[trip].price)).sum();
    let legs = trips.into_iter().map(|trip| journey.trips[trip].name.clone()).collect();
    (arrival <= journey.latest).then_some(Route { legs, arrival, price })
}

/// The last trip of a route, and the trip before each.
type Way = Option<(usize, HashMap<usize, usize>)>;

/// A town's label is when one can be there; who is there earlier can take every trip that others can.
fn earliest(journey: &Journey) -> Way {
    // For each town, when one is there first, and by which trip.
    let mut known: HashMap<&str, (Clock, Option<usize>)> = HashMap::new();
    let mut before = HashMap::new();
    let mut queue = BinaryHeap::from([Reverse((journey.not_before, journey.from.as_str()))]);
    known.insert(&journey.from, (journey.not_before, None));
    while let Some(Reverse((since, town))) = queue.pop() {
        let (best, by) = known[town];
        if since > best {
            continue;
        }
        if town == journey.to {
            return by.map(|last| (last, before));
        }
        for (index, trip) in journey.trips.iter().enumerate() {
            let better = known.get(trip.to.as_str()).is_none_or(|&(best, _)| trip.arrives < best);
            if trip.from == town && better && can_take(journey, trip, since, by.is_some()) {
                known.insert(&trip.to, (trip.arrives, Some(index)));
                if let Some(by) = by {
                    before.insert(index, by);
                }
                queue.push(Reverse((trip.arrives, &trip.to)));
            }
        }
    }
    None
}

/// A trip's label is the least that one has paid once it is over.
fn cheapest(journey: &Journey) -> Way {
    let trips = &journey.trips;
    let mut known: Vec<Option<u64>> = vec![None; trips.len()];
    let mut before = HashMap::new();
    let mut queue = BinaryHeap::new();
    for (index, trip) in trips.iter().enumerate() {
        if trip.from == journey.from && can_take(journey, trip, journey.not_before, false) {
            known[index] = Some(trip.price.into());
            queue.push(Reverse((u64::from(trip.price), index)));
        }
    }
    while let Some(Reverse((paid, at))) = queue.pop() {
        if known[at].is_some_and(|least| paid > least) {
            continue;
        }
        if trips[at].to == journey.to && trips[at].arrives <= journey.latest {
            return Some((at, before));
        }
        for (index, trip) in trips.iter().enumerate() {
            let price = paid + u64::from(trip.price);
            let follows =
                trip.from == trips[at].to && can_take(journey, trip, trips[at].arrives, true);
            if follows && known[index].is_none_or(|least| price < least) {
                known[index] = Some(price);
                before.insert(index, at);
                queue.push(Reverse((price, index)));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use recipes::item;

    use super::*;
    use crate::{Carrier, route};

    /// Every route, one after the other.
    fn all(journey: &Journey) -> Vec<(Clock, u64)> {
        fn search(journey: &Journey, legs: &mut Vec<String>, found: &mut Vec<(Clock, u64)>) {
            let (town, since) = match legs.last() {
                None => (&journey.from, journey.not_before),
                Some(name) => {
                    let trip = journey.trips.iter().find(|trip| trip.name == *name).unwrap();
                    (&trip.to, trip.arrives)
                }
            };
            if *town == journey.to {
                found.extend(route::follow(journey, legs));
                return;
            }
            for trip in &journey.trips {
                if trip.from == *town && can_take(journey, trip, since, !legs.is_empty()) {
                    legs.push(trip.name.clone());
                    search(journey, legs, found);
                    legs.pop();
                }
            }
        }
        let mut found = Vec::new();
        search(journey, &mut Vec::new(), &mut found);
        found
    }

    #[test]
    fn no_route_is_better() {
        for index in 0..250 {
            let (_, draft) = item::<Carrier>(51, index);
            for wanted in [Wanted::EarliestArrival, Wanted::LowestPrice] {
                let journey = Journey { wanted, ..draft.task.clone() };
                let best = best(&journey);
                let all = all(&journey);
                let Some(best) = best else {
                    assert!(all.is_empty(), "{}", draft.question);
                    continue;
                };
                assert_eq!(route::follow(&journey, &best.legs), Ok((best.arrival, best.price)));
                match wanted {
                    Wanted::EarliestArrival => {
                        assert_eq!(Some(best.arrival), all.iter().map(|end| end.0).min());
                    }
                    Wanted::LowestPrice => {
                        assert_eq!(Some(best.price), all.iter().map(|end| end.1).min());
                    }
                }
            }
        }
    }
}
