//! The message of a provider's error: extracted from any form of body, and sanitized.
//!
//! Only fields that are known to contain a message are shown, never a whole JSON body, because some providers repeat the
//! request in it. Of a body that is not JSON, little more than its type is shown: the author of a base URL reads these
//! messages, and the URL may be that of a service that the author may not access.

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use whetstone_domain::presentable::one_line;
use whetstone_domain::redact::Redactor;

/// The maximum number of characters of a provider's message that are shown.
const MOST_SHOWN: usize = 300;
/// The maximum number of characters of a body that is not JSON that are shown.
const MOST_OF_PLAIN: usize = 60;

/// The message and the machine-readable reasons in the body of an error.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Complaint {
    /// The provider's message, not sanitized.
    pub message: Option<String>,
    /// `code` and `type`, such as `insufficient_quota`.
    pub codes: Vec<String>,
    /// `param`: the part of the request that is wrong.
    pub param: Option<String>,
}

impl Complaint {
    /// Parses a body of any form, with the status and headers of its response.
    pub(super) fn read(body: &[u8], status: StatusCode, headers: &HeaderMap) -> Self {
        let text = String::from_utf8_lossy(body);
        let Ok(value) = serde_json::from_str::<Value>(&text) else {
            return Self { message: plain(text.trim(), status, headers), ..Self::default() };
        };
        let error = value.get("error").filter(|error| error.is_object()).unwrap_or(&value);
        let codes = ["code", "type"].iter().filter_map(|field| match error.get(field)? {
            Value::String(code) => Some(code.clone()),
            Value::Number(code) => Some(code.to_string()),
            _ => None,
        });
        let inner = error.get("innererror").and_then(|inner| inner.get("code")).and_then(Value::as_str);
        let codes = codes.chain(inner.map(str::to_owned));
        let param = error.get("param").and_then(Value::as_str).filter(|param| *param != "None").map(str::to_owned);
        Self { codes: codes.collect(), message: message(&value), param: param.or_else(|| refused_field(&value)) }
    }

    /// Whether one of the codes is this one.
    pub(super) fn has(&self, wanted: &str) -> bool {
        self.codes.iter().any(|code| code == wanted)
    }

    /// Whether a content filter refused the request.
    pub(super) fn is_filter(&self) -> bool {
        const CODES: [&str; 4] =
            ["content_filter", "ResponsibleAIPolicyViolation", "content_policy_violation", "data_inspection_failed"];
        CODES.iter().any(|code| self.has(code))
            || self.message.as_deref().is_some_and(|said| said.to_lowercase().contains("content management policy"))
    }

    /// A status in the body: some gateways answer 200 and put the status of the error there.
    pub(super) fn status(&self) -> Option<u16> {
        self.codes.iter().filter_map(|code| code.parse().ok()).find(|status| (400..600).contains(status))
    }
}

/// The details in the bodies of FastAPI and of Mistral, which wraps them.
fn details(body: &Value) -> Option<&Vec<Value>> {
    body.get("detail").or_else(|| body.get("message")?.get("detail"))?.as_array()
}

/// The field that the first detail of FastAPI refers to.
fn refused_field(body: &Value) -> Option<String> {
    details(body)?.first()?.get("loc")?.as_array()?.last()?.as_str().map(str::to_owned)
}

/// The message in the bodies of OpenAI and Anthropic (`error.message`), Ollama (`error`), vLLM (`message`), and
/// FastAPI (`detail`).
fn message(body: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let error = body.get("error");
    error
        .and_then(|error| error.get("message"))
        .and_then(text)
        .or_else(|| error.and_then(text))
        .or_else(|| body.get("message").and_then(text))
        .or_else(|| body.get("detail").and_then(text))
        .or_else(|| {
            let messages: Vec<&str> =
                details(body)?.iter().filter_map(|detail| detail.get("msg").and_then(Value::as_str)).collect();
            (!messages.is_empty()).then(|| messages.join("; "))
        })
}

/// A body that is not JSON: the title of a web page, the media type of anything else, and of an error the beginning of the
/// text.
fn plain(text: &str, status: StatusCode, headers: &HeaderMap) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    if text.starts_with('<') {
        let title = text.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
        let titled =
            |(title, _): (&str, &str)| format!("a web page titled {:?}", one_line(title.trim(), MOST_OF_PLAIN));
        return Some(title.map_or_else(|| "a web page".to_owned(), titled));
    }
    let media = headers.get(CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or("unknown type");
    let media = one_line(media.split(';').next().unwrap_or_default().trim(), MOST_OF_PLAIN);
    if status.is_success() {
        return Some(format!("a body of {media}, which is not JSON"));
    }
    Some(format!("{:?} ({media})", one_line(text, MOST_OF_PLAIN)))
}

/// Untrusted text for a terminal and a log: without the secrets, on one line, without control characters, truncated.
pub(super) fn presentable<'a>(text: &str, secrets: impl Iterator<Item = &'a SecretString> + Clone) -> String {
    let has_secrets = secrets.clone().next().is_some();
    let keys = Redactor::new(secrets.map(ExposeSecret::expose_secret), 0, "[key]");
    let text = &*keys.text(text);
    // Some providers repeat a wrong key with asterisks in the middle.
    let is_masked = |word: &str| word.contains("**");
    if has_secrets && text.split_whitespace().any(is_masked) {
        let words: Vec<&str> =
            text.split_whitespace().map(|word| if is_masked(word) { "[key]" } else { word }).collect();
        return one_line(&words.join(" "), MOST_SHOWN);
    }
    one_line(text, MOST_SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message_of(body: &str) -> Option<String> {
        read(body).message
    }

    fn read(body: &str) -> Complaint {
        Complaint::read(body.as_bytes(), StatusCode::BAD_REQUEST, &HeaderMap::new())
    }

    #[test]
    fn the_message_is_found_wherever_a_provider_puts_it() {
        for body in [
            r#"{"error":{"message":"no such model","type":"invalid_request_error","code":null}}"#,
            r#"{"type":"error","error":{"type":"not_found_error","message":"no such model"}}"#,
            r#"{"error":"no such model"}"#,
            r#"{"object":"error","message":"no such model"}"#,
            r#"{"detail":"no such model"}"#,
            r#"{"detail":[{"loc":["body","model"],"msg":"no such model","input":"the whole request"}]}"#,
        ] {
            assert_eq!(message_of(body).as_deref(), Some("no such model"), "{body}");
        }
    }

    #[test]
    fn a_json_body_of_unknown_form_is_not_shown() {
        assert_eq!(message_of(r#"{"request":{"messages":["a secret prompt"]}}"#), None);
        assert_eq!(message_of(""), None);
    }

    #[test]
    fn a_web_page_is_named_by_its_title() {
        let page = "<html><head><title> 502 Bad Gateway </title></head><body>nginx</body></html>";
        assert_eq!(message_of(page).as_deref(), Some("a web page titled \"502 Bad Gateway\""));
        assert_eq!(message_of("<html></html>").as_deref(), Some("a web page"));
    }

    /// The author of a base URL reads the message, which must not reveal the content of somebody else's service.
    #[test]
    fn little_is_shown_of_a_body_that_is_not_json() {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, "text/plain; charset=utf-8".parse().unwrap())]);
        let secret = format!("token: {}\u{1b}[31m\nsecond line", "s3cret ".repeat(50));
        let of = |status| Complaint::read(secret.as_bytes(), status, &headers).message.unwrap();
        let answered = of(StatusCode::OK);
        assert_eq!(answered, "a body of text/plain, which is not JSON");
        let refused = of(StatusCode::BAD_REQUEST);
        assert!(refused.starts_with("\"token: s3cret") && refused.ends_with("(text/plain)"), "{refused}");
        assert!(refused.chars().count() < 90 && !refused.contains(char::is_control), "{refused}");
        let title = format!("<title>{}</title>", "x".repeat(1_000));
        assert!(message_of(&title).unwrap().len() < 120);
    }

    #[test]
    fn a_content_filter_is_recognized() {
        for body in [
            r#"{"error":{"message":"The response was filtered","code":"content_filter","param":"prompt"}}"#,
            r#"{"error":{"message":"filtered","code":"invalid","innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#,
            r#"{"error":{"message":"The prompt triggered Azure OpenAI's content management policy.","code":400}}"#,
        ] {
            assert!(read(body).is_filter(), "{body}");
        }
        assert!(!read(r#"{"error":{"message":"no such model","code":"model_not_found"}}"#).is_filter());
    }

    #[test]
    fn codes_are_read_as_text_and_as_a_status() {
        let complaint = read(r#"{"error":{"message":"m","code":502,"type":"upstream"}}"#);
        assert_eq!(complaint.codes, ["502", "upstream"]);
        assert_eq!(complaint.status(), Some(502));
    }

    #[test]
    fn what_is_shown_has_no_key_no_control_characters_and_an_end() {
        let key = SecretString::from("sk-planted");
        let text = format!("key sk-planted\n\u{1b}[31mis\u{202e} wrong {}", "x".repeat(1_000));
        let shown = presentable(&text, std::iter::once(&key));
        assert!(shown.starts_with("key [key] [31mis wrong xxx"), "{shown}");
        assert_eq!(shown.chars().count(), MOST_SHOWN + 1);
    }
}
