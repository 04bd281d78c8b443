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

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        failure_persistence: None,
        ..proptest::prelude::ProptestConfig::default()
    })]

    /// Any text at all is judged, and what is strictly followed is loosely followed.
    #[test]
    fn every_text_is_judged(text in "(\\PC|[\\n*.\"\\[\\]<>-]|P\\.S\\.|```|\\*\\*\\*){0,60}") {
        let text_of_goldens = include_str!("instructions/goldens.json");
        let goldens: Goldens = serde_json::from_str(text_of_goldens).expect("our own file");
        let first: BTreeMap<String, Value> =
            goldens.goldens.into_iter().map(|(id, kwargs, ..)| (id, kwargs)).collect();
        let (ids, kwargs): (Vec<_>, Vec<_>) = first.into_iter().unzip();
        let followed = Instructions::new(&ids, &kwargs, "").unwrap().check(&text);
        for (strict, loose) in followed.strict.iter().zip(&followed.loose) {
            proptest::prop_assert!(*loose || !*strict);
        }
    }
}
