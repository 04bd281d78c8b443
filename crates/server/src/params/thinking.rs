//! Fields that say whether and how long to think. Every API has its own; all are understood.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::ApiError;

/// Tokens of thinking that an effort stands for; `high` thinks for as long as it takes.
const EFFORTS: &[(&str, Option<usize>)] = &[
    ("none", Some(0)),
    ("minimal", Some(256)),
    ("low", Some(1024)),
    ("medium", Some(4096)),
    ("high", None),
    ("xhigh", None),
    ("max", None),
    ("auto", None),
];

#[derive(Debug, Deserialize)]
pub(crate) struct ThinkingFields {
    /// OpenAI.
    reasoning_effort: Option<String>,
    /// OpenRouter, and OpenAI's responses.
    reasoning: Option<Reasoning>,
    /// Qwen.
    thinking_budget: Option<i64>,
    enable_thinking: Option<bool>,
    /// vLLM.
    thinking_token_budget: Option<i64>,
    include_reasoning: Option<bool>,
    /// llama-server; below 0: no limit.
    reasoning_budget: Option<i64>,
    /// SGLang, vLLM, llama-server.
    #[serde(default)]
    chat_template_kwargs: Option<Map<String, Value>>,
    reasoning_format: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Reasoning {
    effort: Option<String>,
    max_tokens: Option<i64>,
    enabled: Option<bool>,
    exclude: Option<bool>,
}

/// Where the thinking goes in a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReasoningFormat {
    /// Into fields of its own, `reasoning_content` and `reasoning`.
    #[default]
    Separate,
    /// Into the content, between its tags.
    Inline,
    /// Nowhere.
    Hidden,
}

impl std::str::FromStr for ReasoningFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<ReasoningFormat, String> {
        match text {
            "separate" | "deepseek" | "auto" | "deepseek-legacy" => Ok(ReasoningFormat::Separate),
            "inline" | "none" => Ok(ReasoningFormat::Inline),
            "hidden" => Ok(ReasoningFormat::Hidden),
            _ => Err(format!(
                "`{text}` is no reasoning format; give `separate` (also `deepseek`, `auto`), \
                 `inline` (also `none`) or `hidden`"
            )),
        }
    }
}

/// What is made of it all.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Thinking {
    /// Most tokens to think for; 0 means not at all.
    pub(crate) budget: Option<usize>,
    /// Variables for the chat template.
    pub(crate) template: Map<String, Value>,
    pub(crate) format: Option<ReasoningFormat>,
}

impl ThinkingFields {
    /// The most particular field wins: a budget in tokens over an effort. `usual` is the budget
    /// where nothing is said.
    pub(crate) fn resolve(self, usual: Option<usize>) -> Result<Thinking, ApiError> {
        let mut thinking = Thinking::default();
        let mut enabled = self.enable_thinking;
        let mut budget = None;
        let mut effort = |name: &str, param: &str| {
            let known = EFFORTS.iter().find(|(effort, _)| *effort == name);
            let Some((_, tokens)) = known else {
                let names: Vec<&str> = EFFORTS.iter().map(|(name, _)| *name).collect();
                let message =
                    format!("{param} is `{name}`, but must be one of {}", names.join(", "));
                return Err(ApiError::param(param, message));
            };
            budget = *tokens;
            Ok(())
        };
        if let Some(name) = &self.reasoning_effort {
            effort(name, "reasoning_effort")?;
        }
        if let Some(name) = self.reasoning.as_ref().and_then(|r| r.effort.as_deref()) {
            effort(name, "reasoning.effort")?;
        }
        let reasoning = self.reasoning.as_ref();
        let given = [
            reasoning.and_then(|r| r.max_tokens),
            self.thinking_budget,
            self.thinking_token_budget,
            self.reasoning_budget,
        ];
        if let Some(tokens) = given.into_iter().flatten().last() {
            budget = usize::try_from(tokens).ok();
        }
        enabled = reasoning.and_then(|r| r.enabled).or(enabled);
        if let Some(extra) = self.chat_template_kwargs {
            enabled = extra.get("enable_thinking").and_then(Value::as_bool).or(enabled);
            thinking.template = extra;
        }
        if enabled == Some(false) {
            budget = Some(0);
        }
        thinking.budget = budget.or(usual);
        // Understood by the templates of models that can do without.
        let wanted = thinking.budget != Some(0);
        thinking.template.insert("enable_thinking".to_owned(), wanted.into());
        if let Some(name) = &self.reasoning_format {
            let format =
                name.parse().map_err(|error: String| ApiError::param("reasoning_format", error))?;
            thinking.format = Some(format);
        }
        let hidden = reasoning.and_then(|r| r.exclude).unwrap_or(false)
            || self.include_reasoning == Some(false);
        if hidden {
            thinking.format = Some(ReasoningFormat::Hidden);
        }
        Ok(thinking)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resolve(value: Value) -> Result<Thinking, ApiError> {
        crate::body::read::<ThinkingFields>(&value)?.resolve(None)
    }

    #[test]
    fn every_dialect_sets_a_budget() {
        for (value, budget) in [
            (json!({}), None),
            (json!({"reasoning_effort": "low"}), Some(1024)),
            (json!({"reasoning_effort": "high"}), None),
            (json!({"reasoning": {"effort": "medium"}}), Some(4096)),
            (json!({"reasoning": {"max_tokens": 99}}), Some(99)),
            (json!({"thinking_budget": 5, "reasoning_effort": "low"}), Some(5)),
            (json!({"thinking_token_budget": 7}), Some(7)),
            (json!({"reasoning_budget": -1}), None),
            (json!({"chat_template_kwargs": {"enable_thinking": false}}), Some(0)),
            (json!({"enable_thinking": false}), Some(0)),
            (json!({"reasoning": {"enabled": false}}), Some(0)),
            (json!({"reasoning": {"effort": null}, "thinking_budget": null}), None),
        ] {
            assert_eq!(resolve(value.clone()).unwrap().budget, budget, "{value}");
        }
    }

    #[test]
    fn no_thinking_is_told_to_the_template() {
        let thinking = resolve(json!({"thinking_budget": 0})).unwrap();
        assert_eq!(thinking.template["enable_thinking"], json!(false));
        let thinking =
            resolve(json!({"chat_template_kwargs": {"a": 1, "enable_thinking": true}})).unwrap();
        assert_eq!((thinking.template.len(), thinking.budget), (2, None));
        let fields: ThinkingFields = crate::body::read(&json!({})).unwrap();
        assert_eq!(fields.resolve(Some(0)).unwrap().template["enable_thinking"], json!(false));
    }

    #[test]
    fn a_wrong_value_is_named() {
        let error = resolve(json!({"reasoning_effort": "enormous"})).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("reasoning_effort"));
        let error = resolve(json!({"reasoning": {"effort": 3}})).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("reasoning.effort"));
        let error = resolve(json!({"reasoning_format": "x"})).unwrap_err();
        assert!(error.message.contains("separate"), "{}", error.message);
    }
}
