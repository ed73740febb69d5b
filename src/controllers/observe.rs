//! Step *observe*: the state of one optimization, in the cluster and in this process. Reads only.

use std::sync::Arc;

use jiff::Timestamp;
use kube::{Resource as _, ResourceExt as _};

use super::conditions::{self, find};
use super::context::Context;
use super::cycles::Supervised;
use super::error::{Attempt, ReconcileError};
use super::record;
use crate::api::AgentOptimization;
use crate::api::promotion::Target as TargetSpec;
use crate::api::resolve::promotion;
use crate::api::status::AgentOptimizationStatus;
use crate::kubernetes::names::key_of;
use crate::kubernetes::target::{self, Target};
use crate::kubernetes::versions::Indexed;
use whetstone_decide::lifecycle::{Found, PromptText, Record, Watched};
use whetstone_domain::ids::ObjectKey;
use whetstone_domain::plan::PromotionPlan;
use whetstone_engine::apply::{PROMPT_KEY, VERSION_KEY};

/// The known state of one optimization.
pub(crate) struct Observed {
    /// Its namespace and name.
    pub owner: ObjectKey,
    /// The resource.
    pub object: Arc<AgentOptimization>,
    /// Its status.
    pub status: AgentOptimizationStatus,
    /// The record in its status.
    pub record: Record,
    /// Its versions.
    pub versions: Vec<Indexed>,
    /// The object with the name of its target; `None` if it does not exist.
    pub target: Option<Target>,
    /// Another optimization that had the same target first.
    pub rival: Option<String>,
    /// The progress or the result of its cycle.
    pub cycle: Supervised,
    /// The promotion settings of its spec.
    pub promotion: PromotionPlan,
    /// The newest readings of its live signals.
    pub watched: Option<Watched>,
    /// The current time.
    pub now: Timestamp,
}

impl Observed {
    /// `spec.promotion.target`
    pub(crate) fn target_spec(&self) -> Option<&TargetSpec> {
        self.object.spec.promotion.as_ref().and_then(|promotion| promotion.target.as_ref())
    }

    /// Whether its target belongs to another owner. Then nothing is paid for prompts that could not serve.
    pub(crate) fn is_refused(&self) -> bool {
        self.rival.is_some() || matches!(self.target, Some(Target::Foreign { .. }))
    }

    /// Whether `Ready` reports that the champion of the record serves as this generation of the spec requires. Then the
    /// target has contained its prompt, and any difference is an external change.
    pub(crate) fn is_settled(&self) -> bool {
        let ready =
            find(&self.status.conditions, conditions::READY).filter(|ready| ready.reason == conditions::SERVING);
        ready.is_some_and(|ready| ready.observed_generation == self.object.metadata.generation)
    }

    /// The prompt in our own target. That of a rival is ignored.
    pub(crate) fn found(&self) -> Option<Found> {
        if self.rival.is_some() {
            return None;
        }
        let Some(Target::Ours(held)) = &self.target else { return None };
        let text = held.data.get(PROMPT_KEY).filter(|text| !text.trim().is_empty())?;
        let prompt = PromptText::new(text.clone());
        Some(Found { version: held.data.get(VERSION_KEY).map(|version| version.as_str().into()), prompt })
    }
}

/// Reads everything except the references.
///
/// # Errors
/// If the target cannot be read.
pub(crate) async fn observe(object: Arc<AgentOptimization>, context: &Context) -> Result<Observed, ReconcileError> {
    let owner = key_of(&*object);
    let object = context.newest(&owner, object);
    let spec = object.spec.promotion.as_ref().and_then(|promotion| promotion.target.as_ref());
    let (target, rival) = match spec {
        Some(spec) => (
            Some(
                target::read(&context.client, &owner.namespace, &spec.config_map, &owner.name)
                    .await
                    .map_err(Attempt::ReadTarget.on(&owner.namespace, &spec.config_map))?,
            ),
            rival(&object, &spec.config_map, context),
        ),
        None => (None, None),
    };
    let status = object.status.clone().unwrap_or_default();
    Ok(Observed {
        promotion: promotion(&object.spec),
        record: record::read(&status),
        status,
        versions: context.versions.of(&owner),
        cycle: context.cycles.look(&owner),
        watched: context.watches.look(&owner),
        now: context.clock.now(),
        owner,
        object,
        target,
        rival,
    })
}

/// The optimization that had this target first.
fn rival(object: &AgentOptimization, target: &str, context: &Context) -> Option<String> {
    let seniority = |object: &AgentOptimization| (object.creation_timestamp().map(|time| time.0), object.name_any());
    let ours = seniority(object);
    let others = context.optimizations.state().into_iter().filter(|other| {
        let named = other.spec.promotion.as_ref().and_then(|promotion| promotion.target.as_ref());
        other.namespace() == object.namespace()
            && other.name_any() != object.name_any()
            && other.meta().deletion_timestamp.is_none()
            && named.is_some_and(|named| named.config_map == target)
            && seniority(other) < ours
    });
    others.min_by_key(|other| seniority(other)).map(|other| other.name_any())
}
