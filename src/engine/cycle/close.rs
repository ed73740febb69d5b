//! The end of a cycle: draws its conclusion, creates versions, and records the outcome.

use std::collections::BTreeMap;

use super::Cycle;
use super::challenger::{Findings, Gated};
use crate::error::CycleError;
use crate::ports::CycleRecord;
use crate::report::{CallCounts, Cost, Kind, MeasuredOn, Report, SCHEMA_VERSION, ScenarioCounts, Side, means};
use crate::shadow::Paired;
use crate::{Outcome, apply};
use whetstone_decide::conclude::{Conclusion, Evidence, NoChallenger, Search, Verdict, conclude};
use whetstone_decide::critical::Critical;
use whetstone_domain::call::Phase;
use whetstone_domain::ids::DimensionName;
use whetstone_domain::score::{Evaluation, ScenarioResult};
use whetstone_domain::version::{Version, VersionPhase};
use whetstone_domain::words::{by_number, counted};

/// The result of a search.
pub(super) enum End {
    /// There is no challenger.
    Nothing(NoChallenger),
    /// The gate has judged a challenger.
    Gated(Box<Gated>),
}

/// The scores in the report: those of both prompts on the scenarios where both have one, or only the champion's.
struct Measured {
    champion: Evaluation,
    challenger: Option<Evaluation>,
    on: MeasuredOn,
}

/// A cycle that has a verdict, but is not recorded yet.
struct Concluded {
    end: End,
    findings: Findings,
    measured: Measured,
    critical: Critical,
    conclusion: Conclusion,
}

impl Concluded {
    fn gated(&self) -> Option<&Gated> {
        match &self.end {
            End::Gated(gated) => Some(gated),
            End::Nothing(_) => None,
        }
    }

    /// The phase of the challenger's version.
    fn fate(&self) -> VersionPhase {
        match self.conclusion.verdict {
            Verdict::Promoted => VersionPhase::Champion,
            // A comparison promotes nothing: the user decides what serves.
            Verdict::Passed | Verdict::Inconclusive => VersionPhase::Candidate,
            Verdict::Kept | Verdict::BelowThreshold => VersionPhase::Rejected,
        }
    }
}

impl Cycle {
    /// *Apply*: conclude → versions → record.
    pub(super) async fn close(self, end: End, findings: Findings) -> Result<Outcome, CycleError> {
        let concluded = self.conclude(end, findings);
        self.progress.begin(Phase::Apply, "recording the outcome", None);
        let versions = self.versions(&concluded).await?;
        self.record(concluded, versions).await
    }

    fn conclude(&self, end: End, mut findings: Findings) -> Concluded {
        let measured = self.measured(&end);
        let critical = self.critical(std::mem::take(&mut findings.critical));
        let search = match &end {
            End::Nothing(why) => Search::Nothing(why),
            End::Gated(gated) => Search::Challenger { prompt: gated.finalist.subject.id, gate: &gated.report },
        };
        let conclusion = conclude(&Evidence {
            search,
            critical: &critical,
            promotes: self.kind == Kind::Run,
            champion_score: means(&self.plan, &measured.champion).score,
            minimum_score: self.plan.gate.minimum_score,
        });
        Concluded { end, findings, measured, critical, conclusion }
    }

    /// Champion and challenger as versions. The challenger's version is new unless the store knows its prompt.
    async fn versions(&self, concluded: &Concluded) -> Result<Vec<Version>, CycleError> {
        // Transcripts of the same prompt are compared without another version.
        let other = concluded.gated().filter(|gated| gated.finalist.subject.prompts != self.champion.prompts);
        let challenger = match other {
            Some(Gated { finalist, .. }) => {
                let prompts = &finalist.subject.prompts;
                let known = self.history.version_of(&self.object, prompts.hash()).await?;
                // A version holds a single text, as does every prompt set that a resource can define.
                let prompt = prompts.system();
                let name = known.unwrap_or_else(|| format!("v{}", self.memory.next_version).into());
                Some(apply::Challenger { name, prompt, addresses: finalist.addresses(), phase: concluded.fate() })
            }
            None => None,
        };
        Ok(apply::versions(self.champion.prompts.system(), challenger, &self.memory))
    }

    async fn record(self, concluded: Concluded, versions: Vec<Version>) -> Result<Outcome, CycleError> {
        let fate = concluded.fate();
        let Concluded { end, mut findings, measured, critical, conclusion } = concluded;
        let Conclusion { verdict, reasons } = conclusion;
        let Measured { champion, challenger, on } = measured;
        let champion_side = self.side(&versions[0], &champion, on);
        let challenger_side =
            challenger.map(|measured| self.side(versions.last().unwrap_or(&versions[0]), &measured, on));
        findings.found.critical = (critical != Critical::default()).then_some(critical);
        let (gate, evaluations, exhausted) = match end {
            End::Gated(gated) => {
                if fate == VersionPhase::Rejected {
                    findings.kept.rejected.extend(gated.rejected());
                }
                let Paired { champion, challenger, .. } = gated.paired;
                (Some(gated.report), vec![champion, challenger], None)
            }
            End::Nothing(NoChallenger::BudgetExhausted(why)) => (None, vec![champion], Some(why.budget)),
            End::Nothing(_) => (None, vec![champion], None),
        };
        let spending = self.calls.spending();
        let report = Report {
            schema: SCHEMA_VERSION.to_owned(),
            kind: self.kind,
            object: self.object.clone(),
            cycle: self.id.to_string(),
            verdict,
            reasons,
            champion: champion_side,
            challenger: challenger_side,
            gate,
            found: findings.found,
            scenarios: ScenarioCounts::of(&self.plan),
            calls: CallCounts::of(&spending),
            cost: Cost::of(&self.plan, &spending, self.calls.spent()),
            seconds: self.began.elapsed().as_secs_f64(),
            warnings: self.warnings(&evaluations),
        };
        let record = CycleRecord {
            cycle: self.id,
            object: self.object.clone(),
            verdict,
            report: serde_json::to_value(&report).expect("a report is JSON"),
            versions: versions.clone(),
            kept: findings.kept,
            dimensions: self.plan.dimensions.iter().map(|dimension| dimension.name.clone()).collect(),
            champion_scores: self.remembered_scores(&evaluations[0], on),
            evaluations,
            at: self.clock.now(),
        };
        self.history.close(record).await?;
        tracing::info!(verdict = verdict.as_str(), calls = report.calls.total, paid = %report.cost.paid, "cycle ends");
        Ok(Outcome { report, versions, spent: self.calls.spent(), exhausted })
    }

    fn measured(&self, end: &End) -> Measured {
        match end {
            End::Gated(gated) => {
                let Paired { champion, challenger, .. } = gated.paired.compared();
                let on = match self.kind {
                    Kind::Run => MeasuredOn::HeldOut,
                    Kind::Compare => MeasuredOn::All,
                };
                Measured { champion, challenger: Some(challenger), on }
            }
            End::Nothing(_) => {
                let suite = self.plan.split.suite();
                let champion = self.evaluator.measured(&self.champion, &suite, &(0..self.plan.execution.repeats));
                Measured { champion, challenger: None, on: MeasuredOn::Training }
            }
        }
    }

    /// The findings about critical dimensions; empty if nothing was checked.
    fn critical(&self, found: Critical) -> Critical {
        if found.checked.is_empty() && found.failures.is_empty() {
            return Critical::default();
        }
        let critical = self.plan.dimensions.iter().filter(|dimension| dimension.critical);
        Critical { dimensions: critical.map(|dimension| dimension.name.clone()).collect(), ..found }
    }

    /// The mean scores from which later cycles compute percentiles: only those of a champion that was measured on all
    /// held-out scenarios.
    fn remembered_scores(&self, measured: &Evaluation, measured_on: MeasuredOn) -> BTreeMap<DimensionName, f64> {
        let is_complete =
            measured_on == MeasuredOn::HeldOut && measured.results.iter().all(|result| !result.samples.is_empty());
        if !is_complete {
            return BTreeMap::new();
        }
        means(&self.plan, measured).dimensions.into_iter().map(|(name, mean)| (name.into(), mean)).collect()
    }

    fn side(&self, version: &Version, measured: &Evaluation, measured_on: MeasuredOn) -> Side {
        let means = means(&self.plan, measured);
        let named = |is: fn(&ScenarioResult) -> bool| measured.results.iter().filter(move |result| is(result));
        Side {
            version: version.name.to_string(),
            hash: version.hash.to_string(),
            score: means.score,
            dimensions: means.dimensions,
            pass_rate: means.pass_rate,
            failing: named(ScenarioResult::fails).map(|result| result.scenario.to_string()).collect(),
            measured_on,
            scenarios: measured.results.len(),
            unscored: named(|result| result.pass_rate().is_none()).count(),
            answers: self.evaluator.answers(&self.plan.scenarios, measured),
            diff: version.diff.clone(),
            addresses: version.addresses.clone(),
        }
    }

    fn warnings(&self, evaluations: &[Evaluation]) -> Vec<String> {
        let mut warnings = self.plan.warnings.clone();
        let errors: Vec<&String> = evaluations.iter().flat_map(|e| &e.results).flat_map(|r| &r.errors).collect();
        if let Some(first) = errors.first() {
            warnings.push(format!(
                "{} ended in {} neither for nor against a prompt; the first: {first}",
                counted(errors.len(), "run"),
                by_number(errors.len(), "an error and counts", "errors and count")
            ));
        }
        warnings.extend(self.evaluator.warnings());
        warnings.extend(self.calls.warnings());
        warnings
    }
}
