//! `ponder serve`: the model over HTTP, and the chat page.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use engine::sampler::Sampling;
use engine::{Engine, Runtime, Scheduler, SchedulerOptions};
use model::KvCache;
use server::{Options, ReasoningFormat};
use verify::check::Tools;

use crate::engine_arg::EngineArg;
use crate::keep_arg::KeepArg;
use crate::model_arg::{Library, ModelArg};
use crate::sampling_arg::SamplingArgs;
use crate::size_arg::bytes;

/// Bytes for keys and values if nothing is said, unless one context takes more.
const KV_CACHE_MEMORY: u64 = 2 << 30;

/// Answer over HTTP: OpenAI's, Anthropic's and llama-server's APIs, and a chat page.
///
/// Ctrl-C, or SIGTERM, lets the requests under way end; a second one doesn't.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArg,

    /// Address to listen at. Any other than this machine's own needs an --api-key.
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    host: IpAddr,

    /// Port to listen at; 0 for any that is free.
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    port: u16,

    /// The model's name in the API, instead of its own.
    #[arg(long, value_name = "NAME")]
    alias: Option<String>,

    /// A key that requests must bring (may be repeated).
    #[arg(long, value_name = "KEY", env = "PONDER_API_KEY", hide_env_values = true)]
    api_key: Vec<String>,

    /// A file with such keys, one a line.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,

    /// A site whose pages may ask, such as https://example.org, or `*` (may be repeated).
    #[arg(long, value_name = "ORIGIN")]
    cors_origin: Vec<String>,

    /// Tokens of context of each answer; what the model was made for if not given.
    #[arg(long, value_name = "N")]
    ctx: Option<usize>,

    /// Answers under way at a time.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    parallel: u16,

    /// Memory for keys and values, such as 4GiB [default: 2GiB, or what one context takes].
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    kv_cache_memory: Option<u64>,

    #[command(flatten)]
    keep: KeepArg,

    /// A smaller model of the same family that guesses ahead.
    #[arg(long, value_name = "MODEL")]
    draft: Option<String>,

    /// A low-rank adapter, chosen by a request as its model's NAME (may be repeated).
    #[arg(long, value_name = "NAME=PATH", value_parser = adapter)]
    lora: Vec<(String, PathBuf)>,

    /// A directory from which adapters may be loaded by name while the server runs.
    #[arg(long, value_name = "DIR")]
    lora_dir: Option<PathBuf>,

    /// Don't guess ahead from what the text has said before.
    #[arg(long)]
    no_ngram: bool,

    /// Guess N tokens at a time, worth it or not; if not given, as many as pay on this machine.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=64))]
    draft_tokens: Option<u8>,

    /// Where the thinking goes: `separate` fields, `inline` between its tags, or `hidden`.
    #[arg(long, default_value = "separate", value_name = "FORMAT")]
    reasoning_format: ReasoningFormat,

    /// Most tokens of an answer where a request doesn't say.
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,

    /// Most tokens of thinking where a request doesn't say.
    #[arg(long, value_name = "N")]
    max_thinking: Option<usize>,

    /// Largest body of a request, such as 16MiB.
    #[arg(long, default_value = "16MiB", value_name = "SIZE", value_parser = bytes)]
    body_limit: u64,

    /// Run the programs that the model writes when a request asks for the strategy `program`, in the
    /// sandbox.
    #[arg(long)]
    allow_programs: bool,

    /// Seconds that requests under way may take to end when the server is told to stop.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    drain: u64,

    #[command(flatten)]
    sampling: SamplingArgs,

    #[command(flatten)]
    engine: EngineArg,
}

fn adapter(typed: &str) -> Result<(String, PathBuf)> {
    match typed.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok((name.to_owned(), path.into()))
        }
        _ => bail!("an adapter is a name and a path, as in poet=adapters/poet"),
    }
}

fn keys(args: &Args) -> Result<Vec<String>> {
    let mut keys = args.api_key.clone();
    if let Some(path) = &args.api_key_file {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the keys in {}", path.display()))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        keys.extend(lines.map(str::to_owned));
        if keys.is_empty() {
            bail!("{} has no keys, so nobody could ask\nhint: one key a line", path.display());
        }
    }
    if keys.iter().any(String::is_empty) {
        bail!("an API key is empty\nhint: leave --api-key and PONDER_API_KEY away to need none");
    }
    if keys.is_empty() && !args.host.is_loopback() {
        bail!(
            "{} can be reached from other machines, and anybody there could use this one\n\
             hint: give --api-key KEY, or listen at 127.0.0.1",
            args.host
        );
    }
    Ok(keys)
}

/// Tokens that the cache holds.
fn kv_tokens(engine: &Engine, options: &SchedulerOptions, memory: Option<u64>) -> Result<usize> {
    let context = engine.context_length();
    let each = KvCache::new(engine.model().config(), options.cache, 0).token_bytes() as u64;
    let tokens = (memory.unwrap_or(KV_CACHE_MEMORY) / each.max(1)) as usize;
    match memory {
        Some(memory) if tokens < context => bail!(
            "a cache of {} MiB holds {tokens} tokens of this model, less than the context of {context}\n\
             hint: give --kv-cache-memory {}MiB, a smaller --ctx, or --kv-cache-type q8_0",
            memory >> 20,
            (context as u64 * each).div_ceil(1 << 20),
        ),
        _ => Ok(tokens.max(context)),
    }
}

/// Loads the model and answers until told to stop.
pub fn run(args: Args) -> Result<()> {
    // A mistake in the flags should not show only after a model was fetched.
    args.sampling.over(Sampling::default(), None)?;
    let api_keys = keys(&args)?;
    let model = args.model.resolve()?;
    let draft = match &args.draft {
        Some(name) => Some(Library::open(args.model.offline)?.resolve(name)?),
        None => None,
    };
    let load = |model| -> Result<Arc<Engine>> { Ok(Arc::new(args.engine.load(model, args.ctx)?)) };
    let engine = load(&model).with_context(|| format!("cannot load {}", model.name))?;
    for (name, path) in &args.lora {
        engine.load_adapter(name, path).with_context(|| format!("cannot load adapter {name}"))?;
    }
    let row = model.row.as_ref().map(|row| &row.sampling);
    let mut sampling = args.sampling.over(engine.defaults().clone(), row)?;
    if sampling.dry_multiplier > 0.0 {
        sampling.dry_sequence_breakers = args.sampling.breakers(engine.tokenizer());
    }
    let mut scheduling = SchedulerOptions {
        parallel: args.parallel.into(),
        ngram: !args.no_ngram,
        guesses: args.draft_tokens.map(usize::from),
        ..args.engine.scheduling()
    };
    scheduling.kv_tokens = Some(kv_tokens(&engine, &scheduling, args.kv_cache_memory)?);
    let mut scheduler = Scheduler::new(Arc::clone(&engine), scheduling)?;
    if let Some(draft) = draft {
        let engine = load(&draft).with_context(|| format!("cannot load {}", draft.name))?;
        scheduler.set_draft(engine)?;
    }
    args.keep.bring_back(&mut scheduler)?;
    let sandbox = match args.allow_programs {
        true => Some(Tools::default().sandbox()?),
        false => None,
    };
    let options = Options {
        sampling,
        max_tokens: args.max_tokens,
        max_thinking: args.max_thinking,
        reasoning_format: args.reasoning_format,
        api_keys,
        cors_origins: args.cors_origin,
        body_limit: usize::try_from(args.body_limit)?,
        parallel: args.parallel.into(),
        lora_dir: args.lora_dir,
        sandbox,
        patience: Duration::from_secs(args.drain),
        ..Options::default()
    };
    let name = args.alias.unwrap_or(model.name);
    let tokens = scheduling.kv_tokens.unwrap_or_default();
    let runtime = Runtime::start(scheduler).context("cannot start the engine's thread")?;
    let address = SocketAddr::new(args.host, args.port);
    let engine_thread = runtime.clone();
    // Handlers do little; the cores are for the model.
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(4)
        .enable_all()
        .build()?
        .block_on(async {
            let listener = tokio::net::TcpListener::bind(address).await.with_context(|| {
                format!("cannot listen at {address}\nhint: choose another --port")
            })?;
            eprintln!(
                "{name}: context {}, cache for {tokens} tokens, up to {} answers at a time\n\
                 listening at http://{} (chat page, and /v1 for programs)",
                engine.context_length(),
                args.parallel,
                listener.local_addr()?,
            );
            let served = server::serve(listener, runtime, name, options, stop()).await;
            // Within the runtime, where a second signal is still heard.
            tokio::task::spawn_blocking(move || args.keep.keep(&engine_thread)).await??;
            Ok(served?)
        })
}

/// Done when somebody asks the server to stop. Asked again, it stops at once.
async fn stop() {
    told_to_stop().await;
    // Whoever started the server may have left, and its standard error with them.
    let _ = writeln!(
        std::io::stderr(),
        "stopping: requests under way may end (once more to stop at once)"
    );
    tokio::spawn(async {
        told_to_stop().await;
        std::process::exit(130);
    });
}

#[cfg(unix)]
async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

#[cfg(not(unix))]
async fn told_to_stop() {
    drop(tokio::signal::ctrl_c().await);
}
