//! What is said of patches is true, and each of them is one: tried once, shown once, and in the prompt once.

use serde_json::Value;

use super::support::Shop;

/// Four clusters that one and the same instruction fixes.
fn four_clusters() -> Shop {
    let shop = Shop::new();
    let kinds = ["alpha", "beta", "gamma", "delta"];
    let skill = |kind: &&str| {
        format!(
            "  - {{name: {kind}, needs: {{pattern: {kind}}}, taughtBy: Say yes, instruction: Say yes to everything., with: 1.0, without: 0.0, \
             right: {{answer: yes {kind}}}, failure: {{kind: wrongAnswer, answer: 'the {kind} is {kind}{kind}, {kind}s are {kind}'}}}}\n"
        )
    };
    let skills: String = kinds.iter().map(skill).collect();
    shop.write("world.yaml", &format!("seed: 1\nskills:\n{skills}patchWriter: {{rightChance: 1}}\n"));
    let scenario = |kind: &str, number: usize| {
        serde_json::json!({"id": format!("{kind}-{number}"), "tags": [kind], "message": format!("{kind} {kind}{number}?"),
            "expect": {"checks": [{"contains": format!("yes {kind}")}]}})
        .to_string()
    };
    let scenarios: Vec<String> =
        kinds.iter().flat_map(|kind| (0..12).map(move |number| scenario(kind, number))).collect();
    shop.write("scenarios.jsonl", &scenarios.join("\n"));
    shop.write("prompt.md", "# Role\nBot.\n\n# Policies\n- Be brief.\n\n# Style\n- Be kind.\n");
    shop.write(
        "optimization.yaml",
        "apiVersion: whetstone.dev/v1alpha1\nkind: AgentOptimization\nmetadata: {name: t}\nspec:\n  profile: Prototype\n  agent: {prompt: {file: prompt.md}, runtime: {model: {ref: worker}}}\n  models: [{name: worker, openAI: {model: gpt-4o-mini}}]\n  scenarios: [{file: scenarios.jsonl}]\n  patching: {model: {ref: worker}}\n  scoring: {dimensions: [{name: accuracy, weight: 1, scorer: Checks}]}\n",
    );
    shop
}

fn attempts(report: &Value, kind: &str) -> Vec<Value> {
    report["attempts"].as_array().unwrap().iter().filter(|attempt| attempt["kind"] == kind).cloned().collect()
}

#[test]
fn a_patch_that_is_found_for_several_clusters_is_one_patch() {
    let shop = four_clusters();
    let ended = shop.run();
    assert_eq!(ended.code, Some(0), "{ended}");
    let report = shop.report();
    let clusters = report["clusters"].as_array().unwrap().iter().filter(|cluster| cluster["round"] == 1).count();
    assert!(clusters > 1, "one cluster proves nothing");
    // Whatever section each proposal puts it into, the line is in the prompt once.
    let diff = report["challenger"]["diff"].as_str().unwrap();
    assert_eq!(diff.matches("Say yes to everything").count(), 1, "{diff}");

    let patches = attempts(&report, "patch");
    assert_eq!(patches.len(), 1, "{patches:#?}");
    assert_eq!(patches[0]["cluster"].as_str().unwrap().split('+').count(), clusters);
    assert_eq!(patches[0]["outcomes"].as_array().map(Vec::len), Some(clusters));
    let mergers = attempts(&report, "merger");
    assert_eq!(mergers.len(), 1, "{mergers:#?}");
    assert!(mergers[0]["reason"].as_str().unwrap().starts_with("1 patch: "), "{mergers:#?}");
    assert!(!shop.read("out/report.md").contains("not apply"), "identical patches do not conflict");
    assert_eq!(report["challenger"]["addresses"].as_array().map(Vec::len), Some(clusters));
}

#[test]
fn a_patch_that_is_cut_short_is_said_to_be_and_not_asked_for_again_in_vain() {
    let shop = Shop::with(&[("optimization.yaml", "patching: {", "patching: {parameters: {maxOutputTokens: 5}, ")]);
    let ended = shop.run();
    assert_eq!(ended.code, Some(10), "{ended}");
    let report = shop.report();
    let patches = attempts(&report, "patch");
    for attempt in &patches {
        assert_eq!(
            attempt["reason"],
            "the patch model's answer was cut short by the token limit of 5; raise spec.patching.parameters.maxOutputTokens"
        );
        assert!(
            attempt["answer"].as_str().is_some_and(|answer| !answer.is_empty()),
            "what it said is shown: {attempt}"
        );
    }
    let why = report["reasons"][0]["message"].as_str().unwrap();
    let clusters = report["clusters"].as_array().unwrap().len();
    let n = patches.len();
    assert!(why.starts_with(&format!("no patch could be tried for {clusters} clusters: {n} proposals could not be tried; the first: the patch model's answer was cut short")), "{why}");
    assert_eq!(report["calls"]["byPhase"]["patch"]["total"], n, "none was asked for twice");
}

#[test]
fn what_a_patch_says_is_in_the_report_whether_it_was_taken_or_not() {
    let shop = Shop::with(&[("world.yaml", "rightChance: 0.7", "rightChance: 0.0")]);
    let ended = shop.run();
    assert_eq!(ended.code, Some(10), "{ended}");
    let report = shop.report();
    let markdown = shop.read("out/report.md");
    let patches = attempts(&report, "patch");
    assert!(!patches.is_empty());
    for attempt in patches {
        assert_eq!(attempt["survived"], false);
        let text = attempt["edits"][0]["text"].as_str().unwrap();
        assert!(!text.is_empty() && markdown.contains(text.trim_start_matches("- ")), "{text:?}");
    }
    let why = report["reasons"][0]["message"].as_str().unwrap();
    assert!(why.contains("none fixed its cluster without breaking something"), "{why}");
}

#[test]
fn progress_is_said_while_patches_are_written_and_tried() {
    let ended = Shop::new().run();
    ended.says(0, &["patch  round 1: patch 1 of 2 for ", " being written", "patch  round 1: trying "]);
}

#[test]
fn without_a_patch_writer_nothing_is_said_of_recorded_transcripts() {
    let shop = four_clusters();
    shop.edit("optimization.yaml", "  patching: {model: {ref: worker}}\n", "");
    let ended = shop.run();
    assert_eq!(ended.code, Some(10), "{ended}");
    let why = shop.report()["reasons"][0]["message"].as_str().unwrap().to_owned();
    assert!(why.ends_with("nothing is patched, because spec.patching.model names no model"), "{why}");
}

#[test]
fn counts_of_calls_and_money_have_names_of_their_own() {
    let shop = Shop::new();
    assert_eq!(shop.run().code, Some(0));
    let calls = &shop.report()["calls"];
    assert_eq!(calls["paid"], calls["paidCalls"]);
    let phases = calls["byPhase"].as_object().unwrap();
    let paid: u64 = phases.values().map(|phase| phase["paidCalls"].as_u64().unwrap()).sum();
    assert_eq!(calls["paidCalls"], paid);
    assert!(phases.values().all(|phase| phase["cost"] == phase["paid"] && phase["cost"].is_string()), "{phases:#?}");
}
