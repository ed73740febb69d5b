//! Templates: `{{ name }}` in a text, filled in from named values.

use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

static PLACEHOLDER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\{\{-?\s*([^{}]*?)\s*-?\}\}").expect("the pattern is constant and a test uses it"));

/// A text with its placeholders filled in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rendered {
    pub text: String,
    /// The placeholders that stand in it still: no value has that name, or they are more than a name.
    pub left: Vec<String>,
}

/// Fills in every placeholder that `value_of` knows; a list or object is written as JSON. Statements (`{% ... %}`) stay
/// as they are and are reported as left.
pub(super) fn render<'v>(text: &str, value_of: impl Fn(&str) -> Option<&'v Value>) -> Rendered {
    let mut left = Vec::new();
    let text = PLACEHOLDER.replace_all(text, |found: &Captures| match value_of(&found[1]) {
        Some(Value::String(value)) => value.clone(),
        Some(value) => value.to_string(),
        None => {
            left.push(found[0].to_owned());
            found[0].to_owned()
        }
    });
    if let Some(statement) = text.find("{%") {
        left.push(text[statement..].chars().take(30).collect());
    }
    Rendered { text: text.into_owned(), left }
}

/// The value under a path such as `item.name` or `messages[0].content`.
pub(super) fn lookup<'v>(root: impl Fn(&str) -> Option<&'v Value>, path: &str) -> Option<&'v Value> {
    let mut parts = path.split(['.', '[', ']']).filter(|part| !part.is_empty());
    let first = root(parts.next()?.trim())?;
    parts.try_fold(first, |value, part| match part.parse::<usize>() {
        Ok(index) => value.get(index),
        Err(_) => value.get(part.trim_matches(['"', '\''])),
    })
}

/// The names of the placeholders of a text.
pub(super) fn names(text: &str) -> Vec<String> {
    PLACEHOLDER.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

/// The text before a placeholder, if the text ends with it and it stands there only.
pub(super) fn before_last(text: &str, name: &str) -> Option<String> {
    let mut places = PLACEHOLDER.captures_iter(text).filter(|found| &found[1] == name);
    let whole = places.next()?.get(0)?;
    let ends = text[whole.end()..].trim_matches(|c: char| c.is_whitespace() || "\"'`".contains(c)).is_empty();
    (ends && places.next().is_none()).then(|| text[..whole.start()].to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn placeholders_are_filled_in_and_what_is_more_is_left() {
        let values = json!({"name": "Mia", "order": {"items": [{"id": 7}]}});
        let value_of = |path: &str| lookup(|name| values.get(name), path);
        let rendered = render("{{name}}: {{ order.items[0].id }} {{ name | upper }} {{order}}", value_of);
        assert_eq!(rendered.text, r#"Mia: 7 {{ name | upper }} {"items":[{"id":7}]}"#);
        assert_eq!(rendered.left, ["{{ name | upper }}"]);
        assert_eq!(render("{% if x %}a{% endif %}", value_of).left, ["{% if x %}a{% endif %}"]);
    }

    #[test]
    fn what_stands_before_the_last_placeholder_is_found() {
        assert_eq!(before_last("Translate:\n{{ input }}\n", "input").as_deref(), Some("Translate:\n"));
        assert_eq!(before_last("Q: \"{{input}}\"", "input").as_deref(), Some("Q: \""));
        assert_eq!(before_last("{{input}} in short", "input"), None);
        assert_eq!(before_last("{{input}} or {{input}}", "input"), None);
    }
}
