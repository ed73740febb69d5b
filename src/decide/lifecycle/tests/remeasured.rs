//! What follows when the champion is measured again.

use super::*;

#[test]
fn a_champion_that_is_too_dear_to_measure_again_is_tried_at_the_next_time() {
    let mut cluster = Cluster::new();
    cluster.wants.watch = Some(watch());
    cluster.ends(Verdict::Promoted, "better");
    cluster.pass(61);
    (cluster.wants.budget, cluster.is_costly) = (Some(dollars(1)), true);
    cluster.pass(1000);
    cluster.ends(Verdict::Promoted, "");
    cluster.has_said(EventReason::BudgetExhausted);
    assert_eq!((cluster.serving().0, &cluster.record.cycle), ("v2", &None));
    cluster.pass(1001);
    assert_eq!(cluster.record.cycle.as_ref().unwrap().kind, CycleKind::Reevaluate);
}

#[test]
fn a_drop_of_the_champion_alone_is_its_fault_and_a_drop_of_both_is_the_models() {
    for (verdict, version, evidence, said) in
        [(Verdict::Kept, "v1", 0, CycleVerdict::RolledBack), (Verdict::BelowThreshold, "v2", 1, CycleVerdict::Drifted)]
    {
        let mut cluster = measuring_again();
        cluster.ends(verdict, "");
        assert_eq!((cluster.serving().0, cluster.record.evidence.number), (version, evidence), "{verdict:?}");
        assert_eq!(cluster.record.history[0].verdict, said);
    }
}

/// A cluster whose promoted champion is being measured again.
pub(super) fn measuring_again() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.wants.watch = Some(watch());
    cluster.ends(Verdict::Promoted, "better");
    cluster.pass(61);
    cluster.pass(1000);
    assert_eq!(cluster.record.cycle.as_ref().unwrap().kind, CycleKind::Reevaluate);
    cluster
}

#[test]
fn a_pinned_champion_that_does_worse_is_not_taken_back_and_nothing_says_that_it_was() {
    let mut cluster = measuring_again();
    cluster.wants.pin = Some("v2".into());
    cluster.ends(Verdict::Kept, "");
    assert_eq!((cluster.serving(), &cluster.record.quarantine), (("v2", Origin::Gate), &Vec::new()));
    assert_eq!(cluster.record.history[0].verdict, CycleVerdict::Worse);
    cluster.has_said(EventReason::PinnedVersionWorse);
    assert_eq!(cluster.times_said(EventReason::RolledBack), 0);
    assert!(cluster.said.iter().all(|note| note.origin != Some(Origin::Rollback)), "nor does the metric");
}

#[test]
fn a_reevaluation_compares_with_the_promotion_however_often_the_model_has_drifted_since() {
    let mut cluster = measuring_again();
    let promoted = cluster.record.champion_series();
    assert_eq!(promoted, RecordedSeries::default());
    cluster.ends(Verdict::BelowThreshold, "");
    assert_ne!(cluster.record.evidence, promoted, "searches rest on the fresh answers");
    assert_eq!(cluster.record.champion_series(), promoted);
    let champion = cluster.record.champion.clone().unwrap();
    assert_eq!(champion.drifted_to.map(Score::value), Some(0.600));
    let said = |cluster: &Cluster| cluster.record.history[0].message.clone();
    assert!(said(&cluster).contains("0.3 below the 0.900 at promotion"), "{}", said(&cluster));
    // The search that the drift has started, and the next re-evaluation: the same drop is no further drift.
    cluster.ends(Verdict::Kept, "worse");
    let evidence = cluster.record.evidence;
    cluster.pass(1001);
    assert_eq!(cluster.record.cycle.as_ref().unwrap().kind, CycleKind::Reevaluate);
    cluster.ends(Verdict::BelowThreshold, "");
    assert_eq!((cluster.record.cycle.clone(), cluster.times_said(EventReason::Drifted)), (None, 1));
    assert_eq!((&cluster.record.history[0].verdict, cluster.record.evidence), (&CycleVerdict::Measured, evidence));
    assert!(said(&cluster).contains("0.3 below the 0.900 at promotion"), "{}", said(&cluster));
    // It recovers: then what was answered in between is no evidence.
    cluster.pass(1001);
    cluster.ends(Verdict::Promoted, "");
    let champion = cluster.record.champion.clone().unwrap();
    assert_eq!((champion.version.as_str(), champion.drifted_to), ("v2", None));
    assert_ne!(cluster.record.evidence, evidence);
    // What is promoted from now on is compared with what it was promoted by.
    cluster.wants.run_at = Some("now".to_owned());
    cluster.pass(1);
    cluster.ends(Verdict::Promoted, "better still");
    assert_eq!(cluster.serving().0, "v4");
    assert_eq!(cluster.record.champion_series(), cluster.record.evidence);
}
