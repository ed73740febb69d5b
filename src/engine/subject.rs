//! What is measured: a prompt, or the transcripts that stand in for its runs.

use std::sync::Arc;

use crate::api::plan::{Plan, RuntimePlan};
use crate::domain::hash::ContentHash;
use crate::domain::prompt::Prompt;
use crate::domain::transcript::Transcript;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The prompt.
    pub prompt: Prompt,
    /// The prompt's text, as it is sent.
    pub system: Arc<str>,
    /// Recorded transcripts that stand in for runs.
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

    /// Transcripts that were recorded with a prompt.
    #[must_use]
    pub fn replay(prompt: Prompt, transcripts: Arc<[Transcript]>) -> Self {
        let id = ContentHash::of_json(&(prompt.hash(), &transcripts));
        Self { system: prompt.text().into(), id, transcripts: Some(transcripts), prompt }
    }

    /// The champion of a plan.
    #[must_use]
    pub fn champion(plan: &Plan) -> Self {
        match &plan.runtime {
            RuntimePlan::Replay { transcripts } => Self::replay(plan.champion.clone(), Arc::clone(transcripts)),
            RuntimePlan::Model { .. } | RuntimePlan::Endpoint { .. } => Self::prompt(plan.champion.clone()),
        }
    }
}
