//! `whetstone run NAME`: asking the operator for a cycle, and following it to its end.

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
        bail!("{of} is suspended, so that no cycle starts; `{resume}` first");
    }
    let asked = Asked::new(&before, now());
    cluster.optimizations.annotate(&name, annotations::RUN_AT, &asked.value).await?;
    let answer = Answer {
        namespace: cluster.optimizations.namespace().to_owned(),
        name: name.clone(),
        asked: "run",
        value: Some(asked.value.clone()),
        answered: Some(false),
        ..Answer::default()
    };
    if !wait.wait {
        let follow = cluster.view().command(&format!("status {name} --watch"));
        let message = format!("the operator is asked for a cycle; `{follow}` follows it");
        Answer { message, ..answer }.print(output)?;
        return Ok(Exit::Success);
    }
    let answer = Answer { answered: Some(true), ..answer };
    match until(&cluster, &name, wait, |seen| asked.look(seen)).await? {
        Ended::Done(Outcome::Cycle(cycle)) => {
            let exit = Exit::of_verdict(&cycle.verdict);
            Answer { message: told(&cycle), cycle: Some(*cycle), ..answer }.print(output)?;
            Ok(exit)
        }
        Ended::Done(Outcome::NoCycle(message)) => {
            Answer { message: format!("no cycle has ended: {message}"), ..answer }.print(output)?;
            Ok(Exit::Error)
        }
        Ended::Done(Outcome::Hindered(message)) => {
            let message = format!("no cycle starts: {message}; what was asked stands, for when that is mended");
            Answer { message, answered: Some(false), ..answer }.print(output)?;
            Ok(Exit::Error)
        }
        Ended::Interrupted => {
            say("stopped waiting; the cycle goes on");
            Ok(Exit::Stopped)
        }
    }
}

/// `promoted, v3 against v2: the aggregate score rose …`.
fn told(cycle: &FinishedCycle) -> String {
    let versions = match &cycle.challenger {
        Some(challenger) => format!("{challenger} against {}", cycle.champion),
        None => cycle.champion.clone(),
    };
    format!("{}, {versions}: {}", verdict_words(&cycle.verdict).1, line(&cycle.message))
}

/// A cycle that was asked for.
struct Asked {
    /// The value of the annotation: the time.
    value: String,
    /// The cycles that had ended before, by identity and start: those are not meant.
    known: Vec<(String, Timestamp)>,
}

/// What became of it.
enum Outcome {
    Cycle(Box<FinishedCycle>),
    NoCycle(String),
    /// The operator does not get to it unless a person mends something.
    Hindered(String),
}

impl Asked {
    fn new(before: &AgentOptimization, now: Timestamp) -> Self {
        let history = before.status.iter().flat_map(|status| &status.history);
        Self { value: now.to_string(), known: history.map(identity).collect() }
    }

    /// Reads what became of it off the object.
    fn look(&self, seen: &AgentOptimization) -> Look<Outcome> {
        let Some(status) = &seen.status else { return Look::Unanswered };
        let is_new = |cycle: &&FinishedCycle| !self.known.contains(&identity(cycle));
        let answers = |requested: Option<&String>, kind: CycleKind, cause: Cause| match requested {
            Some(requested) => *requested == self.value,
            // An operator of an earlier release does not say which request it answers.
            None => (kind, cause) == (CycleKind::Search, Cause::Requested),
        };
        // Other cycles come in between: a re-evaluation that is due, a version that is gated, what somebody else has asked for.
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
                    let again = format!("; it is tried again after {:.0}", waiting.until);
                    Look::Done(Outcome::NoCycle(line(&waiting.message) + &again))
                }
                _ => under_way(cycle),
            };
        }
        if !is_answered {
            let asked = seen.annotations().get(annotations::RUN_AT);
            return match obstacle(seen) {
                _ if asked != Some(&self.value) => Look::Done(Outcome::NoCycle(match asked {
                    Some(_) => "somebody has asked for another cycle before this one was answered".to_owned(),
                    None => "somebody has taken the request back before it was answered".to_owned(),
                })),
                Some(message) => Look::Done(Outcome::Hindered(line(message))),
                None => turn(status),
            };
        }
        let message = status.handled.as_ref().and_then(|handled| handled.message.as_deref());
        let message = line(message.unwrap_or("the operator gave no reason"));
        let champion = status.champion.as_ref().map_or("nothing", |champion| champion.version.as_str());
        Look::Done(Outcome::NoCycle(format!(
            "the answer was: {message}; the cycle is not there any more, and {champion} serves"
        )))
    }
}

/// What a request waits for before it is answered.
fn turn(status: &AgentOptimizationStatus) -> Look<Outcome> {
    let before = "waiting for the cycle before it";
    let (way, detail) = match (&status.cycle, &status.watch) {
        (Some(cycle), _) => match (&cycle.waiting, &cycle.progress) {
            (Some(waiting), _) => {
                let way = format!("{before}, which failed: {}", line(&waiting.message));
                (way.clone(), way)
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
            let way = if watch.signals.iter().any(|signal| signal.state == SignalState::NoEvidence) {
                format!("waiting until {version} is established, not before every signal can be read")
            } else {
                format!("waiting until {version} is established, at {:.0} if nothing is wrong with it", watch.until)
            };
            (way.clone(), way)
        }
        _ => return Look::Unanswered,
    };
    Look::Under { way, detail }
}

/// What the cycle is at.
fn under_way(cycle: &RunningCycle) -> Look<Outcome> {
    let (way, detail) = match (&cycle.waiting, &cycle.progress) {
        (Some(waiting), _) => {
            let way = format!("failed, to be tried again at {:.0}: {}", waiting.until, line(&waiting.message));
            (way.clone(), way)
        }
        (None, Some(progress)) => {
            let way = line(&progress.phase);
            let cost = line(&progress.cost);
            let detail = match progress.total {
                Some(total) => format!("{way} {}/{total}, cost {cost}", progress.done),
                None => format!("{way}, {} done, cost {cost}", progress.done),
            };
            (way, detail)
        }
        (None, None) => ("started".to_owned(), "started".to_owned()),
    };
    Look::Under { way, detail }
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
        Asked::new(&object(&format!("history: [{OLD}]")), now).look(&object(status))
    }

    const HANDLED: &str = "handled: {runAt: '2026-11-23T12:00:00Z', message: a search was started}";

    #[test]
    fn it_is_unanswered_until_the_operator_says_so() {
        assert!(matches!(look(&format!("history: [{OLD}]")), Look::Unanswered));
        let another = HANDLED.replace("12:00:00", "11:00:00");
        assert!(matches!(look(&format!("{another}, history: [{NEW}, {OLD}]")), Look::Unanswered));
    }

    #[test]
    fn what_stands_before_it_is_told() {
        let on_trial = "watch: {version: v2, since: '2026-11-23T11:00:00Z', until: '2026-11-23T13:00:00Z'}";
        let blind = on_trial.replace(
            '}',
            ", signals: [{name: errors, state: NoEvidence, message: errors has no data, at: '2026-11-23T11:30:00Z'}]}",
        );
        for (status, words) in [
            (RUNNING, "waiting for the cycle before it (run, 3/40)"),
            (&RUNNING.replace(" total: 40,", ""), "waiting for the cycle before it (run, 3 done)"),
            (on_trial, "waiting until v2 is established, at 2026-11-23T13:00:00Z if nothing is wrong with it"),
            (&blind, "waiting until v2 is established, not before every signal can be read"),
        ] {
            let Look::Under { detail, .. } = look(&format!("{status}, history: [{OLD}]")) else { panic!("{status}") };
            assert_eq!(detail, words);
        }
        let ways = [RUNNING, &RUNNING.replace("done: 3", "done: 4")].map(|status| match look(status) {
            Look::Under { way, .. } => way,
            _ => panic!("{status}"),
        });
        assert_eq!(ways[0], ways[1], "a step further is no other way, and no line of its own");
    }

    #[test]
    fn what_a_person_must_mend_is_waited_for_no_longer() {
        let conditions = |observed: u8, ready: &str, reason: &str, stalled: &str| {
            let condition = |kind: &str, status: &str| {
                format!(
                    "{{type: {kind}, status: '{status}', reason: {reason}, message: \"{kind}:\\n no ConfigMap\", lastTransitionTime: '2026-11-23T09:00:00Z'}}"
                )
            };
            let (ready, stalled) = (condition("Ready", ready), condition("Stalled", stalled));
            format!("observedGeneration: {observed}, conditions: [{ready}, {stalled}]")
        };
        for (status, told) in [
            (conditions(2, "False", "TargetNotOwned", "True"), Some("Stalled: no ConfigMap")),
            (conditions(2, "False", "ReferenceMissing", "False"), Some("Ready: no ConfigMap")),
            (conditions(1, "False", "ReferenceMissing", "True"), None),
            (conditions(2, "False", "Applying", "False"), None),
            (conditions(2, "True", "Serving", "False"), None),
        ] {
            match (look(&status), told) {
                (Look::Done(Outcome::Hindered(message)), Some(told)) => assert_eq!(message, told),
                (Look::Unanswered, None) => {}
                _ => panic!("{status}"),
            }
            let answered = look(&format!("{HANDLED}, {RUNNING}, {status}"));
            assert!(matches!(answered, Look::Under { .. }), "a cycle that has started is followed: {status}");
        }
    }

    #[test]
    fn a_failure_that_needs_a_person_is_waited_for_no_longer() {
        let failed = |needs: bool| {
            let waiting = format!(
                "waiting: {{failures: 1, until: '2026-11-23T13:00:00Z', message: no key, needsAPerson: {needs}}}}}"
            );
            look(&format!("{HANDLED}, {}, {waiting}", RUNNING.trim_end_matches('}').to_owned() + "}"))
        };
        assert!(matches!(failed(false), Look::Under { way, .. } if way.starts_with("failed, to be tried again")));
        assert!(matches!(
            failed(true),
            Look::Done(Outcome::NoCycle(message)) if message == "no key; it is tried again after 2026-11-23T13:00:00Z"
        ));
    }

    #[test]
    fn the_cycle_under_way_is_told_and_its_end_is_the_outcome() {
        let Look::Under { way, detail } = look(&format!("{HANDLED}, {RUNNING}, history: [{OLD}]")) else { panic!() };
        assert_eq!((way.as_str(), detail.as_str()), ("run", "run 3/40, cost 0.02"));
        let Look::Done(Outcome::Cycle(cycle)) = look(&format!("{HANDLED}, phase: Idle, history: [{NEW}, {OLD}]"))
        else {
            panic!()
        };
        assert_eq!(told(&cycle), "kept, v2: no better");
    }

    /// A re-evaluation that falls due meanwhile, a gate, and the cycle that somebody else has asked for.
    const OTHERS: [&str; 3] = [
        "{id: cc, kind: Reevaluate, cause: Watch, startedAt: '2026-11-23T12:01:00Z', endedAt: '2026-11-23T12:02:00Z', verdict: Drifted, message: z, champion: v2, cost: '0'}",
        "{id: dd, kind: Gate, cause: VersionApplied, startedAt: '2026-11-23T12:02:00Z', endedAt: '2026-11-23T12:03:00Z', verdict: Promoted, message: z, champion: v2, challenger: v3, cost: '0'}",
        "{id: ee, kind: Search, cause: Requested, requested: theirs, startedAt: '2026-11-23T12:03:00Z', endedAt: '2026-11-23T12:04:00Z', verdict: Promoted, message: z, champion: v2, challenger: v3, cost: '0'}",
    ];

    #[test]
    fn a_cycle_that_ends_meanwhile_is_not_taken_for_the_one_that_was_asked_for() {
        let ours = NEW.replace(
            "kind: Search, cause: Requested",
            "kind: Search, cause: InputsChanged, requested: '2026-11-23T12:00:00Z'",
        );
        for other in OTHERS {
            let under = look(&format!("{HANDLED}, {RUNNING}, history: [{other}, {OLD}]"));
            assert!(matches!(under, Look::Under { way, .. } if way == "run"), "ours is still under way: {other}");
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
        // Somebody else's request was answered since.
        let theirs = HANDLED.replace("2026-11-23T12:00:00Z", "theirs");
        let Look::Done(Outcome::Cycle(cycle)) = look(&format!("{theirs}, history: [{}, {ours}, {OLD}]", OTHERS[2]))
        else {
            panic!()
        };
        assert_eq!(cycle.id, "bb");
    }

    #[test]
    fn a_request_that_is_not_there_any_more_is_waited_for_no_longer() {
        let before = object(&format!("history: [{OLD}]"));
        let asked = Asked::new(&before, "2026-11-23T12:00:00Z".parse().unwrap());
        for (value, told) in
            [(Some("theirs"), "somebody has asked for another cycle"), (None, "taken the request back")]
        {
            let mut seen = before.clone();
            match value {
                Some(value) => drop(seen.annotations_mut().insert(annotations::RUN_AT.to_owned(), value.to_owned())),
                None => drop(seen.annotations_mut().remove(annotations::RUN_AT)),
            }
            assert!(matches!(asked.look(&seen), Look::Done(Outcome::NoCycle(message)) if message.contains(told)));
        }
    }

    #[test]
    fn an_answer_without_a_cycle_is_told_in_the_operators_words() {
        let refused = "handled: {runAt: '2026-11-23T12:00:00Z', message: the budget of the month is spent}";
        let Look::Done(Outcome::NoCycle(message)) = look(&format!("{refused}, phase: Idle, history: [{OLD}]")) else {
            panic!()
        };
        assert!(message.starts_with("the answer was: the budget of the month is spent; "), "{message}");
        let Look::Done(Outcome::NoCycle(message)) = look(&format!("{HANDLED}, phase: Idle, history: [{OLD}]")) else {
            panic!()
        };
        assert!(message.contains("not there any more, and nothing serves"), "{message}");
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
            assert!(!words.contains(char::is_uppercase), "{words} is no word for people");
        }
    }
}
