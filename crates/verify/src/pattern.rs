//! Exact text, regular expressions, choice letters and JSON schemas.
