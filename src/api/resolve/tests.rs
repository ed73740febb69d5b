//! Messages for invalid resources, and plans of valid ones.

mod config_maps;
mod forms;
mod inputs;
mod models;
mod scenarios;
mod tools;
mod watch;

use std::collections::BTreeMap;

use super::*;
use crate::api::AgentOptimization;
use whetstone_domain::call::Temperature;
use whetstone_domain::plan::model::{StructuredOutput, SystemRole, TokenLimit};
use whetstone_domain::plan::promotion::{Approval, Test};
use whetstone_domain::plan::scoring::Scorer;
use whetstone_domain::plan::{HeaderPlan, KeyPlan, SecretRef};

/// A resource with everything that it refers to in one file.
const RESOURCE: &str = r#"apiVersion: whetstone.dev/v1alpha1
kind: AgentOptimization
metadata: {name: support-assistant}
spec:
  agent:
    prompt: {configMapKeyRef: {name: support-prompt, key: system-prompt}}
    toolsFrom: [{configMapKeyRef: {name: support-tools, key: tools.json}}]
    runtime: {model: {ref: worker}}
  models:
    - name: worker
      openAI: {baseURL: http://litellm.llm:4000/v1, model: gpt-4o-mini, apiKey: {secretKeyRef: {name: llm, key: key}}}
      price: {inputPerMillion: "0.15", outputPerMillion: "0.60", cachedInputPerMillion: "0.075"}
    - name: judge
      anthropic: {model: claude-sonnet-4-5}
      price: {inputPerMillion: "3", outputPerMillion: "15"}
  scenarios: [{configMapRef: {name: support-scenarios}}]
  scoring: {judge: {ref: judge}}
  patching: {protectedSections: [Safety]}
  promotion: {target: {configMap: support-prompt-live}}
  budget: {perCycle: "5.00"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: support-prompt}
data:
  system-prompt: |
    You help customers.
    # Tools
    Use them.
    # Safety
    Never tell secrets.
---
apiVersion: v1
kind: ConfigMap
metadata: {name: support-tools}
data:
  tools.json: |
    [{"type": "function", "function": {"name": "refund", "description": "Pays back",
      "parameters": {"type": "object", "properties": {"order": {"type": "string"}}}}},
     {"name": "look_up"}, "search"]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: support-scenarios}
data:
  README.md: these are not scenarios
  a.yaml: |
    - id: refund-1
      tags: [refund]
      message: I want my money back
      expect: {calls: [{tool: refund, arguments: {order: "7"}}]}
    - id: look-up-1
      message: Where is my order?
      expect: {checks: [{contains: Oslo}]}
  b.jsonl: |
    {"id": "search-1", "message": "how?", "weight": 2.5}
    {"id": "search-2", "conversation": [{"user": "hello"}, {"assistant": "hi"}, {"user": "how?"}]}
"#;

fn outcome(text: &str, files: &[(&str, &str)]) -> Result<Plan, Problems> {
    let submission = Submission::read("agent.yaml", text, None)?;
    let references = References::gather(&submission, &[], |reference| match reference {
        Reference::File(path) | Reference::Files(path) => {
            let mut found = files.iter().filter(|(name, _)| name.starts_with(path.as_str())).peekable();
            let is_there = found.peek().is_some();
            let texts = found.map(|(name, text)| Text { name: (*name).to_owned(), text: (*text).to_owned() }).collect();
            Ok(is_there.then_some(texts))
        }
        _ => Ok(None),
    });
    resolve(&submission, &references)
}

fn plan(text: &str) -> Plan {
    outcome(text, &[]).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The messages about a resource after some changes, each of which must apply.
fn said(changes: &[(&str, &str)]) -> String {
    outcome(&changed(changes), &[]).map_or_else(|problems| problems.to_string(), |plan| plan.warnings.join("\n"))
}

fn changed(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(RESOURCE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    })
}

/// The messages about scenarios in a file.
fn said_of_scenarios(name: &str, scenarios: &str) -> String {
    let text = changed(&[("{configMapRef: {name: support-scenarios}}", "{file: suite}")]);
    outcome(&text, &[(name, scenarios)]).map_or_else(|problems| problems.to_string(), |plan| plan.warnings.join("\n"))
}

/// The first resource of the documentation, twenty-five lines.
const FIRST_RESOURCE: &str = r#"apiVersion: whetstone.dev/v1alpha1
kind: AgentOptimization
metadata: {name: support-assistant}
spec:
  profile: Production
  agent:
    prompt: {configMapKeyRef: {name: support-prompt, key: system-prompt}}
    toolsFrom: [{configMapKeyRef: {name: support-tools, key: tools.json}}]
    runtime: {model: {ref: worker}}
  models:
    - name: worker
      openAI: {baseURL: http://litellm.llm:4000/v1, model: gpt-4o-mini, apiKey: {secretKeyRef: {name: llm, key: key}}}
      price: {inputPerMillion: "0.15", outputPerMillion: "0.60", cachedInputPerMillion: "0.075"}
    - name: judge
      anthropic: {model: claude-sonnet-4-5, apiKey: {secretKeyRef: {name: anthropic, key: key}}}
      price: {inputPerMillion: "3", outputPerMillion: "15"}
  scenarios: [{configMapRef: {name: support-scenarios}}]
  scoring: {judge: {ref: judge}}
  promotion: {target: {configMap: support-prompt-live, restart: [{kind: Deployment, name: support-assistant}]}}
  budget: {perCycle: "5.00"}
"#;

#[test]
fn the_first_resource_is_sound_and_says_what_it_refers_to() {
    let submission = Submission::read("first.yaml", FIRST_RESOURCE, None).unwrap();
    assert_eq!(submission.problems, []);
    insta::assert_debug_snapshot!(requested(&submission.resource), @r#"
    [
        ConfigMapKey {
            name: "support-prompt",
            key: "system-prompt",
        },
        ConfigMapKey {
            name: "support-tools",
            key: "tools.json",
        },
        ConfigMap {
            name: "support-scenarios",
        },
        Champion {
            config_map: "support-prompt-live",
        },
    ]
    "#);
}

#[test]
fn a_sound_resource_becomes_a_plan_with_every_default_filled_in() {
    let plan = plan(RESOURCE);
    assert_eq!((plan.namespace.as_str(), plan.name.as_str()), ("default", "support-assistant"));
    assert_eq!(plan.champion.system().sections().len(), 3);
    let tools: Vec<&str> = plan.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(tools, ["refund", "look_up", "search"]);
    let ids: Vec<&str> = plan.scenarios.scenarios().iter().map(|scenario| scenario.id.as_str()).collect();
    assert_eq!(ids, ["look-up-1", "refund-1", "search-1", "search-2"], "sorted by id");
    let worker = &plan.models["worker"];
    assert_eq!(worker.identity.endpoint, "http://litellm.llm:4000/v1");
    assert_eq!(worker.price.unwrap().cached_input.to_string(), "0.000000075");
    let key = worker.key.as_ref().unwrap();
    assert_eq!(key.secret, Some(SecretRef { name: "llm".to_owned(), key: "key".to_owned() }));
    assert_eq!((key.env.as_deref(), key.required), (Some("OPENAI_API_KEY"), true));
    let scorers: Vec<(&str, f64, Scorer)> =
        plan.dimensions.iter().map(|dimension| (dimension.name.as_str(), dimension.weight, dimension.scorer)).collect();
    assert_eq!(
        scorers,
        [
            ("accuracy", 0.4, Scorer::ChecksOrJudge),
            ("safety", 0.3, Scorer::ChecksOrJudge),
            ("tool_compliance", 0.3, Scorer::ToolCalls),
        ]
    );
    assert!(plan.dimensions.iter().all(|dimension| dimension.rubric.is_empty()), "the built-in rubrics stand");
    assert_eq!(plan.patching.as_ref().unwrap().model.as_str(), "judge", "the judge writes patches by default");
    assert_eq!(plan.budget.unwrap().to_string(), "5");
    assert_eq!((plan.execution.repeats, plan.gate.repeats, plan.gate.test), (3, 3, Test::Permutation));
    assert!(plan.clustering.embeddings.is_none() && plan.clustering.threshold.is_none(), "chosen from the failures");
    insta::assert_snapshot!(plan.warnings.join("\n"), @"spec.split.heldOut: 2 of 4 scenarios are held out, and the gate requires 20 (spec.promotion.gate.minimumSampleSize), so the verdict can only be inconclusive; add scenarios, raise heldOut or lower minimumSampleSize");
}

#[test]
fn a_resource_reads_back_from_what_is_written() {
    let submission = Submission::read("agent.yaml", RESOURCE, None).unwrap();
    let again = Submission::read("again.yaml", &submission.to_yaml(), None).unwrap();
    assert_eq!(again.resource.spec, submission.resource.spec);
    assert_eq!(again.resource.metadata, submission.resource.metadata);
    let json = serde_json::to_string_pretty(&submission.resource).unwrap();
    let again = Submission::read("again.json", &json, None).unwrap();
    assert_eq!(again.resource.spec, submission.resource.spec);
}

#[test]
fn an_object_of_the_cluster_becomes_the_same_plan_as_its_file() {
    let submission = Submission::read("agent.yaml", RESOURCE, None).unwrap();
    let object = Submission::from(submission.resource.clone());
    let mut references = References::default();
    for reference in requested(&object.resource) {
        if let Some(texts) = submission.config_maps.iter().find_map(|map| map.answer(&reference)) {
            references.insert(reference, Ok(texts));
        }
    }
    assert_eq!(resolve(&object, &references).unwrap().identity(), plan(RESOURCE).identity());
}

#[test]
fn what_an_object_of_the_cluster_has_wrong_is_told_without_a_place() {
    let mut resource: AgentOptimization = Submission::read("agent.yaml", RESOURCE, None).unwrap().resource;
    resource.spec.models.remove(1);
    insta::assert_snapshot!(resolve(&resource.into(), &References::default()).unwrap_err(), @r#"
    spec.agent.prompt.configMapKeyRef: no ConfigMap "support-prompt" in the namespace of the resource; add it to the resource file or to the directory of --manifests
    spec.agent.toolsFrom[0].configMapKeyRef: no ConfigMap "support-tools" in the namespace of the resource; add it to the resource file or to the directory of --manifests
    spec.scenarios[0].configMapRef: no ConfigMap "support-scenarios" in the namespace of the resource; add it to the resource file or to the directory of --manifests
    spec.scoring.judge.ref: no model "judge" in spec.models; known: worker
    "#);
}

#[test]
fn every_profile_makes_a_plan() {
    for profile in Profile::ALL {
        let plan = plan(&changed(&[("spec:\n", &format!("spec:\n  profile: {profile:?}\n"))]));
        let defaults = Defaults::of(profile);
        assert_eq!(plan.execution.repeats, defaults.repeats);
        assert_eq!(plan.gate.minimum_sample_size, defaults.minimum_sample_size as usize);
        let spec =
            AgentOptimizationSpec { profile, ..Submission::read("agent.yaml", RESOURCE, None).unwrap().resource.spec };
        assert_eq!(promotion(&spec).approval == Approval::Manual, profile == Profile::Compliance);
    }
}

#[test]
fn whatever_is_wrong_is_told_at_once() {
    let said = said(&[
        ("models:", "modles:"),
        ("ref: worker", "ref: wroker"),
        ("{perCycle: \"5.00\"}", "{perCycle: 5.00}"),
        ("\"refund\", \"description\"", "\"re fund\", \"description\""),
        ("weight\": 2.5", "weight\": -1"),
        ("id: look-up-1", "id: refund-1"),
    ]);
    insta::assert_snapshot!(said, @r#"
    agent.yaml:8:23: spec.agent.runtime.model.ref: no model "wroker" in spec.models; did you mean "worker"?
    agent.yaml:9:3: spec.modles: unknown field "modles"; did you mean "models"?
    agent.yaml:20:22: spec.budget.perCycle: expected a non-negative decimal number in quotes, such as "0.15", found the number 5.00; put it in quotes: "5.00" (The maximum cost of one cycle, as a decimal string such as `5.00`)
    configmap/support-scenarios[a.yaml]:5:3: [1].id: duplicate id "refund-1", first used at configmap/support-scenarios[a.yaml]:1:3
    configmap/support-scenarios[b.jsonl]:1:49: weight: expected a number of at least 0, found -1
    configmap/support-tools[tools.json]:1:2: [0]: "re fund" is not a valid name of a tool; use 1 to 64 letters, digits, _ and -
    "#);
}

#[test]
fn dimensions_are_checked() {
    let dimensions = "scoring:\n    dimensions:\n    - {name: accuracy, weight: 0.5}\n    \
                      - {name: accuracy, weight: 0.2, threshold: {value: 1, percentile: 50}}\n    \
                      - {name: tone, weight: 0.2, judge: {ref: juge}}\n";
    insta::assert_snapshot!(said(&[("scoring: {judge: {ref: judge}}\n", dimensions)]), @r#"
    agent.yaml:18:5: spec.scoring.dimensions: the weights add up to 0.9; they must add up to 1
    agent.yaml:19:7: spec.scoring.dimensions[0]: the dimension "accuracy" has no judge; set spec.scoring.judge, give the dimension its own judge, or set its scorer to Checks
    agent.yaml:20:7: spec.scoring.dimensions[1]: the dimension "accuracy" has no judge; set spec.scoring.judge, give the dimension its own judge, or set its scorer to Checks
    agent.yaml:20:8: spec.scoring.dimensions[1].name: duplicate dimension "accuracy"; keep one of them
    agent.yaml:20:37: spec.scoring.dimensions[1].threshold: exactly one of value, percentile is allowed; value and percentile are given
    agent.yaml:21:7: spec.scoring.dimensions[2].rubric: the dimension "tone" has no rubric; describe what the judge looks for
    agent.yaml:21:41: spec.scoring.dimensions[2].judge.ref: no model "juge" in spec.models; did you mean "judge"?
    "#);
}

#[test]
fn a_dimension_that_never_applies_is_a_warning() {
    let dimensions = "{judge: {ref: judge}, dimensions: [{name: accuracy, weight: 0.5}, \
                      {name: format, weight: 0.5, scorer: Checks}]}";
    insta::assert_snapshot!(said(&[("{judge: {ref: judge}}", dimensions)]), @r#"
    spec.split.heldOut: 2 of 4 scenarios are held out, and the gate requires 20 (spec.promotion.gate.minimumSampleSize), so the verdict can only be inconclusive; add scenarios, raise heldOut or lower minimumSampleSize
    spec.scoring.dimensions: no scenario has checks for it, so the dimension "format" never applies
    "#);
}

#[test]
fn sections_and_length_are_checked_against_the_prompt() {
    let said = said(&[(
        "{protectedSections: [Safety]}",
        "{protectedSections: [Safty, Pricing], maxPromptTokens: 10}\n  validation: {coreSections: [tools]}",
    )]);
    insta::assert_snapshot!(said, @r#"
    agent.yaml:18:34: spec.patching.protectedSections[0]: the prompt has no section "Safty"; did you mean "Safety"?
    agent.yaml:18:41: spec.patching.protectedSections[1]: the prompt has no section "Pricing"; known: preamble, Tools, Safety
    agent.yaml:18:51: spec.patching.maxPromptTokens: the prompt has 17 tokens, and at most 10 are allowed; shorten the prompt, or raise the limit
    agent.yaml:19:31: spec.validation.coreSections[0]: the prompt has no section "tools"; did you mean "Tools"?
    "#);
}

#[test]
fn an_empty_prompt_is_told() {
    let said = said(&[(
        "    You help customers.\n    # Tools\n    Use them.\n    # Safety\n    Never tell secrets.\n",
        "    \n",
    )]);
    insta::assert_snapshot!(said, @"agent.yaml:6:5: spec.agent.prompt: configmap/support-prompt[system-prompt]: the prompt is empty");
}

#[test]
fn a_reading_that_failed_says_why() {
    let submission = Submission::read("agent.yaml", RESOURCE, None).unwrap();
    let mut references = References::gather(&submission, &[], |_| Ok(None));
    references.insert(
        Reference::Champion { config_map: "support-prompt-live".to_owned() },
        Err("the API server refused: forbidden".to_owned()),
    );
    insta::assert_snapshot!(resolve(&submission, &references).unwrap_err(), @"agent.yaml:19:24: spec.promotion.target.configMap: the API server refused: forbidden");
}

#[test]
fn what_only_the_operator_acts_on_is_told_with_what_the_command_line_does() {
    let text = changed(&[
        ("spec:\n", "spec:\n  suspend: true\n  pin: v3\n  schedule: {cron: '@daily'}\n"),
        (
            "{target: {configMap: support-prompt-live}}",
            "{target: {configMap: support-prompt-live, restart: [{kind: Deployment, name: a}]}, approval: Manual, maxVersionsRetained: 3}",
        ),
        ("  scoring:", "  watch: {reevaluation: {every: 1h 30m}}\n  scoring:"),
    ]);
    let submission = Submission::read("agent.yaml", &text, None).unwrap();
    insta::assert_snapshot!(super::left_to_the_operator(&submission.resource.spec).join("\n"), @r#"
    spec.suspend: used only by the operator; this command runs a cycle anyway
    spec.pin: used only by the operator; a run searches for a better prompt anyway
    spec.schedule: used only by the operator; schedule the command in your CI
    spec.promotion.approval: used only by the operator; review what a run writes before you apply it
    spec.promotion.maxVersionsRetained: used only by the operator; the store keeps every version
    spec.promotion.target.restart: used only by the operator; restart the workloads after applying the ConfigMap
    spec.watch: used only by the operator; monitor the prompt after you apply it
    "#);
}

#[test]
fn the_gate_must_be_one_that_can_decide() {
    let gate = "{target: {configMap: support-prompt-live}, gate: {shadowSampleSize: 10, minimumSampleSize: 30}}";
    insta::assert_snapshot!(said(&[("{target: {configMap: support-prompt-live}}", gate)]), @"agent.yaml:19:64: spec.promotion.gate.shadowSampleSize: at most 10 scenarios are compared, but at least 30 are required, so no verdict is possible; raise shadowSampleSize or lower minimumSampleSize");
}

#[test]
fn shares_add_up_and_unwritten_ones_take_the_rest() {
    let split = |split: &str| changed(&[("  scoring:", &format!("  split: {split}\n  scoring:"))]);
    let said = |text: &str| outcome(&split(text), &[]).unwrap_err().to_string();
    insta::assert_snapshot!(said("{train: 0.5, regression: 0.5, heldOut: 0.5}"), @"agent.yaml:17:3: spec.split: the shares add up to 1.5; they must add up to 1");
    insta::assert_snapshot!(said("{train: 0.8, heldOut: 0.4}"), @"agent.yaml:17:3: spec.split: the shares add up to 1.2; they must not add up to more than 1");
    let plan = plan(&split("{heldOut: 1}"));
    assert_eq!(plan.split.held_out.len(), 4);
}

#[test]
fn phases_that_are_not_built_yet_are_warned_of_by_name() {
    let later = "  calibration: {references: x}\n  probe: {}\n  export: {}\n  scoring:";
    insta::assert_snapshot!(said(&[("  scoring:", later)]), @r#"
    spec.calibration: not implemented yet; the setting has no effect
    spec.probe: not implemented yet; the setting has no effect
    spec.export: not implemented yet; the setting has no effect
    spec.split.heldOut: 2 of 4 scenarios are held out, and the gate requires 20 (spec.promotion.gate.minimumSampleSize), so the verdict can only be inconclusive; add scenarios, raise heldOut or lower minimumSampleSize
    "#);
    insta::assert_snapshot!(said(&[("spec:\n", "spec:\n  profile: Compliance\n")]), @r#"
    spec.profile: Compliance requires calibration of the judge, which is not implemented yet
    spec.split.heldOut: 2 of 4 scenarios are held out, and the gate requires 50 (spec.promotion.gate.minimumSampleSize), so the verdict can only be inconclusive; add scenarios, raise heldOut or lower minimumSampleSize
    "#);
    insta::assert_snapshot!(said(&[("spec:\n", "spec:\n  profile: MultiAgent\n")]), @r#"
    spec.profile: MultiAgent includes red-team attacks, which are not implemented yet
    spec.split.heldOut: 2 of 4 scenarios are held out, and the gate requires 20 (spec.promotion.gate.minimumSampleSize), so the verdict can only be inconclusive; add scenarios, raise heldOut or lower minimumSampleSize
    "#);
}

#[test]
fn a_name_that_no_label_holds_is_refused_where_it_is_written() {
    let named = |length: usize| format!("metadata: {{name: {}}}", "n".repeat(length));
    assert_eq!(said(&[("metadata: {name: support-assistant}", &named(63))]), said(&[]));
    insta::assert_snapshot!(said(&[("metadata: {name: support-assistant}", &named(64))]), @"agent.yaml:3:12: metadata.name: has 64 characters; use at most 63, because it is the value of a label of the versions and the target");
}

#[test]
fn a_name_that_an_api_server_refuses_is_refused_on_the_command_line_too() {
    let named = |name: &str| said(&[("metadata: {name: support-assistant}", &format!("metadata: {{name: {name}}}"))]);
    for name in ["support", "support.v2", "s-1"] {
        assert_eq!(named(name), said(&[]), "{name}");
    }
    insta::assert_snapshot!(["Support Assistant", "support_assistant", "-support", "\"\\u00dcber\"", "'!'"].map(named).join("\n"), @r#"
    agent.yaml:3:12: metadata.name: "Support Assistant" is not a valid name of an object; use lower-case letters, digits, dashes and dots, with a letter or digit at either end, such as "support-assistant"
    agent.yaml:3:12: metadata.name: "support_assistant" is not a valid name of an object; use lower-case letters, digits, dashes and dots, with a letter or digit at either end, such as "support-assistant"
    agent.yaml:3:12: metadata.name: "-support" is not a valid name of an object; use lower-case letters, digits, dashes and dots, with a letter or digit at either end, such as "support"
    agent.yaml:3:12: metadata.name: "Über" is not a valid name of an object; use lower-case letters, digits, dashes and dots, with a letter or digit at either end
    agent.yaml:3:12: metadata.name: "!" is not a valid name of an object; use lower-case letters, digits, dashes and dots, with a letter or digit at either end
    "#);
    let spaced =
        said(&[("metadata: {name: support-assistant}", "metadata: {name: support-assistant, namespace: My.Team}")]);
    insta::assert_snapshot!(spaced, @r#"agent.yaml:3:37: metadata.namespace: "My.Team" is not a valid name of an object; use lower-case letters, digits and dashes, with a letter or digit at either end, such as "my-team""#);
}
