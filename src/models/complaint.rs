//! What a provider says when it refuses: found in whatever body it sent, and made fit to be shown.
//!
//! Only fields that are known to hold a message are shown, never a whole JSON body: some providers repeat the
//! request in it.

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::domain::presentable::one_line;
use crate::domain::redact::Redactor;

/// The most characters of a provider's message that are shown.
const MOST_SHOWN: usize = 300;

/// The message and the machine-readable reasons in the body of an error.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Complaint {
    /// The message, as the provider wrote it; not fit to be shown yet.
    pub message: Option<String>,
    /// `code` and `type`, such as `insufficient_quota`.
    pub codes: Vec<String>,
}

impl Complaint {
    /// Reads a body of any form.
    pub(super) fn read(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let Ok(value) = serde_json::from_str::<Value>(&text) else {
            return Self { message: plain(text.trim()), codes: Vec::new() };
        };
        let error = value.get("error").filter(|error| error.is_object()).unwrap_or(&value);
        let codes = ["code", "type"].iter().filter_map(|field| match error.get(field)? {
            Value::String(code) => Some(code.clone()),
            Value::Number(code) => Some(code.to_string()),
            _ => None,
        });
        Self { codes: codes.collect(), message: message(&value) }
    }

    /// A status given as a code within the body, as some gateways do that answer 200 all the same.
    pub(super) fn status(&self) -> Option<u16> {
        self.codes.iter().filter_map(|code| code.parse().ok()).find(|status| (400..600).contains(status))
    }
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
            let details = body.get("detail")?.as_array()?;
            let messages: Vec<&str> =
                details.iter().filter_map(|detail| detail.get("msg").and_then(Value::as_str)).collect();
            (!messages.is_empty()).then(|| messages.join("; "))
        })
}

/// A body that is not JSON: its text, or for a web page its title.
fn plain(text: &str) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    if !text.starts_with('<') {
        return Some(text.to_owned());
    }
    let title = text.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
    Some(title.map_or_else(|| "a web page".to_owned(), |(title, _)| format!("a web page titled {:?}", title.trim())))
}

/// Text of a stranger, fit for a terminal and a log: without the key, on one line, without control characters, short.
pub(super) fn presentable(text: &str, key: Option<&SecretString>) -> String {
    let keys = Redactor::new(key.map(ExposeSecret::expose_secret), 0, "[key]");
    let text = &*keys.text(text);
    // Some providers repeat a wrong key with stars in its middle.
    let is_masked = |word: &str| word.contains("**");
    if key.is_some() && text.split_whitespace().any(is_masked) {
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
        Complaint::read(body.as_bytes()).message
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
            "no such model\n",
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

    #[test]
    fn codes_are_read_as_text_and_as_a_status() {
        let complaint = Complaint::read(br#"{"error":{"message":"m","code":502,"type":"upstream"}}"#);
        assert_eq!(complaint.codes, ["502", "upstream"]);
        assert_eq!(complaint.status(), Some(502));
    }

    #[test]
    fn what_is_shown_has_no_key_no_control_characters_and_an_end() {
        let key = SecretString::from("sk-planted");
        let text = format!("key sk-planted\n\u{1b}[31mis\u{202e} wrong {}", "x".repeat(1_000));
        let shown = presentable(&text, Some(&key));
        assert!(shown.starts_with("key [key] [31mis wrong xxx"), "{shown}");
        assert_eq!(shown.chars().count(), MOST_SHOWN + 1);
    }
}
