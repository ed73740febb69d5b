//! The interface of a provider's protocol to the client.
//!
//! A protocol is one file with an implementation of [`Wire`], and one arm of [`of`]. All other code in this folder uses the
//! `Wire` of an endpoint, and never checks which protocol it is.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use reqwest::Url;
use reqwest::header::HeaderName;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::answered::Read;
use super::attempt::Unusable;
use super::form::{Form, LimitName, Structured};
use super::setting::Setting;
use super::{anthropic, openai};
use whetstone_domain::call::{ChatRequest, EmbedRequest, Embeddings, Parameters, Temperature};
use whetstone_domain::plan::Provider;

/// A provider's protocol: formats requests and parses answers.
pub(super) trait Wire: fmt::Debug + Send + Sync {
    /// The name in spans and messages.
    fn name(&self) -> &'static str;

    /// The URL of chat requests, given the base URL of the resource.
    fn chat_url(&self, base: &Url) -> Url;

    /// The header that carries the key, and its value.
    fn key_header(&self, key: &str) -> (HeaderName, String);

    /// Additional headers of every request.
    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// The name of the limit on output tokens that a server at this URL is known to require.
    fn usual_limit(&self, _base: &Url) -> LimitName {
        LimitName::MaxTokens
    }

    /// How to request structured output after a server has refused this way.
    fn instead_of(&self, _refused: Structured) -> Structured {
        Structured::Plain
    }

    /// The remedy in the resource if a server refuses a setting; `None` if the protocol has no field for it.
    fn advice(&self, _refused: Setting) -> Option<&'static str> {
        None
    }

    /// The body of a chat request, in the form that the server accepts.
    fn chat_body(&self, model: &str, request: &ChatRequest, form: Form) -> Vec<u8>;

    /// Parses the answer to a chat request.
    ///
    /// # Errors
    /// [`Unusable`] if the body is not an answer.
    fn read_chat(&self, body: &[u8], request: &ChatRequest) -> Result<Read, Unusable>;

    /// The embeddings of the protocol, if it has them.
    fn embeddings(&self) -> Option<&dyn EmbeddingWire> {
        None
    }
}

/// The embeddings of a protocol.
pub(super) trait EmbeddingWire: Send + Sync {
    /// The URL of embedding requests, given the base URL of the resource.
    fn url(&self, base: &Url) -> Url;

    /// The body of an embedding request to a URL.
    fn body(&self, model: &str, request: &EmbedRequest, url: &Url) -> Vec<u8>;

    /// Parses the answer to a request for vectors of this many texts, with about `estimate` tokens.
    ///
    /// # Errors
    /// [`Unusable`] if the body is not an answer, or does not have one vector for each text.
    fn read(&self, body: &[u8], texts: usize, estimate: &dyn Fn() -> u64) -> Result<Embeddings, Unusable>;
}

/// The protocol of a provider.
pub(super) fn of(provider: Provider) -> &'static dyn Wire {
    match provider {
        Provider::OpenAi => &openai::OpenAi,
        Provider::Anthropic => &anthropic::Anthropic,
    }
}

/// A path below a base URL.
pub(super) fn join(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.path_segments_mut().expect("http and https URLs have a path").pop_if_empty().extend(path.split('/'));
    url
}

/// The schema of a tool that does not define its arguments.
pub(super) static EMPTY_OBJECT: LazyLock<Map<String, Value>> =
    LazyLock::new(|| match json!({"type": "object", "properties": {}}) {
        Value::Object(schema) => schema,
        _ => unreachable!("it is an object"),
    });

/// The system message, with a description of the answer's form if the request does not define it otherwise.
pub(super) fn instructions(request: &ChatRequest, form: Form) -> Cow<'_, str> {
    match &request.answer_schema {
        Some(schema) if form.structured != Structured::Schema => Cow::Owned(format!(
            "{}\n\nAnswer with one JSON object, and nothing before or after it. It must satisfy this JSON Schema:\n{}",
            request.system, schema.schema
        )),
        _ => Cow::Borrowed(&request.system),
    }
}

/// The temperature that is sent.
pub(super) fn temperature(parameters: &Parameters, form: Form) -> Option<f64> {
    match parameters.temperature {
        Some(Temperature::Value(value)) => Some(value),
        Some(Temperature::Preferred(value)) => Some(value).filter(|_| form.preferred_temperature),
        Some(Temperature::Omit | Temperature::Unknown(_)) | None => None,
    }
}

/// A body as JSON, with the extra fields of the user, which override others.
pub(super) fn merged(body: &impl Serialize, extra: Option<&Map<String, Value>>) -> Vec<u8> {
    const WHY: &str = "bodies are made of strings, numbers and JSON values";
    let Some(extra) = extra.filter(|extra| !extra.is_empty()) else {
        return serde_json::to_vec(body).expect(WHY);
    };
    let mut body = serde_json::to_value(body).expect(WHY);
    if let Value::Object(fields) = &mut body {
        fields.extend(extra.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    serde_json::to_vec(&body).expect(WHY)
}
