//! The vocabulary of the product: plain values that all other floors use.
//!
//! No code here does I/O, reads a clock, draws a random number, or knows a floor above it.

pub mod annotations;
pub mod arguments;
pub mod call;
pub mod cluster;
pub mod duration;
pub mod endpoint;
pub mod figure;
pub mod free;
pub mod hash;
pub mod ids;
pub mod lifecycle;
pub mod money;
pub mod patch;
pub mod pattern;
pub mod plan;
pub mod presentable;
pub mod prompt;
pub mod prompt_set;
pub mod redact;
pub mod scenario;
pub mod schema;
pub mod score;
pub mod series;
pub mod suite;
pub mod tool;
pub mod transcript;
pub mod version;
pub mod words;
