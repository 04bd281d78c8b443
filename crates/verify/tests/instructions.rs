//! The checks of IFEval, held against the verdicts of the published checker.
//!
//! `instructions/make_goldens.py` says how those were had.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use verify::instructions::Instructions;

#[derive(Deserialize)]
struct Goldens {
    goldens: Vec<(String, Value, String, u8, u8)>,
}

/// How many goldens of a check may differ: those whose reason is known and stated.
fn allowed(id: &str) -> usize {
    match id {
        // Of a text in capitals only the first letters count towards its language; the published
        // checker never takes this short one for English, nearer though it is than Vietnamese.
        "change_case:english_capital" => 1,
        _ => 0,
    }
}

#[test]
fn agrees_with_the_published_checker() {
    let text = include_str!("instructions/goldens.json");
    let goldens: Goldens = serde_json::from_str(text).expect("our own file");
    // Per check: goldens, and those that differ.
    let mut tally: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (id, kwargs, response, strict, loose) in &goldens.goldens {
        let verifier =
            Instructions::new(std::slice::from_ref(id), std::slice::from_ref(kwargs), "")
                .unwrap_or_else(|e| panic!("{id} {kwargs}: {e}"));
        let ours = verifier.check(response);
        let (all, wrong) = tally.entry(id).or_default();
        *all += 1;
        if ours.strict != [*strict == 1] || ours.loose != [*loose == 1] {
            *wrong += 1;
            println!("{id} {kwargs} {response:?}: {strict}{loose}, here {ours:?}");
        }
    }
    for (id, (all, wrong)) in &tally {
        println!("{id}: {} of {all} agree", all - wrong);
    }
    assert_eq!(tally.len(), 25);
    for (id, (_, wrong)) in &tally {
        assert!(*wrong <= allowed(id), "{id}: {wrong} differ");
    }
}
