//! How much a method has to do, so that its time can be told before it has been spent.

/// Tokens that go through the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// Those that a step learns from.
    pub learned: f64,
    /// Those that a step only reads: for another network's opinion of them.
    pub read: f64,
    /// Those that are read to measure the model on what is held out.
    pub measured: f64,
    /// Whether that is the most there can be, and not what there is on average. What a model will
    /// draw isn't known before, and is counted as if it were as long as it may.
    pub most: bool,
}

impl Work {
    /// Seconds of a step and of a measurement, at so many seconds a token learned and a token read.
    pub fn seconds(&self, learned: f64, read: f64) -> (f64, f64) {
        (self.learned * learned + self.read * read, self.measured * read)
    }
}
