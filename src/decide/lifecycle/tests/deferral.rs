//! What is decided while no version can be created.

use super::super::deferral::without_new_versions;
use super::*;

#[test]
fn a_changed_base_prompt_waits_and_the_end_of_a_cycle_does_not() {
    let mut cluster = Cluster::new();
    let failed = Failed::permanent("no answer");
    let failed = Ended { result: Err(failed), ..cluster.ended(Verdict::Kept, "better").unwrap() };
    cluster.base = prompt("another base");
    assert!(!cluster.look(Some(&failed), None).create.is_empty(), "it needs a version");
    let deferred = without_new_versions(&Situation { ended: Some(&failed), ..cluster.situation() }).unwrap();
    assert!(deferred.has_concluded && deferred.course.create.is_empty());
    assert!(deferred.course.record.cycle.unwrap().waiting.is_some(), "the failure is noted");
}

#[test]
fn a_challenger_waits_and_its_cycle_is_not_concluded() {
    let cluster = Cluster::new();
    let ended = cluster.ended(Verdict::Promoted, "better").unwrap();
    assert_eq!(cluster.look(Some(&ended), None).create.len(), 1);
    waits(&cluster, &ended);
}

#[test]
fn both_wait_if_both_need_a_version() {
    let mut cluster = Cluster::new();
    let ended = cluster.ended(Verdict::Promoted, "better").unwrap();
    cluster.base = prompt("another base");
    waits(&cluster, &ended);
}

/// The end of the cycle is presented again, and nothing else serves until then.
#[track_caller]
fn waits(cluster: &Cluster, ended: &Ended) {
    let deferred = without_new_versions(&Situation { ended: Some(ended), ..cluster.situation() }).unwrap();
    assert!(!deferred.has_concluded && deferred.course.create.is_empty());
    assert_eq!(deferred.course.record.champion, cluster.record.champion);
    assert!(deferred.course.record.cycle.is_some());
}

#[test]
fn what_a_person_wants_does_not_wait() {
    let mut cluster = Cluster::new();
    let ended = cluster.ended(Verdict::Promoted, "better").unwrap();
    cluster.base = prompt("another base");
    cluster.wants.suspend = true;
    let deferred = without_new_versions(&Situation { ended: Some(&ended), ..cluster.situation() }).unwrap();
    assert!(deferred.course.create.is_empty());
    assert_eq!(deferred.course.record.phase, Some(Phase::Suspended));
    assert!(deferred.course.record.cycle.is_some(), "a suspended cycle is not concluded, and continues later");
}

#[test]
fn while_nothing_serves_nothing_can_be_done_without_a_version() {
    let cluster = Cluster::new();
    let nothing = Record::default();
    assert_eq!(without_new_versions(&Situation { record: &nothing, ..cluster.situation() }), None);
}
