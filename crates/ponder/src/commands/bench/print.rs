//! Tables of a benchmark: Markdown for people, JSON and CSV for programs.

use std::io::Write;

use engine::BenchRow;
use kernels::roofline::{Peak, Roofline};
use serde_json::json;

use super::{Output, Row, Share, describe, name};

/// What the machine can do.
pub(super) fn roofline(
    out: &mut impl Write,
    output: Output,
    roofline: &Roofline,
) -> anyhow::Result<()> {
    let Roofline { threads, read_one, read_all, peaks } = roofline;
    match output {
        Output::Json => {
            let peaks: Vec<_> = peaks
                .iter()
                .map(|Peak { isa, number, instruction, one, all }| {
                    json!({
                        "isa": isa.to_string(), "type": number.to_string(),
                        "instruction": instruction, "gops_one": one, "gops_all": all,
                    })
                })
                .collect();
            let object = json!({
                "threads": threads, "read_gbs_one": read_one, "read_gbs_all": read_all,
                "peaks": peaks,
            });
            writeln!(out, "{object:#}")?;
        }
        Output::Csv => {
            writeln!(out, "what,isa,type,unit,one_thread,threads,all_threads")?;
            writeln!(out, "read,,,GB/s,{read_one:.3},{threads},{read_all:.3}")?;
            for Peak { isa, number, one, all, .. } in peaks {
                writeln!(out, "arithmetic,{isa},{number},GOP/s,{one:.3},{threads},{all:.3}")?;
            }
        }
        Output::Md => {
            let threads = format!("{threads} threads");
            let header = ["", "isa", "type", "instructions", "1 thread", &threads, "unit"];
            let mut lines = vec![header.map(str::to_owned)];
            let speed = |s: &f64| format!("{s:.1}");
            lines.push([
                "read".to_owned(),
                String::new(),
                String::new(),
                String::new(),
                speed(read_one),
                speed(read_all),
                "GB/s".to_owned(),
            ]);
            for Peak { isa, number, instruction, one, all } in peaks {
                lines.push([
                    "arithmetic".to_owned(),
                    isa.to_string(),
                    number.to_string(),
                    (*instruction).to_owned(),
                    speed(one),
                    speed(all),
                    "GOP/s".to_owned(),
                ]);
            }
            table(out, &lines, &[4, 5])?;
        }
    }
    Ok(())
}

/// What was measured of a model.
pub(super) fn rows(out: &mut impl Write, output: Output, rows: &[Row]) -> anyhow::Result<()> {
    match output {
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(rows)?)?,
        Output::Csv => {
            write!(out, "model,threads,isa,test,n_prompt,n_gen,n_batch,n_depth,")?;
            writeln!(out, "avg_ts,stddev_ts,read_share,arithmetic_share")?;
            for Row { model, threads, isa, row, share, .. } in rows {
                let BenchRow { case, avg_ts, stddev_ts, .. } = row;
                let (p, n, b, d) = (case.n_prompt, case.n_gen, case.n_batch, case.n_depth);
                let model = model.replace('"', "\"\"");
                let test = name(case.test);
                let number =
                    |share: Option<f64>| share.map_or(String::new(), |s| format!("{s:.4}"));
                let read = number(share.as_ref().and_then(|s| s.read_share));
                let arithmetic = number(share.as_ref().map(|s| s.arithmetic_share));
                write!(out, "\"{model}\",{threads},{isa},{test},{p},{n},{b},{d},")?;
                writeln!(out, "{avg_ts:.3},{stddev_ts:.3},{read},{arithmetic}")?;
            }
        }
        Output::Md => {
            let header =
                ["model", "threads", "isa", "test", "tokens/s", "of reading", "of arithmetic"];
            let mut lines = vec![header.map(str::to_owned)];
            for Row { model, threads, isa, row, share, .. } in rows {
                let percent = |share: Option<f64>| {
                    share.map_or("-".to_owned(), |s| format!("{:.1} %", 100.0 * s))
                };
                lines.push([
                    (*model).to_owned(),
                    threads.to_string(),
                    isa.clone(),
                    describe(&row.case),
                    format!("{:.2} ± {:.2}", row.avg_ts, row.stddev_ts),
                    percent(share.as_ref().and_then(|s| s.read_share)),
                    percent(share.as_ref().map(|s| s.arithmetic_share)),
                ]);
            }
            table(out, &lines, &[1, 4, 5, 6])?;
            if let Some(share) = rows.first().and_then(|row| row.share.as_ref()) {
                let Share { read_peak, arithmetic_peak, arithmetic_unit, .. } = share;
                writeln!(
                    out,
                    "\nThis machine reads {read_peak:.1} GB/s and computes {arithmetic_peak:.0} \
                     GOP/s ({arithmetic_unit})."
                )?;
            }
        }
    }
    Ok(())
}

/// A Markdown table, the first line its header, that is one in plain text, too. `right` names the
/// columns of numbers.
pub(super) fn table<const N: usize>(
    out: &mut impl Write,
    lines: &[[String; N]],
    right: &[usize],
) -> std::io::Result<()> {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0).max(3));
    for (i, line) in lines.iter().enumerate() {
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            let pad = " ".repeat(width - cell.chars().count());
            if right.contains(&column) {
                write!(out, "| {pad}{cell} ")?;
            } else {
                write!(out, "| {cell}{pad} ")?;
            }
        }
        writeln!(out, "|")?;
        if i == 0 {
            for (column, width) in widths.into_iter().enumerate() {
                let end = if right.contains(&column) { ":" } else { "-" };
                write!(out, "| {}{end} ", "-".repeat(width - 1))?;
            }
            writeln!(out, "|")?;
        }
    }
    Ok(())
}
