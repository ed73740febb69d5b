//! Phase *validate*: candidates → the best one.
//!
//! Cheapest evidence first. A candidate is tried on a few scenarios of its own cluster, then on the rest of them, then on
//! sentinels that passed before; a patch that is complex has to stand the whole suite already here. The survivors of all
//! clusters are merged into one prompt and validated again; only that finalist is run on the full regression suite.
//! What is decided here only saves money: the proof is the gate's, on scenarios that nothing here has seen.

use std::ops::Range;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::CycleError;
use super::evaluate::{CountedAs, Evaluator};
use super::patch::{Asking, Candidate, Proposal, propose};
use super::subject::Subject;
use crate::api::Plan;
use crate::domain::cluster::Cluster;
use crate::domain::hash::ContentHash;
use crate::domain::ids::ScenarioId;
use crate::domain::patch::{Patch, RejectedPatch};
use crate::domain::score::{Evaluation, ScenarioResult};
use crate::stats::distributions::student_isf;
use crate::stats::t_test;

/// Scenarios of a cluster that a candidate is tried on before the rest of them is paid for.
const FIRST_LOOK: usize = 4;

/// The gain of a scenario's aggregate score from which it seems mended, in whole or in part: where two things are wrong, the
/// patch for one of them must not be held against the other.
const MENDS: f64 = 0.1;

/// The share of its cluster's failures from which a candidate needs no confirmation, if these are at least
/// [`CONVINCING`], and from which no further candidate is asked for.
const DECISIVE: f64 = 0.6;

/// As many mended failures are not luck.
const CONVINCING: usize = 3;

/// The share of the first gain that fresh repeats of what seems mended have to show again.
const CONFIRMED: f64 = 0.5;

/// Further repeats, of either prompt, on what seems mended or broken. A scenario that failed (or passed) once is a biased
/// choice: some of it was luck, so only fresh repeats say what a candidate did.
pub(super) const CONFIRMING_REPEATS: u32 = 2;

/// Fresh runs of either prompt from which a difference can be told, at least: few scenarios are repeated more often.
const CONFIRMING_RUNS: u32 = 6;

/// The share of what the parts gain alone that a merged prompt has to gain.
const KEPT_BY_MERGING: f64 = 0.5;

/// How much of a gain over the training part may be luck, in scenarios.
const LUCK: f64 = 0.5;

/// The level at which a prompt counts as worse on the regression suite.
const REGRESSION_LEVEL: f64 = 0.05;

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
        for attempt in 0..patching.candidates_per_cluster {
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

    /// Merges the survivors into one prompt, as many of them as get on with each other. The heaviest cluster comes first.
    ///
    /// # Errors
    /// [`CycleError`] when nothing else can work either.
    pub async fn merge(&self, found: &mut Found) -> Result<Option<Merged>, CycleError> {
        let mut survivors = std::mem::take(&mut found.survivors);
        if survivors.is_empty() {
            return Ok(None);
        }
        // All of them at first: as a rule they do get on. If not, one after the other, and whoever spoils it stays out.
        let all = self.combine(&survivors);
        let trial = self.try_merged(&all, &survivors).await?;
        found.attempts.push(self.attempt(&all.clusters(), Some(&all.candidate), trial.holds, trial.reason));
        if trial.holds {
            return Ok(Some(all));
        }
        if survivors.len() == 1 {
            return Ok(None);
        }
        survivors.sort_by(|a, b| b.gain.total_cmp(&a.gain));
        let mut taken = Vec::new();
        for survivor in survivors {
            taken.push(survivor);
            let combined = self.combine(&taken);
            let trial = self.try_merged(&combined, &taken).await?;
            let (clusters, holds) = (combined.clusters(), trial.holds);
            found.attempts.push(self.attempt(&clusters, Some(&combined.candidate), holds, trial.reason));
            if !holds {
                taken.pop();
            }
        }
        Ok((!taken.is_empty()).then(|| self.combine(&taken)))
    }

    fn combine(&self, survivors: &[Survivor]) -> Merged {
        let mut prompt = self.base.prompt.clone();
        let protected = self.plan.patching.as_ref().map_or(&[][..], |patching| &patching.protected_sections);
        let mut patch = Patch { rationale: String::new(), edits: Vec::new() };
        let mut members = Vec::new();
        for survivor in survivors {
            let Ok(patched) = prompt.apply(&survivor.candidate.patch.edits, protected) else {
                continue; // two patches of the same words: the first one stays
            };
            if !self.plan.patching.as_ref().is_none_or(|patching| patched.fits(patching.max_prompt_tokens)) {
                continue;
            }
            prompt = patched;
            patch.edits.extend(survivor.candidate.patch.edits.iter().cloned());
            if !patch.rationale.is_empty() {
                patch.rationale.push(' ');
            }
            patch.rationale.push_str(&survivor.candidate.patch.rationale);
            members.push(Member { cluster: survivor.cluster.clone(), label: survivor.label.clone() });
        }
        let candidate = Candidate::new(&self.base.prompt, prompt, patch, &self.plan.validation);
        Merged { candidate, members }
    }

    /// A merged prompt has to mend nearly what its parts mended, and to break nothing that the base passed.
    async fn try_merged(&self, merged: &Merged, parts: &[Survivor]) -> Result<Trial, CycleError> {
        if merged.members.len() < parts.len() {
            let left_out = parts.len() - merged.members.len();
            let reason =
                format!("{left_out} of {} patches do not apply together, or not within the budget", parts.len());
            return Ok(Trial { holds: false, reason });
        }
        let train = &self.plan.split.train;
        let repeats = self.repeats();
        let before = self.evaluate(self.base, train, repeats.clone()).await?;
        let after = self.evaluate(&merged.candidate.subject, train, repeats).await?;
        let gains = differences(&before, &after, |result| self.score(result));
        let gain: f64 = gains.iter().sum();
        let hoped: f64 = parts.iter().map(|part| part.gain).sum();
        let reason = format!(
            "{} together: {gain:+.1} in score over {} scenarios, where they gain {hoped:+.1} one by one",
            if parts.len() == 1 { "1 patch".to_owned() } else { format!("{} patches", parts.len()) },
            gains.len()
        );
        if gain < KEPT_BY_MERGING * hoped - LUCK || gain <= 0.0 {
            return Ok(Trial { holds: false, reason });
        }
        let sentinels = self.sentinels(&[]);
        let loss = self.sentinel_loss(&merged.candidate.subject, &sentinels).await?;
        Ok(match self.breaks_sentinels(loss, sentinels.len()) {
            Some(broken) => Trial { holds: false, reason: format!("{reason}, but {broken}") },
            None => Trial { holds: true, reason },
        })
    }

    /// The full regression suite: training and regression part, against the base.
    async fn regression(&self, subject: &Arc<Subject>) -> Result<Trial, CycleError> {
        regression(self.plan, self.evaluator, self.base, subject).await.map(|(holds, reason)| Trial { holds, reason })
    }

    /// Those of the scenarios in which a subject does better than the base.
    async fn mended(&self, subject: &Arc<Subject>, scenarios: &[usize]) -> Result<Mended, CycleError> {
        let before = self.evaluate(self.base, scenarios, self.repeats()).await?;
        let after = self.evaluate(subject, scenarios, self.repeats()).await?;
        let mut mended = Mended::default();
        for (&scenario, (before, after)) in scenarios.iter().zip(before.results.iter().zip(&after.results)) {
            let Some((after, before)) = self.score(after).zip(self.score(before)) else { continue };
            let gain = after - before;
            mended.compared += 1;
            if gain >= MENDS {
                mended.scenarios.push(scenario);
                mended.gain += gain;
            }
        }
        Ok(mended)
    }

    /// The sum of a figure's gains over the base, in fresh repeats of both.
    async fn fresh_gain(
        &self,
        subject: &Arc<Subject>,
        scenarios: &[usize],
        figure: &(dyn Fn(&ScenarioResult) -> Option<f64> + Sync),
    ) -> Result<f64, CycleError> {
        let more = CONFIRMING_REPEATS.max(CONFIRMING_RUNS.div_ceil(scenarios.len().max(1) as u32));
        let fresh = self.plan.execution.repeats..self.plan.execution.repeats + more;
        let before = self.evaluate(self.base, scenarios, fresh.clone()).await?;
        let after = self.evaluate(subject, scenarios, fresh).await?;
        Ok(differences(&before, &after, figure).iter().sum())
    }

    /// The aggregate score of a scenario.
    fn score(&self, result: &ScenarioResult) -> Option<f64> {
        result.aggregate(&self.weights)
    }

    /// Scenarios that the base passes, in an order that is random but always the same.
    fn sentinels(&self, except: &[usize]) -> Vec<usize> {
        let failing = self.evaluator.failing(self.base, &self.plan.split.train, &self.repeats());
        let mut passing: Vec<usize> = self
            .plan
            .split
            .train
            .iter()
            .copied()
            .filter(|scenario| !failing.contains(scenario) && !except.contains(scenario))
            .collect();
        let seed = self.plan.execution.seed;
        passing.sort_by_key(|&scenario| ContentHash::of_json(&(seed, &self.plan.scenarios[scenario].id)));
        passing.truncate(self.plan.validation.sentinels);
        passing
    }

    /// The loss of pass rate over the sentinels, confirmed by fresh repeats of both prompts on those that seem broken.
    async fn sentinel_loss(&self, subject: &Arc<Subject>, sentinels: &[usize]) -> Result<f64, CycleError> {
        let after = self.evaluate(subject, sentinels, self.repeats()).await?;
        let broken: Vec<usize> = sentinels
            .iter()
            .zip(&after.results)
            .filter(|(_, result)| result.pass_rate().is_some_and(|rate| rate < 1.0))
            .map(|(&scenario, _)| scenario)
            .collect();
        if broken.is_empty() {
            return Ok(0.0);
        }
        let gain = self.fresh_gain(subject, &broken, &ScenarioResult::pass_rate).await?;
        Ok(-gain / sentinels.len() as f64)
    }

    fn breaks_sentinels(&self, loss: f64, sentinels: usize) -> Option<String> {
        // Less than half a scenario is within what a single unlucky repeat does.
        let tolerated = self.plan.gate.regression_tolerance.max(0.5 / sentinels.max(1) as f64);
        (loss > tolerated).then(|| format!("breaks {:.0}% of {sentinels} sentinels that passed before", 100.0 * loss))
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

/// Survivors of several clusters in one prompt.
#[derive(Clone, Debug)]
pub struct Merged {
    /// The prompt, and all the edits that lead to it.
    pub candidate: Candidate,
    /// The clusters that it addresses.
    pub members: Vec<Member>,
}

/// A cluster that a prompt addresses.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its id in the cycle.
    pub cluster: String,
    /// Its label.
    pub label: String,
}

impl Merged {
    fn clusters(&self) -> String {
        self.members.iter().map(|member| member.cluster.as_str()).collect::<Vec<_>>().join("+")
    }
}

/// Whether a prompt stands the full regression suite (training and regression part) against another: no dimension may be
/// worse, beyond the tolerance, with significance. Returns that, and the figures in words.
///
/// # Errors
/// [`CycleError`] when nothing else can work either.
pub async fn regression(
    plan: &Plan,
    evaluator: &Arc<Evaluator>,
    base: &Arc<Subject>,
    subject: &Arc<Subject>,
) -> Result<(bool, String), CycleError> {
    let mut suite = [plan.split.train.as_slice(), plan.split.regression.as_slice()].concat();
    suite.sort_unstable();
    let repeats = 0..plan.execution.repeats;
    let before = evaluator.evaluate(base, &suite, repeats.clone(), CountedAs::VALIDATE).await?;
    let after = evaluator.evaluate(subject, &suite, repeats, CountedAs::VALIDATE).await?;
    for (index, dimension) in plan.dimensions.iter().enumerate() {
        let differences = differences(&before, &after, |result| result.mean(index));
        let Some(test) = t_test::paired(&differences) else { continue };
        let worst = test.estimate + test.standard_error * student_isf(REGRESSION_LEVEL, test.degrees_of_freedom);
        if worst < -plan.gate.regression_tolerance {
            let reason = format!(
                "is worse in {} on the full suite: at best {:+.3}, and {:.3} is tolerated",
                dimension.name, worst, plan.gate.regression_tolerance
            );
            return Ok((false, reason));
        }
    }
    Ok((true, format!("stands the full suite of {} scenarios", suite.len())))
}

/// At most `n` of the items, evenly spread over them: members of a cluster are sorted by how typical they are, and a cause that
/// few of them have must not be overlooked.
fn spread(items: &[usize], n: usize) -> Vec<usize> {
    let n = n.min(items.len());
    (0..n).map(|index| items[index * items.len() / n]).collect()
}

/// A figure's differences over the scenarios where both sides have it.
fn differences(before: &Evaluation, after: &Evaluation, figure: impl Fn(&ScenarioResult) -> Option<f64>) -> Vec<f64> {
    let pairs = before.results.iter().zip(&after.results);
    pairs.filter_map(|(before, after)| Some(figure(after)? - figure(before)?)).collect()
}
