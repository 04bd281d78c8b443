//! A linear layer, a vector of weights, and what either has to learn.

use kernels::gemm::Sum;
use kernels::grad::bias_backward;
use kernels::matmul::Matrix;
use kernels::ops;

use crate::dropout::{Mask, Stream};
use crate::parameters::{Gradients, Parameters, Slot};
use crate::products::{Operand, Products};

/// What a pass works with.
pub(crate) struct Pass<'a> {
    pub(crate) products: Products<'a>,
    pub(crate) parameters: &'a Parameters,
    /// What decides which inputs dropout leaves out; without it, none.
    pub(crate) seed: Option<u64>,
    /// Room for gradients that nobody wants.
    pub(crate) unwanted: Vec<f32>,
}

/// A vector of weights: a norm's or a bias.
pub(crate) enum Vector {
    /// As the model has it.
    Frozen(Vec<f32>),
    /// A parameter.
    Learned(Slot),
}

impl Vector {
    pub(crate) fn values<'a>(&'a self, parameters: &'a Parameters) -> &'a [f32] {
        match self {
            Vector::Frozen(values) => values,
            Vector::Learned(slot) => parameters.get(*slot),
        }
    }

    /// Where its gradient goes, `[n]`: a kernel that works out several at once writes this one in
    /// any case.
    pub(crate) fn gradient<'a>(
        &self,
        n: usize,
        gradients: &'a mut Gradients,
        unwanted: &'a mut Vec<f32>,
    ) -> &'a mut [f32] {
        match self {
            Vector::Learned(slot) => gradients.get(*slot),
            Vector::Frozen(_) => {
                unwanted.clear();
                unwanted.resize(n, 0.0);
                unwanted
            }
        }
    }
}

/// A matrix of weights, `[outputs, inputs]`.
pub(crate) enum Weight<'m> {
    /// The model's own, perhaps quantised.
    Packed(&'m Matrix),
    /// In f32.
    Frozen(Vec<f32>),
    /// A parameter.
    Learned(Slot),
}

/// What is learned beside a matrix: `scale · B (A x)` (Hu et al. 2021, arXiv:2106.09685).
pub(crate) struct Pair {
    /// `[rank, inputs]`.
    pub(crate) a: Slot,
    /// `[outputs, rank]`.
    pub(crate) b: Slot,
    pub(crate) rank: usize,
    pub(crate) scale: f32,
    /// With which probability A doesn't see an input.
    pub(crate) dropout: f32,
    /// Tells its dropout from that of others.
    pub(crate) number: u64,
}

/// `y = W x + bias + scale · B (A x)`, of which bias and pair may be missing.
pub(crate) struct Linear<'m> {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) weight: Weight<'m>,
    pub(crate) bias: Option<Vector>,
    pub(crate) pair: Option<Pair>,
}

impl Linear<'_> {
    /// Writes `out`, `[tokens, outputs]`, from `x`, `[tokens, inputs]`; and into `low`, for the way
    /// back, `scale · A x`, `[tokens, rank]`, if there is a pair.
    pub(crate) fn forward(
        &self,
        pass: &mut Pass<'_>,
        x: &[f32],
        out: &mut [f32],
        low: &mut Vec<f32>,
    ) {
        let parameters = pass.parameters;
        match &self.weight {
            Weight::Packed(weight) => pass.products.packed(x, weight, out),
            Weight::Frozen(w) => self.dense(pass, w, x, out),
            Weight::Learned(slot) => self.dense(pass, parameters.get(*slot), x, out),
        }
        if let Some(bias) = &self.bias {
            ops::add_bias(pass.products.pool, out, bias.values(parameters));
        }
        self.low(pass, x, low);
        if let Some(pair) = &self.pair {
            let b = Operand::new(parameters.get(pair.b), pair.rank);
            pass.products.product(Operand::new(low, pair.rank), b, out, Sum::Add);
        }
    }

    /// Writes `low`, as [`Linear::forward`] does, without the rest.
    pub(crate) fn low(&self, pass: &mut Pass<'_>, x: &[f32], low: &mut Vec<f32>) {
        let Some(pair) = &self.pair else { return };
        low.resize(x.len() / self.inputs * pair.rank, 0.0);
        let dropped = self.dropped(pass, pair, x);
        let x = Operand::new(dropped.as_deref().unwrap_or(x), self.inputs);
        let a = Operand::new(pass.parameters.get(pair.a), self.inputs);
        pass.products.product(x, a, low, Sum::Write);
        // Here, where there are fewest numbers to multiply.
        low.iter_mut().for_each(|x| *x *= pair.scale);
    }

    fn dense(&self, pass: &mut Pass<'_>, w: &[f32], x: &[f32], out: &mut [f32]) {
        let (x, w) = (Operand::new(x, self.inputs), Operand::new(w, self.inputs));
        pass.products.product(x, w, out, Sum::Write);
    }

    /// Given `dout`, `[tokens, outputs]`, writes `dx` or adds to it, `[tokens, inputs]`, and adds to
    /// the gradients of what is learned. `x` and `low` are what [`Linear::forward`] had and left.
    pub(crate) fn backward(
        &self,
        pass: &mut Pass<'_>,
        (x, low): (&[f32], &[f32]),
        dout: &[f32],
        (dx, sum): (&mut [f32], Sum),
        gradients: &mut Gradients,
    ) {
        let parameters = pass.parameters;
        match &self.weight {
            Weight::Packed(weight) => pass.products.packed_backward(dout, weight, dx, sum),
            Weight::Frozen(w) => self.dense_backward(pass, w, dout, dx, sum),
            Weight::Learned(slot) => {
                self.dense_backward(pass, parameters.get(*slot), dout, dx, sum);
                let (dout, x) = (Operand::new(dout, self.outputs), Operand::new(x, self.inputs));
                pass.products.product(dout.t(), x.t(), gradients.get(*slot), Sum::Add);
            }
        }
        if let Some(Vector::Learned(slot)) = &self.bias {
            bias_backward(pass.products.pool, dout, gradients.get(*slot));
        }
        if let Some(pair) = &self.pair {
            self.pair_backward(pass, pair, (x, low), dout, dx, gradients);
        }
    }

    fn dense_backward(
        &self,
        pass: &mut Pass<'_>,
        w: &[f32],
        dout: &[f32],
        dx: &mut [f32],
        sum: Sum,
    ) {
        let (dout, w) = (Operand::new(dout, self.outputs), Operand::new(w, self.inputs));
        pass.products.product(dout, w.t(), dx, sum);
    }

    /// Adds to `dx`, and to the gradients of A and B.
    fn pair_backward(
        &self,
        pass: &mut Pass<'_>,
        pair: &Pair,
        (x, low): (&[f32], &[f32]),
        dout: &[f32],
        dx: &mut [f32],
        gradients: &mut Gradients,
    ) {
        let parameters = pass.parameters;
        let dout = Operand::new(dout, self.outputs);
        let low = Operand::new(low, pair.rank);
        // The other way round than B is: the larger side is cheaper to turn as the second operand.
        let mut turned = vec![0.0; pair.rank * self.outputs];
        pass.products.product(low.t(), dout.t(), &mut turned, Sum::Write);
        let rows = gradients.get(pair.b).chunks_exact_mut(pair.rank);
        for (output, row) in rows.enumerate() {
            let column = turned[output..].iter().step_by(self.outputs);
            row.iter_mut().zip(column).for_each(|(sum, d)| *sum += d);
        }

        let mut dlow = vec![0.0; x.len() / self.inputs * pair.rank];
        let b = Operand::new(parameters.get(pair.b), pair.rank);
        pass.products.product(dout, b.t(), &mut dlow, Sum::Write);
        dlow.iter_mut().for_each(|x| *x *= pair.scale);

        let dlow = Operand::new(&dlow, pair.rank);
        let a = Operand::new(parameters.get(pair.a), self.inputs);
        let dropped = self.dropped(pass, pair, x);
        let seen = Operand::new(dropped.as_deref().unwrap_or(x), self.inputs);
        pass.products.product(dlow.t(), seen.t(), gradients.get(pair.a), Sum::Add);
        match (self.mask(pass, pair), dropped) {
            (Some(mask), Some(mut d)) => {
                pass.products.product(dlow, a.t(), &mut d, Sum::Write);
                mask.apply(pass.products.pool, &mut d);
                ops::add(pass.products.pool, dx, &d);
            }
            _ => pass.products.product(dlow, a.t(), dx, Sum::Add),
        }
    }

    fn mask(&self, pass: &Pass<'_>, pair: &Pair) -> Option<Mask> {
        let seed = pass.seed.filter(|_| pair.dropout > 0.0)?;
        Some(Mask { stream: Stream::new(seed, pair.number), rate: pair.dropout })
    }

    /// What A sees of `x`, if that isn't all.
    fn dropped(&self, pass: &Pass<'_>, pair: &Pair, x: &[f32]) -> Option<Vec<f32>> {
        let mask = self.mask(pass, pair)?;
        let mut x = x.to_vec();
        mask.apply(pass.products.pool, &mut x);
        Some(x)
    }
}
