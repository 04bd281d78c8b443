//! pass@k and its kin, how sure they are, and whether two runs differ.
