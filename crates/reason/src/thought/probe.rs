//! What would the model answer now? Asked on a branch of its text.

use verify::math::closing_brace;

use super::Words;
use super::writing::{Halt, Writing};
use crate::answer::Final;
use crate::mind::Mind;
use crate::{Error, Sampling};

/// Most tokens of a probe's answer.
const MOST: usize = 32;

/// Where an answer behind a lead ends, if it has.
pub(crate) type Over = fn(&str) -> Option<usize>;

/// How the answer behind `lead` ends: where the brace is closed that the lead has opened.
pub(crate) fn boxed(lead: &str) -> Option<Over> {
    lead.ends_with('{').then_some(closing as Over)
}

/// Behind an opening brace: the end of what closes it, or of the line.
fn closing(text: &str) -> Option<usize> {
    let line = text.find('\n');
    // With the brace put back, the place of what closes it is the end of it here.
    closing_brace(&format!("{{{}", &text[..line.unwrap_or(text.len())])).or(line)
}

/// What a probe found.
pub(crate) struct Probe {
    pub(crate) answer: Option<Final>,
    /// Of the answer, as a whole; 1 where the model doesn't tell.
    pub(crate) probability: f64,
    /// Tokens drawn for it.
    pub(crate) tokens: usize,
}

/// Asks what the answer would be, at temperature 0.
pub(crate) fn probe(
    mind: &Mind<'_>,
    writing: &Writing<'_>,
    words: &Words,
    seed: u64,
) -> Result<Probe, Error> {
    let mut branch = writing.clone();
    let (_, close) = branch.opening().tags.thinking.clone();
    let close = match branch.splitter().in_reasoning() {
        true => format!("\n{close}\n\n"),
        false => "\n\n".to_owned(),
    };
    branch.trim_end();
    branch.put(&format!("{close}{}", words.lead));
    let (from, drawn, asked) = (branch.text().len(), branch.drawn, branch.sure().len());
    let over = boxed(&words.lead).unwrap_or(|text| text.find('\n'));
    let greedy = Sampling { temperature: Some(0.0), ..Sampling::default() };
    let tells = mind.completer.tells_logprobs();
    branch.go_on(1..=MOST, &greedy, seed, tells, &mut |text, _| {
        if mind.is_cancelled() {
            return Some(Halt::Here);
        }
        over(&text[from..]).map(|end| Halt::After(from + end))
    })?;
    let logprob: f32 = branch.sure()[asked..].iter().map(|token| token.logprob).sum();
    Ok(Probe {
        answer: Final::find(&branch.text()[from - words.lead.len()..], mind.problem.kind),
        probability: f64::from(logprob).exp(),
        tokens: branch.drawn - drawn,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_are_counted() {
        let over = boxed("**Answer:** \\boxed{").unwrap();
        assert_eq!(over("18"), None);
        assert_eq!(over("18} apples"), Some(3));
        assert_eq!(over("\\frac{1}{2}}"), Some(12));
        assert_eq!(over("\\{1, 2\\}} ."), Some(9));
        assert_eq!(over("18\nand"), Some(2));
        assert!(boxed("The answer: ").is_none());
    }
}
