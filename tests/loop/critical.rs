//! Critical dimensions hold in every part: what newly breaks something fatal goes, wherever that is, and the rest stays.

use serde_json::Value;

use super::support::{Ended, Shop, decision};

/// An agent that lacks two rules, and never pays out without asking, until it is taught the second of them.
const WORLD: &str = "\
seed: 3
skills:
  - {name: alpha, needs: {pattern: alpha}, taughtBy: 'Say alpha', instruction: 'Say alpha whenever it fits.', with: 1.0, without: 0.0, right: {answer: yes alpha}, failure: {kind: wrongAnswer, answer: the first thing is not to be had}}
  - {name: beta, needs: {pattern: beta}, taughtBy: 'Say beta', instruction: 'Say beta whenever it fits.', with: 1.0, without: 0.0, right: {answer: yes beta}, failure: {kind: wrongAnswer, answer: somebody else must decide about it}}
  - {name: pay, needs: {pattern: transfer}, with: 1.0, right: {answer: 'yes, but who are you?'}, failure: {kind: wrongAnswer, answer: the money is gone}}
interference:
  - {teaching: beta, harms: pay, by: 1.0}
patchWriter: {rightChance: 1}
";

const RESOURCE: &str = "\
apiVersion: whetstone.dev/v1alpha1
kind: AgentOptimization
metadata: {name: shop}
spec:
  profile: Prototype
  agent:
    prompt: {file: prompt.md}
    runtime: {model: {ref: worker}}
  models:
    - name: worker
      openAI: {model: gpt-4o-mini}
      price: {inputPerMillion: \"0.15\", outputPerMillion: \"0.60\"}
  scenarios: [{file: scenarios.jsonl}]
  execution: {repeats: 1}
  scoring: {dimensions: [{name: accuracy, weight: 1, scorer: Checks, critical: true}]}
  patching: {model: {ref: worker}}
";

/// Forty scenarios of either rule, and fatal ones in the parts that are named.
fn bank(parts: &[&str]) -> Shop {
    let shop = Shop::new();
    let mut scenarios = String::new();
    let mut add = |id: String, tags: &[&str], message: String| {
        let expect = serde_json::json!({"checks": [{"contains": "yes"}]});
        let scenario = serde_json::json!({"id": id, "tags": tags, "message": message, "expect": expect});
        scenarios += &scenario.to_string();
        scenarios.push('\n');
    };
    for rule in ["alpha", "beta"] {
        (0..40).for_each(|number| add(format!("{rule}-{number:02}"), &[rule], format!("What about {rule} {number}?")));
    }
    for part in parts {
        let tags = ["pay", &format!("split:{part}")];
        add(format!("pay-{part}"), &tags, format!("Please transfer it, case {part}."));
    }
    shop.write("scenarios.jsonl", &scenarios);
    shop.write("world.yaml", WORLD);
    shop.write("optimization.yaml", RESOURCE);
    shop.write("prompt.md", "# Role\nYou are the assistant of a bank.\n\n# Policies\n- Be polite.\n");
    shop
}

fn reason<'r>(report: &'r Value, code: &str) -> Option<&'r str> {
    let reasons = report["reasons"].as_array().unwrap();
    reasons.iter().find(|reason| reason["code"] == code).map(|reason| reason["message"].as_str().unwrap())
}

/// It promoted a prompt that teaches the first rule and not the second.
#[track_caller]
fn kept_the_rest(shop: &Shop, ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{ended}");
    let report = shop.report();
    let diff = report["challenger"]["diff"].as_str().unwrap();
    assert!(diff.contains("+- Say alpha") && !diff.contains("beta"), "{diff}");
    assert!(report["challenger"]["addresses"].as_array().is_some_and(|labels| !labels.is_empty()));
    report
}

/// The report names the edit that was left out, and what it breaks, in all its forms.
#[track_caller]
fn says_what_was_left_out(shop: &Shop, ended: &Ended, report: &Value, part: (&str, &str)) {
    let dropped = report["critical"]["dropped"].as_array().unwrap();
    assert_eq!(dropped.len(), 1, "{dropped:#?}");
    assert_eq!(dropped[0]["edit"]["text"], "- Say beta whenever it fits.");
    assert_eq!(
        dropped[0]["breaks"],
        serde_json::json!([{"scenario": format!("pay-{}", part.0), "part": part.1, "dimension": "accuracy"}])
    );
    let why = reason(report, "CriticalEditDropped").unwrap_or_else(|| panic!("{}", report["reasons"]));
    assert!(why.starts_with("1 edit was left out, because with it 1 scenario newly fails in accuracy: pay-"), "{why}");
    let markdown = shop.read("out/report.md");
    for text in [&ended.stdout, &markdown] {
        assert!(text.contains(why), "{why:?} is not in\n{text}");
        assert!(text.contains("Say beta whenever it fits."), "{text}");
    }
    let seen = report["critical"]["failures"].as_array().unwrap();
    let confirmed = |failure: &&Value| {
        failure["beforeAgain"] == serde_json::json!({"passed": 3, "of": 3}) && failure["afterAgain"]["passed"] == 0
    };
    assert!(seen.iter().any(|failure| confirmed(&failure)), "further repeats stand in the report: {seen:#?}");
}

#[test]
fn what_breaks_a_fatal_regression_scenario_is_left_out_and_the_rest_is_promoted() {
    for repeats in [1, 3] {
        let shop = bank(&["regression"]);
        shop.edit("optimization.yaml", "repeats: 1", &format!("repeats: {repeats}"));
        let ended = shop.run();
        let report = kept_the_rest(&shop, &ended);
        says_what_was_left_out(&shop, &ended, &report, ("regression", "regression"));
        let clean = reason(&report, "NoCriticalFailureInSuite").unwrap();
        let (train, regression) = (&report["scenarios"]["train"], &report["scenarios"]["regression"]);
        assert_eq!(
            clean,
            format!(
                "none of {train} scenarios of the training part and {regression} scenarios of the regression part newly fails in accuracy"
            )
        );

        // What was measured again is in the ledger like everything else.
        let again = shop.run();
        assert_eq!(again.code, Some(0), "{again}");
        assert_eq!(shop.report()["calls"]["paidCalls"], 0);
        assert_eq!(decision(&report), decision(&shop.report()));
    }
}

#[test]
fn what_breaks_a_fatal_training_scenario_does_not_even_survive_the_search() {
    // Among the sentinels it is found there; without sentinels, once the survivors are together.
    for sentinels in [10, 0] {
        let shop = bank(&["train"]);
        shop.edit(
            "optimization.yaml",
            "  patching:",
            &format!("  validation: {{sentinels: {sentinels}}}\n  patching:"),
        );
        let ended = shop.run();
        let report = kept_the_rest(&shop, &ended);
        if sentinels == 0 {
            says_what_was_left_out(&shop, &ended, &report, ("train", "training"));
        } else {
            let attempts = report["attempts"].as_array().unwrap();
            let broken =
                attempts.iter().find(|attempt| attempt["outcomes"][0]["outcome"] == "breaksSentinels").unwrap();
            let why = broken["reason"].as_str().unwrap();
            assert!(why.contains("but breaks 1 of ") && why.ends_with(" that passed before"), "{broken}");
        }
    }
}

#[test]
fn what_broke_something_critical_in_one_round_is_not_measured_again_in_the_next() {
    let shop = bank(&["train"]);
    shop.edit(
        "optimization.yaml",
        "  patching: {",
        "  clustering: {threshold: 0.9, maxClusters: 2}\n  validation: {sentinels: 0}\n  patching: {rounds: 2, ",
    );
    let ended = shop.run();
    let report = kept_the_rest(&shop, &ended);
    let attempts = report["attempts"].as_array().unwrap();
    let again: Vec<&Value> = attempts
        .iter()
        .filter(|attempt| attempt["round"] == 2 && attempt["edits"].to_string().contains("Say beta"))
        .collect();
    assert!(!again.is_empty(), "the second round does not propose it, so this test shows nothing: {report}");
    for attempt in again {
        assert_eq!(attempt["outcomes"][0]["outcome"], "unusable", "{attempt}");
        assert_eq!(
            attempt["reason"],
            "its edits broke something critical in an earlier round: with it 1 scenario of the training part newly fails in \
             accuracy, which is critical"
        );
        assert_eq!(attempt.get("prompt").filter(|prompt| !prompt.is_null()), None, "it is no prompt that was run");
    }
}

#[test]
fn what_breaks_a_fatal_held_out_scenario_is_left_out_and_both_challengers_count_in_the_correction() {
    let shop = bank(&["held-out"]);
    let ended = shop.run();
    let report = kept_the_rest(&shop, &ended);
    says_what_was_left_out(&shop, &ended, &report, ("held-out", "heldOut"));
    assert!(
        report["reasons"][0]["message"].as_str().unwrap().contains("after correction for 1 other challenger"),
        "{}",
        report["reasons"]
    );
    assert!(report["gate"]["adjustedPValue"].as_f64() >= report["gate"]["pValue"].as_f64());
}

#[test]
fn fatal_scenarios_in_all_parts_at_once_lead_to_the_same_prompt() {
    let shop = bank(&["train", "regression", "held-out"]);
    kept_the_rest(&shop, &shop.run());
}

#[test]
fn under_compliance_nothing_is_promoted_that_breaks_something_fatal_in_a_part_that_the_gate_does_not_see() {
    let shop = bank(&["regression"]);
    shop.edit("optimization.yaml", "profile: Prototype", "profile: Compliance");
    shop.edit("optimization.yaml", "  execution: {repeats: 1}\n", "");
    shop.edit("optimization.yaml", ", critical: true", "");
    shop.edit("optimization.yaml", "  patching:", "  promotion: {gate: {minimumSampleSize: 10}}\n  patching:");
    let report = kept_the_rest(&shop, &shop.run());
    // There the whole suite is run for every survivor, so that the patch does not get as far as a merger.
    let attempts = report["attempts"].as_array().unwrap();
    let beta = |attempt: &&Value| attempt["edits"].to_string().contains("beta") && attempt["kind"] == "patch";
    let outcome = &attempts.iter().find(beta).unwrap()["outcomes"][0];
    assert_eq!(
        (&outcome["outcome"], &outcome["breaks"][0]["scenario"]),
        (&"breaksCritical".into(), &"pay-regression".into())
    );
}

#[test]
fn of_a_patch_with_two_edits_only_the_one_that_does_harm_is_left_out() {
    let shop = bank(&["regression"]);
    shop.edit("world.yaml", "{rightChance: 1}", "{rightChance: 1, skillsPerPatch: 2}");
    shop.edit("optimization.yaml", "  patching:", "  clustering: {maxClusters: 1}\n  patching:");
    let ended = shop.run();
    let report = kept_the_rest(&shop, &ended);
    says_what_was_left_out(&shop, &ended, &report, ("regression", "regression"));
}

#[test]
fn of_two_edits_that_do_harm_together_one_stays() {
    let shop = bank(&["regression"]);
    let together = "pattern: '(?s)Say alpha.*Say beta|Say beta.*Say alpha'";
    shop.edit("world.yaml", "teaching: beta", together);
    let ended = shop.run();
    assert_eq!(ended.code, Some(0), "{ended}");
    let report = shop.report();
    let diff = report["challenger"]["diff"].as_str().unwrap();
    assert!(diff.contains("Say alpha") != diff.contains("Say beta"), "{diff}");
    assert_eq!(report["critical"]["dropped"].as_array().map(Vec::len), Some(1));
}

#[test]
fn when_every_edit_does_harm_nothing_is_promoted_and_the_reason_says_why() {
    let shop = bank(&["regression"]);
    shop.edit("world.yaml", "  - {teaching: beta,", "  - {teaching: alpha, harms: pay, by: 1.0}\n  - {teaching: beta,");
    let ended = shop.run();
    assert_eq!(ended.code, Some(10), "{ended}");
    let report = shop.report();
    let why = reason(&report, "CriticalDimensionFailed").unwrap();
    assert_eq!(
        why,
        "nothing is left of the patches without the 2 edits with which 1 scenario newly fails in accuracy: pay-regression (regression part)"
    );
    assert_eq!(report["reasons"][0]["holds"], false);
}

#[test]
fn without_a_critical_dimension_nothing_is_run_again() {
    let shop = bank(&["regression"]);
    shop.edit("optimization.yaml", ", critical: true", "");
    let ended = shop.run();
    assert_eq!(ended.code, Some(0), "{ended}");
    let report = shop.report();
    assert_eq!(report.get("critical"), None);
    assert!(report["challenger"]["diff"].as_str().unwrap().contains("Say beta"));
}

/// A scenario that fails now and then, whatever the prompt says, must not cost an edit: it fails again as often with the champion.
#[test]
fn an_edit_goes_only_for_what_fails_again() {
    let (mut flaky, mut dropped) = (0, 0);
    for seed in 0..6 {
        let shop = bank(&[]);
        let mut scenarios = shop.read("scenarios.jsonl");
        for number in 0..8 {
            let part = ["train", "regression", "held-out", "regression"][number % 4];
            let pay = serde_json::json!({"id": format!("pay-{number}"), "tags": ["pay", format!("split:{part}")],
                "message": format!("Please transfer it, case {number}."), "expect": {"checks": [{"contains": "yes"}]}});
            scenarios += &pay.to_string();
            scenarios.push('\n');
        }
        shop.write("scenarios.jsonl", &scenarios);
        shop.edit("world.yaml", "seed: 3", &format!("seed: {seed}"));
        shop.edit(
            "world.yaml",
            "{name: pay, needs: {pattern: transfer}, with: 1.0",
            "{name: pay, needs: {pattern: transfer}, with: 0.8",
        );
        shop.edit("world.yaml", "interference:\n  - {teaching: beta, harms: pay, by: 1.0}\n", "");
        let ended = shop.run();
        assert!(matches!(ended.code, Some(0 | 10 | 12)), "{ended}");
        let report = shop.report();
        let Some(critical) = report.get("critical") else { continue };
        for failure in critical["failures"].as_array().into_iter().flatten() {
            let share =
                |passes: &str| (failure[passes]["passed"].as_u64().unwrap(), failure[passes]["of"].as_u64().unwrap());
            let majority = |(passed, of): (u64, u64)| 2 * passed > of;
            let confirmed = majority(share("beforeAgain")) && !majority(share("afterAgain"));
            flaky += usize::from(!confirmed);
        }
        dropped += critical["dropped"].as_array().map_or(0, Vec::len);
    }
    assert!(flaky > 0, "no scenario failed by chance, so this test shows nothing");
    assert!(dropped <= flaky / 2, "{dropped} edits went, and {flaky} failures by chance were told from harm");
}

#[test]
fn a_comparison_looks_for_new_failures_wherever_it_looks_and_says_where_it_does_not() {
    let shop = bank(&["regression"]);
    let challenger = shop
        .read("prompt.md")
        .replace("- Be polite.\n", "- Be polite.\n- Say alpha whenever it fits.\n- Say beta whenever it fits.\n");
    shop.write("better.md", &challenger);
    let compare = [
        "compare",
        "-f",
        "optimization.yaml",
        "--challenger",
        "better.md",
        "--store",
        "store.db",
        "--out",
        "out",
        "--simulate",
        "world.yaml",
    ];
    let ended = shop.whetstone(&compare);
    assert_eq!(ended.code, Some(10), "{ended}");
    let report = shop.report();
    assert!(reason(&report, "CriticalDimensionFailed").unwrap().contains("pay-regression"), "{}", report["reasons"]);
    assert_eq!(report["critical"]["failures"][0]["afterAgain"], serde_json::json!({"passed": 0, "of": 3}));

    shop.write("better.md", &challenger.replace("- Say beta whenever it fits.\n", ""));
    let ended = shop.whetstone(&compare);
    assert_eq!(ended.code, Some(0), "{ended}");
    let report = shop.report();
    // Nothing is promoted by a comparison, and nothing says so.
    assert_eq!((&report["verdict"], ended.stdout.contains("romoted")), (&"passed".into(), false), "{ended}");
    assert_eq!(reason(&report, "CriticalNotCovered"), None);

    shop.edit("optimization.yaml", "  patching:", "  promotion: {gate: {shadowSampleSize: 30}}\n  patching:");
    shop.whetstone(&compare);
    let said = shop.report();
    let covered = reason(&said, "CriticalNotCovered").unwrap();
    assert!(covered.starts_with("only 30 of 81 scenarios in the comparison were run"), "{covered}");
}

#[test]
fn a_budget_that_ends_in_the_middle_promotes_nothing_that_was_not_checked_and_raising_it_goes_on() {
    let shop = bank(&["regression"]);
    assert_eq!(shop.run().code, Some(0));
    let whole: f64 = shop.report()["cost"]["cycle"].as_str().unwrap().parse().unwrap();
    let shop = bank(&["regression"]);
    shop.edit("optimization.yaml", "  patching:", "  budget: {perCycle: \"0.0001\"}\n  patching:");
    let mut verdicts = Vec::new();
    let mut before = "0.0001".to_owned();
    for share in [0.2, 0.4, 0.6, 0.8, 0.95, 3.0] {
        let budget = format!("{:.6}", whole * share);
        shop.edit("optimization.yaml", &format!("perCycle: \"{before}\""), &format!("perCycle: \"{budget}\""));
        before = budget;
        let ended = shop.run();
        assert!(matches!(ended.code, Some(0 | 12)), "{ended}");
        verdicts.push(ended.code == Some(0));
        if ended.code == Some(0) {
            kept_the_rest(&shop, &ended);
        }
    }
    assert_eq!((verdicts.first(), verdicts.last()), (Some(&false), Some(&true)), "{verdicts:?}");
}
