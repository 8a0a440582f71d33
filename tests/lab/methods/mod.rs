//! Symmetric routing by each method: lines in the file, hooks, the article's lines, ifupdown-ng and ifupdown2.

pub mod documents;
pub mod hooks;
pub mod lines;
pub mod native;
pub mod numbers;
