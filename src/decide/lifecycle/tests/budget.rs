//! Cycles whose budget is used up.

use super::*;

#[test]
fn a_search_whose_budget_was_used_up_goes_on_when_it_is_raised_and_only_then() {
    let mut cluster = Cluster::new();
    cluster.wants.run_at = Some("now".to_owned());
    cluster.ends(Verdict::Kept, "worse");
    (cluster.wants.budget, cluster.is_costly) = (Some(dollars(5)), true);
    cluster.ends(Verdict::Inconclusive, "not measured in full");
    for budget in [5, 4] {
        cluster.wants.budget = Some(dollars(budget));
        cluster.pass(1);
        assert_eq!(cluster.record.cycle, None);
    }
    cluster.wants.budget = Some(dollars(9));
    cluster.pass(1);
    let cycle = cluster.record.cycle.as_ref().unwrap();
    assert_eq!((cycle.cause, cycle.attempt), (Cause::BudgetRaised, 1), "the same attempt goes on");
    cluster.is_costly = false;
    cluster.ends(Verdict::Promoted, "not measured in full");
    assert_eq!((cluster.serving().0, cluster.record.exhausted.len()), ("v3", 0));
    assert_eq!(
        cluster.record.cost.as_ref().unwrap().amount,
        dollars(2),
        "what the same cycle had cost before is not counted twice"
    );
    cluster.wants.budget = None;
    cluster.pass(1);
    assert_eq!(cluster.record.cycle, None);
}

#[test]
fn a_version_whose_gate_used_up_the_budget_is_gated_again_when_it_is_raised() {
    let mut cluster = Cluster::new();
    cluster.ends(Verdict::Kept, "worse");
    (cluster.wants.budget, cluster.is_costly) = (Some(dollars(5)), true);
    cluster.apply_by_hand("by hand");
    cluster.ends(Verdict::Inconclusive, "");
    cluster.pass(1);
    assert_eq!((&cluster.record.cycle, cluster.phases()["hand-2"]), (&None, VersionPhase::Rejected));
    cluster.wants.budget = None;
    cluster.pass(1);
    let cycle = cluster.record.cycle.as_ref().unwrap();
    assert_eq!(
        (cycle.cause, cycle.challenger.as_ref().map(VersionName::as_str)),
        (Cause::BudgetRaised, Some("hand-2"))
    );
    cluster.ends(Verdict::Promoted, "");
    assert_eq!(cluster.serving(), ("hand-2", Origin::Gate));
}

#[test]
fn every_gate_that_used_up_its_budget_goes_on_and_the_search_as_well() {
    let mut cluster = Cluster::new();
    (cluster.wants.budget, cluster.is_costly) = (Some(dollars(5)), true);
    cluster.ends(Verdict::Inconclusive, "");
    for text in ["one", "another"] {
        cluster.apply_by_hand(text);
        cluster.ends(Verdict::Inconclusive, "");
    }
    assert_eq!((&cluster.record.cycle, cluster.record.exhausted.len()), (&None, 3));
    (cluster.wants.budget, cluster.is_costly) = (None, false);
    cluster.pass(1);
    let mut challengers = Vec::new();
    while let Some(cycle) = cluster.record.cycle.clone() {
        challengers.push(cycle.challenger);
        cluster.ends(Verdict::Kept, "worse");
    }
    assert_eq!(challengers, [Some("hand-1".into()), Some("hand-2".into()), None]);
    assert_eq!(cluster.record.exhausted, []);
}
