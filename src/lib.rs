//! Whetstone keeps AI agents' prompts sharp: it runs an agent against scenarios, scores what it did, groups the failures,
//! patches the prompt for exactly those failures, and proves statistically that the patch is better and breaks nothing.
//!
//! The `whetstone` binary does this for files, in CI and on a laptop. This crate is the same loop for your own program:
//! a [`Plan`](plan::Plan) says what to do, a [`Pipeline`](whetstone_engine::Pipeline) does it on models and a store, and an
//! [`Outcome`](whetstone_engine::Outcome) has the report and the prompt versions.
//!
//! ```no_run
#![doc = include_str!("../examples/embed.rs")]
//! ```
//!
//! Models, store, clock and progress are the traits of [`whetstone_engine::ports`]; bring your own where those of this crate do
//! not fit. The floors and what each place is for are in `ARCHITECTURE.md`.

pub mod api;
pub mod cli;
mod controllers;
pub mod embed;
mod import;
mod kubernetes;
pub mod models;
pub mod signals;
mod simulator;
pub mod store;
mod telemetry;
mod web;

pub use whetstone_domain::plan;
pub use {whetstone_decide as decide, whetstone_domain as domain, whetstone_engine as engine};
