//! The rules, in words and in code.

use recipes::Unusable;
use recipes::clock::DAY;

use crate::{Account, Code, Payment, Risk, Triage};

/// All codes, in the order in which difficulty brings them in.
pub const ALL: [Code; 6] =
    [Code::OverLimit, Code::Foreign, Code::NewPayee, Code::Night, Code::Large, Code::Rapid];

/// A rule as the question states it.
pub fn stated(code: Code) -> &'static str {
    match code {
        Code::OverLimit => {
            "OVER_LIMIT: the payment and all earlier payments of the same day together are more \
             than the daily limit."
        }
        Code::Foreign => "FOREIGN: the payment's country is not the account's home country.",
        Code::NewPayee => "NEW_PAYEE: the payee is not in the history.",
        Code::Night => "NIGHT: the payment's time is from 00:00 to 05:59.",
        Code::Large => "LARGE: the payment is more than 3 times the average amount of the history.",
        Code::Rapid => {
            "RAPID: 3 or more payments of the history are at most 60 minutes before the payment."
        }
    }
}

/// What the rules say of a payment.
///
/// # Errors
/// The task's history isn't before its payment.
pub fn triage(account: &Account) -> Result<Triage, Unusable> {
    let payment = &account.payment;
    let now = minute(payment);
    if let Some(at) = account.history.iter().position(|earlier| minute(earlier) > now) {
        return Err(Unusable::new(format!("history[{at}]"), "it is later than the payment"));
    }
    let sum = |payments: &mut dyn Iterator<Item = &Payment>| -> u64 {
        payments.map(|payment| u64::from(payment.cents)).sum()
    };
    let today = sum(&mut account.history.iter().filter(|earlier| earlier.day == payment.day));
    let over = (today + u64::from(payment.cents)).saturating_sub(account.daily_limit_cents.into());
    let holds = |code: Code| match code {
        Code::OverLimit => over > 0,
        Code::Foreign => payment.country != account.home,
        Code::NewPayee => account.history.iter().all(|earlier| earlier.payee != payment.payee),
        Code::Night => payment.time.minutes() < 6 * 60,
        Code::Large => {
            let count = account.history.len() as u64;
            count > 0 && u64::from(payment.cents) * count > 3 * sum(&mut account.history.iter())
        }
        Code::Rapid => {
            account.history.iter().filter(|earlier| now - minute(earlier) <= 60).count() >= 3
        }
    };
    let mut reasons: Vec<Code> =
        account.rules.iter().copied().filter(|&code| holds(code)).collect();
    reasons.sort_unstable();
    reasons.dedup();
    let risk = match reasons.len() {
        0 => Risk::Low,
        1 => Risk::Medium,
        _ => Risk::High,
    };
    Ok(Triage { risk, reasons, amount_over_limit: over as f64 / 100.0 })
}

fn minute(payment: &Payment) -> u64 {
    u64::from(payment.day) * u64::from(DAY) + u64::from(payment.time.minutes())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn payment(day: u32, time: &str, cents: u32, payee: &str, country: &str) -> serde_json::Value {
        json!({"day": day, "time": time, "cents": cents, "payee": payee, "country": country})
    }

    fn triage_of(limit: u32, payment: serde_json::Value) -> Triage {
        let history = json!([
            self::payment(1, "10:00", 2000, "Baker", "DE"),
            self::payment(2, "09:30", 1000, "Baker", "DE"),
            self::payment(2, "09:50", 3000, "Cinema", "DE"),
            self::payment(2, "10:00", 2000, "Baker", "DE"),
        ]);
        let account = json!({
            "home": "DE", "daily_limit_cents": limit, "rules": ALL, "history": history,
            "payment": payment,
        });
        triage(&serde_json::from_value(account).unwrap()).unwrap()
    }

    #[test]
    fn each_rule_by_hand() {
        // 60.00 were spent on day 2; the average is 20.00.
        for (limit, payment, risk, reasons, over) in [
            (10_000, payment(2, "11:00", 4000, "Baker", "DE"), Risk::Low, vec![], 0.0),
            (
                9999,
                payment(2, "11:00", 4000, "Baker", "DE"),
                Risk::Medium,
                vec![Code::OverLimit],
                0.01,
            ),
            (
                10_000,
                payment(2, "11:00", 100, "Baker", "FR"),
                Risk::Medium,
                vec![Code::Foreign],
                0.0,
            ),
            (
                10_000,
                payment(2, "11:00", 100, "Bakery", "DE"),
                Risk::Medium,
                vec![Code::NewPayee],
                0.0,
            ),
            (
                10_000,
                payment(3, "05:59", 6000, "Baker", "DE"),
                Risk::Medium,
                vec![Code::Night],
                0.0,
            ),
            (
                10_000,
                payment(3, "06:00", 6001, "Baker", "DE"),
                Risk::Medium,
                vec![Code::Large],
                0.0,
            ),
            (10_000, payment(2, "10:30", 100, "Baker", "DE"), Risk::Medium, vec![Code::Rapid], 0.0),
            (10_000, payment(2, "10:31", 100, "Baker", "DE"), Risk::Low, vec![], 0.0),
            (
                5000,
                payment(3, "00:00", 12_050, "X", "US"),
                Risk::High,
                vec![Code::OverLimit, Code::Foreign, Code::NewPayee, Code::Night, Code::Large],
                70.5,
            ),
        ] {
            let shown = payment.to_string();
            let triage = triage_of(limit, payment);
            assert_eq!((triage.risk, triage.reasons), (risk, reasons), "{shown}");
            assert_eq!(triage.amount_over_limit, over, "{shown}");
        }
    }

    #[test]
    fn a_history_after_the_payment_is_an_error() {
        let account = json!({
            "home": "DE", "daily_limit_cents": 1, "rules": ALL,
            "history": [payment(2, "10:01", 1, "a", "DE")],
            "payment": payment(2, "10:00", 1, "a", "DE"),
        });
        let error = triage(&serde_json::from_value(account).unwrap()).unwrap_err();
        assert_eq!(error.field, "history[0]");
    }
}
