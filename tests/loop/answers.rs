//! What an agent answers, however odd, is scored as what it is: silence, answers that were cut, broken arguments, the tool calls
//! that an endpoint shows or does not show.

use std::time::Duration;

use serde_json::{Value, json};

use super::provider::{Provider, Reply, last_text, lines, system};
use super::support::{Ended, Shop};

/// A shop whose one model is this provider: scenarios from `ids`, each with its id as its message.
fn shop(provider: &Provider, runtime: &str, dimensions: &str, scenarios: &[Value], more: &str) -> Shop {
    let shop = Shop::new();
    shop.write("prompt.md", "# Role\nOLD bot.\n");
    shop.write("new.md", "# Role\nNEW bot.\n");
    shop.write("scenarios.jsonl", &lines(scenarios));
    shop.write(
        "optimization.yaml",
        &format!(
            "apiVersion: whetstone.dev/v1alpha1
kind: AgentOptimization
metadata: {{name: t}}
spec:
  profile: Prototype
  agent:
    prompt: {{file: prompt.md}}
    tools: [{{name: refund, parameters: {{type: object, properties: {{order: {{type: string}}}}}}}}]
    runtime: {runtime}
  models:
    - name: worker
      openAI: {{baseURL: \"{}/v1\", model: m}}
      price: {{inputPerMillion: \"1\", outputPerMillion: \"10\"}}
  scenarios: [{{file: scenarios.jsonl}}]
  execution: {{repeats: 1}}
  scoring:
    dimensions: {dimensions}
{more}",
            provider.origin()
        ),
    );
    shop
}

const MODEL: &str = "{model: {ref: worker}}";
const ENDPOINT: &str = "{endpoint: {ref: worker}}";
const CHECKS: &str = "[{name: accuracy, weight: 1, scorer: Checks}]";
const TOOLS: &str = "[{name: tool_compliance, weight: 1}]";
const TRAIN: &str = "  split: {train: 1, regression: 0, heldOut: 0}\n";

fn saying(id: &str, expect: &Value) -> Value {
    json!({"id": id, "message": format!("question {id}"), "expect": expect})
}

fn compare(shop: &Shop) -> Ended {
    let arguments =
        ["compare", "-f", "optimization.yaml", "--store", "store.db", "--out", "out", "--challenger", "new.md"];
    shop.whetstone(&arguments)
}

fn forty() -> Vec<Value> {
    (0..40).map(|n| saying(&format!("s{n:02}"), &json!({"checks": [{"contains": "yes"}]}))).collect()
}

#[test]
fn a_challenger_that_falls_silent_fails_where_it_does_and_is_asked_once() {
    // The champion is wrong in eight scenarios; the challenger is right there, and says nothing in four others.
    let provider = Provider::start(Duration::ZERO, |request| {
        let (is_new, text) = (system(request).contains("NEW"), last_text(request));
        let n: u32 = text.rsplit('s').next().unwrap().parse().unwrap();
        match n {
            0..4 if is_new => Reply::nothing("stop", (100, 0)),
            4..12 if !is_new => Reply::words("no"),
            _ => Reply::words("yes"),
        }
    });
    let shop = shop(&provider, MODEL, CHECKS, &forty(), "");
    let ended = compare(&shop);
    assert_ne!(ended.code, Some(0), "{ended}");
    let report = shop.report();
    assert_eq!(report["challenger"]["passRate"], json!(0.9), "{report}");
    assert_eq!(report["challenger"]["failing"], json!(["s00", "s01", "s02", "s03"]));
    assert_eq!(report["challenger"]["answers"], json!({"silent": 4, "cutShort": 0, "filtered": 0, "refused": 0}));
    assert_eq!(report["champion"].get("answers"), None, "nothing is out of the ordinary there");
    assert_eq!(report["gate"]["excluded"], json!(0));
    assert_eq!(provider.requests().len(), 80, "silence is an answer, and none is asked for twice");
    let words = "answers of the challenger: empty in 4 runs";
    assert!(ended.stdout.contains(words), "{ended}");
    assert!(shop.read("out/report.md").contains(words), "{}", shop.read("out/report.md"));
    let paid = provider.requests().len();
    compare(&shop);
    assert_eq!(provider.requests().len(), paid, "it is in the ledger as well");
}

#[test]
fn an_agent_that_says_nothing_after_a_tool_has_not_answered_with_what_it_said_before() {
    let provider = Provider::start(Duration::ZERO, |request| {
        if request["messages"].as_array().unwrap().len() == 2 {
            let Reply::Completion { mut message, finish, usage } = Reply::call("refund", r#"{"order": "A-1"}"#) else {
                unreachable!("a call is a completion")
            };
            message["content"] = json!("yes, one moment");
            return Reply::Completion { message, finish, usage };
        }
        Reply::nothing("stop", (100, 0))
    });
    let scenario = json!({
        "id": "a", "message": "Refund A-1.", "mocks": [{"tool": "refund", "returns": "ok"}],
        "expect": {"calls": [{"tool": "refund"}], "checks": [{"contains": "yes"}]},
    });
    let dimensions = "[{name: accuracy, weight: 0.5, scorer: Checks}, {name: tool_compliance, weight: 0.5}]";
    let shop = shop(&provider, MODEL, dimensions, &[scenario], TRAIN);
    shop.run_for_real();
    let report = shop.report();
    assert_eq!(report["champion"]["dimensions"], json!({"accuracy": 0.0, "tool_compliance": 1.0}), "{report}");
    assert!(report["clusters"][0]["examples"][0]["evidence"].as_str().unwrap().contains("without a word"), "{report}");
}

#[test]
fn answers_that_were_cut_or_filtered_are_scored_by_what_there_is_and_counted() {
    let provider = Provider::start(Duration::ZERO, |request| match last_text(request).as_str() {
        "question cut" => {
            Reply::Completion { message: json!({"content": "yes, and"}), finish: "length", usage: (100, 50) }
        }
        "question thought" => Reply::nothing("length", (100, 4000)),
        "question filtered" => Reply::nothing("content_filter", (100, 0)),
        "question refused" => Reply::Completion {
            message: json!({"content": null, "refusal": "I cannot say yes."}),
            finish: "stop",
            usage: (100, 10),
        },
        _ => Reply::words("yes"),
    });
    let scenarios: Vec<Value> = ["cut", "filtered", "plain", "refused", "thought"]
        .map(|id| saying(id, &json!({"checks": [{"contains": "yes"}]})))
        .to_vec();
    let shop = shop(&provider, MODEL, CHECKS, &scenarios, TRAIN);
    let ended = shop.run_for_real();
    let report = shop.report();
    assert_eq!(report["champion"]["failing"], json!(["filtered", "thought"]), "{ended}");
    let answers = json!({"silent": 2, "cutShort": 2, "filtered": 1, "refused": 1});
    assert_eq!(report["champion"]["answers"], answers, "{report}");
    assert_eq!(provider.requests().len(), 5, "none is asked for again");
    assert_eq!(shop.ledger().calls, 5);
    let text = report["clusters"].to_string();
    assert!(text.contains("cut short by the limit on its tokens") && text.contains("content filter"), "{text}");
}

#[test]
fn broken_arguments_are_the_agents_fault_and_go_back_as_an_object() {
    let provider = Provider::start(Duration::ZERO, |request| {
        let messages = request["messages"].as_array().unwrap();
        for call in messages.iter().flat_map(|message| message["tool_calls"].as_array().into_iter().flatten()) {
            // As servers do that read the history through a template.
            if serde_json::from_str::<Value>(call["function"]["arguments"].as_str().unwrap()).is_err() {
                return Reply::Refusal(500, "Failed to parse tool call arguments as JSON");
            }
        }
        if messages.len() == 2 { Reply::call("refund", r#"{"order": "A-"#) } else { Reply::words("yes") }
    });
    let scenario = |id: &str, call: Value| {
        json!({
            "id": id, "message": "Refund A-1.", "mocks": [{"tool": "refund", "returns": "ok"}],
            "expect": {"calls": [call]},
        })
    };
    let scenarios = [
        scenario("exact", json!({"tool": "refund", "arguments": {"order": "A-1"}})),
        scenario("whatever", json!({"tool": "refund"})),
    ];
    let shop = shop(&provider, MODEL, TOOLS, &scenarios, TRAIN);
    let ended = shop.run_for_real();
    assert_eq!(ended.code, Some(10), "{ended}");
    let report = shop.report();
    assert_eq!(report["champion"]["dimensions"]["tool_compliance"], json!(0.0), "{report}");
    assert!(report["clusters"].to_string().contains("not a JSON object"), "{report}");
    let last = provider.requests().pop().unwrap();
    let sent = last["messages"][2]["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(sent).unwrap().is_object(), "{sent}");
    assert!(
        last_text(&last).contains("the arguments are not a JSON object"),
        "the agent is shown what was wrong: {last}"
    );
}

#[test]
fn tool_calls_that_an_endpoint_shows_are_scored_and_not_sent_back() {
    let provider = Provider::start(Duration::ZERO, |request| {
        let messages = request["messages"].as_array().unwrap();
        if messages.iter().any(|message| message.get("tool_calls").is_some()) {
            return Reply::Refusal(400, "an assistant message with tool_calls must be followed by tool messages");
        }
        let Reply::Completion { mut message, usage, .. } = Reply::call("refund", r#"{"order": "A-1"}"#) else {
            unreachable!("a call is a completion")
        };
        message["content"] = json!("It is refunded.");
        Reply::Completion { message, finish: "stop", usage }
    });
    let scenario = json!({
        "id": "a", "conversation": [{"user": "Refund A-1."}, {"user": "And again?"}],
        "expect": {"calls": [{"tool": "refund", "arguments": {"order": "A-1"}}]},
    });
    let shop = shop(&provider, ENDPOINT, TOOLS, &[scenario], TRAIN);
    let ended = shop.run_for_real();
    let report = shop.report();
    assert_eq!(report["champion"]["dimensions"]["tool_compliance"], json!(1.0), "{ended}");
    assert_eq!(provider.requests().len(), 2);
}

#[test]
fn what_is_expected_of_calls_that_an_endpoint_never_shows_is_told_and_not_scored() {
    let provider = Provider::start(Duration::ZERO, |_| Reply::words("yes"));
    let scenario = |id: &str| {
        json!({
            "id": id, "message": format!("question {id}"), "mocks": [{"tool": "refund", "returns": "ok"}],
            "expect": {"calls": [{"tool": "refund"}], "checks": [{"contains": "yes"}]},
        })
    };
    let dimensions = "[{name: accuracy, weight: 0.5, scorer: Checks}, {name: tool_compliance, weight: 0.5}]";
    let scenarios = [scenario("a"), scenario("b")];
    let blind = shop(&provider, ENDPOINT, dimensions, &scenarios, TRAIN);
    let ended = blind.run_for_real();
    let report = blind.report();
    assert_eq!(report["champion"]["dimensions"], json!({"accuracy": 1.0}), "{ended}");
    assert_eq!((&report["champion"]["score"], &report["champion"]["failing"]), (&json!(1.0), &Value::Null));
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("no answer of the agent has ever shown a tool call"), "{warnings}");
    assert!(warnings.contains("mocks are not used: 2 scenarios have them"), "{warnings}");

    // Another one shows its calls, and made none in one scenario: there it is missing.
    let provider = Provider::start(Duration::ZERO, |request| match last_text(request).as_str() {
        "question a" => {
            let Reply::Completion { mut message, finish, usage } = Reply::call("refund", "{}") else {
                unreachable!("a call is a completion")
            };
            message["content"] = json!("yes");
            Reply::Completion { message, finish, usage }
        }
        _ => Reply::words("yes"),
    });
    let seeing = shop(&provider, ENDPOINT, dimensions, &scenarios, TRAIN);
    let ended = seeing.run_for_real();
    let report = seeing.report();
    assert_eq!(report["champion"]["failing"], json!(["b"]), "{ended}");
    assert!(!report["warnings"].to_string().contains("has ever shown a tool call"), "{report}");
}

#[test]
fn nothing_is_said_to_pass_where_nothing_could_be_scored() {
    let provider = Provider::start(Duration::ZERO, |_| Reply::words("yes"));
    let scenarios = ["a", "b", "c"].map(|id| saying(id, &json!({"calls": [{"tool": "refund"}]})));
    let shop = shop(&provider, ENDPOINT, TOOLS, &scenarios, TRAIN);
    let ended = shop.run_for_real();
    let report = shop.report();
    assert_eq!(
        report["reasons"][0]["message"], "none of 3 training scenarios could be scored, so no failures are known",
        "{ended}"
    );
    assert_eq!((&report["champion"]["scenarios"], &report["champion"]["unscored"]), (&json!(3), &json!(3)));
    let text = shop.read("out/report.md");
    assert!(text.contains("None of 3 scenarios could be scored") && !text.contains("Measured on"), "{text}");

    // Checks of one scenario can be looked at: that is what the champion passes.
    let mut scenarios = scenarios;
    scenarios[1]["expect"]["checks"] = json!([{"contains": "yes"}]);
    let dimensions = "[{name: accuracy, weight: 0.5, scorer: Checks}, {name: tool_compliance, weight: 0.5}]";
    let shop = self::shop(&provider, ENDPOINT, dimensions, &scenarios, TRAIN);
    shop.run_for_real();
    assert_eq!(
        shop.report()["reasons"][0]["message"],
        "the champion fails none of 1 training scenario that could be scored (2 could not)"
    );
    let text = shop.read("out/report.md");
    assert!(text.contains("Measured on 1 of 3 scenarios, because the others have no score"), "{text}");
}

#[test]
fn a_judge_does_not_see_expected_calls_that_an_endpoint_may_have_hidden() {
    let judged = |request: &Value| system(request).contains("You are the judge");
    let provider = Provider::start(Duration::ZERO, move |request| {
        if judged(request) {
            return Reply::words(r#"{"scores": {"accuracy": {"evidence": "it says so", "score": 5}}}"#);
        }
        match last_text(request).as_str() {
            "question shown" => {
                let Reply::Completion { mut message, finish, usage } = Reply::call("refund", "{}") else {
                    unreachable!("a call is a completion")
                };
                message["content"] = json!("yes");
                Reply::Completion { message, finish, usage }
            }
            _ => Reply::words("yes"),
        }
    });
    let expect = json!({"rubric": "It is kind.", "calls": [{"tool": "refund"}], "forbiddenCalls": [{"tool": "refund", "arguments": {"order": "B-2"}}]});
    let scenarios = [saying("hidden", &expect), saying("shown", &expect)];
    let dimensions = "[{name: accuracy, weight: 1}]\n    judge: {ref: worker}";
    for (runtime, visible) in [(ENDPOINT, &["question shown"][..]), (MODEL, &["question hidden", "question shown"])] {
        let shop = shop(&provider, runtime, dimensions, &scenarios, TRAIN);
        let before = provider.requests().len();
        shop.run_for_real();
        let cases: Vec<String> =
            provider.requests().split_off(before).iter().filter(|request| judged(request)).map(last_text).collect();
        assert_eq!(cases.len(), 2, "{cases:?}");
        for case in cases {
            let is_visible = visible.iter().any(|message| case.contains(message));
            let words = ["Tool calls that a good assistant makes", "Tool calls that are forbidden"];
            assert_eq!(words.map(|words| case.contains(words)), [is_visible; 2], "{runtime}: {case}");
        }
    }
}

#[test]
fn answers_without_a_count_of_tokens_are_used_and_marked_as_estimates() {
    let provider = Provider::start(Duration::ZERO, |request| {
        let message = json!({"content": "yes"});
        match last_text(request).as_str() {
            "question counted" => Reply::words("yes"),
            "question half" => Reply::Body(json!({"choices": [{"message": message}], "usage": {"prompt_tokens": 7}})),
            _ => Reply::Body(json!({"choices": [{"message": message, "finish_reason": "stop"}]})),
        }
    });
    let scenarios = ["counted", "half", "none"].map(|id| saying(id, &json!({"checks": [{"contains": "yes"}]})));
    let shop = shop(&provider, MODEL, CHECKS, &scenarios, TRAIN);
    let ended = shop.run_for_real();
    let report = shop.report();
    assert_eq!(report["champion"]["score"], json!(1.0), "{ended}");
    assert_eq!(
        (&report["calls"]["estimated"], &report["calls"]["byPhase"]["run"]["estimated"]),
        (&json!(2), &json!(2))
    );
    let warning =
        "model \"worker\": 2 answers came without a complete count of tokens, so their tokens and cost are estimates";
    assert!(report["warnings"].as_array().unwrap().contains(&json!(warning)), "{report}");
    assert!(
        ended.stdout.contains("3 calls, 0 of them from the ledger (2 answers with estimated tokens); paid"),
        "{ended}"
    );
    let text = shop.read("out/report.md");
    assert!(text.contains("USD (2 answers with estimated tokens)"), "{text}");
    assert_eq!(provider.requests().len(), 3, "none is asked for again");

    // What comes out of the ledger is not paid, so nothing is estimated.
    shop.run_for_real();
    assert_eq!(shop.report()["calls"].get("estimated"), None);
}

#[test]
fn a_comparison_is_not_warned_of_what_it_does_not_use() {
    let provider = Provider::start(Duration::ZERO, |_| Reply::words("yes"));
    let shop = shop(&provider, MODEL, CHECKS, &forty(), "");
    let run = shop.run_for_real();
    assert!(run.stderr.contains("spec.patching.model: there is no model to write patches"), "{run}");
    let compared = compare(&shop);
    assert_eq!(shop.report().get("warnings").cloned().unwrap_or(json!([])), json!([]), "{compared}");
    assert!(!compared.stderr.contains("warning"), "{compared}");
}

#[test]
fn a_simulated_user_takes_turns_with_an_endpoint_that_calls_tools_and_says_nothing() {
    let is_user = |request: &Value| system(request).contains("You are simulating a user");
    let provider = Provider::start(Duration::ZERO, move |request| {
        let messages = request["messages"].as_array().unwrap();
        if !is_user(request) {
            return Reply::call("refund", "{}");
        }
        // As the templates of many models and the Anthropic API do.
        let roles: Vec<&str> = messages[1..].iter().map(|message| message["role"].as_str().unwrap()).collect();
        let takes_turns = roles.iter().enumerate().all(|(n, role)| *role == ["user", "assistant"][n % 2]);
        if !takes_turns {
            return Reply::Refusal(400, "conversation roles must alternate user/assistant");
        }
        if messages.len() > 6 { Reply::words("###STOP###") } else { Reply::words("And then?") }
    });
    let scenario = json!({
        "id": "a", "simulatedUser": {"instructions": "You want a refund.", "opening": "Hello, I want a refund.", "maxTurns": 5},
        "expect": {"calls": [{"tool": "refund"}]},
    });
    let more = format!("{TRAIN}  execution: {{repeats: 1, simulatedUser: {{ref: worker}}}}\n");
    let shop = shop(&provider, ENDPOINT, TOOLS, &[scenario], &more);
    shop.edit("optimization.yaml", "  execution: {repeats: 1}\n", "");
    let ended = shop.run_for_real();
    assert_eq!(ended.code, Some(10), "{ended}");
    let report = shop.report();
    assert_eq!(
        (&report["champion"]["score"], report["warnings"].to_string().contains("ended in")),
        (&json!(1.0), false),
        "{ended}"
    );
    let silent = provider.requests().iter().filter(|request| is_user(request)).map(last_text).collect::<Vec<_>>();
    assert!(silent.len() > 1 && silent.iter().all(|text| text == "(The assistant says nothing.)"), "{silent:?}");
}

#[test]
fn transcripts_that_are_missing_or_too_many_are_told_as_what_they_are() {
    let provider = Provider::start(Duration::ZERO, |_| Reply::words("never asked"));
    let replay = "{replay: {transcripts: {file: old.jsonl}}}";
    let shop = shop(&provider, replay, CHECKS, &forty()[..12], "");
    shop.edit("optimization.yaml", "{repeats: 1}", "{repeats: 2}");
    let transcript = |id: usize, repeat: u32, text: &str| {
        let messages = json!([{"role": "user", "text": "question"}, {"role": "assistant", "text": text}]);
        format!(
            "{}\n",
            json!({"scenario": format!("s{id:02}"), "repeat": repeat, "messages": messages, "ending": "answered"})
        )
    };
    // The champion was recorded three times, the challenger twice, and in one scenario once.
    let old: String = (0..12).flat_map(|id| (0..3).map(move |repeat| transcript(id, repeat, "no"))).collect();
    let new = (0..12).flat_map(|id| (0..2).map(move |repeat| (id, repeat))).filter(|run| *run != (3, 1));
    let new: String = new.map(|(id, repeat)| transcript(id, repeat, "yes")).collect();
    shop.write("old.jsonl", &old);
    shop.write("new.jsonl", &new);
    let ended = shop.whetstone(&[
        "compare",
        "-f",
        "optimization.yaml",
        "--store",
        "store.db",
        "--out",
        "out",
        "--challenger-transcripts",
        "new.jsonl",
    ]);
    assert_eq!(ended.code, Some(0), "{ended}");
    let warnings = shop.report()["warnings"].to_string();
    assert!(warnings.contains("1 run has no transcript and counts neither for nor against a prompt"), "{warnings}");
    assert!(
        warnings.contains("12 recorded transcripts are ignored: only 2 repeats of each scenario count"),
        "{warnings}"
    );
    assert!(!warnings.contains("ended in errors"), "{warnings}");
    assert_eq!(provider.requests().len(), 0);
}
