//! A file of a given size: every matrix gets the type with which it loses least.
//!
//! What a type costs a matrix is measured: some of its rows are quantised, and the square error of what comes
//! out of it is set against the square of what should. With an importance matrix that is the error of the
//! matrix's products with the activations it really meets. The sum of these shares over all matrices is made
//! as small as the size allows: from the smallest types on, the step that buys most for its bytes is taken
//! first (on the convex hull of each matrix's choices that is the best there is, but for the last step).

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use kernels::Pool;
use kernels::blocks::{BlockType, dequantize_row};

use super::choose::{Chosen, Wanted, is_block};
use super::mix::{Mix, fitting, is_quantizable};
use crate::Error;
use crate::convert::{Draft, DraftTensor};
use crate::gguf::{GgufWriter, TensorSpec};
use crate::pull::human_bytes;

/// What a matrix may become, before its rows are found not to fit.
const LADDER: [BlockType; 7] = [
    BlockType::Q2_K,
    BlockType::Q3_K,
    BlockType::IQ4_XS,
    BlockType::Q4_K,
    BlockType::Q5_K,
    BlockType::Q6_K,
    BlockType::Q8_0,
];
/// Rows of a matrix that are tried.
const SAMPLE: usize = 64;
/// Tensors of a file begin at multiples of this.
const ALIGNMENT: u64 = 32;

/// A type for a matrix, and what it costs.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Choice {
    ty: BlockType,
    bytes: u64,
    /// The share of what comes out of the matrix that is error, as powers.
    error: f64,
}

impl Draft<'_> {
    /// Gives every tensor such a type that the file has at most `bytes`, and says so in the metadata. Of
    /// `wanted`, all but the recipe counts.
    ///
    /// # Errors
    /// Not even the smallest types are small enough; or as [`Draft::choose_types`].
    pub fn fit_types(
        &mut self,
        bytes: u64,
        wanted: &Wanted,
        pool: &Pool,
        each: &(dyn Fn() + Sync),
    ) -> Result<Chosen, Error> {
        // Everything the file has beside the matrices whose types are to be chosen.
        let mut spent = self.header_bytes()?;
        let mut free = Vec::new();
        for at in 0..self.tensors.len() {
            let t = &mut self.tensors[at];
            let own = wanted.overrides.iter().find(|own| own.fits(&t.name));
            match own {
                _ if !is_quantizable(&t.name, &t.shape) => {}
                Some(own) => t.ty = fitting(own.ty(), t.cols()),
                None => {
                    free.push(at);
                    continue;
                }
            }
            let t = &self.tensors[at];
            spent += padded(self.bytes_as(t, t.ty)?);
        }
        let outcomes: Vec<Mutex<Result<Vec<Choice>, Error>>> =
            free.iter().map(|_| Mutex::new(Ok(Vec::new()))).collect();
        pool.for_each_chunk(free.len(), 1, |which| {
            for i in which {
                let choices = self.choices(&self.tensors[free[i]], wanted);
                *outcomes[i].lock().unwrap_or_else(PoisonError::into_inner) = choices;
                each();
            }
        });
        let outcomes = outcomes.into_iter();
        let choices = outcomes
            .map(|outcome| outcome.into_inner().unwrap_or_else(PoisonError::into_inner))
            .collect::<Result<Vec<_>, Error>>()?;

        let Some(picked) = pick(&choices, bytes.saturating_sub(spent)) else {
            let least: u64 = choices.iter().filter_map(|c| c.first()).map(|c| c.bytes).sum();
            let problem = format!("can't be made smaller than {}", human_bytes(spent + least));
            let remedy = "allow it that much, or take a smaller model";
            return Err(Error::unsupported(&self.path, "size", problem, remedy));
        };
        let mut of_type: BTreeMap<BlockType, u64> = BTreeMap::new();
        for ((at, choices), picked) in free.iter().zip(&choices).zip(picked) {
            let choice = choices[picked];
            self.tensors[*at].ty = choice.ty;
            *of_type.entry(choice.ty).or_default() += choice.bytes;
        }
        // The name of the recipe that is mostly followed.
        let most = of_type.iter().max_by_key(|(_, bytes)| **bytes).map(|(ty, _)| *ty);
        let mix = most.and_then(|ty| Mix::all().find(|mix| mix.default_type() == ty));
        self.chosen(mix, wanted.importance.as_ref(), 0)
    }

    /// Bytes of a file before its first tensor: they don't depend on types.
    fn header_bytes(&self) -> Result<u64, Error> {
        let specs = self.tensors.iter().map(|t| TensorSpec {
            name: t.name.clone(),
            shape: t.shape.clone(),
            // Of any shape, unlike blocks.
            ty: BlockType::F32,
        });
        let mut metadata = self.metadata.clone();
        if !metadata.contains("general.file_type") {
            metadata.insert("general.file_type", 0u32);
            metadata.insert("general.quantization_version", 2u32);
        }
        let mut count = Count(0);
        GgufWriter::new(&mut count, &metadata, specs.collect())?;
        // And what an importance matrix has to say of itself.
        Ok(count.0 + 1024)
    }

    /// What a matrix may become, the smallest first, each larger one better.
    fn choices(&self, t: &DraftTensor<'_>, wanted: &Wanted) -> Result<Vec<Choice>, Error> {
        let (rows, cols) = (t.row_count(), t.cols());
        let stored = t.rows.ty();
        if is_block(stored) && !wanted.requantize {
            let problem = format!("is {stored} already; another type made of it would be worse");
            let remedy = "fit the original, or add --allow-requantize";
            return Err(Error::unsupported(&self.path, t.field(), problem, remedy));
        }
        let importance = match &wanted.importance {
            Some(importance) => importance.of(&t.name, &t.shape)?,
            None => None,
        };
        let mut choices: Vec<Choice> = Vec::new();
        for ty in LADDER.map(|ty| fitting(ty, cols)) {
            if choices.iter().all(|choice| choice.ty != ty) {
                let bytes = padded(self.bytes_as(t, ty)?);
                choices.push(Choice { ty, bytes, error: 0.0 });
            }
        }
        let mut power = 0.0;
        let (mut row, mut again) = (vec![0.0; cols], vec![0.0; cols]);
        let mut stored = Vec::new();
        let ones = vec![1.0; cols];
        let taken = rows.min(SAMPLE);
        for n in 0..taken {
            let at = n * rows / taken;
            t.rows.read(at, &mut row)?;
            let own = importance.map(|all| t.importance_of_row(all, at));
            let weights = own.unwrap_or(&ones);
            power += weighted(&row, weights);
            for choice in &mut choices {
                stored.resize(choice.ty.row_bytes(cols).unwrap_or(0), 0);
                self.quantize(t, choice.ty, at, &row, own, &mut stored)?;
                dequantize_row(choice.ty, &stored, &mut again)
                    .map_err(|why| Error::malformed(&self.path, t.field(), why))?;
                for (again, x) in again.iter_mut().zip(&row) {
                    *again -= x;
                }
                choice.error += weighted(&again, weights);
            }
        }
        for choice in &mut choices {
            choice.error = if power > 0.0 { choice.error / power } else { 0.0 };
        }
        Ok(hull(choices))
    }
}

/// `Σ w x²`.
fn weighted(x: &[f32], w: &[f32]) -> f64 {
    x.iter().zip(w).map(|(x, w)| f64::from(*w) * f64::from(*x) * f64::from(*x)).sum()
}

fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGNMENT)
}

/// What a step from `a` to `b` buys for a byte.
fn gain(a: &Choice, b: &Choice) -> f64 {
    (a.error - b.error) / (b.bytes - a.bytes) as f64
}

/// Those on the lower convex hull of errors over bytes, the smallest first: each further byte buys less.
fn hull(mut choices: Vec<Choice>) -> Vec<Choice> {
    choices.sort_by(|a, b| a.bytes.cmp(&b.bytes).then(a.error.total_cmp(&b.error)));
    let mut hull: Vec<Choice> = Vec::new();
    for choice in choices {
        if hull.last().is_some_and(|last| choice.bytes == last.bytes || choice.error >= last.error)
        {
            continue;
        }
        while let [.., a, b] = hull[..]
            && gain(&a, &b) <= gain(&b, &choice)
        {
            hull.pop();
        }
        hull.push(choice);
    }
    hull
}

/// Which of its choices each matrix gets, with `bytes` for all together; none if that is too little.
fn pick(choices: &[Vec<Choice>], bytes: u64) -> Option<Vec<usize>> {
    let least: u64 = choices.iter().filter_map(|choices| choices.first()).map(|c| c.bytes).sum();
    let mut left = bytes.checked_sub(least)?;
    let mut steps: Vec<(f64, usize, usize)> = Vec::new();
    for (matrix, choices) in choices.iter().enumerate() {
        let pairs = choices.windows(2).enumerate();
        steps.extend(pairs.map(|(from, pair)| (gain(&pair[0], &pair[1]), matrix, from)));
    }
    steps.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let mut picked = vec![0; choices.len()];
    for (_, matrix, from) in steps {
        let cost = choices[matrix][from + 1].bytes - choices[matrix][from].bytes;
        // Where a step doesn't fit, a smaller one of another matrix still may.
        if picked[matrix] == from && cost <= left {
            picked[matrix] += 1;
            left -= cost;
        }
    }
    Some(picked)
}

/// Counts what is written.
struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn choice(bytes: u64, error: f64) -> Choice {
        Choice { ty: BlockType::Q4_K, bytes, error }
    }

    #[test]
    fn the_hull_leaves_out_what_another_does_better() {
        let all =
            vec![choice(4, 1.0), choice(2, 5.0), choice(3, 4.5), choice(5, 1.5), choice(8, 0.0)];
        assert_eq!(hull(all), [choice(2, 5.0), choice(4, 1.0), choice(8, 0.0)]);
    }

    #[test]
    fn bytes_go_where_they_buy_most() {
        let matrices = [vec![choice(1, 9.0), choice(2, 1.0)], vec![choice(1, 3.0), choice(2, 2.0)]];
        assert_eq!(pick(&matrices, 1), None);
        assert_eq!(pick(&matrices, 2), Some(vec![0, 0]));
        assert_eq!(pick(&matrices, 3), Some(vec![1, 0]));
        assert_eq!(pick(&matrices, 4), Some(vec![1, 1]));
    }

    proptest! {
        /// Against all combinations: never more bytes than there are, and no more error than the best of
        /// those has that leaves room for the largest step.
        #[test]
        fn what_is_picked_is_nearly_the_best(
            matrices in prop::collection::vec(prop::collection::vec((1u64..20, 0.0f64..1.0), 1..4), 1..5),
            bytes in 4u64..60,
        ) {
            let matrices: Vec<Vec<Choice>> = matrices
                .into_iter()
                .map(|all| hull(all.into_iter().map(|(bytes, error)| choice(bytes, error)).collect()))
                .collect();
            let mut all = vec![(0u64, 0.0f64)];
            for choices in &matrices {
                all = all
                    .iter()
                    .flat_map(|(b, e)| choices.iter().map(move |c| (b + c.bytes, e + c.error)))
                    .collect();
            }
            let step = matrices.iter().flat_map(|c| c.windows(2)).map(|p| p[1].bytes - p[0].bytes);
            let room = bytes.saturating_sub(step.max().unwrap_or(0));
            match pick(&matrices, bytes) {
                None => prop_assert!(all.iter().all(|(b, _)| *b > bytes)),
                Some(picked) => {
                    let got: Vec<&Choice> = matrices.iter().zip(&picked).map(|(c, i)| &c[*i]).collect();
                    prop_assert!(got.iter().map(|c| c.bytes).sum::<u64>() <= bytes);
                    let error: f64 = got.iter().map(|c| c.error).sum();
                    let best = all.iter().filter(|(b, _)| *b <= room).map(|(_, e)| *e).fold(f64::MAX, f64::min);
                    prop_assert!(error <= best + 1e-9, "{error} and {best}");
                }
            }
        }
    }
}
