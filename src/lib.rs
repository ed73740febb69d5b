//! Whetstone keeps AI agents' prompts sharp.

pub mod api;
pub mod cli;
pub mod decide;
pub mod domain;
pub mod engine;
pub mod import;
pub mod kubernetes;
pub mod models;
pub mod simulator;
pub mod stats;
pub mod store;
pub mod telemetry;
pub mod web;
