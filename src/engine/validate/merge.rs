//! Merging: survivors of several clusters become one prompt, as many of them as get on with each other.

use super::measure::differences;
use super::{Arena, Found, Survivor, Trial};
use crate::domain::patch::Patch;
use crate::engine::error::CycleError;
use crate::engine::patch::Candidate;

/// The share of what the parts gain alone that a merged prompt has to gain.
const KEPT_BY_MERGING: f64 = 0.5;

/// How much of a gain over the training part may be luck, in scenarios.
const LUCK: f64 = 0.5;

impl Arena<'_> {
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
