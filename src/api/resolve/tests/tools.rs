//! Tools, inline and from ConfigMaps.

use super::*;

#[test]
fn tools_are_checked() {
    let said = said(&[
        ("{\"name\": \"look_up\"}", "{\"name\": \"refund\"}, {\"nam\": \"x\"}, 5"),
        (
            "\"object\", \"properties\": {\"order\": {\"type\": \"string\"}}",
            "\"object\", \"properties\": {\"order\": {\"type\": \"strin\"}}",
        ),
    ]);
    insta::assert_snapshot!(said, @r#"
    configmap/support-tools[tools.json]:1:2: [0]: parameters of "refund" are not a valid JSON Schema: "strin" is not valid under any of the schemas listed in the 'anyOf' keyword
    configmap/support-tools[tools.json]:3:2: [1]: duplicate tool "refund"; keep one of them
    configmap/support-tools[tools.json]:3:23: [2].nam: unknown field "nam"; did you mean "name"?
    configmap/support-tools[tools.json]:3:36: [3]: expected a mapping, found the number 5 (A tool that the agent may call, as the model sees it)
    "#);
}

#[test]
fn a_tool_in_another_form_is_refused_with_what_to_write() {
    let tools = |tools: &str| {
        let resource = format!(
            "apiVersion: whetstone.dev/v1alpha1\nkind: AgentOptimization\nmetadata: {{name: t}}\nspec:\n  profile: Prototype\n  \
             agent: {{prompt: {{inline: Hi}}, tools: {tools}, runtime: {{model: {{ref: w}}}}}}\n  models: [{{name: w, openAI: {{model: m}}}}]\n  \
             scenarios: [{{inline: [{{id: a, message: Hi, expect: {{calls: [{{tool: refund}}]}}}}]}}]\n  \
             scoring: {{dimensions: [{{name: tool_compliance, weight: 1}}]}}\n"
        );
        let submission = match Submission::read("agent.yaml", &resource, None) {
            Ok(submission) => submission,
            Err(problems) => return problems.to_string(),
        };
        let references = References::gather(&submission, &[], |_| Ok(None));
        resolve(&submission, &references)
            .map_or_else(|problems| problems.to_string(), |plan| plan.tools[0].name.to_string())
    };
    assert_eq!(tools("[{name: refund}]"), "refund");
    let named = tools("[refund]");
    let words = "spec.agent.tools[0]: expected a mapping, found the string \"refund\"; write it as {name: refund} (";
    assert!(named.contains(words) && named.lines().count() == 1, "{named}");
    let openai = tools("[{type: function, function: {name: refund, parameters: {type: object}}}]");
    let words = "spec.agent.tools[0].function: this is the format of the OpenAI API; move name, description and parameters up one \
                 level, or reference the file in toolsFrom, which accepts this format";
    assert!(openai.ends_with(words) && openai.lines().count() == 1, "{openai}");
    let nameless = tools("[{type: function, function: {description: no name}}]");
    assert!(nameless.contains(words) && nameless.contains("spec.agent.tools[0].name: missing"), "{nameless}");
}
