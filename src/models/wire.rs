//! The protocol of a provider: its interface to the client.
//!
//! A protocol is one file, with an implementation of [`Wire`], and one arm of [`of`]. Everything else in this folder asks
//! the endpoint for its `Wire` and never which protocol it is.

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
use crate::api::plan::Provider;
use crate::domain::call::{ChatRequest, EmbedRequest, Embeddings, Parameters, Temperature};

/// A provider's protocol: how requests are written, and how their answers are read.
pub(super) trait Wire: fmt::Debug + Send + Sync {
    /// Its name in spans and messages.
    fn name(&self) -> &'static str;

    /// Where chat requests go, from the base URL of the resource.
    fn chat_url(&self, base: &Url) -> Url;

    /// The header that carries the key, and its value.
    fn key_header(&self, key: &str) -> (HeaderName, String);

    /// Further headers of every request.
    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// The name under which a server at this URL wants the limit of output tokens, as far as is known.
    fn usual_limit(&self, _base: &Url) -> LimitName {
        LimitName::MaxTokens
    }

    /// How structured output is asked for once a server has refused to give it in this way.
    fn instead_of(&self, _refused: Structured) -> Structured {
        Structured::Plain
    }

    /// What a person changes in the resource when a server refuses a setting; `None` where the protocol has no field of its own
    /// for that.
    fn advice(&self, _refused: Setting) -> Option<&'static str> {
        None
    }

    /// The body of a chat request, in the form that the server takes.
    fn chat_body(&self, model: &str, request: &ChatRequest, form: Form) -> Vec<u8>;

    /// Reads the answer to a chat request.
    ///
    /// # Errors
    /// [`Unusable`] for a body that is no answer.
    fn read_chat(&self, body: &[u8], request: &ChatRequest) -> Result<Read, Unusable>;

    /// Its embeddings, if it has them.
    fn embeddings(&self) -> Option<&dyn EmbeddingWire> {
        None
    }
}

/// The embeddings of a protocol.
pub(super) trait EmbeddingWire: Send + Sync {
    /// Where embedding requests go, from the base URL of the resource.
    fn url(&self, base: &Url) -> Url;

    /// The body of an embedding request to a URL.
    fn body(&self, model: &str, request: &EmbedRequest, url: &Url) -> Vec<u8>;

    /// Reads the answer to a request for vectors of so many texts, of about `estimate` tokens.
    ///
    /// # Errors
    /// [`Unusable`] for a body that is no answer, or does not have one vector for each text.
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

/// What a tool takes that says nothing of its arguments.
pub(super) static EMPTY_OBJECT: LazyLock<Map<String, Value>> =
    LazyLock::new(|| match json!({"type": "object", "properties": {}}) {
        Value::Object(schema) => schema,
        _ => unreachable!("it is an object"),
    });

/// The system message, with the form of the answer where nothing else in the request says it.
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

/// A body as JSON, with the fields that the user wants in it; theirs win.
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
