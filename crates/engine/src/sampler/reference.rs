//! The same distribution, computed slowly and obviously: everything sorted, everything in f64.

use std::collections::BTreeMap;

use super::Sampling;

/// Probability of every token that may be drawn, for finite logits and a history of
/// (token, generated).
pub(super) fn distribution(
    logits: &[f32],
    history: &[(u32, bool)],
    sampling: &Sampling,
) -> BTreeMap<u32, f64> {
    let mut logits: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
    let start = history.len() - sampling.repetition_last_n.unwrap_or(usize::MAX).min(history.len());
    let window = &history[start..];
    for (token, logit) in logits.iter_mut().enumerate() {
        let of_token = |entry: &&(u32, bool)| entry.0 as usize == token;
        if window.iter().any(|entry| of_token(&entry)) {
            let penalty = f64::from(sampling.repetition_penalty);
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
        let generated = window.iter().filter(of_token).filter(|entry| entry.1).count();
        if generated > 0 {
            *logit -= f64::from(sampling.presence_penalty);
        }
        *logit -= f64::from(sampling.frequency_penalty) * generated as f64;
        let length = repeat_length(window, token as u32, &sampling.dry_sequence_breakers);
        if length >= sampling.dry_allowed_length {
            let longer = (length - sampling.dry_allowed_length) as i32;
            *logit -=
                f64::from(sampling.dry_multiplier) * f64::from(sampling.dry_base).powi(longer);
        }
    }
    for &(token, bias) in &sampling.logit_bias {
        logits[token as usize] += f64::from(bias);
    }

    let mut tokens: Vec<(u32, f64)> = (0..).zip(logits).collect();
    tokens.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    if sampling.is_greedy() {
        return BTreeMap::from([(tokens[0].0, 1.0)]);
    }
    if sampling.top_k > 0 {
        tokens.truncate(sampling.top_k);
    }
    if sampling.typical_p < 1.0 {
        let p = softmax(&tokens);
        let entropy: f64 = p.values().map(|p| -p * p.ln()).sum();
        let distance = |token: u32| (-p[&token].ln() - entropy).abs();
        tokens.sort_by(|a, b| distance(a.0).total_cmp(&distance(b.0)).then(a.0.cmp(&b.0)));
        keep_until(&mut tokens, &p, f64::from(sampling.typical_p));
        tokens.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    }
    if sampling.top_p < 1.0 {
        let p = softmax(&tokens);
        keep_until(&mut tokens, &p, f64::from(sampling.top_p));
    }
    let p = softmax(&tokens);
    let most = p.values().copied().fold(0.0, f64::max);
    tokens.retain(|(token, _)| p[token] >= f64::from(sampling.min_p) * most);

    for (_, logit) in &mut tokens {
        *logit /= f64::from(sampling.temperature);
    }
    softmax(&tokens)
}

fn softmax(tokens: &[(u32, f64)]) -> BTreeMap<u32, f64> {
    let max = tokens.iter().map(|t| t.1).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = tokens.iter().map(|t| (t.1 - max).exp()).sum();
    tokens.iter().map(|t| (t.0, (t.1 - max).exp() / sum)).collect()
}

/// Cuts the list after the first token at which the probabilities so far reach `share`.
fn keep_until(tokens: &mut Vec<(u32, f64)>, p: &BTreeMap<u32, f64>, share: f64) {
    let mut sum = 0.0;
    let reached = tokens.iter().position(|(token, _)| {
        sum += p[token];
        sum >= share
    });
    tokens.truncate(reached.map_or(tokens.len(), |i| i + 1));
}

/// The longest passage at the window's end, without breakers, that stands earlier in the window
/// with `token` after it.
fn repeat_length(window: &[(u32, bool)], token: u32, breakers: &[u32]) -> usize {
    let text: Vec<u32> = window.iter().map(|entry| entry.0).collect();
    (1..=text.len())
        .take_while(|&length| !breakers.contains(&text[text.len() - length]))
        .filter(|&length| {
            let passage = &text[text.len() - length..];
            text.windows(length + 1).any(|part| part[..length] == *passage && part[length] == token)
        })
        .max()
        .unwrap_or(0)
}
