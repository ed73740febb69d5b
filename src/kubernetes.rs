//! The cluster: what the operator and the command line write for it.

pub mod manifests;
