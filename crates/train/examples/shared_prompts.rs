//! Times a step of LoRA over several answers to each of a few questions (GRPO's batch), with the
//! questions held once and with a copy for each answer.
//!
//! ```sh
//! cargo run --release -p ponder-train --example shared_prompts -- MODEL.gguf [prompts] [tokens] [answers] [tokens] [repeats] [threads]
//! ```

use std::path::Path;
use std::time::Instant;

use kernels::Pool;
use model::Model;
use train::{Batch, Continuation, Gradients, LoraSettings, Network, Precision};
use weights::Checkpoint;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("name a model's file")?;
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |n| n.parse());
    let (prompts, prompt, answers, answer) = (number(2)?, number(100)?, number(8)?, number(100)?);
    let repeats = number(3)?;

    let pool = Pool::new(number(Pool::cores())?);
    let model = Model::load(Checkpoint::open(Path::new(&path))?, pool, None)?;
    let network = Network::lora(&model, LoraSettings::default(), Precision::Bf16)?;
    let [mut shared, mut apart] = [Batch::new(), Batch::new()];
    let token = |i: usize| ((i * 7919) % model.vocab()) as u32;
    for p in 0..prompts {
        let prompt: Vec<u32> = (0..prompt).map(|i| token(i + 104_729 * p)).collect();
        let text = |a: usize| -> Vec<u32> {
            (0..answer).map(|i| token(i + 1_299_709 * (p * answers + a + 1))).collect()
        };
        let texts: Vec<Vec<u32>> = (0..answers).map(text).collect();
        let (nothing, ones) = (vec![0.0; prompt.len()], vec![1.0; answer]);
        let all: Vec<_> =
            texts.iter().map(|tokens| Continuation { tokens, weights: &ones }).collect();
        shared.push_group(&prompt, &all)?;
        for text in &texts {
            apart.push(&[&prompt[..], text].concat(), &[&nothing[..], &ones].concat())?;
        }
    }
    println!(
        "{prompts} prompts of {prompt} tokens, {answers} answers of {answer} to each: {} slots \
         shared, {} apart; {} threads, {}",
        shared.len(),
        apart.len(),
        model.threads(),
        model.isa(),
    );

    // In turns, so that what else the machine does meets both.
    let mut best = [[f64::INFINITY; 2]; 2];
    for _ in 0..repeats {
        for (best, (name, batch)) in best.iter_mut().zip([("shared", &shared), ("apart", &apart)]) {
            let mut gradients = Gradients::zeros(network.parameters());
            let (start, before) = (Instant::now(), busy());
            let loss = network.cross_entropy(batch, None, &mut gradients)?;
            let took = [start.elapsed().as_secs_f64(), busy() - before];
            println!(
                "{name:6} {:6.2} s ({:.2} on a core), loss {:.4}",
                took[0],
                took[1],
                loss.sum / batch.weight()
            );
            best.iter_mut().zip(took).for_each(|(best, took)| *best = best.min(took));
        }
    }
    let [shared, apart] = best;
    let ratio = |i: usize| apart[i] / shared[i];
    println!("apart / shared: {:.2} ({:.2} on a core)", ratio(0), ratio(1));
    Ok(())
}

/// Seconds that this thread had a core, where the system says so.
fn busy() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().and_then(|n| n.parse::<f64>().ok());
    nanoseconds.unwrap_or(f64::NAN) / 1e9
}
