//! `ponder bench --gemm`: the product of two bf16 matrices, in the three forms of training.

use std::fmt;
use std::io::Write;
use std::str::FromStr;
use std::time::{Duration, Instant};

use half::bf16;
use kernels::gemm::{Numbers, Sum, Tiles, View, gemm};
use kernels::roofline::{Number, Peak, Roofline};
use kernels::{Isa, Pool};
use serde::Serialize;

use super::{Output, print};

/// How long each form is repeated, at least.
const TIME: Duration = Duration::from_millis(1500);
/// How often, at least.
const RUNS: usize = 5;
/// The longest side: three matrices of it take 3 GiB.
const LONGEST: usize = 1 << 14;

/// `y = x · wᵀ` with `x` of `m × k` and `w` of `n × k` numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    m: usize,
    k: usize,
    n: usize,
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(given: &str) -> Result<Shape, String> {
        let numbers: Option<Vec<usize>> = given.split('x').map(|n| n.trim().parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[m, k, n]) if [m, k, n].iter().all(|n| (1..=LONGEST).contains(n)) => {
                Ok(Shape { m, k, n })
            }
            _ => Err(format!("three numbers from 1 to {LONGEST}, such as 512x896x4864")),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {} x {}", self.m, self.k, self.n)
    }
}

/// What one form reached.
#[derive(Serialize)]
pub(super) struct Row {
    form: &'static str,
    m: usize,
    k: usize,
    n: usize,
    threads: usize,
    isa: String,
    /// 10⁹ operations a second, the median; a multiplication and an addition are two.
    gflops: f64,
    /// The most that this machine does with numbers of the type that is multiplied.
    peak_gflops: Option<f64>,
}

/// The speed of `y = x · wᵀ` and of its gradients, as [`kernels::gemm`] works them out.
pub(super) fn measure(
    pool: &Pool,
    isa: Isa,
    shape: Shape,
    roofline: Option<&Roofline>,
) -> Vec<Row> {
    let Shape { m, k, n } = shape;
    let numbers = |n: usize| (0..n).map(|i| bf16::from_f32((i % 17) as f32 - 8.0)).collect();
    let [x, w, dy]: [Vec<bf16>; 3] = [numbers(m * k), numbers(n * k), numbers(m * n)];
    let (x, w, dy) = (
        View::new(Numbers::Bf16(&x), m, k),
        View::new(Numbers::Bf16(&w), n, k),
        View::new(Numbers::Bf16(&dy), m, n),
    );
    let (mut tiles, mut out) = (Tiles::default(), vec![0.0; (m * n).max(m * k).max(n * k)]);
    let peak = roofline.and_then(|roofline| peak(roofline, isa)).map(|peak| peak.all);
    let forms =
        [("forward", x, w, m * n), ("dgrad", dy, w.t(), m * k), ("wgrad", dy.t(), x.t(), n * k)];
    forms
        .into_iter()
        .map(|(form, a, b, len)| {
            let (mut seconds, started) = (Vec::new(), Instant::now());
            while seconds.len() < RUNS + 1 || started.elapsed() < TIME {
                let run = Instant::now();
                gemm(isa, pool, (a, b), (&mut out[..len], Sum::Write), &mut tiles);
                seconds.push(run.elapsed().as_secs_f64());
            }
            // The first has made room.
            let seconds = &mut seconds[1..];
            seconds.sort_by(f64::total_cmp);
            Row {
                form,
                m,
                k,
                n,
                threads: pool.threads(),
                isa: isa.to_string(),
                gflops: 2.0 * (m * k * n) as f64 / seconds[seconds.len() / 2] / 1e9,
                peak_gflops: peak,
            }
        })
        .collect()
}

/// Of bf16 if the instruction set multiplies it, or else of f32, which is multiplied instead.
fn peak(roofline: &Roofline, isa: Isa) -> Option<&Peak> {
    let best = |number| {
        let usable = roofline.peaks.iter().filter(|p| p.number == number && isa.includes(p.isa));
        usable.max_by(|a, b| a.all.total_cmp(&b.all))
    };
    best(Number::Bf16).or_else(|| best(Number::F32))
}

/// Prints them.
pub(super) fn rows(out: &mut impl Write, output: Output, rows: &[Row]) -> anyhow::Result<()> {
    let share = |row: &Row| row.peak_gflops.map(|peak| row.gflops / peak);
    match output {
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(rows)?)?,
        Output::Csv => {
            writeln!(out, "form,m,k,n,threads,isa,gflops,share")?;
            for row in rows {
                let Row { form, m, k, n, threads, isa, gflops, .. } = row;
                let share = share(row).map_or(String::new(), |share| format!("{share:.4}"));
                writeln!(out, "{form},{m},{k},{n},{threads},{isa},{gflops:.3},{share}")?;
            }
        }
        Output::Md => {
            let header = ["product", "m x k x n", "threads", "isa", "GFLOP/s", "of the peak"];
            let mut lines = vec![header.map(str::to_owned)];
            for row in rows {
                let Row { form, m, k, n, threads, isa, gflops, .. } = row;
                lines.push([
                    (*form).to_owned(),
                    Shape { m: *m, k: *k, n: *n }.to_string(),
                    threads.to_string(),
                    isa.clone(),
                    format!("{gflops:.1}"),
                    share(row).map_or("-".to_owned(), |share| format!("{:.1} %", 100.0 * share)),
                ]);
            }
            print::table(out, &lines, &[2, 4, 5])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_three_numbers() {
        let shape: Shape = "512x896x4864".parse().unwrap();
        assert_eq!(shape, Shape { m: 512, k: 896, n: 4864 });
        assert_eq!(shape.to_string(), "512 x 896 x 4864");
        for bad in ["", "512", "512x896", "1x2x3x4", "0x1x1", "1x1x99999", "axbxc"] {
            assert!(bad.parse::<Shape>().unwrap_err().contains("512x896x4864"), "{bad}");
        }
    }

    #[test]
    fn the_peak_is_that_of_what_is_multiplied() {
        let of = |isa, number, all| Peak { isa, number, instruction: "", one: all, all };
        let roofline = Roofline {
            threads: 2,
            read_one: 1.0,
            read_all: 1.0,
            peaks: vec![
                of(Isa::Avx2, Number::F32, 100.0),
                of(Isa::Avx2, Number::Int8, 400.0),
                of(Isa::Avx512Bf16, Number::Bf16, 300.0),
            ],
        };
        let all = |isa| peak(&roofline, isa).map(|peak| peak.all);
        assert_eq!((all(Isa::Avx2), all(Isa::Avx512Bf16)), (Some(100.0), Some(300.0)));
        assert_eq!(all(Isa::Scalar), None);
    }

    #[test]
    fn every_form_is_measured() {
        let shape = Shape { m: 5, k: 33, n: 40 };
        let rows = measure(&Pool::new(2), Isa::detect().unwrap(), shape, None);
        let forms: Vec<&str> = rows.iter().map(|row| row.form).collect();
        assert_eq!(forms, ["forward", "dgrad", "wgrad"]);
        assert!(rows.iter().all(|row| row.gflops > 0.0 && row.peak_gflops.is_none()));
        let mut text = Vec::new();
        super::rows(&mut text, Output::Md, &rows).unwrap();
        assert!(String::from_utf8(text).unwrap().contains("5 x 33 x 40"));
    }
}
