//! The cluster: how it is reached, what is read from it and asked of it, and the manifests written for it.

pub mod client;
pub mod manifests;
pub mod optimizations;
pub mod ownership;
mod proxy;
pub mod refusal;
