//! The engine: a loaded model and its text side.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use kernels::Pool;
use model::{AdapterUse, Config, Model, RopeScalingRequest};
use text::splitter::{Start, Tags};
use text::template::{ChatTemplate, Message, Render, drop_thinking};
use text::tokenizer::{Special, Tokenizer};
use weights::Checkpoint;

use crate::adapters::{Adapters, Lora};
use crate::constraint::{Compiler, Constraint, Grammar, Scope};
use crate::memory::WeightMemory;
use crate::sampler::Sampling;
use crate::speech::Speech;
use crate::{Error, Request};

/// How a model is loaded.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadOptions {
    /// Threads that compute; all cores this process may use if none.
    pub threads: Option<usize>,
    /// Positions the context holds; what the model was made for if none.
    pub ctx: Option<usize>,
    /// Overrides what the file says about stretching positions.
    pub rope_scaling: Option<RopeScalingRequest>,
    /// Memory that weights may take.
    pub weights: WeightMemory,
}

/// Where a conversation's prompt ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// Where the assistant begins a new answer.
    #[default]
    Answer,
    /// After the last message.
    After,
    /// Within the last message, which goes on.
    Within,
}

/// A loaded model and its text side. It never changes, and is shared by all who use it; what is
/// under way lives in a [`Scheduler`](crate::Scheduler).
pub struct Engine {
    model: Model,
    tokenizer: Arc<Tokenizer>,
    template: ChatTemplate,
    has_template: bool,
    defaults: Sampling,
    name: String,
    path: PathBuf,
    /// Worked out when it is first asked for.
    fingerprint: OnceLock<String>,
    context: usize,
    pub(crate) adapters: Adapters,
    /// What is added to the matrices where a request says nothing of it.
    adapter: Option<Lora>,
    /// Made when the first grammar comes.
    compiler: OnceLock<Result<Compiler, String>>,
}

impl Engine {
    /// Opens a GGUF file or a directory of safetensors and makes it ready to run. The tokenizer is
    /// built while the weights are being repacked.
    ///
    /// # Errors
    /// The file is damaged or of a kind that isn't supported; the message names file and field.
    pub fn load(path: &Path, options: &LoadOptions) -> Result<Engine, Error> {
        if let Some(context) = options.ctx
            && context < 2
        {
            return Err(Error::Context(context));
        }
        let checkpoint = Arc::new(Checkpoint::open(path)?);
        let threads = options.threads.unwrap_or_else(Pool::cores);
        let mut config = Config::read(&checkpoint)?;
        let fitting = options.ctx.and_then(|ctx| config.stretch_to(ctx));
        if let Some(request) = options.rope_scaling.or(fitting) {
            config.stretch(request)?;
        }
        let room = options.weights.room(&config, options.ctx);
        let (speech, model) = std::thread::scope(|scope| {
            let speech = scope.spawn(|| Speech::read(&checkpoint));
            let pool = Pool::new(threads);
            let model = Model::load_within(Arc::clone(&checkpoint), pool, config, room);
            let speech = speech.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (speech, model)
        });
        // A file of another architecture is no model at all, whatever its tokenizer.
        let (model, speech) = (model?, speech?);
        let context = options.ctx.unwrap_or(model.config().context_length);
        Ok(Engine {
            model,
            tokenizer: Arc::new(speech.tokenizer),
            template: speech.template,
            has_template: speech.has_template,
            defaults: speech.defaults,
            name: speech.name,
            path: path.to_owned(),
            fingerprint: OnceLock::new(),
            context,
            adapters: Adapters::default(),
            adapter: None,
            compiler: OnceLock::new(),
        })
    }

    /// Whether a request's text is read as one that is longer than the model was made for: its prompt is, or an
    /// answer of some length would be. (Others are read again once they have become so long.)
    pub(crate) fn scales(&self, request: &Request) -> bool {
        let Some(most) = self.model.config().rope.unscaled_to else { return false };
        let soon = request.max_tokens.unwrap_or(usize::MAX).min(most / 8);
        self.model.scales((request.prompt.len() + soon).min(self.context))
    }

    /// The transformer.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Adds an adapter to the model for everything that doesn't name another.
    pub fn adapt(&mut self, adapter: Lora) {
        self.adapter = Some(adapter);
    }

    /// What is added to the matrices where nothing else is asked for.
    pub(crate) fn adapter_in_use(&self) -> Option<AdapterUse<'_>> {
        self.adapter.as_ref().map(Lora::in_use)
    }

    /// Text to tokens and back.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// Conversations to prompts.
    pub fn template(&self) -> &ChatTemplate {
        &self.template
    }

    /// Whether the file brought a chat template; otherwise ChatML is assumed.
    pub fn has_template(&self) -> bool {
        self.has_template
    }

    /// Sampling as the file recommends it; neutral where it says nothing.
    pub fn defaults(&self) -> &Sampling {
        &self.defaults
    }

    /// The model's name, from its metadata.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What tells this model's keys and values from any other's: its weights (see
    /// [`Checkpoint::fingerprint`]) and its settings, how it turns positions among them.
    ///
    /// # Errors
    /// The file it was loaded from can't be read any more.
    pub fn fingerprint(&self) -> Result<&str, Error> {
        if let Some(known) = self.fingerprint.get() {
            return Ok(known);
        }
        let weights = Checkpoint::open(&self.path)?.fingerprint();
        let mut config = self.model.config().clone();
        // How long other texts may get, and how these are stretched then, changes nothing of the ones that are kept.
        config.context_length = 0;
        if let Some(rope) = config.rope.unscaled() {
            config.rope = rope;
        }
        Ok(self.fingerprint.get_or_init(|| format!("{weights} {config:?}")))
    }

    /// Positions the context holds.
    pub fn context_length(&self) -> usize {
        self.context
    }

    /// Whether the chat template knows of thinking.
    pub fn thinks(&self) -> bool {
        self.template.thinking_tags().is_some()
    }

    /// A request that continues a conversation. Thinking of earlier turns is left out, as these
    /// models were trained.
    ///
    /// # Errors
    /// The template refuses the conversation.
    pub fn chat(
        &self,
        messages: &[Message],
        tools: Option<&serde_json::Value>,
        extra: serde_json::Map<String, serde_json::Value>,
    ) -> Result<Request, Error> {
        self.chat_ending(messages, tools, extra, Ending::Answer)
    }

    /// The same, with a prompt that ends elsewhere than before a new answer.
    ///
    /// # Errors
    /// The template refuses the conversation.
    pub fn chat_ending(
        &self,
        messages: &[Message],
        tools: Option<&serde_json::Value>,
        extra: serde_json::Map<String, serde_json::Value>,
        ending: Ending,
    ) -> Result<Request, Error> {
        let prompt = self.render(messages, tools, extra, ending)?;
        let tags = self.tags();
        Ok(Request {
            start: self.template.start_after(&prompt),
            thinking_close: format!("\n{}\n\n", tags.thinking.1),
            tags,
            prompt: self.encode_prompt(&prompt, Special::Parse),
            sampling: self.defaults.clone(),
            adapter: self.adapter.clone(),
            ..Request::default()
        })
    }

    /// The tags that set off thinking, answers and tool calls.
    pub fn tags(&self) -> Tags {
        let mut tags = Tags::default();
        if let Some((open, close)) = self.template.thinking_tags() {
            tags.thinking = (open.to_owned(), close.to_owned());
        }
        if let Some((open, close)) = self.template.answer_tags() {
            tags.answer = (open.to_owned(), close.to_owned());
        }
        tags
    }

    /// The prompt of a conversation, as text.
    ///
    /// # Errors
    /// The template refuses the conversation.
    pub fn render(
        &self,
        messages: &[Message],
        tools: Option<&serde_json::Value>,
        extra: serde_json::Map<String, serde_json::Value>,
        ending: Ending,
    ) -> Result<String, Error> {
        let tags = self.tags();
        let mut messages = messages.to_vec();
        drop_thinking(&mut messages, &tags.thinking.0, &tags.thinking.1);
        let conversation = Render {
            messages: &messages,
            tools,
            add_generation_prompt: ending == Ending::Answer,
            extra,
            ..Render::default()
        };
        let mut prompt = self.template.render(&conversation)?;
        if let (Ending::Within, Some(last)) = (ending, messages.last()) {
            // Templates put an end behind every message; it goes, as in `transformers`.
            let said = last.content.trim();
            if let Some(at) = prompt.rfind(said) {
                prompt.truncate(at + said.len());
            }
        }
        Ok(prompt)
    }

    /// A request that continues plain text, without a template.
    pub fn continuation(&self, prompt: &str) -> Request {
        Request {
            start: Start::After,
            prompt: self.encode_prompt(prompt, Special::Plain),
            sampling: self.defaults.clone(),
            adapter: self.adapter.clone(),
            ..Request::default()
        }
    }

    /// Tokens of a prompt, with the token every text of this model begins with, if there is one.
    pub fn encode_prompt(&self, prompt: &str, special: Special) -> Vec<u32> {
        let mut tokens = self.tokenizer.encode(prompt, special);
        if let Some(bos) = self.tokenizer.bos()
            && self.tokenizer.add_bos()
            && tokens.first() != Some(&bos)
        {
            tokens.insert(0, bos);
        }
        tokens
    }

    /// Compiles a grammar for this model's vocabulary.
    ///
    /// # Errors
    /// The grammar can't be understood; the message says where.
    pub fn constrain(&self, grammar: &Grammar, scope: Scope) -> Result<Constraint, Error> {
        let compiler = self.compiler.get_or_init(|| {
            Compiler::new(&self.tokenizer, self.drawable()).map_err(|error| error.to_string())
        });
        match compiler {
            Ok(compiler) => compiler.compile(grammar, scope),
            Err(problem) => Err(Error::Grammar(problem.clone())),
        }
    }

    /// Whether a request can be answered at all.
    ///
    /// # Errors
    /// As [`Engine::check_prompt`], or a sampling setting is out of range.
    pub fn check(&self, request: &Request) -> Result<(), Error> {
        self.check_prompt(&request.prompt)?;
        request.sampling.check(self.drawable())?;
        Ok(())
    }

    /// Whether a prompt can be continued at all.
    ///
    /// # Errors
    /// It is empty, doesn't fit the context, or has tokens that aren't in the vocabulary.
    pub fn check_prompt(&self, prompt: &[u32]) -> Result<(), Error> {
        if prompt.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        if prompt.len() >= self.context {
            return Err(Error::PromptTooLong {
                tokens: prompt.len(),
                context: self.context,
                model_context: self.model.config().made_for(),
            });
        }
        let vocab = self.model.vocab();
        match prompt.iter().find(|token| **token as usize >= vocab) {
            Some(&token) => Err(model::Error::Token { token, vocab }.into()),
            None => Ok(()),
        }
    }

    /// Tokens from 0 on that may be drawn; those after them are padding.
    pub(crate) fn drawable(&self) -> usize {
        self.tokenizer.vocab_size().min(self.model.vocab())
    }

    /// Makes what ends a turn impossible.
    pub(crate) fn forbid_end(&self, logits: &mut [f32]) {
        for end in self.tokenizer.ends_of_generation() {
            if let Some(logit) = logits.get_mut(end as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }

    /// Tokens of a text that may hold special ones and goes on from the token `last`.
    pub(crate) fn encode_special(&self, last: Option<u32>, text: &str) -> Vec<u32> {
        self.tokenizer.encode_after(last, text, Special::Parse)
    }

    /// The token that opens the thinking, if the model thinks and it is a single one.
    pub(crate) fn opens_thinking_with(&self) -> Option<u32> {
        self.tokenizer.token_id(self.template.thinking_tags()?.0)
    }
}
