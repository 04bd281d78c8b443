//! Mathematics: final answers, and whether two of them are equal.
