//! `spec.scenarios`: reading the suite, and recorded transcripts of it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::super::AgentOptimizationSpec;
use super::super::document::{Content, Document, Node, Reader};
use super::super::problem::{Place, Problem};
use super::super::source::TextSource;
use super::findings::Findings;
use super::references::{Reference, References, Text};
use super::scenario_checks::{self, Allowance, Known};
use whetstone_domain::ids::ScenarioId;
use whetstone_domain::plan::{DimensionPlan, RuntimePlan};
use whetstone_domain::scenario::Scenario;
use whetstone_domain::tool::ToolDefinition;
use whetstone_domain::transcript::Transcript;
use whetstone_domain::words::{by_number, counted};

/// The objects that scenarios may refer to.
#[derive(Clone, Copy)]
pub(super) struct Referents<'a> {
    /// The agent's tools; `None` if they could not be read.
    pub tools: Option<&'a [ToolDefinition]>,
    /// The dimensions.
    pub dimensions: &'a [DimensionPlan],
    /// The runtime of the agent; `None` if it is invalid.
    pub runtime: Option<&'a RuntimePlan>,
}

/// The origin of a scenario.
enum At<'a> {
    /// In a scenario file: the document, and the path in it.
    File(&'a Document, &'a str),
    /// In the resource, at this path.
    Inline(&'a str),
}

impl At<'_> {
    /// A problem with a field of the scenario.
    fn problem(&self, field: &str, message: impl Into<String>, findings: &Findings<'_>) -> Problem {
        let join = |path: &str| match (path, field) {
            ("", field) => field.to_owned(),
            (path, "") => path.to_owned(),
            (path, field) => format!("{path}.{field}"),
        };
        match self {
            Self::File(document, path) => document.problem(join(path), message),
            Self::Inline(path) => findings.problem_at(&join(path), message),
        }
    }

    /// Its location for messages: `FILE:LINE:COLUMN`, or its path.
    fn shown(&self, findings: &Findings<'_>) -> String {
        let problem = self.problem("id", "", findings);
        match problem.place {
            Some(Place { file, line, column }) => format!("{file}:{line}:{column}"),
            None => problem.field,
        }
    }
}

/// The suite, sorted by id.
pub(super) fn resolve(
    spec: &AgentOptimizationSpec,
    references: &References,
    suite: &Referents<'_>,
    findings: &mut Findings<'_>,
) -> Vec<Arc<Scenario>> {
    let mut reading = Reading {
        known: Known::new(suite),
        reader: Reader::default(),
        allowance: Allowance::default(),
        scenarios: Vec::new(),
        first: HashMap::new(),
    };
    let is_complete = reading.sources(spec, references, findings);
    let mut scenarios = reading.scenarios;
    if scenarios.is_empty() && is_complete {
        findings.problem("spec.scenarios", "the suite is empty; add a scenario");
    }
    if !scenarios.is_empty() && scenarios.iter().all(|scenario| scenario.impact() == 0.0) {
        findings.problem("spec.scenarios", "the weight of every scenario is 0; give at least one a positive weight");
    }
    scenarios.sort_by(|a, b| a.id.cmp(&b.id));
    match suite.runtime {
        Some(RuntimePlan::Replay { transcripts }) => recorded(scenarios, transcripts, findings),
        Some(RuntimePlan::Endpoint { .. }) => {
            warn_of_unused_mocks(&scenarios, findings);
            scenarios
        }
        _ => scenarios,
    }
}

/// Warns about mocks in scenarios of an endpoint, which runs its own tools.
fn warn_of_unused_mocks(scenarios: &[Arc<Scenario>], findings: &mut Findings<'_>) {
    let mut with_mocks = scenarios.iter().filter(|scenario| !scenario.mocks.is_empty() || scenario.state.is_some());
    if let Some(first) = with_mocks.next() {
        let count = 1 + with_mocks.count();
        let message = format!(
            "an endpoint runs its own tools, so mocks are not used: {} {} them, such as {:?}",
            counted(count, "scenario"),
            by_number(count, "has", "have"),
            first.id
        );
        findings.warn("spec.agent.runtime.endpoint", message);
    }
}

/// The scenarios read so far. Each is checked while its document is in memory, so that only one document is at a time.
struct Reading<'a> {
    known: Known<'a>,
    reader: Reader<Scenario>,
    allowance: Allowance,
    scenarios: Vec<Arc<Scenario>>,
    /// The location where each id was used first.
    first: HashMap<ScenarioId, String>,
}

impl Reading<'_> {
    /// Reads all sources; false if one could not be read completely.
    fn sources(&mut self, spec: &AgentOptimizationSpec, references: &References, findings: &mut Findings<'_>) -> bool {
        let mut is_complete = true;
        for (index, source) in spec.scenarios.iter().enumerate() {
            let path = format!("spec.scenarios[{index}]");
            let options = [
                ("configMapRef", source.config_map_ref.is_some()),
                ("file", source.file.is_some()),
                ("inline", !source.inline.is_empty()),
            ];
            let Some(given) = findings.exactly_one(&path, &options) else {
                is_complete = false;
                continue;
            };
            for (index, scenario) in source.inline.iter().enumerate() {
                self.add(scenario.clone(), &At::Inline(&format!("{path}.inline[{index}]")), findings);
            }
            let map = source.config_map_ref.as_ref().map(|map| Reference::ConfigMap { name: map.name.clone() });
            let files = source.file.as_ref().map(|file| Reference::Files(file.clone()));
            let Some(reference) = map.or(files) else { continue };
            let why = match references.get(&reference) {
                Some(Ok(texts)) if texts.is_empty() => Some(
                    "no scenarios, because no file or key ends in .yaml, .yml, .json or .jsonl; add one".to_owned(),
                ),
                Some(Ok(texts)) => {
                    for text in texts {
                        is_complete &= self.text(text, findings);
                    }
                    None
                }
                Some(Err(why)) => Some(why.clone()),
                None => Some(references.missing(&reference)),
            };
            if let Some(why) = why {
                is_complete = false;
                findings.problem(&format!("{path}.{given}"), why);
            }
        }
        is_complete
    }

    fn text(&mut self, text: &Text, findings: &mut Findings<'_>) -> bool {
        let before = findings.problems().len();
        if Reference::holds_lines(&text.name) {
            let lines = text.text.strip_prefix('\u{feff}').unwrap_or(&text.text).lines();
            for (index, line) in lines.enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                let documents = Document::read_line(&text.name, line, index, findings.problems());
                self.documents(&documents, findings);
            }
        } else {
            let documents = Document::read_all(&text.name, &text.text, findings.problems());
            self.documents(&documents, findings);
        }
        findings.problems().len() == before
    }

    fn documents(&mut self, documents: &[Document], findings: &mut Findings<'_>) {
        for document in documents {
            for (node, path) in listed(document, findings.problems()) {
                if let Some(scenario) = self.reader.read(document, node, &path, findings.problems()) {
                    self.add(scenario, &At::File(document, &path), findings);
                }
            }
        }
    }

    fn add(&mut self, scenario: Scenario, at: &At<'_>, findings: &mut Findings<'_>) {
        if let Some(place) = self.first.get(&scenario.id) {
            let message = format!("duplicate id {:?}, first used at {place}", scenario.id);
            let problem = at.problem("id", message, findings);
            findings.add(problem);
        } else {
            self.first.insert(scenario.id.clone(), at.shown(findings));
        }
        for (field, message) in scenario_checks::wrong_with(&scenario, &self.known, &mut self.allowance) {
            let problem = at.problem(&field, message, findings);
            findings.add(problem);
        }
        self.scenarios.push(Arc::new(scenario));
    }
}

/// The scenarios of a document: a list, a list under `scenarios`, or a single one.
fn listed<'a>(document: &'a Document, problems: &mut Vec<Problem>) -> Vec<(&'a Node, String)> {
    let root = document.root();
    let (list, path) = match root.get("scenarios") {
        Some(list) => (list, "scenarios"),
        None => (root, ""),
    };
    if let (Content::Map(fields), "scenarios") = (&root.content, path) {
        for field in fields.iter().filter(|field| field.key != "scenarios") {
            let message = format!("unknown field {:?}; the only field is \"scenarios\"", field.key);
            problems.push(document.problem(field.key.as_str(), message));
        }
    }
    match &list.content {
        Content::List(items) => {
            items.iter().enumerate().map(|(index, node)| (node, format!("{path}[{index}]"))).collect()
        }
        Content::Map(_) if path.is_empty() => vec![(root, String::new())],
        Content::Null => Vec::new(),
        _ => {
            let message = format!("expected a list of scenarios, found {}", list.described());
            problems.push(document.problem(path, message));
            Vec::new()
        }
    }
}

/// Recorded transcripts: JSONL, one per line. `None` if some could not be read.
pub(super) fn transcripts(
    source: &TextSource,
    references: &References,
    findings: &mut Findings<'_>,
) -> Option<Vec<Transcript>> {
    let path = "spec.agent.runtime.replay.transcripts";
    let text = findings.text(path, source, references)?;
    let mut transcripts = Vec::new();
    let mut seen = BTreeSet::new();
    let mut is_sound = true;
    let lines = text.text.strip_prefix('\u{feff}').unwrap_or(&text.text).lines();
    for (index, line) in lines.enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let read = serde_json::from_str::<Transcript>(line);
        let (column, message) = match read {
            Ok(transcript) if seen.insert((transcript.scenario.clone(), transcript.repeat)) => {
                transcripts.push(transcript);
                continue;
            }
            Ok(Transcript { scenario, repeat, .. }) => (
                1,
                format!("duplicate transcript of scenario {scenario:?}, repeat {repeat}; number the repeats from 0"),
            ),
            Err(error) => {
                let text = error.to_string();
                // The parser's line number is relative to this line.
                let why = text.split(" at line ").next().unwrap_or_default();
                (error.column().max(1), format!("not a transcript: {why}"))
            }
        };
        is_sound = false;
        let place = Place { file: text.name.clone(), line: index + 1, column };
        findings.add(Problem { place: Some(place), field: String::new(), message });
    }
    if transcripts.is_empty() && is_sound {
        findings.problem(path, format!("{} has no transcripts; a replay needs at least one", text.name));
        return None;
    }
    is_sound.then_some(transcripts)
}

/// The recorded scenarios. The others are left out with a warning.
fn recorded(
    scenarios: Vec<Arc<Scenario>>,
    transcripts: &[Transcript],
    findings: &mut Findings<'_>,
) -> Vec<Arc<Scenario>> {
    let path = "spec.agent.runtime.replay.transcripts";
    let ids: BTreeSet<_> = transcripts.iter().map(|transcript| &transcript.scenario).collect();
    let (kept, left_out): (Vec<_>, Vec<_>) = scenarios.into_iter().partition(|scenario| ids.contains(&scenario.id));
    let unknown: Vec<_> = ids.iter().filter(|id| !kept.iter().any(|scenario| scenario.id == ***id)).collect();
    if kept.is_empty() && !left_out.is_empty() {
        let example = transcripts.first().map(|transcript| transcript.scenario.as_str()).unwrap_or_default();
        let message = format!("no transcript belongs to a scenario of the suite (the first belongs to {example:?})");
        findings.problem(path, message);
    } else if let Some(first) = left_out.first() {
        let count = left_out.len();
        findings.warn(path, format!("scenarios without a transcript, ignored: {count}, such as {:?}", first.id));
    }
    if let (Some(first), false) = (unknown.first(), kept.is_empty()) {
        let count = unknown.len();
        findings
            .warn(path, format!("recorded scenarios that are not in the suite, ignored: {count}, such as {first:?}"));
    }
    kept
}
