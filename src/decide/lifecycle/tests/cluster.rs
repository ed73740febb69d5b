//! A made-up cluster, which does what courses say.

use super::super::champion;
use super::*;

pub(super) fn prompt(text: &str) -> PromptText {
    PromptText::new(text.to_owned())
}

pub(super) fn watch() -> WatchPlan {
    WatchPlan {
        window: Duration::from_mins(1),
        interval: Duration::from_secs(5),
        breaches: 3,
        prometheus: None,
        signals: Vec::new(),
        reevaluation: Some(ReevaluationPlan { every: Duration::from_secs(1000), max_drop: 0.05 }),
    }
}

pub(super) fn dollars(amount: u8) -> Money {
    Money::from(Decimal::from(amount))
}

/// A cluster that does what courses say.
#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) now: Timestamp,
    pub(super) wants: Wants,
    pub(super) record: Record,
    pub(super) versions: Vec<KnownVersion>,
    /// How many versions were ever created: no two objects have one name, whatever was deleted meanwhile.
    created: usize,
    pub(super) base: PromptText,
    pub(super) inputs: RecordedInputs,
    pub(super) taken: Vec<String>,
    pub(super) remembered: Vec<VersionId>,
    pub(super) reasons: Vec<String>,
    /// Cycles use up their budget, if they have one.
    pub(super) is_costly: bool,
    pub(super) said: Vec<Note>,
}

impl Cluster {
    pub(super) fn new() -> Self {
        Self::with_memory(&[])
    }

    /// Whose object had another life before.
    pub(super) fn with_memory(remembered: &[(&str, &str)]) -> Self {
        let mut cluster = Self {
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            wants: Wants::default(),
            record: Record::default(),
            versions: Vec::new(),
            created: 0,
            base: prompt("base"),
            inputs: "inputs".into(),
            taken: Vec::new(),
            remembered: Vec::new(),
            reasons: vec!["because".to_owned()],
            is_costly: false,
            said: Vec::new(),
        };
        let version =
            |(version, text): &(&str, &str)| VersionId { version: (*version).into(), hash: prompt(text).hash };
        cluster.remembered = remembered.iter().map(version).collect();
        cluster.step(None, None);
        cluster
    }

    pub(super) fn look(&self, ended: Option<&Ended>, round: Option<&Watched>) -> Course {
        next(&Situation { ended, round, ..self.situation() })
    }

    pub(super) fn situation(&self) -> Situation<'_> {
        Situation {
            now: self.now,
            wants: &self.wants,
            record: &self.record,
            versions: &self.versions,
            taken: &self.taken,
            remembered: &self.remembered,
            base: Some(&self.base),
            found: None,
            inputs: Some(&self.inputs),
            ended: None,
            round: None,
        }
    }

    pub(super) fn step(&mut self, ended: Option<&Ended>, round: Option<&Watched>) {
        let course = self.look(ended, round);
        for new in &course.create {
            assert!(self.versions.iter().all(|known| known.version != new.version), "{} exists", new.version);
            self.versions.push(KnownVersion {
                object: format!("support-{}", new.version),
                version: new.version.clone(),
                hash: new.prompt.hash,
                phase: None,
                score: None,
                origin: new.origin,
                created: self.now,
                fault: None,
            });
            self.created += 1;
        }
        let all = self.versions.clone();
        let names = Names::of(&all);
        for known in &mut self.versions {
            let holds = names.holds(&course.record, known);
            let verdict = course.verdicts.iter().rev().find(|verdict| verdict.is_about(known, holds));
            let champion = course.record.champion.as_ref();
            let champion = champion.filter(|it| holds && it.version == known.version && it.hash == known.hash);
            let derived = phase_of(&course.record, known, holds);
            known.phase =
                Some(verdict.and_then(|verdict| verdict.phase).filter(|_| champion.is_none()).unwrap_or(derived));
            let measured = champion.and_then(|champion| champion.score);
            let reported = verdict.and_then(|verdict| verdict.score);
            known.score = measured.or(reported).or(known.score.take());
        }
        self.said.extend(course.notes);
        self.record = course.record;
    }

    pub(super) fn apply_by_hand(&mut self, text: &str) {
        self.apply_as(&format!("hand-{}", self.created), text);
    }

    pub(super) fn apply_as(&mut self, version: &str, text: &str) {
        self.versions.push(KnownVersion {
            object: format!("by-hand-{}", self.created),
            version: version.into(),
            hash: prompt(text).hash,
            phase: None,
            score: None,
            origin: VersionOrigin::Applied,
            created: self.now,
            fault: None,
        });
        self.created += 1;
        self.step(None, None);
    }

    /// The cycle under way comes to a verdict; a search with a challenger of this text.
    pub(super) fn ends(&mut self, verdict: Verdict, text: &str) {
        if let Some(ended) = self.ended(verdict, text) {
            self.step(Some(&ended), None);
        }
    }

    pub(super) fn concludes(&self, verdict: Verdict, text: &str) -> Course {
        self.look(self.ended(verdict, text).as_ref(), None)
    }

    pub(super) fn ended(&self, verdict: Verdict, text: &str) -> Option<Ended> {
        let cycle = self.record.cycle.clone()?;
        let champion = self.record.champion.clone().unwrap().hash;
        let prompt = match &cycle.challenger {
            Some(version) => {
                // What was deleted meanwhile is not gated.
                let known = Names::of(&self.versions).holder(&self.record, version)?;
                PromptText { hash: known.hash, text: String::new() }
            }
            None => prompt(text),
        };
        if cycle.challenger.is_none() && prompt.hash == champion {
            return None;
        }
        let challenger = ChallengerFacts {
            version: "v2".into(),
            prompt,
            diff: String::new(),
            addresses: Vec::new(),
            score: Some(0.9),
            dimensions: Vec::new(),
        };
        let exhausted = self.wants.budget.filter(|_| self.is_costly);
        let verdict = if exhausted.is_some() { Verdict::Inconclusive } else { verdict };
        let facts = match cycle.kind {
            CycleKind::Reevaluate if exhausted.is_some() => CycleFacts::TooDear(TooDear {
                id: "id".to_owned(),
                message: "the budget has no room".to_owned(),
                cost: Money::ZERO,
                currency: "USD".to_owned(),
            }),
            CycleKind::Reevaluate => CycleFacts::Remeasured(Remeasured {
                id: "id".to_owned(),
                then: 0.9,
                now: if verdict == Verdict::Promoted { 0.9 } else { 0.6 },
                p_value: 0.001,
                predecessor: (verdict == Verdict::Kept).then_some(0.8),
                predecessor_p_value: (verdict == Verdict::Kept).then_some(0.01),
                scenarios: 40,
                cost: Money::ZERO,
                currency: "USD".to_owned(),
            }),
            _ => CycleFacts::Gated(Gated {
                id: "id".to_owned(),
                verdict,
                reasons: self.reasons.clone(),
                champion_score: Some(0.7),
                // A cycle that runs out of its budget comes to no comparison.
                challenger: exhausted.is_none().then_some(challenger),
                cost: Money::from(Decimal::ONE),
                currency: "USD".to_owned(),
                exhausted,
            }),
        };
        Some(Ended { cycle, champion, result: Ok(facts) })
    }

    pub(super) fn fails(&mut self) {
        let Some(cycle) = self.record.cycle.clone() else { return };
        let champion = self.record.champion.clone().unwrap().hash;
        let failed = Failed::temporary("the provider is down");
        self.step(Some(&Ended { cycle, champion, result: Err(failed) }), None);
    }

    pub(super) fn breaches(&mut self) {
        let Some(watch) = self.record.watch.clone() else { return };
        let outcome = RoundOutcome::Breach { reasons: vec!["errors rose".to_owned()] };
        let round = Round { breaches: 3, outcome, outage: None };
        self.step(None, Some(&Watched { version: watch.version, signals: Vec::new(), round }));
    }

    pub(super) fn pass(&mut self, seconds: u64) {
        self.now = champion::later(self.now, Duration::from_secs(seconds));
        self.step(None, None);
    }

    pub(super) fn serving(&self) -> (&str, Origin) {
        let champion = self.record.champion.as_ref().unwrap();
        (champion.version.as_str(), champion.origin)
    }

    pub(super) fn phases(&self) -> BTreeMap<&str, VersionPhase> {
        let names = Names::of(&self.versions);
        let holders = self.versions.iter().filter(|known| names.holds(&self.record, known));
        holders.map(|known| (known.version.as_str(), known.phase.unwrap())).collect()
    }

    /// Where an object stands.
    pub(super) fn phase_of_object(&self, object: &str) -> VersionPhase {
        self.versions.iter().find(|known| known.object == object).unwrap().phase.unwrap()
    }

    pub(super) fn times_said(&self, reason: EventReason) -> usize {
        self.said.iter().filter(|note| note.reason == reason).count()
    }

    #[track_caller]
    pub(super) fn has_said(&self, reason: EventReason) {
        assert!(self.said.iter().any(|note| note.reason == reason), "{reason:?} is not among {:?}", self.said);
    }
}
