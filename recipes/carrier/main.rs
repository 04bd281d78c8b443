//! `carrier`: the earliest arrival or the cheapest route by a timetable.
#![forbid(unsafe_code)]

mod network;
mod route;
mod solver;

use std::process::ExitCode;

use recipes::{Draft, Recipe, Unusable, answer, clock::Clock};
use serde::{Deserialize, Serialize};
use verify::Verdict;
use verify::tasks::random::Random;

/// One ride between two towns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trip {
    name: String,
    from: String,
    to: String,
    departs: Clock,
    arrives: Clock,
    price: u32,
}

/// What makes one route better than another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wanted {
    EarliestArrival,
    LowestPrice,
}

/// A timetable and a question about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Journey {
    trips: Vec<Trip>,
    from: String,
    to: String,
    /// No trip is taken before.
    not_before: Clock,
    /// The last arrival that will do.
    latest: Clock,
    /// What is needed between two trips.
    change_minutes: u32,
    wanted: Wanted,
}

/// What a model answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    legs: Vec<String>,
    arrival: Clock,
    price: u64,
}

struct Carrier;

impl Recipe for Carrier {
    const NAME: &'static str = "carrier";
    const ABOUT: &'static str = "Timetables: the earliest arrival, or the cheapest route";
    type Task = Journey;

    fn make(random: &mut Random, difficulty: u32) -> Draft<Journey> {
        network::make(random, difficulty)
    }

    fn judge(task: &Journey, text: &str) -> Result<Verdict, Unusable> {
        route::usable(task)?;
        let Some(best) = solver::best(task) else {
            return Err(Unusable::new(
                "trips",
                format!("none lead from {} to {}", task.from, task.to),
            ));
        };
        let (said, shown) = match answer::read::<Route>(text) {
            Ok(read) => read,
            Err(verdict) => return Ok(verdict),
        };
        let (arrival, price) = match route::follow(task, &said.legs) {
            Ok(end) => end,
            Err(why) => return Ok(Verdict::wrong(shown, why)),
        };
        let wrong = if said.arrival != arrival {
            format!("these legs arrive at {arrival}")
        } else if said.price != price {
            format!("these legs cost {price}")
        } else {
            match task.wanted {
                Wanted::EarliestArrival if arrival > best.arrival => {
                    format!("one can be there at {}", best.arrival)
                }
                Wanted::LowestPrice if price > best.price => {
                    format!("one can get there for {}", best.price)
                }
                _ => return Ok(Verdict::right(shown, "no route is better")),
            }
        };
        Ok(Verdict::wrong(shown, wrong))
    }
}

fn main() -> ExitCode {
    recipes::main::<Carrier>()
}
