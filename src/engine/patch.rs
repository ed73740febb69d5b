//! Phase *patch*: one cluster of failures and the prompt → a candidate prompt.
//!
//! The patch model returns edit operations, not a rewrite. A proposal becomes a candidate only if its edits apply, touch no
//! protected section, keep the prompt within its budget, copy nothing out of the scenarios, and were not tried before.

mod leak;
mod request;

use std::sync::Arc;

use serde::Serialize;

pub use self::leak::LeakGuard;
use super::calls::{CallFailure, Calls};
use super::error::CycleError;
use super::subject::Subject;
use crate::api::plan::{Plan, ValidationPlan};
use crate::domain::call::{ChatRequest, Phase, Purpose};
use crate::domain::cluster::Cluster;
use crate::domain::patch::{Patch, RejectedPatch};
use crate::domain::prompt::{Prompt, changed_sections, edit_share};
use crate::domain::transcript::Message;

/// A prompt that may be better.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// What it changes, and why.
    pub patch: Patch,
    /// The prompt that it makes, ready to be measured.
    pub subject: Arc<Subject>,
    /// The share of the text that it changes, 0 to 1.
    pub edit_share: f64,
    /// It changes so much, or something so central, that the whole suite has to be run.
    pub complex: bool,
}

impl Candidate {
    /// The candidate that a patch makes of a base prompt.
    #[must_use]
    pub fn new(base: &Prompt, prompt: Prompt, patch: Patch, rules: &ValidationPlan) -> Self {
        let share = edit_share(base, &prompt);
        let core = changed_sections(base, &prompt).iter().any(|section| rules.core_sections.contains(section));
        Self {
            patch,
            edit_share: share,
            complex: core || share > rules.complexity_threshold,
            subject: Arc::new(Subject::prompt(prompt)),
        }
    }
}

/// What came of asking for a patch.
#[derive(Clone, Debug)]
pub enum Proposal {
    /// A prompt that may be better.
    Candidate(Box<Candidate>),
    /// Nothing that can be tried.
    Unusable {
        /// Why.
        reason: Unusable,
    },
}

/// Why a proposal cannot be tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub enum Unusable {
    /// The patch model gave no answer.
    #[error("the patch model gave no answer: {0}")]
    NoAnswer(String),
    /// The answer has not the form that was asked for.
    #[error("the patch model's answer has not the form that was asked for: {0}")]
    Malformed(String),
    /// The edits cannot be made.
    #[error("the edits do not apply: {0}")]
    DoesNotApply(String),
    /// The prompt would be too long.
    #[error("the prompt would have {tokens} tokens, more than spec.patching.maxPromptTokens allows ({allowed})")]
    TooLong {
        /// Tokens of the patched prompt.
        tokens: usize,
        /// `spec.patching.maxPromptTokens`.
        allowed: usize,
    },
    /// The patch copies text out of a scenario.
    #[error("it copies out of scenario {scenario:?}: {copied:?}")]
    Leak {
        /// The scenario.
        scenario: String,
        /// What was copied.
        copied: String,
    },
    /// The same prompt was tried before.
    #[error("the same prompt was tried before: {0}")]
    TriedBefore(String),
}

/// What a proposal is held against, besides the plan.
pub struct Asking<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Where the patch model is asked.
    pub calls: &'a Calls,
    /// Nothing may be copied out of the scenarios.
    pub guard: &'a LeakGuard,
    /// Patches that were tried before, in this cycle or in earlier ones.
    pub rejected: &'a [RejectedPatch],
}

/// Asks for one patch of `base` against one cluster. `attempt` numbers the independent proposals for it.
///
/// # Errors
/// [`CycleError`] when nothing else can work either.
pub async fn propose(
    asking: &Asking<'_>,
    base: &Prompt,
    cluster: &Cluster,
    attempt: u32,
) -> Result<Proposal, CycleError> {
    let Asking { plan, calls, .. } = asking;
    let patching = plan.patching.as_ref().expect("patches are only asked for when the plan says how");
    let mut request = ChatRequest {
        system: request::SYSTEM.into(),
        messages: vec![Message::User { text: request::describe(plan, base, cluster, asking.rejected) }],
        tools: Arc::from([]),
        answer_schema: Some(Arc::new(request::answer_schema())),
        parameters: Arc::clone(&patching.parameters),
        repeat: attempt,
    };
    let mut reason = Unusable::NoAnswer(String::new());
    // One attempt to mend what was wrong with the first answer.
    for _ in 0..2 {
        let asked = calls.chat(Phase::Patch, Purpose::Patch, None, &patching.model, request.clone(), None);
        let answer = match asked.await {
            Ok(answer) => answer,
            Err(failure) if failure.stops_the_cycle() => return Err(failure.into()),
            Err(failure) => return Ok(Proposal::Unusable { reason: Unusable::NoAnswer(no_answer(&failure)) }),
        };
        match check(asking, base, &answer.text) {
            Ok(candidate) => return Ok(Proposal::Candidate(Box::new(candidate))),
            Err(wrong) => reason = wrong,
        }
        request.messages.push(Message::said(answer.text));
        request.messages.push(Message::User {
            text: format!("That cannot be used: {reason}. Answer again, in the same form, with that mended."),
        });
    }
    Ok(Proposal::Unusable { reason })
}

fn no_answer(failure: &CallFailure) -> String {
    failure.to_string()
}

/// Everything that must hold before a proposal is worth a single run.
fn check(asking: &Asking<'_>, base: &Prompt, answer: &str) -> Result<Candidate, Unusable> {
    let patching = asking.plan.patching.as_ref().expect("patches are only asked for when the plan says how");
    let patch = request::parse(answer).map_err(Unusable::Malformed)?;
    let prompt = base
        .apply(&patch.edits, &patching.protected_sections)
        .map_err(|error| Unusable::DoesNotApply(error.to_string()))?;
    if !prompt.fits(patching.max_prompt_tokens) {
        return Err(Unusable::TooLong { tokens: prompt.tokens(), allowed: patching.max_prompt_tokens });
    }
    for edit in &patch.edits {
        if let Some(leak) = asking.guard.find(edit.added()) {
            return Err(Unusable::Leak { scenario: leak.scenario.to_string(), copied: leak.copied });
        }
    }
    let hash = prompt.hash();
    if let Some(before) = asking.rejected.iter().find(|rejected| rejected.prompt == hash) {
        return Err(Unusable::TriedBefore(before.reason.clone()));
    }
    Ok(Candidate::new(base, prompt, patch, &asking.plan.validation))
}
