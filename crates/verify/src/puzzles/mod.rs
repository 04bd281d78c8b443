//! Puzzles that are easy to check: Countdown, graph colouring, sudoku.
