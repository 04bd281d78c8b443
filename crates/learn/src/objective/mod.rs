//! Losses and advantages as functions of log-probabilities and rewards, with their gradients.
