//! Faults between a request and its answer.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::values::Chance;
use whetstone_domain::duration::HumanDuration;

/// Faults. Each is drawn from the seed, the bytes of the request and the number of the attempt.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Faults {
    /// The latency of an answer. Defaults to none.
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
    /// The chance of a 200 with truncated JSON.
    #[serde(default)]
    pub truncated_json: Chance,
    /// The chance of a 200 with a malformed answer: without a message, with a truncated one, or a page of HTML.
    #[serde(default)]
    pub malformed: Chance,
    /// Answers that are delayed for a long time.
    #[serde(default)]
    pub stall: Option<Stall>,
    /// The chance that a request for JSON with a schema is answered in prose. It is drawn from the request alone, so repeating
    /// the same request does not help, but a different one may; `maxConsecutive` does not apply.
    #[serde(default)]
    pub prose: Chance,
    /// The maximum number of consecutive faults of the same request: the next attempt is answered. Defaults to 2.
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
    /// The sum of the chances of the faults that `maxConsecutive` limits.
    pub fn total(&self) -> f64 {
        self.rate_limited.map_or(0.0, |limit| limit.chance.0)
            + self.server_error.0
            + self.hang_up.0
            + self.truncated_json.0
            + self.malformed.0
            + self.stall.map_or(0.0, |stall| stall.chance.0)
    }
}

/// The latency of an answer.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Latency {
    /// Constant.
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
    /// The value of Retry-After: whole seconds, rounded up; `retry-after-ms` is exact. Defaults to `1s`.
    #[serde(default = "second")]
    pub retry_after: HumanDuration,
}

/// A long delay, then the answer.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stall {
    /// The chance.
    pub chance: Chance,
    /// The delay. Defaults to `10m`.
    #[serde(default = "ten_minutes", rename = "for")]
    pub duration: HumanDuration,
}

/// The limit of concurrent requests. The only fault that depends on other requests.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Overload {
    /// The maximum number of concurrent requests; further ones get a 429.
    #[schemars(range(min = 1))]
    pub max_concurrent: u32,
    /// The value of Retry-After. Defaults to `1s`.
    #[serde(default = "second")]
    pub retry_after: HumanDuration,
}

fn second() -> HumanDuration {
    HumanDuration(Duration::from_secs(1))
}

fn ten_minutes() -> HumanDuration {
    HumanDuration(Duration::from_mins(10))
}
