//! Step *act*: makes the cluster agree with the record. Writes only.
//!
//! In this order, so that after a kill at any point the next reconcile goes on:
//! 1. versions that do not exist yet ([`create_versions`], before the record is committed),
//! 2. the target ConfigMap, in one apply, from the record,
//! 3. cycles and watches (only a cycle that is to stop is stopped before the target), restarts, and versions that are too old to keep.

mod prompts;
mod supervise;
mod target;
mod versions;

use std::sync::Arc;

pub(crate) use self::versions::create_versions;

use self::prompts::Prompts;
use self::supervise::{supervise_cycle, supervise_watch, wanted_cycle};
use self::target::{Written, write_target};
use self::versions::delete_retired;
use super::context::Context;
use super::error::ReconcileError;
use super::observe::Observed;
use super::resolved::{Resolved, Trouble};
use super::restarts::{Occasion, Restarted};
use super::run_cycle::Grounds;
use crate::api::AgentOptimization;
use crate::api::status::Origin;
use crate::decide::lifecycle::Course;

/// What became of the target and of the workloads that read it. Only [`apply`] makes one.
#[derive(Debug)]
pub(crate) struct Acted {
    target: Written,
    restarted: Restarted,
}

impl Acted {
    /// Why the target does not hold what it should.
    #[must_use]
    pub(crate) fn trouble(&self) -> Option<&Trouble> {
        match &self.target {
            Written::Holds { .. } => None,
            Written::Refused(trouble) => Some(trouble),
        }
    }

    /// What somebody had done to the target and was undone.
    #[must_use]
    pub(crate) fn put_back(&self) -> Option<&str> {
        match &self.target {
            Written::Holds { put_back } => put_back.as_deref(),
            Written::Refused(_) => None,
        }
    }

    /// What the restarts for the champion came to.
    #[must_use]
    pub(crate) fn restarted(&self) -> &Restarted {
        &self.restarted
    }
}

/// Makes the target hold what the record says, restarts what is to be restarted, and makes the right cycle and watch run.
///
/// `object` is the optimization as it is with the record committed.
///
/// # Errors
/// When the API server does not answer, or the prompt of the champion is lost.
pub(crate) async fn apply(
    observed: &Observed,
    resolved: &Resolved,
    course: &Course,
    object: &Arc<AgentOptimization>,
    grounds: &Grounds,
) -> Result<Acted, ReconcileError> {
    let context = &grounds.context;
    // A cycle that is to stop must not go on because a target cannot be written.
    context.cycles.stop_unless(&observed.owner, wanted_cycle(observed, resolved, course));
    let target = write_target(&Prompts { observed, resolved, course, grounds }).await?;
    supervise_cycle(observed, resolved, course, object, grounds);
    // A prompt that serves is watched, whatever becomes of the workloads.
    supervise_watch(observed, resolved, course, context).await?;
    let restarted = match target {
        Written::Holds { .. } => restart(observed, course, context).await?,
        Written::Refused(_) => Restarted::default(),
    };
    delete_retired(observed, course, context).await?;
    Ok(Acted { target, restarted })
}

/// Restarts the workloads of the target, once for each champion that was written to it.
async fn restart(observed: &Observed, course: &Course, context: &Context) -> Result<Restarted, ReconcileError> {
    let (Some(spec), Some(champion)) = (observed.target_spec(), &course.record.champion) else {
        return Ok(Restarted::default());
    };
    // The pods have started with what serves from the beginning.
    let is_first = matches!(champion.origin, Origin::Base | Origin::Found);
    if is_first || observed.status.restarted_for.as_ref() == Some(&champion.hash.to_string()) {
        return Ok(Restarted::default());
    }
    let occasion = Occasion { hash: champion.hash, generation: observed.object.metadata.generation };
    context.restarts.restart(&observed.owner, &spec.restart, occasion, &context.client, &context.fence).await
}
