//! `ponder train`: teaches a model by a recipe.

mod begin;
mod curves;
mod distill;
mod export;
mod plan;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use engine::{Engine, WeightMemory};
use learn::preference::{Kto, Policy, RewardModel};
use learn::pretrain::Pretrain;
use learn::recipe::{Method, What};
use learn::rl::{Endpoints, Grpo};
use learn::run::{Outcome, Teach, run as run_recipe};
use learn::sft::Sft;
use learn::{Learner, Recipe};
use model::Config;
use reason::{EndpointOptions, Pool};
use weights::Checkpoint;

use crate::endpoint_arg;
use crate::model_arg::ModelArg;
use crate::terminal::keyboard::{INTERRUPTED, Interrupt};

use watch::Screen;

/// Teach a model: texts to go on with, examples to follow, or rewards to seek
///
/// A recipe is one TOML file; its values can be replaced here, as `grpo.completions=16`. What is
/// learned, and how far it has come, is kept in the recipe's `out` folder: the same command goes on
/// where it was left.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    other: Option<Other>,

    #[command(flatten)]
    teach: Teaching,
}

/// What else there is.
#[derive(Debug, Subcommand)]
enum Other {
    Distill(Box<distill::Args>),
    Export(export::Args),
}

/// What to teach.
#[derive(Debug, clap::Args)]
struct Teaching {
    /// The recipe.
    recipe: Option<PathBuf>,

    /// Values in place of the recipe's.
    #[arg(value_name = "KEY=VALUE", value_parser = replaced)]
    values: Vec<(String, String)>,

    /// Say what would be learned, what memory and time it takes, and stop.
    #[arg(long)]
    dry_run: bool,

    /// Draw what the run has shown so far into an SVG file, and stop.
    #[arg(long, value_name = "FILE")]
    curves: Option<PathBuf>,

    /// Other run folders to be drawn over it.
    #[arg(long, value_name = "DIR", requires = "curves")]
    beside: Vec<PathBuf>,

    /// Draw the completions of [grpo] from an engine elsewhere that serves the model (may be repeated).
    ///
    /// It is told to load the adapter before each step: vLLM (--enable-lora, and
    /// VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its environment) or `ponder serve --lora-dir`. A key is read from PONDER_ENDPOINT_KEY.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    rollouts: Vec<String>,

    /// Where those engines find the adapters; `rollouts` in the run folder if not given.
    #[arg(long, value_name = "DIR", requires = "rollouts")]
    rollouts_dir: Option<PathBuf>,

    /// Problems that each of them is given at a time.
    #[arg(long, value_name = "N", requires = "rollouts", default_value_t = 64)]
    rollouts_slots: usize,

    /// Threads that compute; one a core if not given.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Never touch the network.
    #[arg(long, env = "PONDER_OFFLINE", value_parser = clap::builder::FalseyValueParser::new())]
    offline: bool,
}

fn replaced(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a value is given as KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// Runs a recipe, makes examples for one, or writes one down for others.
pub fn run(args: Args) -> Result<ExitCode> {
    match args.other {
        Some(Other::Distill(args)) => distill::run(&args),
        Some(Other::Export(args)) => export::run(&args),
        None => teach(args.teach),
    }
}

fn teach(args: Teaching) -> Result<ExitCode> {
    let Some(path) = &args.recipe else {
        bail!(
            "a recipe is wanted: a TOML file\nhint: recipes/ has some; `ponder train distill` makes examples"
        );
    };
    let recipe = Recipe::open(path, &args.values)
        .with_context(|| format!("cannot use {}", path.display()))?;
    if let Some(file) = &args.curves {
        curves::draw(&recipe, &args.beside, file)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !args.rollouts.is_empty() && recipe.grpo.is_none() {
        bail!("--rollouts is for recipes with [grpo]: others draw nothing");
    }
    let (path, name);
    let mut beginning = None;
    match recipe.method() {
        Method::Pretrain(settings) => {
            let begun = begin::begin(&recipe, settings, args.offline, args.dry_run)?;
            (path, name) = (begun.path.clone(), "a new model".to_owned());
            beginning = Some(begun);
        }
        _ => {
            let model = Some(recipe.model.clone());
            let model = ModelArg { model, offline: args.offline }.resolve()?;
            (path, name) = (model.path, model.name);
        }
    }
    let checkpoint = Checkpoint::open(&path).with_context(|| format!("cannot load {name}"))?;
    let config = Config::read(&checkpoint).with_context(|| format!("cannot load {name}"))?;
    let made_for = config.made_for();
    let options = engine::LoadOptions {
        threads: args.threads.map(usize::from),
        // Training doesn't stretch positions: no text may be longer than the model was made for.
        ctx: plan::context(&recipe).map(|ctx| ctx.min(made_for)),
        rope_scaling: None,
        weights: WeightMemory::Free,
    };
    let engine = Engine::load(&path, &options).with_context(|| format!("cannot load {name}"))?;
    let engine = Arc::new(engine);
    let mut learner = match recipe.learns() {
        What::Adapter if recipe.reward_model.is_some() => {
            Learner::reward_model(&recipe, engine.model())?
        }
        What::Adapter => Learner::adapter(&recipe, engine.model())?,
        What::Everything => {
            Learner::everything(&recipe, engine.model().checkpoint(), engine.model().pool())?
        }
    };
    let mut method: Box<dyn Teach + '_> = match recipe.method() {
        Method::Pretrain(_) => {
            let pretrain = Pretrain::new(&recipe, &engine)?;
            plan::documents(&pretrain);
            Box::new(pretrain)
        }
        Method::Sft(_) => {
            let sft = Sft::new(&recipe, &engine)?;
            plan::examples(&sft);
            Box::new(sft)
        }
        Method::Preference(_) => Box::new(Policy::open(&recipe, &engine)?),
        Method::Kto(_) => Box::new(Kto::open(&recipe, &engine)?),
        Method::RewardModel(_) => Box::new(RewardModel::open(&recipe, &engine)?),
        Method::Grpo(_) => match args.rollouts.is_empty() || args.dry_run {
            true => Box::new(Grpo::new(&recipe, &engine)?),
            false => {
                Box::new(Grpo::with_rollouts(&recipe, &engine, Box::new(args.endpoints(&recipe)?))?)
            }
        },
    };
    plan::print(&recipe, &name, &engine, &mut learner, method.work())?;
    if args.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let interrupt = Interrupt::install(3)?;
    if let Some(begun) = &mut beginning {
        begun.keep();
    }
    let mut screen = Screen::new(&recipe, &name, interrupt);
    let outcome = run_recipe(&recipe, &mut learner, &mut *method, &mut screen)?;
    drop(screen);
    ended(&recipe, &outcome);
    Ok(if outcome.finished { ExitCode::SUCCESS } else { ExitCode::from(INTERRUPTED) })
}

impl Teaching {
    /// The engines that draw.
    fn endpoints(&self, recipe: &Recipe) -> Result<Endpoints> {
        let options = EndpointOptions {
            key: endpoint_arg::key(),
            slots: self.rollouts_slots.max(1),
            // An answer comes when all completions of its problem are there.
            patience: std::time::Duration::from_secs(6 * 3600),
            ..EndpointOptions::default()
        };
        let pool = Pool::connect(&self.rollouts, &options)?;
        let dir = self.rollouts_dir.clone().unwrap_or_else(|| recipe.out.join("rollouts"));
        Ok(Endpoints::new(pool, &dir, &recipe.model)?)
    }
}

fn ended(recipe: &Recipe, outcome: &Outcome) {
    let minutes = outcome.seconds / 60.0;
    let out = recipe.out.display();
    match outcome.finished {
        true => {
            eprintln!("{} steps in {minutes:.1} minutes; {out} has the checkpoints", outcome.steps)
        }
        false => eprintln!("stopped after step {}; the same command goes on", outcome.steps),
    }
    if let Some(best) = outcome.best {
        eprintln!("best: {out}/best, after step {} ({:.4})", best.step, best.score);
    }
}
