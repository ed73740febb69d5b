//! `spec.watch`.

use std::time::Duration;

use super::*;
use whetstone_domain::plan::watch::{CredentialPlan, HeaderPlan, Margin, ReevaluationPlan, WatchPlan};

const TARGET: &str = "  promotion: {target: {configMap: support-prompt-live}}\n";
/// A warning of the resource that is not the watch's.
const HELD_OUT: &str = "spec.split.heldOut";

/// A resource with this watch, in YAML's flow style.
fn with(watch: &str) -> String {
    changed(&[(TARGET, &format!("{TARGET}  watch: {watch}\n"))])
}

fn watch_plan(watch: &str) -> Option<WatchPlan> {
    let submission = Submission::read("agent.yaml", &with(watch), None).unwrap();
    super::super::watch(&submission).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The messages about a watch; the same for the watch alone and for the whole resource, except warnings.
fn said_of(watch: &str) -> String {
    let text = with(watch);
    match outcome(&text, &[]) {
        Ok(plan) => {
            let warnings = plan.warnings.iter().filter(|warning| !warning.starts_with(HELD_OUT));
            warnings.cloned().collect::<Vec<_>>().join("\n")
        }
        Err(problems) => {
            let submission = Submission::read("agent.yaml", &text, None).unwrap();
            assert_eq!(super::super::watch(&submission), Err(problems.clone()));
            problems.to_string()
        }
    }
}

#[test]
fn a_watch_becomes_a_plan_with_every_default_filled_in() {
    let plan = watch_plan(
        "{prometheus: {url: \"http://prometheus.monitoring:9090/\"}, signals: [{name: error-rate, query: errors, max: 0.05}]}",
    )
    .unwrap();
    assert_eq!((plan.window, plan.interval, plan.breaches), (Duration::from_hours(1), Duration::from_secs(30), 3));
    let prometheus = plan.prometheus.as_ref().unwrap();
    assert_eq!(prometheus.url.as_str(), "http://prometheus.monitoring:9090/");
    assert_eq!((prometheus.timeout, &prometheus.credential), (Duration::from_secs(5), &None));
    assert_eq!((plan.signals[0].max, plan.signals[0].has_baseline()), (Some(0.05), false));
    assert_eq!((plan.reevaluation, plan.secrets().count()), (None, 0));
}

#[test]
fn everything_that_is_written_reaches_the_plan() {
    let plan = watch_plan(
        r#"{window: 2h, interval: 10s, breaches: 2, reevaluation: {every: 30m, maxDrop: 0.1},
    prometheus: {url: "https://mimir.example/prometheus", timeout: 2s, basicAuth: {username: us, password: {secretKeyRef: {name: mimir, key: password}}},
      headers: [{name: X-Scope-OrgID, value: team-a}, {name: X-Key, secretKeyRef: {name: mimir, key: key}}]},
    signals: [{name: latency, query: p95, min: 0, max: 3, maxIncrease: "20%", maxDecrease: "0.5", samples: {query: count, minimum: 50}}]}"#,
    )
    .unwrap();
    assert_eq!((plan.window, plan.interval, plan.breaches), (Duration::from_hours(2), Duration::from_secs(10), 2));
    assert_eq!(plan.reevaluation, Some(ReevaluationPlan { every: Duration::from_mins(30), max_drop: 0.1 }));
    let prometheus = plan.prometheus.as_ref().unwrap();
    let CredentialPlan::Basic { user, password } = prometheus.credential.as_ref().unwrap() else {
        panic!("{prometheus:?}")
    };
    assert_eq!((user.as_str(), password.key.as_str()), ("us", "password"));
    assert_eq!(prometheus.headers[0], ("X-Scope-OrgID".to_owned(), HeaderPlan::Value("team-a".to_owned())));
    assert_eq!(plan.secrets().map(|secret| secret.key.as_str()).collect::<Vec<_>>(), ["password", "key"]);
    let latency = &plan.signals[0];
    assert_eq!((latency.min, latency.max), (Some(0.0), Some(3.0)));
    assert_eq!((latency.max_increase, latency.max_decrease), (Some(Margin::Share(0.2)), Some(Margin::Absolute(0.5))));
    let samples = latency.samples.as_ref().map(|samples| (samples.query.as_str(), samples.minimum));
    assert_eq!(samples, Some(("count", 50.0)));
}

#[test]
fn a_definition_changes_with_whatever_a_reading_is_held_against_and_with_nothing_else() {
    let definition = |more: &str, url: &str, limits: &str| {
        let plan = watch_plan(&format!(
            "{{{more}prometheus: {{url: \"{url}\"}}, signals: [{{name: s, query: q, {limits}}}]}}"
        ));
        plan.unwrap().signals[0].definition.clone()
    };
    let usual = definition("", "http://p", "max: 1");
    assert_eq!(definition("window: 2h, breaches: 5, ", "http://p", "max: 1.0"), usual);
    assert_ne!(definition("", "http://other", "max: 1"), usual);
    assert_ne!(definition("", "http://p", "max: 2"), usual);
    let against_mean = definition("", "http://p", "maxIncrease: \"1%\"");
    assert_ne!(definition("window: 2h, ", "http://p", "maxIncrease: \"1%\""), against_mean);
}

#[test]
fn the_time_out_of_a_query_fits_between_two_readings() {
    let timeout = |more: &str| {
        let plan = watch_plan(&format!(
            "{{{more}prometheus: {{url: \"http://p\"}}, signals: [{{name: s, query: q, max: 1}}]}}"
        ));
        plan.unwrap().prometheus.unwrap().timeout
    };
    assert_eq!(timeout("interval: 2s, "), Duration::from_secs(2));
    assert_eq!(timeout(""), Duration::from_secs(5));
}

#[test]
fn a_watch_needs_neither_prompt_nor_scenarios() {
    let mut resource = Submission::read("agent.yaml", &with("{reevaluation: {every: 1h}}"), None).unwrap().resource;
    resource.spec.models.clear();
    assert!(resolve(&resource.clone().into(), &References::default()).is_err());
    let plan = super::super::watch(&resource.into()).unwrap().unwrap();
    assert_eq!(plan.reevaluation, Some(ReevaluationPlan { every: Duration::from_hours(1), max_drop: 0.05 }));
}

#[test]
fn a_watch_over_nothing_is_a_warning() {
    assert_eq!(watch_plan("{}"), None);
    insta::assert_snapshot!(said_of("{}"), @"spec.watch: nothing is watched, so a promoted prompt is established at once; give signals or reevaluation, or remove watch");
    insta::assert_snapshot!(said_of("{prometheus: {url: \"http://p:9090\"}, reevaluation: {every: 1h}}"), @"spec.watch.prometheus: there are no signals, so it is not used; add spec.watch.signals");
}

#[test]
fn times_that_leave_no_room_for_a_verdict_are_told() {
    let signals = "prometheus: {url: \"http://p\"}, signals: [{name: s, query: q, max: 1}]";
    let said = |times: &str| said_of(&format!("{{{times}, {signals}}}"));
    insta::assert_snapshot!(said("window: 1m"), @"agent.yaml:20:11: spec.watch.window: a window of 1m has 2 readings, one every 30s, and a rollback requires 3 readings in a row that breach a limit; lengthen the window, or lower interval or breaches");
    insta::assert_snapshot!(said("interval: 100ms"), @"agent.yaml:20:11: spec.watch.interval: 100ms is too short, because every reading queries Prometheus; give at least 1s");
    insta::assert_snapshot!(said("window: 800h"), @"agent.yaml:20:11: spec.watch.window: 800h is too long; give at most 720h");
    insta::assert_snapshot!(said_of("{reevaluation: {every: 10s, maxDrop: 2}}"), @r"
    agent.yaml:20:26: spec.watch.reevaluation.every: 10s is too short, because every re-evaluation is paid for; give at least 1m
    agent.yaml:20:47: spec.watch.reevaluation.maxDrop: expected a number from 0 to 1, found 2
    ");
    assert_eq!(said("window: 2s, interval: 1s, breaches: 2"), "");
    assert_eq!(said_of("{window: 30s, reevaluation: {every: 1m}}"), "");
}

#[test]
fn a_prometheus_that_cannot_be_asked_is_told() {
    let said = |prometheus: &str| {
        said_of(&format!("{{prometheus: {{{prometheus}}}, signals: [{{name: s, query: q, max: 1}}]}}"))
    };
    insta::assert_snapshot!(said_of("{signals: [{name: s, query: q, max: 1}]}"), @"agent.yaml:20:3: spec.watch.prometheus: required, because spec.watch.signals are queries to Prometheus; set prometheus.url, such as http://prometheus.monitoring:9090");
    insta::assert_snapshot!(said("url: \"prometheus:9090\""), @r#"agent.yaml:20:24: spec.watch.prometheus.url: "prometheus:9090" is not an http or https URL; write it like http://prometheus.monitoring:9090"#);
    insta::assert_snapshot!(said("url: \"http://p:9090/api/v1/\""), @r#"agent.yaml:20:24: spec.watch.prometheus.url: "http://p:9090/api/v1/" must end before /api/v1; remove the rest"#);
    insta::assert_snapshot!(said("url: \"http://u:secret@p:9090\""), @"agent.yaml:20:24: spec.watch.prometheus.url: a URL must not contain credentials; put the key into bearerToken, basicAuth or headers");
    insta::assert_snapshot!(said("url: \"http://p\", timeout: 1m"), @"agent.yaml:20:41: spec.watch.prometheus.timeout: 1m is longer than the interval; give a positive duration of at most the interval, 30s");
    insta::assert_snapshot!(said("url: \"http://p\", timeout: 0s"), @"agent.yaml:20:41: spec.watch.prometheus.timeout: 0s is too short; give a positive duration of at most the interval, 30s");
    let token = "bearerToken: {secretKeyRef: {name: Token, key: t}}";
    insta::assert_snapshot!(said(&format!("url: \"http://p\", {token}")), @r#"agent.yaml:20:76: spec.watch.prometheus.bearerToken.secretKeyRef.name: expected the name of an object (lower-case letters, digits, - and .), such as "support-prompt", found "Token""#);
    let basic = "basicAuth: {username: \"a:b\", password: {secretKeyRef: {name: p, key: p}}}";
    insta::assert_snapshot!(said(&format!("url: \"http://p\", {basic}")), @r#"agent.yaml:20:53: spec.watch.prometheus.basicAuth.username: "a:b" is not a valid user name: it contains a colon or a control character"#);
    let token = token.replace("name: Token", "name: token");
    insta::assert_snapshot!(said(&format!("url: \"http://p\", {basic}, {token}")), @"agent.yaml:20:11: spec.watch.prometheus: at most one of bearerToken, basicAuth is allowed; bearerToken and basicAuth are given");
}

#[test]
fn headers_are_checked() {
    let said = said_of(
        "{prometheus: {url: \"http://p\", bearerToken: {secretKeyRef: {name: t, key: t}}, headers: [\n      \
         {name: \"X Key\", value: a},\n      {name: Host, value: a},\n      {name: AUTHORIZATION, value: a},\n      \
         {name: X-A, value: a},\n      {name: x-a, value: a},\n      {name: X-B},\n      \
         {name: X-C, value: \"a\\nb\"}]},\n    signals: [{name: s, query: q, max: 1}]}",
    );
    insta::assert_snapshot!(said, @r#"
    agent.yaml:21:14: spec.watch.prometheus.headers[0].name: expected the name of a header, such as "X-Scope-OrgID", found "X Key"
    agent.yaml:22:8: spec.watch.prometheus.headers[1].name: "Host" is set by Whetstone itself; remove it
    agent.yaml:23:8: spec.watch.prometheus.headers[2].name: "AUTHORIZATION" is set by bearerToken or basicAuth; keep one of them
    agent.yaml:25:8: spec.watch.prometheus.headers[4].name: duplicate header "x-a"; keep one of them
    agent.yaml:26:7: spec.watch.prometheus.headers[5]: exactly one of value, secretKeyRef is required; none is given
    agent.yaml:27:19: spec.watch.prometheus.headers[6].value: a header value must be printable ASCII; for any other value, store an ASCII encoding of it in a Secret and use valueFrom
    "#);
    let said = said_of(
        "{prometheus: {url: \"http://p\", headers: [{name: Authorization, value: Bearer x}]}, signals: [{name: s, query: q, max: 1}]}",
    );
    insta::assert_snapshot!(said, @"spec.watch.prometheus.headers[0].value: everyone who can read the resource can read this credential; put it into a Secret and use secretKeyRef");
}

#[test]
fn signals_are_checked() {
    let said = said_of(
        "{prometheus: {url: \"http://p\"}, signals: [\n      {name: a, query: q},\n      {name: b, query: \" \", max: 1},\n      \
         {name: b, query: q, max: 1, min: 2},\n      {name: reevaluation, query: q, max: 1},\n      \
         {name: \" c\", query: q, maxIncrease: \"20 %\", maxDecrease: \"-1\"},\n      \
         {name: d, query: q, max: 1, samples: {query: \"\", minimum: 0}}]}",
    );
    insta::assert_snapshot!(said, @r#"
    agent.yaml:21:7: spec.watch.signals[0]: "a" has no limit; give max, min, maxIncrease or maxDecrease
    agent.yaml:22:17: spec.watch.signals[1].query: the query is empty; write one in PromQL, such as sum(rate(errors_total[5m]))
    agent.yaml:23:8: spec.watch.signals[2].name: duplicate signal "b"; give it another name
    agent.yaml:23:35: spec.watch.signals[2].min: min 2 is above max 1, so every value would breach; swap them, or remove one
    agent.yaml:24:8: spec.watch.signals[3].name: "reevaluation" is the name of the re-evaluation in the status; rename the signal
    agent.yaml:25:8: spec.watch.signals[4].name: " c" is not a valid name of a signal: it is empty, has surrounding space or contains control characters
    agent.yaml:25:43: spec.watch.signals[4].maxIncrease: expected a non-negative decimal number in quotes, such as "0.02", or a percentage, such as "20%", found "20 %"
    agent.yaml:25:64: spec.watch.signals[4].maxDecrease: expected a non-negative decimal number in quotes, such as "0.02", or a percentage, such as "20%", found "-1"
    agent.yaml:26:52: spec.watch.signals[5].samples.query: must not be empty
    agent.yaml:26:65: spec.watch.signals[5].samples.minimum: expected a number of at least 1, found 0
    "#);
}

#[test]
fn margins_are_numbers_or_percentages() {
    let margin = super::super::watch::margin;
    assert_eq!(margin("0.02"), Some(Margin::Absolute(0.02)));
    assert_eq!(margin("20%"), Some(Margin::Share(0.2)));
    assert_eq!(margin("0%"), Some(Margin::Share(0.0)));
    for wrong in ["", "%", "-1", "1e3", "inf", "NaN", "20 %", "1.2.3", "+1", "."] {
        assert_eq!(margin(wrong), None, "{wrong:?}");
    }
}

#[test]
fn running_recorded_transcripts_again_is_a_warning() {
    let replay = "runtime: {replay: {transcripts: {file: t.jsonl}}}";
    let text = with("{reevaluation: {every: 1h}}").replace("runtime: {model: {ref: worker}}", replay);
    let submission = Submission::read("agent.yaml", &text, None).unwrap();
    let mut findings = Findings::new(&submission);
    assert!(super::super::watch::resolve(&submission.resource.spec, &mut findings).is_some());
    insta::assert_snapshot!(findings.finish().unwrap().join("\n"), @"spec.watch.reevaluation: recorded transcripts never change, so a re-evaluation finds nothing; remove it");
}
