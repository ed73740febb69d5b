//! The loop.

pub mod apply;
pub mod calls;
pub mod cluster;
pub mod gate;
pub mod patch;
pub mod ports;
pub mod run;
pub mod score;
pub mod shadow;
pub mod validate;
