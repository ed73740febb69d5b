//! What every store must do, written once against the traits. An adapter runs it by one line in its own tests:
//! `conformance::suite!(super::fixture)`, where `fixture` makes an empty store and what must live as long as it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rust_decimal::Decimal;
use serde_json::json;

use super::{CLUSTER_EXAMPLES, CYCLES_KEPT, CallRow, Store, VersionRow};
use crate::decide::conclude::Verdict;
use crate::domain::call::{Answer, CallKey, ChatAnswer, Embeddings, Finish, ModelIdentity, Phase, Purpose, Unusable};
use crate::domain::cluster::{Cluster, Failure, Rule};
use crate::domain::hash::ContentHash;
use crate::domain::ids::DimensionName;
use crate::domain::money::{Money, Usage};
use crate::domain::patch::{Edit, Patch, RejectedPatch};
use crate::domain::score::{
    CheckKind, DimensionScore, Evaluation, FailedCheck, Sample, ScenarioResult, Score, ToolError, ToolErrorKind,
};
use crate::domain::tool::ToolCall;
use crate::domain::transcript::OpaqueParts;
use crate::domain::version::{Version, VersionPhase};
use crate::engine::ports::{CallTags, CycleRecord, CycleStart, LedgerEntry, Memory, StoreErrorKind};

/// Runs the suite on the stores that a fixture makes.
macro_rules! suite {
    ($fixture:path) => {
        $crate::store::conformance::suite! { $fixture:
            a_recorded_call_is_found_again,
            an_answer_comes_back_to_the_last_bit,
            recording_a_key_again_changes_nothing,
            what_cannot_be_used_is_counted_every_time_and_never_found,
            a_discarded_answer_is_not_found_any_more_and_stays_counted,
            a_vector_that_is_no_number_is_refused,
            a_hundred_callers_find_what_each_recorded,
            a_cycle_lists_the_calls_that_it_paid,
            totals_add_up_to_the_cent,
            the_first_cycle_makes_its_champion_v1,
            a_killed_cycle_is_told_the_same_when_it_is_resumed,
            a_repeated_cycle_is_told_the_same,
            a_version_number_that_was_given_away_meanwhile_is_not_given_twice,
            a_cycle_hears_of_patches_that_others_rejected,
            patches_rejected_for_an_unrelated_prompt_are_not_remembered,
            champion_scores_come_oldest_first,
            only_held_out_scores_of_champions_are_remembered,
            a_known_prompt_keeps_its_version_and_its_descent,
            a_version_name_never_means_two_prompts,
            only_one_version_is_champion,
            a_version_that_somebody_else_knows_keeps_its_name,
            objects_share_nothing_but_the_ledger,
            closing_again_replaces_what_was_recorded,
            a_cycle_that_was_never_opened_cannot_be_closed,
            clusters_and_scores_come_back,
            cycles_are_listed_newest_first_and_found_by_prefix,
            old_cycles_keep_one_line,
        }
    };
    ($fixture:path: $($test:ident),* $(,)?) => {
        mod conformance {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    let (_kept, store) = $fixture().await;
                    $crate::store::conformance::$test(&store).await;
                }
            )*
        }
    };
}
pub(crate) use suite;

pub(super) const OBJECT: &str = "shop/support";

pub(super) fn hash(text: &str) -> ContentHash {
    ContentHash::of_bytes(text.as_bytes())
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn chat(text: &str) -> Answer {
    Answer::Chat(ChatAnswer { usage: Usage { input: 100, cached_input: 40, output: 7 }, ..ChatAnswer::said(text) })
}

/// A call under the hash of a name, with that name as its answer.
pub(super) fn entry(name: &str) -> LedgerEntry {
    LedgerEntry {
        key: CallKey(hash(name)),
        identity: ModelIdentity {
            provider: "openai".into(),
            endpoint: "http://litellm.llm:4000/v1".into(),
            model: "gpt-4o-mini".into(),
        },
        model: "worker".into(),
        answer: chat(name),
        cost: Some("0.000123".parse::<Decimal>().unwrap().into()),
        latency: Duration::from_micros(512_345),
        tags: CallTags {
            cycle: hash("cycle"),
            phase: Phase::Run,
            purpose: Purpose::Agent,
            scenario: Some("refund-12".into()),
        },
    }
}

fn start(cycle: &str, champion: &str) -> CycleStart {
    CycleStart {
        cycle: hash(cycle),
        object: OBJECT.into(),
        champion: hash(champion),
        champion_text: champion.into(),
        at: at(0),
    }
}

/// A cycle that kept its champion and recorded nothing else.
fn kept(cycle: &str, second: i64) -> CycleRecord {
    CycleRecord {
        cycle: hash(cycle),
        object: OBJECT.into(),
        verdict: Verdict::Kept,
        report: json!({"verdict": "kept", "cycle": cycle}),
        versions: Vec::new(),
        rejected: Vec::new(),
        clusters: Vec::new(),
        evaluations: Vec::new(),
        dimensions: Vec::new(),
        champion_scores: BTreeMap::new(),
        at: at(second),
    }
}

fn version(name: &str, text: &str, parent: Option<&str>, phase: VersionPhase) -> Version {
    Version {
        name: name.into(),
        hash: hash(text),
        text: text.into(),
        parent: parent.map(Into::into),
        diff: parent.map(|_| format!("+{text}")).unwrap_or_default(),
        addresses: parent.map(|_| "refunds without a receipt".to_owned()).into_iter().collect(),
        phase,
    }
}

fn rejection(prompt: &str) -> RejectedPatch {
    let edit = Edit::Insert { section: "Refunds".into(), after: None, text: prompt.into() };
    RejectedPatch {
        prompt: hash(prompt),
        patch: Patch { rationale: format!("because of {prompt}"), edits: vec![edit] },
        reason: "worse on safety".into(),
    }
}

fn prompts(memory: &Memory) -> Vec<ContentHash> {
    memory.rejected.iter().map(|rejected| rejected.prompt).collect()
}

fn names(versions: &[VersionRow]) -> Vec<(&str, &str, &str)> {
    versions
        .iter()
        .map(|row| (row.version.name.as_str(), row.version.text.as_str(), row.version.phase.as_str()))
        .collect()
}

pub(super) async fn a_recorded_call_is_found_again(store: &dyn Store) {
    assert_eq!(store.find(CallKey(hash("hello"))).await.unwrap(), None);
    store.record(entry("hello")).await.unwrap();
    assert_eq!(store.find(CallKey(hash("hello"))).await.unwrap().map(|call| call.answer), Some(chat("hello")));
    assert_eq!(store.find(CallKey(hash("bye"))).await.unwrap(), None);
}

/// If a number came back changed in its last bit, a resumed run would send other requests, and pay them again.
pub(super) async fn an_answer_comes_back_to_the_last_bit(store: &dyn Store) {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut wide = || f64::from_bits(rng.random::<u64>());
    let numbers: Vec<f64> = std::iter::repeat_with(&mut wide).filter(|number| number.is_finite()).take(2_000).collect();
    let text = "naïve \u{0}\n\"quoted\" \u{1f600} \u{2028}".to_owned();
    let call = ToolCall {
        id: "call_1".into(),
        name: "book".into(),
        arguments: json!({"zeta": numbers, "alpha": text, "big": u64::MAX, "broken": "{\"a\":"}),
    };
    let usage = Usage { input: 1 << 40, cached_input: 0, output: 0 };
    let spoken = Answer::Chat(ChatAnswer {
        calls: vec![call],
        opaque: OpaqueParts { blocks: vec![json!({"signature": "c2lnbmVk"})], ..OpaqueParts::default() }.into(),
        finish: Finish::Length,
        usage,
        estimated: true,
        text,
    });
    let vector: Vec<f32> = std::iter::repeat_with(|| f32::from_bits(rng.random::<u32>()))
        .filter(|number| number.is_finite())
        .take(2_000)
        .collect();
    let embedded = Answer::Embeddings(Embeddings {
        vectors: vec![vector, vec![0.0, -0.0, f32::MIN_POSITIVE]],
        usage,
        estimated: false,
    });
    for answer in [spoken, embedded] {
        let key = CallKey(ContentHash::of_json(&answer));
        store.record(LedgerEntry { key, answer: answer.clone(), ..entry("exact") }).await.unwrap();
        let found = store.find(key).await.unwrap().unwrap().answer;
        assert_eq!(serde_json::to_string(&found).unwrap(), serde_json::to_string(&answer).unwrap());
        assert_eq!(found, answer);
    }
}

pub(super) async fn recording_a_key_again_changes_nothing(store: &dyn Store) {
    let key = CallKey(hash("same"));
    store.record(LedgerEntry { key, ..entry("first") }).await.unwrap();
    let other_cycle = CallTags { cycle: hash("later"), ..entry("second").tags };
    store.record(LedgerEntry { key, tags: other_cycle, ..entry("second") }).await.unwrap();
    let found = store.find(key).await.unwrap().unwrap();
    assert_eq!((found.answer, found.cycle), (chat("first"), hash("cycle")));
    assert_eq!(store.calls(hash("cycle")).await.unwrap().len(), 1);
    assert_eq!(store.calls(hash("later")).await.unwrap(), []);
}

pub(super) async fn what_cannot_be_used_is_counted_every_time_and_never_found(store: &dyn Store) {
    let key = CallKey(hash("useless"));
    let usage = Usage { input: 1_000, cached_input: 0, output: 4_000 };
    let answer = Answer::Unusable(Unusable { why: "it has no answer in it".to_owned(), usage });
    for _ in 0..2 {
        store.record(LedgerEntry { key, answer: answer.clone(), ..entry("useless") }).await.unwrap();
        assert_eq!(store.find(key).await.unwrap(), None);
    }
    store.record(LedgerEntry { key, ..entry("useful") }).await.unwrap();
    assert_eq!(store.find(key).await.unwrap().map(|found| found.answer), Some(chat("useful")));
    let total = &store.totals(Some(hash("cycle"))).await.unwrap()[0];
    assert_eq!((total.calls, total.usage.output), (3, 8_000 + chat("useful").usage().output));
    assert_eq!(store.paid(hash("cycle")).await.unwrap(), (0..3).filter_map(|_| entry("").cost).sum());
}

pub(super) async fn a_discarded_answer_is_not_found_any_more_and_stays_counted(store: &dyn Store) {
    let key = |name: &str| CallKey(hash(name));
    for name in ["a", "b", "c"] {
        store.record(entry(name)).await.unwrap();
    }
    let paid = store.paid(hash("cycle")).await.unwrap();
    store.discard(vec![key("a"), key("b"), key("was never asked")]).await.unwrap();
    assert_eq!(store.find(key("a")).await.unwrap(), None);
    assert!(store.find(key("c")).await.unwrap().is_some());
    assert_eq!(store.paid(hash("cycle")).await.unwrap(), paid);
    assert_eq!(store.calls(hash("cycle")).await.unwrap().len(), 3);
    store.record(LedgerEntry { key: key("a"), ..entry("another a") }).await.unwrap();
    assert_eq!(store.find(key("a")).await.unwrap().map(|found| found.answer), Some(chat("another a")));
    assert_eq!(store.totals(Some(hash("cycle"))).await.unwrap()[0].calls, 4);
}

pub(super) async fn a_vector_that_is_no_number_is_refused(store: &dyn Store) {
    let vectors = vec![vec![0.5, f32::INFINITY]];
    let answer = Answer::Embeddings(Embeddings { vectors, usage: Usage::default(), estimated: false });
    let error = store.record(LedgerEntry { answer, ..entry("infinite") }).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Other);
    assert!(error.message.contains("model \"worker\" returned a vector"), "{error}");
    assert_eq!(store.find(CallKey(hash("infinite"))).await.unwrap(), None);
}

pub(super) async fn a_hundred_callers_find_what_each_recorded(store: &dyn Store) {
    let caller = async |caller: usize| {
        for call in 0..20 {
            let name = format!("caller {caller} call {call}");
            assert_eq!(store.find(CallKey(hash(&name))).await.unwrap(), None);
            store.record(entry(&name)).await.unwrap();
            assert_eq!(store.find(CallKey(hash(&name))).await.unwrap().map(|call| call.answer), Some(chat(&name)));
        }
    };
    join_all((0..100).map(caller)).await;
    assert_eq!(store.totals(None).await.unwrap()[0].calls, 2_000);
}

pub(super) async fn a_cycle_lists_the_calls_that_it_paid(store: &dyn Store) {
    let judge = LedgerEntry {
        identity: ModelIdentity {
            provider: "anthropic".into(),
            endpoint: "https://api.anthropic.com".into(),
            model: "claude-sonnet-4-5".into(),
        },
        model: "judge".into(),
        cost: None,
        latency: Duration::from_secs(2),
        tags: CallTags { cycle: hash("cycle"), phase: Phase::Score, purpose: Purpose::Judge, scenario: None },
        ..entry("verdict")
    };
    let elsewhere = CallTags { cycle: hash("another"), ..entry("turn").tags };
    let paid = [entry("turn"), judge];
    store.record(paid[0].clone()).await.unwrap();
    store.record(LedgerEntry { tags: elsewhere, ..entry("elsewhere") }).await.unwrap();
    store.record(paid[1].clone()).await.unwrap();

    let calls = store.calls(hash("cycle")).await.unwrap();
    assert!(calls.iter().all(|call| call.recorded_at > Timestamp::UNIX_EPOCH));
    let expected = paid.map(|entry| CallRow {
        key: entry.key,
        usage: entry.answer.usage(),
        identity: entry.identity,
        model: entry.model,
        phase: entry.tags.phase.as_str().to_owned(),
        purpose: entry.tags.purpose.as_str().to_owned(),
        scenario: entry.tags.scenario,
        cost: entry.cost,
        latency: entry.latency,
        recorded_at: Timestamp::UNIX_EPOCH,
    });
    let timeless = calls.into_iter().map(|call| CallRow { recorded_at: Timestamp::UNIX_EPOCH, ..call });
    assert_eq!(timeless.collect::<Vec<_>>(), expected);
}

/// Thousands of amounts that binary fractions cannot hold.
pub(super) async fn totals_add_up_to_the_cent(store: &dyn Store) {
    let mut spent = Money::ZERO;
    for number in 0..300_u32 {
        let cost: Money = Decimal::new(i64::from(number) * 7 + 1, 7).into();
        spent += cost;
        store.record(LedgerEntry { cost: Some(cost), ..entry(&format!("priced {number}")) }).await.unwrap();
    }
    for number in 0..3 {
        store.record(LedgerEntry { cost: None, ..entry(&format!("free {number}")) }).await.unwrap();
    }
    let judged = CallTags { phase: Phase::Score, purpose: Purpose::Judge, ..entry("").tags };
    store.record(LedgerEntry { model: "judge".into(), tags: judged, ..entry("judged") }).await.unwrap();
    let other = CallTags { cycle: hash("another"), ..entry("").tags };
    store.record(LedgerEntry { tags: other, ..entry("other") }).await.unwrap();

    let totals = store.totals(None).await.unwrap();
    let lines: Vec<_> =
        totals.iter().map(|total| (total.cycle, total.phase.as_str(), total.model.as_str(), total.calls)).collect();
    assert_eq!(
        lines,
        [
            (hash("cycle"), "run", "worker", 303),
            (hash("cycle"), "score", "judge", 1),
            (hash("another"), "run", "worker", 1),
        ]
    );
    assert_eq!(totals[0].cost, spent);
    assert_eq!(totals[0].unpriced, 3);
    assert_eq!(totals[0].usage, Usage { input: 30_300, cached_input: 12_120, output: 2_121 });
    assert_eq!(store.totals(Some(hash("cycle"))).await.unwrap(), totals[..2]);
    assert_eq!(store.totals(Some(hash("nobody"))).await.unwrap(), []);
}

pub(super) async fn the_first_cycle_makes_its_champion_v1(store: &dyn Store) {
    let memory = store.open(start("one", "base")).await.unwrap();
    let nothing = Memory { champion_version: "v1".into(), next_version: 2, ..Memory::default() };
    assert_eq!(memory, nothing);
    assert_eq!(names(&store.versions(OBJECT).await.unwrap()), [("v1", "base", "Champion")]);
}

pub(super) async fn a_killed_cycle_is_told_the_same_when_it_is_resumed(store: &dyn Store) {
    store.open(start("earlier", "base")).await.unwrap();
    let scores = BTreeMap::from([("accuracy".into(), 0.1 + 0.2), ("safety".into(), 1.0 / 3.0)]);
    let earlier = CycleRecord { rejected: vec![rejection("x")], champion_scores: scores, ..kept("earlier", 1) };
    store.close(earlier).await.unwrap();

    let memory = store.open(start("killed", "base")).await.unwrap();
    assert_eq!((prompts(&memory), memory.champion_scores.len()), (vec![hash("x")], 1));
    store.open(start("meanwhile", "base")).await.unwrap();
    store.close(CycleRecord { rejected: vec![rejection("y")], ..kept("meanwhile", 2) }).await.unwrap();
    let late = CycleStart { at: at(3), ..start("killed", "base") };
    assert_eq!(store.open(late).await.unwrap(), memory);
}

/// A run that is repeated with a full ledger must come to the same decision, also after it rejected something itself.
pub(super) async fn a_repeated_cycle_is_told_the_same(store: &dyn Store) {
    let memory = store.open(start("one", "base")).await.unwrap();
    let challenger = version("v2", "better", Some("v1"), VersionPhase::Champion);
    let promoted = CycleRecord { versions: vec![challenger], rejected: vec![rejection("x")], ..kept("one", 1) };
    store.close(promoted.clone()).await.unwrap();
    assert_eq!(store.open(start("one", "base")).await.unwrap(), memory);
    store.close(promoted).await.unwrap();
    assert_eq!(
        names(&store.versions(OBJECT).await.unwrap()),
        [("v2", "better", "Champion"), ("v1", "base", "Superseded")]
    );
}

pub(super) async fn a_version_number_that_was_given_away_meanwhile_is_not_given_twice(store: &dyn Store) {
    let memory = store.open(start("killed", "base")).await.unwrap();
    assert_eq!(memory.next_version, 2);
    store.open(start("meanwhile", "base")).await.unwrap();
    let challenger = version("v2", "better", Some("v1"), VersionPhase::Rejected);
    store.close(CycleRecord { versions: vec![challenger], ..kept("meanwhile", 1) }).await.unwrap();

    let resumed = Memory { next_version: 3, ..memory };
    assert_eq!(store.open(start("killed", "base")).await.unwrap(), resumed);
    assert_eq!(store.open(start("killed", "base")).await.unwrap(), resumed);
}

pub(super) async fn a_cycle_hears_of_patches_that_others_rejected(store: &dyn Store) {
    store.open(start("one", "base")).await.unwrap();
    assert_eq!(store.open(start("unfinished", "base")).await.unwrap().rejected, []);
    let challenger = version("v2", "better", Some("v1"), VersionPhase::Champion);
    let rejected = vec![rejection("x"), rejection("y")];
    store.close(CycleRecord { versions: vec![challenger], rejected, ..kept("one", 1) }).await.unwrap();

    // The champion of this one descends from the prompt that x and y were tried on.
    let memory = store.open(start("two", "better")).await.unwrap();
    assert_eq!((memory.champion_version.as_str(), memory.next_version), ("v2", 3));
    assert_eq!(memory.rejected, [rejection("x"), rejection("y")]);
    let again = RejectedPatch { reason: "worse on accuracy".into(), ..rejection("y") };
    store.close(CycleRecord { rejected: vec![rejection("z"), again.clone()], ..kept("two", 2) }).await.unwrap();

    let memory = store.open(start("three", "better")).await.unwrap();
    assert_eq!(memory.rejected, [rejection("z"), again, rejection("x")], "newest first, each prompt once");
}

pub(super) async fn patches_rejected_for_an_unrelated_prompt_are_not_remembered(store: &dyn Store) {
    store.open(start("one", "base")).await.unwrap();
    store.close(CycleRecord { rejected: vec![rejection("x")], ..kept("one", 1) }).await.unwrap();
    let memory = store.open(start("two", "written anew by hand")).await.unwrap();
    assert_eq!((memory.champion_version.as_str(), memory.next_version), ("v2", 3));
    assert_eq!(memory.rejected, []);
}

pub(super) async fn champion_scores_come_oldest_first(store: &dyn Store) {
    let scores = |score: f64| BTreeMap::from([(DimensionName::from("accuracy"), score)]);
    for (cycle, second, score) in [("one", 10, 0.5), ("two", 30, 0.7), ("three", 20, 0.6)] {
        store.open(start(cycle, "base")).await.unwrap();
        store.close(CycleRecord { champion_scores: scores(score), ..kept(cycle, second) }).await.unwrap();
    }
    store.open(start("unfinished", "base")).await.unwrap();
    let memory = store.open(start("four", "base")).await.unwrap();
    assert_eq!(memory.champion_scores, [scores(0.5), scores(0.6), scores(0.7)]);
}

pub(super) async fn only_held_out_scores_of_champions_are_remembered(store: &dyn Store) {
    let scores = |score: f64| BTreeMap::from([(DimensionName::from("accuracy"), score)]);
    // As older versions of this program recorded them: with what was measured on whatever part.
    for (cycle, second, on) in [("one", 10, "training"), ("two", 20, "heldOut"), ("three", 30, "all")] {
        store.open(start(cycle, "base")).await.unwrap();
        let report = json!({"champion": {"measuredOn": on}});
        let champion_scores = scores(second as f64 / 100.0);
        store.close(CycleRecord { report, champion_scores, ..kept(cycle, second) }).await.unwrap();
    }
    // One that measured its champion on no held-out scenario takes the place of none that did.
    for number in 0..i64::from(CYCLES_KEPT) - 4 {
        let cycle = format!("nothing measured {number}");
        store.open(start(&cycle, "base")).await.unwrap();
        store.close(kept(&cycle, 40 + number)).await.unwrap();
    }
    let memory = store.open(start("next", "base")).await.unwrap();
    assert_eq!(memory.champion_scores, [scores(0.2)]);
}

pub(super) async fn a_known_prompt_keeps_its_version_and_its_descent(store: &dyn Store) {
    store.open(start("one", "base")).await.unwrap();
    let promoted = version("v2", "better", Some("v1"), VersionPhase::Champion);
    store.close(CycleRecord { versions: vec![promoted.clone()], ..kept("one", 1) }).await.unwrap();
    store.open(start("two", "better")).await.unwrap();
    // The next cycle knows its champion by the text only.
    let bare = version("v9", "better", None, VersionPhase::Champion);
    store.close(CycleRecord { versions: vec![bare], ..kept("two", 2) }).await.unwrap();

    let versions = store.versions(OBJECT).await.unwrap();
    assert_eq!(versions[0], VersionRow { version: promoted, created_at: at(1) });
    assert_eq!(versions.len(), 2);
}

pub(super) async fn a_version_name_never_means_two_prompts(store: &dyn Store) {
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

pub(super) async fn only_one_version_is_champion(store: &dyn Store) {
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

pub(super) async fn a_version_that_somebody_else_knows_keeps_its_name(store: &dyn Store) {
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

pub(super) async fn objects_share_nothing_but_the_ledger(store: &dyn Store) {
    store.open(start("one", "base")).await.unwrap();
    let scores = BTreeMap::from([("accuracy".into(), 0.5)]);
    let record = CycleRecord { rejected: vec![rejection("x")], champion_scores: scores, ..kept("one", 1) };
    store.close(record).await.unwrap();
    for cycle in ["one", "two"] {
        let other = CycleStart { object: "shop/sales".into(), ..start(cycle, "base") };
        let nothing = Memory { champion_version: "v1".into(), next_version: 2, ..Memory::default() };
        assert_eq!(store.open(other).await.unwrap(), nothing);
    }
}

pub(super) async fn closing_again_replaces_what_was_recorded(store: &dyn Store) {
    store.open(start("one", "base")).await.unwrap();
    let first = CycleRecord {
        rejected: vec![rejection("x"), rejection("y")],
        clusters: vec![cluster("c1", 3), cluster("c2", 1)],
        dimensions: vec!["accuracy".into()],
        evaluations: vec![evaluation("base", &[("a", &[Some(0.5)]), ("b", &[Some(1.0)])])],
        ..kept("one", 1)
    };
    store.close(first.clone()).await.unwrap();
    let second = CycleRecord {
        verdict: Verdict::Inconclusive,
        report: json!({"verdict": "inconclusive"}),
        rejected: vec![rejection("z")],
        clusters: vec![cluster("c1", 2)],
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
    assert_eq!(store.clusters(OBJECT, hash("one")).await.unwrap().len(), 1);
    assert_eq!(store.scores(OBJECT, hash("one")).await.unwrap().len(), 1);
    assert_eq!(prompts(&store.open(start("two", "base")).await.unwrap()), [hash("z")]);
}

pub(super) async fn a_cycle_that_was_never_opened_cannot_be_closed(store: &dyn Store) {
    let promoted = version("v1", "base", None, VersionPhase::Champion);
    let error = store.close(CycleRecord { versions: vec![promoted], ..kept("one", 1) }).await.unwrap_err();
    assert!(error.message.contains("of shop/support was never opened"), "{error}");
    assert_eq!(store.versions(OBJECT).await.unwrap(), [], "nothing of it is kept");
}

fn failure(number: usize) -> Failure {
    Failure {
        scenario: format!("refund-{number}").into(),
        tags: vec!["refund".into()],
        weight: 1.5,
        request: "I want my money back".into(),
        answer: "No.".into(),
        dimensions: vec!["accuracy".into()],
        score: 0.2,
        tool_errors: vec![ToolError {
            kind: ToolErrorKind::WrongArguments,
            tool: "refund".into(),
            arguments: vec!["order[0].id".into()],
            detail: "expected 12, got 13".into(),
            dimension: None,
        }],
        failed_checks: vec![FailedCheck {
            kind: CheckKind::Contains,
            expected: "the answer to contain \"12\"".into(),
            detail: "expected the answer to contain \"12\", got \"No.\"".into(),
            dimension: None,
        }],
        expected_tools: vec!["refund".into()],
        evidence: "did not look the order up".into(),
    }
}

fn cluster(id: &str, size: usize) -> Cluster {
    Cluster {
        id: id.into(),
        label: "refunds: wrong arguments".into(),
        rule: Rule {
            dimension: "accuracy".into(),
            tool_error: Some(ToolErrorKind::WrongArguments),
            tool: Some("refund".into()),
            arguments: vec!["order[].id".into()],
            check: Some("the answer to contain \"12\"".into()),
            terms: vec!["refund".into(), "receipt".into()],
        },
        failures: (0..size).map(failure).collect(),
    }
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

pub(super) async fn clusters_and_scores_come_back(store: &dyn Store) {
    store.open(start("one", "base")).await.unwrap();
    let evaluations = vec![
        evaluation("base", &[("a", &[Some(0.25), Some(0.5), None]), ("not scored", &[None]), ("c", &[Some(1.0)])]),
        evaluation("better", &[("a", &[Some(1.0)])]),
    ];
    let clusters = vec![cluster("c1", CLUSTER_EXAMPLES + 3), cluster("c2", 1)];
    let dimensions = vec!["accuracy".into()];
    store.close(CycleRecord { clusters, evaluations, dimensions, ..kept("one", 1) }).await.unwrap();

    let clusters = store.clusters(OBJECT, hash("one")).await.unwrap();
    assert_eq!(clusters.len(), 2);
    assert_eq!((clusters[0].id.as_str(), clusters[0].size), ("c1", CLUSTER_EXAMPLES as u64 + 3));
    assert_eq!((clusters[0].weight, clusters[1].weight), (12.0, 1.5));
    assert_eq!(clusters[0].label, "refunds: wrong arguments");
    assert_eq!(clusters[0].rule, cluster("c1", 0).rule);
    assert_eq!(clusters[0].examples, (0..CLUSTER_EXAMPLES).map(failure).collect::<Vec<_>>());

    let mut expected = vec![(hash("base"), "a", 0.375, 2), (hash("base"), "c", 1.0, 1), (hash("better"), "a", 1.0, 1)];
    expected.sort_by_key(|(prompt, scenario, ..)| (*prompt, *scenario));
    let scores = store.scores(OBJECT, hash("one")).await.unwrap();
    let found: Vec<_> = scores.iter().map(|row| (row.prompt, row.scenario.as_str(), row.mean, row.samples)).collect();
    assert_eq!(found, expected);
    assert!(scores.iter().all(|row| row.dimension.as_str() == "accuracy"));
}

pub(super) async fn cycles_are_listed_newest_first_and_found_by_prefix(store: &dyn Store) {
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

pub(super) async fn old_cycles_keep_one_line(store: &dyn Store) {
    let all = CYCLES_KEPT + 2;
    for number in 0..all {
        let cycle = format!("cycle {number}");
        store
            .record(LedgerEntry { tags: CallTags { cycle: hash(&cycle), ..entry("").tags }, ..entry(&cycle) })
            .await
            .unwrap();
        store.open(start(&cycle, "base")).await.unwrap();
        let record = CycleRecord {
            clusters: vec![cluster("c1", 1)],
            dimensions: vec!["accuracy".into()],
            evaluations: vec![evaluation("base", &[("a", &[Some(0.5)])])],
            rejected: vec![rejection(&format!("patch {number}"))],
            ..kept(&cycle, i64::from(number))
        };
        store.close(record).await.unwrap();
    }
    let detail = async |number: u32| {
        let cycle = hash(&format!("cycle {number}"));
        (
            store.report(OBJECT, cycle).await.unwrap().is_some(),
            store.clusters(OBJECT, cycle).await.unwrap().len(),
            store.scores(OBJECT, cycle).await.unwrap().len(),
            store.calls(cycle).await.unwrap().len(),
        )
    };
    assert_eq!(detail(1).await, (false, 0, 0, 1));
    assert_eq!(detail(2).await, (true, 1, 1, 1));
    assert_eq!(detail(all - 1).await, (true, 1, 1, 1));
    assert_eq!(store.cycles(Some(OBJECT), 1_000).await.unwrap().len(), all as usize);
    // What was rejected long ago is remembered all the same.
    assert!(prompts(&store.open(start("next", "base")).await.unwrap()).contains(&hash("patch 0")));
}
