//! Phase *validate*: candidates → the best one.
//!
//! Cheapest evidence first. A candidate is tried on a few scenarios of its own cluster, then on the rest of them, then on
//! sentinels that passed before; a patch that is complex has to stand the whole suite already here. The survivors of all
//! clusters are merged into one prompt and validated again; only that finalist is run on the full regression suite.
//! What is decided here only saves money: the proof is the gate's, on scenarios that nothing here has seen.

mod measure;
mod merge;

use std::ops::Range;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::measure::regression;
pub use self::merge::Merged;
use super::error::CycleError;
use super::evaluate::{CountedAs, Evaluator};
use super::patch::{Asking, Candidate, Proposal, propose};
use super::subject::Subject;
use crate::api::Plan;
use crate::domain::cluster::Cluster;
use crate::domain::ids::ScenarioId;
use crate::domain::patch::RejectedPatch;
use crate::domain::score::Evaluation;

/// Scenarios of a cluster that a candidate is tried on before the rest of them is paid for.
const FIRST_LOOK: usize = 4;

/// The share of its cluster's failures from which a candidate needs no confirmation, if these are at least
/// [`CONVINCING`], and from which no further candidate is asked for.
const DECISIVE: f64 = 0.6;

/// As many mended failures are not luck.
const CONVINCING: usize = 6;

/// The share of the first gain that fresh repeats of what seems mended have to show again.
const CONFIRMED: f64 = 0.5;

/// Further repeats, of either prompt, on what seems mended or broken. A scenario that failed (or passed) once is a biased
/// choice: some of it was luck, so only fresh repeats say what a candidate did.
pub(super) const CONFIRMING_REPEATS: u32 = 2;

/// Clusters that are worked on at once. The order in which they finish changes nothing.
const CLUSTERS_AT_ONCE: usize = 16;

/// What became of one candidate, for the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// The round of the cycle, from 1.
    pub round: u32,
    /// The cluster, or clusters of a merged candidate.
    pub cluster: String,
    /// The first twelve digits of the prompt's hash; absent when there was nothing to try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// What the patch model said it would mend.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rationale: String,
    /// Whether it survived.
    pub survived: bool,
    /// Why, with figures.
    pub reason: String,
}

/// A candidate that mends its cluster and breaks no sentinel.
#[derive(Clone, Debug)]
pub struct Survivor {
    /// The cluster that it mends.
    pub cluster: String,
    /// The cluster's label.
    pub label: String,
    /// The candidate.
    pub candidate: Candidate,
    /// What it gains in the cluster: the sum of the gains of aggregate score, in scenarios.
    pub gain: f64,
}

/// What a candidate mends in its cluster.
#[derive(Clone, Debug, Default)]
struct Mended {
    /// The scenarios that it mends, in whole or in part.
    scenarios: Vec<usize>,
    /// The sum of their gains of aggregate score.
    gain: f64,
    /// How many scenarios could be compared: the runs of others ended in errors.
    compared: usize,
}

/// What the search needs besides the candidates: the base prompt that they are compared with, and where they are tried.
pub struct Arena<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Where prompts are measured.
    pub evaluator: &'a Arc<Evaluator>,
    /// The prompt that candidates are patches of.
    pub base: &'a Arc<Subject>,
    /// How patches are asked for.
    pub asking: Asking<'a>,
    /// The weights of the dimensions.
    pub weights: Vec<f64>,
    /// The round, from 1.
    pub round: u32,
    /// Which attempt at the same inputs the cycle is: each asks for proposals of its own.
    pub attempt: u32,
}

/// What a round of patching has found.
#[derive(Debug, Default)]
pub struct Found {
    /// At most one survivor a cluster, in the order of the clusters.
    pub survivors: Vec<Survivor>,
    /// Every candidate that was asked for, in the order of the clusters.
    pub attempts: Vec<Attempt>,
    /// The patches that were tried and not taken.
    pub rejected: Vec<RejectedPatch>,
}

/// A verdict on a candidate, short of the gate.
struct Trial {
    holds: bool,
    reason: String,
}

impl Arena<'_> {
    /// Asks for patches of every cluster and tries them, until each cluster has a survivor or no attempt left.
    ///
    /// # Errors
    /// [`CycleError`] when nothing else can work either.
    pub async fn search(&self, clusters: &[Cluster]) -> Result<Found, CycleError> {
        let searches = stream::iter(clusters.iter().map(|cluster| self.search_one(cluster)));
        let found: Vec<Found> = searches.buffered(CLUSTERS_AT_ONCE).try_collect().await?;
        let mut all = Found::default();
        for one in found {
            all.survivors.extend(one.survivors);
            all.attempts.extend(one.attempts);
            all.rejected.extend(one.rejected);
        }
        Ok(all)
    }

    async fn search_one(&self, cluster: &Cluster) -> Result<Found, CycleError> {
        let patching = self.plan.patching.as_ref().expect("a search is only begun when the plan says how to patch");
        let mut found = Found::default();
        let mut best: Option<Survivor> = None;
        // Only what this cluster has seen goes into its requests: they must not depend on who is faster.
        let mut rejected = self.asking.rejected.to_vec();
        let first = self.attempt * patching.candidates_per_cluster;
        for attempt in first..first + patching.candidates_per_cluster {
            let asking = Asking { rejected: &rejected, ..self.asking };
            let candidate = match propose(&asking, &self.base.prompt, cluster, attempt).await? {
                Proposal::Candidate(candidate) => *candidate,
                Proposal::Unusable { reason } => {
                    found.attempts.push(self.attempt(&cluster.id, None, false, reason.to_string()));
                    continue;
                }
            };
            let (mended, trial) = self.try_candidate(&candidate, cluster).await?;
            found.attempts.push(self.attempt(&cluster.id, Some(&candidate), trial.holds, trial.reason.clone()));
            if !trial.holds {
                if mended.compared == 0 {
                    continue; // an error is nothing to remember a patch by
                }
                let prompt = candidate.subject.id;
                rejected.push(RejectedPatch { prompt, patch: candidate.patch, reason: trial.reason });
                continue;
            }
            let decisive = mended.scenarios.len() as f64 >= DECISIVE * cluster.failures.len() as f64;
            if best.as_ref().is_none_or(|best| mended.gain > best.gain) {
                let (id, label) = (cluster.id.clone(), cluster.label.clone());
                best = Some(Survivor { cluster: id, label, candidate, gain: mended.gain });
            }
            if decisive {
                break;
            }
        }
        found.rejected = rejected.split_off(self.asking.rejected.len());
        found.survivors.extend(best);
        Ok(found)
    }

    /// Targeted first: the cluster's own scenarios, then sentinels, then, if it is complex, everything. Returns what of
    /// the cluster is mended.
    async fn try_candidate(&self, candidate: &Candidate, cluster: &Cluster) -> Result<(Mended, Trial), CycleError> {
        let subject = &candidate.subject;
        let members = self.indices(cluster.scenarios());
        let first_look = spread(&members, FIRST_LOOK);
        let first = self.mended(subject, &first_look).await?;
        if first.compared == 0 {
            let reason = "its runs ended in errors, which say nothing about it".to_owned();
            return Ok((first, Trial { holds: false, reason }));
        }
        if first.scenarios.is_empty() {
            let reason = format!("mends none of {} failures of its cluster", first_look.len());
            return Ok((first, Trial { holds: false, reason }));
        }
        let mended = self.mended(subject, &members).await?;
        let n = mended.scenarios.len();
        let figures = format!("mends {n} of {} failures", members.len());
        if n < CONVINCING || (n as f64) < DECISIVE * members.len() as f64 {
            // A cluster may hold more than one cause, and a failure may pass by luck: what seems mended has to be so again.
            let fresh = self.fresh_gain(subject, &mended.scenarios, &|result| self.score(result)).await?;
            if fresh < CONFIRMED * mended.gain {
                let reason = format!("{figures} at first ({:+.2} in score), but not again ({fresh:+.2})", mended.gain);
                return Ok((mended, Trial { holds: false, reason }));
            }
        }
        let sentinels = self.sentinels(&members);
        let loss = self.sentinel_loss(subject, &sentinels).await?;
        if let Some(reason) = self.breaks_sentinels(loss, sentinels.len()) {
            return Ok((mended, Trial { holds: false, reason: format!("{figures}, but {reason}") }));
        }
        if candidate.complex || self.plan.validation.full_suite {
            let trial = self.regression(subject).await?;
            if !trial.holds {
                return Ok((mended, Trial { holds: false, reason: format!("{figures}, but {}", trial.reason) }));
            }
        }
        let reason = format!("{figures}, breaks none of {} sentinels", sentinels.len());
        Ok((mended, Trial { holds: true, reason }))
    }

    /// The full regression suite: training and regression part, against the base.
    async fn regression(&self, subject: &Arc<Subject>) -> Result<Trial, CycleError> {
        regression(self.plan, self.evaluator, self.base, subject).await.map(|(holds, reason)| Trial { holds, reason })
    }

    async fn evaluate(
        &self,
        subject: &Arc<Subject>,
        scenarios: &[usize],
        repeats: Range<u32>,
    ) -> Result<Evaluation, CycleError> {
        self.evaluator.evaluate(subject, scenarios, repeats, CountedAs::VALIDATE).await
    }

    fn repeats(&self) -> Range<u32> {
        0..self.plan.execution.repeats
    }

    fn indices<'s>(&self, scenarios: impl Iterator<Item = &'s ScenarioId>) -> Vec<usize> {
        scenarios.filter_map(|id| self.plan.scenarios.binary_search_by(|scenario| scenario.id.cmp(id)).ok()).collect()
    }

    fn attempt(&self, cluster: &str, candidate: Option<&Candidate>, survived: bool, reason: String) -> Attempt {
        Attempt {
            round: self.round,
            cluster: cluster.to_owned(),
            prompt: candidate.map(|candidate| candidate.subject.id.short()),
            rationale: candidate.map(|candidate| candidate.patch.rationale.clone()).unwrap_or_default(),
            survived,
            reason,
        }
    }
}

/// At most `n` of the items, evenly spread over them: members of a cluster are sorted by how typical they are, and a cause that
/// few of them have must not be overlooked.
fn spread(items: &[usize], n: usize) -> Vec<usize> {
    let n = n.min(items.len());
    (0..n).map(|index| items[index * items.len() / n]).collect()
}
