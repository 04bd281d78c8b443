//! The report as Markdown.

use std::fmt::Write;

use super::Report;
use super::escape::markdown as escape;
use super::figures::percent;
use super::tables::{self, Fact, Table};

pub(super) fn report(report: &Report<'_>) -> String {
    let (manifest, summary) = (report.manifest, &report.summary);
    let mut out = format!(
        "# {}: {}\n\n**{}** right (95 % interval {}), {}.\n\n",
        escape(&manifest.model.name),
        escape(&manifest.benchmark),
        percent(summary.accuracy.value),
        tables::headline_interval(summary),
        tables::samples(report),
    );
    if !manifest.description.trim().is_empty() {
        let _ = writeln!(out, "{}\n", escape(manifest.description.trim()));
    }
    facts(&mut out, &tables::facts(report));
    for one in tables::tables(report) {
        table(&mut out, &one);
    }
    notes(&mut out, &tables::notes(report));
    out
}

pub(super) fn facts(out: &mut String, facts: &[Fact]) {
    for Fact { name, value, code } in facts {
        if *code && value.len() > 100 {
            // No fence is as long as this one, whatever stands in it.
            let fence = "`".repeat(longest_run(value).max(2) + 1);
            let _ = writeln!(
                out,
                "- {name}:\n\n  {fence}\n  {}\n  {fence}\n",
                value.replace('\n', "\n  ")
            );
        } else if *code {
            let tick = "`".repeat(longest_run(value) + 1);
            let pad = if value.starts_with('`') || value.ends_with('`') { " " } else { "" };
            let _ = writeln!(out, "- {name}: {tick}{pad}{}{pad}{tick}", value.replace('\n', " "));
        } else {
            let _ = writeln!(out, "- {name}: {}", escape(value));
        }
    }
    out.push('\n');
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

pub(super) fn table(out: &mut String, table: &Table) {
    let _ = writeln!(out, "## {}\n", table.title);
    let last_is_text = table.head.last() == Some(&"What");
    let _ = writeln!(out, "| {} |", table.head.join(" | "));
    let rule: Vec<&str> = (0..table.head.len())
        .map(|i| if i == 0 || last_is_text && i + 1 == table.head.len() { "---" } else { "---:" })
        .collect();
    let _ = writeln!(out, "|{}|", rule.join("|"));
    for row in &table.rows {
        let cells: Vec<String> = row.iter().map(|cell| escape(cell)).collect();
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
    out.push('\n');
}

pub(super) fn notes(out: &mut String, notes: &[String]) {
    out.push_str("## Notes\n\n");
    for note in notes {
        let _ = writeln!(out, "- {}", escape(note));
    }
}
