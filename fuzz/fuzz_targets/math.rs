//! Two answers, read and compared: no panic, no hang, and each equal to itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use verify::math::{Answer, Math, extract};
use verify::{Attempt, Verifier};

fuzz_target!(|texts: (&str, &str)| {
    let (gold, text) = texts;
    if let Some(answer) = Answer::parse(gold) {
        assert_eq!(answer.same(&answer), Ok(true));
    }
    let _ = extract(text);
    if let Ok(math) = Math::new(gold) {
        let _ = math.verify(&Attempt::of(text));
    }
});
