//! Live signals from a Prometheus, or another server with its HTTP API.
//!
//! Input: a [`PrometheusPlan`] with its secrets, and [`SignalPlan`]s. Output: a [`Reading`] for each, which [`whetstone_decide::watch`]
//! judges. Every failure becomes a [`Gap`] in one reading, never an error of all: no connection, a timeout, a redirect (never
//! followed), a refusal, an answer that is too large or not JSON.
//!
//! [`answer`] parses the answers of Prometheus, [`exchange`] makes the requests. Secrets are in secret types and in headers marked
//! as sensitive; no message contains one. Of an answer only the message of a Prometheus error is shown, on one line and
//! truncated: an arbitrary body would let the author of the URL read what only the operator can reach.
//!
//! This module knows neither limits nor prompts.
//!
//! [`whetstone_decide::watch`]: whetstone_decide::watch

mod answer;
mod exchange;

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::future::{join, join_all};
use jiff::Timestamp;
use reqwest::Url;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use self::answer::Found;
use whetstone_decide::watch::{Answer, Gap, Reading};
use whetstone_domain::plan::SecretRef;
use whetstone_domain::plan::watch::{CredentialPlan, HeaderPlan, PrometheusPlan, SignalPlan, WatchPlan};

/// The maximum number of points in the mean before the promotion.
const POINTS: u32 = 1_000;

/// Why a Prometheus cannot be queried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// Secrets that are missing or cannot be sent: all of them.
    #[error("{}", .0.iter().map(SecretProblem::to_string).collect::<Vec<_>>().join("; "))]
    Secrets(Vec<SecretProblem>),
    /// A header that HTTP does not allow. Resolving the resource rejects such headers.
    #[error("spec.watch.prometheus.headers: {0:?} is not a valid header; correct its name or its value")]
    Header(String),
}

impl SetupError {
    /// A short name for conditions and metrics.
    #[must_use]
    pub fn category(&self) -> &'static str {
        match self {
            Self::Secrets(_) => "unauthorized",
            Self::Header(_) => "refused",
        }
    }

    /// Whether a retry may succeed without a change: never.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        false
    }
}

/// A secret that is missing or unusable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretProblem {
    /// Its source.
    pub place: SecretRef,
    /// Whether it exists, but has characters that are not allowed in a header.
    pub is_there: bool,
}

impl fmt::Display for SecretProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = place(&self.place);
        if self.is_there {
            write!(f, "spec.watch.prometheus: {place} contains characters that are not allowed in a header; correct it")
        } else {
            write!(f, "spec.watch.prometheus: {place} is missing or empty; add it")
        }
    }
}

/// The source of a secret for messages.
fn place(secret: &SecretRef) -> String {
    format!("key {:?} of Secret {:?}", secret.key, secret.name)
}

/// A client of a Prometheus.
pub struct Prometheus {
    http: reqwest::Client,
    /// The URL for queries.
    url: Url,
    /// The headers of every request. Those from a Secret are marked as sensitive, so that they are not printed.
    headers: HeaderMap,
    /// The secrets, which are removed from answers.
    secrets: Vec<SecretString>,
    /// The sources of the credentials for messages.
    credentials: String,
    /// The timeout of a query.
    timeout: Duration,
}

impl fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prometheus")
            .field("url", &self.url.as_str())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Prometheus {
    /// Creates a client. `secrets` looks up each secret of the plan. `http` must not follow redirects and must be allowed to
    /// access this host: `models::Connections::to` returns it.
    ///
    /// # Errors
    /// [`SetupError::Secrets`] with every secret that is missing or unusable.
    pub fn new(
        plan: &PrometheusPlan,
        secrets: &dyn Fn(&SecretRef) -> Option<SecretString>,
        http: reqwest::Client,
    ) -> Result<Self, SetupError> {
        let mut url = plan.url.clone();
        url.path_segments_mut().expect("http and https URLs have a path").pop_if_empty().extend(["api", "v1", "query"]);
        let mut collected = CollectedSecrets { find: secrets, found: Vec::new(), problems: Vec::new() };
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let credential = match &plan.credential {
            None => None,
            Some(CredentialPlan::Bearer(token)) => collected.header(token, |token| format!("Bearer {token}")),
            Some(CredentialPlan::Basic { user, password }) => collected
                .header(password, |password| format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))),
        };
        headers.extend(credential.map(|credential| (AUTHORIZATION, credential)));
        for (name, value) in &plan.headers {
            let value = match value {
                HeaderPlan::Value(value) => HeaderValue::from_str(value).ok(),
                HeaderPlan::Secret(secret) => match collected.header(secret, str::to_owned) {
                    None => continue,
                    found => found,
                },
            };
            let (Ok(key), Some(value)) = (HeaderName::from_bytes(name.as_bytes()), value) else {
                return Err(SetupError::Header(name.clone()));
            };
            headers.insert(key, value);
        }
        if !collected.problems.is_empty() {
            return Err(SetupError::Secrets(collected.problems));
        }
        let places: Vec<String> = plan.secrets().map(place).collect();
        let credentials = if places.is_empty() {
            "give spec.watch.prometheus a bearerToken, basicAuth or headers".to_owned()
        } else {
            format!("check {}", places.join(" and "))
        };
        Ok(Self { http, url, headers, secrets: collected.found, credentials, timeout: plan.timeout })
    }

    /// Reads a signal now. `since` is the time of the promotion: the mean over the `window` before it is queried, with one point
    /// per `interval`, unless it is not needed or known from an earlier reading.
    ///
    /// Takes at most the timeout, and twice that if the mean is not known.
    pub async fn read(
        &self,
        signal: &SignalPlan,
        since: Timestamp,
        window: Duration,
        interval: Duration,
        known_baseline: Option<f64>,
    ) -> Reading {
        let samples = async {
            match &signal.samples {
                Some(samples) => Some(self.ask(&samples.query, None).await.and_then(|found| found.answer)),
                None => None,
            }
        };
        let (value, samples) = join(self.ask(&signal.query, None), samples).await;
        let baseline = match (&value, known_baseline) {
            _ if !signal.has_baseline() => None,
            (_, Some(known)) => Some(Ok(known)),
            (Ok(found), None) => Some(self.baseline(&signal.query, found.is_scalar, since, window, interval).await),
            // Unreachable, or the query is invalid: the mean will be queried again.
            (Err(gap), None) => Some(Err(gap.clone())),
        };
        Reading { value: value.and_then(|found| found.answer), samples, baseline }
    }

    /// Reads all signals of a watch concurrently, in its order. `known` returns the mean of a signal before the promotion, if it is
    /// known.
    pub async fn read_all(
        &self,
        plan: &WatchPlan,
        since: Timestamp,
        known: impl Fn(&SignalPlan) -> Option<f64>,
    ) -> Vec<Reading> {
        let readings =
            plan.signals.iter().map(|signal| self.read(signal, since, plan.window, plan.interval, known(signal)));
        join_all(readings).await
    }

    /// The mean of a query over a window before a time.
    async fn baseline(
        &self,
        query: &str,
        is_scalar: bool,
        at: Timestamp,
        window: Duration,
        interval: Duration,
    ) -> Answer {
        self.ask(&mean_over(query, is_scalar, window, interval), Some(at)).await?.answer
    }

    async fn ask(&self, query: &str, at: Option<Timestamp>) -> Result<Found, Gap> {
        exchange::ask(self, query, at).await.map_err(Gap::Outage)
    }
}

/// The query for the mean of a query. Points that are NaN or infinite (a ratio without traffic) are left out.
fn mean_over(query: &str, is_scalar: bool, window: Duration, interval: Duration) -> String {
    let step = interval.max(window / POINTS).as_millis().max(1);
    let window = window.as_millis().max(1);
    // Only a vector has a window. The line breaks end a trailing comment of the query.
    let vector = if is_scalar { "vector" } else { "" };
    format!("avg_over_time((({vector}(\n{query}\n)) > -Inf < Inf)[{window}ms:{step}ms])")
}

/// Collects the secrets of a plan.
struct CollectedSecrets<'a> {
    find: &'a dyn Fn(&SecretRef) -> Option<SecretString>,
    found: Vec<SecretString>,
    problems: Vec<SecretProblem>,
}

impl CollectedSecrets<'_> {
    /// A header value with a secret, marked as sensitive; records a problem with the secret.
    fn header(&mut self, place: &SecretRef, write: impl Fn(&str) -> String) -> Option<HeaderValue> {
        // A Secret that was created from a file often ends in a line break.
        let found = (self.find)(place).map(|secret| SecretString::from(secret.expose_secret().trim()));
        let Some(secret) = found.filter(|secret| !secret.expose_secret().is_empty()) else {
            self.problems.push(SecretProblem { place: place.clone(), is_there: false });
            return None;
        };
        let written = SecretString::from(write(secret.expose_secret()));
        let value = HeaderValue::from_str(written.expose_secret());
        // Longest first, because a longer secret may contain a shorter one.
        self.found.extend([written, secret]);
        let Ok(mut value) = value else {
            self.problems.push(SecretProblem { place: place.clone(), is_there: true });
            return None;
        };
        value.set_sensitive(true);
        Some(value)
    }
}

#[cfg(test)]
mod tests;
