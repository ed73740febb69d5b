//! Step *act*: makes the cluster agree with a course. Writes only.
//!
//! In this order, so that whatever is killed in between, the next reconcile goes on:
//! 1. versions that do not exist yet,
//! 2. the record, in one write that fails if anybody has changed the resource since: here a promotion happens,
//! 3. the target ConfigMap, in one apply, from the record,
//! 4. restarts, cycles and watches. (Only a cycle that is to stop is stopped before the target.)

mod record;
mod supervise;
mod target;
mod versions;

use std::sync::Arc;
use std::time::Duration;

pub use self::record::commit;
pub use self::versions::create_versions;

use self::supervise::{supervise_cycle, supervise_watch, wanted_cycle};
use self::target::write_target;
use self::versions::delete_retired;
use super::error::ReconcileError;
use super::observe::Observed;
use super::resolve::{Resolved, Trouble};
use super::restarts::restart;
use super::run_cycle::Grounds;
use crate::api::AgentOptimization;
use crate::decide::lifecycle::Course;

/// What came of it.
#[derive(Debug, Default)]
pub struct Acted {
    /// Why the target does not hold what it should.
    pub target_trouble: Option<Trouble>,
    /// The target was put back: somebody had edited or deleted it.
    pub put_back: Option<String>,
    /// What went wrong with workloads that were to be restarted.
    pub restart_trouble: Vec<String>,
    /// What of it has not been told yet.
    pub restart_news: Vec<String>,
    /// When they are tried again.
    pub restart_after: Option<Duration>,
    /// All that was decided has been published.
    pub is_published: bool,
}

/// Makes the target hold what the record says, restarts what is to be restarted, and makes the right cycle and watch run.
///
/// # Errors
/// When the API server does not answer.
pub async fn carry_out(
    observed: &Observed,
    resolved: &Resolved,
    course: &Course,
    object: &Arc<AgentOptimization>,
    grounds: &Grounds,
) -> Result<Acted, ReconcileError> {
    let context = &grounds.context;
    let mut acted = Acted::default();
    // A cycle that is to stop must not go on because a target cannot be written.
    let wanted = wanted_cycle(observed, resolved, course);
    context.cycles.stop_unless(&observed.owner, wanted);
    write_target(observed, resolved, course, grounds, &mut acted).await?;
    supervise_cycle(observed, resolved, course, object, grounds);
    // A prompt that serves is watched, whatever becomes of the workloads.
    supervise_watch(observed, resolved, course, context).await?;
    if acted.target_trouble.is_none() {
        restart(observed, course, context, &mut acted).await?;
    }
    delete_retired(observed, course, context).await?;
    Ok(acted)
}
