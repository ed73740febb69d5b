//! Tool definitions: read from the source if it has them, else inferred from calls.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::error::ImportError;
use super::read::Item;
use whetstone_domain::ids::ToolName;
use whetstone_domain::tool::ToolDefinition;

/// The observed arguments of each tool.
#[derive(Default)]
pub(super) struct SeenCalls(BTreeMap<ToolName, Vec<Value>>);

impl SeenCalls {
    pub(super) fn add(&mut self, tool: &ToolName, arguments: &Value) {
        let seen = self.0.entry(tool.clone()).or_default();
        if arguments.is_object() {
            seen.push(arguments.clone());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &ToolName> {
        self.0.keys()
    }

    /// One definition per tool, by name: the parameters are the observed ones, required if every call had them.
    pub(super) fn definitions(&self) -> Vec<ToolDefinition> {
        let definition = |(name, calls): (&ToolName, &Vec<Value>)| ToolDefinition {
            name: name.clone(),
            description: None,
            parameters: match schema(&calls.iter().collect::<Vec<_>>()) {
                Value::Object(parameters) if !calls.is_empty() => Some(parameters),
                _ => None,
            },
        };
        self.0.iter().map(definition).collect()
    }
}

/// The most specific JSON Schema that all values satisfy.
fn schema(values: &[&Value]) -> Value {
    let mut types: Vec<&str> = Vec::new();
    for value in values {
        let name = type_name(value);
        if !types.contains(&name) {
            types.push(name);
        }
    }
    if types.contains(&"number") {
        types.retain(|name| *name != "integer");
    }
    let mut schema = Map::new();
    match types.as_slice() {
        [] => return Value::Object(schema),
        [one] => schema.insert("type".to_owned(), json!(one)),
        many => schema.insert("type".to_owned(), json!(many)),
    };
    if types.contains(&"object") {
        describe_objects(values, &mut schema);
    }
    if types.contains(&"array") {
        let elements: Vec<&Value> = values.iter().filter_map(|value| value.as_array()).flatten().collect();
        if !elements.is_empty() {
            schema.insert("items".to_owned(), self::schema(&elements));
        }
    }
    Value::Object(schema)
}

fn describe_objects(values: &[&Value], schema: &mut Map<String, Value>) {
    let objects: Vec<&Map<String, Value>> = values.iter().filter_map(|value| value.as_object()).collect();
    let mut fields: Vec<(&String, Vec<&Value>)> = Vec::new();
    for object in &objects {
        for (key, value) in *object {
            match fields.iter_mut().find(|(name, _)| *name == key) {
                Some((_, seen)) => seen.push(value),
                None => fields.push((key, vec![value])),
            }
        }
    }
    let required: Vec<&String> =
        fields.iter().filter(|(_, seen)| seen.len() == objects.len()).map(|(key, _)| *key).collect();
    let required = json!(required);
    let properties: Map<String, Value> =
        fields.iter().map(|(key, seen)| ((*key).clone(), self::schema(seen))).collect();
    schema.insert("properties".to_owned(), Value::Object(properties));
    schema.insert("required".to_owned(), required);
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A tool in the form of the OpenAI API, of Anthropic (`input_schema`), of Bedrock (`toolSpec`), or with its name at the
/// top.
pub(super) fn definition(item: &Item) -> Result<ToolDefinition, ImportError> {
    let item = ["function", "toolSpec"].iter().find_map(|key| item.get(key)).unwrap_or_else(|| item.clone());
    let parameters = ["parameters", "input_schema", "inputSchema"].iter().find_map(|key| item.get(key));
    let parameters = parameters.map(|schema| schema.get("json").unwrap_or(schema));
    Ok(ToolDefinition {
        name: item.need("name")?.text()?.into(),
        description: item.get("description").map(|text| text.scalar()).transpose()?,
        parameters: parameters.map(|schema| schema.object().cloned()).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_inferred_from_the_calls_seen() {
        let mut seen = SeenCalls::default();
        for arguments in [
            json!({"id": "A1", "amount": 5, "passengers": [{"name": "Mia"}]}),
            json!({"id": "B2", "amount": 5.5, "note": null, "passengers": [{"name": "Li", "age": 4}]}),
        ] {
            seen.add(&"book".into(), &arguments);
        }
        seen.add(&"ping".into(), &json!("no object"));
        let tools = seen.definitions();
        assert_eq!(
            Value::Object(tools[0].parameters.clone().unwrap()),
            json!({
                "type": "object",
                "properties": {
                    "id": {"type": "string"},
                    "amount": {"type": "number"},
                    "passengers": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
                            "required": ["name"],
                        },
                    },
                    "note": {"type": "null"},
                },
                "required": ["id", "amount", "passengers"],
            })
        );
        assert_eq!(tools[1].parameters, None, "nothing is said of arguments that were never seen");
    }
}
