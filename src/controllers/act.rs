//! Step *act*: makes the cluster agree with the record. Writes only.
//!
//! In this order, so that the next reconcile can continue after a kill at any point:
//! 1. versions that do not exist yet ([`create_versions`], before the record is committed),
//! 2. the target ConfigMap, in one apply, from the record,
//! 3. cycles and watches (except that a cycle that has to stop is stopped before the target is written), restarts, and
//!    versions that are too old to keep.

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
use super::resolved::{Blocker, Resolved};
use super::restarts::{Occasion, Restarted};
use super::run_cycle::Grounds;
use crate::api::AgentOptimization;
use crate::api::status::Origin;
use whetstone_decide::lifecycle::Course;

/// The results of writing the target and restarting the workloads that read it. Only [`apply`] creates one.
#[derive(Debug)]
pub(crate) struct Acted {
    target: Written,
    restarted: Restarted,
}

impl Acted {
    /// Why the target does not contain what it should.
    #[must_use]
    pub(crate) fn blocker(&self) -> Option<&Blocker> {
        match &self.target {
            Written::Holds { .. } => None,
            Written::Refused(blocker) => Some(blocker),
        }
    }

    /// The external change of the target that was undone, in words.
    #[must_use]
    pub(crate) fn restored(&self) -> Option<&str> {
        match &self.target {
            Written::Holds { restored } => restored.as_deref(),
            Written::Refused(_) => None,
        }
    }

    /// The results of the restarts for the champion.
    #[must_use]
    pub(crate) fn restarted(&self) -> &Restarted {
        &self.restarted
    }
}

/// Writes the target according to the record, restarts workloads if necessary, and starts or stops the cycle and the watch.
///
/// `object` is the optimization with the committed record.
///
/// # Errors
/// If a request to the API server fails, or the prompt of the champion is lost.
pub(crate) async fn apply(
    observed: &Observed,
    resolved: &Resolved,
    course: &Course,
    object: &Arc<AgentOptimization>,
    grounds: &Grounds,
) -> Result<Acted, ReconcileError> {
    let context = &grounds.context;
    // First, so that a cycle that has to stop does not continue if the target cannot be written.
    context.cycles.stop_unless(&observed.owner, wanted_cycle(observed, resolved, course));
    let target = write_target(&Prompts { observed, resolved, course, grounds }).await?;
    supervise_cycle(observed, resolved, course, object, grounds);
    // A prompt that serves is watched, even if the restarts fail.
    supervise_watch(observed, resolved, course, context).await?;
    let restarted = match target {
        Written::Holds { .. } => restart(observed, course, context).await?,
        Written::Refused(_) => Restarted::default(),
    };
    delete_retired(observed, course, context).await?;
    Ok(Acted { target, restarted })
}

/// Restarts the workloads of the target, once for each champion that is written to it.
async fn restart(observed: &Observed, course: &Course, context: &Context) -> Result<Restarted, ReconcileError> {
    let (Some(spec), Some(champion)) = (observed.target_spec(), &course.record.champion) else {
        return Ok(Restarted::default());
    };
    // The pods have started with the first champion.
    let is_first = matches!(champion.origin, Origin::Base | Origin::Found);
    if is_first || observed.status.restarted_for.as_ref() == Some(&champion.hash.to_string()) {
        return Ok(Restarted::default());
    }
    let occasion = Occasion { hash: champion.hash, generation: observed.object.metadata.generation };
    context.restarts.restart(&observed.owner, &spec.restart, occasion, &context.client, &context.fence).await
}
