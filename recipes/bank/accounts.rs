//! Accounts, from chance.

use recipes::Draft;
use recipes::clock::{Clock, DAY};
use verify::tasks::random::Random;

use crate::{Account, Payment, rules};

const PAYEES: &[&str] = &[
    "Corner Bakery",
    "City Cinema",
    "Green Grocer",
    "Rail Tickets",
    "Book Nook",
    "Gas and Power",
    "Phone Plus",
    "Garden World",
    "Shoe Stop",
    "Toy Box",
    "Fresh Fish",
    "Bike Repair",
];
const COUNTRIES: &[&str] = &["DE", "FR", "IT", "ES", "US", "JP", "BR"];

pub fn make(random: &mut Random, difficulty: u32) -> Draft<Account> {
    let home = (*random.pick(COUNTRIES)).to_owned();
    let known = random.sample(PAYEES, 3 + difficulty as usize / 2);
    let night = random.chance(25);
    let minutes = if night { random.range(30, 359) } else { random.range(420, 1430) };
    let now = 20 * i64::from(DAY) + minutes;

    // When the earlier payments were: the last hour, today, the days before.
    let mut times = Vec::new();
    let in_last_hour = if random.chance(35) { 3 } else { random.range(0, 1) };
    for _ in 0..in_last_hour {
        times.push(now - random.range(2, 59));
    }
    for _ in 0..2 + difficulty {
        let farthest = if random.chance(50) { minutes.max(70) } else { 2 * i64::from(DAY) };
        times.push(now - random.range(61, farthest));
    }
    times.sort_unstable();
    let history: Vec<Payment> = times
        .into_iter()
        .map(|time| {
            let cents = amount(random, 500, 9000, difficulty);
            let payee = *random.pick(&known);
            let country = if random.chance(85) { home.as_str() } else { *random.pick(COUNTRIES) };
            payment(time, cents, payee, country)
        })
        .collect();

    let average = history.iter().map(|p| i64::from(p.cents)).sum::<i64>() / history.len() as i64;
    let share = if random.chance(30) { random.range(330, 600) } else { random.range(30, 270) };
    let cents = amount(random, average * share / 100, average * share / 100 + 300, difficulty);
    let foreign = random.chance(30);
    let country = loop {
        let country = *random.pick(COUNTRIES);
        if foreign != (country == home) {
            break country;
        }
    };
    let payee = match random.chance(35) {
        false => history[random.below(history.len() as u64) as usize].payee.clone(),
        true => PAYEES.iter().find(|p| !known.contains(p)).map_or_else(String::new, |&p| p.into()),
    };
    let payment = payment(now, cents, &payee, country);

    let today = history.iter().filter(|p| p.day == payment.day).map(|p| i64::from(p.cents));
    let spent = today.sum::<i64>() + i64::from(payment.cents);
    // The limit is a round sum, below or above what is spent.
    let daily_limit_cents = match random.chance(40) {
        true => (spent * random.range(55, 95) / 100 / 1000).max(1) * 1000,
        false => (spent * random.range(103, 160) / 100 / 1000 + 1) * 1000,
    } as u32;
    let rules = rules::ALL[..(difficulty as usize + 1).min(rules::ALL.len())].to_vec();
    let account = Account { home, daily_limit_cents, rules, history, payment };
    let gold = rules::triage(&account)
        .ok()
        .and_then(|triage| serde_json::to_string(&triage).ok())
        .unwrap_or_default();
    Draft { question: question(&account), task: account, gold }
}

/// Whole euros where it is easy.
fn amount(random: &mut Random, low: i64, high: i64, difficulty: u32) -> u32 {
    let cents = random.range(low, high).max(100);
    (if difficulty < 3 { cents / 100 * 100 } else { cents }) as u32
}

fn payment(time: i64, cents: u32, payee: &str, country: &str) -> Payment {
    let time = time as u32;
    Payment {
        day: time / DAY,
        time: Clock::new(time % DAY),
        cents,
        payee: payee.to_owned(),
        country: country.to_owned(),
    }
}

fn question(account: &Account) -> String {
    let euros = |cents: u32| format!("{}.{:02}", cents / 100, cents % 100);
    let line = |p: &Payment| {
        format!("day {} {} | {} EUR | {} | {}", p.day, p.time, euros(p.cents), p.payee, p.country)
    };
    let history: Vec<String> = account.history.iter().map(line).collect();
    let rules: Vec<&str> = account.rules.iter().map(|&code| rules::stated(code)).collect();
    format!(
        "Reasons:\n{}\nThe risk is low without a reason, medium with one, high with two or more.\n\n\
         Account: home country {}, daily limit {} EUR.\nHistory:\n{}\nPayment to judge:\n{}",
        rules.join("\n"),
        account.home,
        euros(account.daily_limit_cents),
        history.join("\n"),
        line(&account.payment)
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use recipes::item;

    use crate::{Bank, rules};

    #[test]
    fn all_risks_and_reasons_come_up() {
        let mut seen: HashMap<String, u32> = HashMap::new();
        for index in 0..500 {
            let triage = rules::triage(&item::<Bank>(24, index).1.task).unwrap();
            *seen.entry(format!("{:?}", triage.risk)).or_default() += 1;
            for code in triage.reasons {
                *seen.entry(format!("{code:?}")).or_default() += 1;
            }
        }
        assert_eq!(seen.len(), 9, "{seen:?}");
        assert!(seen.values().all(|&n| n > 15), "{seen:?}");
    }
}
