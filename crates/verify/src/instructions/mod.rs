//! Instructions: the checks of IFEval.
