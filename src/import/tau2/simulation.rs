//! Simulations: the runs in a result file of tau2.

use std::collections::HashSet;

use serde_json::Value;

use super::super::error::ImportError;
use super::super::read::Item;
use super::super::{Notes, chat, tau};
use whetstone_domain::hash::ContentHash;
use whetstone_domain::transcript::{Ending, Transcript};

/// The runs of a result file, each with the id of its task. Runs that ended in an error of the benchmark are reported.
pub(super) fn read(root: &Item, notes: &mut Notes) -> Result<Vec<Transcript>, ImportError> {
    let policy = policy(root)?.map(|policy| ContentHash::of_bytes(policy.as_bytes()));
    let mut transcripts = Vec::new();
    let mut taken: HashSet<(String, u32)> = HashSet::new();
    for run in root.list_or_empty("simulations")? {
        let read = read_run(&run, policy, &mut taken, notes);
        transcripts.extend(notes.keep(read).flatten());
    }
    Ok(transcripts)
}

/// One run; none if the benchmark aborted it.
fn read_run(
    run: &Item,
    policy: Option<ContentHash>,
    taken: &mut HashSet<(String, u32)>,
    notes: &mut Notes,
) -> Result<Option<Transcript>, ImportError> {
    let reason = run.get("termination_reason").map(|reason| reason.scalar()).transpose()?.unwrap_or_default();
    let agents: Vec<Item> = run.need("messages")?.list()?.into_iter().filter(of_agent).collect();
    let mut messages = chat::conversation(&agents, |content| content.starts_with("Error:"), notes)?.messages;
    let user_done = tau::take_mark(&mut messages);
    let ending = match reason.as_str() {
        "max_steps" | "too_many_errors" => Ending::TurnLimit,
        "user_stop" => Ending::UserDone,
        "" if user_done => Ending::UserDone,
        "" | "agent_stop" => Ending::Answered,
        other => {
            let what = format!("simulation that ended with `{other}`");
            notes.add(run.place(), what, "it is not a failure of the prompt, so there is no transcript");
            return Ok(None);
        }
    };
    let task = run.need("task_id")?.scalar()?;
    let trial = run.get("trial").and_then(|trial| trial.value.as_u64()).unwrap_or(0);
    let repeat = u32::try_from(trial).unwrap_or(u32::MAX);
    if !taken.insert((task.clone(), repeat)) {
        let problem = format!("task {task} already has trial {repeat}");
        return Err(run.error(problem, "import the results of each run separately"));
    }
    Ok(Some(Transcript { scenario: task.into(), repeat, prompt: policy, messages, ending }))
}

/// The policy of the agent.
pub(super) fn policy(root: &Item) -> Result<Option<String>, ImportError> {
    let info = root.get("info").and_then(|info| info.get("environment_info"));
    info.and_then(|info| info.get("policy")).map(|policy| policy.scalar()).transpose()
}

/// Whether the agent sees a message: users call their own tools, which it does not see.
fn of_agent(message: &Item) -> bool {
    let has = |key: &str| message.get(key).is_some_and(|found| found.value != &Value::from(""));
    let role = message.get("role").and_then(|role| role.value.as_str());
    let of_user = message.get("requestor").is_some_and(|who| who.value == "user");
    !(of_user || role == Some("user") && !has("content"))
}
