//! A team's own check: a command that reads and writes JSON lines.
