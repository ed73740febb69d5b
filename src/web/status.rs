//! The status of an AgentOptimization as text for a terminal. Pure: objects and the current time go in, text comes out.

mod list;
mod next;
mod past;
pub(crate) mod proposal;
mod signals;
mod words;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

pub(crate) use self::list::{change, list};
pub(crate) use self::past::{history, newest_first, version_name};
pub(crate) use self::words::{Health, obstacle, verdict_words};
use super::moment::relative;
use super::terminal::{Terminal, Tone, line, lines};
use crate::api::intent::annotations;
use crate::api::resolve::{self, breaches, promotion};
use crate::api::status::{AgentOptimizationStatus, Progress, RunningCycle, WatchStatus};
use crate::api::{AgentOptimization, PromptVersion};
use whetstone_domain::plan::promotion::Approval;
use whetstone_domain::words::counted;

/// The column in which the text after a label begins.
const COLUMN: usize = 13;

/// How and when the text is rendered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    /// The current time.
    pub now: Timestamp,
    /// The terminal.
    pub terminal: Terminal,
    /// The name under which the program was called, such as `kubectl whetstone`, for suggested commands.
    pub program: &'a str,
    /// The flags that select this cluster, such as `--context kind-shop`; empty if none are needed.
    pub cluster: &'a str,
    /// The flag that selects this namespace, such as `--namespace shop`; empty if none is needed.
    pub namespace: &'a str,
}

impl View<'_> {
    /// A command that can be run as shown.
    #[must_use]
    pub(crate) fn command(&self, words: &str) -> String {
        joined(&[self.program, words, self.namespace, self.cluster])
    }

    /// A command about all namespaces.
    #[must_use]
    pub(crate) fn command_everywhere(&self, words: &str) -> String {
        joined(&[self.program, words, "--all-namespaces", self.cluster])
    }

    /// A kubectl command, which has the same flags for cluster and namespace.
    fn kubectl(&self, words: &str) -> String {
        joined(&["kubectl", words, self.namespace, self.cluster])
    }

    /// The command that shows whether an operator is running in any namespace. The labels are those of the chart and the manifests.
    #[must_use]
    pub(crate) fn operator(&self) -> String {
        joined(&[
            "kubectl get deployments,pods --all-namespaces --selector app.kubernetes.io/name=whetstone",
            self.cluster,
        ])
    }

    /// The command that shows which replica is active. The operator creates the Lease, without labels, under this name unless
    /// `--lease-name` sets another.
    #[must_use]
    pub(crate) fn lease(&self) -> String {
        joined(&["kubectl get leases --all-namespaces --field-selector metadata.name=whetstone", self.cluster])
    }
}

fn joined(words: &[&str]) -> String {
    words.iter().copied().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// One page: the state and its reasons, the last cycles, the versions, and what can be done next.
#[must_use]
pub(crate) fn page(object: &AgentOptimization, versions: &[PromptVersion], view: &View<'_>) -> String {
    let mut text = headline(object, view);
    let facts: String = facts(object, view)
        .into_iter()
        .map(|Fact { label, tone, text }| view.terminal.labelled(label, COLUMN, tone, &text))
        .collect();
    section(&mut text, "", &facts, view);
    if let Some(status) = &object.status {
        if let Some(watch) = &status.watch {
            section(&mut text, "signals", &signals::table(watch, object.spec.watch.as_ref(), view), view);
        }
        section(&mut text, "cycles", &past::cycles(&status.history, &currency(object), view), view);
    }
    section(&mut text, "versions", &past::lineage(versions, 1, view), view);
    section(&mut text, "next", &next::suggestions(object, view), view);
    text
}

fn section(text: &mut String, heading: &str, content: &str, view: &View<'_>) {
    if content.is_empty() {
        return;
    }
    text.push('\n');
    if !heading.is_empty() {
        text.push_str(&view.terminal.paint(Tone::Strong, heading));
        text.push('\n');
    }
    text.push_str(content);
}

/// The currency of budget and prices.
fn currency(object: &AgentOptimization) -> String {
    let spent = object.status.as_ref().and_then(|status| status.cost.as_ref()).map(|cost| cost.currency.clone());
    spent.unwrap_or_else(|| resolve::currency(&object.spec))
}

/// `NAMESPACE/NAME`.
#[must_use]
pub(crate) fn object_of(object: &AgentOptimization) -> String {
    match object.namespace() {
        Some(namespace) => format!("{namespace}/{}", object.name_any()),
        None => object.name_any(),
    }
}

/// A condition by its type.
#[must_use]
pub(crate) fn condition<'a>(object: &'a AgentOptimization, kind: &str) -> Option<&'a Condition> {
    object.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == kind)
}

/// Whether `Ready` is true, even if something is in progress.
fn is_ready(object: &AgentOptimization) -> bool {
    condition(object, "Ready").is_some_and(|ready| ready.status == "True")
}

fn headline(object: &AgentOptimization, view: &View<'_>) -> String {
    let health = Health::of(object);
    let (tone, mark) = health.mark();
    let phase = object.status.as_ref().and_then(|status| status.phase);
    let state = match (phase, health) {
        (None, _) => "no status yet".to_owned(),
        (Some(phase), Health::Ready) => format!("{}, ready", phase.as_str()),
        (Some(phase), Health::Stalled) => phase.as_str().to_owned(),
        (Some(phase), Health::NotReady) if is_ready(object) => format!("{}, in progress", phase.as_str()),
        (Some(phase), Health::NotReady) => format!("{}, not ready", phase.as_str()),
    };
    let name = view.terminal.paint(Tone::Strong, &object_of(object));
    let mut text = format!("{name}  {}\n", view.terminal.paint(tone, &format!("{mark} {state}")));
    let mut say = |tone: Tone, words: &str| text.push_str(&view.terminal.labelled("", 0, tone, words));
    if let Some(ready) = condition(object, "Ready") {
        say(Tone::Plain, &lines(&ready.message));
    }
    if object.metadata.deletion_timestamp.is_some() {
        say(Tone::Notable, "being deleted");
    }
    match object.status.as_ref().and_then(|status| status.observed_generation) {
        None => {
            let namespace = object.namespace().unwrap_or_default();
            say(
                Tone::Notable,
                &format!(
                    "not reconciled yet; check that the operator is running and watches the namespace {namespace}"
                ),
            );
        }
        Some(observed) if Some(observed) != object.metadata.generation => {
            say(Tone::Notable, "the spec was changed and has not been reconciled yet");
        }
        Some(_) => {}
    }
    text
}

/// A labeled line of the page.
struct Fact {
    label: &'static str,
    tone: Tone,
    text: String,
}

fn facts(object: &AgentOptimization, view: &View<'_>) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut add = |label: &'static str, tone: Tone, text: String| facts.push(Fact { label, tone, text });
    let spec = &object.spec;
    let nothing = AgentOptimizationStatus::default();
    let status = object.status.as_ref().unwrap_or(&nothing);
    if let Some(champion) = &status.champion {
        let origin = champion.origin.words();
        let since = relative(champion.since, view.now);
        add(
            "champion",
            Tone::Plain,
            format!("{}{}, {origin}, {since}", champion.version, scored(champion.score.as_ref())),
        );
    }
    if let Some(before) = &status.predecessor {
        let restored = if spec.pin.is_none() { ", which a rollback restores" } else { "" };
        add("predecessor", Tone::Plain, format!("{}{restored}", before.version));
    }
    if let Some(challenger) = &status.challenger {
        let (tone, state) = if challenger.awaits_approval {
            (Tone::Notable, "has passed the gate and waits for approval")
        } else {
            (Tone::Plain, "in the gate")
        };
        add("challenger", tone, format!("{}{}, {state}", challenger.version, scored(challenger.score.as_ref())));
    }
    // A pinned version that serves is not listed as quarantined.
    let serves = |hash: &str| status.champion.as_ref().is_some_and(|champion| champion.hash == hash);
    let quarantine = status.quarantine.iter().filter(|version| !serves(&version.hash));
    let names: Vec<&str> = quarantine.map(|version| version.version.as_str()).collect();
    if !names.is_empty() {
        add("quarantine", Tone::Plain, format!("{}: not promoted again unless requested", names.join(", ")));
    }
    if let Some(cycle) = &status.cycle {
        let words = cycle_words(cycle, view);
        if spec.suspend {
            add("cycle", Tone::Faint, format!("{words}; stopped, continues when resumed"));
        } else {
            add("cycle", Tone::Busy, words);
        }
        if let Some(progress) = cycle.progress.as_ref().filter(|_| !spec.suspend) {
            add("", Tone::Busy, progress_words(progress, &currency(object), true));
        }
        if let Some(waiting) = &cycle.waiting {
            let times =
                if waiting.failures == 1 { "once".to_owned() } else { format!("{} times in a row", waiting.failures) };
            let until = relative(waiting.until, view.now);
            let retry = if cycle.progress.is_some() { "retrying now".to_owned() } else { format!("retry {until}") };
            add("", Tone::Bad, format!("failed {times}, {retry}: {}", lines(&waiting.message)));
        }
    }
    if let Some(watch) = &status.watch {
        let (tone, text) = watch_words(watch, breaches(spec), view);
        add("watch", tone, text);
    }
    if let (1.., Some(at)) = (status.reevaluations, status.reevaluated_at) {
        let times =
            if status.reevaluations == 1 { "once".to_owned() } else { format!("{} times", status.reevaluations) };
        add("re-evaluated", Tone::Plain, format!("{times}, last {}", relative(at, view.now)));
    }
    if let Some(pin) = &spec.pin {
        add("pin", Tone::Notable, pin_words(pin, status));
    }
    if spec.suspend {
        add("suspended", Tone::Notable, "no cycles start; the champion is still watched".to_owned());
    }
    if promotion(spec).approval == Approval::Manual {
        add("approval", Tone::Plain, "every promotion requires manual approval".to_owned());
    }
    if let Some(schedule) = &spec.schedule {
        let zone = schedule.zone();
        let next = match status.schedule.as_ref().and_then(|schedule| schedule.next) {
            Some(_) if spec.suspend => ", not while suspended".to_owned(),
            Some(next) => format!(", next {}", relative(next, view.now)),
            None => String::new(),
        };
        add("schedule", Tone::Plain, format!("{} ({zone}){next}", schedule.cron));
    }
    for (label, tone, text) in request_lines(object, view.now) {
        add(label, tone, text);
    }
    if let Some(cost) = &status.cost {
        let cycles = counted(status.cycles, "cycle");
        add("cost", Tone::Plain, format!("{} {} in {cycles}", cost.amount, cost.currency));
    }
    // Conditions whose message is in the headline already are not repeated.
    let said = condition(object, "Ready").map(|ready| ready.message.as_str());
    let unusual = |condition: &&Condition| words::is_unusual(condition) && said != Some(condition.message.as_str());
    for condition in status.conditions.iter().filter(unusual) {
        let tone = if condition.type_ == "Stalled" { Tone::Bad } else { Tone::Notable };
        let since = relative(condition.last_transition_time.0, view.now);
        let Condition { type_, status, reason, message, .. } = condition;
        add("condition", tone, format!("{type_}={status} ({reason}, {since}): {}", lines(message)));
    }
    facts
}

fn pin_words(pin: &str, status: &AgentOptimizationStatus) -> String {
    match &status.champion {
        Some(champion) if champion.version == pin => format!("spec.pin keeps {pin} serving, regardless of the gate"),
        Some(champion) => format!("spec.pin is {pin}, but {} serves", champion.version),
        None => format!("spec.pin is {pin}, but no version serves yet"),
    }
}

fn scored(score: Option<&String>) -> String {
    score.map(|score| format!(", score {score}")).unwrap_or_default()
}

fn cycle_words(cycle: &RunningCycle, view: &View<'_>) -> String {
    let what = words::kind(cycle.kind);
    let whom = cycle.challenger.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let attempt =
        if cycle.attempt > 0 { format!(", attempt {} with these inputs", cycle.attempt + 1) } else { String::new() };
    let since = relative(cycle.started_at, view.now);
    format!("{what}{whom} ({}), started {since}{attempt}", words::cause(cycle.cause))
}

/// `patch ████████░░░░ 12/40, 0.42 USD`; without the bar, `patch 12/40, 0.42 USD`.
fn progress_words(progress: &Progress, currency: &str, with_bar: bool) -> String {
    const BAR: i64 = 24;
    let phase = line(&progress.phase);
    let spent = format!("{} {currency}", line(&progress.cost));
    match progress.total.filter(|total| *total > 0) {
        Some(total) => {
            let done = progress.done.clamp(0, total);
            let full = done.saturating_mul(BAR) / total;
            let bar: String = (0..BAR).map(|at| if at < full { '█' } else { '░' }).collect();
            let bar = if with_bar { format!("{bar} ") } else { String::new() };
            format!("{phase} {bar}{done}/{total}, {spent}")
        }
        None if progress.done > 0 => format!("{phase}, {} done, {spent}", progress.done),
        None => format!("{phase}, {spent}"),
    }
}

fn watch_words(watch: &WatchStatus, limit: u32, view: &View<'_>) -> (Tone, String) {
    let version = &watch.version;
    if watch.breaches > 0 {
        let counted = format!("{} of the {limit} consecutive breaches that cause a rollback", watch.breaches);
        return (Tone::Bad, format!("{version}: {counted}"));
    }
    if watch.established {
        return (Tone::Good, format!("{version} is established"));
    }
    if signals::is_silent(watch) {
        return (Tone::Notable, format!("{version}: cannot be established until every signal can be read"));
    }
    if watch.until <= view.now {
        return (
            Tone::Notable,
            format!("{version} will be established once every signal has been read within its limits"),
        );
    }
    (
        Tone::Plain,
        format!("{version}, will be established {} unless it breaches a limit", relative(watch.until, view.now)),
    )
}

/// A one-time request by annotation.
struct Request<'a> {
    what: &'static str,
    value: &'a str,
    is_answered: bool,
}

/// The requests by annotation, and whether the operator has answered them.
fn requests(object: &AgentOptimization) -> Vec<Request<'_>> {
    let handled = object.status.as_ref().and_then(|status| status.handled.clone()).unwrap_or_default();
    let known = [
        (annotations::RUN_AT, "a cycle,", handled.run_at),
        (annotations::APPROVE, "approval of", handled.approve),
        (annotations::ROLLBACK_TO, "rollback to", handled.rollback_to),
    ];
    let requests = known.into_iter().filter_map(|(key, what, answered)| {
        let value = object.annotations().get(key)?;
        Some(Request { what, value, is_answered: answered.as_ref() == Some(value) })
    });
    requests.collect()
}

/// Whether a request is pending.
fn has_pending_request(object: &AgentOptimization) -> bool {
    requests(object).iter().any(|request| !request.is_answered)
}

/// The requests as label, tone and text.
fn request_lines(object: &AgentOptimization, now: Timestamp) -> Vec<(&'static str, Tone, String)> {
    let requests = requests(object);
    let lines_of = requests.iter().map(|Request { what, value, is_answered }| {
        // The value of a request for a cycle is usually the time, but may be any text.
        let value = value.parse().map_or_else(|_| line(value), |at: Timestamp| relative(at, now));
        let (tone, answered) =
            if *is_answered { (Tone::Plain, "answered") } else { (Tone::Notable, "not answered yet") };
        ("requested", tone, format!("{what} {value}: {answered}"))
    });
    let mut rows: Vec<_> = lines_of.collect();
    let answer = object.status.as_ref().and_then(|status| status.handled.as_ref()?.message.as_ref());
    // While a request is pending, an older answer would be mistaken for its answer.
    if let Some(message) = answer.filter(|_| requests.iter().all(|request| request.is_answered)) {
        rows.push(("answer", Tone::Plain, lines(message)));
    }
    rows
}

#[cfg(test)]
mod tests;
