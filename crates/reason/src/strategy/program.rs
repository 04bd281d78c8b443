//! Thoughts that write programs and read their output.

use serde::{Deserialize, Serialize};

use super::{Outcome, Strategy, Vote};
use crate::mind::{Mind, Plan};
use crate::{Error, Prompt};

/// What is said behind the question.
const INSTRUCTION: &str = "Solve this with a Python program. Write the whole program in one \
    ```python block; it must print its result. Its output will be shown to you. Then put your final \
    answer within \\boxed{}.";

/// Program-aided reasoning (Gao et al. 2022, PAL): the model writes a program, which is run in the
/// sandbox as soon as its block is closed; it reads the output and goes on. With several thoughts,
/// their answers are voted on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Program {
    /// Thoughts, at most.
    pub n: usize,
    /// Programs that a thought may run.
    pub rounds: usize,
    /// As [`Vote::sure`].
    pub sure: Option<f64>,
}

impl Default for Program {
    fn default() -> Program {
        Program { n: 1, rounds: 3, sure: Some(0.9) }
    }
}

/// The same question, with something said behind it in place of what was said about the form of the
/// answer.
fn instructed(prompt: &Prompt, instruction: Option<&str>, say: &str) -> Prompt {
    let add = |text: &str| {
        let question = instruction.and_then(|old| text.strip_suffix(old)).unwrap_or(text);
        format!("{}\n\n{say}", question.trim_end())
    };
    match prompt {
        Prompt::Text(text) => Prompt::Text(add(text)),
        Prompt::Chat(messages) => {
            let mut messages = messages.clone();
            if let Some(last) = messages.iter_mut().rfind(|message| message.role == "user") {
                last.content = add(&last.content);
            }
            Prompt::Chat(messages)
        }
    }
}

impl Program {
    fn plan(&self, mind: &Mind<'_>) -> Plan {
        let mut plan = mind.plan();
        let old = mind.problem.instruction.as_deref();
        plan.ask.prompt = instructed(&plan.ask.prompt, old, INSTRUCTION);
        plan.manner.programs = self.rounds.max(1);
        plan
    }
}

impl Strategy for Program {
    fn name(&self) -> &'static str {
        "program"
    }

    fn reason(&self, mind: &Mind<'_>) -> Result<Outcome, Error> {
        let votes = Vote { n: self.n, sure: self.sure, ..Vote::default() };
        votes.cast(mind, &|| self.plan(mind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use text::template::Message;

    #[test]
    fn the_old_instruction_makes_room() {
        let chat = Prompt::Chat(vec![
            Message::new("system", "Be brief."),
            Message::new("user", "2 + 2?\n\nThink step by step."),
        ]);
        let Prompt::Chat(messages) = instructed(&chat, Some("Think step by step."), "Program it.")
        else {
            panic!()
        };
        assert_eq!(messages[1].content, "2 + 2?\n\nProgram it.");
        assert_eq!(messages[0].content, "Be brief.");
    }
}
