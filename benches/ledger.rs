//! How fast calls are recorded and found in SQLite, with a hundred callers at once, as in a run.
//!
//! `cargo bench --workspace --bench ledger`. The targets are 20,000 records and 20,000 lookups a second, each record on disk.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::future::try_join_all;
use tokio::runtime::Runtime;
use whetstone::domain::call::{Answer, CallKey, ChatAnswer, ModelIdentity, Phase, Purpose};
use whetstone::domain::hash::ContentHash;
use whetstone::domain::money::Usage;
use whetstone::engine::ports::{CallTags, Ledger, LedgerEntry, StoreError};
use whetstone::store::Sqlite;

const CALLERS: u64 = 100;
const CALLS_EACH: u64 = 20;
const CALLS: u64 = CALLERS * CALLS_EACH;

fn key(number: u64) -> CallKey {
    CallKey(ContentHash::of_bytes(&number.to_le_bytes()))
}

/// A call with an answer of about 1 KiB, as an agent's or a judge's often is.
fn entry(number: u64) -> LedgerEntry {
    LedgerEntry {
        key: key(number),
        identity: ModelIdentity {
            provider: "openai".into(),
            endpoint: "http://litellm.llm:4000/v1".into(),
            model: "gpt-4o-mini".into(),
        },
        model: "worker".into(),
        answer: Answer::Chat(ChatAnswer {
            usage: Usage { input: 1200, cached_input: 800, output: 250 },
            ..ChatAnswer::said("Your refund is on its way. ".repeat(36))
        }),
        cost: Some(rust_decimal::Decimal::new(1234, 7).into()),
        latency: Duration::from_millis(512),
        tags: CallTags {
            cycle: ContentHash::of_bytes(b"cycle"),
            phase: Phase::Run,
            purpose: Purpose::Agent,
            scenario: Some(format!("scenario-{number}").into()),
        },
    }
}

/// Runs one task for each caller, each with its share of the calls from `first` on.
async fn in_parallel<F, W>(store: &Sqlite, first: u64, work: W)
where
    W: Fn(Sqlite, u64) -> F,
    F: Future<Output = Result<(), StoreError>> + Send + 'static,
{
    let callers = (0..CALLERS).map(|caller| tokio::spawn(work(store.clone(), first + caller * CALLS_EACH)));
    for outcome in try_join_all(callers).await.expect("no caller panics") {
        outcome.expect("the store works");
    }
}

async fn record(store: Sqlite, first: u64) -> Result<(), StoreError> {
    for number in first..first + CALLS_EACH {
        store.record(entry(number)).await?;
    }
    Ok(())
}

async fn find(store: Sqlite, first: u64) -> Result<(), StoreError> {
    for number in first..first + CALLS_EACH {
        black_box(store.find(key(number)).await?);
    }
    Ok(())
}

/// What a run does: look up, find nothing, pay, record.
async fn find_and_record(store: Sqlite, first: u64) -> Result<(), StoreError> {
    for number in first..first + CALLS_EACH {
        if store.find(key(number)).await?.is_none() {
            store.record(entry(number)).await?;
        }
    }
    Ok(())
}

fn ledger(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let store = runtime.block_on(Sqlite::open(&folder.path().join("ledger.db"))).expect("a store");
    let next = AtomicU64::new(0);
    let fresh = || next.fetch_add(CALLS, Ordering::Relaxed);

    let mut group = criterion.benchmark_group("ledger, 100 callers");
    group.throughput(Throughput::Elements(CALLS));
    group.bench_function("record", |bencher| {
        bencher.iter(|| runtime.block_on(in_parallel(&store, fresh(), record)));
    });
    group.bench_function("find, known", |bencher| {
        bencher.iter(|| runtime.block_on(in_parallel(&store, 0, find)));
    });
    group.bench_function("find, unknown", |bencher| {
        bencher.iter(|| runtime.block_on(in_parallel(&store, 1 << 40, find)));
    });
    group.bench_function("find, then record", |bencher| {
        bencher.iter(|| runtime.block_on(in_parallel(&store, fresh(), find_and_record)));
    });
    group.finish();
    runtime.block_on(store.close()).expect("the store closes");
}

criterion_group!(benches, ledger);
criterion_main!(benches);
