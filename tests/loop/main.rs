//! The loop as its users meet it: the program on real files, over real HTTP against the simulated world, with a real store.

#![allow(clippy::unwrap_used, reason = "all of this is tests")]

mod answers;
mod architecture;
mod bad_input;
mod cli;
mod critical;
mod golden;
mod hostile;
mod import;
mod patches;
mod paying;
mod prometheus;
mod provider;
mod quickstart;
mod resume;
mod support;
