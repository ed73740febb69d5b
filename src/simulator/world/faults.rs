//! Faults: what goes wrong between a request and its answer.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::values::Chance;
use crate::domain::duration::HumanDuration;

/// What goes wrong. Each is drawn from the seed, the bytes of the request and the number of the attempt at it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Faults {
    /// How long an answer takes. No time at all when absent.
    #[serde(default)]
    pub latency: Option<Latency>,
    /// 429 with Retry-After.
    #[serde(default)]
    pub rate_limited: Option<RateLimited>,
    /// The chance of a 500.
    #[serde(default)]
    pub server_error: Chance,
    /// The chance that the connection is cut in the middle of the answer.
    #[serde(default)]
    pub hang_up: Chance,
    /// The chance of a 200 whose JSON breaks off.
    #[serde(default)]
    pub truncated_json: Chance,
    /// The chance of a 200 that is no answer: without a message, with one that broke off, or a page of HTML.
    #[serde(default)]
    pub malformed: Chance,
    /// No answer for a long time.
    #[serde(default)]
    pub stall: Option<Stall>,
    /// The chance that a request for JSON with a schema is answered in prose. It is drawn from the request alone, so
    /// that asking the same again does not help and asking differently may; `maxConsecutive` does not apply.
    #[serde(default)]
    pub prose: Chance,
    /// The most faults in a row to the same request: the next attempt is answered. 2 when absent.
    #[serde(default = "two")]
    pub max_consecutive: u32,
}

fn two() -> u32 {
    2
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            latency: None,
            rate_limited: None,
            server_error: Chance::default(),
            hang_up: Chance::default(),
            truncated_json: Chance::default(),
            malformed: Chance::default(),
            stall: None,
            prose: Chance::default(),
            max_consecutive: two(),
        }
    }
}

impl Faults {
    /// The chances of the faults that `maxConsecutive` bounds, added up.
    pub fn total(&self) -> f64 {
        self.rate_limited.map_or(0.0, |limit| limit.chance.0)
            + self.server_error.0
            + self.hang_up.0
            + self.truncated_json.0
            + self.malformed.0
            + self.stall.map_or(0.0, |stall| stall.chance.0)
    }
}

/// How long an answer takes.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Latency {
    /// Always the same.
    Fixed(HumanDuration),
    /// Normally distributed, never below 0.
    Normal(Spread),
    /// Log-normally distributed: never below 0, with a long tail.
    LogNormal(Spread),
}

/// A distribution of durations by its first two moments.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spread {
    /// The mean.
    pub mean: HumanDuration,
    /// The standard deviation.
    pub sd: HumanDuration,
}

/// Too many requests, at random.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimited {
    /// The chance.
    pub chance: Chance,
    /// What Retry-After says: whole seconds, rounded up; `retry-after-ms` says it exactly. `1s` when absent.
    #[serde(default = "second")]
    pub retry_after: HumanDuration,
}

/// No answer for a long time, then the right one.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stall {
    /// The chance.
    pub chance: Chance,
    /// How long. `10m` when absent.
    #[serde(default = "ten_minutes", rename = "for")]
    pub duration: HumanDuration,
}

/// Too many requests at once. The only rule that depends on what else is under way.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Overload {
    /// The most requests under way; those beyond get a 429.
    #[schemars(range(min = 1))]
    pub max_concurrent: u32,
    /// What Retry-After says. `1s` when absent.
    #[serde(default = "second")]
    pub retry_after: HumanDuration,
}

fn second() -> HumanDuration {
    HumanDuration(Duration::from_secs(1))
}

fn ten_minutes() -> HumanDuration {
    HumanDuration(Duration::from_mins(10))
}
