//! One attempt: a single HTTP request, and its result.

use std::error::Error as _;
use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Request, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;
use serde_json::error::Category;

use super::complaint::{Complaint, presentable};
use super::endpoint::Endpoint;
use super::pace::Signal;
use super::reading::{Over, Patience, Unread, beginning, whole};
use super::refusal;
use super::room::Expected;
use super::setting::Setting;
use whetstone_domain::duration::HumanDuration;
use whetstone_domain::money::Usage;
use whetstone_engine::held;
use whetstone_engine::ports::CallErrorKind;

/// The maximum length of an error's body that is read, in bytes.
const LONGEST_COMPLAINT: usize = 64 << 10;

/// Why an attempt gave no answer.
#[derive(Debug)]
pub(super) struct Failure {
    /// What kind of failure it is.
    pub kind: CallErrorKind,
    /// The HTTP status, if there was a response at all.
    pub status: Option<u16>,
    /// The wait that the provider asks for.
    pub retry_after: Option<Duration>,
    /// What happened, and the remedy.
    pub message: String,
    /// The setting that the server refuses, if that is the reason.
    pub refused: Option<Setting>,
    /// What the provider counted for an unusable answer.
    pub usage: Option<Usage>,
}

/// What is wrong with the body of a response with status 200.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It is not an answer; a retry may give one.
    Malformed(String),
}

impl From<serde_json::Error> for Unusable {
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        Self::Malformed(match error.classify() {
            Category::Eof => format!("the JSON is cut short at line {line} column {column}"),
            Category::Syntax | Category::Io => format!("it is not JSON from line {line} column {column} on"),
            // The beginning of the message may quote the body, which must not be shown.
            Category::Data => match error.to_string().split_once(", expected ") {
                Some((_, expected)) => format!("it is not the JSON of an answer (expected {expected})"),
                None => format!("it is not the JSON of an answer (line {line} column {column})"),
            },
        })
    }
}

impl Failure {
    /// What the failure says about the load of the provider.
    pub(super) fn signal(&self) -> Signal {
        match (self.status, self.kind) {
            (Some(429 | 503 | 529), CallErrorKind::RateLimited | CallErrorKind::Server) => Signal::Overloaded,
            (_, CallErrorKind::Server | CallErrorKind::Timeout | CallErrorKind::Connection) => Signal::Failed,
            _ => Signal::Answered,
        }
    }
}

/// Sends a request and reads the answer, within the time-out of the endpoint and the memory for answers.
pub(super) async fn attempt<T>(
    http: &Client,
    endpoint: &Endpoint,
    request: Request,
    expected: Expected,
    read: impl Fn(&[u8]) -> Result<T, Unusable>,
) -> Result<T, Failure> {
    let at = shown(request.url());
    exchange(http, endpoint, request, expected, &at, read).await
}

/// The failure of an attempt without an answer in time.
fn late(endpoint: &Endpoint, at: &str) -> Failure {
    Failure {
        kind: CallErrorKind::Timeout,
        status: None,
        retry_after: None,
        refused: None,
        message: format!(
            "no answer from {at} within {}; raise limits.timeout, or lower limits.concurrency if the provider is overloaded",
            HumanDuration(endpoint.timeout)
        ),
        usage: None,
    }
}

async fn exchange<T>(
    http: &Client,
    endpoint: &Endpoint,
    request: Request,
    expected: Expected,
    at: &str,
    read: impl Fn(&[u8]) -> Result<T, Unusable>,
) -> Result<T, Failure> {
    let mut patience = Patience::new(endpoint.timeout);
    let late = |_| late(endpoint, at);
    let mut response = patience.wait(http.execute(request)).await.map_err(late)?.map_err(|error| Failure {
        kind: CallErrorKind::Connection,
        status: None,
        retry_after: None,
        refused: None,
        message: format!(
            "cannot reach {at}: {}; is it running and that baseURL is correct",
            presentable(&root_cause(&error), endpoint.secrets())
        ),
        usage: None,
    })?;
    let status = response.status();
    if !status.is_success() {
        // If the body cannot be read, the status has to suffice.
        let body = beginning(&mut response, LONGEST_COMPLAINT, &mut patience).await;
        return Err(refusal::of(endpoint, at, status, response.headers(), &body));
    }
    let unusable = |kind, why: &str| Failure {
        kind,
        status: Some(status.as_u16()),
        retry_after: None,
        refused: None,
        message: format!(
            "{at} answered {}, but {}{}",
            status.as_u16(),
            presentable(why, endpoint.secrets()),
            if kind == CallErrorKind::Malformed { "; is baseURL that of such an API?" } else { "" }
        ),
        usage: None,
    };
    if is_stream(response.headers()) {
        let why = "the answer is a stream (text/event-stream), and a whole one was asked for; turn streaming off at the server";
        return Err(unusable(CallErrorKind::Refused, why));
    }
    let mut share = endpoint.room.enter(expected).await;
    let body = whole(&mut response, &mut share, &mut patience).await.map_err(|why| match why {
        Unread::Over => late(Over),
        Unread::Cut(why) => unusable(CallErrorKind::Malformed, &format!("the answer was cut short: {why}")),
        // A retry would give an answer of the same length.
        Unread::TooLong(most) => unusable(
            CallErrorKind::Refused,
            &format!(
                "the answer has more than {most} bytes, and its request may bring no more; limit it by \
                 parameters.maxOutputTokens, or raise --longest-answer"
            ),
        ),
    })?;
    let answer = read(&body);
    if answer.is_ok() {
        // An answer holds its memory until it is recorded.
        held::keep(share);
    }
    answer.map_err(|why| {
        // Some gateways answer 200 with the provider's error in the body.
        let complaint = Complaint::read(&body[..body.len().min(LONGEST_COMPLAINT)], status, response.headers());
        if let Some(status) = complaint.status().and_then(|status| StatusCode::from_u16(status).ok()) {
            return refusal::of(endpoint, at, status, response.headers(), &body);
        }
        let Unusable::Malformed(why) = why;
        let failure = match complaint.message {
            Some(said) => unusable(CallErrorKind::Malformed, &format!("{why}; it says: {said}")),
            None => unusable(CallErrorKind::Malformed, &why),
        };
        Failure { usage: counted(&body), ..failure }
    })
}

/// The tokens that the body reports, whatever else is wrong with it.
fn counted(body: &[u8]) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Answer {
        usage: Value,
    }
    let Answer { usage } = serde_json::from_slice(body).ok()?;
    let tokens = |names: [&str; 2]| {
        let count = names.iter().find_map(|name| usage.get(name))?.as_f64()?;
        (count >= 0.0).then_some(count as u64)
    };
    let input = tokens(["prompt_tokens", "input_tokens"])?;
    let output = tokens(["completion_tokens", "output_tokens"]).unwrap_or(0);
    Some(Usage { input, cached_input: 0, output })
}

/// Whether the server streams its answer although it was not asked to. A retry would give the same.
fn is_stream(headers: &HeaderMap) -> bool {
    let media = headers.get(CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or_default();
    media.trim_start().to_ascii_lowercase().starts_with("text/event-stream")
}

/// The wait that the provider asks for: `retry-after-ms`, or `Retry-After` in seconds or as a date. A date is compared with
/// the `Date` of the same response, so that the difference between the clocks does not matter.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let seconds = |text: &str, unit: f64| Duration::try_from_secs_f64(text.parse::<f64>().ok()? * unit).ok();
    if let Some(wait) = text("retry-after-ms").and_then(|millis| seconds(millis, 0.001)) {
        return Some(wait);
    }
    let wait = text(RETRY_AFTER.as_str())?;
    seconds(wait, 1.0).or_else(|| {
        let parser = DateTimeParser::new();
        let at = parser.parse_timestamp(wait).ok()?;
        let now = parser.parse_timestamp(text(DATE.as_str())?).ok()?;
        Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
    })
}

/// A URL without possible secrets: user, password and query.
fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// The innermost cause of a transport error; the outer ones only say that there was one.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no connection in time".to_owned();
    }
    let Some(mut cause) = error.source() else { return "the request failed".to_owned() };
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn retry_after_is_read_in_every_form_that_providers_use() {
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        for (fields, millis) in [
            (vec![("retry-after", "7")], Some(7_000)),
            (vec![("retry-after", "0.5")], Some(500)),
            (vec![("retry-after-ms", "120"), ("retry-after", "1")], Some(120)),
            (vec![("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT"), date], Some(30_000)),
            (vec![("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT"), date], Some(0)),
            (vec![("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")], None),
            (vec![("retry-after", "-3")], None),
            (vec![("retry-after", "soon")], None),
            (vec![], None),
        ] {
            assert_eq!(retry_after(&headers(&fields)), millis.map(Duration::from_millis), "{fields:?}");
        }
    }

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        let url = Url::parse("https://user:pass@llm.example:8443/v1/chat?key=hidden").unwrap();
        assert_eq!(shown(&url), "https://llm.example:8443/v1/chat");
    }
}
