//! Days of the week and days between dates, in the Gregorian calendar.

use super::Draft;
use super::random::Random;

const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Date {
    fn is_leap(year: i64) -> bool {
        year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    }

    fn days_in(year: i64, month: i64) -> i64 {
        match month {
            2 => 28 + i64::from(Self::is_leap(year)),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    /// Days since 1 January of the year 1.
    fn ordinal(self) -> i64 {
        let before = self.year - 1;
        let months: i64 = (1..self.month).map(|month| Self::days_in(self.year, month)).sum();
        before * 365 + before / 4 - before / 100 + before / 400 + months + self.day - 1
    }

    fn random(random: &mut Random, from: i64, to: i64) -> Self {
        let (year, month) = (random.range(from, to), random.range(1, 12));
        Self { year, month, day: random.range(1, Self::days_in(year, month)) }
    }

    fn plus(self, days: i64) -> Self {
        let mut date = self;
        date.day += days;
        loop {
            let length = Self::days_in(date.year, date.month);
            if date.day <= length {
                return date;
            }
            date.day -= length;
            date.month += 1;
            if date.month > 12 {
                (date.year, date.month) = (date.year + 1, 1);
            }
        }
    }

    fn weekday(self) -> &'static str {
        // 1 January of the year 1 was a Monday.
        WEEKDAYS[(self.ordinal() % 7) as usize]
    }

    fn written(self) -> String {
        format!("{} {} {}", self.day, MONTHS[(self.month - 1) as usize], self.year)
    }

    fn iso(self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

pub(super) fn question(random: &mut Random, difficulty: u32) -> Draft {
    let d = i64::from(difficulty);
    let date = Date::random(random, 2020 - 12 * (d - 1), 2025 + 3 * (d - 1));
    let days = random.range(5, 20 + 60 * (d - 1) * (d - 1));
    let later = date.plus(days);
    match random.below(4) {
        0 if difficulty > 1 => Draft::text(
            format!("Which day of the week is {}? Answer with its name.", date.written()),
            date.weekday().to_owned(),
        ),
        0 | 1 => Draft::text(
            format!(
                "{} is a {}. Which day of the week is {}? Answer with its name.",
                date.written(),
                date.weekday(),
                later.written()
            ),
            later.weekday().to_owned(),
        ),
        2 => Draft::number(
            format!(
                "How many days after {} is {}? Answer with a whole number.",
                date.written(),
                later.written()
            ),
            days,
        ),
        _ => Draft::text(
            format!(
                "Which date is {days} days after {}? Answer in the form YYYY-MM-DD.",
                date.written()
            ),
            later.iso(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days() {
        let date = |year, month, day| Date { year, month, day };
        assert_eq!(date(1970, 1, 1).weekday(), "Thursday");
        assert_eq!(date(2000, 2, 29).weekday(), "Tuesday");
        assert_eq!(date(2024, 12, 25).weekday(), "Wednesday");
        assert_eq!(date(1999, 12, 31).plus(1), date(2000, 1, 1));
        assert_eq!(date(2023, 2, 28).plus(1), date(2023, 3, 1));
        assert_eq!(date(1970, 1, 1).ordinal(), 719_162);
    }

    #[test]
    fn adding_days_agrees_with_counting_them() {
        let mut random = Random::new(&[3]);
        for _ in 0..500 {
            let date = Date::random(&mut random, 1890, 2060);
            let days = random.range(0, 5000);
            assert_eq!(date.plus(days).ordinal() - date.ordinal(), days);
        }
    }
}
