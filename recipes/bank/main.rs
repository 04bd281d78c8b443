//! `bank`: how risky a payment is, and why.
#![forbid(unsafe_code)]

mod accounts;
mod rules;

use std::process::ExitCode;

use recipes::{Draft, Recipe, Unusable, answer, clock::Clock};
use serde::{Deserialize, Serialize};
use verify::Verdict;
use verify::tasks::random::Random;

/// A payment. Amounts are in cents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payment {
    day: u32,
    time: Clock,
    cents: u32,
    payee: String,
    country: String,
}

/// An account, what happened on it, and the payment that is judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    home: String,
    daily_limit_cents: u32,
    /// The rules that hold.
    rules: Vec<Code>,
    history: Vec<Payment>,
    payment: Payment,
}

/// A reason, and the rule behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Code {
    OverLimit,
    Foreign,
    NewPayee,
    Night,
    Large,
    Rapid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Risk {
    Low,
    Medium,
    High,
}

/// What a model answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Triage {
    risk: Risk,
    reasons: Vec<Code>,
    amount_over_limit: f64,
}

struct Bank;

impl Recipe for Bank {
    const NAME: &'static str = "bank";
    const ABOUT: &'static str = "Payments, how risky they are by stated rules, and why";
    type Task = Account;

    fn make(random: &mut Random, difficulty: u32) -> Draft<Account> {
        accounts::make(random, difficulty)
    }

    fn judge(task: &Account, text: &str) -> Result<Verdict, Unusable> {
        let right = rules::triage(task)?;
        let (mut said, shown) = match answer::read::<Triage>(text) {
            Ok(read) => read,
            Err(verdict) => return Ok(verdict),
        };
        said.reasons.sort_unstable();
        let wrong = if said.reasons != right.reasons {
            format!("the reasons are {:?}", names(&right.reasons))
        } else if said.risk != right.risk {
            format!("the risk is {}", serde_json::json!(right.risk))
        } else if (said.amount_over_limit - right.amount_over_limit).abs() > 1e-4 {
            format!("the amount over the limit is {:.2}", right.amount_over_limit)
        } else {
            return Ok(Verdict::right(shown, "risk, reasons and amount are right"));
        };
        Ok(Verdict::wrong(shown, wrong))
    }
}

fn names(codes: &[Code]) -> Vec<String> {
    codes.iter().map(|code| serde_json::json!(code).as_str().unwrap_or_default().into()).collect()
}

fn main() -> ExitCode {
    recipes::main::<Bank>()
}

#[cfg(test)]
mod tests {
    use recipes::item;

    use super::*;

    #[test]
    fn its_own_answers_are_right_and_changed_ones_wrong() {
        for index in 0..500 {
            let (_, draft) = item::<Bank>(21, index);
            let score = |answer: &str| Bank::judge(&draft.task, answer).unwrap().score;
            assert_eq!(score(&draft.gold), 1.0, "{}\n{}", draft.question, draft.gold);
            assert_eq!(score(&format!("Here:\n```json\n{}\n```", draft.gold)), 1.0);
            let triage: Triage = serde_json::from_str(&draft.gold).unwrap();
            let mut others = Vec::new();
            for risk in [Risk::Low, Risk::Medium, Risk::High] {
                if risk != triage.risk {
                    others.push(Triage { risk, ..triage.clone() });
                }
            }
            for more in [-0.01, 0.01, 100.0] {
                let amount_over_limit = triage.amount_over_limit + more;
                others.push(Triage { amount_over_limit, ..triage.clone() });
            }
            for code in rules::ALL {
                let mut reasons = triage.reasons.clone();
                match reasons.iter().position(|c| *c == code) {
                    Some(at) => drop(reasons.remove(at)),
                    None => reasons.push(code),
                }
                others.push(Triage { reasons, ..triage.clone() });
            }
            for other in others {
                let text = serde_json::to_string(&other).unwrap();
                assert_eq!(score(&text), 0.0, "{text}\n{}", draft.gold);
            }
        }
    }

    #[test]
    fn the_order_of_reasons_does_not_matter_and_repetition_does() {
        let (_, draft) = (0..)
            .map(|index| item::<Bank>(22, index))
            .find(|(_, draft)| rules::triage(&draft.task).unwrap().reasons.len() == 3)
            .unwrap();
        let mut triage: Triage = serde_json::from_str(&draft.gold).unwrap();
        triage.reasons.reverse();
        let score = |t: &Triage| {
            Bank::judge(&draft.task, &serde_json::to_string(t).unwrap()).unwrap().score
        };
        assert_eq!(score(&triage), 1.0);
        triage.reasons.push(triage.reasons[0]);
        assert_eq!(score(&triage), 0.0);
    }

    #[test]
    fn what_is_no_triage_is_wrong() {
        let (_, draft) = item::<Bank>(23, 3);
        for answer in [
            "",
            "The risk is high.",
            "{}",
            r#"{"risk": "high"}"#,
            r#"{"risk": "HIGH", "reasons": [], "amount_over_limit": 0}"#,
            r#"{"risk": "low", "reasons": ["BAD"], "amount_over_limit": 0}"#,
            r#"{"risk": "low", "reasons": [], "amount_over_limit": "0"}"#,
            r#"{"risk": "low", "reasons": [], "amount_over_limit": 1e308}"#,
        ] {
            assert_eq!(Bank::judge(&draft.task, answer).unwrap().score, 0.0, "{answer}");
        }
    }
}
