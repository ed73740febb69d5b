//! The meaning of a status other than 200, and the remedy.

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LOCATION};

use super::attempt::{Failure, retry_after};
use super::complaint::{Complaint, presentable};
use super::endpoint::Endpoint;
use super::setting::Setting;
use whetstone_engine::ports::CallErrorKind;

/// The failure for a response with such a status.
pub(super) fn of(endpoint: &Endpoint, at: &str, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    let complaint = Complaint::read(body, status, headers);
    let Meaning { kind, advice, refused } = meaning(endpoint, status, headers, &complaint);
    let mut message = format!("{at} answered {}", status.as_u16());
    if let Some(reason) = status.canonical_reason() {
        message.push(' ');
        message.push_str(reason);
    }
    let said = complaint.message.map(|said| presentable(&said, endpoint.secrets()));
    if let Some(said) = said.filter(|said| !said.is_empty()) {
        message.push_str(": ");
        message.push_str(said.trim_end_matches('.'));
    }
    message.push_str("; ");
    message.push_str(&advice);
    Failure { kind, status: Some(status.as_u16()), retry_after: retry_after(headers), message, refused, usage: None }
}

/// What kind of failure a status is, the remedy, and the setting that is refused.
struct Meaning {
    kind: CallErrorKind,
    advice: String,
    refused: Option<Setting>,
}

impl Meaning {
    fn new(kind: CallErrorKind, advice: impl Into<String>) -> Self {
        Self { kind, advice: advice.into(), refused: None }
    }
}

fn meaning(endpoint: &Endpoint, status: StatusCode, headers: &HeaderMap, complaint: &Complaint) -> Meaning {
    let code = status.as_u16();
    if is_about_the_key(code, complaint) {
        let advice = match &endpoint.key {
            Some(_) => format!("check the key in {}", endpoint.key_place),
            None => NO_KEY.to_owned(),
        };
        return Meaning::new(CallErrorKind::Unauthorized, advice);
    }
    if matches!(code, 400 | 403 | 422) && complaint.is_filter() {
        let advice =
            "the provider's content filter does not let the request through: change the scenario or the filter";
        return Meaning::new(CallErrorKind::Filtered, advice);
    }
    // OpenAI answers 429 also to an account without credit, and then waiting does not help.
    if code == 402
        || (code == 429 && (complaint.has("insufficient_quota") || complaint.has("billing_hard_limit_reached")))
    {
        return Meaning::new(CallErrorKind::Refused, "the account has no credit left: top it up");
    }
    if let Some(setting) = refused_setting(code, complaint) {
        let advice = setting.advice(endpoint.wire).to_owned();
        return Meaning { kind: CallErrorKind::Refused, advice, refused: Some(setting) };
    }
    match code {
        404 => Meaning::new(
            CallErrorKind::Refused,
            format!("check that the provider has the model {:?} and that baseURL is correct", endpoint.model),
        ),
        408 => Meaning::new(CallErrorKind::Timeout, "try again later"),
        429 => Meaning::new(
            CallErrorKind::RateLimited,
            "lower limits.concurrency, or set limits.requestsPerMinute or tokensPerMinute to what the account may use",
        ),
        409 | 425 | 500..=599 => {
            let advice = "the provider is broken or overloaded: try again later";
            Meaning::new(CallErrorKind::Server, with_hint(endpoint, advice))
        }
        300..=399 => {
            let to = headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("elsewhere");
            let to = presentable(to, endpoint.secrets());
            Meaning::new(CallErrorKind::Refused, format!("it redirects to {to}: set baseURL to the right place"))
        }
        _ => {
            let advice = "correct the model, its parameters or the request";
            Meaning::new(CallErrorKind::Refused, with_hint(endpoint, advice))
        }
    }
}

const NO_KEY: &str = "no key was sent; set apiKey for this model in spec.models";

/// Servers that require a key report that in many different ways.
fn with_hint(endpoint: &Endpoint, advice: &str) -> String {
    match endpoint.key {
        Some(_) => advice.to_owned(),
        None => format!(
            "{advice} (no key was sent; if the provider requires one, set apiKey for this model in spec.models)"
        ),
    }
}

/// Whether the key is wrong or missing. LiteLLM reports that with 400 and 500 too, in one case as "No connected db",
/// because it looks for the key in a database that it does not have.
fn is_about_the_key(status: u16, complaint: &Complaint) -> bool {
    const WORDS: [&str; 6] = [
        "no connected db",
        "no api key passed",
        "invalid api key",
        "incorrect api key",
        "authentication error",
        "malformed api key",
    ];
    if status == 401 || (status == 403 && !complaint.is_filter()) {
        return true;
    }
    let said = complaint.message.as_deref().unwrap_or_default().to_lowercase();
    matches!(status, 400 | 500)
        && (WORDS.iter().any(|words| said.contains(words))
            || complaint.has("auth_error")
            || complaint.has("invalid_api_key"))
}

/// The setting that is refused. Servers that render a prompt with a template fail at the system message with 500.
fn refused_setting(status: u16, complaint: &Complaint) -> Option<Setting> {
    let setting = Setting::refused(complaint)?;
    let is_refusal = match status {
        400 | 422 | 501 => true,
        404 | 405 => setting == Setting::Tools,
        500 => setting == Setting::SystemRole,
        _ => false,
    };
    is_refusal.then_some(setting)
}
