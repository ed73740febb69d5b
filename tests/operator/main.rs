//! The operator as its users meet it: on a real API server (tier 1), which is started for these tests.

#![allow(clippy::unwrap_used, reason = "all of this is tests")]

mod admission;
mod cluster;
mod faults;
mod gitops;
mod hostile;
mod intent;
mod lease;
mod life;
mod operator;
mod promotion;
mod references;
mod security;
mod status;
mod target;
mod turns;
mod upgrade;
mod verbs;
mod versions;
mod watch;
