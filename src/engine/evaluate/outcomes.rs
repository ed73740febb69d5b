//! The measurements of a cycle, run by run, and queries of them.
//!
//! An endpoint that shows no tool call in any of its answers cannot be judged by expectations about tool calls. Whether it
//! shows any is known only once all answers have been seen, so both readings of such a run are kept.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::errors::RunFailure;
use crate::report::AnswerCounts;
use crate::run::Unusual;
use crate::subject::Subject;
use whetstone_domain::cluster::Failure;
use whetstone_domain::hash::ContentHash;
use whetstone_domain::score::{Evaluation, Passes, Sample, ScenarioResult};
use whetstone_domain::suite::{ScenarioKey, Suite};

/// A run: subject, scenario and repeat.
pub(super) type Run = (ContentHash, ScenarioKey, u32);

/// The outcome of one run.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Scored(Scored),
    Errored(RunFailure),
    /// There is no transcript for it.
    NotRecorded(String),
}

/// One run, scored.
#[derive(Clone, Debug)]
pub(super) struct Scored {
    pub reading: Reading,
    /// The same without the dimensions that score tool calls, for a run of an endpoint in which there are none.
    pub without_calls: Option<Reading>,
    /// Whether the transcript has tool calls.
    pub shows_calls: bool,
    /// What was unusual about the answers.
    pub unusual: Unusual,
}

/// Scores, and the failure if not all passed.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    pub sample: Sample,
    pub failure: Option<Arc<Failure>>,
}

/// What has been measured.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    runs: HashMap<Run, Outcome>,
    any_scored: bool,
    any_calls: bool,
    unseen: usize,
    not_recorded: usize,
    first_not_recorded: Option<String>,
    /// By subject: the number of recorded transcripts beyond the repeats that are measured.
    unused: HashMap<ContentHash, usize>,
}

impl Outcomes {
    pub(super) fn insert(&mut self, run: Run, outcome: Outcome) {
        match &outcome {
            Outcome::Scored(scored) => {
                self.any_scored = true;
                self.any_calls |= scored.shows_calls;
                self.unseen += usize::from(scored.without_calls.is_some());
            }
            Outcome::Errored(_) => {}
            Outcome::NotRecorded(message) => {
                self.not_recorded += 1;
                self.first_not_recorded.get_or_insert_with(|| message.clone());
            }
        }
        self.runs.insert(run, outcome);
    }

    /// Notes that a subject is about to be measured in at most this many repeats.
    pub(super) fn look_at(&mut self, subject: &Subject, repeats: u32) {
        if subject.transcripts.is_some() {
            self.unused.entry(subject.id).or_insert_with(|| subject.recorded_beyond(repeats));
        }
    }

    /// The number of recorded transcripts that are not measured, because there are more than repeats.
    pub(super) fn unused(&self) -> usize {
        self.unused.values().sum()
    }

    pub(super) fn contains(&self, run: &Run) -> bool {
        self.runs.contains_key(run)
    }

    /// Whether not a single run of the cycle could be scored so far. Then nothing works; otherwise, errors in a small set
    /// are bad luck.
    pub(super) fn has_scored_nothing(&self) -> bool {
        !self.any_scored
    }

    /// The readings that count, over a scenario's repeats.
    fn readings<'a>(
        &'a self,
        subject: ContentHash,
        scenario: &ScenarioKey,
        repeats: &Range<u32>,
    ) -> impl Iterator<Item = &'a Reading> + Clone + use<'a> {
        let scenario = scenario.clone();
        repeats.clone().filter_map(move |repeat| match self.runs.get(&(subject, scenario.clone(), repeat))? {
            Outcome::Scored(scored) => {
                Some(scored.without_calls.as_ref().filter(|_| !self.any_calls).unwrap_or(&scored.reading))
            }
            Outcome::Errored(_) | Outcome::NotRecorded(_) => None,
        })
    }

    /// What was measured of a subject in these scenarios.
    pub(super) fn measured(&self, subject: &Subject, scenarios: &[ScenarioKey], repeats: &Range<u32>) -> Evaluation {
        let results = scenarios.iter().map(|scenario| ScenarioResult {
            scenario: scenario.id.clone(),
            samples: self.readings(subject.id, scenario, repeats).map(|reading| reading.sample.clone()).collect(),
            errors: repeats
                .clone()
                .filter_map(|repeat| match self.runs.get(&(subject.id, scenario.clone(), repeat))? {
                    Outcome::Errored(failure) => Some(failure.message.clone()),
                    Outcome::Scored(_) | Outcome::NotRecorded(_) => None,
                })
                .collect(),
        });
        Evaluation { prompt: subject.id, results: results.collect() }
    }

    /// The failures of a subject in the given scenarios that it fails.
    pub(super) fn failures(
        &self,
        subject: &Subject,
        scenarios: &[ScenarioKey],
        repeats: &Range<u32>,
    ) -> Vec<(ScenarioKey, Failure)> {
        let worst_of = |scenario: &ScenarioKey| {
            let readings = self.readings(subject.id, scenario, repeats);
            let passes: Passes = readings.clone().filter_map(|reading| reading.sample.passed()).collect();
            // Ties go to the first.
            let worst = readings
                .filter_map(|reading| reading.failure.as_ref())
                .reduce(|worst, failure| if failure.score < worst.score { failure } else { worst });
            worst.filter(|_| passes.majority() == Some(false))
        };
        let failures = scenarios.iter().map(|scenario| (scenario, worst_of(scenario)));
        failures.filter_map(|(scenario, worst)| Some((scenario.clone(), Failure::clone(worst?)))).collect()
    }

    /// Counts unusual answers in the runs of an evaluation.
    pub(super) fn answers(&self, suite: &Suite, measured: &Evaluation) -> AnswerCounts {
        let mut counts = AnswerCounts::default();
        for result in &measured.results {
            let Some(scenario) = suite.key(&result.scenario) else { continue };
            for sample in &result.samples {
                let run = (measured.prompt, scenario.clone(), sample.repeat);
                if let Some(Outcome::Scored(scored)) = self.runs.get(&run) {
                    counts.add(scored.unusual);
                }
            }
        }
        counts
    }

    /// The number of runs in which an answer was truncated at the limit on its tokens.
    pub(super) fn cut_short(&self) -> usize {
        let cut = |outcome: &&Outcome| matches!(outcome, Outcome::Scored(scored) if scored.unusual.cut_short);
        self.runs.values().filter(cut).count()
    }

    /// The number of runs of an endpoint that were expected to show tool calls, if none has ever shown one.
    pub(super) fn unseen_calls(&self) -> usize {
        if self.any_calls { 0 } else { self.unseen }
    }

    /// The number of runs without a transcript, and the first of them.
    pub(super) fn not_recorded(&self) -> Option<(usize, &str)> {
        self.first_not_recorded.as_deref().map(|first| (self.not_recorded, first))
    }
}
