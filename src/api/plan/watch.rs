//! The plan of the watch: `spec.watch` after the door.

use std::time::Duration;

use url::Url;

use crate::api::source::SecretKeyRef;

/// What the re-evaluation is called among the signals. No signal may have this name.
pub const REEVALUATION: &str = "reevaluation";

/// How a promoted prompt is watched, and when it is taken back.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchPlan {
    /// How long a promoted prompt is watched before it is established; and how far back the mean before the promotion goes.
    pub window: Duration,
    /// How often the signals are read. At least a second, and so short that the window holds [`breaches`](Self::breaches)
    /// readings.
    pub interval: Duration,
    /// How many readings of one signal in a row must breach a limit before the prompt is taken back. At least 1.
    pub breaches: u32,
    /// The Prometheus that is asked; always there when there are signals.
    pub prometheus: Option<PrometheusPlan>,
    /// Live signals and their limits, each under a name of its own.
    pub signals: Vec<SignalPlan>,
    /// When the suite is run again.
    pub reevaluation: Option<ReevaluationPlan>,
}

impl WatchPlan {
    /// The Secrets that the watch needs, in the order of the resource.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretKeyRef> {
        self.prometheus.iter().flat_map(PrometheusPlan::secrets)
    }
}

/// A Prometheus, or anything that speaks its HTTP API.
#[derive(Clone, Debug, PartialEq)]
pub struct PrometheusPlan {
    /// Its URL, without `/api/v1`: http or https, with a host, without credentials, query and fragment.
    pub url: Url,
    /// How we say who we are.
    pub credential: Option<CredentialPlan>,
    /// Further headers: names that HTTP allows, each once, none that the client sets itself.
    pub headers: Vec<(String, HeaderPlan)>,
    /// The longest that a query may take.
    pub timeout: Duration,
}

impl PrometheusPlan {
    /// The Secrets that it needs, in the order of the resource.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretKeyRef> {
        let credential = self.credential.iter().map(|credential| match credential {
            CredentialPlan::Bearer(secret) | CredentialPlan::Basic { password: secret, .. } => secret,
        });
        credential.chain(self.headers.iter().filter_map(|(_, header)| match header {
            HeaderPlan::Secret(secret) => Some(secret),
            HeaderPlan::Value(_) => None,
        }))
    }
}

/// How we say who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialPlan {
    /// A bearer token.
    Bearer(SecretKeyRef),
    /// User and password.
    Basic {
        /// The user; no colon in it.
        user: String,
        /// The password.
        password: SecretKeyRef,
    },
}

/// The value of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderPlan {
    /// It stands in the resource.
    Value(String),
    /// It is in a Secret.
    Secret(SecretKeyRef),
}

/// A live signal and its limits, of which there is at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct SignalPlan {
    /// What to call it.
    pub name: String,
    /// An instant query.
    pub query: String,
    /// The most that the value may be.
    pub max: Option<f64>,
    /// The least that the value may be; not above `max`.
    pub min: Option<f64>,
    /// How far the value may rise above its mean before the promotion.
    pub max_increase: Option<Margin>,
    /// How far the value may fall below its mean before the promotion.
    pub max_decrease: Option<Margin>,
    /// How much traffic a reading must rest on.
    pub samples: Option<SamplesPlan>,
    /// A short hash of everything that a reading is held against: the Prometheus, the queries, the limits, and the window of
    /// the mean before the promotion. Readings under different definitions say nothing about each other.
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
    /// As a share of the size of the mean: 0.2 for `20%`.
    Share(f64),
}

/// How much traffic a reading must rest on.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplesPlan {
    /// An instant query that counts it.
    pub query: String,
    /// The least count. Finite, and at least 1.
    pub minimum: f64,
}

/// When the suite is run again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReevaluationPlan {
    /// How often. At least a minute.
    pub every: Duration,
    /// How far the aggregate score may fall below the one that the prompt was promoted with, 0 to 1.
    pub max_drop: f64,
}
