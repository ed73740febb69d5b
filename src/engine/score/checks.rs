//! Checks of the final answer that need no judge: exact text, patterns, JSON, numbers.

use serde_json::Value;

use super::numbers::numbers;
use super::shorten;
use whetstone_domain::pattern::Matcher;
use whetstone_domain::scenario::{Check, NumberCheck};
use whetstone_domain::schema::{self, Schema};
use whetstone_domain::score::{CheckKind, FailedCheck};

/// The maximum length of a quotation of an answer or an expectation in evidence, in characters.
const MAX_QUOTE: usize = 120;
/// The relative error of a number that is attributed to binary fractions.
const ROUNDING: f64 = 1e-9;

/// A compiled check, for many answers.
#[derive(Debug)]
pub(crate) enum CompiledCheck {
    /// The answer is this text.
    Equals(Box<str>),
    /// The answer contains this text, in lower case.
    Contains(Box<str>),
    /// The answer does not contain this text, in lower case.
    NotContains(Box<str>),
    /// The answer contains a match.
    Regex(Box<Matcher>),
    /// The answer is JSON that satisfies this schema.
    JsonSchema(Box<Schema>),
    /// The answer has a number close enough to this one.
    Number(NumberCheck),
}

/// Why a check is invalid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// The regular expression is invalid.
    #[error(
        "regex {pattern:?} cannot be read: {reason}; write it in the syntax of the Rust regex crate (no look-around, no back-references)"
    )]
    Regex {
        /// The regular expression.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The JSON Schema is invalid.
    #[error("jsonSchema cannot be used: {reason}; write a JSON Schema without references to other documents")]
    JsonSchema {
        /// What is wrong with it.
        reason: String,
    },
    /// No kind of check is given, or several.
    #[error("a check needs exactly one of equals, contains, notContains, regex, jsonSchema and number")]
    Kind,
}

impl CompiledCheck {
    /// Prepares a check.
    ///
    /// # Errors
    /// [`CheckError`] if its pattern or schema is invalid, or if it does not have exactly one kind.
    pub(crate) fn new(check: &Check) -> Result<Self, CheckError> {
        let Check { dimension: _, equals, contains, not_contains, regex, json_schema, number } = check;
        let mut kinds = Vec::new();
        kinds.extend(equals.as_ref().map(|text| Ok(Self::Equals(text.trim().into()))));
        kinds.extend(contains.as_ref().map(|text| Ok(Self::Contains(text.to_lowercase().into()))));
        kinds.extend(not_contains.as_ref().map(|text| Ok(Self::NotContains(text.to_lowercase().into()))));
        kinds.extend(regex.as_ref().map(|pattern| {
            Matcher::new(pattern)
                .map(|matcher| Self::Regex(Box::new(matcher)))
                .map_err(|reason| CheckError::Regex { pattern: pattern.clone(), reason })
        }));
        kinds.extend(json_schema.as_ref().map(|schema| {
            schema::compile(schema)
                .map(|schema| Self::JsonSchema(Box::new(schema)))
                .map_err(|reason| CheckError::JsonSchema { reason })
        }));
        kinds.extend(number.map(|number| Ok(Self::Number(number))));
        match <[_; 1]>::try_from(kinds) {
            Ok([only]) => only,
            Err(_) => Err(CheckError::Kind),
        }
    }

    /// Whether it requires something not to be said.
    #[must_use]
    pub(crate) fn is_negative(&self) -> bool {
        matches!(self, Self::NotContains(_))
    }

    /// What is wrong with an answer; `None` if it satisfies the check.
    #[must_use]
    pub(crate) fn fault(&self, answer: &str) -> Option<FailedCheck> {
        let failed = |kind: CheckKind, expected: String, got: String| {
            let detail = format!("expected {expected}, got {got}");
            Some(FailedCheck { kind, expected, detail, dimension: None })
        };
        match self {
            Self::Equals(text) if answer.trim() != &**text => {
                failed(CheckKind::Equals, format!("the answer {}", quote(text)), quote(answer))
            }
            Self::Contains(text) if !answer.to_lowercase().contains(&**text) => {
                failed(CheckKind::Contains, format!("the answer to contain {}", quote(text)), quote(answer))
            }
            Self::NotContains(text) if answer.to_lowercase().contains(&**text) => {
                failed(CheckKind::NotContains, format!("the answer not to contain {}", quote(text)), quote(answer))
            }
            Self::Regex(matcher) => {
                let expected = format!("the answer to match /{}/", shorten(matcher.as_str(), MAX_QUOTE));
                match matcher.is_match(answer) {
                    Ok(true) => None,
                    Ok(false) => failed(CheckKind::Regex, expected, quote(answer)),
                    Err(longest) => {
                        let detail = format!(
                            "expected {expected}, and it has {} bytes, more than the {longest} that this pattern is matched with",
                            answer.len()
                        );
                        Some(FailedCheck { kind: CheckKind::Regex, expected, detail, dimension: None })
                    }
                }
            }
            Self::JsonSchema(schema) => schema_fault(schema, answer),
            Self::Number(NumberCheck { value, tolerance }) => {
                let allowed = tolerance.unwrap_or(0.0) + ROUNDING * value.abs().max(1.0);
                let found = numbers(answer);
                if found.iter().any(|number| (number - value).abs() <= allowed) {
                    return None;
                }
                let within = tolerance.filter(|t| *t > 0.0).map_or_else(String::new, |t| format!(" within {t}"));
                let got: Vec<String> = found.iter().take(8).map(f64::to_string).collect();
                let got = if got.is_empty() { "no number".to_owned() } else { got.join(", ") };
                failed(CheckKind::Number, format!("the number {value}{within} in the answer"), got)
            }
            _ => None,
        }
    }
}

/// The expectation names the place in the answer without indices of lists, so it is the same for every answer that is wrong
/// at that place.
fn schema_fault(schema: &Schema, answer: &str) -> Option<FailedCheck> {
    let (expected, detail) = match serde_json::from_str::<Value>(answer) {
        Err(error) => ("JSON".to_owned(), format!("expected JSON: {error}; got {}", quote(answer))),
        Ok(value) => {
            let (place, why) = schema.fault(&value, answer)?;
            let any_item = |step: &str| if step.parse::<u32>().is_ok() { "*".to_owned() } else { step.to_owned() };
            let steps: Vec<String> = place.split('/').map(any_item).collect();
            let place = if place.is_empty() { "the answer".to_owned() } else { place };
            let expected = match steps.join("/") {
                steps if steps.is_empty() => "JSON that satisfies the schema".to_owned(),
                steps => format!("JSON that satisfies the schema at {}", shorten(&steps, MAX_QUOTE)),
            };
            (expected, format!("expected JSON that satisfies the schema: {place}: {}", shorten(&why, 2 * MAX_QUOTE)))
        }
    };
    Some(FailedCheck { kind: CheckKind::JsonSchema, expected, detail, dimension: None })
}

fn quote(text: &str) -> String {
    format!("{:?}", shorten(text.trim(), MAX_QUOTE))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn compile(check: Value) -> Result<CompiledCheck, CheckError> {
        CompiledCheck::new(&serde_json::from_value(check).unwrap())
    }

    #[test]
    fn each_kind_of_check_takes_what_it_says_and_nothing_else() {
        let object =
            json!({"jsonSchema": {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}});
        let cases = [
            (json!({"equals": "Yes."}), "  Yes.\n", "yes."),
            (json!({"contains": "Refund"}), "your REFUND is on its way", "your money is on its way"),
            (json!({"notContains": "Password"}), "I cannot tell", "the password is x"),
            (json!({"regex": r"order #\d+"}), "see order #12 there", "see order #x"),
            (json!({"regex": r"(?i)^done"}), "Done!", "not done"),
            (object, r#" {"id": 3, "more": true} "#, r#"{"id": "3"}"#),
            (json!({"jsonSchema": {"type": "object"}}), "{}", "Here you are: {}"),
            (json!({"number": {"value": 1234.5}}), "that is $1,234.50", "that is $1,234.05"),
            (json!({"number": {"value": -3, "tolerance": 0.5}}), "about -3.4 degrees", "about 3 degrees"),
            (json!({"number": {"value": 0.3}}), "0.1 + 0.2 = 0.30000000000000004", "no idea"),
            (json!({"number": {"value": 0.12}}), "12%", "1.2%"),
        ];
        for (check, good, bad) in cases {
            let compiled = compile(check.clone()).unwrap();
            assert_eq!(compiled.fault(good), None, "{check} on {good:?}");
            assert!(compiled.fault(bad).is_some(), "{check} on {bad:?}");
        }
    }

    #[test]
    fn a_fault_says_what_was_expected_and_what_was_found() {
        let fault = |check, answer: &str| compile(check).unwrap().fault(answer).unwrap().detail;
        assert_eq!(
            fault(json!({"contains": "refund"}), "Hello."),
            r#"expected the answer to contain "refund", got "Hello.""#
        );
        assert_eq!(
            fault(json!({"number": {"value": 42, "tolerance": 1}}), "40 or 44.5%"),
            "expected the number 42 within 1 in the answer, got 40, 44.5, 0.445"
        );
        assert_eq!(
            fault(json!({"jsonSchema": {"properties": {"id": {"type": "integer"}}}}), r#"{"id": "3"}"#),
            r#"expected JSON that satisfies the schema: /id: "3" is not of type "integer""#
        );
        assert!(fault(json!({"equals": "x"}), &"long ".repeat(1000)).len() < 300);
    }

    #[test]
    fn a_check_that_cannot_be_used_is_refused_with_the_reason() {
        let refused = |check| compile(check).unwrap_err().to_string();
        assert!(refused(json!({"regex": "(unclosed"})).contains("unclosed group"));
        assert!(refused(json!({"jsonSchema": {"type": "objekt"}})).contains("objekt"));
        assert!(refused(json!({"jsonSchema": {"$ref": "https://example.com/schema.json"}})).contains("example.com"));
        assert!(refused(json!({})).contains("exactly one of"));
        assert!(refused(json!({"equals": "a", "contains": "a"})).contains("exactly one of"));
    }
}
