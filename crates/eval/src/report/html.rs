//! The report as a page.

use std::fmt::Write;

use serde_json::json;

use super::escape::{self, html as escape_html};
use super::figures::{number, percent, seconds};
use super::plots::{self, Plot};
use super::tables::{self, Fact, Table};
use super::{Report, data};
use crate::stats::{Item, Mark};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

pub(super) fn report(report: &Report<'_>) -> String {
    let (manifest, summary) = (report.manifest, &report.summary);
    let mut main = String::new();
    opening(&mut main, &manifest.benchmark, &manifest.model.name, &manifest.description);

    let mut hero = vec![(
        percent(summary.accuracy.value),
        format!("right, 95 % interval {}", tables::headline_interval(summary)),
    )];
    let at = |of: &[crate::stats::AtK]| of.last().filter(|at| at.k > 1).copied();
    if let Some(pass) = at(&summary.pass) {
        hero.push((percent(pass.estimate.value), format!("pass@{}", pass.k)));
    }
    if let Some(maj) = at(&summary.maj) {
        hero.push((percent(maj.estimate.value), format!("maj@{}", maj.k)));
    }
    hero.push((number(summary.cost.tokens_per_sample.value), "tokens a sample".to_owned()));
    hero.push((seconds(summary.cost.seconds_per_sample.value), "a sample".to_owned()));
    hero.push((percent(summary.truncated.value), "truncated".to_owned()));
    heroes(&mut main, &hero);

    if summary.samples < summary.expected {
        warn(&mut main, &format!("This run isn't finished: {}.", tables::samples(report)));
    }
    if summary.cannot_tell.value > 0.0 {
        let text = format!(
            "{} of the samples could not be judged on the machine that judged them. They count as not right.",
            percent(summary.cannot_tell.value)
        );
        warn(&mut main, &text);
    }
    facts(&mut main, &tables::facts(report));
    figures(&mut main, &plots::of_run(summary));
    tables(&mut main, &tables::tables(report));

    let items: Vec<_> = report
        .items
        .iter()
        .zip(&report.marks)
        .map(|(item, marks)| vec![(item, marks.as_slice())])
        .collect();
    let runs = json!([{"name": manifest.model.name, "model": manifest.model.name}]);
    let title = format!("{}: {}", manifest.model.name, manifest.benchmark);
    page(&title, &main, &tables::notes(report), &runs, &items)
}

/// The page around what it says, with the items of one run or of several.
pub(super) fn page(
    title: &str,
    main: &str,
    notes: &[String],
    runs: &serde_json::Value,
    items: &[Vec<(&Item<'_>, &[Mark])>],
) -> String {
    let rows: Vec<_> = items.iter().map(|runs| data::row(runs)).collect();
    let mut texts = format!(
        "<script type=\"application/json\" id=\"data\">{}</script>\n",
        escape::json(&json!({"runs": runs, "rows": rows}))
    );
    for (i, runs) in items.iter().enumerate() {
        let _ = writeln!(
            texts,
            "<script type=\"application/json\" id=\"item-{i}\">{}</script>",
            escape::json(&data::opened(runs))
        );
    }
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; img-src data:; base-uri 'none'; form-action 'none'",
        escape::csp_source(SCRIPT),
        escape::csp_source(STYLE)
    );
    fill(
        PAGE,
        &[
            ("policy", &policy),
            ("title", &escape_html(title)),
            ("style", STYLE),
            ("main", main),
            ("notes", &self::notes(notes)),
            ("data", &texts),
            ("script", SCRIPT),
        ],
    )
}

/// Puts values in the places of a template, in one pass: a value that looks like a place is none.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut out =
        String::with_capacity(template.len() + values.iter().map(|(_, v)| v.len()).sum::<usize>());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").expect("the page's own template is whole");
        out.push_str(before);
        let value = values.iter().find(|(n, _)| *n == name).expect("every place has a value");
        out.push_str(value.1);
        rest = after;
    }
    out.push_str(rest);
    out
}

pub(super) fn opening(out: &mut String, title: &str, subtitle: &str, about: &str) {
    let _ = writeln!(
        out,
        "<header><p class=\"mark\">ponder</p><h1><bdi>{}</bdi></h1><p class=\"about\"><bdi>{}</bdi></p>",
        escape_html(title),
        escape_html(subtitle)
    );
    if !about.trim().is_empty() {
        let _ = writeln!(out, "<p class=\"about\"><bdi>{}</bdi></p>", escape_html(about.trim()));
    }
    out.push_str(
        "<nav><a href=\"#plots\">Plots</a> <a href=\"#tables\">Tables</a> \
         <a href=\"#items\">Items</a> <a href=\"#notes\">Notes</a></nav></header>\n",
    );
}

/// The figures to see first.
pub(super) fn heroes(out: &mut String, figures: &[(String, String)]) {
    out.push_str("<div class=\"hero\">");
    for (figure, what) in figures {
        let _ = write!(
            out,
            "<div><b>{}</b><span>{}</span></div>",
            escape_html(figure),
            escape_html(what)
        );
    }
    out.push_str("</div>\n");
}

pub(super) fn warn(out: &mut String, text: &str) {
    let _ = writeln!(out, "<p class=\"warn\">{}</p>", escape_html(text));
}

fn facts(out: &mut String, facts: &[Fact]) {
    out.push_str("<dl class=\"facts\">");
    for Fact { name, value, code } in facts {
        let value = escape_html(value);
        let value =
            if *code { format!("<code>{value}</code>") } else { format!("<bdi>{value}</bdi>") };
        let _ = writeln!(out, "<dt>{name}</dt><dd>{value}</dd>");
    }
    out.push_str("</dl>\n");
}

pub(super) fn figures(out: &mut String, plots: &[Plot]) {
    if plots.is_empty() {
        return;
    }
    out.push_str("<section id=\"plots\"><h2>Plots</h2><div class=\"plots\">\n");
    for plot in plots {
        let _ = writeln!(
            out,
            "<figure><figcaption><h3>{}</h3><p>{}</p></figcaption>{}</figure>",
            escape_html(plot.title),
            escape_html(&plot.note),
            plot.svg
        );
    }
    out.push_str("</div></section>\n");
}

/// Tables side by side where there is room; wide ones take all of it.
pub(super) fn tables(out: &mut String, tables: &[Table]) {
    out.push_str("<div class=\"tables\" id=\"tables\">");
    for one in tables {
        table(out, one);
    }
    out.push_str("</div>\n");
}

fn table(out: &mut String, table: &Table) {
    let wide = if table.is_wide() { " class=\"wide\"" } else { "" };
    let _ = write!(
        out,
        "<section{wide}><h2>{}</h2><div class=\"scroll\"><table><thead><tr>",
        escape_html(table.title)
    );
    let what = table.head.iter().position(|h| *h == "What");
    let class = |i| if what == Some(i) { " class=\"what\"" } else { "" };
    for (i, head) in table.head.iter().enumerate() {
        // What explains each row needs no name.
        let head = if what == Some(i) { "" } else { head };
        let _ = write!(out, "<th{}>{}</th>", class(i), escape_html(head));
    }
    out.push_str("</tr></thead><tbody>\n");
    for row in &table.rows {
        out.push_str("<tr>");
        for (i, cell) in row.iter().enumerate() {
            let _ = write!(out, "<td{}><bdi>{}</bdi></td>", class(i), escape_html(cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div></section>\n");
}

fn notes(notes: &[String]) -> String {
    let mut out = "<section id=\"notes\"><h2>Notes</h2><ul class=\"notes\">".to_owned();
    for note in notes {
        let _ = writeln!(out, "<li>{}</li>", escape_html(note));
    }
    out + "</ul></section>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_looked_into() {
        assert_eq!(fill("a {{x}} b {{y}}", &[("x", "{{y}}"), ("y", "1")]), "a {{y}} b 1");
    }

    #[test]
    fn the_assets_can_stand_inline() {
        assert!(!SCRIPT.contains("</script") && !SCRIPT.contains("<!--"));
        assert!(!STYLE.contains("</style"));
        for asset in [PAGE, STYLE, SCRIPT] {
            assert!(
                !asset.contains("http:") && !asset.contains("https:") && !asset.contains("url(")
            );
        }
        assert!(!SCRIPT.contains("innerHTML") && !SCRIPT.contains("eval("));
    }
}
