//! The models of a plan over HTTP: OpenAI-compatible and Anthropic.
//!
//! In: a [`ModelPlan`] per model, and its key. Out: [`Client`], which implements [`Models`] for the engine. A call is
//! written in the provider's protocol ([`wire`], one file per protocol), waits at the limiter of its model ([`limits`],
//! with its pure part in [`pace`]), and is attempted ([`attempt`]) until it is answered or given up ([`retry`]). If a
//! server refuses a part of it ([`setting`]), another form is tried ([`form`]), if the resource allows that.
//!
//! Keys are in secret types and in headers marked as sensitive; no error, log line or span contains one, or the body of a
//! request. This module does not know the ledger, prices, or the purpose of a call.

mod answered;
mod anthropic;
mod attempt;
mod complaint;
mod endpoint;
mod form;
mod guard;
mod limits;
mod openai;
mod pace;
mod pauses;
mod reading;
mod refusal;
mod retry;
mod room;
mod setting;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::{Method, Request, Url};
use secrecy::{ExposeSecret, SecretString};
use tracing::{Instrument, debug, field, info_span};

use self::attempt::Unusable;
use self::endpoint::Endpoint;
pub use self::endpoint::{KeyFault, KeyProblem};
use self::form::{MOST_CHANGES, Remembered};
pub use self::pauses::Pauses;
use self::retry::GivenUp;
pub use self::retry::RetryPolicy;
pub use self::room::AnswerMemory;
use self::room::{Expected, Room};
use whetstone_domain::call::{ChatAnswer, ChatRequest, EmbedRequest, Embeddings};
use whetstone_domain::endpoint::{AllowList, Refusal};
use whetstone_domain::ids::ModelName;
use whetstone_domain::money::Usage;
use whetstone_domain::plan::{KeyPlan, ModelPlan};
use whetstone_domain::redact::Redactor;
use whetstone_engine::ports::{CallError, CallErrorKind, Models};
use whetstone_engine::stopwatch::CallTime;

/// The defaults of a [`Client`] where the plan sets nothing.
#[derive(Clone, Debug)]
pub struct Options {
    /// Concurrent requests for a model without its own limit.
    pub concurrency: usize,
    /// When a call is retried.
    pub retry: RetryPolicy,
    /// Seeds the jitter of the waits.
    pub seed: u64,
    /// Connections to share with other clients of this process; `None` for new ones.
    pub connections: Option<Connections>,
    /// Is notified whether calls wait, and can pause them.
    pub pauses: Arc<Pauses>,
}

impl Default for Options {
    fn default() -> Self {
        Self { concurrency: 64, retry: RetryPolicy::default(), seed: 0, connections: None, pauses: Arc::default() }
    }
}

/// Connection pools. Cheap to clone; a process needs one.
#[derive(Clone, Debug)]
pub struct Connections {
    /// Through the proxy of the environment, if there is one.
    far: reqwest::Client,
    /// To this machine, bypassing any proxy.
    near: reqwest::Client,
    /// The hosts that may be accessed; `None` for all.
    allowed: Option<Arc<AllowList>>,
    /// The memory for the answers of all connections.
    room: Room,
    /// What was learned about servers.
    remembered: Remembered,
}

impl Connections {
    /// Creates the pools. Connections are opened later.
    ///
    /// # Errors
    /// [`SetupError::Http`] if the proxy settings or the certificates of the system are invalid.
    pub fn new() -> Result<Self, SetupError> {
        Self::open(None)
    }

    /// The same for an operator, where other people choose the URLs: only the hosts in the list are accessed, and names
    /// that resolve to other addresses are refused. Behind a proxy, which resolves names itself, only the list protects.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn guarded(allowed: Arc<AllowList>) -> Result<Self, SetupError> {
        Self::open(Some(allowed))
    }

    fn open(allowed: Option<Arc<AllowList>>) -> Result<Self, SetupError> {
        install_tls();
        let builder = || {
            let builder = reqwest::Client::builder()
                .user_agent(concat!("whetstone/", env!("CARGO_PKG_VERSION")))
                // One connection per running request. HTTP/2 would use a single one, and requests above the server's limit
                // of streams would wait unnoticed, while their time-outs run.
                .http1_only()
                .pool_max_idle_per_host(usize::MAX)
                .tcp_nodelay(true)
                .connect_timeout(Duration::from_secs(10))
                // A redirect would send the key to another host.
                .redirect(reqwest::redirect::Policy::none());
            match &allowed {
                Some(list) => builder.dns_resolver(Arc::new(guard::Guarded(Arc::clone(list)))),
                None => builder,
            }
        };
        let built =
            |builder: reqwest::ClientBuilder| builder.build().map_err(|error| SetupError::Http(error.to_string()));
        Ok(Self {
            far: built(builder())?,
            near: built(builder().no_proxy())?,
            allowed,
            room: Room::new(AnswerMemory::default()),
            remembered: Remembered::default(),
        })
    }

    /// Limits the memory for answers.
    #[must_use]
    pub fn with_memory(self, memory: AnswerMemory) -> Self {
        Self { room: Room::new(memory), ..self }
    }

    /// The pool for a URL.
    ///
    /// # Errors
    /// [`Refusal`] if its host must not be accessed.
    pub fn to(&self, url: &Url) -> Result<&reqwest::Client, Refusal> {
        self.allowed.as_ref().map_or(Ok(()), |list| list.check(url))?;
        Ok(if endpoint::is_local(url) { &self.near } else { &self.far })
    }
}

/// Makes ring the TLS provider of this process. May be called more than once.
pub fn install_tls() {
    // An error means that there is a provider already, which suffices.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The key in the environment variable that a plan names, if it is set. The command line finds keys this way.
#[must_use]
pub fn key_from_environment(_: &ModelName, key: &KeyPlan) -> Option<SecretString> {
    std::env::var(key.env.as_deref()?).ok().map(SecretString::from)
}

/// Why a client for the models of a plan cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Keys are missing or invalid: all of them.
    #[error("{}", join(.0))]
    Keys(Vec<KeyProblem>),
    /// A base URL is invalid.
    #[error("model {:?}: {url:?} is not an http or https URL: correct baseURL", model.as_str())]
    BaseUrl {
        /// The model.
        model: ModelName,
        /// What stands there.
        url: String,
    },
    /// The operator's list does not allow a base URL.
    #[error("model {:?}: {refusal}", model.as_str())]
    Forbidden {
        /// The model.
        model: ModelName,
        /// Why.
        refusal: Refusal,
    },
    /// The HTTP client cannot be created.
    #[error("cannot set up HTTP: {0}; check the proxy variables and the certificates of the system")]
    Http(String),
}

impl SetupError {
    /// A short name for reports and metrics.
    #[must_use]
    pub fn category(&self) -> &'static str {
        match self {
            Self::Keys(_) => "unauthorized",
            Self::BaseUrl { .. } => "refused",
            Self::Forbidden { refusal, .. } => refusal.category(),
            Self::Http(_) => "http",
        }
    }

    /// Whether a retry may succeed without any change: never.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        false
    }
}

fn join(problems: &[KeyProblem]) -> String {
    problems.iter().map(KeyProblem::to_string).collect::<Vec<_>>().join("; ")
}

/// The models of a plan.
pub struct Client {
    endpoints: BTreeMap<ModelName, Endpoint>,
    connections: Connections,
    /// Removes keys from answers.
    keys: Redactor,
    retry: RetryPolicy,
    seed: u64,
    calls: AtomicU64,
    pauses: Arc<Pauses>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

impl Client {
    /// Prepares the models of a plan. `find_key` returns the key of each model that names one.
    ///
    /// # Errors
    /// [`SetupError::Keys`] with all required keys that were not found, else the first other problem, such as a model that
    /// the connections do not allow.
    pub fn new(
        models: &BTreeMap<ModelName, ModelPlan>,
        find_key: &dyn Fn(&ModelName, &KeyPlan) -> Option<SecretString>,
        options: Options,
    ) -> Result<Self, SetupError> {
        let connections = options.connections.map_or_else(Connections::new, Ok)?;
        let mut endpoints = BTreeMap::new();
        let mut problems = Vec::new();
        for (name, plan) in models {
            match Endpoint::new(
                name,
                plan,
                &|key: &KeyPlan| find_key(name, key),
                options.concurrency,
                &connections.room,
            ) {
                Ok(endpoint) => drop(endpoints.insert(name.clone(), endpoint)),
                Err(SetupError::Keys(more)) => problems.extend(more),
                Err(error) => return Err(error),
            }
        }
        if !problems.is_empty() {
            return Err(SetupError::Keys(problems));
        }
        for (model, endpoint) in &endpoints {
            let forbidden = |refusal| SetupError::Forbidden { model: model.clone(), refusal };
            connections.to(&endpoint.chat).map_err(forbidden)?;
        }
        let keys = endpoints.values().flat_map(Endpoint::secrets);
        let keys = Redactor::new(keys.map(ExposeSecret::expose_secret), SHORTEST_KEY, "[key]");
        let Options { retry, seed, pauses, .. } = options;
        Ok(Self { endpoints, connections, keys, retry, seed, calls: AtomicU64::new(0), pauses })
    }

    fn endpoint(&self, name: &ModelName) -> Result<&Endpoint, CallError> {
        self.endpoints.get(name).ok_or_else(|| CallError {
            model: name.clone(),
            kind: CallErrorKind::Refused,
            attempts: 0,
            message: "there is no model of this name; add it to spec.models".to_owned(),
            usage: None,
        })
    }

    /// Makes a call whose body is already written, in its span.
    async fn call<T>(
        &self,
        endpoint: &Endpoint,
        operation: &'static str,
        Outgoing { url, body, output, expected, time }: Outgoing<'_>,
        read: impl Fn(&[u8]) -> Result<T, Unusable>,
        usage: impl Fn(&T) -> Usage,
    ) -> Result<T, GivenUp> {
        let tokens = body.len() as u64 / BYTES_PER_TOKEN + output;
        let mut request = Request::new(Method::POST, url.clone());
        *request.headers_mut() = endpoint.headers.clone();
        *request.body_mut() = Some(body.into());
        let span = info_span!(
            "request",
            gen_ai.operation.name = operation,
            gen_ai.provider.name = endpoint.wire.name(),
            gen_ai.request.model = endpoint.model,
            gen_ai.usage.input_tokens = field::Empty,
            gen_ai.usage.output_tokens = field::Empty,
            http.response.status_code = field::Empty,
            error.r#type = field::Empty,
            attempts = field::Empty,
        );
        let call = retry::Call {
            http: if endpoint::is_local(url) { &self.connections.near } else { &self.connections.far },
            endpoint,
            policy: &self.retry,
            seed: self.seed.wrapping_add(self.calls.fetch_add(1, Ordering::Relaxed)),
            request,
            tokens,
            expected,
            pauses: &self.pauses,
            time,
        };
        call.make(read, usage).instrument(span).await
    }
}

/// A request that is already written.
struct Outgoing<'a> {
    url: &'a Url,
    body: Vec<u8>,
    output: u64,
    /// The maximum size of its answer.
    expected: Expected,
    /// Is notified when a request is running.
    time: &'a CallTime,
}

/// The minimum length of a secret key, in bytes. A shorter one is a word such as `none` for a local server, and may well
/// occur in answers.
const SHORTEST_KEY: usize = 12;

/// The average for English text and JSON: accurate enough until the actual count is known.
const BYTES_PER_TOKEN: u64 = 4;
/// The assumed tokens of an answer without a limit, until the actual count is known.
const OUTPUT_TOKENS: u64 = 1_000;

impl Models for Client {
    fn chat<'a>(
        &'a self,
        model: &'a ModelName,
        request: &'a ChatRequest,
        time: &'a CallTime,
    ) -> BoxFuture<'a, Result<ChatAnswer, CallError>> {
        Box::pin(async move {
            let endpoint = self.endpoint(model)?;
            let output = request.parameters.max_output_tokens.unwrap_or(OUTPUT_TOKENS);
            let expected = Expected::Tokens(request.parameters.max_output_tokens);
            let read = |body: &[u8]| {
                let read = endpoint.wire.read_chat(body, request)?;
                endpoint.warn_of(&read);
                let answer = read.settle(|| answered::estimate_request(request));
                room::check_calls(&answer.calls).map_err(Unusable::Malformed)?;
                Ok(answer)
            };
            let remembered = &self.connections.remembered;
            let mut lessons = remembered.of(&endpoint.server);
            let mut changes = 0;
            let body_of = |lessons| endpoint.wire.chat_body(&endpoint.model, request, endpoint.wanted.form(lessons));
            loop {
                let body = body_of(lessons);
                let outgoing = Outgoing { url: &endpoint.chat, body, output, expected, time };
                let given_up = match self.call(endpoint, "chat", outgoing, read, |answer| answer.usage).await {
                    Ok(answer) => return Ok(self.keys.value(answer)),
                    Err(given_up) => given_up,
                };
                let learned = given_up.refused.and_then(|refused| endpoint.wanted.learn(lessons, refused));
                let Some(learned) = learned.filter(|_| changes < MOST_CHANGES) else { return Err(given_up.error) };
                if body_of(learned) == body_of(lessons) {
                    return Err(given_up.error);
                }
                debug!(model = model.as_str(), refused = ?given_up.refused, "asking in another form");
                remembered.keep(&endpoint.server, learned);
                (lessons, changes) = (learned, changes + 1);
            }
        })
    }

    fn embed<'a>(
        &'a self,
        model: &'a ModelName,
        request: &'a EmbedRequest,
        time: &'a CallTime,
    ) -> BoxFuture<'a, Result<Embeddings, CallError>> {
        Box::pin(async move {
            let endpoint = self.endpoint(model)?;
            let Some((wire, url)) = endpoint.wire.embeddings().zip(endpoint.embeddings.as_ref()) else {
                return Err(CallError {
                    model: model.clone(),
                    kind: CallErrorKind::Refused,
                    attempts: 0,
                    message: format!(
                        "the {} API has no embeddings; choose an OpenAI-compatible model",
                        endpoint.wire.name()
                    ),
                    usage: None,
                });
            };
            let body = wire.body(&endpoint.model, request, url);
            let expected = Expected::Vectors(request.texts.len());
            let outgoing = Outgoing { url, body, output: 0, expected, time };
            let estimate = || request.texts.iter().map(|text| answered::estimate(text)).sum();
            let read = |body: &[u8]| {
                let embeddings = wire.read(body, request.texts.len(), &estimate)?;
                if embeddings.estimated {
                    endpoint.warn_of_usage();
                }
                Ok(embeddings)
            };
            self.call(endpoint, "embeddings", outgoing, read, |embeddings| embeddings.usage)
                .await
                .map_err(|given_up| given_up.error)
        })
    }
}

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
