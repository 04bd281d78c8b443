//! The engine: a loaded model, its text side, and the loop that answers one request.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use kernels::Pool;
use kernels::attention::KvType;
use model::{KvCache, Model, RopeScalingRequest, Sequence, Span, Want, Workspace};
use text::splitter::{Start, Tags};
use text::template::{ChatTemplate, Message, Render, drop_thinking};
use text::tokenizer::{Special, Tokenizer};
use weights::Checkpoint;

use crate::sampler::{Sampler, Sampling, log_prob, top_logprobs};
use crate::speech::Speech;
use crate::turn::Turn;
use crate::{Completion, Delta, Error, FinishReason, Flow, Request, TokenLogprob};

/// Prompt tokens in one forward pass: enough to keep the matrix kernels busy, few enough that
/// progress is seen and a stop is heard.
pub(crate) const PREFILL_TOKENS: usize = 512;

/// How a model is loaded.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadOptions {
    /// Threads that compute; all cores this process may use if none.
    pub threads: Option<usize>,
    /// Positions the context holds; what the model was made for if none.
    pub ctx: Option<usize>,
    /// How keys and values are stored.
    pub kv_type: KvType,
    /// Overrides what the file says about stretching positions.
    pub rope_scaling: Option<RopeScalingRequest>,
}

/// A model that can be talked to.
pub struct Engine {
    model: Model,
    tokenizer: Arc<Tokenizer>,
    template: ChatTemplate,
    has_template: bool,
    defaults: Sampling,
    name: String,
    context: usize,
    cache: KvCache,
    work: Workspace,
    /// The last conversation: its place in the cache and the tokens that are there.
    sequence: Sequence,
    cached: Vec<u32>,
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
        let (speech, model) = std::thread::scope(|scope| {
            let speech = scope.spawn(|| Speech::read(&checkpoint));
            let model =
                Model::load(Arc::clone(&checkpoint), Pool::new(threads), options.rope_scaling);
            let speech = speech.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (speech, model)
        });
        // A file of another architecture is no model at all, whatever its tokenizer.
        let (model, speech) = (model?, speech?);
        let context = options.ctx.unwrap_or(model.config().context_length);
        let cache = KvCache::new(model.config(), options.kv_type, context);
        cache.shape().check()?;
        Ok(Engine {
            model,
            tokenizer: Arc::new(speech.tokenizer),
            template: speech.template,
            has_template: speech.has_template,
            defaults: speech.defaults,
            name: speech.name,
            context,
            cache,
            work: Workspace::default(),
            sequence: Sequence::default(),
            cached: Vec::new(),
        })
    }

    /// The transformer.
    pub fn model(&self) -> &Model {
        &self.model
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
        let mut tags = Tags::default();
        if let Some((open, close)) = self.template.thinking_tags() {
            tags.thinking = (open.to_owned(), close.to_owned());
        }
        let mut messages = messages.to_vec();
        drop_thinking(&mut messages, &tags.thinking.0, &tags.thinking.1);
        let conversation = Render {
            messages: &messages,
            tools,
            add_generation_prompt: true,
            extra,
            ..Render::default()
        };
        let prompt = self.template.render(&conversation)?;
        Ok(Request {
            start: self.template.start_after(&prompt),
            thinking_close: format!("\n{}\n\n", tags.thinking.1),
            tags,
            prompt: self.encode_prompt(&prompt, Special::Parse),
            sampling: self.defaults.clone(),
            ..Request::default()
        })
    }

    /// A request that continues plain text, without a template.
    pub fn continuation(&self, prompt: &str) -> Request {
        Request {
            start: Start::After,
            prompt: self.encode_prompt(prompt, Special::Plain),
            sampling: self.defaults.clone(),
            ..Request::default()
        }
    }

    /// Tokens of a prompt, with the token every text of this model begins with, if there is one.
    fn encode_prompt(&self, prompt: &str, special: Special) -> Vec<u32> {
        let mut tokens = self.tokenizer.encode(prompt, special);
        if let Some(bos) = self.tokenizer.bos()
            && self.tokenizer.add_bos()
            && tokens.first() != Some(&bos)
        {
            tokens.insert(0, bos);
        }
        tokens
    }

    /// Answers a request, telling `on_delta` of every piece. What the prompt shares with the last
    /// conversation isn't computed again.
    ///
    /// # Errors
    /// The prompt is empty or doesn't fit the context, or a sampling setting is out of range.
    pub fn complete(
        &mut self,
        request: &Request,
        on_delta: &mut dyn FnMut(Delta) -> Flow,
    ) -> Result<Completion, Error> {
        let prompt = &request.prompt;
        if prompt.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        if prompt.len() >= self.context {
            return Err(Error::PromptTooLong {
                tokens: prompt.len(),
                context: self.context,
                model_context: self.model.config().context_length,
            });
        }
        let vocab = self.tokenizer.vocab_size().min(self.model.vocab());
        let mut sampler = Sampler::new(request.sampling.clone(), vocab)?;
        sampler.accept_prompt(prompt);
        let mut turn = Turn::new(Arc::clone(&self.tokenizer), request, on_delta);
        self.read_prompt(prompt, &mut turn)?;
        turn.start();
        if turn.ended.is_some() {
            return Ok(turn.finish(FinishReason::Cancelled));
        }

        let limit = self.context - prompt.len();
        let limit = limit.min(request.max_tokens.unwrap_or(limit));
        let mut closing: VecDeque<u32> = VecDeque::new();
        let mut budget = request.max_thinking;
        let mut logits = vec![0.0; self.model.vocab()];
        for generated in 0..limit {
            self.model.logits(&mut self.work, 0..1, &mut logits);
            if budget
                .is_some_and(|b| turn.in_reasoning() && turn.completion.usage.reasoning_tokens >= b)
            {
                budget = None;
                closing.extend(self.tokenizer.encode(&request.thinking_close, Special::Parse));
            }
            let plain = request.logprobs.map(|n| (n, logits.clone()));
            // The sampler draws for a forced token too, so that the seed's numbers stay in step.
            let drawn = sampler.sample(&mut logits, None);
            let token = closing.pop_front().unwrap_or(drawn);
            sampler.accept(token);
            if let Some((n, logits)) = plain {
                turn.completion.logprobs.push(TokenLogprob {
                    token,
                    logprob: log_prob(&logits[..vocab], token),
                    top: top_logprobs(&logits[..vocab], n),
                });
            }
            let end = self.tokenizer.is_end_of_generation(token);
            turn.token(token, !end);
            if end {
                return Ok(turn.finish(FinishReason::Stop));
            }
            if turn.ended.is_some() {
                break;
            }
            if generated + 1 < limit {
                self.append(&[token], Want::Last)?;
            }
        }
        Ok(turn.finish(FinishReason::Length))
    }

    /// Brings the cache to the state after the prompt, with the prediction of what follows ready.
    fn read_prompt(&mut self, prompt: &[u32], turn: &mut Turn<'_>) -> Result<(), Error> {
        let common = self.cached.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        // The last token is always read: its prediction is what is asked for.
        let kept = common.min(prompt.len() - 1);
        self.cache.truncate(&mut self.sequence, kept);
        self.cached.truncate(kept);
        turn.completion.usage.prompt_tokens = prompt.len();
        turn.completion.usage.cached_tokens = kept;
        let mut done = kept;
        for tokens in prompt[kept..].chunks(PREFILL_TOKENS) {
            turn.prefill(done, prompt.len());
            if turn.ended.is_some() {
                return Ok(());
            }
            done += tokens.len();
            let want = if done == prompt.len() { Want::Last } else { Want::Nothing };
            self.append(tokens, want)?;
        }
        turn.prefill(done, prompt.len());
        Ok(())
    }

    fn append(&mut self, tokens: &[u32], want: Want) -> Result<(), Error> {
        let span = Span { sequence: &mut self.sequence, tokens, want, adapter: None };
        self.model.forward(&mut self.cache, &mut [span], &mut self.work)?;
        self.cached.extend_from_slice(tokens);
        Ok(())
    }

    /// Forgets the last conversation.
    pub fn clear(&mut self) {
        self.cache.truncate(&mut self.sequence, 0);
        self.cached.clear();
    }
}
