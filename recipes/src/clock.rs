//! Times of day, in minutes since midnight.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Minutes of a day.
pub const DAY: u32 = 24 * 60;

/// A time of day, written `07:05`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Clock(u32);

impl Clock {
    /// So many minutes after midnight, of whatever day.
    pub fn new(minutes: u32) -> Self {
        Self(minutes % DAY)
    }

    /// Minutes since midnight, below [`DAY`].
    pub fn minutes(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl FromStr for Clock {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = |text: &str| {
            let fits = matches!(text.len(), 1 | 2) && text.bytes().all(|b| b.is_ascii_digit());
            fits.then(|| text.parse::<u32>().ok()).flatten()
        };
        let parts = text.trim().split_once(':').and_then(|(hours, minutes)| {
            let hours = digits(hours).filter(|&hours| hours < 24)?;
            let minutes = digits(minutes).filter(|&m| minutes.len() == 2 && m < 60)?;
            Some(hours * 60 + minutes)
        });
        let shown = crate::answer::shown(text);
        parts.map(Self).ok_or_else(|| format!("{shown:?} is no time of day, as in \"07:05\""))
    }
}

impl Serialize for Clock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Clock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for (text, minutes) in [("00:00", 0), ("7:05", 425), (" 23:59 ", 1439)] {
            assert_eq!(text.parse::<Clock>().unwrap().minutes(), minutes);
        }
        for text in ["", "24:00", "12:60", "1:5", "-1:00", "12:000", "noon", "٣:00", "é:00"] {
            assert!(text.parse::<Clock>().is_err(), "{text}");
        }
        assert_eq!(Clock::new(DAY + 65).to_string(), "01:05");
    }
}
