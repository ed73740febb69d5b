//! Live signals, from a Prometheus or anything that speaks its HTTP API.
//!
//! Goes in: a [`PrometheusPlan`] with its secrets, and [`SignalPlan`]s. Comes out: a [`Reading`] each, which [`decide::watch`]
//! judges. Whatever goes wrong on the way becomes a [`Gap`] in one reading, never an error of all: no connection, a time-out, a
//! redirect (never followed), a refusal, an answer that is too large or no JSON.
//!
//! [`answer`] reads what Prometheus says, [`exchange`] gets it said. Secrets are in secret types and in headers marked as
//! sensitive; no message has one. Of an answer only the words of a Prometheus error are shown, on one line and cut short: the
//! body of a stranger would tell whoever wrote the URL what the operator sees from where it stands.
//!
//! Nothing in here knows what a limit is, or that there are prompts.
//!
//! [`decide::watch`]: crate::decide::watch

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
use crate::api::plan::watch::{CredentialPlan, HeaderPlan, PrometheusPlan, SignalPlan, WatchPlan};
use crate::api::source::SecretKeyRef;
use crate::decide::watch::{Answer, Gap, Reading};

/// The most points that the mean before the promotion is taken over.
const POINTS: u32 = 1_000;

/// Why a Prometheus cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// Secrets that are missing or cannot be sent: all of them.
    #[error("{}", .0.iter().map(SecretProblem::to_string).collect::<Vec<_>>().join("; "))]
    Secrets(Vec<SecretProblem>),
    /// A header that HTTP does not allow. The door lets none through.
    #[error("spec.watch.prometheus.headers: {0:?} is no header; correct its name or its value")]
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

    /// Another attempt may go better, without anybody doing anything: never.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        false
    }
}

/// A secret that is not there, or cannot be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretProblem {
    /// Where it was looked for.
    pub place: SecretKeyRef,
    /// It is there, and has characters that no header may have.
    pub is_there: bool,
}

impl fmt::Display for SecretProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = place(&self.place);
        if self.is_there {
            write!(f, "spec.watch.prometheus: {place} has characters that cannot be sent: correct it")
        } else {
            write!(f, "spec.watch.prometheus: {place} is missing or empty: add it")
        }
    }
}

/// What a person calls the place of a secret.
fn place(secret: &SecretKeyRef) -> String {
    format!("key {:?} of Secret {:?}", secret.key, secret.name)
}

/// A Prometheus, ready to be asked.
pub struct Prometheus {
    http: reqwest::Client,
    /// Where queries go.
    url: Url,
    /// The headers of every request. Those from a Secret are marked as sensitive, so that they are not printed.
    headers: HeaderMap,
    /// What must never be shown, should an answer repeat it.
    secrets: Vec<SecretString>,
    /// What a person calls the places of the credentials.
    credentials: String,
    /// The longest that a query may take.
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
    /// Prepares a Prometheus. `secrets` is asked for each secret of the plan. `http` must not follow redirects, and be one that
    /// may ask this host: `models::Connections::to` gives it.
    ///
    /// # Errors
    /// [`SetupError::Secrets`] with every secret that was not found or cannot be sent.
    pub fn new(
        plan: &PrometheusPlan,
        secrets: &dyn Fn(&SecretKeyRef) -> Option<SecretString>,
        http: reqwest::Client,
    ) -> Result<Self, SetupError> {
        let mut url = plan.url.clone();
        url.path_segments_mut().expect("http and https URLs have a path").pop_if_empty().extend(["api", "v1", "query"]);
        let mut wallet = Wallet { find: secrets, found: Vec::new(), problems: Vec::new() };
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let credential = match &plan.credential {
            None => None,
            Some(CredentialPlan::Bearer(token)) => wallet.header(token, |token| format!("Bearer {token}")),
            Some(CredentialPlan::Basic { user, password }) => wallet
                .header(password, |password| format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))),
        };
        headers.extend(credential.map(|credential| (AUTHORIZATION, credential)));
        for (name, value) in &plan.headers {
            let value = match value {
                HeaderPlan::Value(value) => HeaderValue::from_str(value).ok(),
                HeaderPlan::Secret(secret) => match wallet.header(secret, str::to_owned) {
                    None => continue,
                    found => found,
                },
            };
            let (Ok(key), Some(value)) = (HeaderName::from_bytes(name.as_bytes()), value) else {
                return Err(SetupError::Header(name.clone()));
            };
            headers.insert(key, value);
        }
        if !wallet.problems.is_empty() {
            return Err(SetupError::Secrets(wallet.problems));
        }
        let places: Vec<String> = plan.secrets().map(place).collect();
        let credentials = if places.is_empty() {
            "give spec.watch.prometheus a bearerToken, basicAuth or headers".to_owned()
        } else {
            format!("check {}", places.join(" and "))
        };
        Ok(Self { http, url, headers, secrets: wallet.found, credentials, timeout: plan.timeout })
    }

    /// Reads a signal now. `since` is the time of the promotion: the mean before it is asked for over the `window` before it, a
    /// point each `interval`, unless it is not needed or is known from an earlier reading.
    ///
    /// Takes as long as the time-out at most, and twice that while the mean is not known.
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
            // Nobody answers, or nobody understands the query: it will be asked for again.
            (Err(gap), None) => Some(Err(gap.clone())),
        };
        Reading { value: value.and_then(|found| found.answer), samples, baseline }
    }

    /// Reads all signals of a watch at the same time, in its order. `known` answers with the mean before the promotion of a
    /// signal, where it is known.
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

/// The query of the mean of a query. Moments at which it is NaN or infinite (a ratio without traffic) are left out.
fn mean_over(query: &str, is_scalar: bool, window: Duration, interval: Duration) -> String {
    let step = interval.max(window / POINTS).as_millis().max(1);
    let window = window.as_millis().max(1);
    // Only a vector has a window. The lines keep a comment at the end of the query from swallowing what follows.
    let vector = if is_scalar { "vector" } else { "" };
    format!("avg_over_time((({vector}(\n{query}\n)) > -Inf < Inf)[{window}ms:{step}ms])")
}

/// The secrets of a plan while they are being collected.
struct Wallet<'a> {
    find: &'a dyn Fn(&SecretKeyRef) -> Option<SecretString>,
    found: Vec<SecretString>,
    problems: Vec<SecretProblem>,
}

impl Wallet<'_> {
    /// A secret within the value of a header, marked as sensitive; a problem is noted.
    fn header(&mut self, place: &SecretKeyRef, write: impl Fn(&str) -> String) -> Option<HeaderValue> {
        // A file that became a Secret often ends in a line break.
        let found = (self.find)(place).map(|secret| SecretString::from(secret.expose_secret().trim()));
        let Some(secret) = found.filter(|secret| !secret.expose_secret().is_empty()) else {
            self.problems.push(SecretProblem { place: place.clone(), is_there: false });
            return None;
        };
        let written = SecretString::from(write(secret.expose_secret()));
        let value = HeaderValue::from_str(written.expose_secret());
        // The longer one first: a text that has it has the shorter one too, perhaps.
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
