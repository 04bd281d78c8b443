//! Results in lm-evaluation-harness's shape (as of its version 0.4.13).
//!
//! A metric is called `name,filter`, its standard error `name_stderr,filter`; the filter is `none`,
//! since answers are taken out by the verifier. `exact_match` is mean@k. What this program does not
//! know (tokenizer, batch size, a number of shots) is left out rather than made up.

use serde_json::{Map, Value, json};

use super::{Report, figures};
use crate::stats::Estimate;

pub(super) fn results(report: &Report<'_>) -> Value {
    let (manifest, summary) = (report.manifest, &report.summary);
    let task = &manifest.benchmark;
    let mut metrics = Map::new();
    let mut higher = Map::new();
    metrics.insert("name".to_owned(), json!(task));
    metrics.insert("alias".to_owned(), json!(task));
    metrics.insert("sample_len".to_owned(), json!(summary.items));
    let mut add = |name: &str, estimate: &Estimate, is_higher_better: bool| {
        // No NaN in JSON; where the harness has no standard error it writes "N/A".
        let or_none = |x: f64| if x.is_finite() { json!(x) } else { json!("N/A") };
        metrics.insert(format!("{name},none"), or_none(estimate.value));
        metrics.insert(format!("{name}_stderr,none"), or_none(estimate.se));
        higher.insert(name.to_owned(), json!(is_higher_better));
    };
    add("exact_match", &summary.accuracy, true);
    if let Some(score) = &summary.score {
        add("score", score, true);
    }
    for at in summary.pass.iter().filter(|at| at.k > 1) {
        add(&format!("pass@{}", at.k), &at.estimate, true);
    }
    for at in summary.maj.iter().filter(|at| at.k > 1) {
        add(&format!("maj@{}", at.k), &at.estimate, true);
    }
    if let Some(cons) = &summary.cons {
        add(&format!("cons@{}", cons.k), &cons.estimate, true);
    }
    add("truncated", &summary.truncated, false);
    add("no_answer", &summary.no_answer, false);
    for detail in &summary.details {
        // A comma would part the name from the filter.
        add(&detail.name.replace(',', ";"), &detail.mean, true);
    }

    let metric_list: Vec<Value> = higher
        .iter()
        .map(|(name, up)| json!({"metric": name, "aggregation": "mean", "higher_is_better": up}))
        .collect();
    let version = version(&manifest.benchmark_toml);
    json!({
        "results": {task: metrics},
        "group_subtasks": {},
        "configs": {task: {
            "task": task,
            "description": manifest.description,
            "dataset_path": manifest.items.path,
            "output_type": "generate_until",
            "repeats": manifest.k,
            "generation_kwargs": manifest.sampling,
            "metric_list": metric_list,
            "metadata": {
                "version": version,
                "dataset_sha256": manifest.items.sha256,
                "command": manifest.command,
            },
        }},
        "versions": {task: version},
        "n-shot": {},
        "higher_is_better": {task: higher},
        "n-samples": {task: {"original": manifest.item_count, "effective": summary.items}},
        "config": {
            "model": "ponder",
            "model_args": {
                "model": manifest.model.name,
                "path": manifest.model.file.as_ref().map(|f| &f.path),
                "base_url": manifest.model.endpoints.first(),
            },
            "model_num_parameters": manifest.model.parameters,
            "model_sha": manifest.model.file.as_ref().map(|f| &f.sha256),
            "bootstrap_iters": summary.bootstrap.resamples,
            "gen_kwargs": manifest.sampling,
            "random_seed": manifest.seed,
        },
        "git_hash": revision(&manifest.version),
        "date": manifest.started as f64,
        "model_source": "ponder",
        "model_name": manifest.model.name,
        "model_name_sanitized": sanitized(&manifest.model.name),
        "ponder_version": manifest.version,
        "ponder_started": figures::date(manifest.started),
    })
}

/// A benchmark's version: the hash of its description, for one that was changed is another.
fn version(toml: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(toml.as_bytes());
    digest.iter().take(6).map(|b| format!("{b:02x}")).collect()
}

/// The git revision in a version, if there is one.
fn revision(version: &str) -> Option<&str> {
    version.split(|c: char| !c.is_ascii_alphanumeric()).find(|word| {
        (7..=40).contains(&word.len())
            && word.chars().all(|c| c.is_ascii_hexdigit())
            && word.chars().any(|c| c.is_ascii_digit())
    })
}

/// As the harness does it, to name files: what a file system may not take becomes `__`.
fn sanitized(name: &str) -> String {
    let forbidden = |c: char| "\"<>:/|\\?*[]".contains(c);
    let mut out = String::new();
    let mut within = false;
    for c in name.chars() {
        if !forbidden(c) {
            out.push(c);
        } else if !within {
            out.push_str("__");
        }
        within = forbidden(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_found() {
        assert_eq!(revision("0.1.0 (9b11b07)"), Some("9b11b07"));
        assert_eq!(revision("0.1.0"), None);
        assert_eq!(sanitized("a/b:/c"), "a__b__c");
    }
}
