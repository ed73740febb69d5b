//! The loop as its users meet it: the program on real files, over real HTTP against the simulated world, with a real store.

mod architecture;
mod bad_input;
mod cli;
mod quickstart;
mod resume;
mod support;
