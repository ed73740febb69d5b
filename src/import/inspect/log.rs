//! Evaluation logs: what the agent did with every sample and epoch.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::super::Notes;
use super::super::chat;
use super::super::error::ImportError;
use super::super::read::{Item, base};
use super::super::scenario::Draft;
use super::super::tools::SeenCalls;
use super::{read_sample, scorers, targets};
use whetstone_domain::hash::ContentHash;
use whetstone_domain::ids::ScenarioId;
use whetstone_domain::tool::ToolDefinition;
use whetstone_domain::transcript::{Ending, Message, Transcript};

/// The contents of the logs.
#[derive(Default)]
pub(super) struct Logged {
    pub drafts: Vec<Draft>,
    pub transcripts: Vec<Transcript>,
    pub tools: Vec<ToolDefinition>,
}

pub(super) fn import(logs: &[(&str, Value)], notes: &mut Notes) -> Result<Logged, ImportError> {
    let task = |log: &Value| log.pointer("/eval/task").and_then(Value::as_str).unwrap_or("task").to_owned();
    let tasks: HashSet<String> = logs.iter().map(|(_, log)| task(log)).collect();
    let mut reader = Reader::default();
    for (file, log) in logs {
        let root = Item::new(file, "", log);
        // Ids are unique in a task only.
        let prefix = if tasks.len() > 1 { format!("{}-", task(log)) } else { String::new() };
        let scorers = scorers::of_log(&root)?;
        scorers::note_others(&scorers, notes);
        let samples = root.get("samples").ok_or_else(|| {
            root.error("has no \"samples\"", "write the log with its samples: inspect log dump, without --header-only")
        })?;
        for (index, sample) in samples.list()?.iter().enumerate() {
            let whole = with_attachments(sample.value);
            let read = reader.read(&sample.holding(&whole), index, &prefix, &scorers, notes);
            notes.keep(read);
        }
        notes.add(base(file), "recorded scores", "the transcripts are scored again");
    }
    if !reader.seen.is_empty() {
        let file = logs.first().map_or("", |(file, _)| *file);
        notes.add(
            base(file),
            "tool definitions",
            "names and parameters are inferred from the calls; descriptions are missing",
        );
    }
    Ok(Logged { drafts: reader.drafts, transcripts: reader.transcripts, tools: reader.seen.definitions() })
}

/// The sample with its long texts put back: a log keeps them apart, under a hash.
fn with_attachments(sample: &Value) -> Value {
    let parts = ["id", "epoch", "input", "target", "choices", "metadata", "sandbox", "files", "setup", "messages"];
    let texts = sample.get("attachments");
    let mut whole: serde_json::Map<String, Value> =
        parts.iter().filter_map(|key| Some(((*key).to_owned(), put_back(sample.get(key)?, texts)))).collect();
    for key in ["error", "limit"] {
        whole.extend(sample.get(key).map(|found| (key.to_owned(), found.clone())));
    }
    Value::Object(whole)
}

fn put_back(value: &Value, texts: Option<&Value>) -> Value {
    match value {
        Value::String(text) => {
            let hash = text.strip_prefix("attachment://");
            hash.and_then(|hash| texts?.get(hash)).unwrap_or(value).clone()
        }
        Value::Array(items) => items.iter().map(|item| put_back(item, texts)).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(key, field)| (key.clone(), put_back(field, texts))).collect())
        }
        other => other.clone(),
    }
}

#[derive(Default)]
struct Reader {
    drafts: Vec<Draft>,
    transcripts: Vec<Transcript>,
    seen: SeenCalls,
    known: HashMap<ScenarioId, (Value, String)>,
    taken: HashSet<(ScenarioId, u32)>,
}

impl Reader {
    fn read(
        &mut self,
        sample: &Item,
        index: usize,
        prefix: &str,
        scorers: &[scorers::Scorer],
        notes: &mut Notes,
    ) -> Result<(), ImportError> {
        let chat = chat::conversation(&sample.list_or_empty("messages")?, |_| false, notes)?;
        // Notes about the sample are added once, not for each epoch.
        let mut about_sample = Notes::default();
        let mut draft = read_sample(sample, index, &mut about_sample)?;
        draft.scenario.id = format!("{prefix}{}", draft.scenario.id).into();
        let id = draft.scenario.id.clone();
        let input = sample.need("input")?.value;
        match self.known.get(&id) {
            Some((same, _)) if same == input => {}
            Some((_, first)) => {
                return Err(sample.error(
                    format!("is another sample {id} than {first}"),
                    "import the logs of one version of one dataset at a time",
                ));
            }
            None => {
                self.known.insert(id.clone(), (input.clone(), sample.place()));
                notes.append(about_sample);
                let targets = targets(sample)?;
                draft.scenario.expect.checks =
                    scorers.iter().filter_map(|scorer| scorers::check(scorer, &targets)).collect();
                // The log has the message that the agent received, with the templates of the task filled in.
                if let (Some(message), Some(Message::User { text })) =
                    (&mut draft.scenario.message, chat.messages.first())
                {
                    message.clone_from(text);
                }
                if draft.system.is_none() {
                    draft.system.clone_from(&chat.system);
                }
                self.drafts.push(draft);
            }
        }
        if sample.get("error").is_some() {
            notes.add(
                sample.place(),
                "sample that ended in an error",
                "an error is not a failure of the prompt, so there is no transcript",
            );
            return Ok(());
        }
        if chat.messages.is_empty() {
            notes.add(sample.place(), "sample without messages", "there is no transcript");
            return Ok(());
        }
        for message in &chat.messages {
            if let Message::Assistant { calls, .. } = message {
                for call in calls {
                    self.seen.add(&call.name, &call.arguments);
                }
            }
        }
        let epoch = sample.get("epoch").and_then(|epoch| epoch.value.as_u64()).unwrap_or(1);
        let mut repeat = u32::try_from(epoch.saturating_sub(1)).unwrap_or(0);
        if self.taken.contains(&(id.clone(), repeat)) {
            notes.add(
                sample.place(),
                "further run of a sample",
                "another log has this epoch already, so it counts as one more repeat of the same agent; import the logs of \
                 different agents apart, and compare them with --challenger-transcripts",
            );
        }
        while !self.taken.insert((id.clone(), repeat)) {
            repeat += 1;
        }
        self.transcripts.push(Transcript {
            scenario: id,
            repeat,
            prompt: chat.system.map(|text| ContentHash::of_bytes(text.as_bytes())),
            messages: chat.messages,
            ending: if sample.get("limit").is_some() { Ending::TurnLimit } else { Ending::Answered },
        });
        Ok(())
    }
}
