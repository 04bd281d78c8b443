//! A page, Markdown and JSON, made from a run folder.
//!
//! [`Report`] is of one run, [`Versus`] of two. What they say is put together once, as facts and
//! tables, and written out as Markdown and as a page; the JSON is the figures as they are. The page
//! is one file that asks nobody for anything: its styles, script, plots and every sample are in it,
//! and what models wrote is only ever text in it.

mod data;
mod escape;
mod figures;
mod html;
mod lm_eval;
mod markdown;
mod plots;
mod spending;
mod svg;
mod tables;
mod versus;

pub use spending::{Series, spending};
pub use versus::Versus;

use serde::Serialize;

use crate::run::{Manifest, Sample};
use crate::stats::{Bootstrap, Item, Mark, Summary, by_item};

/// The report of a run. Serialised it is the manifest and every figure, without the samples' texts.
#[derive(Clone, Debug, Serialize)]
pub struct Report<'a> {
    /// What was measured, and how.
    pub manifest: &'a Manifest,
    /// The figures.
    pub summary: Summary,
    #[serde(skip)]
    items: Vec<Item<'a>>,
    #[serde(skip)]
    marks: Vec<Vec<Mark>>,
}

impl<'a> Report<'a> {
    /// Works out a run's figures. `same` says whether two extracted answers are equal.
    pub fn new(
        manifest: &'a Manifest,
        samples: &'a [Sample],
        same: &dyn Fn(&str, &str) -> bool,
    ) -> Self {
        Self::with(manifest, samples, same, &Bootstrap::default())
    }

    /// Likewise, with another bootstrap than 10,000 resamples from seed 0.
    pub fn with(
        manifest: &'a Manifest,
        samples: &'a [Sample],
        same: &dyn Fn(&str, &str) -> bool,
        bootstrap: &Bootstrap,
    ) -> Self {
        let items = by_item(samples);
        let marks: Vec<Vec<Mark>> =
            items.iter().map(|i| i.samples.iter().map(|s| Mark::of(s)).collect()).collect();
        let summary = Summary::of(manifest, &items, &marks, same, bootstrap);
        Self { manifest, summary, items, marks }
    }

    /// The manifest and every figure, as JSON. What has no finite value is `null`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("a report is plain data")
    }

    /// Facts and tables, as Markdown.
    pub fn to_markdown(&self) -> String {
        markdown::report(self)
    }

    /// Everything on one page, which needs nothing else.
    pub fn to_html(&self) -> String {
        html::report(self)
    }

    /// The results as lm-evaluation-harness writes them (`results_….json`).
    pub fn to_lm_eval(&self) -> serde_json::Value {
        lm_eval::results(self)
    }
}
