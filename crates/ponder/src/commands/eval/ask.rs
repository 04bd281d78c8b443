//! Asking: from the command line to a run folder.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use engine::Engine;
use eval::benchmark::{Benchmark, Item};
use eval::measure::{Ended, How, Plan, measure};
use eval::run::{FORMAT, Manifest, ModelId, RunFolder, Source};
use eval::{rows, score};
use reason::{Completer, Sampling, Spec};
use serde_json::{Map, Value, json};
use verify::Verifier;
use verify::check::Tools;
use verify::program::sandbox::Options;
use verify::tasks::{Kind, Split};

use super::progress::Progress;
use super::{Ask, after};
use crate::commands::file_name;
use crate::commands::reason::tune::recall;
use crate::endpoint_arg;
use crate::model_arg::Library;
use crate::terminal::keyboard::{INTERRUPTED, Interrupt};

/// Tokens that a prompt is taken to have, when room in the cache is made for answers.
const PROMPT_ROOM: usize = 1024;
/// Of a thought's tokens, those kept for an answer that it has to be made to give.
const ANSWER_ROOM: usize = 96;
/// Generated tasks where no --limit is given.
const GENERATED: u32 = 200;

/// What was asked.
pub struct Measured {
    /// Whether all of it was.
    pub ended: Ended,
    /// The run folder.
    pub out: PathBuf,
    /// All items.
    pub items: Vec<Item>,
}

/// Measures, and writes the report.
pub fn run(args: &Ask) -> Result<ExitCode> {
    let measured = ask(args, Split::Measure)?;
    match measured.ended {
        Ended::Whole => {
            after::write_report(&measured.out)?;
            Ok(ExitCode::SUCCESS)
        }
        Ended::Interrupted => Ok(ExitCode::from(INTERRUPTED)),
    }
}

/// Has every item answered, or goes on with it. Generated tasks are of this split.
pub fn ask(args: &Ask, split: Split) -> Result<Measured> {
    let Some(name) = &args.benchmark else {
        bail!("a benchmark is wanted, such as gsm8k\nhint: `ponder eval list` shows them");
    };
    // Mistakes should not show only after a model was fetched.
    args.sampling.over(engine::sampler::Sampling::default(), None)?;
    let (benchmark, toml) = Benchmark::open(name)?;
    let (items, source) = items(args, &benchmark, split)?;
    let interrupt = Interrupt::install(2)?;
    let max_tokens = args.max_tokens.map_or(benchmark.max_tokens, |n| n as usize);
    let Asked { completer, engine, model, machine } = asked(args, max_tokens)?;
    let judge = args.judge.open(engine.as_ref(), &args.model)?;
    let sampling = args.sampling.common().or(&benchmark.sampling);
    // What is left open differs from engine to engine, and from model to model.
    let sampling = match args.makers_sampling {
        true => sampling,
        false => sampling.or(&Sampling::neutral()),
    };
    let how = how(args, &sampling, max_tokens, completer.name())?;
    let seed = args.sampling.seed.unwrap_or(0);
    let tools =
        Tools::new(Options { allow_weaker: args.allow_weaker_sandbox, ..Options::default() });
    let manifest = Manifest {
        format: FORMAT,
        benchmark: benchmark.name.clone(),
        description: benchmark.description.clone(),
        benchmark_toml: toml,
        items: source,
        item_count: items.len(),
        k: args.k as usize,
        sampling: settings(
            &sampling,
            max_tokens,
            args.max_thinking,
            how.as_ref(),
            args.judge.judge.as_deref(),
        )?,
        model,
        seed,
        command: std::env::args().collect(),
        version: env!("PONDER_VERSION").to_owned(),
        machine,
        started: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
    };
    let out = args.out.clone().unwrap_or_else(|| {
        let name = file_name(&manifest.model.name);
        Path::new("runs").join(format!("{}-{name}", benchmark.name))
    });
    let (mut folder, there) = RunFolder::open(&out, &manifest)?;
    let plan = Plan {
        items,
        k: args.k as usize,
        seed,
        sampling,
        max_tokens,
        max_thinking: args.max_thinking,
        stop: benchmark.stop.clone(),
        sandbox: match how.as_ref().map(|how| &how.spec) {
            Some(Spec::Program(_)) => Some(tools.sandbox()?),
            _ => None,
        },
        how,
        judge: judge.map(|judge| Box::new(judge) as Box<dyn Verifier>),
    };
    let total = plan.items.len() * plan.k;
    eprintln!(
        "{}: {} items, {} samples each, asked of {}; kept in {}",
        benchmark.name,
        plan.items.len(),
        plan.k,
        manifest.model.name,
        out.display()
    );
    if !there.is_empty() {
        eprintln!("going on: {} of {total} samples are there", there.len());
    }
    let mut progress = Progress::new(total, &there);
    let ended = measure(
        &*completer,
        &plan,
        &|task, attempt| score::judge(&tools, task, attempt),
        &mut folder,
        &there,
        &|| interrupt.pressed(),
        &mut |sample| progress.add(sample),
    );
    progress.finish();
    drop(folder);
    let ended = ended.with_context(|| format!("the run in {} is not whole", out.display()))?;
    if ended == Ended::Interrupted {
        eprintln!("interrupted: the same command goes on with it");
    }
    Ok(Measured { ended, out, items: plan.items })
}

/// A strategy, if one is asked for. `max_tokens` is what a thought may take in all.
fn how(
    args: &Ask,
    sampling: &reason::Sampling,
    max_tokens: usize,
    model: &str,
) -> Result<Option<How>> {
    if !args.reasoning.is_asked_for() {
        return Ok(None);
    }
    let (mut spec, mut manner) = args.reasoning.settings(sampling.clone())?;
    manner.max_answer = manner.max_answer.min(max_tokens);
    let room = max_tokens.saturating_sub(manner.max_answer.min(ANSWER_ROOM));
    manner.max_thinking =
        Some(manner.max_thinking.or(args.max_thinking).map_or(room, |n| n.min(room)));
    recall(&mut spec, model);
    Ok(Some(How { spec, manner }))
}

fn settings(
    sampling: &reason::Sampling,
    max_tokens: usize,
    max_thinking: Option<usize>,
    how: Option<&How>,
    judge: Option<&Path>,
) -> Result<Value> {
    let mut settings = json!(sampling);
    settings["max_tokens"] = json!(max_tokens);
    if let Some(how) = how {
        settings["reasoning"] = serde_json::to_value(&how.spec)?;
        settings["manner"] = serde_json::to_value(&how.manner)?;
    }
    if let Some(most) = max_thinking {
        settings["max_thinking"] = json!(most);
    }
    if let Some(path) = judge {
        settings["judge"] = json!(hash(path)?);
    }
    Ok(settings)
}

/// The items, and where they are from.
fn items(args: &Ask, benchmark: &Benchmark, split: Split) -> Result<(Vec<Item>, Source)> {
    let (mut rows, source) = match benchmark.items.file.strip_prefix("generator:") {
        Some(kind) if args.items.is_none() && args.dataset.is_none() => {
            generated(args, kind, split)?
        }
        _ => {
            let path = items_file(args, benchmark)?;
            let sha256 = rows::sha256(&path)?;
            (rows::read(&path, &args.column)?, Source { path: path.display().to_string(), sha256 })
        }
    };
    if let Some(limit) = args.limit {
        rows.truncate(limit as usize);
    }
    if rows.is_empty() {
        bail!("{} has no items", source.path);
    }
    Ok((benchmark.items(&rows)?, source))
}

/// The file of items: as given, or pulled.
fn items_file(args: &Ask, benchmark: &Benchmark) -> Result<PathBuf> {
    let named = match (&args.dataset, &benchmark.items.dataset) {
        (Some(dataset), _) => Some(dataset.clone()),
        (None, Some(id)) if args.items.is_none() && args.data.is_none() => {
            Some(id.parse().with_context(|| format!("{}: items.dataset", benchmark.name))?)
        }
        _ => None,
    };
    match named {
        Some(dataset) => Ok(Library::open(args.model.offline)?.dataset(&dataset)?),
        None => Ok(benchmark.find_items(args.items.as_deref(), args.data.as_deref())?),
    }
}

/// Tasks of one share: training never sees those that are measured with.
fn generated(args: &Ask, kind: &str, split: Split) -> Result<(Vec<Map<String, Value>>, Source)> {
    let kinds: Vec<Kind> = match kind {
        "all" => Kind::ALL.to_vec(),
        name => vec![name.parse().map_err(|error| anyhow::anyhow!("{error}"))?],
    };
    let seed = args.sampling.seed.unwrap_or(0);
    let mut streams: Vec<_> = kinds
        .iter()
        .map(|kind| verify::tasks::stream(*kind, split, seed, args.difficulty))
        .collect();
    let mut rows = Vec::new();
    let (mut text, streams_len) = (Vec::new(), streams.len());
    let wanted = args.limit.unwrap_or(GENERATED) as usize;
    let mut seen = HashSet::new();
    // Easy kinds have few tasks: what comes again is left out.
    for n in 0..20 * wanted {
        if rows.len() == wanted {
            break;
        }
        let Some(task) = streams[n % streams_len].next() else { break };
        if !seen.insert(task.id.clone()) {
            continue;
        }
        let Value::Object(row) = json!(task) else { bail!("a task is no object") };
        serde_json::to_writer(&mut text, &row)?;
        text.push(b'\n');
        rows.push(row);
    }
    let share = match split {
        Split::Measure => "",
        Split::Train => ", training's share",
    };
    let path = format!("generator:{kind}, seed {seed}, difficulty {}{share}", args.difficulty);
    Ok((rows, Source { path, sha256: rows::sha256_of(&text) }))
}

/// Who is asked: a model in this process, or endpoints.
struct Asked {
    completer: Box<dyn Completer>,
    /// The engine in this process.
    engine: Option<Arc<Engine>>,
    model: ModelId,
    machine: Option<String>,
}

fn asked(args: &Ask, max_tokens: usize) -> Result<Asked> {
    if let Some(pool) = args.endpoint.connect(args.model.model.as_deref())? {
        endpoint_arg::sent(&args.sampling)?;
        let model = ModelId {
            name: pool.name().to_owned(),
            file: None,
            adapter: None,
            flags: None,
            endpoints: pool.urls(),
            parameters: None,
        };
        return Ok(Asked { completer: Box::new(pool), engine: None, model, machine: None });
    }
    let model = args.model.resolve()?;
    let file = hash(&model.path)?;
    let parameters = weights::inspect::inspect(&model.path, None).ok().map(|i| i.parameters);
    let parallel = usize::from(args.parallel);
    let room = PROMPT_ROOM + max_tokens;
    let local = args.engine.start(&model, args.ctx, &args.sampling, parallel, room)?;
    let on = local.runtime().engine().model();
    let machine = format!("{}, {} threads, {}", after::processor(), on.threads(), on.isa());
    let adapter = args.engine.adapter.as_deref().map(hash).transpose()?;
    let id = ModelId {
        name: model.name,
        file: Some(file),
        adapter,
        flags: flags(args.engine.flags(), args.ctx),
        endpoints: Vec::new(),
        parameters,
    };
    let engine = Some(Arc::clone(local.runtime().engine()));
    Ok(Asked { completer: Box::new(local), engine, model: id, machine: Some(machine) })
}

/// A model's hash: of its file, or of the list of its files' hashes.
pub fn hash(path: &Path) -> Result<Source> {
    let shown = path.display().to_string();
    if path.is_file() {
        return Ok(Source { path: shown, sha256: rows::sha256(path)? });
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(path)
        .with_context(|| format!("cannot read {shown}"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| file.is_file())
        .collect();
    files.sort();
    let mut list = String::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        list += &format!("{}  {name}\n", rows::sha256(&file)?);
    }
    Ok(Source { path: shown, sha256: rows::sha256_of(list.as_bytes()) })
}

/// The flags that change what a model says: a longer context may stretch positions.
fn flags(engine: Option<String>, ctx: Option<usize>) -> Option<String> {
    let flags = [engine, ctx.map(|ctx| format!("--ctx {ctx}"))];
    let flags: Vec<String> = flags.into_iter().flatten().collect();
    (!flags.is_empty()).then(|| flags.join(" "))
}
