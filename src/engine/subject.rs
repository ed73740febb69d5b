//! What is measured: the prompts of an agent, or transcripts that replace its runs.

use std::sync::Arc;

use whetstone_domain::hash::ContentHash;
use whetstone_domain::ids::ScenarioId;
use whetstone_domain::plan::{Plan, RuntimePlan};
use whetstone_domain::prompt_set::PromptSet;
use whetstone_domain::transcript::Transcript;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The prompts.
    pub prompts: PromptSet,
    /// The agent's own prompt, as it is sent.
    pub system: Arc<str>,
    /// Recorded transcripts that replace runs, sorted by scenario and repeat.
    pub transcripts: Option<Arc<[Transcript]>>,
    /// Identifies the subject: the hash of the prompts, or that of the transcripts.
    pub id: ContentHash,
}

impl Subject {
    /// Prompts to be run.
    #[must_use]
    pub fn prompt(prompts: impl Into<PromptSet>) -> Self {
        let prompts = prompts.into();
        Self { system: prompts.system().text().into(), id: prompts.hash(), transcripts: None, prompts }
    }

    /// Transcripts that were recorded with prompts. Those of a scenario count as its repeats in their order, whatever their
    /// numbers: repeats 2 and 3 of a longer recording are as good as 0 and 1.
    #[must_use]
    pub fn replay(prompts: PromptSet, transcripts: &[Transcript]) -> Self {
        let mut transcripts = transcripts.to_vec();
        transcripts.sort_by(|a, b| (&a.scenario, a.repeat).cmp(&(&b.scenario, b.repeat)));
        for index in 0..transcripts.len() {
            let (before, rest) = transcripts.split_at_mut(index);
            let previous = before.last().filter(|previous| previous.scenario == rest[0].scenario);
            rest[0].repeat = previous.map_or(0, |previous| previous.repeat + 1);
        }
        let id = ContentHash::of_json(&(prompts.hash(), &transcripts));
        Self { system: prompts.system().text().into(), id, transcripts: Some(transcripts.into()), prompts }
    }

    /// The transcript that replaces a run; `None` if there is none for this repeat.
    #[must_use]
    pub fn recorded(&self, scenario: &ScenarioId, repeat: u32) -> Option<&Transcript> {
        let transcripts = self.transcripts.as_deref()?;
        let found = transcripts
            .binary_search_by(|transcript| (&transcript.scenario, transcript.repeat).cmp(&(scenario, repeat)));
        found.ok().map(|index| &transcripts[index])
    }

    /// The number of transcripts beyond this many repeats.
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
