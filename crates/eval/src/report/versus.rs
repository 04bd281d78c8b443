//! The report of two runs, set against each other.

use std::collections::HashMap;
use std::fmt::Write;

use serde::Serialize;
use serde_json::json;

use super::escape::{html as escape_html, markdown as escape_markdown};
use super::figures::{
    NONE, count, flops, interval, number, p_is, p_value, percent, points, seconds,
};
use super::tables::{self, Table};
use super::{Report, html, markdown, plots};
use crate::stats::{Comparison, Estimate, Summary};

/// Two runs and how they differ: the second less the first.
#[derive(Clone, Debug, Serialize)]
pub struct Versus<'a> {
    /// The first run: what is compared with.
    pub first: Report<'a>,
    /// The second.
    pub second: Report<'a>,
    /// How they differ on the items both have.
    pub comparison: Comparison,
}

impl<'a> Versus<'a> {
    /// Compares two runs, with the first's bootstrap.
    pub fn new(first: Report<'a>, second: Report<'a>) -> Self {
        let comparison = Comparison::of(&first.items, &second.items, &first.summary.bootstrap);
        Self { first, second, comparison }
    }

    /// Both manifests and every figure, as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("a report is plain data")
    }

    /// Facts and tables, as Markdown.
    pub fn to_markdown(&self) -> String {
        let mut out = format!(
            "# {}\n\n{}\n\n",
            escape_markdown(&self.title()),
            escape_markdown(&self.verdict())
        );
        for caution in self.cautions() {
            let _ = writeln!(out, "> {}\n", escape_markdown(&caution));
        }
        let facts = self.facts().into_iter().map(|(name, a, b)| vec![name.to_owned(), a, b]);
        let table = Table { title: "Runs", head: vec!["", "A", "B"], rows: facts.collect() };
        markdown::table(&mut out, &table);
        for table in self.tables() {
            markdown::table(&mut out, &table);
        }
        markdown::notes(&mut out, &self.notes());
        out
    }

    /// Everything on one page, which needs nothing else.
    pub fn to_html(&self) -> String {
        let comparison = &self.comparison;
        let mut main = String::new();
        html::opening(&mut main, &self.title(), &self.verdict(), "");
        html::heroes(
            &mut main,
            &[
                (
                    points(comparison.difference.value),
                    format!("B less A, 95 % interval {}", interval(&comparison.difference, points)),
                ),
                (p_value(comparison.p), "p, by permutation".to_owned()),
                (percent(comparison.first.value), "A right".to_owned()),
                (percent(comparison.second.value), "B right".to_owned()),
                (count(comparison.items), "items in both".to_owned()),
            ],
        );
        for caution in self.cautions() {
            html::warn(&mut main, &caution);
        }
        self.facts_as_html(&mut main);
        html::figures(&mut main, &plots::of_comparison(comparison, ["A", "B"]));
        html::tables(&mut main, &self.tables());

        let seconds: HashMap<&str, usize> =
            self.second.items.iter().enumerate().map(|(i, item)| (item.id, i)).collect();
        let items: Vec<_> = self
            .first
            .items
            .iter()
            .zip(&self.first.marks)
            .filter_map(|(item, marks)| {
                let other = *seconds.get(item.id)?;
                let second = (&self.second.items[other], self.second.marks[other].as_slice());
                Some(vec![(item, marks.as_slice()), second])
            })
            .collect();
        let runs = json!([
            {"name": "A", "model": self.first.manifest.model.name},
            {"name": "B", "model": self.second.manifest.model.name},
        ]);
        html::page(&self.title(), &main, &self.notes(), &runs, &items)
    }

    fn title(&self) -> String {
        let (a, b) = (self.first.manifest, self.second.manifest);
        let benchmark = if a.benchmark == b.benchmark {
            a.benchmark.clone()
        } else {
            format!("{} and {}", a.benchmark, b.benchmark)
        };
        format!("{benchmark}: {} (A) and {} (B)", a.model.name, b.model.name)
    }

    fn verdict(&self) -> String {
        let comparison = &self.comparison;
        let Comparison { difference, p, items, .. } = comparison;
        if *items == 0 {
            return "The runs have no item in common.".to_owned();
        }
        // A p-value alone decides nothing, but nobody should read a difference into noise.
        let says = match (*p <= 0.05, difference.value > 0.0) {
            (false, _) => "No difference is shown",
            (true, true) => "B is right more often than A",
            (true, false) => "B is right less often than A",
        };
        let (value, ends) = (points(difference.value), interval(difference, points));
        format!("{says}: {value} (95 % interval {ends}), {}.", p_is(*p))
    }

    /// What makes the comparison less than one of models.
    fn cautions(&self) -> Vec<String> {
        let (a, b, comparison) = (self.first.manifest, self.second.manifest, &self.comparison);
        let mut cautions = Vec::new();
        if a.items.sha256 != b.items.sha256 || a.benchmark_toml != b.benchmark_toml {
            cautions.push(
                "The runs' items or benchmark descriptions are not the same files.".to_owned(),
            );
        }
        if comparison.questions_differ > 0 {
            cautions.push(format!(
                "{} items have the same id but another question.",
                count(comparison.questions_differ)
            ));
        }
        if comparison.only_first + comparison.only_second > 0 {
            cautions.push(format!(
                "{} items are only in A and {} only in B: they are left out of the comparison.",
                count(comparison.only_first),
                count(comparison.only_second)
            ));
        }
        cautions
    }

    /// The runs' facts beside each other.
    fn facts(&self) -> Vec<(&'static str, String, String)> {
        let (first, second) = (tables::facts(&self.first), tables::facts(&self.second));
        let value = |facts: &[tables::Fact], name| {
            facts.iter().find(|f| f.name == name).map_or(NONE.to_owned(), |f| f.value.clone())
        };
        let mut names: Vec<&'static str> = first.iter().map(|f| f.name).collect();
        names.extend(second.iter().map(|f| f.name).filter(|n| first.iter().all(|f| f.name != *n)));
        names.into_iter().map(|name| (name, value(&first, name), value(&second, name))).collect()
    }

    fn facts_as_html(&self, out: &mut String) {
        out.push_str(
            "<section><h2>Runs</h2><div class=\"scroll\"><table class=\"pair\"><thead><tr>\
             <th></th><th>A</th><th>B</th></tr></thead><tbody>\n",
        );
        for (name, a, b) in self.facts() {
            let class = if a == b { "" } else { " class=\"differs\"" };
            let _ = writeln!(
                out,
                "<tr{class}><td>{name}</td><td><bdi>{}</bdi></td><td><bdi>{}</bdi></td></tr>",
                escape_html(&a),
                escape_html(&b)
            );
        }
        out.push_str("</tbody></table></div></section>\n");
    }

    fn tables(&self) -> Vec<Table> {
        let c = &self.comparison;
        let estimate = |name: &str, e: &Estimate, show: fn(f64) -> String| {
            // An error has no sign.
            let se = show(e.se).trim_start_matches('+').to_owned();
            vec![name.to_owned(), show(e.value), interval(e, show), se]
        };
        let plain = |name: &str, value: String| {
            vec![name.to_owned(), value, NONE.to_owned(), NONE.to_owned()]
        };
        let mut rows = vec![
            estimate("A right", &c.first, percent),
            estimate("B right", &c.second, percent),
            estimate("B less A", &c.difference, points),
            estimate("B less A, tokens", &c.tokens, number),
            plain("p, paired permutation", p_value(c.p)),
        ];
        if let Some(mcnemar) = &c.mcnemar {
            rows.push(plain("p, exact McNemar", p_value(mcnemar.p)));
        }
        rows.push(plain("items A is better on", count(c.first_better)));
        rows.push(plain("items B is better on", count(c.second_better)));
        rows.push(plain("items both have", count(c.items)));
        rows.push(plain("correlation over items", number(c.correlation)));
        let head = vec!["", "", "95 % interval", "SE"];
        let comparison = Table { title: "Comparison", head, rows };
        let tables = [comparison, self.details(), self.side_by_side()];
        tables.into_iter().filter(|table| !table.rows.is_empty()).collect()
    }

    /// What both runs report besides, over the items they share.
    fn details(&self) -> Table {
        let rows = self.comparison.details.iter().map(|detail| {
            let show: fn(f64) -> String = if detail.is_share { percent } else { number };
            let less: fn(f64) -> String = if detail.is_share { points } else { number };
            vec![
                detail.name.clone(),
                show(detail.first.value),
                show(detail.second.value),
                less(detail.difference.value),
                interval(&detail.difference, less),
                p_value(detail.p),
            ]
        });
        Table {
            title: "Reported besides",
            head: vec!["", "A", "B", "B less A", "95 % interval", "p, paired permutation"],
            rows: rows.collect(),
        }
    }

    /// The runs' own figures, each over all its items.
    fn side_by_side(&self) -> Table {
        let (a, b) = (&self.first.summary, &self.second.summary);
        let shown = |e: Option<&Estimate>, show: fn(f64) -> String| {
            e.map_or(NONE.to_owned(), |e| format!("{} ({})", show(e.value), interval(e, show)))
        };
        let mut rows = Vec::new();
        let mut add = |name: String, of: &dyn Fn(&Summary) -> Option<Estimate>, show| {
            rows.push(vec![name, shown(of(a).as_ref(), show), shown(of(b).as_ref(), show)]);
        };
        add("right".to_owned(), &|s| Some(s.accuracy), percent);
        for k in ks(a, b) {
            let at = move |of: &[crate::stats::AtK]| {
                of.iter().find(|at| at.k == k).map(|at| at.estimate)
            };
            add(format!("pass@{k}"), &|s| at(&s.pass), percent);
            add(format!("maj@{k}"), &|s| at(&s.maj), percent);
        }
        add("truncated".to_owned(), &|s| Some(s.truncated), percent);
        add("no answer".to_owned(), &|s| Some(s.no_answer), percent);
        add("repeats".to_owned(), &|s| Some(s.repeats), percent);
        add("mixes languages".to_owned(), &|s| Some(s.mixed), percent);
        add("could not tell".to_owned(), &|s| Some(s.cannot_tell), percent);
        add("tokens a sample".to_owned(), &|s| Some(s.cost.tokens_per_sample), number);
        add("tokens a right one".to_owned(), &|s| Some(s.cost.tokens_per_right), number);
        add("seconds a right one".to_owned(), &|s| Some(s.cost.seconds_per_right), seconds);
        add("FLOPs a right one".to_owned(), &|s| s.cost.flops_per_right, flops);
        Table { title: "Side by side", head: vec!["", "A", "B"], rows }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = vec![
            "The comparison is over the items both runs have, paired by item. The permutation test \
             flips the signs of items' differences: exactly for at most 16 that are not 0, else as \
             often as the bootstrap resamples. McNemar's test is for one sample an item. p is \
             two-sided, and not corrected for comparing more than two runs."
                .to_owned(),
        ];
        notes.extend(tables::notes(&self.first));
        notes
    }
}

/// The `k`s above 1 that either run has.
fn ks(a: &Summary, b: &Summary) -> Vec<usize> {
    let mut ks: Vec<usize> =
        a.pass.iter().chain(&b.pass).map(|at| at.k).filter(|k| *k > 1).collect();
    ks.sort_unstable();
    ks.dedup();
    ks
}
