//! Generates the simplest value that satisfies a JSON Schema, for answers and calls that the world does not define.

use serde_json::{Map, Value, json};

/// The depth to which a schema is followed, because it may refer to itself.
const DEPTH: usize = 12;

/// The simplest value that satisfies a schema: only what it requires.
pub(super) fn of(schema: &Value) -> Value {
    value(schema, schema, DEPTH)
}

fn value(schema: &Value, root: &Value, depth: usize) -> Value {
    if depth == 0 {
        return Value::Null;
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let target = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target.map_or(Value::Null, |target| value(target, root, depth - 1));
    }
    for key in ["const", "default"] {
        if let Some(given) = schema.get(key) {
            return given.clone();
        }
    }
    if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
        return first.clone();
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema[key].as_array().and_then(|variants| variants.first()) {
            return value(first, root, depth - 1);
        }
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match kind {
        Some("object") => object(schema, root, depth),
        None if schema["properties"].is_object() => object(schema, root, depth),
        Some("array") => {
            let count = schema["minItems"].as_u64().unwrap_or(1).min(64);
            (0..count).map(|_| value(&schema["items"], root, depth - 1)).collect()
        }
        Some("integer") => {
            let least = schema["minimum"].as_i64();
            json!(least.or_else(|| schema["exclusiveMinimum"].as_i64().map(|least| least + 1)).unwrap_or(1))
        }
        Some("number") => json!(schema["minimum"].as_f64().unwrap_or(1.0)),
        Some("boolean") => json!(true),
        Some("null") => Value::Null,
        _ => text(schema),
    }
}

fn object(schema: &Value, root: &Value, depth: usize) -> Value {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    let filled: Map<String, Value> = properties
        .filter(|(name, _)| required.contains(&name.as_str()))
        .map(|(name, schema)| (name.clone(), value(schema, root, depth - 1)))
        .collect();
    Value::Object(filled)
}

fn text(schema: &Value) -> Value {
    let text = match schema["format"].as_str() {
        Some("date") => "2026-01-31",
        Some("date-time") => "2026-01-31T12:00:00Z",
        Some("email") => "someone@example.com",
        Some("uuid") => "00000000-0000-4000-8000-000000000000",
        _ => "example",
    };
    let least = schema["minLength"].as_u64().unwrap_or(0).min(10_000) as usize;
    json!(format!("{text:x<least$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_satisfies_its_schema() {
        let schema = json!({
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 12},
                "kind": {"enum": ["a", "b"]},
                "at": {"$ref": "#/$defs/at"},
                "maybe": {"anyOf": [{"type": "null"}, {"type": "string"}]},
                "list": {"type": "array", "items": {"type": "integer", "minimum": 3}, "minItems": 2},
                "optional": {"type": "string"},
            },
            "required": ["name", "kind", "at", "maybe", "list"],
            "additionalProperties": false,
            "$defs": {"at": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
        });
        let sample = of(&schema);
        assert!(jsonschema::is_valid(&schema, &sample), "{sample}");
        assert_eq!(sample["list"], json!([3, 3]));
    }
}
