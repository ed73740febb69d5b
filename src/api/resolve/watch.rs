//! `spec.watch`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::super::AgentOptimizationSpec;
use super::super::defaults;
use super::super::source::SecretKeyRef;
use super::super::watch::{Header, Prometheus, Reevaluation, Samples, Signal, Watch};
use super::findings::Findings;
use super::models::base_url;
use super::promotion::is_object_name;
use whetstone_domain::duration::HumanDuration;
use whetstone_domain::hash::ContentHash;
use whetstone_domain::plan::watch::{
    CredentialPlan, HeaderPlan, Margin, PrometheusPlan, REEVALUATION, ReevaluationPlan, SamplesPlan, SignalPlan,
    WatchPlan,
};
use whetstone_domain::words::{by_number, counted};

const LONGEST_WINDOW: Duration = Duration::from_hours(30 * 24);
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
const SHORTEST_EVERY: Duration = Duration::from_mins(1);

/// Headers that the HTTP client sets itself.
const OWN_HEADERS: [&str; 10] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The plan of the watch; `None` if nothing is watched. Only valid if no problem was found.
pub(super) fn resolve(spec: &AgentOptimizationSpec, findings: &mut Findings<'_>) -> Option<WatchPlan> {
    let path = "spec.watch";
    let watch = spec.watch.as_ref()?;
    let Watch { window, interval, breaches: _, prometheus, signals, reevaluation } = watch;
    let (window, interval, breaches) = (
        window.unwrap_or(defaults::WATCH_WINDOW).0,
        interval.unwrap_or(defaults::WATCH_INTERVAL).0,
        self::breaches(spec),
    );
    check_times(window, interval, if signals.is_empty() { 1 } else { breaches }, findings);
    let prometheus = prometheus
        .as_ref()
        .and_then(|written| self::prometheus(written, interval, &format!("{path}.prometheus"), findings));
    if watch.prometheus.is_none() && !signals.is_empty() {
        let message = "required, because spec.watch.signals are queries to Prometheus; set prometheus.url, such as http://prometheus.monitoring:9090";
        findings.problem(&format!("{path}.prometheus"), message);
    }
    if watch.prometheus.is_some() && signals.is_empty() {
        findings.warn(&format!("{path}.prometheus"), "there are no signals, so it is not used; add spec.watch.signals");
    }
    let mut names = BTreeSet::new();
    let mut plans = Vec::new();
    for (index, written) in signals.iter().enumerate() {
        let path = format!("{path}.signals[{index}]");
        check_name(&written.name, &mut names, &path, findings);
        plans.push(signal(written, &path, findings));
    }
    let reevaluation = reevaluation.as_ref().map(|written| self::reevaluation(spec, written, findings));
    if plans.is_empty() && reevaluation.is_none() {
        let message = "nothing is watched, so a promoted prompt is established at once; give signals or reevaluation, \
                       or remove watch";
        findings.warn(path, message);
        return None;
    }
    for plan in &mut plans {
        plan.definition = definition(plan, prometheus.as_ref(), window, interval);
    }
    Some(WatchPlan { window, interval, breaches, prometheus, signals: plans, reevaluation })
}

/// How many readings in a row have to breach a limit before a version is rolled back.
#[must_use]
pub(crate) fn breaches(spec: &AgentOptimizationSpec) -> u32 {
    spec.watch.as_ref().and_then(|watch| watch.breaches).unwrap_or(defaults::WATCH_BREACHES).max(1)
}

/// How far a re-evaluation may find the aggregate score below the one of the promotion, 0 to 1.
#[must_use]
pub(crate) fn max_drop(spec: &AgentOptimizationSpec) -> f64 {
    spec.watch.as_ref().and_then(|watch| watch.reevaluation.as_ref()?.max_drop).unwrap_or(defaults::MAX_DROP)
}

/// A short hash of everything that determines a reading and its limits, over canonical JSON without what is absent. A change of
/// this form makes every running watch count its breaches from zero once.
fn definition(plan: &SignalPlan, prometheus: Option<&PrometheusPlan>, window: Duration, interval: Duration) -> String {
    let SignalPlan { name, query, max, min, max_increase, max_decrease, samples, definition: _ } = plan;
    let margin = |margin: &Margin| match margin {
        Margin::Absolute(value) => json!({"absolute": value}),
        Margin::Share(share) => json!({"share": share}),
    };
    let fields = [
        ("name", Some(json!(name))),
        ("query", Some(json!(query))),
        ("max", max.map(|limit| json!(limit))),
        ("min", min.map(|limit| json!(limit))),
        ("maxIncrease", max_increase.as_ref().map(margin)),
        ("maxDecrease", max_decrease.as_ref().map(margin)),
        ("samples", samples.as_ref().map(|it| json!({"query": it.query, "minimum": it.minimum}))),
        ("prometheus", prometheus.map(|it| json!(it.url.as_str()))),
        ("baseline", plan.has_baseline().then(|| json!([window.as_secs_f64(), interval.as_secs_f64()]))),
    ];
    let present: BTreeMap<&str, Value> = fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    ContentHash::of_json(&("signal", 1, present)).short()
}

/// Checks that the window is long enough for the number of readings that a rollback requires.
fn check_times(window: Duration, interval: Duration, breaches: u32, findings: &mut Findings<'_>) {
    let (window_text, interval_text) = (HumanDuration(window), HumanDuration(interval));
    if interval < SHORTEST_INTERVAL {
        let message =
            format!("{interval_text} is too short, because every reading queries Prometheus; give at least 1s");
        findings.problem("spec.watch.interval", message);
    } else if window > LONGEST_WINDOW {
        let message = format!("{window_text} is too long; give at most {}", HumanDuration(LONGEST_WINDOW));
        findings.problem("spec.watch.window", message);
    } else if interval.checked_mul(breaches).is_none_or(|needed| window < needed) {
        let readings = window.as_nanos() / interval.as_nanos();
        let message = format!(
            "a window of {window_text} has {}, one every {interval_text}, and a rollback requires {} in a row that {} a limit; \
             lengthen the window, or lower interval or breaches",
            counted(readings, "reading"),
            counted(breaches, "reading"),
            by_number(breaches, "breaches", "breach"),
        );
        findings.problem("spec.watch.window", message);
    }
}

fn prometheus(
    written: &Prometheus,
    interval: Duration,
    path: &str,
    findings: &mut Findings<'_>,
) -> Option<PrometheusPlan> {
    let Prometheus { url, bearer_token, basic_auth, headers, timeout } = written;
    let usual = "http://prometheus.monitoring:9090";
    let url = base_url(url, usual, "bearerToken, basicAuth or headers").and_then(|parsed| {
        let is_api = ["/api/v1", "/api/v1/query"].iter().any(|end| parsed.path().trim_end_matches('/').ends_with(end));
        if is_api { Err(format!("{url:?} must end before /api/v1; remove the rest")) } else { Ok(parsed) }
    });
    let url = url.map_err(|message| findings.problem(&format!("{path}.url"), message)).ok();
    let credential = match (bearer_token, basic_auth) {
        (Some(_), Some(_)) => {
            findings
                .problem(path, "at most one of bearerToken, basicAuth is allowed; bearerToken and basicAuth are given");
            None
        }
        (Some(token), None) => {
            check_secret(&token.secret_key_ref, &format!("{path}.bearerToken.secretKeyRef"), findings);
            Some(CredentialPlan::Bearer((&token.secret_key_ref).into()))
        }
        (None, Some(basic)) => {
            if basic.username.chars().any(|letter| letter == ':' || letter.is_control()) {
                let message = format!(
                    "{:?} is not a valid user name: it contains a colon or a control character",
                    basic.username
                );
                findings.problem(&format!("{path}.basicAuth.username"), message);
            }
            let password = &basic.password.secret_key_ref;
            check_secret(password, &format!("{path}.basicAuth.password.secretKeyRef"), findings);
            Some(CredentialPlan::Basic { user: basic.username.clone(), password: password.into() })
        }
        (None, None) => None,
    };
    let mut names = BTreeSet::new();
    let mut plans = Vec::new();
    for (index, written) in headers.iter().enumerate() {
        let path = format!("{path}.headers[{index}]");
        check_header_name(&written.name, credential.is_some(), &mut names, &path, findings);
        plans.extend(header(written, &path, findings).map(|value| (written.name.clone(), value)));
    }
    let timeout = match timeout {
        None => defaults::PROMETHEUS_TIMEOUT.0.min(interval),
        Some(HumanDuration(timeout)) => {
            if timeout.is_zero() || *timeout > interval {
                let message = format!(
                    "{} is {}; give a positive duration of at most the interval, {}",
                    HumanDuration(*timeout),
                    if timeout.is_zero() { "too short" } else { "longer than the interval" },
                    HumanDuration(interval)
                );
                findings.problem(&format!("{path}.timeout"), message);
            }
            *timeout
        }
    };
    Some(PrometheusPlan { url: url?, credential, headers: plans, timeout })
}

fn check_secret(secret: &SecretKeyRef, path: &str, findings: &mut Findings<'_>) {
    if !is_object_name(&secret.name) {
        let message =
            format!("{:?} is not a valid name of a Secret; use lower-case letters, digits, - and .", secret.name);
        findings.problem(&format!("{path}.name"), message);
    }
}

fn check_header_name(
    name: &str,
    has_credential: bool,
    names: &mut BTreeSet<String>,
    path: &str,
    findings: &mut Findings<'_>,
) {
    let plain = name.to_ascii_lowercase();
    // RFC 9110, 5.6.2: a token.
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let message = if name.is_empty() || !name.bytes().all(is_token) {
        format!("{name:?} is not a valid name of a header; use letters, digits and -")
    } else if OWN_HEADERS.contains(&plain.as_str()) {
        format!("{name:?} is set by Whetstone itself; remove it")
    } else if plain == "authorization" && has_credential {
        format!("{name:?} is set by bearerToken or basicAuth; keep one of them")
    } else if names.contains(&plain) {
        format!("duplicate header {name:?}; keep one of them")
    } else {
        names.insert(plain);
        return;
    };
    findings.problem(&format!("{path}.name"), message);
}

fn header(written: &Header, path: &str, findings: &mut Findings<'_>) -> Option<HeaderPlan> {
    let Header { name: _, value, secret_key_ref } = written;
    findings.exactly_one(path, &[("value", value.is_some()), ("secretKeyRef", secret_key_ref.is_some())])?;
    if let Some(secret) = secret_key_ref {
        check_secret(secret, &format!("{path}.secretKeyRef"), findings);
        return Some(HeaderPlan::Secret(secret.into()));
    }
    let value = value.as_ref()?;
    if !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        let message = "a header value must be printable ASCII; for any other value, store an ASCII encoding of it in a Secret and use valueFrom";
        findings.problem(&format!("{path}.value"), message);
    }
    if ["authorization", "proxy-authorization", "cookie"].contains(&written.name.to_ascii_lowercase().as_str()) {
        let message =
            "everyone who can read the resource can read this credential; put it into a Secret and use secretKeyRef";
        findings.warn(&format!("{path}.value"), message);
    }
    Some(HeaderPlan::Value(value.clone()))
}

fn check_name<'a>(name: &'a str, names: &mut BTreeSet<&'a str>, path: &str, findings: &mut Findings<'_>) {
    let message = if name == REEVALUATION {
        format!("{name:?} is the name of the re-evaluation in the status; rename the signal")
    } else if name.trim() != name || name.is_empty() || name.chars().any(char::is_control) {
        format!(
            "{name:?} is not a valid name of a signal: it is empty, has surrounding space or contains control characters"
        )
    } else if !names.insert(name) {
        format!("duplicate signal {name:?}; give it another name")
    } else {
        return;
    };
    findings.problem(&format!("{path}.name"), message);
}

fn signal(written: &Signal, path: &str, findings: &mut Findings<'_>) -> SignalPlan {
    let Signal { name, query, max, min, max_increase, max_decrease, samples } = written;
    check_query(query, &format!("{path}.query"), findings);
    for (field, limit) in [("max", max), ("min", min)] {
        if limit.is_some_and(|limit| !limit.is_finite()) {
            findings.problem(&format!("{path}.{field}"), "a limit must be a finite number; remove it for no limit");
        }
    }
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        let message = format!("min {min} is above max {max}, so every value would breach; swap them, or remove one");
        findings.problem(&format!("{path}.min"), message);
    }
    if max.is_none() && min.is_none() && max_increase.is_none() && max_decrease.is_none() {
        let message = format!("{name:?} has no limit; give max, min, maxIncrease or maxDecrease");
        findings.problem(path, message);
    }
    let mut margin = |field: &str, written: &Option<String>| {
        let written = written.as_ref()?;
        let margin = self::margin(written);
        if margin.is_none() {
            let message = format!("{written:?} is not a margin; write it like 0.02, in the unit of the query, or 20%");
            findings.problem(&format!("{path}.{field}"), message);
        }
        margin
    };
    let (max_increase, max_decrease) = (margin("maxIncrease", max_increase), margin("maxDecrease", max_decrease));
    let samples = samples.as_ref().map(|Samples { query, minimum }| {
        check_query(query, &format!("{path}.samples.query"), findings);
        if !(minimum.is_finite() && *minimum >= 1.0) {
            findings.problem(&format!("{path}.samples.minimum"), "the minimum must be a number of at least 1");
        }
        SamplesPlan { query: query.clone(), minimum: *minimum }
    });
    SignalPlan {
        name: name.clone(),
        query: query.clone(),
        max: *max,
        min: *min,
        max_increase,
        max_decrease,
        samples,
        definition: String::new(),
    }
}

fn check_query(query: &str, path: &str, findings: &mut Findings<'_>) {
    if query.trim().is_empty() {
        findings.problem(path, "the query is empty; write one in PromQL, such as sum(rate(errors_total[5m]))");
    }
}

pub(super) fn margin(written: &str) -> Option<Margin> {
    let (number, is_share) = written.strip_suffix('%').map_or((written, false), |number| (number, true));
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number = number.parse::<f64>().ok().filter(|number| is_plain && number.is_finite())?;
    Some(if is_share { Margin::Share(number / 100.0) } else { Margin::Absolute(number) })
}

fn reevaluation(spec: &AgentOptimizationSpec, written: &Reevaluation, findings: &mut Findings<'_>) -> ReevaluationPlan {
    let Reevaluation { every, max_drop } = written;
    let path = "spec.watch.reevaluation";
    if every.0 < SHORTEST_EVERY {
        findings.problem(
            &format!("{path}.every"),
            format!("{every} is too short, because every re-evaluation is paid for; give at least 1m"),
        );
    }
    if max_drop.is_some_and(|drop| !(0.0..=1.0).contains(&drop)) {
        findings.problem(&format!("{path}.maxDrop"), "a drop of the score must be a number from 0 to 1");
    }
    if spec.agent.runtime.replay.is_some() {
        findings.warn(path, "recorded transcripts never change, so a re-evaluation finds nothing; remove it");
    }
    ReevaluationPlan { every: every.0, max_drop: self::max_drop(spec) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Watches under way are compared by it: a change makes each of them count its breaches from zero.
    #[test]
    fn the_definition_of_a_signal_never_changes() {
        let plain = SignalPlan {
            name: "errors".to_owned(),
            query: "sum(errors)".to_owned(),
            max: Some(0.05),
            min: None,
            max_increase: None,
            max_decrease: None,
            samples: None,
            definition: String::new(),
        };
        let relative = SignalPlan {
            max: None,
            max_increase: Some(Margin::Share(0.2)),
            samples: Some(SamplesPlan { query: "sum(requests)".to_owned(), minimum: 20.0 }),
            ..plain.clone()
        };
        let of =
            |plan: &SignalPlan, window| definition(plan, None, Duration::from_secs(window), Duration::from_secs(30));
        insta::assert_snapshot!([of(&plain, 60), of(&relative, 60)].join(" "), @"869d30f087fe 810e92845c94");
        assert_eq!(of(&plain, 60), of(&plain, 90), "the window matters only for a baseline");
        assert_ne!(of(&relative, 60), of(&relative, 90));
        let absolute = SignalPlan { max_increase: Some(Margin::Absolute(0.2)), ..relative.clone() };
        assert_ne!(of(&absolute, 60), of(&relative, 60));
    }
}
