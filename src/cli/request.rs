//! `whetstone run NAME`: requests a cycle from the operator, and follows it to its end.

use anyhow::bail;
use jiff::Timestamp;
use kube::ResourceExt as _;

use super::Format;
use super::cluster::follow::{Ended, Look, until};
use super::cluster::{Answer, Cluster, ClusterArgs, Wait, now, say};
use super::exit::Exit;
use crate::api::AgentOptimization;
use crate::api::intent::annotations;
use crate::api::status::{AgentOptimizationStatus, Cause, CycleKind, FinishedCycle, RunningCycle, SignalState};
use crate::web::status::{obstacle, verdict_words};
use crate::web::terminal::line;

pub(super) async fn request(
    object: &str,
    wait: &Wait,
    output: Format,
    arguments: &ClusterArgs,
) -> anyhow::Result<Exit> {
    let (cluster, name) = Cluster::reach_object(arguments, object).await?;
    let before = cluster.optimizations.get(&name).await?;
    let of = cluster.object(&name);
    if before.spec.suspend {
        let resume = cluster.view().command(&format!("resume {name}"));
        bail!("{of} is suspended, so no cycle can start; run `{resume}` first");
    }
    let request = Request::new(&before, now());
    cluster.optimizations.annotate(&name, annotations::RUN_AT, &request.value).await?;
    let answer = Answer {
        namespace: cluster.optimizations.namespace().to_owned(),
        name: name.clone(),
        asked: "run",
        value: Some(request.value.clone()),
        answered: Some(false),
        ..Answer::default()
    };
    if !wait.wait {
        let follow = cluster.view().command(&format!("status {name} --watch"));
        let message = format!("requested a cycle; follow it with `{follow}`");
        Answer { message, ..answer }.print(output)?;
        return Ok(Exit::Success);
    }
    let answer = Answer { answered: Some(true), ..answer };
    match until(&cluster, &name, wait, |seen| request.look(seen)).await? {
        Ended::Done(Outcome::Cycle(cycle)) => {
            let exit = Exit::of_verdict(&cycle.verdict);
            Answer { message: result_line(&cycle), cycle: Some(*cycle), ..answer }.print(output)?;
            Ok(exit)
        }
        Ended::Done(Outcome::NoCycle(message)) => {
            Answer { message: format!("no cycle was completed: {message}"), ..answer }.print(output)?;
            Ok(Exit::Error)
        }
        Ended::Done(Outcome::Blocked(message)) => {
            let message = format!("no cycle was started: {message}; the request is kept and runs once this is fixed");
            Answer { message, answered: Some(false), ..answer }.print(output)?;
            Ok(Exit::Error)
        }
        Ended::Interrupted => {
            say("stopped waiting; the cycle continues");
            Ok(Exit::Stopped)
        }
    }
}

/// `promoted, v3 against v2: the aggregate score rose …`.
fn result_line(cycle: &FinishedCycle) -> String {
    let versions = match &cycle.challenger {
        Some(challenger) => format!("{challenger} against {}", cycle.champion),
        None => cycle.champion.clone(),
    };
    format!("{}, {versions}: {}", verdict_words(&cycle.verdict).1, line(&cycle.message))
}

/// A request for a cycle.
struct Request {
    /// The value of the annotation: the time.
    value: String,
    /// The ID and start of each cycle that ended before the request.
    known: Vec<(String, Timestamp)>,
}

/// How a request ended.
enum Outcome {
    Cycle(Box<FinishedCycle>),
    NoCycle(String),
    /// The operator cannot start the cycle until a person fixes a problem.
    Blocked(String),
}

impl Request {
    fn new(before: &AgentOptimization, now: Timestamp) -> Self {
        let history = before.status.iter().flat_map(|status| &status.history);
        Self { value: now.to_string(), known: history.map(identity).collect() }
    }

    /// Reads the progress or the outcome of the request from the object.
    fn look(&self, seen: &AgentOptimization) -> Look<Outcome> {
        let Some(status) = &seen.status else { return Look::Unanswered };
        let is_new = |cycle: &&FinishedCycle| !self.known.contains(&identity(cycle));
        let answers = |requested: Option<&String>, kind: CycleKind, cause: Cause| match requested {
            Some(requested) => *requested == self.value,
            // An operator of an earlier release does not say which request it answers.
            None => (kind, cause) == (CycleKind::Search, Cause::Requested),
        };
        // Other cycles may run in between: a re-evaluation, the gating of a version, the request of another user.
        let is_ours = |cycle: &&FinishedCycle| answers(cycle.requested.as_ref(), cycle.kind, cycle.cause);
        let handled = status.handled.as_ref().and_then(|handled| handled.run_at.as_ref());
        let is_answered = handled == Some(&self.value);
        let is_certain = |cycle: &&FinishedCycle| is_answered || cycle.requested.is_some();
        if let Some(cycle) = status.history.iter().filter(is_new).filter(is_certain).find(is_ours) {
            return Look::Done(Outcome::Cycle(Box::new(cycle.clone())));
        }
        let running = status.cycle.as_ref();
        let ours = running.filter(|cycle| is_answered || cycle.requested.is_some());
        if let Some(cycle) = ours.filter(|cycle| answers(cycle.requested.as_ref(), cycle.kind, cycle.cause)) {
            return match &cycle.waiting {
                Some(waiting) if waiting.needs_a_person => {
                    let again = format!("; the operator retries it after {:.0}", waiting.until);
                    Look::Done(Outcome::NoCycle(line(&waiting.message) + &again))
                }
                _ => in_progress(cycle),
            };
        }
        if !is_answered {
            let asked = seen.annotations().get(annotations::RUN_AT);
            return match obstacle(seen) {
                _ if asked != Some(&self.value) => Look::Done(Outcome::NoCycle(match asked {
                    Some(_) => "another request replaced this one before it was answered".to_owned(),
                    None => "the request was withdrawn before it was answered".to_owned(),
                })),
                Some(message) => Look::Done(Outcome::Blocked(line(message))),
                None => turn(status),
            };
        }
        let message = status.handled.as_ref().and_then(|handled| handled.message.as_deref());
        let message = line(message.unwrap_or("the operator gave no reason"));
        let champion = status.champion.as_ref().map_or("no version", |champion| champion.version.as_str());
        Look::Done(Outcome::NoCycle(format!(
            "the operator answered: {message}; the cycle is no longer in the status, and {champion} serves"
        )))
    }
}

/// Describes what a request waits for before it is answered.
fn turn(status: &AgentOptimizationStatus) -> Look<Outcome> {
    let before = "waiting for the previous cycle";
    let (step, detail) = match (&status.cycle, &status.watch) {
        (Some(cycle), _) => match (&cycle.waiting, &cycle.progress) {
            (Some(waiting), _) => {
                let step = format!("{before}, which failed: {}", line(&waiting.message));
                (step.clone(), step)
            }
            (None, Some(progress)) => {
                let phase = line(&progress.phase);
                let done = match progress.total {
                    Some(total) => format!("{}/{total}", progress.done),
                    None => format!("{} done", progress.done),
                };
                (format!("{before} ({phase})"), format!("{before} ({phase}, {done})"))
            }
            (None, None) => (before.to_owned(), before.to_owned()),
        },
        (None, Some(watch)) if !watch.established => {
            let version = &watch.version;
            let step = if watch.signals.iter().any(|signal| signal.state == SignalState::NoEvidence) {
                format!("waiting until {version} is established, which requires that all signals can be read")
            } else {
                format!("waiting until {version} is established, at {:.0} unless it breaches a limit", watch.until)
            };
            (step.clone(), step)
        }
        _ => return Look::Unanswered,
    };
    Look::InProgress { step, detail }
}

/// Describes the progress of the cycle.
fn in_progress(cycle: &RunningCycle) -> Look<Outcome> {
    let (step, detail) = match (&cycle.waiting, &cycle.progress) {
        (Some(waiting), _) => {
            let step = format!("failed, will be retried at {:.0}: {}", waiting.until, line(&waiting.message));
            (step.clone(), step)
        }
        (None, Some(progress)) => {
            let step = line(&progress.phase);
            let cost = line(&progress.cost);
            let detail = match progress.total {
                Some(total) => format!("{step} {}/{total}, cost {cost}", progress.done),
                None => format!("{step}, {} done, cost {cost}", progress.done),
            };
            (step, detail)
        }
        (None, None) => ("started".to_owned(), "started".to_owned()),
    };
    Look::InProgress { step, detail }
}

fn identity(cycle: &FinishedCycle) -> (String, Timestamp) {
    (cycle.id.clone(), cycle.started_at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::status::CycleVerdict;

    const OLD: &str = "{id: aa, kind: Search, cause: First, startedAt: '2026-11-23T09:00:00Z', endedAt: '2026-11-23T09:01:00Z', verdict: Promoted, message: x, champion: v1, cost: '0'}";
    const NEW: &str = "{id: bb, kind: Search, cause: Requested, startedAt: '2026-11-23T12:00:01Z', endedAt: '2026-11-23T12:01:00Z', verdict: Kept, message: no better, champion: v2, cost: '0'}";
    const RUNNING: &str = "cycle: {kind: Search, cause: Requested, inputs: cc, attempt: 0, startedAt: '2026-11-23T12:00:01Z', progress: {phase: run, done: 3, total: 40, cost: '0.02'}}";

    fn object(status: &str) -> AgentOptimization {
        let yaml = format!(
            "apiVersion: whetstone.dev/v1alpha1\nkind: AgentOptimization\nmetadata: {{name: support, namespace: shop, generation: 2, annotations: {{whetstone.dev/run-at: '2026-11-23T12:00:00Z'}}}}\nspec: {{agent: {{prompt: {{text: x}}, runtime: {{model: {{ref: worker}}}}}}, scenarios: [{{configMapRef: {{name: s}}}}]}}\nstatus: {{{status}}}\n"
        );
        serde_saphyr::from_str(&yaml).unwrap()
    }

    fn look(status: &str) -> Look<Outcome> {
        let now = "2026-11-23T12:00:00Z".parse().unwrap();
        Request::new(&object(&format!("history: [{OLD}]")), now).look(&object(status))
    }

    const HANDLED: &str = "handled: {runAt: '2026-11-23T12:00:00Z', message: a search was started}";

    #[test]
    fn it_is_unanswered_until_the_operator_answers() {
        assert!(matches!(look(&format!("history: [{OLD}]")), Look::Unanswered));
        let another = HANDLED.replace("12:00:00", "11:00:00");
        assert!(matches!(look(&format!("{another}, history: [{NEW}, {OLD}]")), Look::Unanswered));
    }

    #[test]
    fn the_obstacle_before_it_is_reported() {
        let watched = "watch: {version: v2, since: '2026-11-23T11:00:00Z', until: '2026-11-23T13:00:00Z'}";
        let blind = watched.replace(
            '}',
            ", signals: [{name: errors, state: NoEvidence, message: errors has no data, at: '2026-11-23T11:30:00Z'}]}",
        );
        for (status, words) in [
            (RUNNING, "waiting for the previous cycle (run, 3/40)"),
            (&RUNNING.replace(" total: 40,", ""), "waiting for the previous cycle (run, 3 done)"),
            (watched, "waiting until v2 is established, at 2026-11-23T13:00:00Z unless it breaches a limit"),
            (&blind, "waiting until v2 is established, which requires that all signals can be read"),
        ] {
            let Look::InProgress { detail, .. } = look(&format!("{status}, history: [{OLD}]")) else {
                panic!("{status}")
            };
            assert_eq!(detail, words);
        }
        let steps = [RUNNING, &RUNNING.replace("done: 3", "done: 4")].map(|status| match look(status) {
            Look::InProgress { step, .. } => step,
            _ => panic!("{status}"),
        });
        assert_eq!(steps[0], steps[1], "another run of the same phase gets no line of its own");
    }

    #[test]
    fn a_problem_that_needs_a_person_ends_the_wait() {
        let conditions = |observed: u8, ready: &str, reason: &str, stalled: &str| {
            let condition = |kind: &str, status: &str| {
                format!(
                    "{{type: {kind}, status: '{status}', reason: {reason}, message: \"{kind}:\\n no ConfigMap\", lastTransitionTime: '2026-11-23T09:00:00Z'}}"
                )
            };
            let (ready, stalled) = (condition("Ready", ready), condition("Stalled", stalled));
            format!("observedGeneration: {observed}, conditions: [{ready}, {stalled}]")
        };
        for (status, blocked) in [
            (conditions(2, "False", "TargetNotOwned", "True"), Some("Stalled: no ConfigMap")),
            (conditions(2, "False", "ReferenceMissing", "False"), Some("Ready: no ConfigMap")),
            (conditions(1, "False", "ReferenceMissing", "True"), None),
            (conditions(2, "False", "Applying", "False"), None),
            (conditions(2, "True", "Serving", "False"), None),
        ] {
            match (look(&status), blocked) {
                (Look::Done(Outcome::Blocked(message)), Some(blocked)) => assert_eq!(message, blocked),
                (Look::Unanswered, None) => {}
                _ => panic!("{status}"),
            }
            let answered = look(&format!("{HANDLED}, {RUNNING}, {status}"));
            assert!(matches!(answered, Look::InProgress { .. }), "a cycle that has started is followed: {status}");
        }
    }

    #[test]
    fn a_failure_that_needs_a_person_ends_the_wait() {
        let failed = |needs: bool| {
            let waiting = format!(
                "waiting: {{failures: 1, until: '2026-11-23T13:00:00Z', message: no key, needsAPerson: {needs}}}}}"
            );
            look(&format!("{HANDLED}, {}, {waiting}", RUNNING.trim_end_matches('}').to_owned() + "}"))
        };
        assert!(matches!(failed(false), Look::InProgress { step, .. } if step.starts_with("failed, will be retried")));
        assert!(matches!(
            failed(true),
            Look::Done(Outcome::NoCycle(message)) if message == "no key; the operator retries it after 2026-11-23T13:00:00Z"
        ));
    }

    #[test]
    fn the_running_cycle_is_reported_and_its_end_is_the_outcome() {
        let Look::InProgress { step, detail } = look(&format!("{HANDLED}, {RUNNING}, history: [{OLD}]")) else {
            panic!()
        };
        assert_eq!((step.as_str(), detail.as_str()), ("run", "run 3/40, cost 0.02"));
        let Look::Done(Outcome::Cycle(cycle)) = look(&format!("{HANDLED}, phase: Idle, history: [{NEW}, {OLD}]"))
        else {
            panic!()
        };
        assert_eq!(result_line(&cycle), "kept, v2: no better");
    }

    /// A re-evaluation, a gate, and a cycle that another user requested.
    const OTHERS: [&str; 3] = [
        "{id: cc, kind: Reevaluate, cause: Watch, startedAt: '2026-11-23T12:01:00Z', endedAt: '2026-11-23T12:02:00Z', verdict: Drifted, message: z, champion: v2, cost: '0'}",
        "{id: dd, kind: Gate, cause: VersionApplied, startedAt: '2026-11-23T12:02:00Z', endedAt: '2026-11-23T12:03:00Z', verdict: Promoted, message: z, champion: v2, challenger: v3, cost: '0'}",
        "{id: ee, kind: Search, cause: Requested, requested: theirs, startedAt: '2026-11-23T12:03:00Z', endedAt: '2026-11-23T12:04:00Z', verdict: Promoted, message: z, champion: v2, challenger: v3, cost: '0'}",
    ];

    #[test]
    fn another_cycle_that_ends_meanwhile_is_not_mistaken_for_the_requested_one() {
        let ours = NEW.replace(
            "kind: Search, cause: Requested",
            "kind: Search, cause: InputsChanged, requested: '2026-11-23T12:00:00Z'",
        );
        for other in OTHERS {
            let running = look(&format!("{HANDLED}, {RUNNING}, history: [{other}, {OLD}]"));
            assert!(matches!(running, Look::InProgress { step, .. } if step == "run"), "ours still runs: {other}");
            for ours in [NEW, &ours] {
                let next = RUNNING.replace("kind: Search, cause: Requested", "kind: Reevaluate, cause: Watch");
                for status in [
                    format!("{HANDLED}, history: [{other}, {ours}, {OLD}]"),
                    format!("{HANDLED}, {next}, history: [{ours}, {other}, {OLD}]"),
                ] {
                    let Look::Done(Outcome::Cycle(cycle)) = look(&status) else { panic!("{status}") };
                    assert_eq!(cycle.id, "bb", "{status}");
                }
            }
        }
        // The request of another user was answered since.
        let theirs = HANDLED.replace("2026-11-23T12:00:00Z", "theirs");
        let Look::Done(Outcome::Cycle(cycle)) = look(&format!("{theirs}, history: [{}, {ours}, {OLD}]", OTHERS[2]))
        else {
            panic!()
        };
        assert_eq!(cycle.id, "bb");
    }

    #[test]
    fn a_replaced_or_withdrawn_request_ends_the_wait() {
        let before = object(&format!("history: [{OLD}]"));
        let request = Request::new(&before, "2026-11-23T12:00:00Z".parse().unwrap());
        for (value, expected) in
            [(Some("theirs"), "another request replaced this one"), (None, "the request was withdrawn")]
        {
            let mut seen = before.clone();
            match value {
                Some(value) => drop(seen.annotations_mut().insert(annotations::RUN_AT.to_owned(), value.to_owned())),
                None => drop(seen.annotations_mut().remove(annotations::RUN_AT)),
            }
            assert!(matches!(request.look(&seen), Look::Done(Outcome::NoCycle(message)) if message.contains(expected)));
        }
    }

    #[test]
    fn an_answer_without_a_cycle_is_reported_in_the_operators_words() {
        let refused = "handled: {runAt: '2026-11-23T12:00:00Z', message: the budget of the month is spent}";
        let Look::Done(Outcome::NoCycle(message)) = look(&format!("{refused}, phase: Idle, history: [{OLD}]")) else {
            panic!()
        };
        assert!(message.starts_with("the operator answered: the budget of the month is spent; "), "{message}");
        let Look::Done(Outcome::NoCycle(message)) = look(&format!("{HANDLED}, phase: Idle, history: [{OLD}]")) else {
            panic!()
        };
        assert!(message.contains("no longer in the status, and no version serves"), "{message}");
    }

    #[test]
    fn every_verdict_has_the_exit_code_of_a_local_run() {
        for (verdict, code) in
            [("Promoted", 0), ("Passed", 0), ("Kept", 10), ("BelowThreshold", 11), ("Inconclusive", 12), ("Failed", 1)]
        {
            assert_eq!(Exit::of_verdict(&verdict.to_owned().into()) as u8, code, "{verdict}");
        }
        for verdict in CycleVerdict::ALL {
            let (_, words) = verdict_words(&verdict);
            assert!(!words.contains(char::is_uppercase), "{words:?} is not plain English");
        }
    }
}
