//! What is paid is counted, to the last useless answer, and never exceeds the budget; and a scenario's time is its own.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::provider::{Provider, Reply, last_text, lines, system};
use super::support::{Ended, Shop, decision};

const INPUT_PRICE: u64 = 1;
const OUTPUT_PRICE: u64 = 10;

/// A shop whose models are this provider, with scenarios that are checked, or judged.
fn shop(provider: &Provider, scenarios: &[Value], more: &str) -> Shop {
    let shop = Shop::new();
    shop.write("prompt.md", "# Role\nOLD bot.\n");
    shop.write("new.md", "# Role\nNEW bot.\n");
    shop.write("scenarios.jsonl", &lines(scenarios));
    let model = |name: &str| {
        format!(
            "    - name: {name}\n      openAI: {{baseURL: \"{}/v1\", model: {name}}}\n      \
             price: {{inputPerMillion: \"{INPUT_PRICE}\", outputPerMillion: \"{OUTPUT_PRICE}\"}}\n",
            provider.origin()
        )
    };
    let models = model("worker") + &model("judge");
    shop.write(
        "optimization.yaml",
        &format!(
            "apiVersion: whetstone.dev/v1alpha1
kind: AgentOptimization
metadata: {{name: t}}
spec:
  profile: Prototype
  agent: {{prompt: {{file: prompt.md}}, runtime: {{model: {{ref: worker}}}}}}
  models:
{models}  scenarios: [{{file: scenarios.jsonl}}]
{more}"
        ),
    );
    shop
}

const CHECKED: &str = "  scoring: {judge: {ref: judge}, dimensions: [{name: accuracy, weight: 1, scorer: Checks}]}\n";
const JUDGED: &str = "  scoring: {judge: {ref: judge}, dimensions: [{name: accuracy, weight: 1, scorer: Judge}]}\n";

fn checked(n: usize) -> Vec<Value> {
    let scenario = |n| json!({"id": format!("s{n:02}"), "message": format!("question s{n:02}"), "expect": {"checks": [{"contains": "yes"}]}});
    (0..n).map(scenario).collect()
}

fn compare(shop: &Shop) -> Ended {
    let arguments =
        ["compare", "-f", "optimization.yaml", "--store", "store.db", "--out", "out", "--challenger", "new.md"];
    shop.whetstone(&arguments)
}

/// What the provider bills, in the currency of the resource.
fn bill(provider: &Provider) -> Decimal {
    let (input, output) = provider.billed();
    Decimal::from(input * INPUT_PRICE + output * OUTPUT_PRICE) / Decimal::from(1_000_000)
}

fn amount(value: &Value) -> Decimal {
    value.as_str().unwrap().parse().unwrap()
}

fn judgement(grade: u8) -> Reply {
    Reply::words(&json!({"scores": {"accuracy": {"evidence": "seen", "score": grade}}}).to_string())
}

#[test]
fn useless_answers_are_paid_and_counted_and_asked_for_again_within_the_attempts() {
    // Each first answer to a question has nothing to use in it, and is billed all the same.
    let asked = Mutex::new(HashMap::<String, u32>::new());
    let provider = Provider::start(Duration::ZERO, move |request| {
        let key = system(request) + &last_text(request);
        let mut asked = asked.lock().unwrap();
        let times = asked.entry(key).or_default();
        *times += 1;
        if *times == 1 {
            return Reply::Body(json!({"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 4000}}));
        }
        Reply::words("yes")
    });
    let shop = shop(&provider, &checked(12), CHECKED);
    let ended = compare(&shop);
    assert!(shop.path("out/report.json").exists(), "{ended}");
    let report = shop.report();
    assert_eq!(amount(&report["cost"]["paid"]), bill(&provider), "{ended}");
    assert_eq!(amount(&report["cost"]["cycle"]), bill(&provider));
    assert_eq!(report["calls"]["paid"], json!(48));
    assert_eq!(report["calls"]["byPhase"]["shadow"]["unusable"], json!(24));
    let ledger = shop.ledger();
    assert_eq!((ledger.calls, ledger.cost), (48, bill(&provider)));
    assert_eq!(provider.requests().len(), 48);

    let again = compare(&shop);
    assert_eq!(provider.requests().len(), 48, "a second run pays nothing: {again}");
    assert_eq!(amount(&shop.report()["cost"]["paid"]), Decimal::ZERO);
    assert_eq!(decision(&shop.report()), decision(&report));
}

#[test]
fn an_answer_that_is_useless_to_the_last_attempt_is_counted_in_every_run() {
    let provider = Provider::start(Duration::ZERO, |request| {
        if last_text(request) == "question s00" {
            return Reply::Body(json!({"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 4000}}));
        }
        Reply::words("yes")
    });
    let shop = shop(&provider, &checked(12), CHECKED);
    for run in 1..=2 {
        let before = bill(&provider);
        let ended = compare(&shop);
        assert_eq!(amount(&shop.report()["cost"]["paid"]), bill(&provider) - before, "run {run}: {ended}");
        assert!(bill(&provider) > before, "run {run} asks again");
        assert_eq!(shop.ledger().cost, bill(&provider), "run {run}");
    }
}

/// A provider that talks up to its limit, and for 20,000 tokens without one.
fn talker() -> Provider {
    Provider::start(Duration::from_millis(5), |request| {
        let limit = request["max_tokens"].as_u64().unwrap_or(20_000);
        let sent = request.to_string().len() as u64 / 4;
        let judged = request.get("response_format").is_some();
        let text = if judged {
            json!({"scores": {"accuracy": {"evidence": "x", "score": 3}}}).to_string()
        } else {
            "yes".to_owned()
        };
        Reply::Completion { message: json!({"content": text}), finish: "stop", usage: (sent, limit) }
    })
}

#[test]
fn a_budget_is_never_exceeded_whatever_it_is_and_however_many_calls_are_under_way() {
    for budget in ["0.03", "0.1", "0.50", "1.23"] {
        let provider = talker();
        let more =
            format!("{JUDGED}  execution: {{repeats: 3, concurrency: 32}}\n  budget: {{perCycle: \"{budget}\"}}\n");
        let shop = shop(&provider, &judged(40), &more);
        let ended = shop.run_for_real();
        let billed = bill(&provider);
        assert!(billed <= budget.parse().unwrap(), "{billed} of {budget}: {ended}");
        assert_eq!(shop.ledger().cost, billed);
        assert_eq!(ended.code, Some(12), "{ended}");
        assert!(ended.stdout.contains("raise spec.budget.perCycle"), "{ended}");
        let requests = provider.requests();
        assert!(requests.iter().all(|request| request["max_tokens"] == json!(4096)), "every request has a limit");
    }
}

#[test]
fn without_a_budget_or_with_a_limit_of_its_own_a_request_gets_none() {
    let limit_of = |more: &str, parameters: &str| {
        let provider = talker();
        let shop = shop(&provider, &checked(2), &format!("{CHECKED}{more}"));
        shop.edit("optimization.yaml", "{ref: worker}", &format!("{{ref: worker{parameters}}}"));
        shop.run_for_real();
        provider.requests()[0]["max_tokens"].clone()
    };
    assert_eq!(limit_of("", ""), Value::Null);
    assert_eq!(limit_of("  budget: {perCycle: \"5\"}\n", ", parameters: {maxOutputTokens: 77}"), json!(77));
}

#[test]
fn what_a_provider_answers_beyond_its_limit_is_counted_told_and_the_end_of_a_budget() {
    let provider = Provider::start(Duration::ZERO, |_| Reply::Completion {
        message: json!({"content": "yes"}),
        finish: "stop",
        usage: (100, 20_000),
    });
    let more = format!("{CHECKED}  execution: {{concurrency: 2}}\n  budget: {{perCycle: \"0.5\"}}\n");
    let shop = shop(&provider, &checked(40), &more);
    let ended = compare(&shop);
    assert_eq!(ended.code, Some(12), "{ended}");
    let report = shop.report();
    assert_eq!(amount(&report["cost"]["cycle"]), bill(&provider));
    assert!(provider.requests().len() <= 4, "two calls under way, and nothing more once it is used up");
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("20000 output tokens where its request allowed 4096"), "{warnings}");
}

#[test]
fn a_scenario_that_waits_in_our_own_queue_does_not_use_up_its_time() {
    let provider = Provider::start(Duration::from_millis(60), |_| Reply::words("yes"));
    // Twenty at once wait for one another: the last for more than a second.
    let more = format!("{CHECKED}{TRAIN}  execution: {{repeats: 1, concurrency: 20, scenarioTimeout: 500ms}}\n");
    let shop = shop(&provider, &checked(20), &more);
    shop.edit("optimization.yaml", "model: worker}\n", "model: worker}\n      limits: {concurrency: 1}\n");
    let ended = shop.run_for_real();
    assert_eq!(ended.code, Some(10), "{ended}");
    assert!(ended.took > Duration::from_millis(1_200), "{ended}");
    assert_eq!(shop.report()["champion"]["passRate"], json!(1.0), "{ended}");
    let latencies = shop.latencies();
    let (least, most) = (latencies.iter().min().unwrap(), latencies.iter().max().unwrap());
    assert_eq!(latencies.len(), 20);
    assert!(*least >= Duration::from_millis(60) && *most < Duration::from_millis(500), "{latencies:?}");
}

const TRAIN: &str = "  split: {train: 1, regression: 0, heldOut: 0}\n";

fn judged(n: usize) -> Vec<Value> {
    (0..n)
        .map(
            |n| json!({"id": format!("s{n:02}"), "message": format!("question s{n:02}"), "expect": {"rubric": "good"}}),
        )
        .collect()
}

fn is_judge(request: &Value) -> bool {
    request["model"] == "judge"
}

#[test]
fn repeats_with_one_transcript_are_one_error_where_the_judge_cannot_be_used() {
    // Every repeat is the same, so the repeats share the judge's answers; two of twenty scenarios have useless ones.
    let provider = Provider::start(Duration::ZERO, |request| {
        if !is_judge(request) {
            return Reply::words(&format!("answer to {}", last_text(request)));
        }
        let useless = ["s03", "s07"].iter().any(|id| request.to_string().contains(&format!("question {id}")));
        if useless { Reply::words("Well done!") } else { judgement(5) }
    });
    let more = format!("{JUDGED}{TRAIN}  execution: {{repeats: 5, errorTolerance: 0.01}}\n");
    let shop = shop(&provider, &judged(20), &more);
    let ended = shop.run_for_real();
    assert_eq!(ended.code, Some(10), "six runs of two causes are two errors: {ended}");
    let report = shop.report();
    assert!(
        report["warnings"].to_string().contains("10 runs ended in errors and count neither for nor against"),
        "{report}"
    );
    let before = provider.requests().len();
    shop.run_for_real();
    assert_eq!(provider.requests().len(), before, "a cycle that has ended is repeated for nothing");
    assert_eq!(decision(&shop.report()), decision(&report), "and comes to the same");
}

#[test]
fn the_next_try_of_a_cycle_asks_anew_for_what_could_not_be_used_and_counts_it() {
    // The judge is beside itself until it is restarted.
    let mended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_mended = std::sync::Arc::clone(&mended);
    let provider = Provider::start(Duration::ZERO, move |request| {
        if !is_judge(request) {
            return Reply::words(&format!("answer to {}", last_text(request)));
        }
        let text = request.to_string();
        let useless = ["s03", "s07", "s11", "s12"].iter().any(|id| text.contains(&format!("question {id}")));
        if useless && !is_mended.load(std::sync::atomic::Ordering::SeqCst) {
            Reply::words("Well done!")
        } else {
            judgement(5)
        }
    });
    let more = format!("{JUDGED}{TRAIN}  execution: {{repeats: 1, errorTolerance: 0.01, concurrency: 1}}\n");
    let shop = shop(&provider, &judged(20), &more);
    let died = shop.run_for_real();
    died.says(1, &["runs ended in errors", "judge \"judge\" answered prose instead of JSON"]);
    let (first, paid) = (provider.requests().len(), shop.ledger());
    assert_eq!(paid.cost, bill(&provider), "what is useless is counted");

    let again = shop.run_for_real();
    again.says(1, &["runs ended in errors"]);
    let second = provider.requests().len();
    assert!(second > first, "it asks again");
    assert_eq!(shop.ledger().cost, bill(&provider), "and counts that too");

    mended.store(true, std::sync::atomic::Ordering::SeqCst);
    let ended = shop.run_for_real();
    assert_eq!(ended.code, Some(10), "{ended}");
    assert_eq!(shop.report()["champion"]["passRate"], json!(1.0));
    assert!(!shop.report().to_string().contains("ended in errors"), "{}", shop.report());
    assert_eq!(shop.ledger().cost, bill(&provider));
    assert_eq!(amount(&shop.report()["cost"]["cycle"]), bill(&provider), "the cycle has paid all of its tries");
    let asked = provider.requests().len();
    shop.run_for_real();
    assert_eq!(provider.requests().len(), asked, "what can be used is never asked for again");
}

#[test]
fn a_run_that_comes_to_nothing_says_so_in_a_true_sentence() {
    let provider = Provider::start(Duration::ZERO, |_| Reply::Refusal(400, "bad"));
    let one = shop(&provider, &checked(1), &format!("{CHECKED}{TRAIN}  execution: {{repeats: 1}}\n"));
    one.run_for_real()
        .says(1, &["the only run ended in an error, so there is nothing to score; the first error: model"]);
    let two = shop(&provider, &checked(2), &format!("{CHECKED}{TRAIN}  execution: {{repeats: 1}}\n"));
    two.run_for_real().says(1, &["all 2 runs ended in errors, so there is nothing to score"]);
}
