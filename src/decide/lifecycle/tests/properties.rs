//! What must hold in every history, whatever happens in it.

use super::*;

/// Something that happens.
#[derive(Clone, Debug)]
enum Happening {
    Ends(u8, u8),
    Fails,
    Breach,
    Pass(u16),
    Base(u8),
    ByHand(u8),
    Pin(Option<u8>),
    Suspend(bool),
    Approve(u8),
    RollbackTo(u8),
    RunAt(u8),
    Inputs(u8),
    Manual(bool),
    Adopt(bool),
    Budget(Option<u8>),
    Costly(bool),
    Twin(u8, u8),
    Delete(u8),
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::{
        Adopt, Approve, Base, Breach, Budget, ByHand, Costly, Delete, Ends, Fails, Inputs, Manual, Pass, Pin,
        RollbackTo, RunAt, Suspend, Twin,
    };
    prop_oneof![
        6 => (0..4_u8, 0..6_u8).prop_map(|(verdict, text)| Ends(verdict, text)),
        1 => Just(Fails),
        2 => Just(Breach),
        4 => (1..2000_u16).prop_map(Pass),
        1 => (0..5_u8).prop_map(Base),
        1 => (0..6_u8).prop_map(ByHand),
        1 => proptest::option::of(1..5_u8).prop_map(Pin),
        1 => any::<bool>().prop_map(Suspend),
        1 => (1..6_u8).prop_map(Approve),
        1 => (1..6_u8).prop_map(RollbackTo),
        3 => (0..9_u8).prop_map(RunAt),
        1 => (0..3_u8).prop_map(Inputs),
        1 => any::<bool>().prop_map(Manual),
        1 => any::<bool>().prop_map(Adopt),
        2 => proptest::option::of(1..5_u8).prop_map(Budget),
        1 => any::<bool>().prop_map(Costly),
        1 => (1..5_u8, 0..6_u8).prop_map(|(number, text)| Twin(number, text)),
        1 => (0..9_u8).prop_map(Delete),
    ]
}

fn happens(cluster: &mut Cluster, happening: &Happening) {
    match *happening {
        Happening::Ends(verdict, text) => {
            let verdicts = [Verdict::Promoted, Verdict::Kept, Verdict::BelowThreshold, Verdict::Inconclusive];
            return cluster.ends(verdicts[verdict as usize], &format!("prompt {text}"));
        }
        Happening::Fails => return cluster.fails(),
        Happening::Breach => return cluster.breaches(),
        Happening::Pass(seconds) => return cluster.pass(u64::from(seconds)),
        Happening::Base(text) => cluster.base = prompt(&format!("prompt {text}")),
        Happening::ByHand(text) => return cluster.apply_by_hand(&format!("prompt {text}")),
        Happening::Pin(version) => cluster.wants.pin = version.map(|number| format!("v{number}").into()),
        Happening::Suspend(suspend) => cluster.wants.suspend = suspend,
        Happening::Approve(number) => cluster.wants.approve = Some(format!("v{number}")),
        Happening::RollbackTo(number) => cluster.wants.rollback_to = Some(format!("v{number}")),
        Happening::RunAt(number) => cluster.wants.run_at = Some(number.to_string()),
        Happening::Inputs(number) => cluster.inputs = number.to_string().into(),
        Happening::Manual(manual) => {
            cluster.wants.approval = if manual { Approval::Manual } else { Approval::Automatic };
        }
        Happening::Adopt(adopt) => {
            cluster.wants.on_base_change = if adopt { OnBaseChange::Adopt } else { OnBaseChange::Gate };
        }
        Happening::Budget(budget) => cluster.wants.budget = budget.map(dollars),
        Happening::Costly(is_costly) => cluster.is_costly = is_costly,
        Happening::Twin(number, text) => {
            return cluster.apply_as(&format!("v{number}"), &format!("prompt {text}"));
        }
        // What the record does not need; what it needs is restored.
        Happening::Delete(index) => {
            let record = &cluster.record;
            let named = record.champion.iter().map(|it| &it.hash).chain(record.challenger.iter().map(|it| &it.hash));
            let needed: Vec<ContentHash> = named.chain(record.predecessor.iter().map(|it| &it.hash)).copied().collect();
            let index = usize::from(index);
            if cluster.versions.get(index).is_some_and(|known| !needed.contains(&known.hash)) {
                cluster.versions.remove(index);
            }
        }
    }
    cluster.step(None, None);
}

/// What must hold between two records.
fn check(cluster: &Cluster, before: &Record, happening: &Happening) {
    let record = &cluster.record;
    let champion = record.champion.as_ref().expect("there is always a champion");
    let known = Names::of(&cluster.versions).holder(record, &champion.version);
    assert_eq!(known.map(|known| &known.hash), Some(&champion.hash), "the champion is the version that it is called");
    assert!(record.last_number >= before.last_number, "no number comes twice");
    if let Some(last) = record.history.first().filter(|_| record.cycles != before.cycles) {
        let is_another = before.champion.as_ref().is_some_and(|before| before.hash != champion.hash);
        let is_taken_back = is_another && champion.origin == Origin::Rollback;
        assert_eq!(
            last.verdict == CycleVerdict::RolledBack,
            is_taken_back,
            "the history says so if and only if it was: {last:?}"
        );
    }
    let series = |status: &Record| status.cycle.as_ref().map(|cycle| (cycle.kind, cycle.series));
    if let Some((CycleKind::Reevaluate, fresh)) = series(record).filter(|cycle| series(before).as_ref() != Some(cycle))
    {
        assert_eq!(fresh.since, Some(cluster.now), "a re-evaluation asks anew");
        assert_ne!(fresh, before.evidence);
    }
    let champions = cluster.versions.iter().filter(|known| known.phase == Some(VersionPhase::Champion)).count();
    assert_eq!(champions, 1, "there is one champion");
    if let Some(predecessor) = &record.predecessor {
        assert_ne!(predecessor.version, champion.version);
    }
    assert!(record.history.len() <= 10 && record.quarantine.len() <= 50);
    let was = before.champion.as_ref().unwrap();
    if was.hash == champion.hash {
        return;
    }
    let by_evidence = matches!(champion.origin, Origin::Gate | Origin::Approval);
    if by_evidence {
        assert!(!before.quarantine.iter().any(|taken_back| taken_back.hash == champion.hash), "quarantined for good");
        assert_eq!(cluster.wants.pin, None, "a pin keeps everything else from serving");
    }
    if champion.origin == Origin::Gate {
        assert!(matches!(happening, Happening::Ends(0, _)), "only a verdict promotes, not {happening:?}");
        assert!(!cluster.wants.suspend, "nothing is promoted while suspended");
        assert_eq!(cluster.wants.approval, Approval::Automatic);
    }
    if champion.origin == Origin::Rollback {
        assert!(record.quarantine.iter().any(|taken_back| taken_back.hash == was.hash), "it is quarantined");
        let by_watch = matches!(happening, Happening::Breach | Happening::Ends(..));
        assert!(by_watch, "only evidence takes back, not {happening:?}");
    }
    assert!(!matches!(happening, Happening::Fails), "an outage promotes nothing and takes nothing back");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn in_every_history_one_version_serves_that_may(is_watched: bool, happenings in prop::collection::vec(happening(), 1..60)) {
        let mut cluster = Cluster::new();
        cluster.wants.watch = is_watched.then(watch);
        cluster.wants.schedule = None;
        for happening in &happenings {
            let before = cluster.record.clone();
            happens(&mut cluster, happening);
            check(&cluster, &before, happening);
        }
    }

    #[test]
    fn looking_again_changes_nothing(happenings in prop::collection::vec(happening(), 1..40)) {
        let mut cluster = Cluster::new();
        cluster.wants.watch = Some(watch());
        for happening in &happenings {
            happens(&mut cluster, happening);
            // What was written may call for one more step; then it is at rest.
            cluster.step(None, None);
            let again = cluster.look(None, None);
            prop_assert_eq!(&again.record, &cluster.record);
            prop_assert!(again.create.is_empty() && again.notes.is_empty(), "{:?} {:?}", again.create, again.notes);
        }
    }

    /// Cycles whose verdicts change nothing that a person wants do not go on for ever.
    #[test]
    fn all_comes_to_rest(verdict in 0..4_u8, is_manual: bool, happenings in prop::collection::vec(happening(), 1..40)) {
        let mut cluster = Cluster::new();
        for happening in &happenings {
            happens(&mut cluster, happening);
        }
        cluster.wants.suspend = false;
        cluster.wants.approval = if is_manual { Approval::Manual } else { Approval::Automatic };
        cluster.step(None, None);
        for text in 0..2 * cluster.versions.len() + 4 {
            happens(&mut cluster, &Happening::Ends(verdict, 77 + u8::try_from(text).unwrap()));
        }
        prop_assert_eq!(&cluster.record.cycle, &None);
    }
}
