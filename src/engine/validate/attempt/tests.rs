use proptest::prelude::*;

use super::*;
use whetstone_decide::critical::Part;

fn fixes() -> impl Strategy<Value = Fixes> {
    (0..20_usize, 0..20_usize, 0..20_usize, 0.0..9.0_f64).prop_map(|(fixed, other, errors, gain)| Fixes {
        fixed,
        compared: fixed + other,
        failures: fixed + other + errors,
        gain,
    })
}

fn sentinels() -> impl Strategy<Value = Sentinels> {
    (0..30_usize, 0..30_usize, -0.3..0.6_f64, 0.0..0.2_f64).prop_map(|(broken, other, loss, tolerated)| Sentinels {
        scenarios: broken + other,
        broken,
        loss,
        tolerated,
    })
}

fn broken() -> impl Strategy<Value = Vec<Broken>> {
    let broken =
        |number| Broken { scenario: format!("s{number}").into(), part: Part::Training, dimension: "safety".into() };
    proptest::collection::vec((0..9_usize).prop_map(broken), 1..9)
}

fn together() -> impl Strategy<Value = Together> {
    (1..9_usize, -9.0..9.0_f64, 0.0..9.0_f64, 0..99_usize, proptest::option::of(sentinels())).prop_map(
        |(patches, gain, apart, scenarios, sentinels)| Together { patches, gain, apart, scenarios, sentinels },
    )
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let worse = (-0.5..-0.01_f64).prop_map(|at_best| Worse { dimension: "safety".into(), at_best, tolerated: 0.02 });
    let suite = (1..99_usize, worse).prop_map(|(scenarios, worse)| SuiteResult { scenarios, worse: Some(worse) });
    prop_oneof![
        Just(Outcome::Unusable { why: "the edits do not apply".to_owned() }),
        (1..9_usize).prop_map(|scenarios| Outcome::Errored { scenarios }),
        (1..9_usize).prop_map(|tried| Outcome::FixesNothing { tried }),
        (fixes(), -1.0..1.0_f64).prop_map(|(fixes, again)| Outcome::NotConfirmed { fixes, again }),
        (fixes(), sentinels()).prop_map(|(fixes, sentinels)| Outcome::BreaksSentinels { fixes, sentinels }),
        (fixes(), broken()).prop_map(|(fixes, breaks)| Outcome::BreaksCritical { fixes, breaks }),
        (fixes(), suite).prop_map(|(fixes, suite)| Outcome::FailsSuite { fixes, suite }),
        (fixes(), sentinels()).prop_map(|(fixes, sentinels)| Outcome::Survives { fixes, sentinels }),
        (2..9_usize, 1..9_usize).prop_map(|(patches, left_out)| Outcome::Incompatible { patches, left_out }),
        together().prop_map(Outcome::Together),
    ]
}

fn tried<'a>(kind: AttemptKind, clusters: &'a [String], patch: Option<&'a Patch>) -> Tried<'a> {
    Tried { round: 1, kind, clusters, prompt: patch.map(|_| "0123456789ab".to_owned()), patch, answer: "" }
}

fn clusters(n: usize) -> Vec<String> {
    (1..=n).map(|number| format!("c{number}")).collect()
}

proptest! {
    #[test]
    fn what_is_said_of_sentinels_are_their_figures(sentinels in sentinels()) {
        let said = sentinels.to_string();
        let Sentinels { scenarios, broken, .. } = sentinels;
        let all = counted(scenarios, "sentinel");
        // A broken sentinel is always mentioned, whatever other sentinels gain.
        prop_assert_eq!(said == format!("breaks none of {all}"), broken == 0 && scenarios > 0 && !sentinels.breaks(), "{}", &said);
        prop_assert_eq!(said.starts_with(&format!("breaks {broken} of {all}")), broken > 0, "{}", &said);
        prop_assert_eq!(said.contains("tolerated"), broken > 0 && !sentinels.breaks(), "{}", &said);
    }

    /// Gains elsewhere do not compensate for a broken sentinel.
    #[test]
    fn sentinels_that_are_broken_count_in_full(sentinels in sentinels(), gain in 0.0..1.0_f64) {
        let with_gain = Sentinels { loss: sentinels.loss - gain, ..sentinels };
        prop_assert!(!with_gain.breaks() || sentinels.breaks());
        let share = sentinels.broken as f64 / sentinels.scenarios.max(1) as f64;
        prop_assert!(share <= sentinels.tolerated || with_gain.breaks());
    }

    #[test]
    fn what_is_said_of_an_outcome_are_its_figures(outcome in outcome()) {
        let said = outcome.to_string();
        if let Some(fixes) = outcome.fixes() {
            let n = counted(fixes.compared, "failure");
            prop_assert!(said.starts_with(&format!("fixes {} of {n}", fixes.fixed)), "{said}");
            let errors = fixes.failures - fixes.compared;
            let ended = if errors == 1 { "an error" } else { "errors" };
            prop_assert_eq!(said.contains(&format!("({errors} more ended in {ended})")), errors > 0, "{}", &said);
        }
        match &outcome {
            Outcome::Unusable { why } => prop_assert_eq!(&said, why),
            Outcome::Errored { scenarios } => prop_assert!(said.contains(&counted(*scenarios, "scenario")), "{said}"),
            Outcome::FixesNothing { tried } => prop_assert!(said.contains(&format!("none of {}", counted(*tried, "failure"))), "{said}"),
            Outcome::NotConfirmed { again, .. } => prop_assert!(said.contains(&format!("not again ({again:+.2})")), "{said}"),
            Outcome::BreaksCritical { breaks, .. } => {
                prop_assert!(said.contains(&format!(", but {} newly ", counted(scenarios(breaks), "scenario"))), "{said}");
            }
            Outcome::FailsSuite { suite, .. } => prop_assert!(said.ends_with(&suite.to_string()), "{said}"),
            Outcome::BreaksSentinels { sentinels, .. } | Outcome::Survives { sentinels, .. } => {
                prop_assert!(said.ends_with(&sentinels.to_string()));
            }
            Outcome::Incompatible { patches, left_out } => {
                prop_assert!(said.starts_with(&format!("{left_out} of {}", counted(*patches, "patch"))), "{said}");
            }
            Outcome::Together(together) => {
                prop_assert!(said.starts_with(&counted(together.patches, "patch")), "{said}");
                prop_assert!(said.contains(&format!("{:+.1} in score over {}", together.gain, counted(together.scenarios, "training scenario"))), "{said}");
                prop_assert_eq!(said.contains("does not suffice"), together.sentinels.is_none());
            }
        }
    }

    /// The summary of a search counts patches, not mergers, and counts those that could not be tried separately.
    #[test]
    fn the_figures_of_a_search_are_those_of_its_attempts(
        found in proptest::collection::vec((any::<bool>(), proptest::collection::vec(outcome(), 1..4)), 0..12),
    ) {
        let patch = Patch { rationale: String::new(), edits: Vec::new() };
        let attempts: Vec<Attempt> = found
            .iter()
            .map(|(is_merger, outcomes)| {
                let kind = if *is_merger { AttemptKind::Merger } else { AttemptKind::Patch };
                Attempt::of(&tried(kind, &clusters(outcomes.len()), Some(&patch)), outcomes.clone())
            })
            .collect();
        let counts = counts(&attempts, 5);
        let patches = attempts.iter().filter(|attempt| attempt.kind == AttemptKind::Patch);
        prop_assert_eq!(counts.tried + counts.errored + counts.unusable, patches.clone().count());
        prop_assert_eq!(counts.mergers, attempts.len() - patches.clone().count());
        prop_assert!(counts.survived <= counts.tried);
        prop_assert_eq!(counts.first_unusable.is_some(), counts.unusable > 0);
    }

    #[test]
    fn a_patch_of_several_clusters_says_what_became_of_it_in_each(outcomes in proptest::collection::vec(outcome(), 1..5)) {
        let clusters = clusters(outcomes.len());
        let attempt = Attempt::of(&tried(AttemptKind::Patch, &clusters, None), outcomes.clone());
        prop_assert_eq!(attempt.survived, outcomes.iter().any(Outcome::survives));
        for (cluster, outcome) in clusters.iter().zip(&outcomes) {
            let said = if outcomes.len() == 1 { outcome.to_string() } else { format!("{cluster}: {outcome}") };
            prop_assert!(attempt.reason.contains(&said), "{}", attempt.reason);
        }
    }
}

#[test]
fn what_a_patch_says_is_bounded() {
    let text = "ä".repeat(10 * SHOWN_CHARS);
    let edit = Edit::Replace { section: text.clone(), find: text.clone(), text: text.clone() };
    let patch = Patch { rationale: text.clone(), edits: vec![edit; 3 * SHOWN_EDITS] };
    let mut tried = tried(AttemptKind::Patch, &[], Some(&patch));
    tried.answer = &text;
    let attempt = Attempt::of(&tried, vec![Outcome::Errored { scenarios: 1 }]);
    let longest = SHOWN_CHARS * 'ä'.len_utf8() + " …".len();
    assert_eq!((attempt.edits.len(), attempt.rationale.len(), attempt.answer.len()), (SHOWN_EDITS, longest, longest));
    assert_eq!(attempt.edits[0].added().len(), longest);
}

#[test]
fn attempts_of_earlier_versions_are_read() {
    let before = serde_json::json!({"round": 1, "cluster": "c1+c2", "prompt": "0123456789ab", "survived": true, "reason": "mends 3 of 4"});
    let attempt: Attempt = serde_json::from_value(before).unwrap();
    assert_eq!((attempt.kind, attempt.outcomes.len(), attempt.edits.len()), (AttemptKind::Patch, 0, 0));
}
