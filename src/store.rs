//! The store: the ledger of paid calls, the history of cycles, and queries of both.
//!
//! [`Sqlite`] keeps everything in one file, which is sufficient for a laptop, a CI job or a single operator. Three traits,
//! [`Ledger`], [`History`] and [`Store`], define an adapter, and one conformance suite tests it. All SQL is in the folder of
//! an adapter; the store does not interpret the numbers.

use futures::future::BoxFuture;
use jiff::Timestamp;

use crate::domain::call::{CallKey, ModelIdentity};
use crate::domain::cluster::{Failure, Rule};
use crate::domain::hash::ContentHash;
use crate::domain::ids::{DimensionName, ModelName, ScenarioId};
use crate::domain::money::{Money, Usage};
use crate::domain::version::Version;
use crate::engine::ports::{History, Ledger, StoreError};

#[cfg(test)]
mod conformance;
mod sqlite;

pub use sqlite::{ObjectLock, Sqlite};

/// How many of a cluster's failures are kept as examples.
pub const CLUSTER_EXAMPLES: usize = 5;

/// How many of the newest cycles of an object keep their report, scores and clusters. Older ones keep one line.
pub const CYCLES_KEPT: u32 = 100;

/// The number of the newest rejected patches in the memory of a cycle.
pub const REJECTED_REMEMBERED: u32 = 256;

/// The number of the newest earlier cycles whose champion's scores are in the memory of a cycle.
pub const SCORES_REMEMBERED: u32 = 100;

/// The reading side of a store, for `history`, `show` and reports.
pub trait Store: Ledger + History {
    /// The cycles of one object, or of all, newest first, at most `limit`. What counts is when a cycle ended, or began if it
    /// has not ended.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read; the same holds for every method below.
    fn cycles<'a>(
        &'a self,
        object: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<CycleSummary>, StoreError>>;

    /// The cycles whose hash begins with these hexadecimal digits, newest first, at most 16. Empty for what is not hexadecimal.
    fn cycles_by_prefix<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<CycleSummary>, StoreError>>;

    /// The report of a cycle as `report.json` holds it; `None` when it has not ended, is not known, or was pruned.
    fn report<'a>(
        &'a self,
        object: &'a str,
        cycle: ContentHash,
    ) -> BoxFuture<'a, Result<Option<serde_json::Value>, StoreError>>;

    /// The clusters of a cycle, in the order of its report.
    fn clusters<'a>(
        &'a self,
        object: &'a str,
        cycle: ContentHash,
    ) -> BoxFuture<'a, Result<Vec<ClusterRow>, StoreError>>;

    /// The scores of the prompts of a cycle, by prompt, dimension and scenario.
    fn scores<'a>(&'a self, object: &'a str, cycle: ContentHash) -> BoxFuture<'a, Result<Vec<ScoreRow>, StoreError>>;

    /// The versions of an object's prompt, newest first.
    fn versions<'a>(&'a self, object: &'a str) -> BoxFuture<'a, Result<Vec<VersionRow>, StoreError>>;

    /// Records versions from elsewhere (the cluster, Git), so that the next cycle gives them the same names and
    /// no name twice. A known prompt keeps its name.
    fn remember<'a>(
        &'a self,
        object: &'a str,
        versions: Vec<Version>,
        at: Timestamp,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// What the calls of one cycle, or all, took and cost, one row for each cycle, phase and model, in this order of first
    /// appearance in the ledger. A call counts for the cycle that paid it.
    fn totals(&self, cycle: Option<ContentHash>) -> BoxFuture<'_, Result<Vec<Total>, StoreError>>;

    /// The calls that a cycle paid, in the order in which they were recorded. [`Ledger::find`] has their answers.
    fn calls(&self, cycle: ContentHash) -> BoxFuture<'_, Result<Vec<CallRow>, StoreError>>;
}

/// One line about a cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CycleSummary {
    /// Its identity.
    pub cycle: ContentHash,
    /// `namespace/name` of the resource.
    pub object: String,
    /// The prompt that served when it began.
    pub champion: ContentHash,
    /// When it was opened first.
    pub started_at: Timestamp,
    /// When it ended; `None` while it runs, or when it was killed.
    pub ended_at: Option<Timestamp>,
    /// The verdict, if it ended.
    pub verdict: Option<String>,
}

/// A cluster as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterRow {
    /// Its identifier inside the cycle.
    pub id: String,
    /// What goes wrong, and where.
    pub label: String,
    /// What the members have in common.
    pub rule: Rule,
    /// The summed impact of the members.
    pub weight: f64,
    /// How many members it has.
    pub size: u64,
    /// Those nearest to the centre, at most [`CLUSTER_EXAMPLES`].
    pub examples: Vec<Failure>,
}

/// How one prompt did in one scenario and dimension.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreRow {
    /// The prompt.
    pub prompt: ContentHash,
    /// The dimension.
    pub dimension: DimensionName,
    /// The scenario.
    pub scenario: ScenarioId,
    /// The mean over the repeats, 0 to 1.
    pub mean: f64,
    /// How many repeats were scored.
    pub samples: u64,
}

/// A version and when it was first seen.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionRow {
    /// The version.
    pub version: Version,
    /// When it was recorded first.
    pub created_at: Timestamp,
}

/// What some calls took and cost together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Total {
    /// The cycle that paid them.
    pub cycle: ContentHash,
    /// The phase, by its name in reports.
    pub phase: String,
    /// The model, by its name in the resource.
    pub model: ModelName,
    /// How many.
    pub calls: u64,
    /// Their tokens.
    pub usage: Usage,
    /// What those with a known price cost, exactly.
    pub cost: Money,
    /// How many have no known price.
    pub unpriced: u64,
}

/// A recorded call, without its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRow {
    /// The key.
    pub key: CallKey,
    /// Where it went.
    pub identity: ModelIdentity,
    /// The model, by its name in the resource.
    pub model: ModelName,
    /// The phase, by its name in reports.
    pub phase: String,
    /// The purpose, by its name in reports.
    pub purpose: String,
    /// The scenario, if it was for one.
    pub scenario: Option<ScenarioId>,
    /// The tokens.
    pub usage: Usage,
    /// What it cost; `None` when the price is not known.
    pub cost: Option<Money>,
    /// How long it took, retries included.
    pub latency: std::time::Duration,
    /// When it was recorded, by the clock of the database.
    pub recorded_at: Timestamp,
}
