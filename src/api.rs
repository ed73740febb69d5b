//! The resources: one set of types that is both the custom resource of the cluster and the file of the
//! command line.
//!
//! Users write an [`AgentOptimization`]. [`document`] parses it from text and records the place of every field; a
//! [`Submission`] is a resource from a file, a [`pipeline`] template or an object of the cluster;
//! [`resolve`](mod@resolve) converts it, with everything it refers to, into a [`Plan`](whetstone_domain::plan::Plan) (validated, defaults
//! filled in by the [`Profile`](whetstone_domain::plan::Profile)) and reports all problems at once. A plan is not validated again.

#[expect(unreachable_pub, reason = "the derive repeats the struct in a private scope")]
pub mod agent;
#[expect(unreachable_pub, reason = "the derive repeats the struct in a private scope")]
pub mod agent_optimization;
mod defaults;
pub(crate) mod definitions;
pub(crate) mod document;
#[expect(unreachable_pub, reason = "the derive repeats the struct in a private scope")]
pub mod intent;
#[expect(unreachable_pub, reason = "the derive repeats the struct in a private scope")]
pub mod models;
pub mod optimization;
mod patterns;
pub mod pipeline;
pub mod problem;
#[expect(unreachable_pub, reason = "the derive repeats the struct in a private scope")]
pub mod promotion;
#[expect(unreachable_pub, reason = "the derive repeats the struct in a private scope")]
pub mod prompt_version;
pub(crate) mod resolve;
mod rules;
#[expect(unreachable_pub, reason = "the derive repeats the struct in a private scope")]
pub mod scenarios;
#[expect(unreachable_pub, reason = "the derive repeats the struct in a private scope")]
pub mod scoring;
#[expect(unreachable_pub, reason = "the derive repeats the struct in a private scope")]
pub mod source;
pub mod status;
pub mod submission;
#[expect(unreachable_pub, reason = "the derive repeats the struct in a private scope")]
pub mod watch;

pub use agent_optimization::{AgentOptimization, AgentOptimizationSpec};
pub use prompt_version::PromptVersion;
pub use submission::Submission;
