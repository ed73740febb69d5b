//! The cluster: what the operator and the command line read from it and write to it, one file a kind of object.
//!
//! Nothing in here decides anything. It knows the API of Kubernetes and not the loop.

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
