//! Names of versions: who has one, and that none is given twice.

use super::*;

#[test]
fn a_name_that_is_taken_or_that_no_object_can_have_is_not_given() {
    let mut cluster = Cluster::new();
    cluster.taken = vec!["v2".to_owned()];
    cluster.ends(Verdict::Promoted, "better");
    assert_eq!(cluster.serving().0, "v3");
    for (found, expected) in [("release 3", "v1"), ("V2", "v1"), ("", "v1"), ("2026-11", "2026-11")] {
        let cluster = Cluster::new();
        let found = Found { version: Some(found.into()), prompt: prompt("found") };
        let record = Record::default();
        let course = next(&Situation { record: &record, versions: &[], found: Some(&found), ..cluster.situation() });
        assert_eq!(course.record.champion.unwrap().version.as_str(), expected);
    }
}

#[test]
fn a_version_that_is_applied_under_a_taken_name_is_refused_itself_and_the_champion_is_left_alone() {
    for text in ["another", "better"] {
        let mut cluster = Cluster::new();
        cluster.ends(Verdict::Promoted, "better");
        let course = {
            let mut before = cluster.clone();
            before.apply_as("v2", text);
            before.versions.last_mut().unwrap().phase = None;
            before.look(None, None)
        };
        let verdict = course.verdicts.iter().find(|verdict| verdict.phase == Some(VersionPhase::Rejected)).unwrap();
        assert_eq!(verdict.object.as_deref(), Some("by-hand-2"));
        cluster.apply_as("v2", text);
        assert_eq!(cluster.phase_of_object("by-hand-2"), VersionPhase::Rejected, "{text}");
        assert_eq!(cluster.phase_of_object("support-v2"), VersionPhase::Champion);
        assert_eq!((cluster.serving(), &cluster.record.cycle), (("v2", Origin::Gate), &None));
        // Nor does it get in by name.
        cluster.wants.rollback_to = Some("v1".to_owned());
        cluster.pass(1);
        cluster.wants.rollback_to = Some("v2@again".to_owned());
        cluster.pass(1);
        assert_eq!(cluster.record.champion.as_ref().unwrap().hash, prompt("better").hash);
    }
}

#[test]
fn a_name_that_the_record_knows_is_not_taken_over_when_its_object_is_gone() {
    let mut cluster = Cluster::new();
    cluster.ends(Verdict::Promoted, "better");
    cluster.versions.retain(|known| known.version.as_str() != "v1");
    cluster.apply_as("v1", "an impostor");
    assert_eq!(cluster.phase_of_object("by-hand-2"), VersionPhase::Rejected);
    cluster.wants.rollback_to = Some("v1".to_owned());
    cluster.pass(1);
    let champion = cluster.record.champion.clone().unwrap();
    assert_eq!((champion.version.as_str(), champion.hash), ("v1", prompt("base").hash), "its prompt is in the store");
}

#[test]
fn no_name_is_given_twice_whatever_was_deleted_or_was_before() {
    // In one life.
    let mut cluster = Cluster::new();
    for number in 0..12 {
        cluster.wants.run_at = Some(number.to_string());
        cluster.pass(1);
        cluster.ends(Verdict::Kept, &format!("worse {number}"));
    }
    cluster.versions.retain(|known| known.version.as_str() == "v1");
    cluster.record.history.clear();
    cluster.wants.run_at = Some("one more".to_owned());
    cluster.pass(1);
    cluster.ends(Verdict::Promoted, "better");
    assert_eq!(cluster.serving().0, "v14");
    // In another one.
    let cluster = Cluster::with_memory(&[("v1", "another base"), ("v2", "better"), ("v7", "the last")]);
    assert_eq!(cluster.serving().0, "v8");
    let mut cluster = Cluster::with_memory(&[("v1", "base"), ("v2", "better"), ("v7", "the last")]);
    assert_eq!(cluster.serving().0, "v1", "the same prompt keeps its name");
    for (text, name) in [("changed", "v8"), ("the last", "v7")] {
        cluster.base = prompt(text);
        cluster.pass(1);
        assert!(cluster.phases().contains_key(name), "{text}");
    }
    // Somebody names a version by the highest number that there is.
    for name in ["v18446744073709551615", "v18446744073709551616", "v1000000000"] {
        let mut cluster = Cluster::new();
        cluster.apply_as(name, "by hand");
        cluster.ends(Verdict::Kept, "");
        cluster.wants.run_at = Some("now".to_owned());
        cluster.pass(1);
        cluster.base = prompt("changed");
        cluster.pass(1);
        assert!(cluster.phases().contains_key("v2"), "{:?}", cluster.phases());
    }
}
