//! The ports: what the phases need from the outside, as traits. Floor 3 implements them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::stopwatch::CallTime;
use crate::decide::conclude::Verdict;
use crate::domain::call::{
    Answer, CallKey, ChatAnswer, ChatRequest, EmbedRequest, Embeddings, ModelIdentity, Phase, Purpose,
};
use crate::domain::cluster::Cluster;
use crate::domain::hash::ContentHash;
use crate::domain::ids::{DimensionName, ModelName, ScenarioId, VersionName};
use crate::domain::money::{Money, Usage};
use crate::domain::patch::RejectedPatch;
use crate::domain::score::Evaluation;
use crate::domain::version::Version;

/// The models of a plan. An implementation does its own retries, rate limits and time-outs, and reports to `time` when a request
/// is under way. An error that comes out of here is final for this call, unless it carries a usage: what was paid is recorded
/// before anything else is paid, so an answer that cannot be used is given back at once.
pub trait Models: Send + Sync {
    /// Asks a chat model.
    ///
    /// # Errors
    /// [`CallError`] once the call is given up.
    fn chat<'a>(
        &'a self,
        model: &'a ModelName,
        request: &'a ChatRequest,
        time: &'a CallTime,
    ) -> BoxFuture<'a, Result<ChatAnswer, CallError>>;

    /// Asks an embedding model.
    ///
    /// # Errors
    /// [`CallError`] once the call is given up.
    fn embed<'a>(
        &'a self,
        model: &'a ModelName,
        request: &'a EmbedRequest,
        time: &'a CallTime,
    ) -> BoxFuture<'a, Result<Embeddings, CallError>>;
}

/// Why a call was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallErrorKind {
    /// The key is missing, wrong, or not allowed (401, 403). Nothing else will work either.
    Unauthorized,
    /// The provider refuses the request itself (400, 404, 422): asking again is useless.
    Refused,
    /// The provider's content filter does not let the request through: asking again is useless.
    Filtered,
    /// Too many requests (429), to the last attempt.
    RateLimited,
    /// The provider is broken (5xx), to the last attempt.
    Server,
    /// No answer in time, to the last attempt.
    Timeout,
    /// No connection, to the last attempt.
    Connection,
    /// An answer that is none: cut short, or not JSON.
    Malformed,
    /// Somebody asked to stop before an attempt of it, or another one, was made.
    Stopped,
}

impl CallErrorKind {
    /// Another attempt may go better.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        !matches!(self, Self::Unauthorized | Self::Refused | Self::Filtered)
    }

    /// A short name for reports and metrics.
    #[must_use]
    pub fn category(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Refused => "refused",
            Self::Filtered => "content_filter",
            Self::RateLimited => "rate_limited",
            Self::Server => "server",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Malformed => "malformed",
            Self::Stopped => "stopped",
        }
    }
}

/// A call was given up.
#[derive(Clone, Debug)]
pub struct CallError {
    /// The model that was asked.
    pub model: ModelName,
    /// Why.
    pub kind: CallErrorKind,
    /// How often it was tried.
    pub attempts: u32,
    /// What the provider said, without request bodies and keys, and what to do.
    pub message: String,
    /// What the provider counted for an answer in which there is nothing to use: it is paid all the same.
    pub usage: Option<Usage>,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "model {:?}: {}", self.model.as_str(), self.message)?;
        if self.attempts > 1 {
            write!(f, " ({} attempts)", self.attempts)?;
        }
        Ok(())
    }
}

impl std::error::Error for CallError {}

/// The ledger: every paid call, under its key, written before its answer is used.
pub trait Ledger: Send + Sync {
    /// The answer recorded under a key.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn find(&self, key: CallKey) -> BoxFuture<'_, Result<Option<Recorded>, StoreError>>;

    /// What a cycle has paid so far, calls without a known price aside.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn paid(&self, cycle: ContentHash) -> BoxFuture<'_, Result<Money, StoreError>>;

    /// Records a call. Once this returns, the entry survives a kill of the process. Recording a key again changes nothing; an
    /// [`Answer::Unusable`] is counted every time, and never found.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be written: the answer must then not be used.
    fn record(&self, entry: LedgerEntry) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Takes answers that proved useless off their keys, so that the next call under such a key is made anew. What they cost
    /// stays counted.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be written; then nothing was.
    fn discard(&self, keys: Vec<CallKey>) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// A call as the ledger gives it back.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// The answer.
    pub answer: Answer,
    /// The cycle that paid it.
    pub cycle: ContentHash,
}

/// A paid call as it is recorded.
#[derive(Clone, Debug)]
pub struct LedgerEntry {
    /// The key.
    pub key: CallKey,
    /// Where it went.
    pub identity: ModelIdentity,
    /// The name of the model in the resource.
    pub model: ModelName,
    /// The answer.
    pub answer: Answer,
    /// What it cost; `None` when the price is not known.
    pub cost: Option<Money>,
    /// How long the request took that was answered, without queues and earlier attempts.
    pub latency: Duration,
    /// What it was for.
    pub tags: CallTags,
}

/// What a call was for. Not part of its key.
#[derive(Clone, Debug)]
pub struct CallTags {
    /// The cycle that paid it.
    pub cycle: ContentHash,
    /// The phase.
    pub phase: Phase,
    /// The purpose.
    pub purpose: Purpose,
    /// The scenario, if it was for one.
    pub scenario: Option<ScenarioId>,
}

/// The history of an object: its cycles, what was rejected, its versions.
pub trait History: Send + Sync {
    /// Opens a cycle, or opens it again after a kill. What is given back the first time is pinned with the cycle, so
    /// that a resumed or repeated cycle decides on the same. Only `next_version` of a cycle that has not ended moves on, when
    /// another cycle has used that number in between.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read or written.
    fn open(&self, start: CycleStart) -> BoxFuture<'_, Result<Memory, StoreError>>;

    /// The name of the version that has this prompt, if the object has one.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn version_of<'a>(
        &'a self,
        object: &'a str,
        prompt: ContentHash,
    ) -> BoxFuture<'a, Result<Option<VersionName>, StoreError>>;

    /// Records the outcome of a cycle: report, versions, scores, clusters and rejected patches, in one transaction.
    /// Closing a cycle again replaces what was recorded.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be written; then nothing was.
    fn close(&self, record: CycleRecord) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// A cycle begins.
#[derive(Clone, Debug)]
pub struct CycleStart {
    /// Its identity: the hash of its inputs.
    pub cycle: ContentHash,
    /// `namespace/name` of the resource.
    pub object: String,
    /// The prompt that serves.
    pub champion: ContentHash,
    /// The text of the prompt that serves.
    pub champion_text: String,
    /// When it begins.
    pub at: jiff::Timestamp,
}

/// What a cycle remembers of earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// The version name of the champion: as recorded for its hash, else the next free one (`v1` at first).
    pub champion_version: String,
    /// The next free version name's number.
    pub next_version: u32,
    /// Patches that were tried before on this champion or its ancestors and not taken, by other cycles that finished: newest
    /// first, each prompt once, as many as the store remembers.
    pub rejected: Vec<RejectedPatch>,
    /// Mean scores by dimension of the champions of earlier, finished cycles of this object, oldest first: of those cycles that
    /// measured their champion on all held-out scenarios.
    pub champion_scores: Vec<BTreeMap<DimensionName, f64>>,
}

/// The outcome of a cycle.
#[derive(Clone, Debug)]
pub struct CycleRecord {
    /// Its identity.
    pub cycle: ContentHash,
    /// `namespace/name` of the resource.
    pub object: String,
    /// The verdict.
    pub verdict: Verdict,
    /// The whole report, as in `report.json`.
    pub report: serde_json::Value,
    /// Champion and challenger.
    pub versions: Vec<Version>,
    /// Patches that were tried and not taken.
    pub rejected: Vec<RejectedPatch>,
    /// The clusters.
    pub clusters: Vec<Cluster>,
    /// How champion and challenger did, scenario by scenario.
    pub evaluations: Vec<Evaluation>,
    /// The names of the dimensions, in the order of the evaluations.
    pub dimensions: Vec<DimensionName>,
    /// Mean scores of the champion on the held-out scenarios, by dimension; empty unless it was measured on all of them.
    pub champion_scores: BTreeMap<DimensionName, f64>,
    /// When it ended.
    pub at: jiff::Timestamp,
}

/// The store failed.
#[derive(Clone, Debug)]
pub struct StoreError {
    /// What kind of failure it is.
    pub kind: StoreErrorKind,
    /// What was attempted, on what, why it failed, and what to do.
    pub message: String,
}

/// How the store failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// Another process holds the lock, longer than we wait.
    Locked,
    /// No space left.
    Full,
    /// Written by a newer version of this program.
    Newer,
    /// The file is not a store, or is damaged.
    Damaged,
    /// The file was deleted or replaced while it was open.
    Replaced,
    /// Anything else.
    Other,
}

impl StoreErrorKind {
    /// Another attempt may go better, without anybody doing anything.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Locked)
    }

    /// A short name for reports and metrics.
    #[must_use]
    pub fn category(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::Full => "full",
            Self::Newer => "newer",
            Self::Damaged => "damaged",
            Self::Replaced => "replaced",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StoreError {}

/// Where progress goes.
pub trait Progress: Send + Sync {
    /// A phase begins; `what` names its subject (`champion`, `candidate 3`), `total` its steps if known.
    fn begin(&self, phase: Phase, what: &str, total: Option<u64>);
    /// Some steps of the current phase are done.
    fn advance(&self, steps: u64);
    /// What is going on within the current phase, in words. Nothing is shown unless implemented.
    fn step(&self, _what: &str) {}
    /// A call was answered: from the ledger, or paid.
    fn call(&self, phase: Phase, paid: bool, cost: Option<Money>);
    /// Something that a person should read now.
    fn note(&self, text: &str);
}

/// Progress that nobody looks at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: Phase, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn call(&self, _: Phase, _: bool, _: Option<Money>) {}
    fn note(&self, _: &str) {}
}

/// The clock. Nothing that is decided depends on it; reports and history say when things happened.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> jiff::Timestamp;
}
