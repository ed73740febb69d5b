//! The form of a resource: fields, types of values, and text that is no resource.

use super::*;

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
    agent.yaml:3:11: metadata.name: missing required field (The name of the resource)
    agent.yaml:12:32: spec.models[0].price.inputPerMillion: expected a non-negative decimal number in quotes, such as "0.15", found the number 0.15; put it in quotes: "0.15" (Price of a million input tokens)
    agent.yaml:12:56: spec.models[0].price.outputPerMillion: expected a non-negative decimal number in quotes, such as "0.15", found "cheap"
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
fn an_error_about_another_file_says_what_is_expected() {
    let said = |text: &str| outcome(text, &[]).unwrap_err().to_string();
    insta::assert_snapshot!(said(""), @"agent.yaml:1:1: the file is empty; a resource begins with apiVersion: whetstone.dev/v1alpha1, kind: AgentOptimization");
    insta::assert_snapshot!(said("just text"), @r#"agent.yaml:1:1: expected a resource (apiVersion, kind, metadata, spec) or a pipeline, found the string "just text""#);
    insta::assert_snapshot!(said("seed: 7\nskills: []\n"), @"agent.yaml:1:1: expected a resource (apiVersion, kind, metadata, spec) or a pipeline, found a mapping of seed, skills");
    insta::assert_snapshot!(said("{a: 1, b: 2, c: 3, d: 4, e: 5, f: 6}"), @"agent.yaml:1:1: expected a resource (apiVersion, kind, metadata, spec) or a pipeline, found a mapping of a, b, c, d, e, …");
    insta::assert_snapshot!(said("kind: Deployment\napiVersion: apps/v1\n"), @"agent.yaml:1:1: no AgentOptimization and no pipeline in this file; found Deployment");
    insta::assert_snapshot!(said("spec: {}\n"), @r#"
    agent.yaml:1:1: apiVersion: missing required field (`whetstone.dev/v1alpha1`)
    agent.yaml:1:1: kind: missing required field (`AgentOptimization`)
    agent.yaml:1:1: metadata: missing required field (Name and namespace)
    agent.yaml:1:7: spec.agent: missing required field (The agent: its prompt, its tools, and how it is run)
    agent.yaml:1:7: spec.scenarios: missing required field (Where the scenarios come from)
    "#);
    insta::assert_snapshot!(said(&changed(&[("kind: AgentOptimization", "kind: AgentOptimisation")])), @r#"agent.yaml:2:1: kind: expected "AgentOptimization", found "AgentOptimisation""#);
    insta::assert_snapshot!(said(&changed(&[("v1alpha1", "v1beta1")])), @r#"agent.yaml:1:1: apiVersion: expected "whetstone.dev/v1alpha1", found "whetstone.dev/v1beta1""#);
    let two = format!("{RESOURCE}---\n{RESOURCE}");
    insta::assert_snapshot!(said(&two), @"agent.yaml:59:1: more than one resource in a file; put each into a separate file");
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
