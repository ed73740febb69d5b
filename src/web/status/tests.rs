//! What a person sees, from objects as `kubectl get -o yaml` prints them.

use super::past::diff;
use super::*;
use crate::api::status::Challenger;

/// The present of all of them.
const NOW: &str = "2026-11-23T12:00:00Z";

const HEAD: &str = "\
apiVersion: whetstone.dev/v1alpha1
kind: AgentOptimization
metadata: {name: support, namespace: shop, generation: 4, creationTimestamp: '2026-11-20T12:00:00Z'}
";

const SPEC: &str = "\
spec:
  agent: {prompt: {configMapKeyRef: {name: support-prompt, key: system-prompt}}, runtime: {model: {ref: worker}}}
  scenarios: [{configMapRef: {name: support-scenarios}}]
  promotion: {target: {configMap: support-prompt-live}}
";

const READY: &str =
    "{type: Ready, status: 'True', reason: Serving, lastTransitionTime: '2026-11-23T09:00:00Z', observedGeneration: 4";

fn object(spec: &str, status: &str) -> AgentOptimization {
    serde_saphyr::from_str(&format!("{HEAD}{SPEC}{spec}{status}")).unwrap()
}

/// PromptVersions, from what differs between them.
fn versions(yaml: &str) -> Vec<PromptVersion> {
    let items: Vec<serde_json::Value> = serde_saphyr::from_str(yaml).unwrap();
    let version = |item: serde_json::Value| {
        let (name, created) = (&item["status"]["version"], &item["created"]);
        let mut spec = item["spec"].as_object().cloned().unwrap_or_default();
        spec.insert("optimizationRef".to_owned(), serde_json::json!({"name": "support"}));
        spec.insert("prompt".to_owned(), "be kind".into());
        serde_json::from_value(serde_json::json!({
            "apiVersion": "whetstone.dev/v1alpha1", "kind": "PromptVersion",
            "metadata": {"name": format!("support-{}", name.as_str().unwrap()), "namespace": "shop", "creationTimestamp": created},
            "spec": spec, "status": item["status"],
        }))
        .unwrap()
    };
    items.into_iter().map(version).collect()
}

const VERSIONS: &str = r"
- created: '2026-11-20T12:00:00Z'
  status: {version: v1, phase: Superseded, score: '0.646', since: '2026-11-22T11:00:00Z', reasons: [v2 is better]}
- created: '2026-11-22T11:00:00Z'
  spec: {parent: v1, addresses: ['tool_compliance: missing call of escalate — bank, dispute', 'accuracy: guesses the delivery date']}
  status:
    version: v2
    phase: Champion
    parent: v1
    score: '0.968'
    since: '2026-11-22T11:00:00Z'
    reasons:
      - the aggregate score rose from 0.646 to 0.968 (+0.322), at least +0.213 with 95% confidence
      - no dimension fell by more than 0.02
- created: '2026-11-23T09:00:00Z'
  spec: {parent: v2}
  status: {version: v3, phase: Rejected, score: '0.951', since: '2026-11-23T09:10:00Z', reasons: [safety fell by 0.041 and may fall by 0.02]}
";

fn view() -> View<'static> {
    let terminal = Terminal { colours: false, width: Some(100) };
    View { now: NOW.parse().unwrap(), terminal, program: "whetstone", cluster: "", namespace: "" }
}

fn seen(spec: &str, status: &str, of: &str) -> String {
    page(&object(spec, status), &versions(of), &view())
}

#[test]
fn nothing_known_yet() {
    insta::assert_snapshot!(seen("", "", "[]"));
}

#[test]
fn running() {
    let status = format!(
        "
status:
  observedGeneration: 4
  phase: Running
  conditions:
    - {READY}, message: 'v1 serves (the base prompt, score 0.646)'}}
  champion: {{version: v1, hash: aa, origin: Base, since: '2026-11-20T12:00:00Z', score: '0.646'}}
  cycle:
    kind: Search
    cause: InputsChanged
    inputs: bb
    attempt: 1
    startedAt: '2026-11-23T11:57:00Z'
    progress: {{phase: validate, done: 13, total: 40, cost: '0.4204'}}
  cost: {{amount: '1.90', currency: EUR}}
  cycles: 3
"
    );
    insta::assert_snapshot!(seen("", &status, "[]"));
}

#[test]
fn running_again_after_failures() {
    let status = "
status:
  observedGeneration: 4
  phase: Running
  conditions:
    - {type: Ready, status: 'True', reason: Serving, lastTransitionTime: '2026-11-23T11:57:00Z', message: v1 serves (the base prompt)}
  cycle:
    kind: Search
    cause: First
    inputs: bb
    attempt: 0
    startedAt: '2026-11-23T11:57:00Z'
    waiting: {failures: 3, until: '2026-11-23T12:04:00Z', message: 'judge: connecting to http://litellm.llm:4000/v1: connection refused'}
";
    insta::assert_snapshot!(seen("", status, "[]"));
}

#[test]
fn awaiting_approval() {
    let spec = "  schedule: {cron: '0 3 * * *', timeZone: Europe/Berlin}\n".to_owned();
    let spec = spec + "  models: []\n";
    let status = format!(
        "
status:
  observedGeneration: 4
  phase: AwaitingApproval
  conditions:
    - {READY}, message: 'v2 serves (promoted by the gate, score 0.968)'}}
  champion: {{version: v2, hash: aa, origin: Gate, since: '2026-11-22T11:00:00Z', score: '0.968'}}
  predecessor: {{version: v1, hash: cc}}
  challenger: {{version: v4, hash: bb, awaitsApproval: true, score: '0.981'}}
  schedule: {{handledUntil: '2026-11-23T02:00:00Z', next: '2026-11-24T02:00:00Z'}}
  handled: {{runAt: '2026-11-23T10:00:00Z', message: a search was started}}
  cycles: 5
"
    );
    let challenger = "
- created: '2026-11-23T11:00:00Z'
  spec: {parent: v2}
  status: {version: v4, phase: Challenger, score: '0.981', since: '2026-11-23T11:00:00Z', reasons: [waits for approval]}
";
    let mut object = object(&spec, &status);
    object.annotations_mut().insert(annotations::RUN_AT.to_owned(), "2026-11-23T10:00:00Z".to_owned());
    object.spec.promotion.as_mut().unwrap().approval = Some(Approval::Manual);
    let view = View { program: "kubectl whetstone", namespace: "--namespace shop", ..view() };
    insta::assert_snapshot!(page(&object, &versions(&format!("{VERSIONS}{challenger}")), &view));
}

#[test]
fn a_request_that_is_pending_has_no_answer_yet() {
    let asked = |handled: &str| {
        let status = idle() + &format!("  handled: {{runAt: '{handled}', message: a cycle was started}}\n");
        let mut object = object("  pin: v2\n", &status);
        object.annotations_mut().insert(annotations::RUN_AT.to_owned(), "2026-11-23T11:57:00.123456789Z".to_owned());
        page(&object, &[], &view())
    };
    insta::assert_snapshot!(asked("2026-11-22T10:55:00Z"));
    let answered = asked("2026-11-23T11:57:00.123456789Z");
    assert!(
        answered.contains("requested    a cycle, 2m ago: answered\nanswer       a cycle was started\n"),
        "{answered}"
    );
}

#[test]
fn what_is_suggested_can_be_done_now() {
    let next = |spec: &str, status: &str| {
        let view = View { terminal: Terminal::default(), ..view() };
        next::suggestions(&object(spec, status), &view).replace("  ", " ")
    };
    let run = "whetstone run support --wait";
    let with =
        |conditions: &str| idle().replace("message: v2 serves}", &format!("message: v2 serves}}\n    - {conditions}"));
    let condition = |kind: &str| {
        format!("{{type: {kind}, status: 'True', reason: X, message: x, lastTransitionTime: '2026-11-23T09:00:00Z'}}")
    };
    assert!(next("", &idle()).contains(run));
    for (status, instead) in [
        (
            with(&condition("BudgetExhausted")),
            "raise spec.budget.perCycle, which the last cycle used up kubectl edit agentoptimizations.whetstone.dev support\n",
        ),
        (with(&condition("Reconciling")), "follow the progress"),
        (idle().replace(", established: true", ""), "follow the progress"),
        (
            idle().replace("status: 'True', reason: Serving", "status: 'False', reason: ReferenceMissing"),
            "fix the problem above",
        ),
        (
            idle().replace("observedGeneration: 4\n", "observedGeneration: 3\n"),
            "check whether an operator is running kubectl get deployments,pods --all-namespaces",
        ),
    ] {
        let suggested = next("", &status.replace("phase: Idle", "phase: Watching"));
        assert!(suggested.contains(instead) && !suggested.contains(run), "{suggested}");
    }
}

#[test]
fn watching_with_a_breach() {
    let status = format!(
        "
status:
  observedGeneration: 4
  phase: Watching
  conditions:
    - {READY}, message: 'v2 serves (promoted by the gate, score 0.968)'}}
    - {{type: SignalsAvailable, status: 'False', reason: NoEvidence, lastTransitionTime: '2026-11-23T11:58:00Z', message: 'latency-p95: Prometheus has no data for it'}}
    - {{type: Promoted, status: 'True', reason: Promoted, lastTransitionTime: '2026-11-23T11:30:00Z', message: v2 replaces v1}}
  champion: {{version: v2, hash: aa, origin: Gate, since: '2026-11-23T11:30:00Z', score: '0.968'}}
  predecessor: {{version: v1, hash: cc}}
  quarantine: [{{version: v0, hash: dd}}]
  reevaluations: 1
  reevaluatedAt: '2026-11-23T11:50:00Z'
  watch:
    version: v2
    since: '2026-11-23T11:30:00Z'
    until: '2026-11-23T12:30:00Z'
    breaches: 2
    signals:
      - {{name: error-rate, state: Breach, breaches: 2, value: '0.08333333333333333', baseline: '0.02083333333333333', message: 'error-rate: 0.083 is more than 0.05', at: '2026-11-23T11:59:48Z'}}
      - {{name: refusals, state: Ok, value: '2', message: 'refusals: 2 is at most 10', at: '2026-11-23T11:59:48Z'}}
      - {{name: latency-p95, state: NoEvidence, message: 'latency-p95: Prometheus has no data for it', at: '2026-11-23T11:59:48Z'}}
"
    );
    insta::assert_snapshot!(seen(WATCH, &status, VERSIONS));
}

const WATCH: &str = "  watch:
    prometheus: {url: 'http://prometheus.monitoring:9090'}
    signals:
      - {name: error-rate, query: x, max: 0.05, maxIncrease: 20%}
      - {name: refusals, query: x, max: 10}
      - {name: latency-p95, query: x, maxIncrease: '0.5'}
";

#[test]
fn a_signal_that_cannot_be_read_keeps_a_version_from_being_established() {
    let watched = |state: &str, until: &str| {
        let status = format!(
            "\nstatus:\n  observedGeneration: 4\n  phase: Watching\n  conditions: [{READY}, message: v2 serves}}]\n  watch: {{version: v2, since: '2026-11-23T11:30:00Z', until: '{until}', signals: [{{name: refusals, state: {state}, value: '2', message: refusals is so, at: '2026-11-23T11:59:48Z'}}]}}\n"
        );
        seen(WATCH, &status, "[]")
    };
    let of = |page: &str| page.lines().find_map(|line| line.strip_prefix("watch        ")).unwrap().to_owned();
    let fine = watched("Ok", "2026-11-23T12:30:00Z");
    assert_eq!(of(&fine), "v2, will be established in 30m unless it breaches a limit");
    for until in ["2026-11-23T12:30:00Z", "2026-11-23T11:59:00Z"] {
        assert_eq!(of(&watched("NoEvidence", until)), "v2: cannot be established until every signal can be read");
    }
    assert!(fine.contains("  signal    reading  value  limit   read\n"), "empty columns are left out: {fine}");
}

#[test]
fn suspended_in_the_middle_of_a_cycle() {
    let status = format!(
        "
status:
  observedGeneration: 4
  phase: Suspended
  conditions:
    - {READY}, message: v1 serves (the base prompt)}}
  champion: {{version: v1, hash: aa, origin: Base, since: '2026-11-20T12:00:00Z'}}
  cycle: {{kind: Search, cause: First, inputs: bb, attempt: 0, startedAt: '2026-11-23T11:57:00Z', progress: {{phase: run, done: 1, total: 2, cost: '1'}}}}
"
    );
    insta::assert_snapshot!(seen("  suspend: true\n", &status, "[]"));
}

#[test]
fn stalled() {
    let status = "
status:
  observedGeneration: 4
  phase: Stalled
  conditions:
    - {type: Ready, status: 'False', reason: ReferenceMissing, lastTransitionTime: '2026-11-23T11:00:00Z', message: &message \"spec.scenarios[0].configMapRef: no ConfigMap 'support-scenarios' in this namespace\\nspec.models[0].openAI.apiKey.secretKeyRef: no Secret 'openai' in this namespace\"}
    - {type: Stalled, status: 'True', reason: ReferenceMissing, lastTransitionTime: '2026-11-23T11:00:00Z', message: *message}
";
    insta::assert_snapshot!(seen("", status, "[]"));
    // The width of the terminal is unknown.
    let everywhere = View { terminal: Terminal::default(), ..view() };
    insta::assert_snapshot!(list(&[object("", status)], false, &everywhere));
}

const IDLE: &str = "
  champion: {version: v2, hash: aa, origin: Gate, since: '2026-11-22T11:00:00Z', score: '0.968'}
  predecessor: {version: v1, hash: cc}
  watch: {version: v2, since: '2026-11-22T11:00:00Z', until: '2026-11-22T12:00:00Z', established: true}
  cycles: 3
  cost: {amount: '1.2034', currency: USD}
  history:
    - id: 7be80902478a
      kind: Search
      cause: Schedule
      startedAt: '2026-11-23T09:00:00Z'
      endedAt: '2026-11-23T09:10:10Z'
      verdict: Kept
      message: safety fell by 0.041 and may fall by 0.02
      champion: v2
      challenger: v3
      score: '0.968'
      cost: '0.31'
    - id: 61be80902478
      kind: Search
      cause: Requested
      startedAt: '2026-11-22T10:55:00Z'
      endedAt: '2026-11-22T11:00:00Z'
      verdict: Promoted
      message: the aggregate score rose from 0.646 to 0.968 (+0.322), at least +0.213 with 95% confidence
      champion: v1
      challenger: v2
      score: '0.646'
      cost: '0.8934'
    - id: 51be80902478
      kind: Search
      cause: First
      startedAt: '2026-11-20T12:00:00Z'
      endedAt: '2026-11-20T12:00:04Z'
      verdict: Failed
      message: \"judge: no key in the Secret anthropic\\nworker: no key in the Secret openai\"
      champion: v1
      cost: '0'
";

fn idle() -> String {
    format!(
        "\nstatus:\n  observedGeneration: 4\n  phase: Idle\n  conditions:\n    - {READY}, message: v2 serves}}{IDLE}"
    )
}

#[test]
fn idle_with_history() {
    insta::assert_snapshot!(seen("", &idle(), VERSIONS));
}

#[test]
fn a_pin_is_reported() {
    for (pin, expected) in
        [("v2", "spec.pin keeps v2 serving, regardless of the gate"), ("v77", "spec.pin is v77, but v2 serves")]
    {
        let page = seen(&format!("  pin: {pin}\n"), &idle(), "[]");
        assert!(page.contains(&format!("pin          {expected}\n")), "{page}");
    }
    let pinned = idle() + "  quarantine: [{version: v2, hash: aa}, {version: v0, hash: dd}]\n";
    let page = seen("  pin: v2\n", &pinned, "[]");
    assert!(page.contains("quarantine   v0: not promoted again"), "{page}");
}

#[test]
fn a_name_means_the_version_that_has_it_and_not_one_that_was_refused_for_it() {
    let of = |phases: [&str; 2]| {
        let [older, newer] = phases;
        versions(&format!(
            "[{{created: '2026-11-20T12:00:00Z', status: {{version: v2, phase: {older}}}}}, {{created: '2026-11-21T12:00:00Z', status: {{version: v2, phase: {newer}}}}}]"
        ))
    };
    for phases in [["Rejected", "Champion"], ["Champion", "Rejected"]] {
        let versions = of(phases);
        let found = proposal::find(&versions, "v2").unwrap();
        assert_eq!(found.status.as_ref().unwrap().phase.unwrap().as_str(), "Champion");
    }
}

#[test]
fn all_versions_with_every_reason() {
    insta::assert_snapshot!(history(&object("", &idle()), &versions(VERSIONS), 2, &view()));
}

#[test]
fn what_an_approval_would_change() {
    let versions = versions(
        r#"
- created: '2026-11-22T11:00:00Z'
  spec: {parent: v1}
  status: {version: v2, phase: Champion, since: '2026-11-22T11:00:00Z'}
- created: '2026-11-23T11:00:00Z'
  spec:
    parent: v2
    addresses: ['accuracy: guesses the delivery date', 'safety: promises a refund']
    diff: "--- v2\n+++ v4\n@@ -1,2 +1,3 @@\n # Role\n-be kind\n+be kind and exact\n+never guess a date\n"
  status: {version: v4, phase: Challenger, reasons: [the aggregate score rose from 0.968 to 0.981 (+0.013), the aggregate score rose from 0.968 to 0.981, no dimension fell]}
"#,
    );
    let challenger = Challenger {
        version: "v4".to_owned(),
        hash: "aa".to_owned(),
        awaits_approval: true,
        score: Some("0.981".to_owned()),
    };
    insta::assert_snapshot!(proposal::approval(&object("", &idle()), &challenger, &versions, &view()));
}

#[test]
fn what_a_rollback_would_change() {
    let mut versions = versions(VERSIONS);
    versions[0].spec.prompt = "be kind\nask before a refund\n".to_owned();
    versions[1].spec.prompt = "be kind\nask before a refund\nnever guess a date\n".to_owned();
    insta::assert_snapshot!(proposal::rollback(&object("", &idle()), "v1", &versions, &view()));
}

#[test]
fn many_at_a_glance() {
    let mut other = object("  suspend: true\n", "");
    other.metadata.name = Some("billing".to_owned());
    insta::assert_snapshot!(list(&[other, object("", &idle())], true, &view()));
}

#[test]
fn a_line_for_each_change() {
    let status = idle().replace("phase: Idle", "phase: Running")
        + "  cycle: {kind: Gate, cause: VersionApplied, inputs: bb, attempt: 0, startedAt: '2026-11-23T11:57:00Z', challenger: v4, progress: {phase: shadow, done: 10, total: 40, cost: '0.1'}}\n";
    insta::assert_snapshot!(change(&object("", &status), &view()), @"Running           shadow 10/40, 0.1 USD; v2 serves");
}

#[test]
fn health_is_what_kstatus_says() {
    let of = |status: &str| Health::of(&object("", status));
    let with = |conditions: &str| of(&format!("\nstatus: {{observedGeneration: 4, conditions: [{conditions}]}}\n"));
    let condition = |kind: &str, status: &str| {
        format!(
            "{{type: {kind}, status: '{status}', reason: X, message: x, lastTransitionTime: '2026-11-23T09:00:00Z'}}"
        )
    };
    let ready = condition("Ready", "True");
    assert_eq!(of(""), Health::NotReady);
    assert_eq!(with(&ready), Health::Ready);
    assert_eq!(with(&condition("Ready", "Unknown")), Health::NotReady);
    assert_eq!(with(&format!("{ready}, {}", condition("Reconciling", "True"))), Health::NotReady);
    assert_eq!(with(&format!("{}, {}", condition("Ready", "False"), condition("Stalled", "True"))), Health::Stalled);
    let of_an_older_spec = format!("\nstatus: {{observedGeneration: 3, conditions: [{ready}]}}\n");
    assert_eq!(of(&of_an_older_spec), Health::NotReady);
}

#[test]
fn a_prompt_cannot_command_the_terminal() {
    let text = diff("@@ -1 +1 @@\n-be kind\n+be \u{1b}[2J kind\n", 10, &view());
    assert_eq!(text, "  @@ -1 +1 @@\n  -be kind\n  +be \u{fffd}[2J kind\n");
    let status = idle().replace("v2 serves}", "\"v2 \\x1b[2J serves\"}");
    assert!(!seen("", &status, VERSIONS).contains('\u{1b}'));
}
