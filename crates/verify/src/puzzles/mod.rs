//! Puzzles that are easy to check: Countdown, graph colouring, sudoku.

pub mod colouring;
pub mod countdown;
pub mod expression;
pub mod sudoku;
