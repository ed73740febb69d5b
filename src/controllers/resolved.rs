//! What the references of an optimization resolve to. This is not a step: *resolve* produces it, and later steps read it.

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::conditions;
use crate::api::Plan;
use crate::api::plan::InputsId;
use crate::api::plan::watch::WatchPlan;
use crate::api::problem::Problems;
use crate::decide::lifecycle::PromptText;
use crate::domain::money::Money;

/// Something is wrong with what a person wrote, or with what it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// In one word, for machines.
    pub reason: &'static str,
    /// In words: the field, what is wrong, what to do.
    pub message: String,
    /// It may come right when other objects arrive, without a change of this one.
    pub may_come_right: bool,
}

impl Trouble {
    /// What a condition with this reason says of the target; `None` if it speaks of something else.
    pub(super) fn of_target(reason: &str, message: &str) -> Option<Self> {
        let of_targets = [conditions::TARGET_NOT_OWNED, conditions::PROMPT_TOO_LARGE];
        let reason = of_targets.into_iter().find(|it| *it == reason)?;
        Some(Self { reason, message: message.to_owned(), may_come_right: false })
    }
}

/// What the references come to.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    /// The base prompt; `None` while it cannot be read.
    pub base: Option<PromptText>,
    /// The identity of the inputs; `None` while there is trouble.
    pub inputs: Option<InputsId>,
    /// What a cycle may cost; `None` without a limit.
    pub budget: Option<Money>,
    /// Identifies the terms on which a cycle runs: what is no input of it. Empty while there is trouble.
    pub terms: String,
    /// The watch; `None` when nothing is watched, or its plan is in trouble.
    pub watch: Option<WatchPlan>,
    /// What is wrong.
    pub trouble: Option<Trouble>,
    /// Tells whether anything has changed that the above depends on.
    pub fingerprint: String,
    /// The above is known to depend on nothing else, so it need not be done again.
    pub(super) is_final: bool,
}

/// Everything that a cycle needs.
pub(crate) struct Prepared {
    /// The plan.
    pub plan: Plan,
    /// The keys of its models.
    pub keys: Keys,
}

/// What an optimization and its references come to by themselves, without keys and permissions.
pub(crate) struct Computed {
    pub(super) base: Option<PromptText>,
    pub(super) watch: Option<WatchPlan>,
    pub(super) plan: Result<Plan, Problems>,
    pub(super) inputs: Option<InputsId>,
    pub(super) terms: String,
}

/// The keys of the models and of Prometheus, by the names of Secret and key. Never printed.
#[derive(Clone, Default)]
pub(crate) struct Keys(BTreeMap<(String, String), SecretString>);

impl Keys {
    pub(super) fn insert(&mut self, secret: &str, key: &str, value: String) {
        self.0.insert((secret.to_owned(), key.to_owned()), SecretString::from(value));
    }

    /// The value of a key of a Secret.
    pub(crate) fn get(&self, secret: &str, key: &str) -> Option<SecretString> {
        self.0.get(&(secret.to_owned(), key.to_owned())).cloned()
    }
}
