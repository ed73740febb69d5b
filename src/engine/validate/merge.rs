//! Merging: combines as many compatible survivors of several clusters as possible into one prompt.

use std::sync::Arc;

use super::attempt::{Attempt, AttemptKind, Outcome, Together, Tried};
use super::compose::{Composed, Unit, compose};
use super::measure::differences;
use super::{Arena, Found, Survivor};
use crate::error::CycleError;
use crate::subject::Subject;
use whetstone_decide::critical::Critical;
use whetstone_domain::patch::{Edit, Patch, RejectedPatch};

/// The share of the sum of the separate gains that a merged prompt has to gain.
const KEPT_BY_MERGING: f64 = 0.5;

/// How much of a gain over the training part may be luck, in scenarios.
const LUCK: f64 = 0.5;

/// Survivors of several clusters in one prompt.
#[derive(Clone, Debug)]
pub(crate) struct Merged {
    /// The prompt.
    pub subject: Arc<Subject>,
    /// The edits that lead to it from the base of the round.
    pub units: Vec<Unit>,
}

impl Merged {
    fn of(units: Vec<Unit>, subject: Arc<Subject>) -> Self {
        Self { subject, units }
    }
}

impl Arena<'_> {
    /// Merges as many compatible survivors as possible into one prompt, beginning with the heaviest cluster. Edits with
    /// which something critical newly fails in the training part are dropped.
    ///
    /// # Errors
    /// [`CycleError`] when nothing else can work either.
    pub(crate) async fn merge(&self, mut found: Found) -> Result<Found, CycleError> {
        found.merged = self.merged(&mut found).await?;
        Ok(found)
    }

    async fn merged(&self, found: &mut Found) -> Result<Option<Merged>, CycleError> {
        let survivors = std::mem::take(&mut found.survivors);
        let mut survivors = self.without_fatal(survivors, found).await?;
        if survivors.is_empty() {
            return Ok(None);
        }
        // First all of them, because they are usually compatible. If not, one after the other, without those that are not.
        let all = self.try_merger(&survivors, found).await?;
        if all.is_some() || survivors.len() == 1 {
            return Ok(all);
        }
        survivors.sort_by(|a, b| b.gain.total_cmp(&a.gain));
        let (mut taken, mut best) = (Vec::new(), None);
        for survivor in survivors {
            taken.push(survivor);
            match self.try_merger(&taken, found).await? {
                Some(merged) => best = Some(merged),
                None => drop(taken.pop()),
            }
        }
        Ok(best)
    }

    /// The survivors without the edits that break something critical in combination.
    async fn without_fatal(&self, survivors: Vec<Survivor>, found: &mut Found) -> Result<Vec<Survivor>, CycleError> {
        let units = survivors.iter().flat_map(|survivor| survivor.units.iter().cloned()).collect();
        let guarded = self.guard().guard(units, &self.plan.split.train).await?;
        found.critical.add(guarded.failures);
        found.drop_edits(&guarded.dropped);
        let is_dropped = |unit: &Unit| {
            let same = |(dropped, _): &(Unit, _)| {
                Arc::ptr_eq(&dropped.origin, &unit.origin) && dropped.edit.key() == unit.edit.key()
            };
            guarded.dropped.iter().any(same)
        };
        let kept = survivors.into_iter().map(|mut survivor| {
            survivor.units.retain(|unit| !is_dropped(unit));
            survivor
        });
        Ok(kept.filter(|survivor| !survivor.units.is_empty()).collect())
    }

    /// A merged prompt has to gain nearly the sum of its parts' gains, and to break nothing that the base passed.
    async fn try_merger(&self, parts: &[Survivor], found: &mut Found) -> Result<Option<Merged>, CycleError> {
        let units: Vec<Unit> = parts.iter().flat_map(|part| part.units.iter().cloned()).collect();
        let Composed { prompts, units, left_out, .. } =
            compose(self.plan.patching.as_ref(), &self.base.prompts, &units);
        let merged = Merged::of(units, Arc::new(Subject::prompt(prompts)));
        let outcome = match left_out {
            0 => Outcome::Together(self.try_together(&merged.subject, parts).await?),
            left_out => Outcome::Incompatible { patches: parts.len(), left_out },
        };
        let survives = outcome.survives();
        let clusters: Vec<String> = parts.iter().flat_map(Survivor::clusters).collect();
        let tried = Tried {
            round: self.round,
            kind: AttemptKind::Merger,
            clusters: &clusters,
            prompt: Some(merged.subject.id.short()),
            patch: Some(&patch_of(&merged.units)),
            answer: "",
        };
        found.attempts.push(Attempt::of(&tried, vec![outcome]));
        Ok(survives.then_some(merged))
    }

    async fn try_together(&self, subject: &Arc<Subject>, parts: &[Survivor]) -> Result<Together, CycleError> {
        let train = &self.plan.split.train;
        let before = self.evaluate(self.base, train, self.repeats()).await?;
        let after = self.evaluate(subject, train, self.repeats()).await?;
        let gains = differences(&before, &after, |result| self.score(result));
        let gain: f64 = gains.iter().sum();
        let apart: f64 = parts.iter().map(|part| part.gain).sum();
        let suffices = gain > 0.0 && gain >= KEPT_BY_MERGING * apart - LUCK;
        let sentinels = if suffices { Some(self.try_sentinels(subject, &self.sentinels(&[])).await?) } else { None };
        Ok(Together { patches: parts.len(), gain, apart, scenarios: gains.len(), sentinels })
    }
}

/// The edits as one patch.
#[must_use]
pub(crate) fn patch_of(units: &[Unit]) -> Patch {
    let mut rationales: Vec<&str> = Vec::new();
    for unit in units {
        let rationale = unit.origin.patch.rationale.as_str();
        if !rationale.is_empty() && !rationales.contains(&rationale) {
            rationales.push(rationale);
        }
    }
    Patch { rationale: rationales.join(" "), edits: units.iter().map(|unit| unit.edit.clone()).collect::<Vec<Edit>>() }
}

/// The patches that the edits with critical failures belong to, so that they are not proposed again.
#[must_use]
pub(crate) fn rejected(dropped: &[(Unit, Vec<whetstone_decide::critical::Broken>)]) -> Vec<RejectedPatch> {
    let mut rejected: Vec<RejectedPatch> = Vec::new();
    for (unit, breaks) in dropped {
        let origin = &unit.origin;
        if rejected.iter().all(|before| before.prompt != origin.prompt) {
            let reason = Critical::why_rejected(breaks);
            rejected.push(RejectedPatch { prompt: origin.prompt, patch: origin.patch.clone(), reason });
        }
    }
    rejected
}
