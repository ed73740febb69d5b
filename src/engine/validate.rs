//! Phase *validate*: candidates → the best one.
//!
//! Cheapest evidence first. A candidate is tried on a few scenarios of its own cluster, then on the rest of them, then on
//! sentinels; a complex patch has to pass the whole suite at this point. A patch that is proposed for several clusters is
//! one patch: it is tried on all of them, and is in the report once. The survivors of all clusters are merged into one
//! prompt and validated again; only that finalist is run on the full regression suite. Edits that break something critical
//! are dropped, in every part. Otherwise this phase only saves money: the proof is left to the gate, on scenarios that this
//! phase has not seen.

pub mod attempt;
pub(crate) mod compose;
pub(crate) mod critical;
mod measure;
mod merge;
mod search;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

pub(crate) use self::attempt::{Attempt, counts};
use self::attempt::{Fixes, Outcome};
use self::compose::{Member, Unit};
use self::critical::Guard;
use self::measure::differences;
pub(crate) use self::measure::regression;
pub(crate) use self::merge::{Merged, patch_of, rejected};
use super::error::CycleError;
use super::evaluate::{CountedAs, Evaluator};
use super::patch::{Asking, Candidate};
use super::ports::Progress;
use super::subject::Subject;
use whetstone_decide::critical::{Broken, Critical, Standing};
use whetstone_domain::cluster::Cluster;
use whetstone_domain::ids::ScenarioId;
use whetstone_domain::patch::{EditKey, RejectedPatch};
use whetstone_domain::plan::Plan;
use whetstone_domain::score::Evaluation;
use whetstone_domain::suite::ScenarioKey;

/// The number of a cluster's scenarios that a candidate is tried on before the others are run.
const FIRST_LOOK: usize = 4;

/// The share of its cluster's failures from which a candidate needs no confirmation, if it fixes at least [`CONVINCING`],
/// and from which no further candidate is requested.
const DECISIVE: f64 = 0.6;

/// A number of fixed failures that is not luck.
const CONVINCING: usize = 6;

/// The share of the first gain that further repeats have to confirm.
const CONFIRMED: f64 = 0.5;

/// Further repeats, of both prompts, of scenarios that seem fixed or broken. Scenarios that were selected because they
/// failed (or passed) once are biased by luck, so only fresh repeats show the effect of a candidate.
pub(super) const CONFIRMING_REPEATS: u32 = 2;

/// The maximum number of clusters that are searched concurrently. The order in which they finish does not matter.
const CLUSTERS_AT_ONCE: usize = 16;

/// A patch that fixes one or several clusters and breaks nothing.
#[derive(Clone, Debug)]
pub(crate) struct Survivor {
    /// Its edits.
    pub units: Vec<Unit>,
    /// The clusters that it fixes.
    pub members: Vec<Member>,
    /// Its gain in them: the sum of the gains of aggregate score, in scenarios.
    pub gain: f64,
}

impl Survivor {
    fn clusters(&self) -> impl Iterator<Item = String> {
        self.members.iter().map(|member| member.cluster.clone())
    }
}

/// The gain of a candidate in its cluster.
#[derive(Clone, Debug, Default)]
struct Gains {
    /// The scenarios that it fixes, fully or partly.
    scenarios: Vec<ScenarioKey>,
    /// The sum of their gains of aggregate score.
    sum: f64,
    /// The number of scenarios that could be compared; the runs of the others ended in errors.
    compared: usize,
}

/// What the search needs besides the candidates: the base prompt that they are compared with, and the means to measure
/// them.
pub(crate) struct Arena<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Measures prompts.
    pub evaluator: &'a Arc<Evaluator>,
    /// The prompt that candidates are patches of.
    pub base: &'a Arc<Subject>,
    /// Requests patches.
    pub asking: Asking<'a>,
    /// Receives the progress of the search.
    pub progress: &'a dyn Progress,
    /// The weights of the dimensions.
    pub weights: Vec<f64>,
    /// Edits of earlier rounds that broke something critical: a patch that contains them is not tried again.
    pub fatal: &'a [Fatal],
    /// The round, from 1.
    pub round: u32,
    /// The attempt at the same inputs that this cycle is: each requests its own proposals.
    pub attempt: u32,
}

/// A combination of edits with which something critical newly fails.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fatal {
    edits: BTreeSet<EditKey>,
    why: String,
}

impl Fatal {
    /// Why a patch need not be tried: it contains all of these edits.
    fn in_patch(&self, patch: &BTreeSet<EditKey>) -> Option<&str> {
        self.edits.is_subset(patch).then_some(self.why.as_str())
    }
}

/// The result of a round of patching.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// At most one survivor per cluster, in the order of the clusters; the best patch of several clusters is in it once.
    pub survivors: Vec<Survivor>,
    /// The merged survivors, if merging succeeded.
    pub merged: Option<Merged>,
    /// Every patch that was requested, in the order of the first proposals, and every merger.
    pub attempts: Vec<Attempt>,
    /// The patches that were tried and rejected.
    pub rejected: Vec<RejectedPatch>,
    /// The findings about critical dimensions.
    pub critical: Critical,
    /// The edits that broke something critical.
    pub fatal: Vec<Fatal>,
}

impl Found {
    /// Records edits that were dropped.
    fn drop_edits(&mut self, dropped: &[(Unit, Vec<Broken>)]) {
        self.critical.drop_edits(dropped.iter().map(|(unit, breaks)| unit.dropped(breaks.clone())));
        self.rejected.extend(rejected(dropped));
        self.fatal.extend(dropped.iter().map(|(unit, breaks)| Fatal {
            edits: BTreeSet::from([unit.edit.key()]),
            why: Critical::why_rejected(breaks),
        }));
    }
}

impl Arena<'_> {
    /// Tries the cluster's own scenarios first, then sentinels, then, if the candidate is complex, everything.
    async fn try_candidate(&self, candidate: &Candidate, cluster: &Cluster) -> Result<Outcome, CycleError> {
        let subject = &candidate.subject;
        let members = self.keys(cluster.scenarios());
        let first_look = spread(&members, FIRST_LOOK);
        let first = self.gains(subject, &first_look).await?;
        if first.compared == 0 {
            return Ok(Outcome::Errored { scenarios: first_look.len() });
        }
        if first.scenarios.is_empty() {
            return Ok(Outcome::FixesNothing { tried: first.compared });
        }
        let gains = self.gains(subject, &members).await?;
        let fixed = gains.scenarios.len();
        let fixes = Fixes { fixed, compared: gains.compared, failures: members.len(), gain: gains.sum };
        if fixed < CONVINCING || (fixed as f64) < DECISIVE * members.len() as f64 {
            // A cluster may have more than one cause, and a failure may pass by luck, so apparent fixes have to be
            // confirmed.
            let (before, after) = self.fresh(subject, &gains.scenarios).await?;
            let again: f64 = differences(&before, &after, |result| self.score(result)).iter().sum();
            if again < CONFIRMED * gains.sum {
                return Ok(Outcome::NotConfirmed { fixes, again });
            }
        }
        let sentinels = self.sentinels(&members);
        let tried = self.try_sentinels(subject, &sentinels).await?;
        if tried.breaks() {
            return Ok(Outcome::BreaksSentinels { fixes, sentinels: tried });
        }
        let mut measured = [members, sentinels].concat();
        if candidate.complex || self.plan.validation.full_suite {
            let suite = regression(self.plan, self.evaluator, self.base, subject).await?;
            if !suite.holds() {
                return Ok(Outcome::FailsSuite { fixes, suite });
            }
            measured = self.plan.split.suite();
        }
        let breaks = self.newly_failed(subject, &measured).await?;
        if !breaks.is_empty() {
            return Ok(Outcome::BreaksCritical { fixes, breaks });
        }
        Ok(Outcome::Survives { fixes, sentinels: tried })
    }

    /// The new failures in critical dimensions, confirmed by further repeats.
    async fn newly_failed(&self, subject: &Arc<Subject>, scenarios: &[ScenarioKey]) -> Result<Vec<Broken>, CycleError> {
        let failures = self.guard().new_failures(subject, scenarios).await?;
        let confirmed = failures.iter().filter(|(_, failure)| failure.standing() == Standing::Confirmed);
        Ok(confirmed.map(|(_, failure)| Broken::from(failure)).collect())
    }

    fn guard(&self) -> Guard<'_> {
        Guard {
            plan: self.plan,
            evaluator: self.evaluator,
            base: self.base,
            repeats: self.plan.execution.repeats,
            counted: CountedAs::VALIDATE,
            is_comparison: false,
        }
    }

    async fn evaluate(
        &self,
        subject: &Arc<Subject>,
        scenarios: &[ScenarioKey],
        repeats: Range<u32>,
    ) -> Result<Evaluation, CycleError> {
        self.evaluator.evaluate(subject, scenarios, repeats, CountedAs::VALIDATE).await
    }

    fn repeats(&self) -> Range<u32> {
        0..self.plan.execution.repeats
    }

    fn keys<'s>(&self, scenarios: impl Iterator<Item = &'s ScenarioId>) -> Vec<ScenarioKey> {
        scenarios.filter_map(|id| self.plan.scenarios.key(id)).collect()
    }
}

/// At most `n` of the items, evenly spaced: the members of a cluster are sorted by how typical they are, and a rare cause
/// must not be missed.
fn spread(items: &[ScenarioKey], n: usize) -> Vec<ScenarioKey> {
    let n = n.min(items.len());
    (0..n).map(|index| items[index * items.len() / n].clone()).collect()
}
