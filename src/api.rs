//! The resources: one set of types that is both the custom resource of the cluster and the file of the
//! command line.
//!
//! [`AgentOptimization`] is what a user writes. [`document`] reads it from text and knows where every
//! field stands; a [`Submission`] is a resource as it was handed in, be it a file, a [`pipeline`] template or an object of
//! the cluster; [`resolve`](mod@resolve) turns it, with everything it refers to, into a [`Plan`] (validated, defaults
//! filled in by the [`Profile`]) and reports every problem at once. After that door nothing checks again.

pub mod agent;
pub mod agent_optimization;
pub mod definitions;
pub mod document;
pub mod intent;
pub mod models;
pub mod optimization;
mod patterns;
pub mod pipeline;
pub mod plan;
pub mod problem;
pub mod profile;
pub mod promotion;
pub mod prompt_version;
pub mod resolve;
mod rules;
pub mod scenarios;
pub mod scoring;
pub mod source;
pub mod status;
pub mod submission;
pub mod watch;

pub use agent_optimization::{AgentOptimization, AgentOptimizationSpec};
pub use plan::Plan;
pub use profile::Profile;
pub use prompt_version::{PromptVersion, PromptVersionSpec};
pub use submission::Submission;
