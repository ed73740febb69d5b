//! `$ref`: references to other parts of a configuration, or to other files.

use serde_json::Value;

use super::super::error::ImportError;
use super::super::read::Item;
use super::Reading;

/// The maximum number of nested references.
const MAX_DEPTH: usize = 16;
/// The maximum number of values to which references may expand in one configuration.
const MAX_VALUES: usize = 100_000;

/// The configuration with all references resolved. Definitions of tools and JSON Schemas keep unresolvable ones, because they
/// have their own references.
pub(super) fn resolved(file: &str, config: &Value, reading: &mut Reading) -> Value {
    let mut resolver = Resolver { file, root: config, reading, values: 0 };
    resolver.value(config, 0, "")
}

struct Resolver<'a, 'r> {
    file: &'a str,
    root: &'a Value,
    reading: &'a mut Reading<'r>,
    values: usize,
}

impl Resolver<'_, '_> {
    fn value(&mut self, value: &Value, depth: usize, place: &str) -> Value {
        if depth > 0 {
            self.values += 1;
        }
        match value {
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| self.value(item, depth, &format!("{place}[{index}]")))
                .collect(),
            Value::Object(fields) => {
                let inner = |key: &str| if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") };
                let mut own = serde_json::Map::new();
                for (key, field) in fields.iter().filter(|(key, _)| *key != "$ref") {
                    own.insert(key.clone(), self.value(field, depth, &inner(key)));
                }
                let Some(reference) = fields.get("$ref").and_then(Value::as_str) else { return Value::Object(own) };
                match self.named(reference, depth, place) {
                    Some(Value::Object(mut named)) => {
                        // Fields beside a reference take precedence.
                        named.extend(own);
                        Value::Object(named)
                    }
                    Some(other) => other,
                    None => {
                        own.insert("$ref".to_owned(), Value::from(reference));
                        Value::Object(own)
                    }
                }
            }
            other => other.clone(),
        }
    }

    fn named(&mut self, reference: &str, depth: usize, place: &str) -> Option<Value> {
        let (file, pointer) = reference.split_once('#').unwrap_or((reference, ""));
        let error = |problem: &str| ImportError {
            file: self.file.to_owned(),
            item: place.to_owned(),
            field: String::new(),
            problem: format!("refers to {reference:?}, {problem}"),
            fix: "write the referenced value in its place".to_owned(),
        };
        let error = if depth >= MAX_DEPTH || self.values > MAX_VALUES {
            error("which needs too many nested references")
        } else if file.is_empty() {
            if let Some(found) = self.root.pointer(pointer) {
                return Some(self.value(found, depth + 1, place));
            }
            error("which does not exist")
        } else {
            let null = Value::Null;
            match self.reading.resources.value(file, &Item::new(self.file, place, &null)) {
                Ok(document) => {
                    if let Some(found) = document.pointer(pointer) {
                        self.values += count(found);
                        return Some(found.clone());
                    }
                    error("which does not exist")
                }
                Err(error) => error,
            }
        };
        let in_schema = ["tools", "functions", "parameters", "value"].iter().any(|key| place.contains(key));
        if !in_schema {
            self.reading.notes.could_not_read("broken reference", error);
        }
        None
    }
}

/// The number of values in a value, including itself.
fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Object(fields) => 1 + fields.values().map(count).sum::<usize>(),
        _ => 1,
    }
}
