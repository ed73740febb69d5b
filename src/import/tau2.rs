//! tau2-bench: the tasks of a domain, with its policy and its split if they are given, and the simulations of a result
//! file.

mod simulation;

use std::collections::HashMap;

use serde_json::Value;

use super::error::ImportError;
use super::read::{Item, base, extension, json};
use super::scenario::{append, empty};
use super::tools::SeenCalls;
use super::{Imported, Notes, tau};
use whetstone_domain::ids::{ScenarioId, ToolName};
use whetstone_domain::scenario::{ArgumentMatch, ExpectedCall, Scenario, SimulatedUser};
use whetstone_domain::transcript::Transcript;

/// An action that tau2 expects of the agent.
struct Action {
    call: ExpectedCall,
    arguments: serde_json::Map<String, Value>,
}

/// A parsed task, before the tools of all tasks are known.
struct Task {
    scenario: Scenario,
    actions: Vec<Action>,
    basis: Vec<String>,
    place: String,
}

pub(super) fn import(files: &[(&str, &str)], notes: &mut Notes) -> Result<Imported, ImportError> {
    let mut documents: Vec<(&str, Value)> = Vec::new();
    let mut splits: Vec<(&str, Value)> = Vec::new();
    let mut prompt = None;
    for (file, text) in files {
        if matches!(extension(file).as_str(), "md" | "txt") {
            append(&mut prompt, text.trim());
            continue;
        }
        let value = json(file, text)?;
        if is_split(&value) {
            splits.push((*file, value));
        } else {
            documents.push((*file, value));
        }
    }
    let mut tasks = Vec::new();
    let mut transcripts = Vec::new();
    for (file, document) in &documents {
        let root = Item::new(file, "", document);
        // A file of simulations also contains the tasks.
        let list = root.get("tasks").unwrap_or_else(|| root.clone()).list()?;
        if root.get("simulations").is_some() {
            transcripts.extend(simulation::read(&root, notes)?);
            prompt = prompt.or(simulation::policy(&root)?);
            notes.add(base(file), "recorded rewards", "the transcripts are scored again");
        }
        for item in list {
            let task = read_task(&item, notes);
            tasks.extend(notes.keep(task));
        }
    }
    let mut imported = assemble(tasks, transcripts, documents.first().map_or("", |(file, _)| *file), notes);
    imported.prompt = prompt;
    for (file, split) in &splits {
        add_split(&Item::new(file, "", split), &mut imported, notes)?;
    }
    Ok(imported)
}

/// Whether a document is a split: names of parts, each with a list of task ids.
fn is_split(value: &Value) -> bool {
    let ids = |value: &Value| value.as_array().is_some_and(|ids| ids.iter().all(|id| id.is_string() || id.is_number()));
    value.as_object().is_some_and(|parts| !parts.is_empty() && parts.values().all(ids))
}

fn add_split(split: &Item, imported: &mut Imported, notes: &mut Notes) -> Result<(), ImportError> {
    let ids = imported.scenarios.iter().enumerate();
    let index: HashMap<String, usize> = ids.map(|(at, scenario)| (task_id(scenario).to_owned(), at)).collect();
    for part in split.object()?.keys() {
        // Every task is in `base`, so it is not informative.
        if part == "base" {
            continue;
        }
        for id in split.list_or_empty(part)? {
            let Some(at) = index.get(&id.scalar()?) else {
                notes.add(id.place(), "task in the split", "there is no such task");
                continue;
            };
            imported.scenarios[*at].tags.push(format!("split:{part}"));
        }
    }
    Ok(())
}

/// The id of the task of a scenario, whose own id begins with the domain.
fn task_id(scenario: &Scenario) -> &str {
    let domain = scenario.tags.first().map_or("", String::as_str);
    let id = scenario.id.as_str();
    id.strip_prefix(domain).and_then(|id| id.strip_prefix('-')).unwrap_or(id)
}

fn read_task(item: &Item, notes: &mut Notes) -> Result<Task, ImportError> {
    let user = item.need("user_scenario")?;
    let mut scenario = empty(item.need("id")?.scalar()?);
    scenario.simulated_user =
        Some(SimulatedUser { instructions: instructions(&user)?, opening: None, max_turns: Some(tau::MAX_TURNS) });
    if let Some(domain) = user.need("instructions")?.get("domain") {
        scenario.tags.push(domain.scalar()?);
    }
    if let Some(state) = item.get("initial_state") {
        notes.add(state.place(), "initial state", "databases are not supported; add mocks to run an agent");
    }
    let mut task = Task { scenario, actions: Vec::new(), basis: Vec::new(), place: item.place() };
    if let Some(criteria) = item.get("evaluation_criteria") {
        read_criteria(&criteria, &mut task, notes)?;
    } else {
        notes.add(item.place(), "task without evaluation criteria", "the scenario expects nothing");
    }
    Ok(task)
}

/// The instructions of the simulated user, in one text.
fn instructions(user: &Item) -> Result<String, ImportError> {
    let instructions = user.need("instructions")?;
    let mut text = None;
    if let Some(persona) = user.get("persona") {
        append(&mut text, persona.scalar()?.trim());
    }
    if instructions.value.is_string() {
        append(&mut text, instructions.text()?.trim());
    } else {
        let parts = [
            ("reason_for_call", "Why you call:"),
            ("known_info", "What you know:"),
            ("unknown_info", "What you do not know:"),
            ("task_instructions", "How you behave:"),
        ];
        for (key, heading) in parts {
            if let Some(part) = instructions.get(key) {
                append(&mut text, &format!("{heading}\n{}", part.scalar()?.trim()));
            }
        }
    }
    text.ok_or_else(|| instructions.error("is empty", "add \"task_instructions\" or \"reason_for_call\""))
}

fn read_criteria(criteria: &Item, task: &mut Task, notes: &mut Notes) -> Result<(), ImportError> {
    task.basis = criteria.list_or_empty("reward_basis")?.iter().map(Item::scalar).collect::<Result<_, _>>()?;
    for action in criteria.list_or_empty("actions")? {
        let of_user = action.get("requestor").map(|who| who.scalar()).transpose()?.as_deref() == Some("user");
        if of_user {
            notes.add(action.place(), "action of the user", "only the agent's calls are compared");
        } else {
            task.actions.push(read_action(&action)?);
        }
    }
    let expect = &mut task.scenario.expect;
    for info in criteria.list_or_empty("communicate_info")? {
        expect.checks.push(tau::communicates(&info.scalar()?));
    }
    let assertions: Vec<String> =
        criteria.list_or_empty("nl_assertions")?.iter().map(Item::scalar).collect::<Result<_, _>>()?;
    if !assertions.is_empty() {
        let lines: Vec<String> = assertions.iter().map(|assertion| format!("- {assertion}")).collect();
        expect.rubric = Some(format!("All of this must hold:\n{}", lines.join("\n")));
        if !task.basis.is_empty() && !task.basis.iter().any(|part| part == "NL_ASSERTION") {
            notes.add(
                criteria.place(),
                "assertions that tau2's reward ignores",
                "they become the scenario's rubric for the judge",
            );
        }
    }
    for assertion in criteria.list_or_empty("env_assertions")? {
        notes.add(assertion.place(), "assertion on the environment", "environments are not supported");
    }
    Ok(())
}

fn read_action(action: &Item) -> Result<Action, ImportError> {
    let arguments = action.get("arguments").map(|arguments| arguments.object().cloned()).transpose()?;
    let arguments = arguments.unwrap_or_default();
    // `compare_args` lists the arguments that are compared. Defaults to all.
    let (compared, matching) = match action.get("compare_args") {
        None => (Some(arguments.clone()), Some(ArgumentMatch::Exact)),
        Some(names) => {
            let names: Vec<String> = names.list()?.iter().map(Item::scalar).collect::<Result<_, _>>()?;
            let some = arguments.iter().filter(|(key, _)| names.contains(key));
            let some: serde_json::Map<String, Value> = some.map(|(key, value)| (key.clone(), value.clone())).collect();
            if some.is_empty() { (None, None) } else { (Some(some), Some(ArgumentMatch::Subset)) }
        }
    };
    let call = ExpectedCall { tool: action.need("name")?.text()?.into(), arguments: compared, matching };
    Ok(Action { call, arguments })
}

fn assemble(tasks: Vec<Task>, mut transcripts: Vec<Transcript>, file: &str, notes: &mut Notes) -> Imported {
    let mut seen = SeenCalls::default();
    for action in tasks.iter().flat_map(|task| &task.actions) {
        seen.add(&action.call.tool, &Value::Object(action.arguments.clone()));
    }
    for transcript in &transcripts {
        tau::see_calls(&transcript.messages, &mut seen);
    }
    let domain = tau::domain(seen.names().map(ToolName::as_str));
    // The agent has tools that no task expects to be called; only their names are known.
    for tool in domain.into_iter().flat_map(tau::Domain::tools) {
        seen.add(&tool.into(), &Value::Null);
    }
    let free = tau::free_tools(seen.names(), file, notes);
    let domain = domain.map_or("tau2", |domain| domain.name);
    let scenarios: Vec<Scenario> = tasks.into_iter().map(|task| finish(task, domain, &free, notes)).collect();
    let ids: HashMap<&str, &ScenarioId> = scenarios.iter().map(|scenario| (task_id(scenario), &scenario.id)).collect();
    transcripts.retain_mut(|transcript| {
        let Some(id) = ids.get(transcript.scenario.as_str()) else {
            notes.add(format!("task {}", transcript.scenario), "simulation", "its task does not exist");
            return false;
        };
        transcript.scenario = (*id).clone();
        true
    });
    if !file.is_empty() {
        notes.add(
            base(file),
            "simulated database",
            "it is not in the file; add mocks to run an agent on the scenarios",
        );
        let what = "parameters are inferred from the expected actions, so some tools have only a name; descriptions are missing";
        notes.add(base(file), "tool definitions", what);
    }
    Imported { scenarios, transcripts, tools: seen.definitions(), ..Imported::default() }
}

/// The scenario of a task, given the free tools. tau2 compares the database if its reward basis has `DB`, and each
/// action if it has `ACTION`.
fn finish(task: Task, domain: &str, free: &[ToolName], notes: &mut Notes) -> Scenario {
    let Task { mut scenario, actions, basis, place } = task;
    let counts = |part: &str| basis.iter().any(|name| name == part);
    let every_action = counts("ACTION");
    let database = basis.is_empty() || counts("DB");
    let mut calls = Vec::new();
    for Action { mut call, arguments } in actions {
        let changes = !tau::only_reads(call.tool.as_str());
        if database && changes {
            // Comparing the database compares all arguments, regardless of `compare_args`.
            call.arguments = Some(arguments);
            call.matching = Some(ArgumentMatch::Exact);
        }
        if every_action || (database && changes) {
            calls.push(call);
        } else {
            let detail = "tau2's reward does not depend on it";
            notes.add(&place, format!("expected call of `{}`", call.tool), detail);
        }
    }
    if scenario.tags.is_empty() {
        scenario.tags.push(domain.to_owned());
    }
    for call in calls.iter().filter(|call| !tau::only_reads(call.tool.as_str())) {
        if !scenario.tags.iter().any(|tag| tag == call.tool.as_str()) {
            scenario.tags.push(call.tool.as_str().to_owned());
        }
    }
    scenario.id = format!("{}-{}", scenario.tags[0], scenario.id).into();
    let (checks, rubric) = (std::mem::take(&mut scenario.expect.checks), scenario.expect.rubric.take());
    scenario.expect = if database {
        tau::only_these_changes(calls, free)
    } else {
        whetstone_domain::scenario::Expectation { calls, ..Default::default() }
    };
    scenario.expect.checks = checks;
    scenario.expect.rubric = rubric;
    scenario
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{error, imported};
    use super::super::{Format, Imported};
    use serde_json::json;
    use whetstone_domain::scenario::ArgumentMatch;
    use whetstone_domain::transcript::{Ending, Message};

    fn tasks() -> Imported {
        imported(Format::Tau2, &["tau2/tasks.json", "tau2/policy.md", "tau2/split_tasks.json"])
    }

    #[test]
    fn a_task_becomes_a_scenario_with_a_simulated_user() {
        let imported = tasks();
        let scenario = imported.scenario("airline-0");
        insta::assert_yaml_snapshot!(scenario);
        assert_eq!(
            imported.scenario("airline-1").simulated_user.as_ref().map(|user| user.instructions.as_str()),
            Some("Call because your phone has no signal.")
        );
    }

    #[test]
    fn the_policy_is_the_prompt_and_the_split_becomes_tags() {
        let imported = tasks();
        assert_eq!(imported.prompt.as_deref(), Some("# Airline agent policy\n\nDo not cancel without insurance."));
        assert_eq!(imported.scenario("airline-0").tags, ["airline", "update_reservation_baggages", "split:train"]);
        assert_eq!(imported.scenario("airline-1").tags, ["airline", "split:test"]);
    }

    #[test]
    fn what_is_compared_follows_the_reward_basis() {
        let imported = tasks();
        let database = &imported.scenario("airline-0").expect.calls;
        assert_eq!(database.len(), 1, "a look-up changes nothing");
        let arguments = database[0].arguments.clone().map(serde_json::Value::Object);
        assert_eq!(arguments, Some(json!({"reservation_id": "EHGLP3", "total_baggages": 3})));
        assert_eq!(database[0].matching, Some(ArgumentMatch::Exact), "the database shows every argument");
        let actions = &imported.scenario("airline-1").expect;
        assert_eq!(actions.calls.len(), 1);
        assert_eq!(actions.calls[0].arguments, None, "no argument is compared");
        assert_eq!(actions.extra_calls, None);
    }

    #[test]
    fn every_free_tool_is_defined() {
        let imported = tasks();
        for tool in &imported.scenario("airline-0").expect.free_tools {
            assert!(imported.tools.iter().any(|defined| &defined.name == tool), "{tool}");
        }
    }

    #[test]
    fn simulations_become_transcripts_of_what_the_agent_saw() {
        let imported = imported(Format::Tau2, &["tau2/results.json"]);
        assert_eq!(imported.prompt.as_deref(), Some("Be careful."));
        assert_eq!(imported.transcripts.len(), 1, "a run that the benchmark aborted is not a run of the agent");
        let run = &imported.transcripts[0];
        assert_eq!((run.scenario.as_str(), run.repeat, run.ending), ("airline-7", 0, Ending::UserDone));
        let failed: Vec<bool> = run
            .messages
            .iter()
            .filter_map(|message| match message {
                Message::Tool { failed, .. } => Some(*failed),
                _ => None,
            })
            .collect();
        assert_eq!(failed, [true, false], "without the tool of the user");
        assert_eq!(run.final_answer(), "It is cancelled.");
        assert!(imported.summary().contains("simulation that ended with `infrastructure_error`"));
    }

    #[test]
    fn a_person_reads_what_was_not_carried_over() {
        insta::assert_snapshot!(tasks().summary());
    }

    #[test]
    fn malformed_tasks_are_refused_with_their_place() {
        let mut errors = Vec::new();
        let refused = |text: &str| error(Format::Tau2, "tasks.json", text).to_string();
        errors.push(refused(r#"[{"id": "0"}]"#));
        errors.push(refused(r#"[{"id": "0", "user_scenario": {"instructions": {}}}]"#));
        errors.push(refused(
            r#"[{"id": "0", "user_scenario": {"instructions": "x"}, "evaluation_criteria": {"actions": {}}}]"#,
        ));
        errors.push(refused(r#"{"train": ["0"]}"#));
        insta::assert_snapshot!(errors.join("\n"));
    }
}
