//! The search of a round: requests patches, cluster by cluster, and tries them.
//!
//! In each step, proposals for all open clusters are requested concurrently, then all of them are tried concurrently, as
//! often as a cluster has attempts. So the content of a request does not depend on timing.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use super::attempt::{Attempt, AttemptKind, Outcome, Tried};
use super::compose::{Member, Origin, Unit};
use super::{Arena, CLUSTERS_AT_ONCE, DECISIVE, Fatal, Found, Survivor};
use crate::error::CycleError;
use crate::patch::{Asking, Candidate, Proposal, propose};
use whetstone_decide::critical::Critical;
use whetstone_domain::cluster::Cluster;
use whetstone_domain::patch::{EditKey, Patch, RejectedPatch};
use whetstone_domain::words::counted;

/// A cluster for which patches are being searched.
struct Open<'c> {
    cluster: &'c Cluster,
    /// Only what was tried for this cluster is part of its requests.
    rejected: Vec<RejectedPatch>,
    /// The number and the gain of the best patch so far.
    best: Option<(usize, f64)>,
    is_done: bool,
}

/// A patch that was proposed, for one cluster or several.
struct Distinct {
    key: BTreeSet<EditKey>,
    candidate: Candidate,
    /// Its outcomes, by the number of the cluster.
    outcomes: Vec<(usize, Outcome)>,
}

impl Distinct {
    /// The edits, if something critical newly fails with them.
    fn fatal(&self) -> Option<Fatal> {
        self.outcomes.iter().find_map(|(_, outcome)| match outcome {
            Outcome::BreaksCritical { breaks, .. } => {
                Some(Fatal { edits: self.key.clone(), why: Critical::why_rejected(breaks) })
            }
            _ => None,
        })
    }
}

/// A row of the report, in its order.
enum Row {
    Patch(usize),
    Unusable(Box<Attempt>),
}

impl Arena<'_> {
    /// Requests patches for every cluster and tries them, until each cluster has a survivor or no attempts left.
    ///
    /// # Errors
    /// [`CycleError`] if the cycle cannot continue.
    pub(crate) async fn search(&self, clusters: &[Cluster]) -> Result<Found, CycleError> {
        let patching = self.plan.patching.as_ref().expect("a search is only begun when the plan says how to patch");
        let begin = |cluster| Open { cluster, rejected: self.asking.rejected.to_vec(), best: None, is_done: false };
        let mut open: Vec<Open<'_>> = clusters.iter().map(begin).collect();
        let (mut patches, mut rows) = (Vec::new(), Vec::new());
        let first = self.attempt * patching.candidates_per_cluster;
        for attempt in first..first + patching.candidates_per_cluster {
            let asking: Vec<usize> = (0..open.len()).filter(|&cluster| !open[cluster].is_done).collect();
            if asking.is_empty() {
                break;
            }
            let which = format!("{} of {}", attempt - first + 1, patching.candidates_per_cluster);
            let proposals = self.ask(&open, &asking, attempt, &which).await?;
            let to_try = self.sort_out(&open, proposals, &mut patches, &mut rows);
            let outcomes = self.try_all(&open, &patches, &to_try, &which).await?;
            for (patch, cluster, outcome) in outcomes {
                settle(&mut open[cluster], patch, &patches[patch], &outcome);
                patches[patch].outcomes.push((cluster, outcome));
            }
        }
        Ok(self.found(&open, &patches, rows))
    }

    /// Requests one proposal for each of the clusters, in their order.
    async fn ask(
        &self,
        open: &[Open<'_>],
        asking: &[usize],
        attempt: u32,
        which: &str,
    ) -> Result<Vec<(usize, Proposal)>, CycleError> {
        let n = counted(asking.len(), "cluster");
        self.progress.step(&format!("round {}: patch {which} for {n} is being written", self.round));
        let asked = asking.iter().map(|&cluster| async move {
            let Open { cluster: failures, rejected, .. } = &open[cluster];
            let asking = Asking { rejected, ..self.asking };
            let proposal = propose(&asking, &self.base.prompts, failures, attempt).await?;
            Ok::<_, CycleError>((cluster, proposal))
        });
        stream::iter(asked).buffered(CLUSTERS_AT_ONCE).try_collect().await
    }

    /// Identifies proposals that are the same patch. Returns what is to be tried: patches by number, each with the numbers
    /// of the clusters that they were just proposed for.
    fn sort_out(
        &self,
        open: &[Open<'_>],
        proposals: Vec<(usize, Proposal)>,
        patches: &mut Vec<Distinct>,
        rows: &mut Vec<Row>,
    ) -> Vec<(usize, Vec<usize>)> {
        let mut to_try: Vec<(usize, Vec<usize>)> = Vec::new();
        for (cluster, proposal) in proposals {
            let unusable = |patch: Option<&Patch>, answer: &str, why: String| {
                let clusters = std::slice::from_ref(&open[cluster].cluster.id);
                let tried =
                    Tried { round: self.round, kind: AttemptKind::Patch, clusters, prompt: None, patch, answer };
                Row::Unusable(Box::new(Attempt::of(&tried, vec![Outcome::Unusable { why }])))
            };
            let candidate = match proposal {
                Proposal::Candidate(candidate) => *candidate,
                Proposal::Unusable { reason, patch, answer } => {
                    rows.push(unusable(patch.as_ref(), &answer, reason.to_string()));
                    continue;
                }
            };
            let key = candidate.patch.key();
            if let Some(why) = self.fatal.iter().find_map(|fatal| fatal.in_patch(&key)) {
                let why = format!("its edits broke something critical in an earlier round: {why}");
                rows.push(unusable(Some(&candidate.patch), "", why));
                continue;
            }
            let patch = patches.iter().position(|patch| patch.key == key).unwrap_or_else(|| {
                rows.push(Row::Patch(patches.len()));
                patches.push(Distinct { key, candidate, outcomes: Vec::new() });
                patches.len() - 1
            });
            if patches[patch].outcomes.iter().any(|(before, _)| *before == cluster) {
                continue; // what it is good for here is known
            }
            match to_try.iter_mut().find(|(before, _)| *before == patch) {
                Some((_, clusters)) => clusters.push(cluster),
                None => to_try.push((patch, vec![cluster])),
            }
        }
        to_try
    }

    /// Tries patches in their clusters: different patches concurrently, the clusters of one patch one after the other, so
    /// that scenarios that they share are run once.
    async fn try_all(
        &self,
        open: &[Open<'_>],
        patches: &[Distinct],
        to_try: &[(usize, Vec<usize>)],
        which: &str,
    ) -> Result<Vec<(usize, usize, Outcome)>, CycleError> {
        if to_try.is_empty() {
            return Ok(Vec::new());
        }
        let n = counted(to_try.len(), "patch");
        self.progress.step(&format!("round {}: trying {n} ({which} for each cluster)", self.round));
        let trials = to_try.iter().map(|(patch, clusters)| async move {
            let mut outcomes = Vec::new();
            for &cluster in clusters {
                let outcome = self.try_candidate(&patches[*patch].candidate, open[cluster].cluster).await?;
                outcomes.push((*patch, cluster, outcome));
            }
            Ok::<_, CycleError>(outcomes)
        });
        let outcomes: Vec<Vec<_>> = stream::iter(trials).buffered(CLUSTERS_AT_ONCE).try_collect().await?;
        Ok(outcomes.into_iter().flatten().collect())
    }

    fn found(&self, open: &[Open<'_>], patches: &[Distinct], rows: Vec<Row>) -> Found {
        let mut found = Found::default();
        found.fatal.extend(patches.iter().filter_map(Distinct::fatal));
        for row in rows {
            found.attempts.push(match row {
                Row::Unusable(attempt) => *attempt,
                Row::Patch(number) => self.attempt_of(open, &patches[number]),
            });
        }
        for open in open {
            let own = &open.rejected[self.asking.rejected.len()..];
            for rejected in own {
                if found.rejected.iter().all(|before| before.prompt != rejected.prompt) {
                    found.rejected.push(rejected.clone());
                }
            }
        }
        // The best patch of several clusters is one survivor.
        let mut taken: Vec<usize> = Vec::new();
        for (number, _) in open.iter().filter_map(|open| open.best) {
            if !taken.contains(&number) {
                taken.push(number);
            }
        }
        let survived = |patch: &&Distinct| patch.outcomes.iter().any(|(_, outcome)| outcome.survives());
        let survivors: Vec<_> = patches.iter().filter(survived).map(|patch| patch.candidate.subject.id).collect();
        found.rejected.retain(|rejected| !survivors.contains(&rejected.prompt));
        found.survivors.extend(taken.into_iter().map(|number| self.survivor(open, number, &patches[number])));
        found
    }

    fn attempt_of(&self, open: &[Open<'_>], patch: &Distinct) -> Attempt {
        let clusters: Vec<String> =
            patch.outcomes.iter().map(|(cluster, _)| open[*cluster].cluster.id.clone()).collect();
        let tried = Tried {
            round: self.round,
            kind: AttemptKind::Patch,
            clusters: &clusters,
            prompt: Some(patch.candidate.subject.id.short()),
            patch: Some(&patch.candidate.patch),
            answer: "",
        };
        Attempt::of(&tried, patch.outcomes.iter().map(|(_, outcome)| outcome.clone()).collect())
    }

    fn survivor(&self, open: &[Open<'_>], number: usize, patch: &Distinct) -> Survivor {
        let fixed = open.iter().filter(|open| open.best.is_some_and(|(best, _)| best == number));
        let member = |open: &Open<'_>| Member { cluster: open.cluster.id.clone(), label: open.cluster.label.clone() };
        let members: Vec<Member> = fixed.clone().map(member).collect();
        let gain = fixed.filter_map(|open| open.best).map(|(_, gain)| gain).sum();
        let origin = Origin {
            round: self.round,
            members: members.clone(),
            patch: patch.candidate.patch.clone(),
            prompt: patch.candidate.subject.id,
        };
        Survivor { units: Unit::of(&Arc::new(origin)), members, gain }
    }
}

/// Records an outcome for the cluster.
fn settle(open: &mut Open<'_>, number: usize, patch: &Distinct, outcome: &Outcome) {
    if !outcome.survives() {
        // An error is no reason to avoid a patch later.
        if !matches!(outcome, Outcome::Errored { .. }) {
            let Candidate { subject, patch, .. } = &patch.candidate;
            let reason = outcome.to_string();
            open.rejected.push(RejectedPatch { prompt: subject.id, patch: patch.clone(), reason });
        }
        return;
    }
    let fixes = outcome.fixes().unwrap_or_default();
    if open.best.is_none_or(|(_, gain)| fixes.gain > gain) {
        open.best = Some((number, fixes.gain));
    }
    open.is_done = fixes.fixed as f64 >= DECISIVE * open.cluster.failures.len() as f64;
}
