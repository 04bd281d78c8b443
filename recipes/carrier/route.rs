//! Whether a list of trips is a route, and where it ends.

use std::collections::HashSet;

use recipes::Unusable;
use recipes::answer::shown;
use recipes::clock::Clock;

use crate::{Journey, Trip};

/// The most trips of a timetable.
const MAX_TRIPS: usize = 2000;

/// Whether a timetable is one.
///
/// # Errors
/// A trip ends before it begins, two have one name, or there are too many.
pub fn usable(journey: &Journey) -> Result<(), Unusable> {
    if journey.trips.len() > MAX_TRIPS {
        return Err(Unusable::new("trips", format!("there are more than {MAX_TRIPS}")));
    }
    if journey.from == journey.to {
        return Err(Unusable::new("to", "it is where the journey begins"));
    }
    let mut names = HashSet::new();
    for (i, trip) in journey.trips.iter().enumerate() {
        if trip.departs >= trip.arrives {
            return Err(Unusable::new(format!("trips[{i}].arrives"), "it is not after `departs`"));
        }
        if !names.insert(&trip.name) {
            return Err(Unusable::new(format!("trips[{i}].name"), "another trip has it"));
        }
    }
    Ok(())
}

/// Whether a trip can be taken by who got to its town at `since`, by another trip or not.
pub fn can_take(journey: &Journey, trip: &Trip, since: Clock, changing: bool) -> bool {
    let wait = if changing { u64::from(journey.change_minutes) } else { 0 };
    u64::from(trip.departs.minutes()) >= u64::from(since.minutes()) + wait
}

/// When the trips of these names arrive, and what they cost together.
///
/// # Errors
/// Why they are no route.
pub fn follow(journey: &Journey, legs: &[String]) -> Result<(Clock, u64), String> {
    if legs.is_empty() {
        return Err("there are no legs".to_owned());
    }
    let (mut town, mut since, mut price) = (&journey.from, journey.not_before, 0);
    for (i, name) in legs.iter().enumerate() {
        let Some(trip) = journey.trips.iter().find(|trip| trip.name == *name) else {
            return Err(format!("there is no trip {:?}", shown(name)));
        };
        if trip.from != *town {
            return Err(format!("{name} leaves from {}, not from {town}", trip.from));
        }
        if !can_take(journey, trip, since, i > 0) {
            return Err(format!("{name} leaves {town} at {}, too early to be taken", trip.departs));
        }
        (town, since) = (&trip.to, trip.arrives);
        price += u64::from(trip.price);
    }
    if *town != journey.to {
        return Err(format!("the legs end in {town}, not in {}", journey.to));
    }
    if since > journey.latest {
        return Err(format!("the legs arrive at {since}, later than {}", journey.latest));
    }
    Ok((since, price))
}
