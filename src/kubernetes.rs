//! Reads and writes of the operator and the command line in the cluster, one file for each kind of object.
//!
//! This module decides nothing: it knows the API of Kubernetes, but not the loop.

pub(crate) mod client;
pub(crate) mod events;
pub(crate) mod lease;
pub(crate) mod manifests;
pub(crate) mod names;
pub(crate) mod optimizations;
pub(crate) mod ownership;
mod proxy;
pub(crate) mod readable;
pub(crate) mod references;
pub(crate) mod refusal;
pub(crate) mod revisions;
pub(crate) mod target;
pub(crate) mod versions;
pub(crate) mod workloads;
