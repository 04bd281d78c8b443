//! How a model is run: threads, context, the type of the cache. Shared by the commands that do.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use engine::{Engine, LoadOptions, Lora, Runtime, Scheduler, SchedulerOptions};
use kernels::attention::KvType;
use model::{Adapter, RopeScalingRequest};
use reason::Local;

use crate::model_arg::ResolvedModel;
use crate::sampling_arg::SamplingArgs;

/// The arguments, to be flattened into a command's own.
#[derive(Debug, Clone, clap::Args)]
pub struct EngineArg {
    /// Threads that compute; one a core if not given.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// Stretch positions: `none`, `linear:FACTOR`, `yarn:FACTOR` or `yarn:FACTOR:ORIGINAL_CONTEXT`.
    #[arg(long, value_name = "SCALING")]
    pub rope_scaling: Option<RopeScalingRequest>,

    /// How keys and values are stored: `f16`, `q8_0` (half the memory), `q4_0` (a quarter) or `f32` (for comparing).
    #[arg(long, value_name = "TYPE", default_value_t = KvType::F16)]
    pub kv_cache_type: KvType,

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
        };
        let mut engine = Engine::load(&model.path, &options)?;
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
        SchedulerOptions { kv_type: self.kv_cache_type, ..SchedulerOptions::default() }
    }
}
