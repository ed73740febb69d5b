//! Removes secrets from untrusted text, in all common encodings.
//!
//! Some providers repeat a refused key: verbatim, in a URL, in JSON, as a header in base64, or in another case. Each of these
//! reveals the key.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use regex::{NoExpand, Regex, RegexBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Secrets with fewer bytes are only searched for verbatim, because their encodings would match any text.
const SHORTEST_ENCODED: usize = 8;

/// Finds secrets in text and replaces them with a mark.
pub struct Redactor {
    pattern: Option<Regex>,
    mark: &'static str,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").field("mark", &self.mark).finish_non_exhaustive()
    }
}

impl Redactor {
    /// A redactor for these secrets, except those with fewer than `shortest` bytes.
    #[must_use]
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>, shortest: usize, mark: &'static str) -> Self {
        let mut forms = BTreeSet::new();
        for secret in secrets.into_iter().filter(|secret| secret.len() >= shortest.max(1)) {
            if secret.len() < SHORTEST_ENCODED {
                forms.insert(regex::escape(secret));
            } else {
                forms.extend(encoded(secret).iter().map(|form| format!("(?i:{})", regex::escape(form))));
            }
        }
        // Of two forms with the same beginning, the longer one is matched.
        let mut forms: Vec<String> = forms.into_iter().collect();
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        let pattern = (!forms.is_empty()).then(|| {
            let pattern = RegexBuilder::new(&forms.join("|")).size_limit(64 << 20).build();
            pattern.expect("escaped texts are a pattern, and a secret fits into a header")
        });
        Self { pattern, mark }
    }

    /// The text without the secrets.
    #[must_use]
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match &self.pattern {
            Some(pattern) => pattern.replace_all(text, NoExpand(self.mark)),
            None => Cow::Borrowed(text),
        }
    }

    /// A value without the secrets in any of its strings, including keys of objects. A value without secrets is unchanged.
    #[must_use]
    pub fn value<T: Serialize + DeserializeOwned>(&self, value: T) -> T {
        let Some(pattern) = &self.pattern else { return value };
        let Ok(mut json) = serde_json::to_value(&value) else { return value };
        if !has(pattern, &json) {
            return value;
        }
        self.clean(&mut json);
        // A string is replaced with a string, so the value still parses.
        serde_json::from_value(json).unwrap_or(value)
    }

    fn clean(&self, json: &mut Value) {
        match json {
            Value::String(text) => {
                if let Cow::Owned(clean) = self.text(text) {
                    *text = clean;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.clean(item)),
            Value::Object(fields) => {
                let old = std::mem::take(fields);
                fields.extend(old.into_iter().map(|(key, mut value)| {
                    self.clean(&mut value);
                    (self.text(&key).into_owned(), value)
                }));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

fn has(pattern: &Regex, json: &Value) -> bool {
    match json {
        Value::String(text) => pattern.is_match(text),
        Value::Array(items) => items.iter().any(|item| has(pattern, item)),
        Value::Object(fields) => fields.iter().any(|(key, value)| pattern.is_match(key) || has(pattern, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A secret in all forms that are searched for. Case is ignored.
fn encoded(secret: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::from([secret.to_owned()]);
    let json = Value::String(secret.to_owned()).to_string();
    forms.insert(json[1..json.len() - 1].to_owned());
    forms.insert(json[1..json.len() - 1].replace('/', "\\/"));
    let (mut percent, mut all_percent, mut hex) = (String::new(), String::new(), String::new());
    for byte in secret.bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let _ = if is_plain { percent.write_char(byte.into()) } else { write!(percent, "%{byte:02X}") };
        let _ = write!(all_percent, "%{byte:02X}");
        let _ = write!(hex, "{byte:02x}");
    }
    forms.extend(
        url::form_urlencoded::byte_serialize(secret.as_bytes()).map(str::to_owned).reduce(|all, part| all + &part),
    );
    forms.extend([percent, all_percent, hex]);
    for before in 0..3 {
        // In base64 three bytes are four characters, so a secret inside another text has one of three forms. Its first and last
        // characters depend on the surrounding text and are left out, as is the padding.
        let text = [vec![0; before], secret.as_bytes().to_vec()].concat();
        let (first, end) = ([0, 2, 3][before], text.len() * 8 / 6);
        forms.insert(STANDARD.encode(&text)[first..end].to_owned());
        forms.insert(URL_SAFE.encode(&text)[first..end].to_owned());
    }
    forms
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const KEY: &str = "sk-Live/9+a~b c\"d";

    fn redactor(secret: &str) -> Redactor {
        Redactor::new([secret], 0, "[key]")
    }

    /// A text with the key in every form that reveals it.
    fn given_away(secret: &str, around: (&str, &str)) -> Vec<String> {
        let whole = format!("{}{secret}{}", around.0, around.1);
        let json = Value::String(secret.to_owned()).to_string();
        vec![
            whole.clone(),
            whole.to_uppercase(),
            whole.to_lowercase(),
            STANDARD.encode(&whole),
            STANDARD_NO_PAD.encode(&whole),
            URL_SAFE.encode(&whole),
            URL_SAFE_NO_PAD.encode(&whole),
            json[1..json.len() - 1].to_owned(),
            url::form_urlencoded::byte_serialize(whole.as_bytes()).collect(),
            whole.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat(),
            whole.bytes().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().concat(),
        ]
    }

    #[test]
    fn a_key_is_found_however_it_is_written() {
        for around in [("", ""), ("user:", ""), ("Bearer ", "\n"), ("x", "yz")] {
            for form in given_away(KEY, around) {
                let said = format!("no such key: {form}; try again");
                let clean = redactor(KEY).text(&said).into_owned();
                assert!(clean.contains("[key]"), "{form}");
                assert!(clean.starts_with("no such key: ") && clean.ends_with("; try again"), "{clean}");
            }
        }
    }

    #[test]
    fn what_is_no_key_stays_as_it_is() {
        let text = "the key sk-Live is well known; c2stTGl2ZQ==";
        assert_eq!(redactor(KEY).text(text), text);
        let short = Redactor::new(["none", "ollama"], 12, "[key]");
        assert_eq!(short.text("ollama says none"), "ollama says none");
        assert_eq!(redactor("none").text("None: none"), "None: [key]");
        assert_eq!(Redactor::new([], 0, "[key]").text("a"), "a");
    }

    #[test]
    fn a_value_is_cleaned_in_all_its_texts_and_keys() {
        let value = json!({"text": format!("it is {KEY}"), "calls": [{KEY: [1, STANDARD.encode(KEY)]}], "n": 3});
        let clean = json!({"text": "it is [key]", "calls": [{"[key]": [1, "[key]"]}], "n": 3});
        let cleaned = redactor(KEY).value(value).to_string();
        // The last characters of base64 may depend on the text that follows, and are kept then.
        assert!(cleaned.starts_with(&clean.to_string()[..45]), "{cleaned}");
        assert!(!cleaned.contains(KEY) && !cleaned.contains(&STANDARD.encode(KEY)[..12]), "{cleaned}");
    }

    #[test]
    fn it_does_not_show_what_it_looks_for() {
        assert!(!format!("{:?}", redactor(KEY)).contains("sk-Live"));
    }

    proptest! {
        #[test]
        fn no_form_of_any_key_comes_through(key in "[!-~]{8,60}", before in "[ -~]{0,7}", after in "[ -~]{0,7}") {
            let redactor = redactor(&key);
            for form in given_away(&key, (&before, &after)) {
                prop_assert!(redactor.text(&form).contains("[key]"), "{} in {}", key, form);
            }
        }
    }
}
