//! What is learned, and its gradients.

/// A tensor that is learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// GGUF's name of the weights, or `blk.N.MATRIX.lora_a` and `.lora_b`.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// The numbers, row by row.
    pub values: Vec<f32>,
}

/// Where a parameter is among the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot(usize);

/// All that is learned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters(Vec<Parameter>);

impl Parameters {
    pub(crate) fn add(&mut self, name: String, shape: Vec<usize>, values: Vec<f32>) -> Slot {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        self.0.push(Parameter { name, shape, values });
        Slot(self.0.len() - 1)
    }

    pub(crate) fn get(&self, slot: Slot) -> &[f32] {
        &self.0[slot.0].values
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> &mut [f32] {
        &mut self.0[slot.0].values
    }

    /// All of them, in an order that never changes.
    pub fn all(&self) -> &[Parameter] {
        &self.0
    }

    /// The numbers of each, to be changed in place.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.0.iter_mut().map(|p| &mut p.values[..])
    }

    /// Numbers in all.
    pub fn count(&self) -> usize {
        self.0.iter().map(|p| p.values.len()).sum()
    }
}

/// The gradient of a loss with respect to each of the [`Parameters`], in their order and shapes.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients(Vec<Vec<f32>>);

impl Gradients {
    /// Zeros. Backward passes add to what is there, so that several batches make one step.
    pub fn zeros(parameters: &Parameters) -> Gradients {
        Gradients(parameters.0.iter().map(|p| vec![0.0; p.values.len()]).collect())
    }

    /// Back to zeros.
    pub fn clear(&mut self) {
        self.0.iter_mut().for_each(|g| g.fill(0.0));
    }

    /// All of them, in the order of the parameters.
    pub fn all(&self) -> &[Vec<f32>] {
        &self.0
    }

    /// Whether these are gradients of `parameters`, by their lengths.
    pub(crate) fn fit(&self, parameters: &Parameters) -> bool {
        self.0.len() == parameters.0.len()
            && self.0.iter().zip(&parameters.0).all(|(g, p)| g.len() == p.values.len())
    }

    pub(crate) fn get(&mut self, slot: Slot) -> &mut [f32] {
        &mut self.0[slot.0]
    }
}
