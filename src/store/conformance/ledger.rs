//! The ledger: calls, their answers, and their totals.

use super::*;

pub(in crate::store) async fn a_recorded_call_is_found_again(store: &dyn Store) {
    assert_eq!(store.find(CallKey(hash("hello"))).await.unwrap(), None);
    store.record(entry("hello")).await.unwrap();
    assert_eq!(store.find(CallKey(hash("hello"))).await.unwrap().map(|call| call.answer), Some(chat("hello")));
    assert_eq!(store.find(CallKey(hash("bye"))).await.unwrap(), None);
}

/// If a number changed in its last bit, a resumed cycle would send other requests, and pay for them again.
pub(in crate::store) async fn an_answer_comes_back_to_the_last_bit(store: &dyn Store) {
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

pub(in crate::store) async fn recording_a_key_again_changes_nothing(store: &dyn Store) {
    let key = CallKey(hash("same"));
    store.record(LedgerEntry { key, ..entry("first") }).await.unwrap();
    let other_cycle = CallTags { cycle: hash("later"), ..entry("second").tags };
    store.record(LedgerEntry { key, tags: other_cycle, ..entry("second") }).await.unwrap();
    let found = store.find(key).await.unwrap().unwrap();
    assert_eq!((found.answer, found.cycle), (chat("first"), hash("cycle")));
    assert_eq!(store.calls(hash("cycle")).await.unwrap().len(), 1);
    assert_eq!(store.calls(hash("later")).await.unwrap(), []);
}

pub(in crate::store) async fn what_cannot_be_used_is_counted_every_time_and_never_found(store: &dyn Store) {
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

pub(in crate::store) async fn a_discarded_answer_is_not_found_any_more_and_stays_counted(store: &dyn Store) {
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

pub(in crate::store) async fn a_vector_that_is_no_number_is_refused(store: &dyn Store) {
    let vectors = vec![vec![0.5, f32::INFINITY]];
    let answer = Answer::Embeddings(Embeddings { vectors, usage: Usage::default(), estimated: false });
    let error = store.record(LedgerEntry { answer, ..entry("infinite") }).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Other);
    assert!(error.message.contains("model \"worker\" returned a vector"), "{error}");
    assert_eq!(store.find(CallKey(hash("infinite"))).await.unwrap(), None);
}

pub(in crate::store) async fn a_hundred_callers_find_what_each_recorded(store: &dyn Store) {
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

pub(in crate::store) async fn a_cycle_lists_the_calls_that_it_paid(store: &dyn Store) {
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

/// Thousands of amounts that binary fractions cannot represent.
pub(in crate::store) async fn totals_add_up_to_the_cent(store: &dyn Store) {
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
