//! `spec.agent.tools` and `toolsFrom`.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::AgentOptimizationSpec;
use super::super::document::{Content, Document, Node, Reader};
use super::findings::Findings;
use super::references::References;
use whetstone_domain::free;
use whetstone_domain::ids::ToolName;
use whetstone_domain::tool::ToolDefinition;

/// The format of the OpenAI API.
#[derive(Deserialize, JsonSchema)]
struct OpenAiTool {
    /// `function`
    #[serde(rename = "type")]
    #[expect(dead_code, reason = "it is always `function`")]
    kind: ToolKind,
    /// The tool.
    function: OpenAiFunction,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ToolKind {
    Function,
}

#[derive(Deserialize, JsonSchema)]
struct OpenAiFunction {
    /// Its name.
    name: String,
    /// Its description.
    #[serde(default)]
    description: Option<String>,
    /// Its arguments.
    #[serde(default)]
    #[schemars(schema_with = "free::object")]
    parameters: Option<Map<String, Value>>,
    /// Whether the provider enforces the schema; ignored.
    #[serde(default)]
    #[expect(dead_code, reason = "accepted, so that a definition can be pasted unchanged")]
    strict: Option<bool>,
}

/// The tools of the agent, in the order of the resource; `None` if a list of them could not be read.
pub(super) fn resolve(
    spec: &AgentOptimizationSpec,
    references: &References,
    findings: &mut Findings<'_>,
) -> Option<Vec<ToolDefinition>> {
    let mut tools = Vec::new();
    let mut names = BTreeSet::new();
    let mut is_complete = true;
    let are_sent = spec.agent.runtime.model.is_some();
    for (index, tool) in spec.agent.tools.iter().enumerate() {
        let path = format!("spec.agent.tools[{index}]");
        for message in wrong_with(tool, are_sent) {
            findings.problem(&path, message);
        }
        if !names.insert(tool.name.clone()) {
            findings.problem(&path, format!("duplicate tool {:?}; keep one of them", tool.name));
        }
        tools.push(tool.clone());
    }
    let readers = Readers::default();
    for (index, source) in spec.agent.tools_from.iter().enumerate() {
        let path = format!("spec.agent.toolsFrom[{index}]");
        let Some(text) = findings.text(&path, source, references) else {
            is_complete = false;
            continue;
        };
        let before = findings.problems().len();
        let documents = Document::read_all(&text.name, &text.text, findings.problems());
        if documents.is_empty() && findings.problems().len() == before {
            findings.problem(&path, format!("{} has no tools; it must be a list of definitions", text.name));
        }
        for document in &documents {
            for (node, path) in listed(document, findings) {
                let read = readers.read(document, node, &path, findings);
                is_complete &= read.is_some();
                let Some(tool) = read else { continue };
                for message in wrong_with(&tool, are_sent) {
                    findings.add(document.problem(&*path, message));
                }
                if !names.insert(tool.name.clone()) {
                    findings.add(document.problem(&*path, format!("duplicate tool {:?}; keep one of them", tool.name)));
                }
                tools.push(tool);
            }
        }
        is_complete &= findings.problems().len() == before;
    }
    is_complete.then_some(tools)
}

/// The items of a list of tools, which may be under `tools`.
fn listed<'a>(document: &'a Document, findings: &mut Findings<'_>) -> Vec<(&'a Node, String)> {
    let root = document.root();
    let (list, path) = match root.get("tools") {
        Some(list) => (list, "tools"),
        None => (root, ""),
    };
    let Content::List(items) = &list.content else {
        let message = format!("expected a list of tools, found {}", list.described());
        findings.add(document.problem(path, message));
        return Vec::new();
    };
    items.iter().enumerate().map(|(index, node)| (node, format!("{path}[{index}]"))).collect()
}

#[derive(Default)]
struct Readers {
    own: Reader<ToolDefinition>,
    openai: Reader<OpenAiTool>,
}

impl Readers {
    /// A tool in any format: only a name, Whetstone's own, or that of the OpenAI API.
    fn read(
        &self,
        document: &Document,
        node: &Node,
        path: &str,
        findings: &mut Findings<'_>,
    ) -> Option<ToolDefinition> {
        if let Some(name) = node.text() {
            return Some(ToolDefinition { name: name.into(), description: None, parameters: None });
        }
        if node.get("function").is_some() {
            let OpenAiFunction { name, description, parameters, .. } =
                self.openai.read(document, node, path, findings.problems())?.function;
            return Some(ToolDefinition { name: name.into(), description, parameters });
        }
        self.own.read(document, node, path, findings.problems())
    }
}

/// Problems because of which a provider would refuse the tool.
fn wrong_with(tool: &ToolDefinition, are_sent: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    if are_sent && !is_tool_name(&tool.name) {
        wrong.push(format!("{:?} is not a valid name of a tool; use 1 to 64 letters, digits, _ and -", tool.name));
    }
    if let Some(parameters) = &tool.parameters {
        let schema = Value::Object(parameters.clone());
        if parameters.get("type").is_some_and(|kind| kind != "object") {
            wrong.push(format!("parameters of {:?} must be a JSON Schema of type object", tool.name));
        } else if let Err(error) = jsonschema::meta::validate(&schema) {
            wrong.push(format!("parameters of {:?} are not a valid JSON Schema: {error}", tool.name));
        }
    }
    wrong
}

fn is_tool_name(name: &ToolName) -> bool {
    let name = name.as_str();
    (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}
