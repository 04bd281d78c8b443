//! A page, Markdown and JSON, made from a run folder.
