use std::fmt::Write as _;

use serde_json::json;

use super::super::super::{Format, Imported, import};
use super::kinds::KINDS;
use super::*;
use whetstone_domain::scenario::{ArgumentMatch, CallOrder, ExpectedCall, ExtraCalls};

/// What one test with these assertions is imported to.
fn of(asserts: &Value) -> Imported {
    let config = json!({"prompts": ["Be kind."], "tests": [{"vars": {"q": "a"}, "assert": asserts}]}).to_string();
    import(Format::Promptfoo, &[("c.json", &config)]).expect("the configuration is well-formed")
}

/// The kinds of promptfoo's documentation (assertions and metrics, deterministic and model-graded) and of its types.
const DOCUMENTED: [&str; 67] = [
    "equals",
    "contains",
    "icontains",
    "regex",
    "starts-with",
    "contains-any",
    "contains-all",
    "icontains-any",
    "icontains-all",
    "is-json",
    "contains-json",
    "contains-html",
    "is-html",
    "is-sql",
    "contains-sql",
    "is-xml",
    "contains-xml",
    "is-refusal",
    "javascript",
    "python",
    "ruby",
    "webhook",
    "rouge-n",
    "bleu",
    "gleu",
    "levenshtein",
    "latency",
    "meteor",
    "perplexity",
    "perplexity-score",
    "cost",
    "is-valid-function-call",
    "is-valid-openai-function-call",
    "is-valid-openai-tools-call",
    "tool-call-f1",
    "trace-span-count",
    "trace-span-duration",
    "trace-error-spans",
    "skill-used",
    "trajectory:tool-used",
    "trajectory:tool-args-match",
    "trajectory:tool-sequence",
    "trajectory:step-count",
    "trajectory:goal-success",
    "guardrails",
    "similar",
    "similar:cosine",
    "similar:dot",
    "similar:euclidean",
    "classifier",
    "moderation",
    "llm-rubric",
    "g-eval",
    "answer-relevance",
    "context-faithfulness",
    "context-recall",
    "context-relevance",
    "conversation-relevance",
    "factuality",
    "model-graded-closedqa",
    "model-graded-factuality",
    "pi",
    "select-best",
    "max-score",
    "word-count",
    "finish-reason",
    "search-rubric",
];

#[test]
fn every_documented_kind_is_carried_over_or_named() {
    let mut table = String::new();
    for kind in DOCUMENTED.iter().chain(&["human", "agent-rubric", "made-up"]) {
        for kind in [(*kind).to_owned(), format!("not-{kind}")] {
            let value = match kind.trim_start_matches("not-") {
                "trajectory:tool-args-match" => json!({"name": "find", "args": {"id": "1"}}),
                "trajectory:tool-sequence" => json!({"steps": ["find", "refund"]}),
                "is-json" | "contains-json" => json!({"type": "object"}),
                _ => json!("find"),
            };
            let imported = of(&json!([{"type": kind, "value": value}]));
            let expect = &imported.scenarios[0].expect;
            let named = imported.notes.iter().any(|note| note.what.contains(&format!("`{kind}`")));
            let carried = *expect != Expectation::default();
            assert!(carried || named, "{kind} is lost in silence: {:?}", imported.notes);
            let what = serde_json::to_string(expect).expect("an expectation is JSON");
            let (what, noted) = (if carried { &what } else { "-" }, if named { " (noted)" } else { "" });
            writeln!(table, "{kind}: {what}{noted}").expect("writing to a string cannot fail");
        }
    }
    insta::assert_snapshot!(table);
    for kind in DOCUMENTED {
        assert!(KINDS.contains(&kind), "{kind} has no short form");
    }
}

#[test]
fn every_option_of_an_assertion_that_is_carried_over_is_named() {
    let options = json!({
        "type": "llm-rubric", "value": "is polite", "threshold": 0.9, "weight": 2, "metric": "tone", "provider": "openai:gpt-4o",
        "rubricPrompt": "Is it?", "config": {"a": 1}, "contextTransform": "output", "invented": true,
    });
    let imported = of(&json!([options]));
    assert_eq!(imported.scenarios[0].expect.rubric.as_deref(), Some("is polite"));
    for key in ["threshold", "weight", "metric", "provider", "rubricPrompt", "config", "contextTransform", "invented"] {
        let what = format!("`{key}` of `llm-rubric`");
        assert!(imported.notes.iter().any(|note| note.what == what), "{what}: {}", imported.summary());
    }
    let set = of(
        &json!([{"type": "assert-set", "threshold": 0.5, "weight": 2, "assert": [{"type": "contains", "value": "a"}]}]),
    );
    for key in ["threshold", "weight"] {
        assert!(set.notes.iter().any(|note| note.what == format!("`{key}` of an assertion set")), "{}", set.summary());
    }
}

#[test]
fn an_assertion_of_weight_zero_always_passes_and_is_left_out() {
    let imported = of(&json!([{"type": "contains", "value": "x", "weight": 0}]));
    assert_eq!(imported.scenarios[0].expect, Expectation::default());
    assert!(imported.summary().contains("assertion of weight 0: `contains`"), "{}", imported.summary());
    assert!(imported.summary().contains("test without any supported assertion"), "{}", imported.summary());
}

#[test]
fn one_odd_assertion_does_not_refuse_the_others() {
    for odd in [
        json!({"value": "x"}),
        json!({"type": "contains"}),
        json!({"type": "contains", "value": ""}),
        json!({"type": "contains", "value": {"a": 1}}),
        json!({"type": "is-json", "value": [1]}),
        json!({"type": "llm-rubric", "rubricPrompt": "Is this polite? {{output}}"}),
        json!({"type": "equals", "value": "file://missing.json"}),
        json!({"type": "assert-set"}),
        json!({"type": ["contains"]}),
        json!({"$ref": "#/assertionTemplates/missing"}),
        json!(7),
        json!(null),
    ] {
        let imported = of(&json!([odd, {"type": "icontains", "value": "hello"}]));
        assert_eq!(imported.scenarios[0].expect.checks.len(), 1, "{odd}");
        let noted = imported.notes.iter().any(|note| note.what == "assertion that could not be read");
        assert!(noted, "{odd}: {}", imported.summary());
    }
}

#[test]
fn calls_are_expected_in_the_ways_of_a_trajectory() {
    let expect = |asserts: Value| of(&asserts).scenarios.remove(0).expect;
    let call = |tool: &str| ExpectedCall { tool: tool.into(), arguments: None, matching: None };
    let used = expect(json!([{"type": "trajectory:tool-used", "value": ["find", "refund"]}]));
    assert_eq!(used.calls, [call("find"), call("refund")]);
    assert_eq!(used.extra_calls, None);
    let twice = expect(json!([{"type": "trajectory:tool-used", "value": {"pattern": "find", "min": 2}}]));
    assert_eq!(twice.calls.len(), 2);
    let never = expect(json!([{"type": "trajectory:tool-used", "value": {"name": "find", "max": 0}},
                              {"type": "not-trajectory:tool-used", "value": "refund"}]));
    assert_eq!(never.forbidden_calls.len(), 2);
    let arguments =
        expect(json!([{"type": "trajectory:tool-args-match", "value": {"name": "find", "args": {"id": "{{q}}"}}}]));
    assert_eq!(arguments.calls[0].matching, Some(ArgumentMatch::Subset));
    assert_eq!(Value::Object(arguments.calls[0].arguments.clone().unwrap()), json!({"id": "a"}));
    let exact = expect(json!([{"type": "trajectory:tool-args-match",
        "value": {"name": "find", "args": {"id": "1", "cursor": "x"}, "mode": "exact", "ignore": "cursor"}}]));
    assert_eq!(exact.calls[0].matching, Some(ArgumentMatch::Subset), "what is ignored may be there");
    let sequence = expect(
        json!([{"type": "trajectory:tool-sequence", "value": {"mode": "exact", "steps": ["find", {"name": "refund"}]}}]),
    );
    assert_eq!((sequence.order, sequence.extra_calls), (Some(CallOrder::Strict), Some(ExtraCalls::Forbid)));
    for lost in [
        json!({"type": "trajectory:tool-used", "value": "find*"}),
        json!({"type": "trajectory:tool-used", "value": {"name": "find", "max": 2}}),
        json!({"type": "not-trajectory:tool-sequence", "value": {"steps": ["find"]}}),
    ] {
        assert_eq!(expect(json!([lost])), Expectation::default(), "{lost}");
    }
}

#[test]
fn shorthands_of_csv_cells_are_understood() {
    for (text, kind, value) in [
        ("Paris", "equals", json!("Paris")),
        ("Note: see below", "equals", json!("Note: see below")),
        ("contains: Paris, France", "contains", json!("Paris, France")),
        ("not-icontains:Rome", "not-icontains", json!("Rome")),
        ("contains-any: a, b", "contains-any", json!(["a", "b"])),
        (r#"contains-all: "1,000", in stock"#, "contains-all", json!(["1,000", "in stock"])),
        ("grade: is polite", "llm-rubric", json!("is polite")),
        ("similar(0.8): hello", "similar", json!("hello")),
        ("similar:dot(0.8): hello", "similar:dot", json!("hello")),
        ("trajectory:tool-used: find", "trajectory:tool-used", json!("find")),
        ("is-json", "is-json", Value::Null),
        ("fn: output.length", "javascript", json!("output.length")),
        ("file://check.py", "python", json!("file://check.py")),
    ] {
        let assertion = of_shorthand(text);
        assert_eq!((&assertion["type"], &assertion["value"]), (&json!(kind), &value), "{text}");
    }
    assert_eq!(of_shorthand("similar(0.8): hello")["threshold"], json!(0.8));
}

#[test]
fn commas_divide_outside_of_quotes() {
    for (text, parts) in [
        (r#""by sea, slowly", by air"#, vec!["by sea, slowly", "by air"]),
        (r"a\,b, c", vec!["a,b", "c"]),
        (r#"say "hi", "a ""b"" c""#, vec![r#"say "hi""#, r#"a "b" c"#]),
        (r#"5" pipe, 6" pipe"#, vec![r#"5" pipe"#, r#"6" pipe"#]),
        (r#""open, end"#, vec![r#""open"#, "end"]),
        (" , a ,", vec!["a"]),
    ] {
        assert_eq!(divided(text), parts, "{text}");
    }
}
