//! What is measured: a prompt, or the transcripts that stand in for its runs.

use std::sync::Arc;

use crate::api::plan::{Plan, RuntimePlan};
use crate::domain::hash::ContentHash;
use crate::domain::ids::ScenarioId;
use crate::domain::prompt::Prompt;
use crate::domain::transcript::Transcript;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The prompt.
    pub prompt: Prompt,
    /// The prompt's text, as it is sent.
    pub system: Arc<str>,
    /// Recorded transcripts that stand in for runs, sorted by scenario and repeat.
    pub transcripts: Option<Arc<[Transcript]>>,
    /// Tells subjects apart: the prompt's hash, or that of the transcripts.
    pub id: ContentHash,
}

impl Subject {
    /// A prompt to be run.
    #[must_use]
    pub fn prompt(prompt: Prompt) -> Self {
        Self { system: prompt.text().into(), id: prompt.hash(), transcripts: None, prompt }
    }

    /// Transcripts that were recorded with a prompt. Those of a scenario count as its repeats in their order, whatever
    /// numbers they bear: trials 2 and 3 of a longer recording are as good as trials 0 and 1.
    #[must_use]
    pub fn replay(prompt: Prompt, transcripts: &[Transcript]) -> Self {
        let mut transcripts = transcripts.to_vec();
        transcripts.sort_by(|a, b| (&a.scenario, a.repeat).cmp(&(&b.scenario, b.repeat)));
        for index in 0..transcripts.len() {
            let (before, rest) = transcripts.split_at_mut(index);
            let previous = before.last().filter(|previous| previous.scenario == rest[0].scenario);
            rest[0].repeat = previous.map_or(0, |previous| previous.repeat + 1);
        }
        let id = ContentHash::of_json(&(prompt.hash(), &transcripts));
        Self { system: prompt.text().into(), id, transcripts: Some(transcripts.into()), prompt }
    }

    /// The transcript that stands in for a run; `None` when there is none for this repeat.
    #[must_use]
    pub fn recorded(&self, scenario: &ScenarioId, repeat: u32) -> Option<&Transcript> {
        let transcripts = self.transcripts.as_deref()?;
        let found = transcripts
            .binary_search_by(|transcript| (&transcript.scenario, transcript.repeat).cmp(&(scenario, repeat)));
        found.ok().map(|index| &transcripts[index])
    }

    /// Transcripts of further repeats than so many.
    #[must_use]
    pub fn recorded_beyond(&self, repeats: u32) -> usize {
        let transcripts = self.transcripts.as_deref().unwrap_or_default();
        transcripts.iter().filter(|transcript| transcript.repeat >= repeats).count()
    }

    /// The champion of a plan.
    #[must_use]
    pub fn champion(plan: &Plan) -> Self {
        match &plan.runtime {
            RuntimePlan::Replay { transcripts } => Self::replay(plan.champion.clone(), transcripts),
            RuntimePlan::Model { .. } | RuntimePlan::Endpoint { .. } => Self::prompt(plan.champion.clone()),
        }
    }
}
