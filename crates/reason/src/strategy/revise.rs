//! A draft, its flaws, a better one.

use serde::{Deserialize, Serialize};
use text::template::Message;

use super::{Outcome, Strategy};
use crate::answer::Final;
use crate::mind::{Mind, Plan};
use crate::thought::{End, Thought};
use crate::{Ask, Error, Prompt};

/// Doubt first: the model has to look for the flaw before it may confirm.
const DOUBT: &str = "There may be a mistake in the solution above. Look for it: go through the \
    solution step by step, do every calculation again, and check that the question asked is the one \
    that was answered. Name the first step that is wrong, and why. Only if all of it holds, end with \
    the words: NO MISTAKE";
/// What confirms.
const CONFIRMED: &str = "NO MISTAKE";
/// Then mend it.
const MEND: &str = "Now solve the problem again, with that mended. Put your final answer within \
    \\boxed{}.";

/// Draft, critique, revision (Madaan et al. 2023, Self-Refine), until the model, asked to doubt, finds
/// nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Revise {
    /// Revisions, at most.
    pub rounds: usize,
}

impl Default for Revise {
    fn default() -> Revise {
        Revise { rounds: 2 }
    }
}

impl Strategy for Revise {
    fn name(&self) -> &'static str {
        "revise"
    }

    fn reason(&self, mind: &Mind<'_>) -> Result<Outcome, Error> {
        let Prompt::Chat(question) = &mind.problem.prompt else {
            return Err(Error::Setting(
                "revise needs a conversation, not a text to go on with".to_owned(),
            ));
        };
        let mut talk = question.clone();
        let plan = |talk: &[Message], about: &str| Plan {
            ask: Ask { prompt: Prompt::Chat(talk.to_vec()), ..mind.ask() },
            about: about.to_owned(),
            ..mind.plan()
        };
        let draft = mind.think(plan(&talk, "draft"))?;
        let mut thoughts = vec![draft];
        let mut chosen = 0;
        let mut why = "no revision was made".to_owned();
        for round in 1..=self.rounds {
            let stands = &thoughts[chosen];
            // A wrong answer is not improved by one that never came.
            if matches!(stands.end, End::Cancelled) || mind.is_cancelled() || mind.is_late() {
                break;
            }
            talk.truncate(question.len());
            talk.push(Message::new("assistant", said(stands)));
            talk.push(Message::new("user", DOUBT));
            let doubt = mind.think(plan(&talk, "doubt"))?;
            let confirmed = doubt.content.contains(CONFIRMED);
            let finding = said(&doubt);
            thoughts.push(doubt);
            if confirmed {
                why = format!("confirmed when doubted, in round {round}");
                break;
            }
            if mind.is_cancelled() || mind.is_late() {
                break;
            }
            talk.push(Message::new("assistant", finding));
            talk.push(Message::new("user", MEND));
            let revision = mind.think(plan(&talk, "revision"))?;
            let found = revision.answer.is_some();
            thoughts.push(revision);
            if found {
                let same = same(mind, &thoughts[chosen], &thoughts[thoughts.len() - 1]);
                chosen = thoughts.len() - 1;
                why = format!("revised {round} times");
                if same {
                    why = format!("the same after revision {round}");
                    break;
                }
            }
        }
        Ok(Outcome { thoughts, chosen: Some(chosen), why, ..Outcome::default() })
    }
}

fn said(thought: &Thought) -> String {
    match thought.content.trim() {
        "" => thought.reasoning.clone(),
        said => said.to_owned(),
    }
}

fn same(mind: &Mind<'_>, a: &Thought, b: &Thought) -> bool {
    let find = |thought: &Thought| Final::find(&thought.content, mind.problem.kind);
    matches!((find(a), find(b)), (Some(a), Some(b)) if a.same(&b))
}
