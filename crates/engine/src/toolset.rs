//! The tools of a conversation: how the model is told of them, and how its calls are kept to their
//! schemas.

use serde_json::Value;
use text::template::Message;
use text::tools::{self, Format, Tool, ToolChoice};

use crate::constraint::{Constraint, Grammar, Scope};
use crate::{Engine, Error, Request};

/// Tools that a model may, must or must not call.
#[derive(Clone, Debug)]
pub struct Toolset {
    tools: Vec<Tool>,
    choice: ToolChoice,
    format: Format,
}

impl Toolset {
    /// Tools for the model of `engine`, which calls them as its chat template says.
    pub fn new(engine: &Engine, tools: Vec<Tool>, choice: ToolChoice) -> Toolset {
        let format = Format::of_template(engine.template().source());
        Toolset { tools, choice, format }
    }

    /// What the chat template is to be given of the tools; nothing where it knows of none, and the
    /// messages tell of them instead.
    pub fn describe(&self, messages: &mut Vec<Message>) -> Option<Value> {
        let offered: &[Tool] = match self.choice {
            ToolChoice::None => &[],
            _ => &self.tools,
        };
        self.format.describe(offered, messages);
        let described = self.format.in_template() && !offered.is_empty();
        described.then(|| offered.iter().map(Tool::to_json).collect())
    }

    /// Has a request's calls follow their schemas; `parallel` allows several in one answer.
    ///
    /// # Errors
    /// [`Error::Tool`] if there is nothing to choose, [`Error::Grammar`] if a schema can't be
    /// followed.
    pub fn apply(
        &self,
        engine: &Engine,
        parallel: bool,
        request: &mut Request,
    ) -> Result<(), Error> {
        let must = matches!(self.choice, ToolChoice::Required | ToolChoice::Named(_));
        if !must && (self.tools.is_empty() || self.choice == ToolChoice::None) {
            // Without tools, what looks like a call is an answer.
            request.tags.tool_call = Default::default();
            return Ok(());
        }
        request.tags = self.format.tags(std::mem::take(&mut request.tags));
        request.tags.call_names = self.tools.iter().map(|tool| tool.name.clone()).collect();
        // What has to be JSON is an answer, and what has to be a call has tags.
        if (must || request.constraint.is_some()) && !request.tags.tool_call.1.is_empty() {
            request.tags.bare_json_calls = false;
        }
        request.one_call = !parallel;
        let tokenizer = engine.tokenizer();
        let is_special =
            |tag: &str| tokenizer.token_id(tag).is_some_and(|id| tokenizer.is_special(id));
        let compile = |lark: String| -> Result<Constraint, Error> {
            engine.constrain(&Grammar::Lark(lark), Scope::Answer)
        };
        // Where the model need not call, it is free until it does; without tags that can't be told.
        match tools::call_grammar(&self.tools, self.format, is_special) {
            Some(lark) if !must => request.call_constraint = Some(compile(lark)?),
            _ => {
                let (tools, choice) = (&self.tools, &self.choice);
                let lark = tools::grammar(tools, choice, parallel, self.format, is_special)?;
                request.constraint = Some(compile(lark)?);
            }
        }
        Ok(())
    }
}
