//! ponder-model
