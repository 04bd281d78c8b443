//! ponder-weights
