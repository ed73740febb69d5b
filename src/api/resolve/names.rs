//! Validates names that appear in reports and logs. (Ids and tags of scenarios are validated with their scenario.)

use super::super::Submission;
use super::findings::Findings;
use super::promotion::is_object_name;
use whetstone_domain::presentable::fault_of_name;
use whetstone_domain::tool::ToolDefinition;

/// The maximum length of the value of a label.
const LONGEST_LABEL: usize = 63;

/// Validates the names of the resource, its models, dimensions and tools.
pub(super) fn check(submission: &Submission, tools: Option<&[ToolDefinition]>, findings: &mut Findings<'_>) {
    let (spec, metadata) = (&submission.resource.spec, &submission.resource.metadata);
    let mut check = |field: &str, name: &str| {
        if let Some(fault) = fault_of_name(name) {
            findings.problem(field, fault);
        }
    };
    let (name, namespace) =
        (metadata.name.as_deref().unwrap_or_default(), metadata.namespace.as_deref().unwrap_or_default());
    check("metadata.name", name);
    check("metadata.namespace", namespace);
    for (index, model) in spec.models.iter().enumerate() {
        check(&format!("spec.models[{index}].name"), &model.name);
    }
    let dimensions = spec.scoring.iter().flat_map(|scoring| &scoring.dimensions);
    for (index, dimension) in dimensions.enumerate() {
        check(&format!("spec.scoring.dimensions[{index}].name"), &dimension.name);
    }
    for tool in tools.unwrap_or_default() {
        check("spec.agent", tool.name.as_str());
    }
    for (field, name, is_right) in [
        ("metadata.name", name, is_object_name(name)),
        ("metadata.namespace", namespace, is_object_name(namespace) && !namespace.contains('.')),
    ] {
        if !name.is_empty() && fault_of_name(name).is_none() && !is_right {
            let dots = if field == "metadata.name" { ", dashes and dots" } else { " and dashes" };
            let message = format!(
                "{name:?} is not a valid name of an object; use lower-case letters, digits{dots}, with a letter or digit at either end{}",
                as_object_name(name).map(|name| format!(", such as {name:?}")).unwrap_or_default()
            );
            findings.problem(field, message);
        }
    }
    let length = name.chars().count();
    if length > LONGEST_LABEL {
        let why = "it is the value of a label of the versions and the target";
        findings
            .problem("metadata.name", format!("has {length} characters; use at most {LONGEST_LABEL}, because {why}"));
    }
}

/// Converts a name to a valid object name, if possible.
fn as_object_name(name: &str) -> Option<String> {
    if !name.is_ascii() {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    let kept = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    let fit = kept.collect::<Vec<_>>().join("-");
    (!fit.is_empty()).then_some(fit)
}
