//! Restarts of the workloads that read the prompt only when they start: once a champion, and again, later, where it was refused.

use std::time::{Duration, Instant};

use super::act::Acted;
use super::context::Context;
use super::error::{ReconcileError, fenced};
use super::lock;
use super::observe::Observed;
use crate::api::status::Origin;
use crate::decide::lifecycle::Course;
use crate::domain::hash::ContentHash;
use crate::kubernetes::workloads;

/// How often a workload that could not be restarted is tried again.
const RESTART_EVERY: Duration = Duration::from_mins(1);
/// The same where the API server could not, rather than would not.
const RESTART_SOON: Duration = Duration::from_secs(5);

/// Workloads that could not be restarted.
#[derive(Clone, Debug)]
pub struct FailedRestart {
    /// The prompt that it was for, by its hash, and the generation of the spec that names the workloads.
    what: (ContentHash, Option<i64>),
    at: Instant,
    wait: Duration,
    trouble: Vec<String>,
}

/// Restarts the workloads of the target, once for a champion that was put there.
///
/// # Errors
/// When the API server does not answer. What it refuses is told in [`Acted`].
pub(super) async fn restart(
    observed: &Observed,
    course: &Course,
    context: &Context,
    acted: &mut Acted,
) -> Result<(), ReconcileError> {
    let (Some(spec), Some(champion)) = (observed.target_spec(), &course.record.champion) else { return Ok(()) };
    // What serves from the beginning is what the pods have started with.
    let came_later = !matches!(champion.origin, Origin::Base | Origin::Found);
    let has_restarted = observed.status.restarted_for.as_ref() == Some(&champion.hash.to_string());
    if !came_later || has_restarted {
        return Ok(());
    }
    let what = (champion.hash, observed.object.metadata.generation);
    let before = lock(&context.restarts).get(&observed.owner).filter(|failed| failed.what == what).cloned();
    if let Some(failed) = before.as_ref().filter(|failed| failed.at.elapsed() < failed.wait) {
        acted.restart_trouble.clone_from(&failed.trouble);
        acted.restart_after = Some(failed.wait.saturating_sub(failed.at.elapsed()));
        return Ok(());
    }
    let mut wait = RESTART_EVERY;
    for workload in &spec.restart {
        fenced(context)?;
        match workloads::restart(&context.client, &observed.owner.0, workload, &champion.hash).await {
            Ok(()) => {}
            Err(kube::Error::Api(status)) => {
                if status.code == 429 || status.code >= 500 {
                    wait = RESTART_SOON;
                }
                let message =
                    format!("the {:?} {:?} was not restarted: {}", workload.kind, workload.name, status.message);
                acted.restart_trouble.push(message);
            }
            Err(error) => return Err(ReconcileError::Cluster(error)),
        }
    }
    let told = before.map(|before| before.trouble).unwrap_or_default();
    acted.restart_news = acted.restart_trouble.iter().filter(|trouble| !told.contains(trouble)).cloned().collect();
    if acted.restart_trouble.is_empty() {
        lock(&context.restarts).remove(&observed.owner);
    } else {
        acted.restart_after = Some(wait);
        let failed = FailedRestart { what, at: Instant::now(), wait, trouble: acted.restart_trouble.clone() };
        lock(&context.restarts).insert(observed.owner.clone(), failed);
    }
    Ok(())
}
