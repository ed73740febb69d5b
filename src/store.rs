//! The store: the ledger of paid calls, the history of cycles, and queries of both.
//!
//! [`Sqlite`] keeps everything in one file, which is sufficient for a laptop, a CI job or a single operator. Three traits,
//! [`Ledger`], [`History`] and [`Store`], define an adapter, and one conformance suite tests it. All SQL is in the folder of
//! an adapter; the store does not interpret the numbers.

use futures::future::BoxFuture;
use jiff::Timestamp;

use whetstone_domain::call::{CallKey, ModelIdentity};
use whetstone_domain::hash::ContentHash;
use whetstone_domain::ids::{DimensionName, ModelName, ScenarioId};
use whetstone_domain::money::{Money, Usage};
use whetstone_domain::version::Version;
use whetstone_engine::ports::{History, Ledger, StoreError};

#[cfg(test)]
mod conformance;
mod sqlite;

pub use sqlite::{ObjectLock, Sqlite};

/// The number of the newest cycles of an object that keep their report and scores. Older ones keep one line.
pub const CYCLES_KEPT: u32 = 100;

/// The number of the newest rejected patches in the memory of a cycle.
pub const REJECTED_REMEMBERED: u32 = 256;

/// The number of the newest earlier cycles whose champion's scores are in the memory of a cycle.
pub const SCORES_REMEMBERED: u32 = 100;

/// Queries of a store, for `history`, `show` and reports.
pub trait Store: Ledger + History {
    /// The cycles of one object, or of all, newest first, at most `limit`. They are ordered by the time at which they
    /// ended, or began if they have not ended.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read; the same applies to every method below.
    fn cycles<'a>(
        &'a self,
        object: Option<&'a str>,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<CycleSummary>, StoreError>>;

    /// The cycles whose hash begins with these hexadecimal digits, newest first, at most 16. Empty if the prefix is not
    /// hexadecimal.
    fn cycles_by_prefix<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<CycleSummary>, StoreError>>;

    /// The report of a cycle, as in `report.json`; `None` if the cycle has not ended, is not known, or was pruned.
    fn report<'a>(
        &'a self,
        object: &'a str,
        cycle: ContentHash,
    ) -> BoxFuture<'a, Result<Option<serde_json::Value>, StoreError>>;

    /// The scores of the prompts of a cycle, by prompt, dimension and scenario.
    fn scores<'a>(&'a self, object: &'a str, cycle: ContentHash) -> BoxFuture<'a, Result<Vec<ScoreRow>, StoreError>>;

    /// The versions of an object's prompt, newest first.
    fn versions<'a>(&'a self, object: &'a str) -> BoxFuture<'a, Result<Vec<VersionRow>, StoreError>>;

    /// Records versions from elsewhere (the cluster, Git), so that the next cycle gives them the same names, and assigns no
    /// name twice. A known prompt keeps its name.
    fn remember<'a>(
        &'a self,
        object: &'a str,
        versions: Vec<Version>,
        at: Timestamp,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The tokens and cost of the calls of one cycle, or of all: one row for each cycle, phase and model, in the order of
    /// first appearance in the ledger. A call counts for the cycle that paid it.
    fn totals(&self, cycle: Option<ContentHash>) -> BoxFuture<'_, Result<Vec<Total>, StoreError>>;

    /// The calls that a cycle paid, in the order in which they were recorded. [`Ledger::find`] returns their answers.
    fn calls(&self, cycle: ContentHash) -> BoxFuture<'_, Result<Vec<CallRow>, StoreError>>;
}

/// One line about a cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CycleSummary {
    /// Its identity.
    pub cycle: ContentHash,
    /// `namespace/name` of the resource.
    pub object: String,
    /// The champion when it began.
    pub champion: ContentHash,
    /// When it was first opened.
    pub started_at: Timestamp,
    /// When it ended; `None` if it is running or was killed.
    pub ended_at: Option<Timestamp>,
    /// The verdict, if it ended.
    pub verdict: Option<String>,
}

/// The score of one prompt in one scenario and dimension.
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
    /// The number of scored repeats.
    pub samples: u64,
}

/// A version, and when it was first recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionRow {
    /// The version.
    pub version: Version,
    /// When it was first recorded.
    pub created_at: Timestamp,
}

/// The tokens and cost of some calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Total {
    /// The cycle that paid them.
    pub cycle: ContentHash,
    /// The phase, by its name in reports.
    pub phase: String,
    /// The model, by its name in the resource.
    pub model: ModelName,
    /// The number of calls.
    pub calls: u64,
    /// Their tokens.
    pub usage: Usage,
    /// The cost of those with a known price, exactly.
    pub cost: Money,
    /// The number of those without a known price.
    pub unpriced: u64,
}

/// A recorded call, without its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRow {
    /// The key.
    pub key: CallKey,
    /// The model that it went to.
    pub identity: ModelIdentity,
    /// The model, by its name in the resource.
    pub model: ModelName,
    /// The phase, by its name in reports.
    pub phase: String,
    /// The purpose, by its name in reports.
    pub purpose: String,
    /// The scenario, if the call was for one.
    pub scenario: Option<ScenarioId>,
    /// The tokens.
    pub usage: Usage,
    /// Its cost; `None` if the price is not known.
    pub cost: Option<Money>,
    /// How long it took, retries included.
    pub latency: std::time::Duration,
    /// When it was recorded, according to the clock of the database.
    pub recorded_at: Timestamp,
}
