//! `ponder list`: the models on this machine, and those that could be.

use std::io::Write;

use serde::Serialize;
use weights::catalogue::{Catalogue, Model};
use weights::inspect::{Thinking, inspect};
use weights::pull::human_bytes;
use weights::store::{Installed, Store};

/// Show the models on this machine.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also those in the catalogue that could be pulled.
    #[arg(short, long)]
    all: bool,

    /// A JSON array instead of a table.
    #[arg(long)]
    json: bool,
}

/// A line of the list. What is not known is absent.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    installed: bool,
    /// Bytes.
    size: Option<u64>,
    quant: Option<String>,
    parameters: Option<String>,
    context: Option<u64>,
    thinks: Option<bool>,
    path: Option<String>,
}

/// Prints the list.
pub fn run(args: Args) -> anyhow::Result<()> {
    let (catalogue, store) = (Catalogue::from_env()?, Store::from_env()?);
    let mut rows: Vec<Row> = store.all()?.iter().map(|model| here(model, &catalogue)).collect();
    if args.all {
        let missing =
            catalogue.models().iter().filter(|model| rows.iter().all(|row| row.name != model.name));
        let missing: Vec<Row> = missing.map(available).collect();
        rows.extend(missing);
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?;
    } else if rows.is_empty() {
        writeln!(out, "no models here yet; `ponder pull` fetches {}", catalogue.default_name())?;
    } else {
        out.write_all(table(&rows, args.all).as_bytes())?;
    }
    Ok(())
}

fn here(model: &Installed, catalogue: &Catalogue) -> Row {
    let name = &model.manifest.name;
    // `qwq-32b:Q8_0` is the row `qwq-32b` at another quantisation.
    let row = catalogue.find(name).or_else(|| catalogue.find(name.split_once(':')?.0));
    // A model the catalogue does not know is asked itself.
    let report = if row.is_none() { inspect(&model.path(), None).ok() } else { None };
    let thinks = || Some(report.as_ref()?.chat_template.as_ref()?.thinking != Thinking::Unknown);
    Row {
        name: name.clone(),
        installed: true,
        size: Some(model.size()),
        quant: model.manifest.quant.clone(),
        parameters: row.map(|row| row.parameters.clone()),
        context: row.map(|row| row.context.into()).or_else(|| report.as_ref()?.context),
        thinks: row.map(|row| row.thinks).or_else(thinks),
        path: Some(model.path().display().to_string()),
    }
}

fn available(model: &Model) -> Row {
    let sizes = model.files.iter().map(|file| file.size);
    Row {
        name: model.name.clone(),
        installed: false,
        size: sizes.sum::<Option<u64>>().filter(|&size| size > 0),
        quant: Some(model.quant.clone()),
        parameters: Some(model.parameters.clone()),
        context: Some(model.context.into()),
        thinks: Some(model.thinks),
        path: None,
    }
}

/// Columns as wide as their widest cell; numbers to the right.
fn table(rows: &[Row], all: bool) -> String {
    const UNKNOWN: &str = "-";
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let mut lines: Vec<[String; 6]> =
        vec![["NAME", "SIZE", "QUANT", "CONTEXT", "THINKS", "HERE"].map(str::to_owned)];
    lines.extend(rows.iter().map(|row| {
        [
            row.name.clone(),
            row.size.map_or(UNKNOWN.into(), human_bytes),
            row.quant.clone().unwrap_or(UNKNOWN.into()),
            row.context.map_or(UNKNOWN.into(), |context| context.to_string()),
            row.thinks.map_or(UNKNOWN.into(), yes_no),
            yes_no(row.installed),
        ]
    }));
    let columns = if all { 6 } else { 5 };
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns).filter_map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells =
            line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
                1 | 3 => format!("{cell:>width$}"),
                _ => format!("{cell:<width$}"),
            });
        let line = cells.collect::<Vec<_>>().join("  ");
        text += line.trim_end();
        text.push('\n');
    }
    text
}
