//! Converts metadata of an entry to tags.

use serde_json::Value;

use super::Notes;
use super::error::ImportError;
use super::read::{self, Item};

/// Metadata with the kind of the entry.
const KINDS: [&str; 7] = ["category", "difficulty", "domain", "subject", "tags", "topic", "type"];

/// The tags for metadata; other metadata are reported. In a cell of a table, metadata are JSON.
pub(super) fn tags(metadata: &Item, notes: &mut Notes) -> Result<Vec<String>, ImportError> {
    let parsed;
    let object = match metadata.value {
        Value::String(text) => {
            let wrong = || metadata.error("is not a JSON object", "write it as {\"key\": \"value\"}");
            parsed = serde_json::from_str::<Value>(text).map_err(|_| wrong())?;
            parsed.as_object().ok_or_else(wrong)?
        }
        _ => metadata.object()?,
    };
    let mut tags = Vec::new();
    for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        let values = value.as_array().map_or_else(|| vec![value], |list| list.iter().collect());
        let texts: Option<Vec<String>> = values.into_iter().map(read::scalar).collect();
        match texts {
            Some(texts) if KINDS.contains(&key.as_str()) => {
                tags.extend(texts.into_iter().filter(|text| !text.is_empty()));
            }
            _ => notes.add(
                metadata.place(),
                format!("metadata `{key}`"),
                format!("only {} become tags", KINDS.join(", ")),
            ),
        }
    }
    Ok(tags)
}
