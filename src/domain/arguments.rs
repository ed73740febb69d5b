//! Arguments of tool calls: the differences between an actual and an expected call.
//!
//! Numbers compare by value (`5` is `5.0`), strings never equal numbers, the order of keys does not matter, arrays
//! compare element by element. [`ArgumentMatch::Subset`] allows further keys in every object, also in those inside
//! arrays; an array still needs the same length.

use std::fmt::Write as _;

use serde_json::{Map, Number, Value};

use super::scenario::ArgumentMatch;

/// A difference between arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference<'a> {
    /// The path, such as `passengers[0].dob`; empty if the arguments are not a JSON object.
    pub path: String,
    /// The expected value; `None` if there should be none.
    pub expected: Option<&'a Value>,
    /// The actual value; `None` if there is none.
    pub got: Option<&'a Value>,
}

/// All differences of `got` from `expected`, in the order of `expected`; empty if they match.
#[must_use]
pub fn differences<'a>(
    expected: &'a Map<String, Value>,
    got: &'a Value,
    matching: ArgumentMatch,
) -> Vec<Difference<'a>> {
    let mut comparison = Comparison { matching, path: String::new(), found: Vec::new() };
    match got {
        Value::Object(got) => comparison.objects(expected, got),
        other => comparison.differ(None, Some(other)),
    }
    comparison.found
}

/// Whether `whole` contains `part`.
#[must_use]
pub fn includes(whole: &Map<String, Value>, part: &Map<String, Value>) -> bool {
    let mut comparison = Comparison { matching: ArgumentMatch::Subset, path: String::new(), found: Vec::new() };
    comparison.objects(part, whole);
    comparison.found.is_empty()
}

struct Comparison<'a> {
    matching: ArgumentMatch,
    path: String,
    found: Vec<Difference<'a>>,
}

impl<'a> Comparison<'a> {
    fn objects(&mut self, expected: &'a Map<String, Value>, got: &'a Map<String, Value>) {
        for (key, value) in expected {
            self.at_key(key, |this| this.values(Some(value), got.get(key)));
        }
        if self.matching == ArgumentMatch::Exact {
            for (key, value) in got.iter().filter(|(key, _)| !expected.contains_key(*key)) {
                self.at_key(key, |this| this.values(None, Some(value)));
            }
        }
    }

    fn values(&mut self, expected: Option<&'a Value>, got: Option<&'a Value>) {
        match (expected, got) {
            (Some(Value::Object(expected)), Some(Value::Object(got))) => self.objects(expected, got),
            (Some(Value::Array(expected)), Some(Value::Array(got))) => {
                for index in 0..expected.len().max(got.len()) {
                    let length = self.path.len();
                    let _ = write!(self.path, "[{index}]");
                    self.values(expected.get(index), got.get(index));
                    self.path.truncate(length);
                }
            }
            (Some(Value::Number(expected)), Some(Value::Number(got))) if same_number(expected, got) => {}
            (expected, got) if expected == got => {}
            (expected, got) => self.differ(expected, got),
        }
    }

    fn at_key(&mut self, key: &str, compare: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        compare(self);
        self.path.truncate(length);
    }

    fn differ(&mut self, expected: Option<&'a Value>, got: Option<&'a Value>) {
        self.found.push(Difference { path: self.path.clone(), expected, got });
    }
}

fn same_number(a: &Number, b: &Number) -> bool {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => a == b,
        _ => a.as_f64() == b.as_f64(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(expected: &Value, got: &Value, matching: ArgumentMatch) -> Vec<String> {
        let found = differences(expected.as_object().unwrap(), got, matching);
        found.into_iter().map(|difference| difference.path).collect()
    }

    #[test]
    fn exact_arguments_compare_by_value_and_without_regard_to_key_order() {
        let expected = json!({"amount": 5, "to": {"name": "Li", "zip": "10115"}, "legs": [1.0, 2]});
        let got = json!({"legs": [1, 2.0], "to": {"zip": "10115", "name": "Li"}, "amount": 5.0});
        assert_eq!(paths(&expected, &got, ArgumentMatch::Exact), Vec::<String>::new());
    }

    #[test]
    fn every_difference_is_named_by_its_path() {
        let cases = [
            (json!({"a": 1}), json!({"a": "1"}), vec!["a"]),
            (json!({"a": 1}), json!({}), vec!["a"]),
            (json!({}), json!({"a": null}), vec!["a"]),
            (json!({"p": [{"dob": "1990"}]}), json!({"p": [{"dob": "1991"}]}), vec!["p[0].dob"]),
            (json!({"p": [1]}), json!({"p": [1, 2, 3]}), vec!["p[1]", "p[2]"]),
            (json!({"p": {"q": 1}}), json!({"p": [1]}), vec!["p"]),
            (json!({"a": 1}), json!("{not json"), vec![""]),
        ];
        for (expected, got, wanted) in cases {
            assert_eq!(paths(&expected, &got, ArgumentMatch::Exact), wanted, "{expected} against {got}");
        }
    }

    #[test]
    fn a_subset_allows_further_keys_in_every_object_but_no_longer_arrays() {
        let expected = json!({"p": [{"dob": "1990"}]});
        let more = json!({"p": [{"dob": "1990", "name": "Li"}], "note": "x"});
        assert_eq!(paths(&expected, &more, ArgumentMatch::Subset), Vec::<String>::new());
        let longer = json!({"p": [{"dob": "1990"}, {"dob": "1991"}]});
        assert_eq!(paths(&expected, &longer, ArgumentMatch::Subset), ["p[1]"]);
    }
}
