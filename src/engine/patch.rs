//! Phase *patch*: one cluster of failures and the prompt → a candidate prompt.
//!
//! The patch model returns edit operations, not a rewrite. A proposal becomes a candidate only if its edits apply, do not
//! touch protected sections, add something new, stay within the token budget, copy nothing from the scenarios, and were not
//! tried before.

mod leak;
mod request;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

pub(crate) use self::leak::LeakGuard;
use super::calls::Calls;
use super::error::CycleError;
use super::subject::Subject;
use whetstone_domain::call::{ChatAnswer, ChatRequest, Finish, Phase, Purpose};
use whetstone_domain::cluster::Cluster;
use whetstone_domain::patch::{Patch, RejectedPatch};
use whetstone_domain::plan::{Plan, ValidationPlan};
use whetstone_domain::prompt::{changed_sections, edit_share};
use whetstone_domain::prompt_set::PromptSet;
use whetstone_domain::transcript::Message;

/// A prompt that may be an improvement.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// What it changes, and why.
    pub patch: Patch,
    /// The resulting prompt, ready to be measured.
    pub subject: Arc<Subject>,
    /// Whether it changes so much, or something so central, that the whole suite has to be run.
    pub complex: bool,
}

impl Candidate {
    /// The candidate that results from applying a patch to base prompts.
    #[must_use]
    pub(crate) fn new(base: &PromptSet, made: PromptSet, patch: Patch, rules: &ValidationPlan) -> Self {
        let share = edit_share(base.system(), made.system());
        let core =
            changed_sections(base.system(), made.system()).iter().any(|section| rules.core_sections.contains(section));
        Self { patch, complex: core || share > rules.complexity_threshold, subject: Arc::new(Subject::prompt(made)) }
    }
}

/// The result of a request for a patch.
#[derive(Clone, Debug)]
pub(crate) enum Proposal {
    /// A prompt that may be an improvement.
    Candidate(Box<Candidate>),
    /// The proposal cannot be tried.
    Unusable {
        /// Why.
        reason: Unusable,
        /// The patch, if the answer could be parsed.
        patch: Option<Patch>,
        /// The answer, if it could not.
        answer: String,
    },
}

/// Why a proposal cannot be tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Unusable {
    /// The patch model gave no answer.
    #[error("the patch model gave no answer: {0}")]
    NoAnswer(String),
    /// The answer was truncated at the token limit.
    #[error(
        "the patch model's answer was cut short by the token limit{}; raise spec.patching.parameters.maxOutputTokens",
        limit.map_or_else(String::new, |limit| format!(" of {limit}"))
    )]
    CutShort {
        /// The limit that was sent along, if one was.
        limit: Option<u64>,
    },
    /// The content filter or the model refused.
    #[error("the patch model refused to answer; name another one in spec.patching.model")]
    Refused,
    /// The answer does not have the required form.
    #[error("the patch model's answer has not the form that was asked for: {0}")]
    Malformed(String),
    /// The edits do not apply.
    #[error("the edits do not apply: {0}")]
    DoesNotApply(String),
    /// It adds nothing new.
    #[error("the prompt says that already: {0:?}")]
    SaidAlready(String),
    /// The prompt would exceed the token budget.
    #[error("the prompt would have {tokens} tokens, more than spec.patching.maxPromptTokens allows ({allowed})")]
    TooLong {
        /// Tokens of the patched prompt.
        tokens: usize,
        /// `spec.patching.maxPromptTokens`.
        allowed: usize,
    },
    /// The patch copies text from a scenario.
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

/// What requesting and checking a proposal needs.
pub(crate) struct Asking<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Makes the calls to the patch model.
    pub calls: &'a Calls,
    /// Detects text that is copied from scenarios.
    pub guard: &'a LeakGuard,
    /// Patches that were tried before, in this cycle or earlier ones.
    pub rejected: &'a [RejectedPatch],
}

/// Requests one patch of `base` for one cluster. `attempt` numbers the independent proposals for it.
///
/// # Errors
/// [`CycleError`] if no other call can succeed either.
pub(crate) async fn propose(
    asking: &Asking<'_>,
    base: &PromptSet,
    cluster: &Cluster,
    attempt: u32,
) -> Result<Proposal, CycleError> {
    let Asking { plan, calls, .. } = asking;
    let patching = plan.patching.as_ref().expect("patches are only asked for when the plan says how");
    let mut request = ChatRequest {
        system: request::SYSTEM.into(),
        messages: vec![Message::User { text: request::describe(plan, base.system(), cluster, asking.rejected) }],
        tools: Arc::from([]),
        answer_schema: Some(Arc::new(request::answer_schema(base.system(), &patching.protected_sections))),
        parameters: Arc::clone(&patching.parameters),
        repeat: attempt,
    };
    let mut wrong = Wrong::answer(Unusable::NoAnswer(String::new()), "");
    // One request to repair what was wrong with the first answer.
    for _ in 0..2 {
        let asked = calls.chat(Phase::Patch, Purpose::Patch, None, &patching.model, request.clone(), None);
        let answer = match asked.await {
            Ok(answer) => answer,
            Err(failure) if failure.stops_the_cycle() => return Err(failure.into()),
            Err(failure) => {
                wrong = Wrong::answer(Unusable::NoAnswer(failure.to_string()), "");
                break;
            }
        };
        match check(asking, base, &answer) {
            Ok(candidate) => return Ok(Proposal::Candidate(Box::new(candidate))),
            Err(found) => wrong = *found,
        }
        if matches!(wrong.reason, Unusable::CutShort { .. } | Unusable::Refused) {
            break; // asking again costs as much and ends as this did
        }
        let reason = &wrong.reason;
        request.messages.push(Message::said(answer.text));
        request.messages.push(Message::User {
            text: format!("That cannot be used: {reason}. Answer again, in the same form, with that mended."),
        });
    }
    let Wrong { reason, patch, answer } = wrong;
    Ok(Proposal::Unusable { reason, patch, answer })
}

/// What is wrong with an answer, and the answer.
struct Wrong {
    reason: Unusable,
    patch: Option<Patch>,
    answer: String,
}

impl Wrong {
    fn answer(reason: Unusable, answer: &str) -> Self {
        Self { reason, patch: None, answer: answer.to_owned() }
    }

    fn patch(reason: Unusable, patch: Patch) -> Self {
        Self { reason, patch: Some(patch), answer: String::new() }
    }
}

/// Checks everything that does not need a run.
fn check(asking: &Asking<'_>, base: &PromptSet, answer: &ChatAnswer) -> Result<Candidate, Box<Wrong>> {
    let patching = asking.plan.patching.as_ref().expect("patches are only asked for when the plan says how");
    let patch = request::parse(&answer.text).map_err(|why| {
        let reason = match answer.finish {
            Finish::Length => Unusable::CutShort { limit: patching.parameters.max_output_tokens },
            Finish::Refusal | Finish::ContentFilter => Unusable::Refused,
            _ => Unusable::Malformed(why),
        };
        Box::new(Wrong::answer(reason, &answer.text))
    })?;
    let (prompt, edits) = match base.system().apply_new(&patch.edits, &BTreeSet::new(), &patching.protected_sections) {
        Ok(made) => made,
        Err(error) => return Err(Box::new(Wrong::patch(Unusable::DoesNotApply(error.to_string()), patch))),
    };
    if edits.is_empty() {
        let said = patch.edits.first().map_or_else(String::new, |edit| edit.added().trim().to_owned());
        return Err(Box::new(Wrong::patch(Unusable::SaidAlready(said), patch)));
    }
    if !prompt.fits(patching.max_prompt_tokens) {
        let reason = Unusable::TooLong { tokens: prompt.tokens(), allowed: patching.max_prompt_tokens };
        return Err(Box::new(Wrong::patch(reason, patch)));
    }
    for edit in &edits {
        if let Some(leak) = asking.guard.find(edit.added()) {
            let reason = Unusable::Leak { scenario: leak.scenario.to_string(), copied: leak.copied };
            return Err(Box::new(Wrong::patch(reason, patch)));
        }
    }
    let made = base.with_system(prompt);
    if let Some(before) = tried_before(asking, base, &made, &patch) {
        return Err(Box::new(Wrong::patch(Unusable::TriedBefore(before.reason.clone()), patch)));
    }
    let patch = Patch { edits, ..patch };
    Ok(Candidate::new(base, made, patch, &asking.plan.validation))
}

/// The patch that was tried before with the same result: the same prompt, or, on the same base, edits that differ only in
/// case, punctuation and place.
fn tried_before<'a>(
    asking: &Asking<'a>,
    base: &PromptSet,
    made: &PromptSet,
    patch: &Patch,
) -> Option<&'a RejectedPatch> {
    let (hash, key) = (made.hash(), patch.key());
    let protected = asking.plan.patching.as_ref().map_or(&[][..], |patching| &patching.protected_sections);
    asking.rejected.iter().find(|rejected| {
        let is_of_this_base = || {
            let made = base.system().apply(&rejected.patch.edits, protected);
            made.is_ok_and(|made| base.with_system(made).hash() == rejected.prompt)
        };
        rejected.prompt == hash || (rejected.patch.key() == key && is_of_this_base())
    })
}
