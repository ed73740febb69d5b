//! Templates: the placeholder `{order}` is replaced with what a pattern captured from the conversation.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::world::Pattern;

/// The replacement of a placeholder without a capture.
const UNKNOWN: &str = "unknown";

/// The captures of named groups.
#[derive(Debug, Default)]
pub(super) struct Captured<'p, 't>(Vec<(&'p str, &'t str)>);

impl<'p, 't> Captured<'p, 't> {
    /// Applies each pattern to the texts in turn, until one matches. The first capture of a name counts.
    pub(super) fn from_texts(patterns: &'p [Pattern], texts: &(impl Iterator<Item = &'t str> + Clone)) -> Self {
        let mut captured = Self::default();
        for pattern in patterns {
            let Some(groups) = texts.clone().find_map(|text| pattern.captures(text)) else { continue };
            for name in pattern.capture_names().flatten() {
                if let Some(group) = groups.name(name)
                    && captured.get(name).is_none()
                {
                    captured.0.push((name, group.as_str()));
                }
            }
        }
        captured
    }

    fn get(&self, name: &str) -> Option<&'t str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
    }

    /// Fills in a text.
    pub(super) fn fill<'s>(&self, template: &'s str) -> Cow<'s, str> {
        let mut filled = String::new();
        let mut rest = template;
        while let Some((before, place, after)) = next_place(rest) {
            let (name, other) = place.split_once('|').unwrap_or((place, UNKNOWN));
            filled.push_str(before);
            filled.push_str(self.get(name).unwrap_or(other));
            rest = after;
        }
        if filled.is_empty() && rest.len() == template.len() {
            return Cow::Borrowed(template);
        }
        filled.push_str(rest);
        Cow::Owned(filled)
    }

    /// Fills in arguments, and converts each text to the type in the tool's schema.
    pub(super) fn arguments(&self, templates: &Map<String, Value>, schema: &Value) -> Map<String, Value> {
        templates
            .iter()
            .map(|(name, template)| (name.clone(), self.value(template, &schema["properties"][name.as_str()])))
            .collect()
    }

    /// Fills in a value.
    pub(super) fn value(&self, template: &Value, schema: &Value) -> Value {
        match template {
            Value::String(text) => typed(&self.fill(text), schema),
            Value::Array(items) => items.iter().map(|item| self.value(item, &schema["items"])).collect(),
            Value::Object(entries) => Value::Object(self.arguments(entries, schema)),
            other => other.clone(),
        }
    }
}

/// The longest piece of a template without placeholders, which every filled text contains.
pub(super) fn fixed_part(template: &str) -> &str {
    let mut longest = "";
    let mut rest = template;
    while let Some((before, _, after)) = next_place(rest) {
        if before.len() > longest.len() {
            longest = before;
        }
        rest = after;
    }
    if rest.len() > longest.len() { rest.trim() } else { longest.trim() }
}

/// The text before the next placeholder, the placeholder, and the text after it.
fn next_place(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(open) = text[from..].find('{').map(|at| from + at) {
        let inside = &text[open + 1..];
        let close = inside.find('}')?;
        let place = &inside[..close];
        let name = place.split('|').next().unwrap_or_default();
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if is_name {
            return Some((&text[..open], place, &inside[close + 1..]));
        }
        from = open + 1;
    }
    None
}

fn typed(text: &str, schema: &Value) -> Value {
    let number = text.replace(',', "");
    let typed = match schema["type"].as_str() {
        Some("integer") => number.parse::<i64>().ok().map(Value::from),
        Some("number") => match number.parse::<i64>() {
            Ok(whole) => Some(Value::from(whole)),
            Err(_) => number.parse::<f64>().ok().map(Value::from),
        },
        Some("boolean") => text.parse::<bool>().ok().map(Value::from),
        _ => None,
    };
    typed.unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        serde_json::from_value(json!(text)).unwrap()
    }

    #[test]
    fn places_are_filled_from_the_conversation_and_keep_the_type_of_the_schema() {
        let patterns = [pattern(r"(?<order>A-\d+)"), pattern(r"(?<amount>[\d,.]+\d) ?(?<currency>[A-Z]{3})")];
        let texts = ["Refund 1,250.50 EUR please", "It was order A-17."];
        let captured = Captured::from_texts(&patterns, &texts.iter().copied());
        assert_eq!(
            captured.fill("{order}: {currency}, {reason|none given}, {other}, {not a place}"),
            "A-17: EUR, none given, unknown, {not a place}"
        );
        let schema = json!({"properties": {"amount": {"type": "number"}, "order": {"type": "string"}}});
        let templates = json!({"amount": "{amount}", "order": "{order}", "deep": [{"x": "{order}"}]});
        let filled = captured.arguments(templates.as_object().unwrap(), &schema);
        assert_eq!(Value::Object(filled), json!({"amount": 1250.5, "order": "A-17", "deep": [{"x": "A-17"}]}));
    }

    #[test]
    fn the_fixed_part_of_a_template_is_what_all_its_fillings_share() {
        assert_eq!(fixed_part("I refunded {amount} to your card at once."), "to your card at once.");
        assert_eq!(fixed_part("Nothing to fill"), "Nothing to fill");
    }
}
