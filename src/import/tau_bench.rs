//! tau-bench: the result files that its `run.py` writes, one entry a task and trial.
//!
//! One scenario a task, one transcript an entry. The reward of an entry is 1 if the database is in the state that the
//! expected actions lead to and everything in `outputs` was said, after a run that came to its end within its steps.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::error::ImportError;
use super::read::{Item, base, json};
use super::scenario::empty;
use super::tools::SeenCalls;
use super::{Imported, Notes, chat, tau};
use crate::domain::hash::ContentHash;
use crate::domain::ids::{ScenarioId, ToolName};
use crate::domain::scenario::{ArgumentMatch, ExpectedCall, Scenario, SimulatedUser};
use crate::domain::transcript::{Ending, Message, Transcript};

/// The action with which an agent speaks to the user; it is no tool.
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
    place: String,
    trial: u32,
    system: Option<String>,
    messages: Vec<Message>,
    ending: Ending,
}

pub(super) fn import(files: &[(&str, &str)]) -> Result<Imported, ImportError> {
    let documents: Vec<(&str, Value)> =
        files.iter().map(|(file, text)| Ok((*file, json(file, text)?))).collect::<Result<_, ImportError>>()?;
    let mut notes = Notes::default();
    let mut tasks: Vec<Task> = Vec::new();
    let mut runs: Vec<Run> = Vec::new();
    for (file, document) in &documents {
        for entry in Item::new(file, "", document).list()? {
            let task = read_task(&entry)?;
            runs.push(read_run(&entry, task.id.clone(), &mut notes)?);
            match tasks.iter().find(|known| known.id == task.id) {
                None => tasks.push(task),
                Some(known) if known.instruction == task.instruction && known.actions == task.actions => {}
                Some(known) => {
                    return Err(entry.error(
                        format!("is another task {} than {}", task.id, known.place),
                        "import the results of one version of one domain at a time",
                    ));
                }
            }
        }
    }
    refuse_repeated_trials(&runs)?;
    note_what_is_lost(&tasks, &runs, files, &mut notes);
    Ok(assemble(tasks, runs, files, notes))
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
        .ok_or_else(|| trial.error("is not a number of a trial", "make it a whole number from 0"))?;
    let items = entry.need("traj")?.list()?;
    let chat = chat::conversation(&items, tool_failed, notes)?;
    let mut messages = chat.messages;
    let ending = end(&mut messages);
    Ok(Run { task, place: entry.place(), trial, system: chat.system, messages, ending })
}

/// tau-bench answers `Error: ...` for a tool that refuses, and `Unknown action ...` for one that does not exist; the
/// database stays as it was.
fn tool_failed(content: &str) -> bool {
    content.starts_with("Error:") || content.starts_with("Unknown action")
}

/// How a run ended. The mark of the simulated user is taken out of what it said.
fn end(messages: &mut Vec<Message>) -> Ending {
    let Some(last) = messages.last_mut() else { return Ending::TurnLimit };
    match last {
        Message::User { text } if text.contains(tau::STOP) => {
            let said = text.replace(tau::STOP, "").trim().to_owned();
            if said.is_empty() {
                messages.pop();
            } else {
                *text = said;
            }
            Ending::UserDone
        }
        // Handing over to a person ends a run, and is the agent's last answer.
        Message::Tool { name, .. } if name.as_str() == tau::TRANSFER => Ending::Answered,
        Message::Assistant { .. } => Ending::Answered,
        Message::User { .. } | Message::Tool { .. } => Ending::TurnLimit,
    }
}

fn refuse_repeated_trials(runs: &[Run]) -> Result<(), ImportError> {
    let mut seen: HashMap<(&str, u32), &str> = HashMap::new();
    for run in runs {
        if let Some(first) = seen.insert((&run.task, run.trial), &run.place) {
            return Err(ImportError::of_file(
                &run.place,
                format!("task {} has trial {} already, at {first}", run.task, run.trial),
                "import the results of one run at a time",
            ));
        }
    }
    Ok(())
}

fn note_what_is_lost(tasks: &[Task], runs: &[Run], files: &[(&str, &str)], notes: &mut Notes) {
    for (file, _) in files {
        notes.add(
            base(file),
            "simulated database",
            "it is not in the file: the scenarios have no mocks. Replay the transcripts, or add mocks to run an agent",
        );
        notes.add(base(file), "recorded rewards", "the transcripts are scored anew");
    }
    for task in tasks {
        let free = task.actions.iter().filter(|action| tau::only_reads(action.tool.as_str()));
        for action in free {
            notes.add(
                format!("task {}", task.id),
                format!("expected call of `{}`", action.tool),
                "it changes nothing, and tau-bench does not demand it either",
            );
        }
    }
    for run in runs {
        let written = run.messages.iter().any(|message| match message {
            Message::Assistant { text, calls } => calls.is_empty() && text.contains("Action:\n{"),
            _ => false,
        });
        if written {
            notes.add(
                format!("task {}, trial {}", run.task, run.trial),
                "tool calls written as text",
                "the agent called tools in its own words (`act` or `react`); no call is seen in the transcript",
            );
        }
    }
}

fn assemble(tasks: Vec<Task>, runs: Vec<Run>, files: &[(&str, &str)], mut notes: Notes) -> Imported {
    let mut seen = SeenCalls::default();
    for task in &tasks {
        for action in &task.actions {
            let arguments = action.arguments.clone().unwrap_or_default();
            seen.add(&action.tool, &Value::Object(arguments));
        }
    }
    for run in &runs {
        see_calls(run, &mut seen);
    }
    let file = files.first().map_or("", |(file, _)| *file);
    let domain = tau::domain(seen.names().map(ToolName::as_str));
    let free = tau::free_tools(seen.names(), file, &mut notes);
    let domain = domain.map_or("tau", |domain| domain.name);
    notes.add(
        base(file),
        "tool definitions",
        "names and parameters are inferred from the calls; descriptions are missing",
    );
    let id = |task: &str| ScenarioId::from(format!("{domain}-{task}"));
    let scenarios = tasks.into_iter().map(|task| scenario(id(&task.id), domain, task, &free)).collect();
    let prompt = most_common_system(&runs, file, &mut notes);
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
    Imported { scenarios, transcripts, tools: seen.definitions(), prompt, notes: notes.0 }
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
    scenario.expect.checks = task.outputs.iter().map(|output| tau::tells(output)).collect();
    scenario
}

/// The calls of a run that tell something about the tools: those that did not fail.
fn see_calls(run: &Run, seen: &mut SeenCalls) {
    let failed: Vec<&str> = run
        .messages
        .iter()
        .filter_map(|message| match message {
            Message::Tool { id, failed: true, .. } => Some(id.as_str()),
            _ => None,
        })
        .collect();
    for message in &run.messages {
        if let Message::Assistant { calls, .. } = message {
            for call in calls.iter().filter(|call| !failed.contains(&call.id.as_str())) {
                seen.add(&call.name, &call.arguments);
            }
        }
    }
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
