//! The history: cycles, versions, and what is remembered.

use super::*;

pub(in crate::store) async fn the_first_cycle_makes_its_champion_v1(store: &dyn Store) {
    let memory = store.open(start("one", "base")).await.unwrap();
    let nothing = Memory { champion_version: "v1".into(), next_version: 2, ..Memory::default() };
    assert_eq!(memory, nothing);
    assert_eq!(names(&store.versions(OBJECT).await.unwrap()), [("v1", "base", "Champion")]);
}

pub(in crate::store) async fn a_resumed_cycle_has_the_same_memory(store: &dyn Store) {
    store.open(start("earlier", "base")).await.unwrap();
    let scores = BTreeMap::from([("accuracy".into(), 0.1 + 0.2), ("safety".into(), 1.0 / 3.0)]);
    let earlier = CycleRecord { kept: rejecting(vec![rejection("x")]), champion_scores: scores, ..kept("earlier", 1) };
    store.close(earlier).await.unwrap();

    let memory = store.open(start("killed", "base")).await.unwrap();
    assert_eq!((prompts(&memory), memory.champion_scores.len()), (vec![hash("x")], 1));
    store.open(start("meanwhile", "base")).await.unwrap();
    store.close(CycleRecord { kept: rejecting(vec![rejection("y")]), ..kept("meanwhile", 2) }).await.unwrap();
    let late = CycleStart { at: at(3), ..start("killed", "base") };
    assert_eq!(store.open(late).await.unwrap(), memory);
}

/// A cycle that is repeated with a full ledger must come to the same verdict, even if it rejected something itself.
pub(in crate::store) async fn a_repeated_cycle_has_the_same_memory(store: &dyn Store) {
    let memory = store.open(start("one", "base")).await.unwrap();
    let challenger = version("v2", "better", Some("v1"), VersionPhase::Champion);
    let promoted = CycleRecord { versions: vec![challenger], kept: rejecting(vec![rejection("x")]), ..kept("one", 1) };
    store.close(promoted.clone()).await.unwrap();
    assert_eq!(store.open(start("one", "base")).await.unwrap(), memory);
    store.close(promoted).await.unwrap();
    assert_eq!(
        names(&store.versions(OBJECT).await.unwrap()),
        [("v2", "better", "Champion"), ("v1", "base", "Superseded")]
    );
}

pub(in crate::store) async fn a_version_number_assigned_meanwhile_is_not_assigned_twice(store: &dyn Store) {
    let memory = store.open(start("killed", "base")).await.unwrap();
    assert_eq!(memory.next_version, 2);
    store.open(start("meanwhile", "base")).await.unwrap();
    let challenger = version("v2", "better", Some("v1"), VersionPhase::Rejected);
    store.close(CycleRecord { versions: vec![challenger], ..kept("meanwhile", 1) }).await.unwrap();

    let resumed = Memory { next_version: 3, ..memory };
    assert_eq!(store.open(start("killed", "base")).await.unwrap(), resumed);
    assert_eq!(store.open(start("killed", "base")).await.unwrap(), resumed);
}

pub(in crate::store) async fn a_cycle_remembers_patches_that_others_rejected(store: &dyn Store) {
    store.open(start("one", "base")).await.unwrap();
    assert_eq!(store.open(start("unfinished", "base")).await.unwrap().rejected, []);
    let challenger = version("v2", "better", Some("v1"), VersionPhase::Champion);
    let rejected = vec![rejection("x"), rejection("y")];
    store.close(CycleRecord { versions: vec![challenger], kept: rejecting(rejected), ..kept("one", 1) }).await.unwrap();

    // The champion of this one descends from the prompt that x and y were tried on.
    let memory = store.open(start("two", "better")).await.unwrap();
    assert_eq!((memory.champion_version.as_str(), memory.next_version), ("v2", 3));
    assert_eq!(memory.rejected, [rejection("x"), rejection("y")]);
    let again = RejectedPatch { reason: "worse on accuracy".into(), ..rejection("y") };
    store.close(CycleRecord { kept: rejecting(vec![rejection("z"), again.clone()]), ..kept("two", 2) }).await.unwrap();

    let memory = store.open(start("three", "better")).await.unwrap();
    assert_eq!(memory.rejected, [rejection("z"), again, rejection("x")], "newest first, each prompt once");
}

pub(in crate::store) async fn patches_rejected_for_an_unrelated_prompt_are_not_remembered(store: &dyn Store) {
    store.open(start("one", "base")).await.unwrap();
    store.close(CycleRecord { kept: rejecting(vec![rejection("x")]), ..kept("one", 1) }).await.unwrap();
    let memory = store.open(start("two", "written anew by hand")).await.unwrap();
    assert_eq!((memory.champion_version.as_str(), memory.next_version), ("v2", 3));
    assert_eq!(memory.rejected, []);
}

pub(in crate::store) async fn champion_scores_come_oldest_first(store: &dyn Store) {
    let scores = |score: f64| BTreeMap::from([(DimensionName::from("accuracy"), score)]);
    for (cycle, second, score) in [("one", 10, 0.5), ("two", 30, 0.7), ("three", 20, 0.6)] {
        store.open(start(cycle, "base")).await.unwrap();
        store.close(CycleRecord { champion_scores: scores(score), ..kept(cycle, second) }).await.unwrap();
    }
    store.open(start("unfinished", "base")).await.unwrap();
    let memory = store.open(start("four", "base")).await.unwrap();
    assert_eq!(memory.champion_scores, [scores(0.5), scores(0.6), scores(0.7)]);
}

pub(in crate::store) async fn only_held_out_scores_of_champions_are_remembered(store: &dyn Store) {
    let scores = |score: f64| BTreeMap::from([(DimensionName::from("accuracy"), score)]);
    // As older versions of this program recorded them: with scores of any part.
    for (cycle, second, on) in [("one", 10, "training"), ("two", 20, "heldOut"), ("three", 30, "all")] {
        store.open(start(cycle, "base")).await.unwrap();
        let report = json!({"champion": {"measuredOn": on}});
        let champion_scores = scores(second as f64 / 100.0);
        store.close(CycleRecord { report, champion_scores, ..kept(cycle, second) }).await.unwrap();
    }
    // A cycle that measured its champion on no held-out scenario must not displace one that did.
    for number in 0..i64::from(CYCLES_KEPT) - 4 {
        let cycle = format!("nothing measured {number}");
        store.open(start(&cycle, "base")).await.unwrap();
        store.close(kept(&cycle, 40 + number)).await.unwrap();
    }
    let memory = store.open(start("next", "base")).await.unwrap();
    assert_eq!(memory.champion_scores, [scores(0.2)]);
}

pub(in crate::store) async fn a_known_prompt_keeps_its_version_and_its_descent(store: &dyn Store) {
    store.open(start("one", "base")).await.unwrap();
    let promoted = version("v2", "better", Some("v1"), VersionPhase::Champion);
    store.close(CycleRecord { versions: vec![promoted.clone()], ..kept("one", 1) }).await.unwrap();
    store.open(start("two", "better")).await.unwrap();
    // The next cycle knows only the text of its champion.
    let bare = version("v9", "better", None, VersionPhase::Champion);
    store.close(CycleRecord { versions: vec![bare], ..kept("two", 2) }).await.unwrap();

    let versions = store.versions(OBJECT).await.unwrap();
    assert_eq!(versions[0], VersionRow { version: promoted, created_at: at(1) });
    assert_eq!(versions.len(), 2);
}

pub(in crate::store) async fn a_version_name_never_means_two_prompts(store: &dyn Store) {
    for cycle in ["one", "two"] {
        assert_eq!(store.open(start(cycle, "base")).await.unwrap().next_version, 2);
    }
    for cycle in ["one", "two"] {
        let challenger = version("v2", &format!("challenger of {cycle}"), Some("v1"), VersionPhase::Rejected);
        store.close(CycleRecord { versions: vec![challenger], ..kept(cycle, 1) }).await.unwrap();
    }
    assert_eq!(
        names(&store.versions(OBJECT).await.unwrap()),
        [("v3", "challenger of two", "Rejected"), ("v2", "challenger of one", "Rejected"), ("v1", "base", "Champion")]
    );
}

pub(in crate::store) async fn only_one_version_is_champion(store: &dyn Store) {
    store.open(start("one", "base")).await.unwrap();
    let promoted = version("v2", "better", Some("v1"), VersionPhase::Champion);
    store.close(CycleRecord { versions: vec![promoted], ..kept("one", 1) }).await.unwrap();
    assert_eq!(
        names(&store.versions(OBJECT).await.unwrap()),
        [("v2", "better", "Champion"), ("v1", "base", "Superseded")]
    );
    // An earlier version was restored manually.
    store.open(start("two", "base")).await.unwrap();
    assert_eq!(
        names(&store.versions(OBJECT).await.unwrap()),
        [("v2", "better", "Superseded"), ("v1", "base", "Champion")]
    );
}

pub(in crate::store) async fn a_version_that_somebody_else_knows_keeps_its_name(store: &dyn Store) {
    let known = [
        version("v7", "theirs", None, VersionPhase::Champion),
        version("v6", "taken back", Some("v5"), VersionPhase::RolledBack),
    ];
    store.remember(OBJECT, known.to_vec(), at(0)).await.unwrap();
    store.remember(OBJECT, known.to_vec(), at(1)).await.unwrap();
    let memory = store.open(start("one", "theirs")).await.unwrap();
    assert_eq!((memory.champion_version.as_str(), memory.next_version), ("v7", 8));
    assert_eq!(
        names(&store.versions(OBJECT).await.unwrap()),
        [("v6", "taken back", "RolledBack"), ("v7", "theirs", "Champion")]
    );
}

pub(in crate::store) async fn objects_share_nothing_but_the_ledger(store: &dyn Store) {
    store.open(start("one", "base")).await.unwrap();
    let scores = BTreeMap::from([("accuracy".into(), 0.5)]);
    let record = CycleRecord { kept: rejecting(vec![rejection("x")]), champion_scores: scores, ..kept("one", 1) };
    store.close(record).await.unwrap();
    for cycle in ["one", "two"] {
        let other = CycleStart { object: "shop/sales".into(), ..start(cycle, "base") };
        let nothing = Memory { champion_version: "v1".into(), next_version: 2, ..Memory::default() };
        assert_eq!(store.open(other).await.unwrap(), nothing);
    }
}

pub(in crate::store) async fn closing_again_replaces_what_was_recorded(store: &dyn Store) {
    store.open(start("one", "base")).await.unwrap();
    let first = CycleRecord {
        kept: rejecting(vec![rejection("x"), rejection("y")]),
        dimensions: vec!["accuracy".into()],
        evaluations: vec![evaluation("base", &[("a", &[Some(0.5)]), ("b", &[Some(1.0)])])],
        ..kept("one", 1)
    };
    store.close(first.clone()).await.unwrap();
    let second = CycleRecord {
        verdict: Verdict::Inconclusive,
        report: json!({"verdict": "inconclusive"}),
        kept: rejecting(vec![rejection("z")]),
        evaluations: vec![evaluation("base", &[("a", &[Some(0.25)])])],
        at: at(9),
        ..first
    };
    store.close(second).await.unwrap();

    assert_eq!(store.report(OBJECT, hash("one")).await.unwrap(), Some(json!({"verdict": "inconclusive"})));
    let cycles = store.cycles(None, 10).await.unwrap();
    assert_eq!(
        (cycles.len(), cycles[0].verdict.as_deref(), cycles[0].ended_at),
        (1, Some("inconclusive"), Some(at(9)))
    );
    assert_eq!(store.scores(OBJECT, hash("one")).await.unwrap().len(), 1);
    assert_eq!(prompts(&store.open(start("two", "base")).await.unwrap()), [hash("z")]);
}

pub(in crate::store) async fn a_cycle_that_was_never_opened_cannot_be_closed(store: &dyn Store) {
    let promoted = version("v1", "base", None, VersionPhase::Champion);
    let error = store.close(CycleRecord { versions: vec![promoted], ..kept("one", 1) }).await.unwrap_err();
    assert!(error.message.contains("of shop/support was never opened"), "{error}");
    assert_eq!(store.versions(OBJECT).await.unwrap(), [], "nothing of it is kept");
}

/// An evaluation in one dimension: for each scenario its repeats, `None` where the dimension does not apply.
fn evaluation(prompt: &str, results: &[(&str, &[Option<f64>])]) -> Evaluation {
    let score = |value: f64| DimensionScore {
        score: Score::new(value).unwrap(),
        passed: value >= 0.5,
        evidence: "because".into(),
        tool_errors: Vec::new(),
        failed_checks: Vec::new(),
    };
    let sample = |(repeat, value): (u32, &Option<f64>)| Sample { repeat, dimensions: vec![value.map(score)] };
    let result = |(scenario, values): &(&str, &[Option<f64>])| ScenarioResult {
        scenario: (*scenario).into(),
        samples: (0..).zip(*values).map(sample).collect(),
        errors: Vec::new(),
    };
    Evaluation { prompt: hash(prompt), results: results.iter().map(result).collect() }
}

pub(in crate::store) async fn scores_come_back(store: &dyn Store) {
    store.open(start("one", "base")).await.unwrap();
    let evaluations = vec![
        evaluation("base", &[("a", &[Some(0.25), Some(0.5), None]), ("not scored", &[None]), ("c", &[Some(1.0)])]),
        evaluation("better", &[("a", &[Some(1.0)])]),
    ];
    let dimensions = vec!["accuracy".into()];
    store.close(CycleRecord { evaluations, dimensions, ..kept("one", 1) }).await.unwrap();

    let mut expected = vec![(hash("base"), "a", 0.375, 2), (hash("base"), "c", 1.0, 1), (hash("better"), "a", 1.0, 1)];
    expected.sort_by_key(|(prompt, scenario, ..)| (*prompt, *scenario));
    let scores = store.scores(OBJECT, hash("one")).await.unwrap();
    let found: Vec<_> = scores.iter().map(|row| (row.prompt, row.scenario.as_str(), row.mean, row.samples)).collect();
    assert_eq!(found, expected);
    assert!(scores.iter().all(|row| row.dimension.as_str() == "accuracy"));
}

pub(in crate::store) async fn cycles_are_listed_newest_first_and_found_by_prefix(store: &dyn Store) {
    for (cycle, began) in [("one", 0), ("two", 10), ("running", 30)] {
        store.open(CycleStart { at: at(began), ..start(cycle, "base") }).await.unwrap();
    }
    store.open(CycleStart { object: "shop/sales".into(), at: at(40), ..start("sales", "other") }).await.unwrap();
    store.close(kept("two", 15)).await.unwrap();
    store.close(kept("one", 20)).await.unwrap();

    let cycles = store.cycles(Some(OBJECT), 10).await.unwrap();
    let order: Vec<_> = cycles.iter().map(|cycle| cycle.cycle).collect();
    assert_eq!(order, [hash("running"), hash("one"), hash("two")]);
    let one = &cycles[1];
    assert_eq!((one.started_at, one.ended_at, one.verdict.as_deref()), (at(0), Some(at(20)), Some("kept")));
    assert_eq!((one.champion, one.object.as_str()), (hash("base"), OBJECT));
    assert_eq!((cycles[0].ended_at, cycles[0].verdict.as_deref()), (None, None));
    assert_eq!(store.report(OBJECT, hash("running")).await.unwrap(), None);
    assert_eq!(store.cycles(None, 2).await.unwrap()[0].object, "shop/sales");
    assert_eq!(store.cycles(None, 2).await.unwrap().len(), 2);

    let text = hash("two").to_string();
    for prefix in [&text[..7], &text[..8].to_uppercase(), &text] {
        assert_eq!(store.cycles_by_prefix(prefix).await.unwrap(), cycles[2..]);
    }
    assert_eq!(store.cycles_by_prefix("").await.unwrap().len(), 4);
    for wrong in ["not hexadecimal", &format!("{text}0")] {
        assert_eq!(store.cycles_by_prefix(wrong).await.unwrap(), []);
    }
}

pub(in crate::store) async fn old_cycles_keep_one_line(store: &dyn Store) {
    let all = CYCLES_KEPT + 2;
    for number in 0..all {
        let cycle = format!("cycle {number}");
        store
            .record(LedgerEntry { tags: CallTags { cycle: hash(&cycle), ..entry("").tags }, ..entry(&cycle) })
            .await
            .unwrap();
        store.open(start(&cycle, "base")).await.unwrap();
        let record = CycleRecord {
            dimensions: vec!["accuracy".into()],
            evaluations: vec![evaluation("base", &[("a", &[Some(0.5)])])],
            kept: rejecting(vec![rejection(&format!("patch {number}"))]),
            ..kept(&cycle, i64::from(number))
        };
        store.close(record).await.unwrap();
    }
    let detail = async |number: u32| {
        let cycle = hash(&format!("cycle {number}"));
        (
            store.report(OBJECT, cycle).await.unwrap().is_some(),
            store.scores(OBJECT, cycle).await.unwrap().len(),
            store.calls(cycle).await.unwrap().len(),
        )
    };
    assert_eq!(detail(1).await, (false, 0, 1));
    assert_eq!(detail(2).await, (true, 1, 1));
    assert_eq!(detail(all - 1).await, (true, 1, 1));
    assert_eq!(store.cycles(Some(OBJECT), 1_000).await.unwrap().len(), all as usize);
    // Patches that were rejected long ago are still remembered.
    assert!(prompts(&store.open(start("next", "base")).await.unwrap()).contains(&hash("patch 0")));
}
