//! `spec.watch`: how a promoted prompt is watched, and when it is taken back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::source::SecretKeyRef;
use crate::domain::duration::HumanDuration;

/// How a promoted prompt is watched, and when it is taken back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Watch {
    /// How long a promoted prompt is watched before it is established. `1h` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<HumanDuration>,
    /// How often the signals are read. `30s` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<HumanDuration>,
    /// How many readings of one signal in a row must breach a limit before the prompt is taken back. 3 when absent. A reading that
    /// is no evidence (no data, NaN, Prometheus out of reach) neither counts nor interrupts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub breaches: Option<u32>,
    /// The Prometheus that is asked. Required as soon as there are signals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<Prometheus>,
    /// Live signals and their limits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub signals: Vec<Signal>,
    /// Runs the suite again with fresh answers while the prompt serves: finds a model that drifts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reevaluation: Option<Reevaluation>,
}

/// A Prometheus, or anything that speaks its HTTP API (Thanos, Mimir, VictoriaMetrics).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Prometheus {
    /// Its URL, without `/api/v1`.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// A bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer_token: Option<SecretKey>,
    /// User and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
    /// Further headers, such as the tenant of a Mimir.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub headers: Vec<Header>,
    /// The longest that a query may take. `5s` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<HumanDuration>,
}

/// A key of a Secret in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// The key of a Secret in the same namespace.
    pub secret_key_ref: SecretKeyRef,
}

/// User and password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BasicAuth {
    /// The user.
    #[schemars(length(min = 1, max = 256))]
    pub username: String,
    /// The password.
    pub password: SecretKey,
}

/// A header. Exactly one of `value` and `secretKeyRef` is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// Its name.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub value: Option<String>,
    /// A key of a Secret in the same namespace that holds its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
}

/// A live signal: a query with one number as its answer, and the limits that this number must keep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Signal {
    /// What to call it in status and Events.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// An instant query in PromQL. It answers a scalar or one series; several series are an error, not a guess.
    #[schemars(length(min = 1, max = 4096))]
    pub query: String,
    /// The most that the value may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The least that the value may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// How far the value may rise above its mean over the window before the promotion: in the unit of the query (`0.02`), or
    /// as a share of that mean (`20%`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]+(\.[0-9]+)?%?$"), length(max = 32))]
    pub max_increase: Option<String>,
    /// How far the value may fall below its mean over the window before the promotion, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]+(\.[0-9]+)?%?$"), length(max = 32))]
    pub max_decrease: Option<String>,
    /// How much traffic a reading must rest on. Below it, the reading is no evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<Samples>,
}

/// How much traffic a reading must rest on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Samples {
    /// An instant query that counts the traffic behind the signal, such as `sum(increase(requests_total[5m]))`.
    #[schemars(length(min = 1, max = 4096))]
    pub query: String,
    /// The least count.
    #[schemars(range(min = 1.0))]
    pub minimum: f64,
}

/// Runs the suite again with fresh answers while the prompt serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reevaluation {
    /// How often. Not below `1m`, for every time is paid for.
    pub every: HumanDuration,
    /// How far the aggregate score may fall below the one that the prompt was promoted with. 0.05 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_drop: Option<f64>,
}
