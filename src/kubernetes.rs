//! Reads and writes of the operator and the command line in the cluster, one file for each kind of object.
//!
//! This module decides nothing: it knows the API of Kubernetes, but not the loop.

pub mod client;
pub mod events;
pub mod lease;
pub mod manifests;
pub mod names;
pub mod optimizations;
pub mod ownership;
mod proxy;
pub mod readable;
pub mod references;
pub mod refusal;
pub mod revisions;
pub mod target;
pub mod versions;
pub mod workloads;
