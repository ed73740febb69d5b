//! The result of resolving an optimization. This is not a step: *resolve* produces it, and later steps read it.

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::conditions;
use crate::api::problem::Problems;
use whetstone_decide::lifecycle::PromptText;
use whetstone_domain::money::Money;
use whetstone_domain::plan::InputsId;
use whetstone_domain::plan::Plan;
use whetstone_domain::plan::watch::WatchPlan;

/// A problem with the resource, or with what it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blocker {
    /// One word, for machines.
    pub reason: &'static str,
    /// A message for people: the field, the problem, the remedy.
    pub message: String,
    /// Whether it may disappear without a change of this resource, when other objects are created or changed.
    pub is_transient: bool,
}

impl Blocker {
    /// The problem of a condition with this reason, if it is about the target; otherwise `None`.
    pub(super) fn of_target(reason: &str, message: &str) -> Option<Self> {
        let of_targets = [conditions::TARGET_NOT_OWNED, conditions::PROMPT_TOO_LARGE];
        let reason = of_targets.into_iter().find(|it| *it == reason)?;
        Some(Self { reason, message: message.to_owned(), is_transient: false })
    }
}

/// The result of resolving an optimization.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    /// The base prompt; `None` while it cannot be read.
    pub base: Option<PromptText>,
    /// The identity of the inputs; `None` while there is a problem.
    pub inputs: Option<InputsId>,
    /// The budget of a cycle; `None` without a limit.
    pub budget: Option<Money>,
    /// Identifies the limits of a cycle, which are no inputs. Empty while there is a problem.
    pub terms: String,
    /// The watch; `None` if there is none, or if its plan has a problem.
    pub watch: Option<WatchPlan>,
    /// The warnings about the spec, each with its field; `None` while there is a problem.
    pub warnings: Option<Vec<String>>,
    /// The problem, if there is one.
    pub blocker: Option<Blocker>,
    /// Identifies everything that the fields above depend on.
    pub fingerprint: String,
    /// Whether they are known to depend on nothing else, so that they need not be resolved again.
    pub(super) is_final: bool,
}

/// Everything that a cycle needs.
pub(crate) struct Prepared {
    /// The plan.
    pub plan: Plan,
    /// The keys of its models.
    pub keys: Keys,
}

/// The part of the result that does not depend on keys and permissions.
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
