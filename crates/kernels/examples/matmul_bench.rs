//! Speed of the product of a batch with packed weights, by type and number of tokens.
//!
//! ```sh
//! cargo run --release -p ponder-kernels --example matmul_bench -- [THREADS] [ROWS COLS]
//! ```
//!
//! Prints 10⁹ multiplications and additions a second, the median of several runs. `PONDER_ISA` chooses the
//! instruction set.

use std::time::{Duration, Instant};

use kernels::blocks::BlockType;
use kernels::matmul::{Matrix, Product, Quantized, matmul};
use kernels::{Arena, Isa, Pool};

const TOKENS: [usize; 9] = [1, 2, 4, 6, 8, 12, 16, 64, 512];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<usize> =
        std::env::args().skip(1).map(|a| a.parse()).collect::<Result<_, _>>()?;
    let threads = arguments.first().copied().unwrap_or(2);
    let (rows, cols) = match arguments.get(1..) {
        Some([rows, cols]) => (*rows, *cols),
        _ => (4096, 2048),
    };
    let isa = Isa::detect()?;
    let pool = Pool::new(threads);
    println!("{rows} × {cols} on {isa}, {threads} threads, GOP/s");
    print!("{:8}", "tokens");
    TOKENS.iter().for_each(|t| print!("{t:>8}"));
    println!();
    for ty in BlockType::ALL {
        let Some(row_bytes) = ty.row_bytes(cols) else { continue };
        // Any bits but those of an exponent that is all ones: scales are finite.
        let bytes: Vec<u8> = (0..rows * row_bytes).map(|i| (i * 37 % 61) as u8).collect();
        let weight = Matrix::pack(&pool, ty, rows, cols, &bytes, &mut Arena::default())?;
        let mut scratch = Quantized::default();
        print!("{:8}", format!("{ty:?}"));
        for tokens in TOKENS {
            let x: Vec<f32> = (0..tokens * cols).map(|i| (i % 17) as f32 - 8.0).collect();
            let mut out = vec![0.0; tokens * rows];
            let mut times = Vec::new();
            let start = Instant::now();
            while times.len() < 3
                || (start.elapsed() < Duration::from_millis(200) && times.len() < 500)
            {
                let start = Instant::now();
                let mut products = [Product { weight: &weight, out: &mut out }];
                matmul(isa, &pool, &x, &mut products, &mut scratch);
                times.push(start.elapsed().as_secs_f64());
            }
            times.sort_by(f64::total_cmp);
            let work = 2.0 * (rows * cols * tokens) as f64;
            print!("{:8.1}", work / times[times.len() / 2] / 1e9);
        }
        println!();
    }
    Ok(())
}
