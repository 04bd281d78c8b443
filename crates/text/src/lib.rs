//! ponder-text
