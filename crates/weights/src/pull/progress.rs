//! How a pull tells what it is doing, without knowing about terminals.

/// Receives what happens. Calls come from one thread, one task at a time.
pub trait Progress {
    /// A task begins: `what` is a few words, `total` its bytes where they are known.
    fn begin(&self, what: &str, total: Option<u64>);
    /// So many bytes of the task are done. May go back, when a server makes us start over.
    fn at(&self, bytes: u64);
    /// The task is over.
    fn end(&self);
    /// A line worth reading after all is over, such as a source that failed.
    fn note(&self, text: &str);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn at(&self, _: u64) {}
    fn end(&self) {}
    fn note(&self, _: &str) {}
}
