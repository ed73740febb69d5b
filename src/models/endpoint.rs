//! One configured model of the plan: its URLs, its headers with the key, and its limits.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use tracing::warn;

use super::SetupError;
use super::answered::Read;
use super::form::Wanted;
use super::limits::Limiter;
use super::room::Room;
use super::wire::{self, Wire};
use whetstone_domain::ids::ModelName;
use whetstone_domain::plan::{HeaderPlan, KeyPlan, ModelPlan, SecretRef};

/// One configured model of the plan.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// Its name in the resource.
    pub name: ModelName,
    /// Its protocol.
    pub wire: &'static dyn Wire,
    /// The provider's name for the model.
    pub model: String,
    /// Where chat requests go.
    pub chat: Url,
    /// Where embedding requests go, if its protocol has them.
    pub embeddings: Option<Url>,
    /// The headers of every request. The key is marked as sensitive, so that it is not printed.
    pub headers: HeaderMap,
    /// The key, to remove it from the provider's messages.
    pub key: Option<SecretString>,
    /// A description of where the key comes from, for messages.
    pub key_place: String,
    /// Secret values of headers, to remove them from the provider's messages.
    pub secrets: Vec<SecretString>,
    /// The form of its requests, and what of it the resource leaves open.
    pub wanted: Wanted,
    /// The name under which the process remembers what the server accepts: its URL and model.
    pub server: String,
    /// The time-out of one attempt.
    pub timeout: Duration,
    /// The maximum number of attempts of a call.
    pub attempts: u32,
    /// Limits its rate and concurrency.
    pub limiter: Limiter,
    /// The memory for its answers.
    pub room: Room,
    /// The warnings that were already logged.
    warned: Warned,
}

/// Warnings that are logged once per model.
#[derive(Debug, Default)]
struct Warned {
    usage: AtomicBool,
    reasoning: AtomicBool,
}

impl Endpoint {
    /// Prepares a model. `find` returns the secrets that it needs.
    pub(super) fn new(
        name: &ModelName,
        plan: &ModelPlan,
        find: &dyn Fn(&KeyPlan) -> Option<SecretString>,
        concurrency: usize,
        room: &Room,
    ) -> Result<Self, SetupError> {
        let found = |key: &KeyPlan| {
            find(key).map(|key| SecretString::from(key.expose_secret().trim())).filter(|key| !is_empty(key))
        };
        let key = plan.key.as_ref().and_then(found);
        if let (None, Some(KeyPlan { required: true, .. })) = (&key, &plan.key) {
            return Err(SetupError::Keys(vec![KeyProblem {
                model: name.clone(),
                place: place(plan.key.as_ref()),
                fault: KeyFault::Missing,
            }]));
        }
        let address = plan.redirect.as_ref().unwrap_or(&plan.identity.endpoint);
        let base = Url::parse(address)
            .ok()
            .filter(|base| matches!(base.scheme(), "http" | "https") && base.has_host())
            .ok_or_else(|| SetupError::BaseUrl { model: name.clone(), url: address.clone() })?;
        let wire = wire::of(plan.provider);
        let mut headers = headers(wire, key.as_ref()).ok_or_else(|| {
            SetupError::Keys(vec![KeyProblem {
                model: name.clone(),
                place: place(plan.key.as_ref()),
                fault: KeyFault::NotAHeader,
            }])
        })?;
        let secrets = add_headers(&mut headers, plan, &found)
            .map_err(|(place, fault)| SetupError::Keys(vec![KeyProblem { model: name.clone(), place, fault }]))?;
        let limits = &plan.limits;
        let concurrency = limits.concurrency.map_or(concurrency, |concurrency| concurrency as usize);
        Ok(Self {
            name: name.clone(),
            wire,
            model: plan.identity.model.clone(),
            chat: wire.chat_url(&base),
            embeddings: wire.embeddings().map(|embeddings| embeddings.url(&base)),
            headers,
            key,
            key_place: place(plan.key.as_ref()),
            secrets,
            wanted: Wanted {
                wire,
                structured: plan.structured,
                limit: plan.token_limit,
                usual_limit: wire.usual_limit(&base),
                system: plan.system_role,
                seed: plan.seed,
            },
            server: format!("{base} {}", plan.identity.model),
            timeout: limits.timeout,
            attempts: limits.attempts,
            limiter: Limiter::new(concurrency, limits.requests_per_minute, limits.tokens_per_minute),
            room: room.clone(),
            warned: Warned::default(),
        })
    }

    /// Every secret that is part of a request.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &SecretString> + Clone {
        self.key.iter().chain(&self.secrets)
    }

    /// Warns, once each, about unusual properties of an answer.
    pub(super) fn warn_of(&self, read: &Read) {
        if read.counted.input.is_none() || read.counted.output.is_none() {
            self.warn_of_usage();
        }
        if read.only_reasoned && !self.warned.reasoning.swap(true, Ordering::Relaxed) {
            warn!(
                model = self.name.as_str(),
                "an answer has reasoning and no text, and counts as an empty answer; if that is frequent, raise \
                 parameters.maxOutputTokens or turn the server's reasoning parser off"
            );
        }
    }

    /// Warns once that the provider does not count its tokens.
    pub(super) fn warn_of_usage(&self) {
        if !self.warned.usage.swap(true, Ordering::Relaxed) {
            warn!(
                model = self.name.as_str(),
                "answers do not say how many tokens they took (usage): the tokens, and what they cost, are estimates"
            );
        }
    }
}

/// Whether a URL is on this machine, so that no proxy is used.
pub(super) fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(domain)) => domain == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn is_empty(key: &SecretString) -> bool {
    key.expose_secret().is_empty()
}

/// The headers; `None` if the key has characters that a header cannot have.
fn headers(wire: &dyn Wire, key: Option<&SecretString>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in wire.headers() {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    if let Some(key) = key {
        let (name, value) = wire.key_header(key.expose_secret());
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Some(headers)
}

/// Adds the headers of the resource, and returns their secret values. An error names the source of a value that cannot be
/// sent.
fn add_headers(
    headers: &mut HeaderMap,
    plan: &ModelPlan,
    find: &dyn Fn(&KeyPlan) -> Option<SecretString>,
) -> Result<Vec<SecretString>, (String, KeyFault)> {
    let mut secrets = Vec::new();
    for (name, value) in &plan.headers {
        let field = format!("the value of the header {name:?}");
        let secret = match value {
            HeaderPlan::Value(value) => SecretString::from(value.as_str()),
            HeaderPlan::Secret(source) => {
                let place = format!("{field}: {}", place(Some(source)));
                let secret = find(source).ok_or((place, KeyFault::Missing))?;
                secrets.push(secret.clone());
                secret
            }
        };
        let sent = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(secret.expose_secret()).ok());
        let (name, mut value) = sent.ok_or((field, KeyFault::NotAHeader))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(secrets)
}

/// A description of where a key comes from.
fn place(key: Option<&KeyPlan>) -> String {
    let Some(key) = key else { return "apiKey of the model, which has none".to_owned() };
    let secret = key.secret.as_ref().map(|SecretRef { name, key }| format!("key {key:?} of Secret {name:?}"));
    match (&key.env, secret) {
        (Some(env), Some(secret)) => format!("{env} (in a cluster: {secret})"),
        (Some(env), None) => env.clone(),
        (None, Some(secret)) => secret,
        (None, None) => "apiKey of the model".to_owned(),
    }
}

/// A key that is missing or invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyProblem {
    /// The model that needs it.
    pub model: ModelName,
    /// The environment variable, or the Secret.
    pub place: String,
    /// What is wrong with it.
    pub fault: KeyFault,
}

/// What is wrong with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// It is not set, or is empty.
    Missing,
    /// It has characters that cannot be sent.
    NotAHeader,
}

impl fmt::Display for KeyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, place, fault } = self;
        let model = model.as_str();
        match fault {
            KeyFault::Missing => write!(f, "model {model:?} needs a key: set {place}"),
            KeyFault::NotAHeader => {
                write!(f, "the key of model {model:?} has characters that no key has: check {place}")
            }
        }
    }
}
