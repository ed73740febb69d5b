//! The ports: what the phases need from the outside, as traits. Floor 3 implements them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::stopwatch::CallTime;
use whetstone_decide::conclude::Verdict;
use whetstone_domain::call::{
    Answer, CallKey, ChatAnswer, ChatRequest, EmbedRequest, Embeddings, ModelIdentity, Phase, Purpose,
};
use whetstone_domain::hash::ContentHash;
use whetstone_domain::ids::{DimensionName, ModelName, ScenarioId, VersionName};
use whetstone_domain::money::{Money, Usage};
use whetstone_domain::patch::RejectedPatch;
use whetstone_domain::score::Evaluation;
use whetstone_domain::version::Version;

/// The models of a plan. An implementation handles retries, rate limits and time-outs, and reports to `time` when a request
/// is running. An error is final for this call, unless it has a usage: what was paid must be recorded before anything else
/// is paid, so an unusable answer is returned immediately instead of retried.
pub trait Models: Send + Sync {
    /// Calls a chat model.
    ///
    /// # Errors
    /// [`CallError`] once the call is given up.
    fn chat<'a>(
        &'a self,
        model: &'a ModelName,
        request: &'a ChatRequest,
        time: &'a CallTime,
    ) -> BoxFuture<'a, Result<ChatAnswer, CallError>>;

    /// Calls an embedding model.
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
    /// The key is missing, wrong, or not allowed (401, 403). No other call with it can succeed.
    Unauthorized,
    /// The provider refuses the request itself (400, 404, 422): a retry is useless.
    Refused,
    /// The provider's content filter refuses the request: a retry is useless.
    Filtered,
    /// Too many requests (429), up to the last attempt.
    RateLimited,
    /// The provider is broken (5xx), up to the last attempt.
    Server,
    /// No answer in time, up to the last attempt.
    Timeout,
    /// No connection, up to the last attempt.
    Connection,
    /// An invalid answer: truncated, or not JSON.
    Malformed,
    /// A stop was requested before the first or the next attempt.
    Stopped,
}

impl CallErrorKind {
    /// Whether a retry may succeed.
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

/// The error of a call that was given up.
#[derive(Clone, Debug)]
pub struct CallError {
    /// The model that was called.
    pub model: ModelName,
    /// Why.
    pub kind: CallErrorKind,
    /// The number of attempts.
    pub attempts: u32,
    /// The provider's message, without request bodies and keys, and what to do.
    pub message: String,
    /// The usage that the provider counted for an unusable answer, which is paid all the same.
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
    /// [`StoreError`] if the entry could not be written: then the answer must not be used.
    fn record(&self, entry: LedgerEntry) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Discards useless answers, so that the next call with their key is made again. Their cost still counts.
    ///
    /// # Errors
    /// [`StoreError`] if it could not be written; then nothing was changed.
    fn discard(&self, keys: Vec<CallKey>) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// A call as the ledger returns it.
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
    /// The model that it went to.
    pub identity: ModelIdentity,
    /// The name of the model in the resource.
    pub model: ModelName,
    /// The answer.
    pub answer: Answer,
    /// Its cost; `None` if the price is not known.
    pub cost: Option<Money>,
    /// How long the request that was answered took, without queues and earlier attempts.
    pub latency: Duration,
    /// Its purpose.
    pub tags: CallTags,
}

/// The purpose of a call. Not part of its key.
#[derive(Clone, Debug)]
pub struct CallTags {
    /// The cycle that paid it.
    pub cycle: ContentHash,
    /// The phase.
    pub phase: Phase,
    /// The purpose.
    pub purpose: Purpose,
    /// The scenario, if the call is for one.
    pub scenario: Option<ScenarioId>,
}

/// The history of an object: its cycles, rejected patches and versions.
pub trait History: Send + Sync {
    /// Opens a cycle, or reopens it after a kill. What is returned the first time is stored with the cycle, so that a
    /// resumed or repeated cycle decides on the same basis. Only the `next_version` of a cycle that has not ended changes,
    /// if another cycle has used that number in between.
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
    /// [`StoreError`] if the record could not be written; then nothing was changed.
    fn close(&self, record: CycleRecord) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// The beginning of a cycle.
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
    /// The time of the beginning.
    pub at: jiff::Timestamp,
}

/// What a cycle knows about earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// The version name of the champion: as recorded for its hash, else the next free one (`v1` at first).
    pub champion_version: String,
    /// The number of the next free version name.
    pub next_version: u32,
    /// Patches that other finished cycles tried on this champion or its ancestors and rejected: newest first, each prompt
    /// once, as many as the store keeps.
    pub rejected: Vec<RejectedPatch>,
    /// Mean scores by dimension of the champions of earlier, finished cycles of this object, oldest first: only of cycles
    /// that measured their champion on all held-out scenarios.
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
    /// What the search leaves to later cycles.
    pub kept: Kept,
    /// How champion and challenger did, scenario by scenario.
    pub evaluations: Vec<Evaluation>,
    /// The names of the dimensions, in the order of the evaluations.
    pub dimensions: Vec<DimensionName>,
    /// Mean scores of the champion on the held-out scenarios, by dimension; empty unless it was measured on all of them.
    pub champion_scores: BTreeMap<DimensionName, f64>,
    /// The time of the end.
    pub at: jiff::Timestamp,
}

/// What a search leaves to later cycles.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Patches that were tried and rejected.
    pub rejected: Vec<RejectedPatch>,
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
    /// Another process holds the lock for too long.
    Locked,
    /// The disk is full.
    Full,
    /// The file was written by a newer version of this program.
    Newer,
    /// The file is not a store, or is damaged.
    Damaged,
    /// The file was deleted or replaced while it was open.
    Replaced,
    /// Anything else.
    Other,
}

impl StoreErrorKind {
    /// Whether a retry may succeed without any change.
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

/// Receives the progress of a cycle.
pub trait Progress: Send + Sync {
    /// A phase begins; `what` names its subject (`champion`, `candidate 3`), `total` its steps if known.
    fn begin(&self, phase: Phase, what: &str, total: Option<u64>);
    /// Some steps of the current phase have ended.
    fn advance(&self, steps: u64);
    /// The current activity within the phase, in words. Ignored by default.
    fn step(&self, _what: &str) {}
    /// A call was answered, from the ledger or paid.
    fn call(&self, phase: Phase, paid: bool, cost: Option<Money>);
    /// A message for the user.
    fn note(&self, text: &str);
}

/// Ignores all progress.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: Phase, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn call(&self, _: Phase, _: bool, _: Option<Money>) {}
    fn note(&self, _: &str) {}
}

/// The clock. No decision depends on it; reports and the history state when things happened.
pub trait Clock: Send + Sync {
    /// The current time.
    fn now(&self) -> jiff::Timestamp;
}
