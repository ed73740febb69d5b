//! ConfigMaps: where they are read from, and whether the target can hold a prompt.

use super::*;

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
        let hash = whetstone_domain::hash::ContentHash::of_bytes(b"# Role");
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
fn the_target_is_a_configmap_of_its_own() {
    insta::assert_snapshot!(said(&[("support-prompt-live", "support-prompt")]), @r#"agent.yaml:19:24: spec.promotion.target.configMap: "support-prompt" contains the base prompt, which is only read; name a separate ConfigMap"#);
    insta::assert_snapshot!(said(&[("support-prompt-live", "support-tools")]), @r#"agent.yaml:19:24: spec.promotion.target.configMap: "support-tools" is an input of this resource; name a separate ConfigMap"#);
    insta::assert_snapshot!(said(&[("support-prompt-live", "Support_Prompt")]), @r#"agent.yaml:19:35: spec.promotion.target.configMap: expected the name of an object (lower-case letters, digits, - and .), such as "support-prompt", found "Support_Prompt""#);
}

#[test]
fn the_champion_is_what_the_target_configmap_holds() {
    let target = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: support-prompt-live}\ndata:\n  system-prompt: |\n    \
                  You help.\n    # Safety\n    Never.\n";
    let plan = plan(&format!("{RESOURCE}{target}"));
    assert_eq!(plan.champion.system().text(), "You help.\n# Safety\nNever.\n");
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
