//! Stop strings in a stream: text is let through as soon as it can't be part of one.

/// Watches a stream for the first of several strings.
#[derive(Debug, Default)]
pub(crate) struct StopWatch {
    strings: Vec<String>,
    /// Text that may be the beginning of a stop string.
    held: String,
}

impl StopWatch {
    /// Empty strings never occur.
    pub(crate) fn new(strings: &[String]) -> StopWatch {
        let strings = strings.iter().filter(|s| !s.is_empty()).cloned().collect();
        StopWatch { strings, held: String::new() }
    }

    /// The text that is safe to pass on, and the stop string that has ended it, if one has.
    pub(crate) fn push(&mut self, text: &str) -> (String, Option<&str>) {
        self.held.push_str(text);
        let found = self
            .strings
            .iter()
            .filter_map(|stop| Some((self.held.find(stop.as_str())?, stop.as_str())))
            .min_by_key(|(at, _)| *at);
        if let Some((at, stop)) = found {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), Some(stop));
        }
        let safe = self.held.len() - self.longest_beginning();
        let rest = self.held.split_off(safe);
        (std::mem::replace(&mut self.held, rest), None)
    }

    /// What was held back when the text ends otherwise.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Length of the longest end of the held text that a stop string begins with.
    fn longest_beginning(&self) -> usize {
        let ends = self.held.char_indices().map(|(at, _)| &self.held[at..]);
        ends.filter(|end| self.strings.iter().any(|s| s.starts_with(end)))
            .map(str::len)
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_string_may_span_pieces() {
        let mut watch = StopWatch::new(&["STOP".to_owned(), "\n\n".to_owned()]);
        assert_eq!(watch.push("go S"), ("go ".to_owned(), None));
        assert_eq!(watch.push("T"), (String::new(), None));
        assert_eq!(watch.push("AY\n"), ("STAY".to_owned(), None));
        assert_eq!(watch.push("\nmore"), (String::new(), Some("\n\n")));
    }

    #[test]
    fn what_was_held_comes_out_at_the_end() {
        let mut watch = StopWatch::new(&["→→".to_owned(), String::new()]);
        assert_eq!(watch.push("a→"), ("a".to_owned(), None));
        assert_eq!(watch.finish(), "→");
    }
}
