//! How a model is run: threads, context, the type of the cache. Shared by the commands that do.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use engine::{Engine, LoadOptions, Lora, Runtime, Scheduler, SchedulerOptions, WeightMemory};
use kernels::attention::{KvType, Sparse};
use model::{Adapter, CacheOptions, RopeScalingRequest};
use reason::Local;

use crate::model_arg::ResolvedModel;
use crate::sampling_arg::SamplingArgs;
use crate::size_arg;

/// How much of a text a token attends to: all of it, if nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention(Option<Sparse>);

/// Positions that `sparse` stands for: where the answers to questions about a text stay what they were, see docs/run.md.
const SPARSE_BUDGET: usize = 2048;

fn attention(text: &str) -> Result<Attention, String> {
    let budget = match text.split_once(':') {
        None if text == "full" => return Ok(Attention(None)),
        None if text == "sparse" => SPARSE_BUDGET,
        Some(("sparse", budget)) => {
            budget.parse().map_err(|_| format!("`{budget}` is no number of tokens"))?
        }
        _ => return Err("choose one of full, sparse, sparse:TOKENS".to_owned()),
    };
    match budget >= Sparse::LEAST {
        true => Ok(Attention(Some(Sparse { budget }))),
        false => Err(format!("{budget} tokens are too few: at least {}", Sparse::LEAST)),
    }
}

/// The arguments, to be flattened into a command's own.
#[derive(Debug, Clone, clap::Args)]
pub struct EngineArg {
    /// Threads that compute; one a core if not given.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// Stretch positions: `none`, `linear:FACTOR`, `yarn:FACTOR`, or `auto:FACTOR`, which is YaRN for those texts only that
    /// are longer than the model was made for; these two with or without `:ORIGINAL_CONTEXT`. Where `--ctx` asks for more
    /// than the model was made for, `auto` with the factor that takes.
    #[arg(long, value_name = "SCALING")]
    pub rope_scaling: Option<RopeScalingRequest>,

    /// How keys and values are stored: `f16`, `q8_0` (half the memory), `q4_0` (a quarter) or `f32` (for comparing).
    #[arg(long, value_name = "TYPE", default_value_t = KvType::F16)]
    pub kv_cache_type: KvType,

    /// How much of a long text a token attends to: `full`, or `sparse`, the first 64 tokens, the latest ones and
    /// those that matter most to it, 2048 in all; `sparse:N`, N.
    #[arg(long, value_name = "KIND", default_value = "full", value_parser = attention)]
    pub attention: Attention,

    /// Memory that weights may take, as in 12GiB; what is free if not given. Layers that don't fit are read from
    /// the file whenever they are needed, which is slow.
    #[arg(long, value_name = "SIZE", value_parser = size_arg::bytes)]
    pub weight_memory: Option<u64>,

    /// A low-rank adapter for the model, as `ponder train` makes them: a directory as PEFT has it,
    /// or a GGUF file.
    #[arg(long, value_name = "PATH")]
    pub adapter: Option<PathBuf>,
}

impl EngineArg {
    /// Opens the model with a context of `ctx` tokens, or of what it was made for.
    pub fn load(&self, model: &ResolvedModel, ctx: Option<usize>) -> anyhow::Result<Engine> {
        let options = LoadOptions {
            threads: self.threads.map(usize::from),
            ctx,
            rope_scaling: self.rope_scaling,
            weights: self.weight_memory.map_or(WeightMemory::Free, WeightMemory::AtMost),
        };
        let mut engine = Engine::load(&model.path, &options)?;
        let (in_file, bytes) = engine.model().layers_in_file();
        if in_file > 0 {
            eprintln!(
                "note: {} does not fit into the memory there is: {in_file} of its {} layers, {:.1} GB, are read \
                 from the file for each step\n\
                 hint: free some memory, set it with --weight-memory, or take a smaller type or model",
                model.name,
                engine.model().config().layers,
                bytes as f64 / 1e9,
            );
        }
        if let Some(path) = &self.adapter {
            let adapter = Adapter::load(path, engine.model());
            let adapter = adapter.with_context(|| format!("cannot load {}", path.display()))?;
            let lora = Lora::new(adapter);
            if lora.scores() {
                bail!("{} is a reward model: it scores answers and gives none", path.display());
            }
            engine.adapt(lora);
        }
        Ok(engine)
    }

    /// The model on a thread of its own, for up to `parallel` answers at a time, each of which has
    /// room for `room` tokens, the prompt included.
    pub fn start(
        &self,
        model: &ResolvedModel,
        ctx: Option<usize>,
        flags: &SamplingArgs,
        parallel: usize,
        room: usize,
    ) -> anyhow::Result<Local> {
        let engine = self.load(model, ctx)?;
        let row = model.row.as_ref().map(|row| &row.sampling);
        let defaults = flags.over(engine.defaults().clone(), row)?;
        let context = engine.context_length();
        let tokens = (parallel * room.min(context)).max(context);
        let scheduling =
            SchedulerOptions { parallel, kv_tokens: Some(tokens), ..self.scheduling() };
        let scheduler = Scheduler::new(Arc::new(engine), scheduling)?;
        let runtime = Runtime::start(scheduler).context("cannot start the engine's thread")?;
        Ok(Local::new(runtime, &*model.name, parallel).with_defaults(defaults))
    }

    /// How a scheduler for the model keeps its cache.
    pub fn scheduling(&self) -> SchedulerOptions {
        SchedulerOptions { cache: self.cache(), ..SchedulerOptions::default() }
    }

    /// The flags among these that change what a model says, where they aren't what they are by default.
    pub fn flags(&self) -> Option<String> {
        let mut flags = Vec::new();
        if self.kv_cache_type != KvType::default() {
            flags.push(format!("--kv-cache-type {}", self.kv_cache_type));
        }
        if let Some(Sparse { budget }) = self.attention.0 {
            flags.push(format!("--attention sparse:{budget}"));
        }
        if let Some(scaling) = &self.rope_scaling {
            flags.push(format!("--rope-scaling {scaling}"));
        }
        (!flags.is_empty()).then(|| flags.join(" "))
    }

    /// How a cache for the model stores what it is given, and how much of it is attended to.
    pub fn cache(&self) -> CacheOptions {
        CacheOptions { ty: self.kv_cache_type, sparse: self.attention.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attention_is_full_or_sparse() {
        let sparse = |budget| Ok(Attention(Some(Sparse { budget })));
        assert_eq!(attention("full"), Ok(Attention(None)));
        assert_eq!(attention("sparse"), sparse(2048));
        assert_eq!(attention("sparse:512"), sparse(512));
        for wrong in ["sparse:8", "sparse:", "sparse:many", "full:3", "fuller", ""] {
            assert!(attention(wrong).is_err(), "{wrong}");
        }
    }
}
