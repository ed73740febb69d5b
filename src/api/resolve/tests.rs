//! Messages for invalid resources, and plans of valid ones.

mod watch;

use std::collections::BTreeMap;

use super::*;
use crate::api::AgentOptimization;
use crate::api::models::{StructuredOutput, SystemRole, TokenLimit};
use crate::api::plan::{HeaderPlan, KeyPlan};
use crate::api::promotion::{Approval, Test};
use crate::api::scoring::Scorer;
use crate::domain::call::Temperature;

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
    assert_eq!(key.secret, Some(("llm".to_owned(), "key".to_owned())));
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
    spec.agent.prompt.configMapKeyRef: no ConfigMap "support-prompt"; it must be in the same namespace, or on the command line in the same file or the manifests
    spec.agent.toolsFrom[0].configMapKeyRef: no ConfigMap "support-tools"; it must be in the same namespace, or on the command line in the same file or the manifests
    spec.scenarios[0].configMapRef: no ConfigMap "support-scenarios"; it must be in the same namespace, or on the command line in the same file or the manifests
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
        assert_eq!(plan.approval == Approval::Manual, profile == Profile::Compliance);
    }
}

#[test]
fn the_champion_is_what_the_target_configmap_holds() {
    let target = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: support-prompt-live}\ndata:\n  system-prompt: |\n    \
                  You help.\n    # Safety\n    Never.\n";
    let plan = plan(&format!("{RESOURCE}{target}"));
    assert_eq!(plan.champion.system().text(), "You help.\n# Safety\nNever.\n");
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
    agent.yaml:20:22: spec.budget.perCycle: expected a decimal number in quotes, such as "0.15", found the number 5.00; put it in quotes: "5.00" (The maximum cost of one cycle, as a decimal string such as `5.00`)
    configmap/support-scenarios[a.yaml]:5:3: [1].id: duplicate id "refund-1", first used at configmap/support-scenarios[a.yaml]:1:3
    configmap/support-scenarios[b.jsonl]:1:49: weight: expected a number of at least 0, found -1
    configmap/support-tools[tools.json]:1:2: [0]: "re fund" is not a valid name of a tool; use 1 to 64 letters, digits, _ and -
    "#);
}

#[test]
fn a_slip_in_the_name_of_a_field_is_taken_for_what_was_meant() {
    let said =
        said(&[("scenarios: [", "scenario: ["), ("scoring: {judge", "scoring: {judje"), ("perCycle", "per_cycle")]);
    insta::assert_snapshot!(said, @r#"
    agent.yaml:16:3: spec.scenario: unknown field "scenario"; did you mean "scenarios"?
    agent.yaml:17:13: spec.scoring.judje: unknown field "judje"; did you mean "judge"?
    agent.yaml:20:12: spec.budget.per_cycle: unknown field "per_cycle"; did you mean "perCycle"?
    "#);
}

#[test]
fn forms_of_values_are_checked_with_words_for_what_would_be_right() {
    let said = said(&[
        ("metadata: {name: support-assistant}", "metadata: {}"),
        ("inputPerMillion: \"0.15\"", "inputPerMillion: 0.15"),
        ("outputPerMillion: \"0.60\"", "outputPerMillion: cheap"),
        (
            "  patching:",
            "  profile: production\n  execution: {repeats: five, concurrency: 0, scenarioTimeout: soon, errorTolerance: 1.5}\n  \
             clustering: {maxClusters: 1.5, threshold: \"0.5\"}\n  validation: {sentinels: -1}\n  patching:",
        ),
        ("protectedSections: [Safety]", "protectedSections: {a: Safety}"),
        ("name: judge\n", "name: \"\"\n"),
    ]);
    insta::assert_snapshot!(said, @r#"
    agent.yaml:3:11: metadata.name: missing: The name of the resource
    agent.yaml:12:32: spec.models[0].price.inputPerMillion: expected a decimal number in quotes, such as "0.15", found the number 0.15; put it in quotes: "0.15" (Price of a million input tokens)
    agent.yaml:12:56: spec.models[0].price.outputPerMillion: expected a decimal number in quotes, such as "0.15", found "cheap"
    agent.yaml:13:13: spec.models[1].name: must not be empty
    agent.yaml:18:12: spec.profile: expected "Prototype", "Production", "MultiAgent", "Budget" or "Compliance", found "production"; did you mean "Production"?
    agent.yaml:19:24: spec.execution.repeats: expected an integer, found the string "five" (Number of runs of each scenario per measurement)
    agent.yaml:19:43: spec.execution.concurrency: expected a number from 1 to 10000, found 0
    agent.yaml:19:63: spec.execution.scenarioTimeout: "soon" is not a duration; write it like 200ms, 30s or 1h 30m
    agent.yaml:19:85: spec.execution.errorTolerance: expected a number from 0 to 1, found 1.5
    agent.yaml:20:29: spec.clustering.maxClusters: expected an integer, found the number 1.5 (Maximum number of clusters)
    agent.yaml:20:45: spec.clustering.threshold: expected a number, found the string "0.5"; remove the quotes (The cosine similarity, 0 to 1, at which two groups are merged)
    agent.yaml:21:27: spec.validation.sentinels: expected a number from 0 to 1000, found -1
    agent.yaml:22:33: spec.patching.protectedSections: expected a list, found a mapping; begin each item with a dash (Names of the sections that no patch may change)
    "#);
}

#[test]
fn malformed_yaml_is_one_problem_with_its_place() {
    insta::assert_snapshot!(said(&[("    runtime:", "\truntime:")]), @"agent.yaml:8:2: not valid YAML: tabs disallowed within this context (block indentation)");
    insta::assert_snapshot!(said(&[("{ref: worker}}", "{ref: worker}")]), @"agent.yaml:9:3: not valid YAML: while parsing a flow mapping, did not find expected ',' or '}'");
}

#[test]
fn a_file_that_is_something_else_is_told_what_it_should_be() {
    let said = |text: &str| outcome(text, &[]).unwrap_err().to_string();
    insta::assert_snapshot!(said(""), @"agent.yaml:1:1: the file is empty; a resource begins with apiVersion: whetstone.dev/v1alpha1, kind: AgentOptimization");
    insta::assert_snapshot!(said("just text"), @r#"agent.yaml:1:1: expected a resource (apiVersion, kind, metadata, spec) or a pipeline, found the string "just text""#);
    insta::assert_snapshot!(said("kind: Deployment\napiVersion: apps/v1\n"), @"agent.yaml:1:1: no AgentOptimization and no pipeline in this file; found Deployment");
    insta::assert_snapshot!(said("spec: {}\n"), @r#"
    agent.yaml:1:1: apiVersion: missing: `whetstone.dev/v1alpha1`
    agent.yaml:1:1: kind: missing: `AgentOptimization`
    agent.yaml:1:1: metadata: missing: Name and namespace
    agent.yaml:1:7: spec.agent: missing: The agent: its prompt, its tools, and how it is run
    agent.yaml:1:7: spec.scenarios: missing: Where the scenarios come from
    "#);
    insta::assert_snapshot!(said(&changed(&[("kind: AgentOptimization", "kind: AgentOptimisation")])), @r#"agent.yaml:2:1: kind: expected "AgentOptimization", found "AgentOptimisation""#);
    insta::assert_snapshot!(said(&changed(&[("v1alpha1", "v1beta1")])), @r#"agent.yaml:1:1: apiVersion: expected "whetstone.dev/v1alpha1", found "whetstone.dev/v1beta1""#);
    let two = format!("{RESOURCE}---\n{RESOURCE}");
    insta::assert_snapshot!(said(&two), @"agent.yaml:59:1: more than one resource in a file; put each into a separate file");
}

#[test]
fn models_are_checked() {
    let said = said(&[
        ("    - name: judge", "    - name: worker"),
        ("      anthropic: {model: claude-sonnet-4-5}", "      anthropic: {model: m}\n      openAI: {model: m}"),
        ("http://litellm.llm:4000/v1", "litellm.llm:4000/v1"),
        ("{secretKeyRef: {name: llm, key: key}}", "{}"),
        ("\n      price: {inputPerMillion: \"3\", outputPerMillion: \"15\"}", ""),
        ("model: {ref: worker}", "model: {ref: worker, parameters: {extra: {seed: 1, top_p: 1}}}"),
    ]);
    insta::assert_snapshot!(said, @r#"
    agent.yaml:8:57: spec.agent.runtime.model.parameters.extra.seed: the seed is the index of the repeat
    agent.yaml:8:66: spec.agent.runtime.model.parameters.extra.top_p: use the field topP
    agent.yaml:11:16: spec.models[0].openAI.baseURL: "litellm.llm:4000/v1" is not an http or https URL; write it like https://api.openai.com/v1
    agent.yaml:13:7: spec.models[1]: exactly one of openAI, anthropic is allowed; openAI and anthropic are given
    agent.yaml:13:7: spec.models[1].name: duplicate model "worker"; give it another name
    agent.yaml:13:7: spec.models[1].price: the price of "worker" is unknown, so spec.budget.perCycle cannot be enforced; give inputPerMillion and outputPerMillion ("0" for a model that costs nothing)
    agent.yaml:17:21: spec.scoring.judge.ref: no model "judge" in spec.models; known: worker
    "#);
}

#[test]
fn a_url_never_holds_a_key() {
    insta::assert_snapshot!(said(&[("http://litellm", "http://user:secret@litellm")]), @"agent.yaml:11:16: spec.models[0].openAI.baseURL: a URL must not contain credentials; put the key into apiKey");
    insta::assert_snapshot!(said(&[(":4000/v1", ":4000/v1?key=1")]), @r#"agent.yaml:11:16: spec.models[0].openAI.baseURL: "http://litellm.llm:4000/v1?key=1" has a query or fragment; remove it"#);
}

#[test]
fn a_price_that_is_not_known_is_an_error_only_with_a_budget() {
    let price = "\n      price: {inputPerMillion: \"3\", outputPerMillion: \"15\"}";
    insta::assert_snapshot!(said(&[(price, "")]), @r#"agent.yaml:13:7: spec.models[1].price: the price of "judge" is unknown, so spec.budget.perCycle cannot be enforced; give inputPerMillion and outputPerMillion ("0" for a model that costs nothing)"#);
    let plan = plan(&changed(&[(price, ""), ("  budget: {perCycle: \"5.00\"}\n", "")]));
    assert!(plan.models["judge"].price.is_none());
}

#[test]
fn dimensions_are_checked() {
    let dimensions = "scoring:\n    dimensions:\n    - {name: accuracy, weight: 0.5}\n    \
                      - {name: accuracy, weight: 0.2, threshold: {value: 1, percentile: 50}}\n    \
                      - {name: tone, weight: 0.2, judge: {ref: juge}}\n";
    insta::assert_snapshot!(said(&[("scoring: {judge: {ref: judge}}\n", dimensions)]), @r#"
    agent.yaml:18:5: spec.scoring.dimensions: the weights add up to 0.9; they must add up to 1
    agent.yaml:19:7: spec.scoring.dimensions[0]: the dimension "accuracy" has no judge; set spec.scoring.judge, or its own judge, or scorer: Checks if checks alone score it
    agent.yaml:20:7: spec.scoring.dimensions[1]: the dimension "accuracy" has no judge; set spec.scoring.judge, or its own judge, or scorer: Checks if checks alone score it
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
    agent.yaml:18:51: spec.patching.maxPromptTokens: the prompt has 17 tokens, more than 10; shorten it or raise the limit
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
fn exactly_one_way_is_demanded_where_there_are_several() {
    let said = said(&[
        ("runtime: {model: {ref: worker}}", "runtime: {}"),
        ("[{configMapRef: {name: support-scenarios}}]", "[{configMapRef: {name: support-scenarios}, file: a}, {}]"),
        ("prompt: {configMapKeyRef: {name: support-prompt, key: system-prompt}}", "prompt: {inline: hello, file: b}"),
    ]);
    insta::assert_snapshot!(said, @r#"
    agent.yaml:6:5: spec.agent.prompt: exactly one of configMapKeyRef, file, inline is allowed; file and inline are given
    agent.yaml:8:5: spec.agent.runtime: exactly one of model, endpoint, replay is required; none is given
    agent.yaml:16:15: spec.scenarios[0]: exactly one of configMapRef, file, inline is allowed; configMapRef and file are given
    agent.yaml:16:67: spec.scenarios[1]: exactly one of configMapRef, file, inline is required; none is given
    "#);
}

#[test]
fn what_a_resource_refers_to_must_be_there() {
    let said = said(&[
        ("name: support-prompt, key", "name: support-promt, key"),
        ("key: tools.json", "key: tools"),
        ("configMapRef: {name: support-scenarios}", "file: scenarios/"),
    ]);
    insta::assert_snapshot!(said, @r#"
    agent.yaml:6:14: spec.agent.prompt.configMapKeyRef: no ConfigMap "support-promt"; did you mean "support-prompt"?
    agent.yaml:7:18: spec.agent.toolsFrom[0].configMapKeyRef: the ConfigMap "support-tools" has no key "tools"; known: tools.json
    agent.yaml:16:16: spec.scenarios[0].file: no file "scenarios/"; paths are relative to the resource file
    "#);
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
fn the_target_is_a_configmap_of_its_own() {
    insta::assert_snapshot!(said(&[("support-prompt-live", "support-prompt")]), @r#"agent.yaml:19:24: spec.promotion.target.configMap: "support-prompt" contains the base prompt, which is only read; name a separate ConfigMap"#);
    insta::assert_snapshot!(said(&[("support-prompt-live", "support-tools")]), @r#"agent.yaml:19:24: spec.promotion.target.configMap: "support-tools" is an input of this resource; name a separate ConfigMap"#);
    insta::assert_snapshot!(said(&[("support-prompt-live", "Support_Prompt")]), @r#"agent.yaml:19:35: spec.promotion.target.configMap: expected the name of an object (lower-case letters, digits, - and .), such as "support-prompt", found "Support_Prompt""#);
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
    spec.suspend: only the operator uses it; this command runs a cycle anyway
    spec.pin: only the operator uses it; a run searches for a better prompt anyway
    spec.schedule: only the operator uses it; schedule the command in your CI
    spec.promotion.approval: only the operator uses it; review what a run writes before you apply it
    spec.promotion.maxVersionsRetained: only the operator uses it; the store keeps every version
    spec.promotion.target.restart: only the operator uses it; restart the workloads after applying the ConfigMap
    spec.watch: only the operator uses it; watch the prompt that you apply
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
fn a_model_that_nothing_uses_is_a_warning() {
    let said = said(&[(
        "    - name: judge\n",
        "    - name: spare\n      openAI: {model: m}\n      price: \
        {inputPerMillion: \"1\", outputPerMillion: \"1\"}\n    - name: judge\n",
    )]);
    insta::assert_snapshot!(said, @r#"
    spec.split.heldOut: 2 of 4 scenarios are held out, and the gate requires 20 (spec.promotion.gate.minimumSampleSize), so the verdict can only be inconclusive; add scenarios, raise heldOut or lower minimumSampleSize
    spec.models[1]: the model "spare" is not used
    "#);
}

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
fn scenarios_are_checked_in_yaml() {
    let said = said_of_scenarios(
        "suite/a.yaml",
        r#"scenarios:
- id: nobody
- id: two-users
  message: a
  simulatedUser: {instructions: b}
- id: script
  conversation: [{user: a, assistant: b}, {assistant: c}]
- id: tools
  message: a
  mocks: [{tool: refunds, returns: 1, error: x}]
  expect:
    calls: [{tool: lookup}, {tool: search}]
    forbiddenCalls: [{tool: search}]
    freeTools: [time]
- id: checks
  message: a
  expect:
    checks:
    - {}
    - {equals: a, contains: b}
    - {regex: "(a"}
    - {jsonSchema: {type: strin}}
    - {dimension: acuracy, equals: a}
    - {dimension: tool_compliance, equals: a}
- id: numbers
  message: a
  tier: 11
  weight: -1
  tags: [split:hold-out, "split:train", "split:regression"]
- message: no id
- id: unknown
  mesage: a
  expected: {}
"#,
    );
    insta::assert_snapshot!(said, @r#"
    suite/a.yaml:2:3: scenarios[0]: exactly one of message, conversation, simulatedUser is required; none is given
    suite/a.yaml:3:3: scenarios[1]: exactly one of message, conversation, simulatedUser is allowed; message and simulatedUser are given
    suite/a.yaml:7:18: scenarios[2].conversation[0]: exactly one of user, assistant is allowed; user and assistant are given
    suite/a.yaml:7:43: scenarios[2].conversation[1]: the last message must be the user's, so that the agent has something to answer
    suite/a.yaml:10:11: scenarios[3].mocks[0]: a mock either returns or fails; keep returns or error
    suite/a.yaml:10:12: scenarios[3].mocks[0].tool: the agent has no tool "refunds"; did you mean "refund"?
    suite/a.yaml:12:14: scenarios[3].expect.calls[0].tool: the agent has no tool "lookup"; did you mean "look_up"?
    suite/a.yaml:12:30: scenarios[3].expect.calls[1].tool: "search" is both expected and forbidden; give the forbidden call arguments
    suite/a.yaml:14:17: scenarios[3].expect.freeTools[0]: the agent has no tool "time"; known: refund, look_up, search
    suite/a.yaml:19:7: scenarios[4].expect.checks[0]: exactly one of equals, contains, notContains, regex, jsonSchema, number is required; none is given
    suite/a.yaml:20:7: scenarios[4].expect.checks[1]: exactly one of equals, contains, notContains, regex, jsonSchema, number is allowed; equals and contains are given
    suite/a.yaml:21:8: scenarios[4].expect.checks[2].regex: "(a" is not a valid regular expression: unclosed group
    suite/a.yaml:22:8: scenarios[4].expect.checks[3].jsonSchema: not a valid JSON Schema: "strin" is not valid under any of the schemas listed in the 'anyOf' keyword
    suite/a.yaml:23:8: scenarios[4].expect.checks[4].dimension: no dimension "acuracy" is scored; did you mean "accuracy"?
    suite/a.yaml:24:8: scenarios[4].expect.checks[5].dimension: the dimension "tool_compliance" is scored by ToolCalls, which ignores checks
    suite/a.yaml:27:9: scenarios[5].tier: expected a number from 1 to 10, found 11
    suite/a.yaml:28:11: scenarios[5].weight: expected a number of at least 0, found -1
    suite/a.yaml:29:3: scenarios[5].tags: a scenario belongs to one part; keep one of its split: tags
    suite/a.yaml:29:10: scenarios[5].tags[0]: there is no part "hold-out" of the split; did you mean "held-out"?
    suite/a.yaml:30:3: scenarios[6].id: missing: A name that is unique in the suite and stays the same over time
    suite/a.yaml:32:3: scenarios[7].mesage: unknown field "mesage"; did you mean "message"?
    suite/a.yaml:33:3: scenarios[7].expected: unknown field "expected"; did you mean "expect"?
    "#);
}

#[test]
fn duplicate_ids_name_both_places_across_files() {
    let text =
        changed(&[("{configMapRef: {name: support-scenarios}}", "{file: suite}, {inline: [{id: one, message: a}]}")]);
    let files = [
        ("suite/a.json", "[\n  {\"id\": \"one\", \"message\": \"a\"}\n]\n"),
        ("suite/b.jsonl", "\n{\"message\": \"b\", \"id\": \"one\"}\n"),
    ];
    insta::assert_snapshot!(outcome(&text, &files).unwrap_err(), @r#"
    agent.yaml:16:41: spec.scenarios[1].inline[0].id: duplicate id "one", first used at suite/a.json:2:4
    suite/b.jsonl:2:18: id: duplicate id "one", first used at suite/a.json:2:4
    "#);
}

#[test]
fn an_empty_suite_is_an_error() {
    insta::assert_snapshot!(said_of_scenarios("suite/a.yaml", "scenarios: []\n"), @"agent.yaml:16:3: spec.scenarios: the suite is empty; add a scenario");
    insta::assert_snapshot!(said_of_scenarios("suite/a.yaml", "# nothing\n"), @"agent.yaml:16:3: spec.scenarios: the suite is empty; add a scenario");
    insta::assert_snapshot!(said_of_scenarios("suite/a.yaml", "text\n"), @r#"suite/a.yaml:1:1: expected a list of scenarios, found the string "text""#);
    insta::assert_snapshot!(said_of_scenarios("suite/a.yaml", "{id: a, message: b, weight: 0}\n"), @"agent.yaml:16:3: spec.scenarios: the weight of every scenario is 0; give at least one a positive weight");
    insta::assert_snapshot!(said(&[("  a.yaml: |", "  a.txt: |"), ("  b.jsonl: |", "  b.txt: |")]), @"agent.yaml:16:16: spec.scenarios[0].configMapRef: it has no file or key that ends in .yaml, .yml, .json or .jsonl, so it has no scenarios");
}

#[test]
fn truncated_jsonl_names_its_line() {
    let said = said_of_scenarios("suite/a.jsonl", "{\"id\": \"a\", \"message\": \"b\"}\n{\"id\": \"c\", \"mess\n");
    insta::assert_snapshot!(said, @"suite/a.jsonl:2:13: not valid JSON: unclosed quote");
}

fn replay(suite: &str, transcripts: &str) -> Result<Plan, Problems> {
    let text = changed(&[
        ("{model: {ref: worker}}", "{replay: {transcripts: {file: runs.jsonl}}}"),
        ("{configMapRef: {name: support-scenarios}}", "{file: suite}"),
        ("    - name: worker\n", "    - name: unused\n"),
    ]);
    outcome(&text, &[("suite/a.yaml", suite), ("runs.jsonl", transcripts)])
}

#[test]
fn a_replay_uses_every_recorded_repeat_and_leaves_out_what_was_not_recorded() {
    let line = |scenario: &str, repeat: u32| {
        format!("{{\"scenario\": \"{scenario}\", \"repeat\": {repeat}, \"messages\": [], \"ending\": \"answered\"}}\n")
    };
    let suite = "[{id: a, message: x}, {id: b, message: y}]";
    let plan = replay(suite, &[line("a", 0), line("a", 1), line("z", 0)].concat()).unwrap();
    assert_eq!((plan.scenarios.len(), plan.execution.repeats, plan.gate.repeats), (1, 2, 2));
    assert!(plan.patching.is_none(), "a recording cannot be patched");
    let marked = format!("\u{feff}{}", line("a", 0));
    assert!(replay(suite, &marked).is_ok(), "a byte order mark is not part of a transcript");
    insta::assert_snapshot!(plan.warnings.join("\n"), @r#"
    spec.agent.runtime.replay.transcripts: scenarios without a transcript, ignored: 1, such as "b"
    spec.agent.runtime.replay.transcripts: recorded scenarios that are not in the suite, ignored: 1, such as "z"
    spec.scoring.dimensions: no scenario has tool calls, so the dimension "tool_compliance" never applies
    spec.models[0]: the model "unused" is not used
    "#);
    insta::assert_snapshot!(replay(suite, &line("z", 0)).unwrap_err(), @r#"agent.yaml:8:24: spec.agent.runtime.replay.transcripts: no transcript belongs to a scenario of the suite (the first belongs to "z")"#);
    insta::assert_snapshot!(replay(suite, "\n").unwrap_err(), @"agent.yaml:8:24: spec.agent.runtime.replay.transcripts: runs.jsonl has no transcripts; a replay needs at least one");
    let broken = [line("a", 0), line("a", 0), "{\"scenario\": \"b\"}\n".to_owned(), "nonsense\n".to_owned()].concat();
    insta::assert_snapshot!(replay(suite, &broken).unwrap_err(), @r#"
    runs.jsonl:2:1: duplicate transcript of scenario "a", repeat 0; number the repeats from 0
    runs.jsonl:3:17: not a transcript: missing field `repeat`
    runs.jsonl:4:2: not a transcript: expected ident
    "#);
}

#[test]
fn without_a_judge_or_patch_model_nothing_is_patched_and_a_warning_says_so() {
    let checks = "{dimensions: [{name: accuracy, weight: 1, scorer: Checks}]}";
    let plan = plan(&changed(&[("{judge: {ref: judge}}", checks)]));
    assert!(plan.patching.is_none());
    insta::assert_snapshot!(plan.warnings.join("\n"), @r#"
    spec.patching.model: there is no model to write patches, so failures are found but not fixed; name a model, or a judge
    spec.split.heldOut: 2 of 4 scenarios are held out, and the gate requires 20 (spec.promotion.gate.minimumSampleSize), so the verdict can only be inconclusive; add scenarios, raise heldOut or lower minimumSampleSize
    spec.models[1]: the model "judge" is not used
    "#);
}

#[test]
fn configmaps_may_come_from_other_manifests() {
    let (resource, rest) = RESOURCE.split_once("---\n").unwrap();
    let submission = Submission::read("agent.yaml", resource, None).unwrap();
    let mut problems = Vec::new();
    let manifests = ConfigMap::read_all("manifests/all.yaml", rest, &mut problems);
    assert_eq!(problems, []);
    let references = References::gather(&submission, &manifests, |_| Ok(None));
    assert_eq!(resolve(&submission, &references).unwrap().identity(), plan(RESOURCE).identity());
    let keys: BTreeMap<_, _> = manifests.iter().map(|map| (map.name.as_str(), map.data.len())).collect();
    assert_eq!(keys, BTreeMap::from([("support-prompt", 1), ("support-tools", 1), ("support-scenarios", 3)]));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_text_a_resource_holds_reads_back(
        prompt in "(\\PC|[\n\t ]){0,60}",
        message in "([-~#:'\"|>&*!%@`{}\\[\\], \n0-9a-z.]){0,30}",
        key in "[-a-z0-9~:# .]{1,12}",
        weight in 0.0..1e9f64,
        seed: u64,
    ) {
        let mut resource = Submission::read("agent.yaml", RESOURCE, None).unwrap().resource;
        resource.spec.agent.prompt = crate::api::source::TextSource { inline: Some(prompt), ..Default::default() };
        resource.spec.split = Some(crate::api::scenarios::Split { seed: Some(seed), ..Default::default() });
        let scenario = serde_json::json!({
            "id": "a", "message": message, "tags": [key], "weight": weight, "state": {key.clone(): [message, null, seed]},
            "expect": {},
        });
        resource.spec.scenarios[0].inline = vec![serde_json::from_value(scenario).unwrap()];
        let written = Submission::from(resource.clone()).to_yaml();
        let read = Submission::read("again.yaml", &written, None);
        let read = read.unwrap_or_else(|problems| panic!("{problems}\n{written}"));
        proptest::prop_assert_eq!(read.resource.spec, resource.spec, "{}", written);
    }

    #[test]
    fn no_damage_to_a_resource_makes_the_door_panic(at in 0..RESOURCE.len(), length in 0usize..40, put in "[-{}\\[\\]:\"a0 \n]{0,6}") {
        let mut text = RESOURCE.to_owned();
        text.replace_range(at..(at + length).min(RESOURCE.len()), &put);
        if let Err(problems) = outcome(&text, &[]) {
            proptest::prop_assert!(!problems.0.is_empty());
        }
    }
}

#[test]
fn every_reference_of_a_chat_model_takes_parameters() {
    let plan = plan(&changed(&[
        ("{judge: {ref: judge}}", "{judge: {ref: judge, parameters: {temperature: omit, maxOutputTokens: 900}}}"),
        (
            "{protectedSections: [Safety]}",
            "{protectedSections: [Safety], model: {ref: judge, parameters: {temperature: omit, maxOutputTokens: 800}}}",
        ),
        (
            "  budget:",
            "  execution: {simulatedUser: {ref: worker, parameters: {temperature: omit, maxOutputTokens: 70}}}\n  budget:",
        ),
        ("{model: {ref: worker}}", "{model: {ref: worker, parameters: {temperature: omit}}}"),
    ]));
    let judge = plan.dimensions[0].judge.as_ref().unwrap();
    assert_eq!(
        judge.parameters.temperature,
        Some(Temperature::Omit),
        "a judge has one unless it is omitted explicitly"
    );
    assert_eq!(judge.parameters.max_output_tokens, Some(900));
    let patching = plan.patching.as_ref().unwrap();
    assert_eq!((&patching.parameters.temperature, patching.parameters.max_output_tokens), (&None, Some(800)));
    let user = plan.execution.user_model.as_ref().unwrap();
    assert_eq!((user.model.as_str(), &user.parameters.temperature), ("worker", &None));
    assert_eq!(user.parameters.max_output_tokens, Some(70));
    let RuntimePlan::Model { parameters, .. } = &plan.runtime else { panic!("the agent is a model") };
    assert_eq!(parameters.temperature, None, "what is left out is not part of any key");
}

/// Without parameters, the identity of a cycle does not change.
#[test]
fn the_identity_of_a_cycle_knows_parameters_only_where_some_are_written() {
    let before = plan(RESOURCE);
    let judge = serde_json::to_value(&before.dimensions[0].judge).unwrap();
    assert_eq!(judge, serde_json::json!({"model": "judge"}));
    for change in [
        ("{judge: {ref: judge}}", "{judge: {ref: judge, parameters: {maxOutputTokens: 900}}}"),
        ("  budget:", "  execution: {simulatedUser: {ref: judge, parameters: {maxOutputTokens: 70}}}\n  budget:"),
    ] {
        assert_ne!(plan(&changed(&[change])).identity(), before.identity(), "{change:?}");
    }
}

#[test]
fn wrong_parameters_headers_and_forms_are_named_with_what_to_write() {
    insta::assert_snapshot!(said(&[
        (
            "model: {ref: worker}",
            "model: {ref: worker, parameters: {temperature: none, extra: {max_completion_tokens: 9}}}"
        ),
        ("{judge: {ref: judge}}", "{judge: {ref: judge, parameters: {temperature: 3}}}"),
        (
            "{protectedSections: [Safety]}",
            "{protectedSections: [Safety], parameters: {topP: 1}, model: {ref: judge, parameters: {topP: 1}}}",
        ),
        (
            "      anthropic: {model: claude-sonnet-4-5}",
            "      structuredOutput: JsonObject\n      anthropic: {model: claude-sonnet-4-5, apiKey: {env: KEY}}\n      headers: [{name: X-Api-Key, value: a}, {name: host, value: b}, {name: x-api-key, valueFrom: {}}, {name: X-None}]",
        ),
    ]));
}

#[test]
fn the_headers_and_the_form_of_a_model_are_in_its_plan() {
    let plan = plan(&changed(&[(
        "      openAI: {baseURL: http://litellm.llm:4000/v1, ",
        "      structuredOutput: Plain\n      headers: [{name: X-Team, value: support}, {name: X-Tenant, valueFrom: {env: TENANT, secretKeyRef: {name: llm, key: tenant}}}]\n      openAI: {baseURL: http://litellm.llm:4000/v1, tokenLimit: MaxCompletionTokens, systemRole: User, ",
    )]));
    let worker = &plan.models["worker"];
    assert_eq!(worker.structured, StructuredOutput::Plain);
    assert_eq!((worker.token_limit, worker.system_role), (TokenLimit::MaxCompletionTokens, SystemRole::User));
    let tenant = KeyPlan {
        env: Some("TENANT".to_owned()),
        secret: Some(("llm".to_owned(), "tenant".to_owned())),
        required: true,
    };
    let headers = [
        ("x-team".to_owned(), HeaderPlan::Value("support".to_owned())),
        ("x-tenant".to_owned(), HeaderPlan::Secret(tenant)),
    ];
    assert_eq!(worker.headers, headers);
    assert_eq!(worker.secrets().count(), 2);
}

/// Resolves a resource whose prompt and target are ConfigMaps in the same file; its problems and warnings.
fn with_maps(maps: &str, prompt: &str) -> (Vec<String>, Vec<String>) {
    let resource = format!(
        "apiVersion: whetstone.dev/v1alpha1\nkind: AgentOptimization\nmetadata: {{name: t}}\nspec:\n  profile: Prototype\n  \
         agent: {{prompt: {prompt}, runtime: {{model: {{ref: w}}}}}}\n  models: [{{name: w, openAI: {{model: m}}}}]\n  \
         scenarios: [{{inline: [{{id: a, message: Hi, expect: {{checks: [{{contains: x}}]}}}}]}}]\n  \
         scoring: {{dimensions: [{{name: accuracy, weight: 1, scorer: Checks}}]}}\n  \
         patching: {{maxPromptTokens: 100000000}}\n  promotion: {{target: {{configMap: live}}}}\n{maps}"
    );
    let submission = Submission::read("agent.yaml", &resource, None).unwrap();
    let references = References::gather(&submission, &[], |_| Ok(None));
    match resolve(&submission, &references) {
        Ok(plan) => (Vec::new(), plan.warnings.clone()),
        Err(problems) => (problems.0.iter().map(ToString::to_string).collect(), Vec::new()),
    }
}

#[test]
fn a_prompt_in_binary_data_is_read_and_a_target_is_looked_at() {
    let key = "{configMapKeyRef: {name: p, key: prompt.md}}";
    let map = |rest: &str| format!("---\napiVersion: v1\nkind: ConfigMap\n{rest}\n");
    let binary = map("metadata: {name: p}\nbinaryData: {prompt.md: IyBSb2xlCllvdSBoZWxwLgo=}");
    assert_eq!(with_maps(&binary, key).0, [""; 0]);
    let no_text = map("metadata: {name: p}\nbinaryData: {prompt.md: /////w==}");
    assert!(with_maps(&no_text, key).0[0].contains("has no key \"prompt.md\""));
    let no_base64 = map("metadata: {name: p}\nbinaryData: {prompt.md: '?'}");
    let submission = Submission::read("agent.yaml", &no_base64, None).unwrap_err();
    assert!(submission.to_string().contains("binaryData.prompt.md: expected base64"), "{submission}");

    let inline = "{inline: \"# Role\"}";
    let target = |rest: &str| {
        let hash = crate::domain::hash::ContentHash::of_bytes(b"# Role");
        map(&format!("metadata: {{name: live}}\n{rest}\ndata: {{system-prompt: \"# Role\", prompt-hash: \"{hash}\"}}"))
    };
    assert_eq!(with_maps(&target(""), inline).0, [""; 0]);
    let immutable = with_maps(&target("immutable: true"), inline).0;
    assert!(immutable[0].contains("the ConfigMap \"live\" is immutable"), "{immutable:?}");
    let hand = |warnings: &[String]| warnings.iter().any(|warning| warning.contains("does not match its prompt-hash"));
    assert!(!hand(&with_maps(&target(""), inline).1));
    assert!(hand(&with_maps(&target("").replace("\"# Role\"", "\"# Roles\""), inline).1));
}

#[test]
fn a_prompt_that_its_target_cannot_hold_is_told() {
    let prompt = |words: usize| format!("{{inline: \"{}\"}}", "word ".repeat(words));
    let warns = |warnings: &[String]| warnings.iter().any(|warning| warning.contains("Kubernetes will refuse it"));
    assert!(warns(&with_maps("", &prompt(250_000)).1));
    assert!(!warns(&with_maps("", &prompt(150_000)).1));
}

#[test]
fn the_remedy_for_checks_names_only_dimensions_that_look_at_them() {
    let without = |dimensions: &str| {
        let accuracy = "{name: accuracy, weight: 1, scorer: Checks}";
        let inline = "{inline: \"# Role\"}";
        let resource = format!(
            "apiVersion: whetstone.dev/v1alpha1\nkind: AgentOptimization\nmetadata: {{name: t}}\nspec:\n  profile: Prototype\n  \
             agent: {{prompt: {inline}, runtime: {{model: {{ref: w}}}}}}\n  models: [{{name: w, openAI: {{model: m}}}}]\n  \
             scenarios: [{{inline: [{{id: a, message: Hi, expect: {{checks: [{{contains: x}}]}}}}]}}]\n  \
             scoring: {{dimensions: [{accuracy}]}}\n"
        )
        .replace(accuracy, dimensions);
        let submission = Submission::read("agent.yaml", &resource, None).unwrap();
        let references = References::gather(&submission, &[], |_| Ok(None));
        resolve(&submission, &references).unwrap_err().to_string()
    };
    let none = without("{name: tool_compliance, weight: 1}");
    assert!(none.contains("add the dimension \"accuracy\" with the scorer Checks"), "{none}");
    let tone = without("{name: tool_compliance, weight: 0.5}, {name: tone, weight: 0.5, scorer: Checks}");
    assert!(tone.contains("say which: tone") && !tone.contains("say which: tool_compliance"), "{tone}");
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

#[test]
fn embeddings_have_parameters_of_their_own() {
    let with = |extra: &str| {
        let clustering =
            format!("  clustering: {{embeddings: {{ref: worker, parameters: {{extra: {extra}}}}}}}\n  patching:");
        outcome(&changed(&[("  patching:", &clustering)]), &[])
    };
    let used = with("{dimensions: 256}").unwrap().clustering.embeddings.unwrap();
    assert_eq!(used.parameters.extra.as_ref().unwrap()["dimensions"], 256);
    let none = with("{}").unwrap();
    let embeddings = serde_json::to_value(none.clustering.embeddings).unwrap();
    assert_eq!(embeddings, serde_json::json!({"model": "worker"}), "unset fields are not part of the identity");
    insta::assert_snapshot!(with("{model: x, input: [y]}").unwrap_err(), @"
    agent.yaml:18:63: spec.clustering.embeddings.parameters.extra.model: the model is set in spec.models
    agent.yaml:18:73: spec.clustering.embeddings.parameters.extra.input: the texts are those of the failures
    ");
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
