//! The resources: one set of types that is both the custom resource of the cluster and the file of the
//! command line.
//!
//! Users write an [`AgentOptimization`]. [`document`] parses it from text and records the place of every field; a
//! [`Submission`] is a resource from a file, a [`pipeline`] template or an object of the cluster;
//! [`resolve`](mod@resolve) converts it, with everything it refers to, into a [`Plan`] (validated, defaults
//! filled in by the [`Profile`]) and reports all problems at once. A plan is not validated again.

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
