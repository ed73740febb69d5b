//! Step *decide*: collects what is known for the pure function that decides ([`lifecycle::next`](next)). Reads at most the
//! store.

use super::conditions::whole_seconds;
use super::context::Context;
use super::observe::Observed;
use super::resolved::Resolved;
use super::run_cycle::Grounds;
use crate::api::intent::annotations;
use crate::store::Store as _;
use whetstone_decide::lifecycle::{
    Course, Deferred, Found, KnownVersion, Obstacle, ObstacleReason, Situation, VersionId, Wants, next,
    without_new_versions,
};
use whetstone_decide::schedule::{self, ScheduleError};
use whetstone_domain::ids::RecordedInputs;

/// Decides, given everything that is known.
pub(super) async fn decide(observed: &Observed, resolved: &Resolved, grounds: &Grounds) -> Course {
    let known = Known::of(observed, resolved, &grounds.context);
    let course = next(&known.situation(observed, resolved, &[]));
    let course = if course.create.is_empty() {
        course
    } else {
        let remembered = remembered(observed, grounds).await;
        next(&known.situation(observed, resolved, &remembered))
    };
    known.with_obstacle(course)
}

/// Decides everything that needs no new version, for when none can be created. `None` if there is nothing to decide without
/// one.
pub(super) fn decide_without_new_versions(
    observed: &Observed,
    resolved: &Resolved,
    context: &Context,
) -> Option<Deferred> {
    let known = Known::of(observed, resolved, context);
    let deferred = without_new_versions(&known.situation(observed, resolved, &[]))?;
    Some(Deferred { course: known.with_obstacle(deferred.course), ..deferred })
}

/// The inputs of a decision, in its own types.
struct Known {
    wants: Wants,
    schedule_error: Option<ScheduleError>,
    versions: Vec<KnownVersion>,
    taken: Vec<String>,
    found: Option<Found>,
    inputs: Option<RecordedInputs>,
    /// Whether the newest readings are of the watch that the spec now defines.
    is_watched_as_wanted: bool,
}

impl Known {
    fn of(observed: &Observed, resolved: &Resolved, context: &Context) -> Self {
        let (wants, schedule_error) = wants(observed, resolved);
        let watch = observed.record.watch.as_ref();
        Self {
            wants,
            schedule_error,
            versions: observed.versions.iter().map(|indexed| indexed.known.clone()).collect(),
            taken: context.versions.taken(&observed.owner),
            found: observed.found(),
            inputs: resolved.inputs.as_ref().filter(|_| !observed.is_refused()).map(RecordedInputs::from),
            is_watched_as_wanted: watch
                .is_some_and(|watch| context.watches.has(&observed.owner, watch, &resolved.fingerprint)),
        }
    }

    fn situation<'a>(
        &'a self,
        observed: &'a Observed,
        resolved: &'a Resolved,
        remembered: &'a [VersionId],
    ) -> Situation<'a> {
        Situation {
            now: whole_seconds(observed.now),
            wants: &self.wants,
            record: &observed.record,
            versions: &self.versions,
            taken: &self.taken,
            remembered,
            base: resolved.base.as_ref(),
            found: self.found.as_ref(),
            inputs: self.inputs.as_ref(),
            ended: observed.cycle.ended.as_ref(),
            round: observed.watched.as_ref().filter(|_| self.is_watched_as_wanted),
        }
    }

    /// Reports an invalid schedule as the obstacle, unless there is another one.
    fn with_obstacle(&self, mut course: Course) -> Course {
        if let Some(error) = &self.schedule_error {
            course.obstacle.get_or_insert(Obstacle { reason: ObstacleReason::InvalidSpec, message: error.to_string() });
        }
        course
    }
}

/// The versions in the store, including those of an earlier object with this name: their names are not assigned to other
/// prompts.
async fn remembered(observed: &Observed, grounds: &Grounds) -> Vec<VersionId> {
    let owner = &observed.owner;
    let versions = async { grounds.stores.of(&owner.namespace).await?.versions(&owner.to_string()).await };
    match versions.await {
        Ok(rows) => {
            rows.into_iter().map(|row| VersionId { version: row.version.name, hash: row.version.hash }).collect()
        }
        Err(error) => {
            // The champion can still serve; the cycle reports the problem with the store.
            tracing::warn!(namespace = owner.namespace, name = owner.name, %error, "cannot read the versions that had a name before");
            Vec::new()
        }
    }
}

/// What the spec and annotations request, and the problem with the schedule.
fn wants(observed: &Observed, resolved: &Resolved) -> (Wants, Option<ScheduleError>) {
    let object = &observed.object;
    let annotation = |name: &str| {
        let value = object.metadata.annotations.as_ref()?.get(name)?;
        (!value.is_empty()).then(|| value.clone())
    };
    let handled_until = observed.record.schedule.as_ref().map(|schedule| schedule.handled_until);
    let due = object
        .spec
        .schedule
        .as_ref()
        .map(|schedule| schedule::due(&schedule.cron, schedule.zone(), handled_until, observed.now));
    let (schedule, error) = match due.transpose() {
        Ok(due) => (due, None),
        Err(error) => (None, Some(error)),
    };
    let wants = Wants {
        suspend: object.spec.suspend,
        pin: object.spec.pin.as_deref().map(Into::into),
        approval: observed.promotion.approval,
        on_base_change: observed.promotion.on_base_change,
        budget: resolved.budget,
        watch: resolved.watch.clone(),
        schedule,
        run_at: annotation(annotations::RUN_AT),
        approve: annotation(annotations::APPROVE),
        rollback_to: annotation(annotations::ROLLBACK_TO),
    };
    (wants, error)
}
