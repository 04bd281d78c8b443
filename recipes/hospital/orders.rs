//! Orders, from chance. All drugs are invented.

use num_rational::BigRational;
use num_traits::ToPrimitive;
use recipes::Draft;
use verify::tasks::random::Random;

use crate::Quantity;
use crate::check::Exact;

const DRUGS: &[&str] =
    &["Veltrazine", "Orbamol", "Quintarex", "Luminocard", "Sedoprin", "Tarvexin"];

pub fn make(random: &mut Random, difficulty: u32) -> Draft<Quantity> {
    let drug = *random.pick(DRUGS);
    loop {
        let (text, mut task) = match difficulty {
            1 => units(random, drug),
            2 => by_weight(random, drug),
            3 => volume(random, drug),
            4 => rate(random, drug),
            _ => infusion(random, drug),
        };
        // Tenths, as the range is written in them; below 1 rounding would matter too much.
        let ten = BigRational::from_integer(10.into());
        let tenths = Exact::new(&task).ok().and_then(|e| (e.value * ten).to_integer().to_i64());
        let Some(tenths @ 10..=100_000) = tenths else { continue };
        let (low, high) = range(random, tenths);
        (task.low, task.high) = (decimal(low), decimal(high));
        let gold = Exact::new(&task).map(|exact| exact.gold(&task.unit)).unwrap_or_default();
        let (low, high, unit) = (&task.low, &task.high, &task.unit);
        let question = format!("{text} The safe range is {low} to {high} {unit}.");
        return Draft { question, task, gold };
    }
}

/// A range around a number of tenths, or, a third of the time, beside it.
fn range(random: &mut Random, tenths: i64) -> (i64, i64) {
    match random.below(6) {
        0 => {
            let high = tenths * random.range(40, 90) / 100;
            (high * random.range(20, 60) / 100, high)
        }
        1 => {
            let low = tenths * random.range(115, 250) / 100 + 2;
            (low, low * random.range(150, 300) / 100)
        }
        _ => (tenths * random.range(30, 85) / 100, tenths * random.range(120, 220) / 100 + 2),
    }
}

/// A number of tenths as a decimal: `25` is `2.5`, `30` is `3`.
fn decimal(tenths: i64) -> String {
    match tenths % 10 {
        0 => (tenths / 10).to_string(),
        tenth => format!("{}.{tenth}", tenths / 10),
    }
}

fn quantity(factors: &[&str], divisors: &[&str], unit: &str) -> Quantity {
    let owned = |numbers: &[&str]| numbers.iter().map(|&number| number.to_owned()).collect();
    let (low, high) = ("0".to_owned(), "0".to_owned());
    Quantity { factors: owned(factors), divisors: owned(divisors), unit: unit.into(), low, high }
}

fn units(random: &mut Random, drug: &str) -> (String, Quantity) {
    match random.below(3) {
        0 => {
            let mcg = (random.range(11, 99) * 100).to_string();
            (
                format!("An order says {mcg} mcg of {drug}. How many mg is that?"),
                quantity(&[&mcg], &["1000"], "mg"),
            )
        }
        1 => {
            let g = decimal(random.range(1, 35));
            (
                format!("An order says {g} g of {drug}. How many mg is that?"),
                quantity(&[&g, "1000"], &[], "mg"),
            )
        }
        _ => {
            let mg = decimal(random.range(1, 45));
            (
                format!("An order says {mg} mg of {drug}. How many mcg is that?"),
                quantity(&[&mg, "1000"], &[], "mcg"),
            )
        }
    }
}

fn weight(random: &mut Random) -> String {
    if random.chance(40) {
        decimal(random.range(80, 300))
    } else {
        random.range(40, 110).to_string()
    }
}

fn by_weight(random: &mut Random, drug: &str) -> (String, Quantity) {
    let (kg, dose) = (weight(random), decimal(random.range(5, 150)));
    if random.chance(50) {
        let text = format!(
            "A patient of {kg} kg gets {drug}, {dose} mg per kg in one dose. How many mg is the dose?"
        );
        return (text, quantity(&[&kg, &dose], &[], "mg"));
    }
    let doses = random.range(2, 4).to_string();
    let text = format!(
        "A patient of {kg} kg gets {drug}, {dose} mg per kg a day, in {doses} equal doses. How many \
         mg is one dose?"
    );
    (text, quantity(&[&kg, &dose], &[&doses], "mg"))
}

fn volume(random: &mut Random, drug: &str) -> (String, Quantity) {
    let ordered = (random.range(4, 120) * 5).to_string();
    let vial_mg = (*random.pick(&[50, 100, 250, 400, 500])).to_string();
    let vial_ml = (*random.pick(&[2, 5, 10, 20])).to_string();
    if random.chance(50) {
        let text = format!(
            "{ordered} mg of {drug} are ordered. A vial has {vial_mg} mg in {vial_ml} mL. How many \
             mL are given?"
        );
        return (text, quantity(&[&ordered, &vial_ml], &[&vial_mg], "mL"));
    }
    let (kg, dose) = (weight(random), decimal(random.range(5, 60)));
    let text = format!(
        "A patient of {kg} kg gets {dose} mg per kg of {drug}. A vial has {vial_mg} mg in {vial_ml} \
         mL. How many mL are given?"
    );
    (text, quantity(&[&kg, &dose, &vial_ml], &[&vial_mg], "mL"))
}

fn rate(random: &mut Random, drug: &str) -> (String, Quantity) {
    let ml = (*random.pick(&[50, 100, 250, 500, 750, 1000])).to_string();
    if random.chance(40) {
        let hours = random.range(2, 12).to_string();
        let text = format!(
            "{ml} mL with {drug} run in evenly over {hours} hours. What is the rate in mL/h?"
        );
        return (text, quantity(&[&ml], &[&hours], "mL/h"));
    }
    let minutes = (random.range(4, 30) * 5).to_string();
    let text = format!(
        "{ml} mL with {drug} run in evenly over {minutes} minutes. What is the rate in mL/h?"
    );
    (text, quantity(&[&ml, "60"], &[&minutes], "mL/h"))
}

fn infusion(random: &mut Random, drug: &str) -> (String, Quantity) {
    let (kg, dose) = (weight(random), decimal(random.range(5, 120)));
    let mg = (*random.pick(&[50, 100, 200, 250, 400])).to_string();
    let ml = (*random.pick(&[50, 100, 250, 500])).to_string();
    let text = format!(
        "A patient of {kg} kg gets {drug} at {dose} mcg per kg per minute. The bag has {mg} mg in \
         {ml} mL. What is the rate in mL/h?"
    );
    (text, quantity(&[&kg, &dose, "60", &ml], &["1000", &mg], "mL/h"))
}

#[cfg(test)]
mod tests {
    use recipes::{Recipe, item};

    use crate::Hospital;
    use crate::check::{Exact, REFUSAL};

    #[test]
    fn its_own_answers_are_right_and_others_refused() {
        let mut refused = 0;
        for index in 0..500 {
            let (_, draft) = item::<Hospital>(31, index);
            let score = |answer: &str| Hospital::judge(&draft.task, answer).unwrap().score;
            assert_eq!(score(&draft.gold), 1.0, "{} {}", draft.question, draft.gold);
            let number = |tenths: i64| {
                format!("ANSWER: {}.{} {}", tenths / 10, tenths % 10, draft.task.unit)
            };
            if draft.gold.contains(REFUSAL) {
                refused += 1;
                assert_eq!(score(&format!("ANSWER: {REFUSAL}")), 0.0);
                let exact = Exact::new(&draft.task).unwrap();
                assert_eq!(
                    score(&format!("ANSWER: {} {}", exact.value.to_integer(), draft.task.unit)),
                    0.0
                );
                for tenths in [0, 5, 100, 5000] {
                    assert_eq!(score(&number(tenths)), 0.0);
                }
            } else {
                assert_eq!(score(&format!("ANSWER: {REFUSAL}")), 0.0);
                let value = draft.gold.split(' ').nth(1).unwrap();
                assert!(draft.gold.ends_with(&format!("ANSWER: {value} {}", draft.task.unit)));
                let (whole, tenth) = value.split_once('.').unwrap();
                let tenths: i64 = format!("{whole}{tenth}").parse().unwrap();
                for other in [tenths + 2, tenths - 2, tenths * 10, tenths / 1000, tenths * 1000] {
                    assert_eq!(score(&number(other)), 0.0, "{} {other}", draft.gold);
                }
                assert_eq!(score(&format!("ANSWER: {value}")), 0.0);
            }
        }
        assert!((100..250).contains(&refused), "{refused}");
    }
}
