//! Strings on their way into a language model and out of it.
//!
//! - [`tokenizer`]: text to token ids and back, from a GGUF file's metadata or a
//!   `tokenizer.json`; one token at a time without ever showing half a character.
//! - [`template`]: messages to a prompt, as the model's own chat template writes it.
//! - [`splitter`]: generated text to reasoning, answer and tool calls while it streams in.
//! - [`tools`]: what a model may call, and the names and arguments of its calls.
//!
//! What goes in: vocabularies, templates, messages, pieces of generated text. What comes out:
//! token ids, prompts, and events. This crate must never know where a vocabulary was read from,
//! what a model computes, or who is listening: it depends on no other crate of the workspace.

#![forbid(unsafe_code)]

pub mod splitter;
pub mod template;
pub mod tokenizer;
pub mod tools;
