//! Unlimited checkable tasks, made from a seed.
