//! Scenarios and recorded transcripts.

use super::*;

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
    suite/a.yaml:23:8: scenarios[4].expect.checks[4].dimension: unknown dimension "acuracy"; did you mean "accuracy"?
    suite/a.yaml:24:8: scenarios[4].expect.checks[5].dimension: the dimension "tool_compliance" is scored by ToolCalls, which ignores checks
    suite/a.yaml:27:9: scenarios[5].tier: expected a number from 1 to 10, found 11
    suite/a.yaml:28:11: scenarios[5].weight: expected a number of at least 0, found -1
    suite/a.yaml:29:3: scenarios[5].tags: a scenario belongs to one part; keep only one tag that starts with "split:"
    suite/a.yaml:29:10: scenarios[5].tags[0]: unknown part "hold-out" of the split; did you mean "held-out"?
    suite/a.yaml:30:3: scenarios[6].id: missing required field (A name that is unique in the suite and stays the same over time)
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
    insta::assert_snapshot!(said(&[("  a.yaml: |", "  a.txt: |"), ("  b.jsonl: |", "  b.txt: |")]), @"agent.yaml:16:16: spec.scenarios[0].configMapRef: no scenarios, because no file or key ends in .yaml, .yml, .json or .jsonl; add one");
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
    assert!(tone.contains("; use tone") && !tone.contains("use tool_compliance"), "{tone}");
}
