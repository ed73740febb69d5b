//! `spec.watch`: how a promoted prompt is watched, and when it is rolled back.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::source::SecretKeyRef;
use super::{defaults, patterns, rules};
use whetstone_domain::duration::HumanDuration;

/// How a promoted prompt is watched, and when it is rolled back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::requires(
        "prometheus",
        "has(self.signals) && size(self.signals) > 0",
        "the signals are read from a Prometheus: give prometheus.url",
    ),
    validation = rules::demands(
        "has(self.reevaluation) || (has(self.signals) && size(self.signals) > 0)",
        "nothing is watched: give signals, reevaluation or both",
    ),
    validation = rules::no_longer_than("interval", "window"),
    validation = rules::window_fits_readings(),
    validation = rules::no_longer_than("prometheus.timeout", "interval"),
)]
pub struct Watch {
    /// How long a promoted prompt is watched before it is established, `1s` to `720h`. Defaults to `1h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::WATCH_WINDOW))]
    #[x_kube(validation = rules::lasts("1s"))]
    #[x_kube(validation = rules::lasts_at_most("720h"))]
    pub window: Option<HumanDuration>,
    /// Interval between two readings of the signals, at least `1s` and at most `window`. Defaults to `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = defaults::WATCH_INTERVAL))]
    #[x_kube(validation = rules::lasts("1s"))]
    pub interval: Option<HumanDuration>,
    /// Number of consecutive readings of one signal that must breach a limit before the prompt is rolled back. Defaults
    /// to 3. A reading without evidence (no data, NaN, Prometheus unreachable) neither counts nor resets the count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100), extend("default" = defaults::WATCH_BREACHES))]
    pub breaches: Option<u32>,
    /// The Prometheus that the signals are read from. Required if there are signals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<Prometheus>,
    /// Live signals and their limits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub signals: Vec<Signal>,
    /// Runs the suite again at intervals, with fresh answers, to detect a model that drifts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reevaluation: Option<Reevaluation>,
}

/// A Prometheus server, or another server with the same HTTP API (Thanos, Mimir, VictoriaMetrics).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::is_url("url", "http://prometheus.monitoring:9090"),
    validation = rules::without_credentials("url", "put them into a Secret and use bearerToken or basicAuth"),
    validation = rules::without_query("url"),
    validation = rules::demands(
        "!self.url.matches('/api/v1(/query)?/*$')",
        "must end before /api/v1, which is appended: remove it",
    ).field_path(".url"),
    validation = rules::forbids(
        "has(self.bearerToken) && has(self.basicAuth)",
        "give bearerToken or basicAuth, not both",
    ),
)]
pub struct Prometheus {
    /// The URL, without `/api/v1`, such as `http://prometheus.monitoring:9090`.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// A bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer_token: Option<SecretKey>,
    /// User name and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
    /// Additional headers, such as the tenant for Mimir.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    #[x_kube(validation = rules::demands(
        "self.all(h, self.exists_one(o, o.name.lowerAscii() == h.name.lowerAscii()))",
        "two headers have the same name, ignoring case: keep one of them",
    ))]
    pub headers: Vec<Header>,
    /// Timeout of a query, at most `interval`. Defaults to `5s`, or to `interval` if that is shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::lasts("1ms"))]
    pub timeout: Option<HumanDuration>,
}

/// A key of a Secret in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// The key of a Secret in the same namespace.
    pub secret_key_ref: SecretKeyRef,
}

/// User name and password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct BasicAuth {
    /// The user name.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = rules::demands(
        "!self.matches('[:\\\\x00-\\\\x1F\\\\x7F]')",
        "must not contain a colon, which ends the user name in basic authentication, or control characters",
    ))]
    pub username: String,
    /// The password.
    pub password: SecretKey,
}

/// An HTTP header. Set exactly one of `value` and `secretKeyRef`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::exactly_one(&["value", "secretKeyRef"]),
    validation = rules::demands(
        "!has(self.value) || self.value.matches('^[ -~]*$')",
        "must be printable ASCII: for any other value, store an ASCII encoding of it in a Secret and use valueFrom",
    ).field_path(".value"),
)]
pub struct Header {
    /// The name of the header.
    #[schemars(length(min = 1, max = 128), regex(pattern = patterns::HEADER_NAME))]
    #[x_kube(validation = rules::forbids(
        "self.lowerAscii() == 'authorization'",
        "this header is for credentials: use bearerToken or basicAuth",
    ))]
    #[x_kube(validation = rules::forbids(
        "self.lowerAscii() in ['accept', 'connection', 'content-length', 'content-type', 'expect', 'host', 'te', 'trailer', \
         'transfer-encoding', 'upgrade']",
        "Whetstone sets this header itself: remove it",
    ))]
    pub name: String,
    /// The value of the header. Put credentials into a Secret and use `secretKeyRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub value: Option<String>,
    /// A key of a Secret in the same namespace that holds the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
}

/// A live signal: a query that returns one number, and the limits for this number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::demands(
        "has(self.max) || has(self.min) || has(self.maxIncrease) || has(self.maxDecrease)",
        "a signal must have a limit: give max, min, maxIncrease or maxDecrease",
    ),
    validation = rules::demands(
        "!(has(self.min) && has(self.max)) || self.min <= self.max",
        "min is above max, so every value would breach: swap them",
    ),
)]
pub struct Signal {
    /// The name of the signal in status and Events. It must be unique.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::demands(
        "self.matches('^[^\\\\s\\\\pC]([^\\\\pC]*[^\\\\s\\\\pC])?$')",
        "must not have surrounding space or contain control characters",
    ))]
    #[x_kube(validation = rules::forbids(
        "self == 'reevaluation'",
        "is the name of the re-evaluation in the status: rename the signal",
    ))]
    pub name: String,
    /// An instant query in PromQL. It must return a scalar or a single series; several series are an error.
    #[schemars(length(min = 1, max = 4096))]
    #[x_kube(validation = rules::is_query())]
    pub query: String,
    /// The maximum value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The minimum value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// How far the value may rise above its mean before the promotion, over a period as long as the window, in the unit of the query
    /// (`0.02`) or relative to that mean (`20%`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = patterns::DECIMAL_OR_SHARE), length(max = 32))]
    pub max_increase: Option<String>,
    /// How far the value may fall below its mean before the promotion, over a period as long as the window, in the unit of the query
    /// (`0.02`) or relative to that mean (`20%`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = patterns::DECIMAL_OR_SHARE), length(max = 32))]
    pub max_decrease: Option<String>,
    /// The minimum traffic behind a reading. A reading with less traffic counts as no evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<Samples>,
}

/// The minimum traffic behind a reading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
pub struct Samples {
    /// An instant query that counts the traffic behind the signal, such as `sum(increase(requests_total[5m]))`.
    #[schemars(length(min = 1, max = 4096))]
    #[x_kube(validation = rules::is_query())]
    pub query: String,
    /// The minimum count.
    #[schemars(range(min = 1.0))]
    pub minimum: f64,
}

/// Runs the suite again at intervals, with fresh answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reevaluation {
    /// Interval between two re-evaluations, at least `1m`. Each one makes all of its calls again, and pays for them.
    #[x_kube(validation = rules::lasts("1m"))]
    pub every: HumanDuration,
    /// How far the aggregate score may fall below the score with which the prompt was promoted. Defaults to 0.05.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0), extend("default" = defaults::MAX_DROP))]
    pub max_drop: Option<f64>,
}
