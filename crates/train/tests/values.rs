//! The scalar head: against the vocabulary's own logits, against differences, and in files.

mod common;

use common::*;
use kernels::Pool;
use kernels::blocks::dequantize_row;
use model::{Adapter, Target, read_f32};
use train::{Batch, Gradients, Network, Precision, ScalarHead};
use weights::Checkpoint;
use weights::safetensors::SafetensorsDir;

const NAMES: [&str; 3] = ["qwen2", "llama", "qwen3"];

/// The values of all slots and the gradients of `Σ d · value`.
fn valued(network: &Network<'_>, batch: &Batch, d: &[f32]) -> (Vec<f32>, Gradients) {
    let forward = network.forward_values(batch, None).unwrap();
    let values = forward.values().to_vec();
    assert_eq!(values, network.values(batch).unwrap());
    let mut gradients = Gradients::zeros(network.parameters());
    network.backward_values(batch, forward, d, &mut gradients).unwrap();
    (values, gradients)
}

/// With the difference of two rows of the output matrix for a head, a value is the difference of two
/// tokens' log-probabilities, and so are its gradients.
#[test]
fn a_value_is_what_the_vocabulary_makes_of_the_same_rows() {
    for name in NAMES {
        let model = open(&tiny(name), 2);
        let c = model.config();
        let output = ["output.weight", "token_embd.weight"]
            .into_iter()
            .find(|name| model.checkpoint().tensor(name).is_some())
            .unwrap();
        let rows = read_f32(model.checkpoint(), output, &[model.vocab(), c.hidden]).unwrap();
        let row = |token: usize| &rows[token * c.hidden..(token + 1) * c.hidden];
        let head: Vec<f32> = row(17).iter().zip(row(200)).map(|(a, b)| a - b).collect();

        let plain = adapted(&model, small(&Target::ALL), Precision::F32);
        let parameters = plain.parameters().clone();
        let mut network = Network::lora(&model, small(&Target::ALL), Precision::F32).unwrap();
        network = network.with_scalar_head(ScalarHead::Given(head)).unwrap();
        let from = parameters.all().iter();
        let to = network.parameters_mut().values_mut();
        from.zip(to).for_each(|(from, to)| to.copy_from_slice(&from.values));

        // The last token of each text, where one thing or the other could come next.
        let texts = [tokens(30, 291, 1), tokens(1, 291, 2), tokens(70, 291, 3)];
        let [mut whole, mut ends] = [Batch::new(), Batch::new()];
        for text in &texts {
            whole.push_whole(text).unwrap();
        }
        for next in [17, 200] {
            for text in &texts {
                let mut weights = vec![0.0; text.len() + 1];
                weights[text.len()] = 1.0;
                ends.push(&[&text[..], &[next]].concat(), &weights).unwrap();
            }
        }
        let d = [0.8, -1.3, 0.4];
        let mut d_values = vec![0.0; whole.len()];
        let mut d_log_probs = vec![0.0; ends.len()];
        for (text, d) in d.into_iter().enumerate() {
            d_values[whole.slots(text).end - 1] = d;
            d_log_probs[ends.slots(text).end - 1] = d;
            d_log_probs[ends.slots(text + 3).end - 1] = -d;
        }
        let (values, got) = valued(&network, &whole, &d_values);
        let forward = plain.forward(&ends, None).unwrap();
        let log_probs = forward.scores().log_probs.clone();
        for text in 0..3 {
            let [yes, no] = [text, text + 3].map(|t| log_probs[ends.slots(t).end - 1]);
            let value = values[whole.slots(text).end - 1];
            assert!((value - (yes - no)).abs() < 2e-5, "{name}: {value}, not {}", yes - no);
        }
        assert_eq!(values.iter().filter(|v| **v != 0.0).count(), 3, "{name}: nothing else");

        let mut want = Gradients::zeros(plain.parameters());
        plain.backward(&ends, forward, &d_log_probs, &mut want).unwrap();
        for ((p, got), want) in parameters.all().iter().zip(got.all()).zip(want.all()) {
            let off = error(got, want);
            assert!(off < 2e-5, "{name}, {}: off by {off}", p.name);
        }
    }
}

#[test]
fn gradients_are_slopes() {
    for name in NAMES {
        let (pool, checkpoint) = (Pool::new(2), Checkpoint::open(&tiny(name)).unwrap());
        let model = open(&tiny(name), 2);
        let random = ScalarHead::Random { seed: 3 };
        let full = Network::full(&checkpoint, &pool, Precision::F32).unwrap();
        let adapter = adapted(&model, small(&Target::ALL), Precision::F32);
        for (what, network) in [("whole", full), ("adapter", adapter)] {
            let mut network = network.with_scalar_head(random.clone()).unwrap();
            // A value function's texts, and a reward model's.
            let mut batch = texts(&[19, 2, 40], 291, 5);
            batch.push_whole(&tokens(33, 291, 9)).unwrap();
            let d = numbers(batch.len(), 8);
            let (_, gradients) = valued(&network, &batch, &d);
            let slope = slope(&mut network, &gradients, |network| {
                let values = network.values(&batch).unwrap();
                values.iter().zip(&d).map(|(v, d)| f64::from(*v) * f64::from(*d)).sum()
            });
            let norm = norm(&gradients);
            println!("{name} {what}: slope {slope:.5}, norm {norm:.5}");
            assert!((slope / norm - 1.0).abs() < 2e-3, "{name} {what}: {slope} and {norm}");
        }
    }
}

#[test]
fn any_number_of_threads() {
    for precision in [Precision::F32, Precision::Bf16] {
        let by = |threads| {
            let model = open(&tiny("qwen2"), threads);
            let network = adapted(&model, small(&Target::ALL), precision);
            let network = network.with_scalar_head(ScalarHead::Random { seed: 3 }).unwrap();
            let batch = texts(&[150, 3, 97], 291, 5);
            valued(&network, &batch, &numbers(batch.len(), 8))
        };
        let one = by(1);
        for threads in [2, 3, 5] {
            assert!(by(threads) == one, "{precision:?}: {threads} threads");
        }
    }
}

#[test]
fn the_vocabulary_is_as_it_was() {
    let model = open(&tiny("qwen3"), 2);
    let batch = texts(&[30, 9], 291, 5);
    let plain = adapted(&model, small(&Target::ALL), Precision::Bf16);
    let scores = plain.log_probs(&batch).unwrap();
    let network = plain.with_scalar_head(ScalarHead::Zeros).unwrap();
    assert_eq!(network.log_probs(&batch).unwrap(), scores);
    assert_eq!(network.values(&batch).unwrap(), vec![0.0; batch.len()]);
    let head = network.parameters().all().last().unwrap();
    assert_eq!((&head.name[..], &head.shape[..]), ("score.weight", &[1, head.values.len()][..]));
}

#[test]
fn a_head_is_saved_beside_its_adapter() {
    for name in NAMES {
        let model = open(&tiny(name), 2);
        let network = adapted(&model, small(&[Target::Q, Target::K]), Precision::F32);
        let network = network.with_scalar_head(ScalarHead::Random { seed: 5 }).unwrap();
        let dir = tempfile::tempdir().unwrap();
        network.save_adapter(dir.path(), "somebody/model").unwrap();

        let head = network.parameters().all().last().unwrap();
        let file = SafetensorsDir::open(&dir.path().join("adapter_model.safetensors")).unwrap();
        let tensor = file.tensor("base_model.model.score.weight").unwrap();
        assert_eq!(tensor.info.shape, head.shape);
        let mut values = vec![0.0; head.values.len()];
        dequantize_row(tensor.info.ty, tensor.data, &mut values).unwrap();
        assert_eq!(values, head.values);
        let config = std::fs::read(dir.path().join("adapter_config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(config["task_type"], "SEQ_CLS");
        assert_eq!(config["modules_to_save"], serde_json::json!(["classifier", "score"]));

        let adapter = Adapter::load(dir.path(), &model).unwrap();
        assert_eq!(adapter.pairs(), 2 * model.config().layers);
        assert_eq!(adapter.score(), Some(&head.values[..]));
        assert_eq!(ScalarHead::load(dir.path()).unwrap(), ScalarHead::Given(values));
        // In memory, as in the file.
        let adapter = network.adapter(dir.path()).unwrap();
        assert_eq!(adapter.score(), Some(&head.values[..]));
    }
}

#[test]
fn a_head_is_saved_with_its_model() {
    let (pool, checkpoint) = (Pool::new(2), Checkpoint::open(&tiny("qwen2")).unwrap());
    let network = Network::full(&checkpoint, &pool, Precision::F32).unwrap();
    let network = network.with_scalar_head(ScalarHead::Random { seed: 5 }).unwrap();
    let dir = tempfile::tempdir().unwrap();
    network.save_model(dir.path()).unwrap();
    let mut batch = Batch::new();
    batch.push_whole(&tokens(40, 291, 1)).unwrap();
    let again = Checkpoint::open(dir.path()).unwrap();
    let again = Network::full(&again, &pool, Precision::F32).unwrap();
    let again = again.with_scalar_head(ScalarHead::load(dir.path()).unwrap()).unwrap();
    assert_eq!(again.values(&batch).unwrap(), network.values(&batch).unwrap());
}
