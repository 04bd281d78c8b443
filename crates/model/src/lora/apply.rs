//! `out += s · B (A x)` beside the products of the base.

use std::ops::Range;

use kernels::matmul::{Product, Quantized, matmul};
use kernels::ops;

use super::{Adapter, Target, bad};
use crate::forward::first;
use crate::{Error, Model, Span};

/// An adapter and how much of it.
#[derive(Clone, Copy)]
pub struct AdapterUse<'a> {
    /// What is added to the model's matrices.
    pub adapter: &'a Adapter,
    /// What is added is multiplied with this, beside the adapter's own scale; finite. 1 is the
    /// adapter as it was trained, 0 the model without it.
    pub scale: f32,
}

/// Neighbouring rows of a batch with the same adapter at the same scale.
pub(crate) struct Run<'a> {
    rows: Range<usize>,
    adapter: &'a Adapter,
    scale: f32,
}

/// Memory for the products of adapters, kept from one pass to the next; none before the first.
#[derive(Default)]
pub(crate) struct Scratch {
    /// `[tokens, rank]` for each matrix of a step: `A x`.
    low: Vec<f32>,
    /// `[tokens, outputs]`: `B (A x)`.
    delta: Vec<f32>,
    /// Unused, as adapters are in f32; the kernel wants it all the same.
    quantized: Quantized,
}

/// Which rows of a batch have an adapter. Without any, nothing is allocated.
///
/// # Errors
/// An adapter was loaded for another model, or a scale is not finite.
pub(crate) fn runs<'a>(model: &Model, spans: &[Span<'a>]) -> Result<Vec<Run<'a>>, Error> {
    let mut runs: Vec<Run<'a>> = Vec::new();
    let mut row = 0;
    for span in spans {
        let rows = row..row + span.tokens.len();
        row = rows.end;
        let Some(AdapterUse { adapter, scale }) = span.adapter else { continue };
        if !adapter.fit.is(&model.config) {
            return Err(Error::AdapterModel {
                path: adapter.path.clone(),
                model: model.checkpoint().path().to_owned(),
            });
        }
        if !scale.is_finite() {
            return Err(bad(&adapter.path, "scale", format!("{scale} is no finite number")));
        }
        if scale == 0.0 || rows.is_empty() {
            continue;
        }
        match runs.last_mut() {
            Some(last)
                if last.rows.end == rows.start
                    && std::ptr::eq(last.adapter, adapter)
                    && last.scale == scale =>
            {
                last.rows.end = rows.end;
            }
            _ => runs.push(Run { rows, adapter, scale }),
        }
    }
    Ok(runs)
}

impl Model {
    /// Adds to each of `outs`, `[tokens, outputs]`, what the adapters of `runs` make of the same
    /// `x`, `[tokens, inputs]`, in layer `layer`.
    pub(crate) fn adapt(
        &self,
        runs: &[Run<'_>],
        layer: usize,
        x: &[f32],
        outs: &mut [(Target, &mut [f32])],
        scratch: &mut Scratch,
    ) {
        for Run { rows, adapter, scale } in runs {
            let pairs = &adapter.layers[layer];
            let tokens = rows.len();
            let ranks: usize =
                outs.iter().filter_map(|(t, _)| pairs.get(*t)).map(|p| p.a.rows()).sum();

            // A rank is a panel or two of work: those with the same input share one step.
            let mut rest = first(&mut scratch.low, tokens * ranks);
            let mut products = Vec::with_capacity(outs.len());
            for (target, _) in outs.iter() {
                let Some(pair) = pairs.get(*target) else { continue };
                let (out, after) = rest.split_at_mut(tokens * pair.a.rows());
                products.push(Product { weight: &pair.a, out });
                rest = after;
            }
            let Some(cols) = products.first().map(|p| p.weight.cols()) else { continue };
            let x = &x[rows.start * cols..rows.end * cols];
            matmul(self.isa, &self.pool, x, &mut products, &mut scratch.quantized);

            let mut low = &mut scratch.low[..];
            for (target, out) in outs.iter_mut() {
                let Some(pair) = pairs.get(*target) else { continue };
                let (mine, after) = low.split_at_mut(tokens * pair.a.rows());
                low = after;
                // Here, where there are fewest numbers to multiply.
                mine.iter_mut().for_each(|x| *x *= scale * pair.scale);
                let n = pair.b.rows();
                let delta = first(&mut scratch.delta, tokens * n);
                let products = &mut [Product { weight: &pair.b, out: delta }];
                matmul(self.isa, &self.pool, mine, products, &mut scratch.quantized);
                ops::add(&self.pool, &mut out[rows.start * n..rows.end * n], delta);
            }
        }
    }
}
