//! tau-bench: the result files of its `run.py`, with one entry per task and trial.
//!
//! One scenario per task, one transcript per entry. The reward of an entry is 1 if the database is in the state after the
//! expected actions, everything in `outputs` was said, and the run ended within its steps.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::error::ImportError;
use super::read::{Item, base, json};
use super::scenario::empty;
use super::tools::SeenCalls;
use super::{Imported, Notes, chat, tau};
use whetstone_domain::hash::ContentHash;
use whetstone_domain::ids::{ScenarioId, ToolName};
use whetstone_domain::scenario::{ArgumentMatch, ExpectedCall, Scenario, SimulatedUser};
use whetstone_domain::transcript::{Ending, Message, Transcript};

/// The action with which an agent speaks to the user, which is not a tool.
const RESPOND: &str = "respond";

struct Task {
    id: String,
    place: String,
    instruction: String,
    actions: Vec<ExpectedCall>,
    outputs: Vec<String>,
}

struct Run {
    task: String,
    trial: u32,
    system: Option<String>,
    messages: Vec<Message>,
    ending: Ending,
}

pub(super) fn import(files: &[(&str, &str)], notes: &mut Notes) -> Result<Imported, ImportError> {
    let documents: Vec<(&str, Value)> =
        files.iter().map(|(file, text)| Ok((*file, json(file, text)?))).collect::<Result<_, ImportError>>()?;
    let mut tasks: Vec<Task> = Vec::new();
    let mut runs: Vec<Run> = Vec::new();
    let mut known: HashMap<(String, u32), String> = HashMap::new();
    for (file, document) in &documents {
        for entry in Item::new(file, "", document).list()? {
            let read = read_entry(&entry, &mut tasks, &mut known, notes);
            runs.extend(notes.keep(read));
        }
    }
    note_what_is_lost(&tasks, &runs, files, notes);
    Ok(assemble(tasks, runs, files, notes))
}

/// The run of an entry; its task is added if it is new.
fn read_entry(
    entry: &Item,
    tasks: &mut Vec<Task>,
    known: &mut HashMap<(String, u32), String>,
    notes: &mut Notes,
) -> Result<Run, ImportError> {
    let task = read_task(entry)?;
    let run = read_run(entry, task.id.clone(), notes)?;
    if let Some(first) = known.get(&(run.task.clone(), run.trial)) {
        return Err(entry.error(
            format!("task {} already has trial {}, at {first}", run.task, run.trial),
            "import the results of each run separately",
        ));
    }
    match tasks.iter().find(|known| known.id == task.id) {
        None => tasks.push(task),
        Some(known) if known.instruction == task.instruction && known.actions == task.actions => {}
        Some(known) => {
            return Err(entry.error(
                format!("differs from task {} at {}", task.id, known.place),
                "import the results of each domain and version separately",
            ));
        }
    }
    known.insert((run.task.clone(), run.trial), entry.place());
    Ok(run)
}

fn read_task(entry: &Item) -> Result<Task, ImportError> {
    let task = entry.need("info")?.need("task")?;
    let mut actions = Vec::new();
    for action in task.need("actions")?.list()? {
        let tool = action.need("name")?.text()?;
        if tool != RESPOND {
            actions.push(ExpectedCall {
                tool: tool.into(),
                arguments: Some(action.need("kwargs")?.object()?.clone()),
                matching: Some(ArgumentMatch::Exact),
            });
        }
    }
    Ok(Task {
        id: entry.need("task_id")?.scalar()?,
        place: entry.place(),
        instruction: task.need("instruction")?.text()?.to_owned(),
        actions,
        outputs: task.list_or_empty("outputs")?.iter().map(Item::scalar).collect::<Result<_, _>>()?,
    })
}

fn read_run(entry: &Item, task: String, notes: &mut Notes) -> Result<Run, ImportError> {
    let trial = entry.need("trial")?;
    let trial = trial
        .value
        .as_u64()
        .and_then(|number| u32::try_from(number).ok())
        .ok_or_else(|| trial.error("is not a trial number", "make it an integer of at least 0"))?;
    let items = entry.need("traj")?.list()?;
    let chat = chat::conversation(&items, tool_failed, notes)?;
    let mut messages = chat.messages;
    let ending = end(&mut messages);
    Ok(Run { task, trial, system: chat.system, messages, ending })
}

/// tau-bench answers `Error: ...` for a tool that refuses, and `Unknown action ...` for one that does not exist; the
/// database is unchanged.
fn tool_failed(content: &str) -> bool {
    content.starts_with("Error:") || content.starts_with("Unknown action")
}

/// How a run ended.
fn end(messages: &mut Vec<Message>) -> Ending {
    if tau::take_mark(messages) {
        return Ending::UserDone;
    }
    match messages.last() {
        // Transferring the user to a person ends a run, and is the agent's last answer.
        Some(Message::Tool { name, .. }) if name.as_str() == tau::TRANSFER => Ending::Answered,
        Some(Message::Assistant { .. }) => Ending::Answered,
        Some(Message::User { .. } | Message::Tool { .. }) | None => Ending::TurnLimit,
    }
}

fn note_what_is_lost(tasks: &[Task], runs: &[Run], files: &[(&str, &str)], notes: &mut Notes) {
    for (file, _) in files {
        notes.add(
            base(file),
            "simulated database",
            "it is not in the file, so the scenarios have no mocks; replay the transcripts, or add mocks to run an agent",
        );
        notes.add(base(file), "recorded rewards", "the transcripts are scored again");
    }
    for task in tasks {
        let free = task.actions.iter().filter(|action| tau::only_reads(action.tool.as_str()));
        for action in free {
            notes.add(
                format!("task {}", task.id),
                format!("expected call of `{}`", action.tool),
                "it changes nothing, and tau-bench does not require it",
            );
        }
    }
    for run in runs {
        let written = run.messages.iter().any(|message| match message {
            Message::Assistant { text, calls, .. } => calls.is_empty() && text.contains("Action:\n{"),
            _ => false,
        });
        if written {
            notes.add(
                format!("task {}, trial {}", run.task, run.trial),
                "tool calls written as text",
                "the agent wrote its tool calls as text (`act` or `react`), so the transcript has no calls",
            );
        }
    }
}

fn assemble(tasks: Vec<Task>, runs: Vec<Run>, files: &[(&str, &str)], notes: &mut Notes) -> Imported {
    let mut seen = SeenCalls::default();
    for task in &tasks {
        for action in &task.actions {
            let arguments = action.arguments.clone().unwrap_or_default();
            seen.add(&action.tool, &Value::Object(arguments));
        }
    }
    for run in &runs {
        tau::see_calls(&run.messages, &mut seen);
    }
    let file = files.first().map_or("", |(file, _)| *file);
    let domain = tau::domain(seen.names().map(ToolName::as_str));
    let free = tau::free_tools(seen.names(), file, notes);
    let domain = domain.map_or("tau", |domain| domain.name);
    notes.add(
        base(file),
        "tool definitions",
        "names and parameters are inferred from the calls; descriptions are missing",
    );
    let id = |task: &str| ScenarioId::from(format!("{domain}-{task}"));
    let scenarios = tasks.into_iter().map(|task| scenario(id(&task.id), domain, task, &free)).collect();
    let prompt = most_common_system(&runs, file, notes);
    let transcripts = runs
        .into_iter()
        .map(|run| Transcript {
            scenario: id(&run.task),
            repeat: run.trial,
            prompt: run.system.map(|text| ContentHash::of_bytes(text.as_bytes())),
            messages: run.messages,
            ending: run.ending,
        })
        .collect();
    Imported { scenarios, transcripts, tools: seen.definitions(), prompt, ..Imported::default() }
}

fn scenario(id: ScenarioId, domain: &str, task: Task, free: &[ToolName]) -> Scenario {
    let changes: Vec<ExpectedCall> =
        task.actions.into_iter().filter(|action| !tau::only_reads(action.tool.as_str())).collect();
    let mut tags = vec![domain.to_owned()];
    for call in &changes {
        if !tags.iter().any(|tag| tag == call.tool.as_str()) {
            tags.push(call.tool.as_str().to_owned());
        }
    }
    let mut scenario = empty(id);
    scenario.tags = tags;
    scenario.simulated_user =
        Some(SimulatedUser { instructions: task.instruction, opening: None, max_turns: Some(tau::MAX_TURNS) });
    scenario.expect = tau::only_these_changes(changes, free);
    scenario.expect.checks = task.outputs.iter().map(|output| tau::communicates(output)).collect();
    scenario
}

fn most_common_system(runs: &[Run], file: &str, notes: &mut Notes) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for system in runs.iter().filter_map(|run| run.system.as_deref()) {
        *counts.entry(system).or_default() += 1;
    }
    if counts.len() > 1 {
        notes.add(
            base(file),
            format!("{} different system messages", counts.len()),
            "the most frequent one is the prompt; each transcript keeps the hash of its own",
        );
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(system, _)| system.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::{error, files, imported};
    use super::super::{Format, Imported, import};
    use super::*;
    use whetstone_domain::scenario::{CallOrder, ExtraCalls};

    fn results() -> Imported {
        imported(Format::TauBench, &["tau-bench/results.json"])
    }

    #[test]
    fn a_task_becomes_a_scenario_and_every_trial_of_it_a_transcript() {
        let imported = results();
        let ids: Vec<&str> = imported.scenarios.iter().map(|scenario| scenario.id.as_str()).collect();
        assert_eq!(ids, ["airline-0", "airline-1"]);
        let runs: Vec<(&str, u32)> =
            imported.transcripts.iter().map(|run| (run.scenario.as_str(), run.repeat)).collect();
        assert_eq!(runs, [("airline-0", 0), ("airline-1", 0), ("airline-1", 1)]);
        assert_eq!(imported.prompt.as_deref(), Some("# Airline Agent Policy"));
        assert_eq!(imported.transcripts[0].prompt, Some(ContentHash::of_bytes(b"# Airline Agent Policy")));
    }

    #[test]
    fn only_changes_are_expected_and_no_others_are_allowed() {
        let imported = results();
        let expect = &imported.scenario("airline-0").expect;
        let tools: Vec<&str> = expect.calls.iter().map(|call| call.tool.as_str()).collect();
        assert_eq!(tools, ["cancel_reservation", "update_reservation_baggages"]);
        assert_eq!(expect.calls[0].matching, Some(ArgumentMatch::Exact));
        assert_eq!((expect.order, expect.extra_calls), (Some(CallOrder::Any), Some(ExtraCalls::Forbid)));
        let free: Vec<&str> = expect.free_tools.iter().map(ToolName::as_str).collect();
        assert_eq!(free, ["get_user_details", "think", "transfer_to_human_agents"]);
        assert_eq!(imported.scenario("airline-1").expect.calls, [], "handing over changes nothing");
        assert_eq!(expect.checks, [tau::communicates("1628")]);
        let tags = &imported.scenario("airline-0").tags;
        assert_eq!(tags, &["airline", "cancel_reservation", "update_reservation_baggages"]);
    }

    #[test]
    fn a_call_that_the_tool_refused_is_marked_as_failed() {
        let imported = results();
        let answers: Vec<(&str, bool)> = imported.transcripts[0]
            .messages
            .iter()
            .filter_map(|message| match message {
                Message::Tool { name, failed, .. } => Some((name.as_str(), *failed)),
                _ => None,
            })
            .collect();
        assert_eq!(
            answers,
            [("get_user_details", false), ("update_reservation_baggages", true), ("cancel_reservation", false)]
        );
    }

    #[test]
    fn calls_that_share_an_id_in_the_file_are_told_apart() {
        let imported = results();
        let ids: Vec<&str> = imported.transcripts[0].tool_calls().map(|call| call.id.as_str()).collect();
        assert_eq!(ids, ["call_1", "call_2", "call_2-2"]);
        let Message::Tool { id, name, .. } = &imported.transcripts[0].messages[6] else { panic!("a tool answered") };
        assert_eq!((id.as_str(), name.as_str()), ("call_2-2", "cancel_reservation"));
    }

    #[test]
    fn a_run_ends_as_it_did() {
        let imported = results();
        let endings: Vec<Ending> = imported.transcripts.iter().map(|run| run.ending).collect();
        assert_eq!(endings, [Ending::UserDone, Ending::Answered, Ending::TurnLimit]);
        let last = imported.transcripts[0].messages.last();
        assert_eq!(last, Some(&Message::User { text: "Thank you!".to_owned() }), "without the mark of its end");
    }

    #[test]
    fn arguments_that_are_no_json_are_kept_as_text() {
        let imported = results();
        let call = imported.transcripts[1].tool_calls().next().expect("a call was made");
        assert_eq!(call.arguments, json!("not json"));
    }

    #[test]
    fn tools_are_inferred_from_calls_that_worked() {
        let imported = results();
        let names: Vec<&str> = imported.tools.iter().map(|tool| tool.name.as_str()).collect();
        assert!(!names.contains(&"fly_to_moon"), "{names:?}");
        assert_eq!(names.len(), 5, "{names:?}");
    }

    #[test]
    fn a_person_reads_what_was_not_carried_over() {
        insta::assert_snapshot!(results().summary());
    }

    #[test]
    fn the_same_trial_twice_is_left_out_and_noted() {
        let files = files(&["tau-bench/results.json"]);
        let text = files[0].1.as_str();
        let imported = import(Format::TauBench, &[("a.json", text), ("b.json", text)]).unwrap();
        assert_eq!(imported.transcripts.len(), results().transcripts.len());
        let left_out = imported.notes.iter().find(|note| note.what == super::super::note::LEFT_OUT).unwrap();
        insta::assert_snapshot!(format!("{}: {}", left_out.item, left_out.detail), @"b.json: [0]: task 0 already has trial 0, at a.json: [0]; import the results of each run separately");
    }

    #[test]
    fn malformed_results_are_refused_with_their_place() {
        let mut errors = Vec::new();
        let refused = |text: &str| error(Format::TauBench, "out/r.json", text).to_string();
        errors.push(refused(r#"{"a": 1}"#));
        errors.push(refused("[{"));
        errors.push(refused("[]"));
        errors.push(refused(r#"[{"task_id": 1, "traj": [], "trial": 0}]"#));
        let entry = json!([{
            "task_id": 1, "trial": -1, "traj": [],
            "info": {"task": {"instruction": "x", "actions": [{"name": "f", "kwargs": "x"}]}},
        }]);
        errors.push(refused(&entry.to_string()));
        let entry = json!([{
            "task_id": 1, "trial": -1, "traj": [], "info": {"task": {"instruction": "x", "actions": []}},
        }]);
        errors.push(refused(&entry.to_string()));
        let entry = json!([{
            "task_id": 1, "trial": 0, "traj": [{"role": "oracle"}],
            "info": {"task": {"instruction": "x", "actions": []}},
        }]);
        errors.push(refused(&entry.to_string()));
        insta::assert_snapshot!(errors.join("\n"));
    }
}
