//! Sends one query in one HTTP request.

use std::error::Error as _;

use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Method, Request, Response, StatusCode, Url};
use secrecy::ExposeSecret;
use url::form_urlencoded::Serializer;

use super::Prometheus;
use super::answer::{Found, Unanswered, read};
use whetstone_domain::duration::HumanDuration;
use whetstone_domain::presentable::one_line;
use whetstone_domain::redact::Redactor;

/// The maximum length of an answer. A suitable query is answered in a few hundred bytes.
const LONGEST_ANSWER: usize = 1 << 20;
/// The maximum number of characters of untrusted text in a message.
const MOST_SHOWN: usize = 300;

/// Sends a query for a point in time, now by default. The error is a message with a remedy.
pub(super) async fn ask(prometheus: &Prometheus, query: &str, at: Option<Timestamp>) -> Result<Found, String> {
    let place = shown(&prometheus.url);
    match tokio::time::timeout(prometheus.timeout, exchange(prometheus, query, at, &place)).await {
        Ok(result) => result,
        Err(_) => Err(format!(
            "no answer from {place} within {}; raise spec.watch.prometheus.timeout, or make the query cheaper",
            HumanDuration(prometheus.timeout)
        )),
    }
}

async fn exchange(prometheus: &Prometheus, query: &str, at: Option<Timestamp>, place: &str) -> Result<Found, String> {
    let mut request = Request::new(Method::POST, prometheus.url.clone());
    *request.headers_mut() = prometheus.headers.clone();
    *request.body_mut() = Some(form(query, at).into());
    let mut response = prometheus.http.execute(request).await.map_err(|error| {
        let cause = presentable(prometheus, &root_cause(&error));
        format!("cannot reach {place}: {cause}; check that it is running and that spec.watch.prometheus.url is correct")
    })?;
    let status = response.status();
    let answered = || match status.canonical_reason() {
        Some(reason) => format!("{place} answered {} {reason}", status.as_u16()),
        None => format!("{place} answered {}", status.as_u16()),
    };
    if status.is_redirection() {
        let to = response.headers().get(LOCATION).and_then(|to| prometheus.url.join(to.to_str().ok()?).ok());
        let to = to.map_or_else(|| "elsewhere".to_owned(), |to| presentable(prometheus, &shown(&to)));
        return Err(format!(
            "{} and redirects to {to}, which is not followed; set spec.watch.prometheus.url to the right place",
            answered()
        ));
    }
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("no content type");
    let kind = presentable(prometheus, kind);
    let body =
        body(&mut response).await.map_err(|why| format!("{}, but {}", answered(), presentable(prometheus, &why)))?;
    match read(&body) {
        Ok(found) if status.is_success() => Ok(found),
        Err(Unanswered::Unfit(what)) if status.is_success() => Err(format!("unsuitable query: {what}")),
        Err(Unanswered::Refused { kind, words }) => {
            let said = presentable(prometheus, &format!("{kind}: {words}"));
            Err(format!("{}: {}; {}", answered(), said.trim_end_matches('.'), remedy(prometheus, status, &kind)))
        }
        _ if status.is_success() => Err(format!(
            "{}, but not with the JSON of the Prometheus API ({kind}); check spec.watch.prometheus.url",
            answered()
        )),
        _ => Err(format!("{}; {}", answered(), remedy(prometheus, status, ""))),
    }
}

/// The query as form data.
fn form(query: &str, at: Option<Timestamp>) -> String {
    let mut form = Serializer::new(String::new());
    form.append_pair("query", query);
    if let Some(at) = at {
        let millis = at.as_millisecond();
        form.append_pair("time", &format!("{}.{:03}", millis.div_euclid(1_000), millis.rem_euclid(1_000)));
    }
    form.finish()
}

/// Reads the body of an answer.
async fn body(response: &mut Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= LONGEST_ANSWER => body.extend_from_slice(&chunk),
            Ok(Some(_)) => {
                return Err("the answer is longer than 1 MiB; write a query that returns a single series".to_owned());
            }
            Ok(None) => return Ok(body),
            Err(error) => return Err(format!("the answer was cut short: {}", root_cause(&error))),
        }
    }
}

/// The remedy for a refusal.
fn remedy(prometheus: &Prometheus, status: StatusCode, kind: &str) -> String {
    match (status.as_u16(), kind) {
        (401 | 403 | 407, _) => prometheus.credentials.clone(),
        (_, "bad_data" | "execution") => "correct the query".to_owned(),
        (_, "timeout" | "canceled") => "make the query cheaper, or give Prometheus more time".to_owned(),
        (404 | 405, _) => "check spec.watch.prometheus.url".to_owned(),
        (429, _) => "it is queried too often; raise spec.watch.interval".to_owned(),
        (500.., _) => "check its logs".to_owned(),
        _ => "correct the query, or spec.watch.prometheus".to_owned(),
    }
}

/// Untrusted text without secrets and control characters.
fn presentable(prometheus: &Prometheus, text: &str) -> String {
    let secrets = prometheus.secrets.iter().map(ExposeSecret::expose_secret);
    one_line(&Redactor::new(secrets, 0, "[secret]").text(text), MOST_SHOWN)
}

/// A URL without its potentially secret parts: user, password and query.
fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// The innermost cause of a transport error; the outer ones have no details.
fn root_cause(error: &reqwest::Error) -> String {
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

    #[test]
    fn a_query_is_sent_as_a_form() {
        let at: Timestamp = "2026-11-24T10:00:00.0425Z".parse().unwrap();
        assert_eq!(
            form("sum(rate(a{b=\"c\"}[5m])) > 0", None),
            "query=sum%28rate%28a%7Bb%3D%22c%22%7D%5B5m%5D%29%29+%3E+0"
        );
        assert_eq!(form("up", Some(at)), "query=up&time=1795514400.042");
    }
}
