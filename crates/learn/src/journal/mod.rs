//! What was seen at each step, for people and for programs.

/// What one step showed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// The step, from 1.
    pub step: u64,
    /// Figures by name, as `reward/mean`, in the order they are to be read.
    pub scalars: Vec<(String, f64)>,
    /// Samples by name.
    pub texts: Vec<(String, String)>,
}
