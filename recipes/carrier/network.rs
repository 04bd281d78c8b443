//! Timetables, from chance.

use recipes::Draft;
use recipes::clock::Clock;
use verify::tasks::random::Random;

use crate::{Journey, Trip, Wanted, solver};

const TOWNS: &[&str] = &["Arden", "Brook", "Colm", "Dale", "Elms", "Ford", "Gate", "Holt", "Inch"];

/// How many timetables are tried for one that is hard enough.
const TRIES: usize = 200;

pub fn make(random: &mut Random, difficulty: u32) -> Draft<Journey> {
    let (least, most) = [(1, 1), (2, 2), (2, 9), (3, 9), (3, 9)][(difficulty as usize - 1).min(4)];
    let mut tries = 0;
    loop {
        tries += 1;
        let journey = journey(random, difficulty);
        let Some(best) = solver::best(&journey) else { continue };
        // Where it isn't easy, the other measure leads astray.
        let wanted = match journey.wanted {
            Wanted::EarliestArrival => Wanted::LowestPrice,
            Wanted::LowestPrice => Wanted::EarliestArrival,
        };
        let other = solver::best(&Journey { wanted, ..journey.clone() });
        let astray = difficulty < 2 || other.is_some_and(|other| other.legs != best.legs);
        let fits = (least..=most).contains(&best.legs.len());
        if tries < TRIES && !(fits && astray) {
            continue;
        }
        let gold = serde_json::to_string(&best).unwrap_or_default();
        return Draft { question: question(&journey), task: journey, gold };
    }
}

fn journey(random: &mut Random, difficulty: u32) -> Journey {
    let count = 3 + difficulty as usize;
    let towns = random.sample(TOWNS, count);
    // A ring, so that there is always another way round, and a few roads across it.
    let mut roads: Vec<(usize, usize)> = (0..count).map(|i| (i, (i + 1) % count)).collect();
    for _ in 0..difficulty - 1 {
        let (a, b) = (random.below(count as u64) as usize, random.below(count as u64) as usize);
        if a != b && !roads.contains(&(a, b)) && !roads.contains(&(b, a)) {
            roads.push((a, b));
        }
    }
    let mut trips = Vec::new();
    for (a, b) in roads {
        let minutes = random.range(20, 110);
        let price = random.range(4, 30);
        for (from, to) in [(a, b), (b, a)] {
            for _ in 0..random.range(1, if difficulty < 2 { 1 } else { 3 }) {
                let departs = random.range(84, 228) * 5;
                let arrives = departs + minutes + random.range(0, 3) * 5;
                let price = (price + random.range(-3, 3)).max(1);
                trips.push(Trip {
                    name: String::new(),
                    from: towns[from].to_owned(),
                    to: towns[to].to_owned(),
                    departs: Clock::new(departs as u32),
                    arrives: Clock::new(arrives as u32),
                    price: price as u32,
                });
            }
        }
    }
    random.shuffle(&mut trips);
    for (i, trip) in trips.iter_mut().enumerate() {
        trip.name = format!("T{}", i + 1);
    }
    let wanted = match random.chance(50) {
        true => Wanted::EarliestArrival,
        false => Wanted::LowestPrice,
    };
    let latest = match wanted {
        Wanted::LowestPrice if difficulty >= 4 => random.range(204, 264) * 5,
        _ => 24 * 60 - 1,
    };
    let (from, to) = (random.below(count as u64) as usize, random.range(1, count as i64 - 1));
    Journey {
        from: towns[from].to_owned(),
        to: towns[(from + to as usize) % count].to_owned(),
        trips,
        not_before: Clock::new(random.range(72, 110) as u32 * 5),
        latest: Clock::new(latest as u32),
        change_minutes: if difficulty >= 3 { random.range(1, 4) as u32 * 5 } else { 0 },
        wanted,
    }
}

fn question(journey: &Journey) -> String {
    let trips: Vec<String> = journey
        .trips
        .iter()
        .map(|t| {
            format!(
                "{}: {} {} -> {} {}, {} EUR",
                t.name, t.from, t.departs, t.to, t.arrives, t.price
            )
        })
        .collect();
    let change = match journey.change_minutes {
        0 => "Changing takes no time.".to_owned(),
        minutes => format!("Changing from one trip to the next takes at least {minutes} minutes."),
    };
    let wanted = match journey.wanted {
        Wanted::EarliestArrival => "Which route arrives earliest?".to_owned(),
        Wanted::LowestPrice if journey.latest == Clock::new(24 * 60 - 1) => {
            "Which route is cheapest?".to_owned()
        }
        Wanted::LowestPrice => {
            format!("Which route is cheapest of those that arrive by {}?", journey.latest)
        }
    };
    format!(
        "Trips:\n{}\n\n{change} The journey is from {} to {} and begins at {} or later. {wanted}",
        trips.join("\n"),
        journey.from,
        journey.to,
        journey.not_before
    )
}

#[cfg(test)]
mod tests {
    use recipes::{Recipe, item};
    use serde_json::{Value, json};

    use super::*;
    use crate::{Carrier, Route};

    fn score(journey: &Journey, answer: &str) -> f64 {
        Carrier::judge(journey, answer).unwrap().score
    }

    #[test]
    fn its_own_answers_are_right_and_changed_ones_wrong() {
        let (mut legs, mut astray) = (0, 0);
        for index in 0..300 {
            let (difficulty, draft) = item::<Carrier>(52, index);
            let score = |answer: &str| score(&draft.task, answer);
            assert_eq!(score(&draft.gold), 1.0, "{}\n{}", draft.question, draft.gold);
            let right: Route = serde_json::from_str(&draft.gold).unwrap();
            legs += right.legs.len();
            let other = match draft.task.wanted {
                Wanted::EarliestArrival => Wanted::LowestPrice,
                Wanted::LowestPrice => Wanted::EarliestArrival,
            };
            let other = solver::best(&Journey { wanted: other, ..draft.task.clone() }).unwrap();
            astray += u32::from(difficulty > 1 && other.legs != right.legs);
            let mut others = vec![
                Route { legs: vec![], ..right.clone() },
                Route { legs: vec!["T999".into()], ..right.clone() },
                Route { price: right.price + 1, ..right.clone() },
                Route { arrival: Clock::new(right.arrival.minutes() + 1), ..right.clone() },
            ];
            let mut more = right.clone();
            more.legs.push(right.legs[0].clone());
            others.push(more);
            let mut fewer = right.clone();
            fewer.legs.remove(0);
            others.push(fewer);
            for other in others {
                assert_eq!(score(&serde_json::to_string(&other).unwrap()), 0.0, "{other:?}");
            }
        }
        assert!(legs > 600 && astray > 230, "{legs} {astray}");
    }

    /// A to C: by B at 11:00 for 9, directly at 11:00 for 20, directly at 13:00 for 9.
    fn small(change: u32, wanted: &str) -> Journey {
        let trip = |name: &str, from: &str, departs: &str, to: &str, arrives: &str, price: u32| {
            json!({"name": name, "from": from, "to": to, "departs": departs, "arrives": arrives,
                "price": price})
        };
        let journey = json!({
            "trips": [
                trip("T1", "A", "09:00", "B", "10:00", 4), trip("T2", "B", "10:10", "C", "11:00", 5),
                trip("T3", "A", "09:30", "C", "11:00", 20), trip("T4", "A", "12:00", "C", "13:00", 9),
                trip("T5", "A", "07:00", "C", "08:00", 1),
            ],
            "from": "A", "to": "C", "not_before": "08:00", "latest": "23:59",
            "change_minutes": change, "wanted": wanted,
        });
        serde_json::from_value(journey).unwrap()
    }

    fn says(legs: Value, arrival: &str, price: u32) -> String {
        json!({"legs": legs, "arrival": arrival, "price": price}).to_string()
    }

    #[test]
    fn any_best_route_is_right() {
        let by_b = says(json!(["T1", "T2"]), "11:00", 9);
        let (dear, late) = (says(json!(["T3"]), "11:00", 20), says(json!(["T4"]), "13:00", 9));
        let gone = says(json!(["T5"]), "08:00", 1);
        for (change, wanted, scores) in [
            (10, "earliest_arrival", [1.0, 1.0, 0.0, 0.0]),
            (10, "lowest_price", [1.0, 0.0, 1.0, 0.0]),
            (11, "earliest_arrival", [0.0, 1.0, 0.0, 0.0]),
            (11, "lowest_price", [0.0, 0.0, 1.0, 0.0]),
        ] {
            let journey = small(change, wanted);
            let all = [&by_b, &dear, &late, &gone].map(|answer| score(&journey, answer));
            assert_eq!(all, scores, "{change} {wanted}");
        }
    }

    #[test]
    fn timetables_that_are_none_name_the_field() {
        let field = |change: &dyn Fn(&mut Journey)| {
            let mut journey = small(0, "lowest_price");
            change(&mut journey);
            Carrier::judge(&journey, "{}").unwrap_err().field
        };
        assert_eq!(field(&|j| j.trips[1].name = "T1".into()), "trips[1].name");
        assert_eq!(field(&|j| j.trips[2].arrives = Clock::new(0)), "trips[2].arrives");
        assert_eq!(field(&|j| j.to = "A".into()), "to");
        assert_eq!(field(&|j| j.to = "Nowhere".into()), "trips");
        assert_eq!(field(&|j| j.trips = vec![j.trips[0].clone(); 2001]), "trips");
    }
}
