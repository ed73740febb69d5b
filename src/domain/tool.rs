//! Tools: what an agent may call.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ids::ToolName;

/// A tool that the agent may call, as the model sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolDefinition {
    /// The name that the model calls it by.
    pub name: ToolName,
    /// What it does and when to use it, for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The arguments, as a JSON Schema of type object. Any arguments when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::free::object")]
    pub parameters: Option<Map<String, Value>>,
}

/// A call of a tool that a model asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolCall {
    /// The provider's id of the call, which its answer must repeat.
    pub id: String,
    /// The tool.
    pub name: ToolName,
    /// The arguments: a JSON object, or the raw text as a string when the model wrote no JSON object.
    pub arguments: Value,
}
