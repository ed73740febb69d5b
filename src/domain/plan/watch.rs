//! The plan of the watch: the resolved `spec.watch`.

use std::time::Duration;

use url::Url;

use super::SecretRef;

/// The name of the re-evaluation among the signals. No signal may have this name.
pub const REEVALUATION: &str = "reevaluation";

/// How a promoted prompt is watched, and when it is rolled back.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchPlan {
    /// The duration of the watch before a promoted prompt is established, and of the baseline before the promotion.
    pub window: Duration,
    /// The interval of the readings. At least a second, and short enough for [`breaches`](Self::breaches) readings within the
    /// window.
    pub interval: Duration,
    /// The number of consecutive breaches of a signal that cause a rollback. At least 1.
    pub breaches: u32,
    /// The Prometheus; always set if there are signals.
    pub prometheus: Option<PrometheusPlan>,
    /// Live signals and their limits, with unique names.
    pub signals: Vec<SignalPlan>,
    /// The re-evaluations of the suite.
    pub reevaluation: Option<ReevaluationPlan>,
}

impl WatchPlan {
    /// The Secrets that the watch needs, in the order of the resource.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretRef> {
        self.prometheus.iter().flat_map(PrometheusPlan::secrets)
    }
}

/// A Prometheus, or another server with its HTTP API.
#[derive(Clone, Debug, PartialEq)]
pub struct PrometheusPlan {
    /// Its URL, without `/api/v1`: http or https, with a host, without credentials, query and fragment.
    pub url: Url,
    /// The credentials.
    pub credential: Option<CredentialPlan>,
    /// Additional headers: valid and unique names, none that the client sets itself.
    pub headers: Vec<(String, HeaderPlan)>,
    /// The timeout of a query.
    pub timeout: Duration,
}

impl PrometheusPlan {
    /// The Secrets that it needs, in the order of the resource.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretRef> {
        let credential = self.credential.iter().map(|credential| match credential {
            CredentialPlan::Bearer(secret) | CredentialPlan::Basic { password: secret, .. } => secret,
        });
        credential.chain(self.headers.iter().filter_map(|(_, header)| match header {
            HeaderPlan::Secret(secret) => Some(secret),
            HeaderPlan::Value(_) => None,
        }))
    }
}

/// The credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialPlan {
    /// A bearer token.
    Bearer(SecretRef),
    /// User and password.
    Basic {
        /// The user name, without colons.
        user: String,
        /// The password.
        password: SecretRef,
    },
}

/// The value of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderPlan {
    /// A literal in the resource.
    Value(String),
    /// A key of a Secret.
    Secret(SecretRef),
}

/// A live signal with at least one limit.
#[derive(Clone, Debug, PartialEq)]
pub struct SignalPlan {
    /// Its name.
    pub name: String,
    /// An instant query.
    pub query: String,
    /// The maximum value.
    pub max: Option<f64>,
    /// The minimum value; not above `max`.
    pub min: Option<f64>,
    /// How far the value may rise above its mean before the promotion.
    pub max_increase: Option<Margin>,
    /// How far the value may fall below its mean before the promotion.
    pub max_decrease: Option<Margin>,
    /// The minimum traffic behind a reading.
    pub samples: Option<SamplesPlan>,
    /// A short hash of everything that determines a reading and its limits: the Prometheus, the queries, the limits, and the window
    /// of the mean before the promotion. Readings with different definitions are not comparable.
    pub definition: String,
}

impl SignalPlan {
    /// Whether a limit refers to the mean before the promotion.
    #[must_use]
    pub fn has_baseline(&self) -> bool {
        self.max_increase.is_some() || self.max_decrease.is_some()
    }
}

/// How far a value may move from its mean before the promotion. Finite, and not negative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Margin {
    /// In the unit of the query.
    Absolute(f64),
    /// As a fraction of the absolute mean: 0.2 for `20%`.
    Share(f64),
}

/// The minimum traffic behind a reading.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplesPlan {
    /// An instant query that counts it.
    pub query: String,
    /// The minimum count. Finite, and at least 1.
    pub minimum: f64,
}

/// The re-evaluations of the suite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReevaluationPlan {
    /// The interval, at least a minute.
    pub every: Duration,
    /// The maximum drop of the aggregate score below that of the promotion, 0 to 1.
    pub max_drop: f64,
}
