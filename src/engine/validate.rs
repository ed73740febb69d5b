//! Phase *validate*: candidates → the best one.
//!
//! Cheapest evidence first. A candidate is tried on a few scenarios of its own cluster, then on the rest of them, then on
//! sentinels that passed before; a patch that is complex has to stand the whole suite already here. A patch that is found for
//! several clusters is one patch: it is tried on all of them, and stands in the report once. The survivors of all clusters are
//! merged into one prompt and validated again; only that finalist is run on the full regression suite. What breaks something
//! critical goes, in whatever part that is. Apart from that, what is decided here only saves money: the proof is the gate's, on
//! scenarios that nothing here has seen.

pub(crate) mod attempt;
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
use crate::api::Plan;
use crate::decide::critical::{Broken, Critical, Standing};
use crate::domain::cluster::Cluster;
use crate::domain::ids::ScenarioId;
use crate::domain::patch::{EditKey, RejectedPatch};
use crate::domain::score::Evaluation;
use crate::domain::suite::ScenarioKey;

/// Scenarios of a cluster that a candidate is tried on before the rest of them is paid for.
const FIRST_LOOK: usize = 4;

/// The share of its cluster's failures from which a candidate needs no confirmation, if these are at least
/// [`CONVINCING`], and from which no further candidate is asked for.
const DECISIVE: f64 = 0.6;

/// As many fixed failures are not luck.
const CONVINCING: usize = 6;

/// The share of the first gain that fresh repeats of what seems fixed have to show again.
const CONFIRMED: f64 = 0.5;

/// Further repeats, of either prompt, on what seems fixed or broken. A scenario that failed (or passed) once is a biased
/// choice: some of it was luck, so only fresh repeats say what a candidate did.
pub(super) const CONFIRMING_REPEATS: u32 = 2;

/// Clusters that are worked on at once. The order in which they finish changes nothing.
const CLUSTERS_AT_ONCE: usize = 16;

/// A patch that fixes a cluster, or several, and breaks nothing.
#[derive(Clone, Debug)]
pub(crate) struct Survivor {
    /// Its edits.
    pub units: Vec<Unit>,
    /// The clusters that it fixes.
    pub members: Vec<Member>,
    /// What it gains in them: the sum of the gains of aggregate score, in scenarios.
    pub gain: f64,
}

impl Survivor {
    fn clusters(&self) -> impl Iterator<Item = String> {
        self.members.iter().map(|member| member.cluster.clone())
    }
}

/// What a candidate gains in its cluster.
#[derive(Clone, Debug, Default)]
struct Gains {
    /// The scenarios that it fixes, in whole or in part.
    scenarios: Vec<ScenarioKey>,
    /// The sum of their gains of aggregate score.
    sum: f64,
    /// How many scenarios could be compared: the runs of others ended in errors.
    compared: usize,
}

/// What the search needs besides the candidates: the base prompt that they are compared with, and where they are tried.
pub(crate) struct Arena<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Where prompts are measured.
    pub evaluator: &'a Arc<Evaluator>,
    /// The prompt that candidates are patches of.
    pub base: &'a Arc<Subject>,
    /// How patches are asked for.
    pub asking: Asking<'a>,
    /// Who is told how the search goes on.
    pub progress: &'a dyn Progress,
    /// The weights of the dimensions.
    pub weights: Vec<f64>,
    /// Edits of earlier rounds that broke something critical: a patch with them is not tried again.
    pub fatal: &'a [Fatal],
    /// The round, from 1.
    pub round: u32,
    /// Which attempt at the same inputs the cycle is: each asks for proposals of its own.
    pub attempt: u32,
}

/// Edits with which something critical newly fails when they are in a prompt together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fatal {
    edits: BTreeSet<EditKey>,
    why: String,
}

impl Fatal {
    /// Why a patch need not be tried: it has all of these edits.
    fn in_patch(&self, patch: &BTreeSet<EditKey>) -> Option<&str> {
        self.edits.is_subset(patch).then_some(self.why.as_str())
    }
}

/// What a round of patching has found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// At most one survivor a cluster, in the order of the clusters; one that is the best of several is there once.
    pub survivors: Vec<Survivor>,
    /// The survivors in one prompt, once they have been merged and that holds.
    pub merged: Option<Merged>,
    /// Every patch that was asked for, in the order in which they were first proposed, and every merger.
    pub attempts: Vec<Attempt>,
    /// The patches that were tried and not taken.
    pub rejected: Vec<RejectedPatch>,
    /// What was found about critical dimensions.
    pub critical: Critical,
    /// The edits that broke something critical.
    pub fatal: Vec<Fatal>,
}

impl Found {
    /// Takes in the edits that had to go.
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
    /// Targeted first: the cluster's own scenarios, then sentinels, then, if it is complex, everything.
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
            // A cluster may hold more than one cause, and a failure may pass by luck: what seems fixed has to be so again.
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

    /// What newly fails in a critical dimension, confirmed by further repeats.
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

/// At most `n` of the items, evenly spread over them: members of a cluster are sorted by how typical they are, and a cause that
/// few of them have must not be overlooked.
fn spread(items: &[ScenarioKey], n: usize) -> Vec<ScenarioKey> {
    let n = n.min(items.len());
    (0..n).map(|index| items[index * items.len() / n].clone()).collect()
}
