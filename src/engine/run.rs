//! To come.

pub mod mocks;
