//! How a model is run: threads, context, the type of the cache. Shared by the commands that do.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use engine::{Engine, LoadOptions, Lora, Runtime, Scheduler, SchedulerOptions, WeightMemory};
use kernels::attention::KvType;
use model::{Adapter, RopeScalingRequest};
use reason::Local;

use crate::model_arg::ResolvedModel;
use crate::sampling_arg::SamplingArgs;
use crate::size_arg;

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
        SchedulerOptions { kv_type: self.kv_cache_type, ..SchedulerOptions::default() }
    }
}
