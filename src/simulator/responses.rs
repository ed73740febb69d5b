//! HTTP responses: answers, errors of either protocol, and deliberately broken answers.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Response, StatusCode, header};
use futures::{StreamExt as _, stream};

use super::counts::Event;
use super::dice::Dice;
use super::request::Refusal;
use super::{anthropic, openai};

/// The wire protocols.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Protocol {
    /// OpenAI.
    OpenAi,
    /// Anthropic.
    Anthropic,
}

/// A serialized answer: a body, or a stream of events.
pub(super) enum Ready {
    /// The body.
    Whole(Vec<u8>),
    /// The events.
    Events(Vec<String>),
}

impl Ready {
    /// The complete text.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Events(events) => events.concat().into_bytes(),
        }
    }
}

/// A response with a body of a content type.
pub(super) fn respond(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

/// A response with a JSON body.
pub(super) fn json(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    respond(status, "application/json", Body::from(body))
}

/// An error, with the time to wait if known.
pub(super) fn error(protocol: Protocol, refusal: &Refusal, wait: Option<Duration>) -> Response<Body> {
    let body = match protocol {
        Protocol::OpenAi => openai::write_error(refusal),
        Protocol::Anthropic => anthropic::write_error(refusal),
    };
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, body);
    if let Some(wait) = wait {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        response.headers_mut().insert("retry-after-ms", millis.into());
    }
    response
}

/// A 429.
pub(super) fn rate_limited(protocol: Protocol, wait: Duration) -> Response<Body> {
    let message = format!("Rate limit reached. Please try again in {}ms.", wait.as_millis());
    let refusal = Refusal { status: 429, message, param: None, code: Some("rate_limit_exceeded") };
    error(protocol, &refusal, Some(wait))
}

/// A 500.
pub(super) fn server_error(protocol: Protocol) -> Response<Body> {
    let message = "The server had an error while processing your request. Sorry about that!".to_owned();
    error(protocol, &Refusal { status: 500, message, param: None, code: None }, None)
}

/// Announces the whole answer, sends half of it, and cuts the connection.
pub(super) fn hang_up(mut body: Vec<u8>) -> Response<Body> {
    let promised = body.len();
    body.truncate(promised / 2);
    let half = stream::once(async { Ok(Bytes::from(body)) });
    let cut = stream::once(async {
        // Sends the first half before the connection is cut.
        tokio::task::yield_now().await;
        Err(io::Error::from(io::ErrorKind::ConnectionAborted))
    });
    let mut response = respond(StatusCode::OK, "application/json", Body::from_stream(half.chain(cut)));
    response.headers_mut().insert(header::CONTENT_LENGTH, promised.into());
    response
}

/// A complete HTTP answer with truncated JSON.
pub(super) fn truncated(ready: Ready) -> Response<Body> {
    let kind = match ready {
        Ready::Whole(_) => "application/json",
        Ready::Events(_) => "text/event-stream; charset=utf-8",
    };
    let mut body = ready.into_bytes();
    body.truncate(body.len() / 2);
    respond(StatusCode::OK, kind, Body::from(body))
}

/// A 200 with a malformed answer: without a message, truncated, or not JSON.
pub(super) fn malformed(protocol: Protocol, event: Event, dice: Dice) -> Response<Body> {
    let page = "<html><body><h1>502 Bad Gateway</h1></body></html>";
    let body = match (dice.pick(3, "malformed"), protocol, event) {
        (0, ..) => return respond(StatusCode::OK, "text/html", Body::from(page)),
        (_, _, Event::Embeddings) => r#"{"object":"list","data":[],"model":"simulated"}"#,
        (1, Protocol::OpenAi, _) => {
            r#"{"id":"chatcmpl-0","object":"chat.completion","created":0,"model":"simulated","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":0,"total_tokens":9}}"#
        }
        (_, Protocol::OpenAi, _) => {
            r#"{"id":"chatcmpl-0","object":"chat.completion","created":0,"model":"simulated","choices":[{"index":0,"message":{"role":"assistant","content":"Hel"},"finish_reason":"error"}],"usage":{"prompt_tokens":9,"completion_tokens":0,"total_tokens":9}}"#
        }
        (1, Protocol::Anthropic, _) => {
            r#"{"id":"msg_0","type":"message","role":"assistant","model":"simulated","stop_reason":"end_turn","stop_sequence":null}"#
        }
        (_, Protocol::Anthropic, _) => {
            r#"{"id":"msg_0","type":"message","role":"assistant","model":"simulated","content":null,"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":0}}"#
        }
    };
    json(StatusCode::OK, body.as_bytes().to_vec())
}
