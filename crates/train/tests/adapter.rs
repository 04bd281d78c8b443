//! Adapters: against finite differences on a quantised base, with dropout, and in the sampler's
//! hands.

mod common;

use std::path::Path;

use common::*;
use kernels::attention::KvType;
use kernels::blocks::BlockType;
use model::{Adapter, AdapterUse, Model, Target};
use train::{LoraSettings, Network, Precision};

fn quantized(name: &str, ty: BlockType, dir: &Path) -> Model {
    let path = dir.join(format!("{name}.gguf"));
    gguf::write(name, ty, &path);
    open(&path, 2)
}

fn against_differences(name: &str, ty: BlockType, dropout: Option<u64>) {
    let dir = tempfile::tempdir().unwrap();
    let model = quantized(name, ty, dir.path());
    let batch = texts(&[19, 2, 40], model.vocab(), 5);
    let settings = LoraSettings { dropout: 0.2, ..small(&Target::ALL) };
    let mut network = adapted(&model, settings.clone(), Precision::F32);
    let exact = gradients(&network, &batch, dropout);
    let norm = norm(&exact);
    let slope = slope(&mut network, &exact, |network| {
        let scores = network.forward(&batch, dropout).unwrap().scores().clone();
        let terms = batch.weights().iter().zip(&scores.log_probs);
        terms.map(|(w, l)| -f64::from(*w) * f64::from(*l)).sum()
    });
    let off = (slope / norm - 1.0).abs();
    println!("{name} {ty}: slope {slope:.5}, norm {norm:.5}, off by {off:.1e}");
    assert!(off < 2e-3, "{name} {ty}: {slope} and {norm}");

    // On packed weights: no better than bf16, and no worse.
    let network = adapted(&model, settings, Precision::Bf16);
    let fast = gradients(&network, &batch, dropout);
    for ((p, fast), exact) in network.parameters().all().iter().zip(fast.all()).zip(exact.all()) {
        let error = error(fast, exact);
        assert!(error < 7e-2, "{name} {ty}, {}: off by {error}", p.name);
    }
}

#[test]
fn gradients_on_a_quantized_base_are_slopes() {
    against_differences("qwen2", BlockType::Q4_0, None);
    against_differences("qwen2", BlockType::Q8_0, None);
    against_differences("qwen3", BlockType::F16, None);
    against_differences("llama", BlockType::BF16, None);
}

#[test]
fn dropout_leaves_out_the_same_on_the_way_back() {
    against_differences("qwen2", BlockType::Q8_0, Some(7));
    let model = open(&tiny("qwen2"), 2);
    let batch = texts(&[19, 40], model.vocab(), 5);
    let settings = LoraSettings { dropout: 0.2, ..small(&Target::ALL) };
    let network = adapted(&model, settings, Precision::Bf16);
    let by = |seed| gradients(&network, &batch, seed);
    assert!(by(Some(1)) == by(Some(1)));
    assert!(by(Some(1)) != by(Some(2)));
    assert!(by(Some(1)) != by(None));
}

#[test]
fn an_adapter_is_gone_on_from() {
    let dir = tempfile::tempdir().unwrap();
    let model = open(&tiny("llama"), 2);
    let batch = texts(&[19, 40], model.vocab(), 5);
    let network = adapted(&model, small(&[Target::Q, Target::Down]), Precision::F32);
    network.save_adapter(dir.path(), "base").unwrap();
    let pairs = Adapter::stored_pairs(dir.path(), &model).unwrap();

    let start = |settings| {
        let mut next = Network::lora(&model, settings, Precision::F32).unwrap();
        next.start_from(&pairs).map(|()| next)
    };
    let same = start(small(&[Target::Q, Target::Down])).unwrap();
    assert!(same.parameters() == network.parameters());
    // At another scale the numbers are others, and the model is the same.
    let scaled = start(LoraSettings { alpha: 1.5, ..small(&[Target::Q, Target::Down]) }).unwrap();
    assert!(scaled.parameters() != network.parameters());
    let [want, got] = [&network, &scaled].map(|n| n.log_probs(&batch).unwrap().log_probs);
    let off = want.iter().zip(&got).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off < 1e-4, "{off}");

    let said = |settings| start(settings).err().unwrap().to_string();
    let problem = said(LoraSettings { rank: 8, ..small(&[Target::Q, Target::Down]) });
    assert_eq!(problem, "rank: is 8, and that of its blk.0.attn_q 4");
    assert_eq!(said(small(&[Target::Q])), "targets: leave out blk.0.ffn_down, which it has");
    let layers = model.config().layers;
    assert_eq!(
        said(small(&[Target::Q, Target::Down, Target::Up])),
        format!("targets: are {} matrices, and it has pairs for {}", 3 * layers, 2 * layers)
    );
}

/// One row of A and one of B at a time, by central differences.
#[test]
fn single_weights_by_differences() {
    let dir = tempfile::tempdir().unwrap();
    let model = quantized("qwen2", BlockType::Q4_0, dir.path());
    let batch = texts(&[12, 7], model.vocab(), 9);
    let mut network = adapted(&model, small(&Target::ALL), Precision::F32);
    let got = gradients(&network, &batch, None);
    for tensor in [0, 1, 7, 13, 20, 27] {
        let i = got.all()[tensor].len() / 3;
        let mut loss = |by: f32| {
            network.parameters_mut().values_mut().nth(tensor).unwrap()[i] += by;
            let scores = network.log_probs(&batch).unwrap();
            let terms = batch.weights().iter().zip(&scores.log_probs);
            terms.map(|(w, l)| -f64::from(*w) * f64::from(*l)).sum::<f64>()
        };
        let (above, below) = (loss(4e-3), loss(-8e-3));
        loss(4e-3);
        let (slope, got) = ((above - below) / 8e-3, f64::from(got.all()[tensor][i]));
        assert!((slope - got).abs() < 2e-3 * (1.0 + got.abs()), "{tensor}: {got}, not {slope}");
    }
}

/// What the sampler makes of the adapter, from memory and from PEFT's files, is what the trainer
/// makes of it; on `llama` in GGUF, too, whose q and k have another order of rows.
#[test]
fn the_sampler_and_the_trainer_agree() {
    for (name, ty) in
        [("qwen2", BlockType::F32), ("llama", BlockType::F32), ("qwen3", BlockType::F16)]
    {
        let dir = tempfile::tempdir().unwrap();
        let model = quantized(name, ty, dir.path());
        let batch = texts(&[30, 50], model.vocab(), 3);
        let settings =
            LoraSettings { rslora: true, ..small(&[Target::Q, Target::K, Target::Down]) };
        let network = adapted(&model, settings, Precision::F32);
        let trainer = network.log_probs(&batch).unwrap().log_probs;
        let plain = sampled(&model, &batch, None, KvType::F32);

        let memory = network.adapter(Path::new("trained")).unwrap();
        network.save_adapter(&dir.path().join("adapter"), "somebody/model").unwrap();
        let file = Adapter::load(&dir.path().join("adapter"), &model).unwrap();
        for (what, adapter) in [("memory", &memory), ("file", &file)] {
            assert_eq!((adapter.rank(), adapter.pairs()), (4, 3 * model.config().layers));
            let sampler =
                sampled(&model, &batch, Some(AdapterUse { adapter, scale: 1.0 }), KvType::F32);
            let off = mean_difference(&sampler, &trainer);
            println!("{name} {ty} from {what}: off by {off:.1e}");
            assert!(off < 1e-5, "{name} from {what}: off by {off}");
            assert!(mean_difference(&sampler, &plain) > 0.1, "{name}: the adapter does something");
        }
    }
}

#[test]
fn an_untrained_adapter_changes_nothing_and_another_seed_begins_elsewhere() {
    let model = open(&tiny("qwen2"), 2);
    let batch = texts(&[30], model.vocab(), 3);
    let network = |seed| {
        let settings = LoraSettings { seed, ..LoraSettings::default() };
        Network::lora(&model, settings, Precision::F32).unwrap()
    };
    let (one, two) = (network(1), network(2));
    assert_eq!(one.log_probs(&batch).unwrap(), two.log_probs(&batch).unwrap());
    assert_eq!(one.parameters().all().len(), 2 * 7 * 2);
    assert_ne!(one.parameters(), two.parameters());
    assert_eq!(one.parameters(), network(1).parameters());
}
