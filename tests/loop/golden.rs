//! What an earlier release has recorded, this one finds again: the identity of a cycle, the keys of its calls, the parts of its
//! scenarios and the prompts that it comes to. A change of one of these literals makes every user pay again.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use whetstone::decide::conclude::Verdict;
use whetstone::domain::hash::ContentHash;
use whetstone::engine::ports::{CycleStart, History as _, Ledger as _, Memory};
use whetstone::engine::report::Report;
use whetstone::store::{Sqlite, Store as _};

use super::support::{Shop, block_on};

/// The keys of the calls of the only cycle in a store, as one hash, and how many there are.
fn keys(shop: &Shop) -> (usize, String) {
    block_on(async {
        let store = Sqlite::open(&shop.path("store.db")).await.unwrap();
        let cycles = store.cycles(None, 10).await.unwrap();
        let calls = store.calls(cycles[0].cycle).await.unwrap();
        store.close().await.unwrap();
        let mut keys: Vec<_> = calls.iter().map(|call| call.key).collect();
        keys.sort_unstable();
        (keys.len(), ContentHash::of_json(&keys).short())
    })
}

/// The clusters of a report by what is in them.
fn clusters(report: &Value) -> String {
    let scenarios = report["clusters"].as_array().unwrap().iter().map(|cluster| &cluster["scenarios"]);
    ContentHash::of_json(&scenarios.collect::<Vec<_>>()).short()
}

#[test]
fn a_cycle_has_the_identity_asks_the_calls_and_comes_to_the_prompt_of_earlier_releases() {
    let shop = Shop::with(&[(
        "optimization.yaml",
        "  profile: Prototype\n",
        "  profile: Prototype\n  execution: {repeats: 2}\n  split: {seed: 7}\n",
    )]);
    let ended = shop.run();
    assert_eq!(ended.code, Some(0), "{ended}");
    let report = shop.report();
    let (calls, keys) = keys(&shop);
    let found = json!({
        "cycle": report["cycle"],
        "champion": [report["champion"]["hash"], report["champion"]["score"]],
        "challenger": [report["challenger"]["hash"], report["challenger"]["score"]],
        "pValue": report["gate"]["pValue"],
        "clusters": clusters(&report),
        "calls": calls,
        "keys": keys,
    });
    let recorded = json!({
        "cycle": "0a4e4b3c86c57a64af009629173cc8cd6d60d009fb7fecfaa8a299bf31e9ef98",
        "champion": ["8625318725204252464a053af27ad789333849ec76d649dddd14a76786317420", 0.508_705_357_142_857_1],
        "challenger": ["7208a7751eaa5451eb7b46afcef15011456a6f8054ce5f6a0d4ba39c59334e81", 0.977_678_571_428_571_4],
        "pValue": 0.000_199_980_001_999_800_03,
        "clusters": "914f15eb539c",
        "calls": 670,
        "keys": "f1c636eb271c",
    });
    assert_eq!(found, recorded);
}

/// A store of every earlier release, as `tests/fixtures/upgrade` keeps them.
fn stores_of_earlier_releases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/upgrade");
    let releases = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path().join("store.db"));
    let stores: Vec<PathBuf> = releases.collect();
    assert!(!stores.is_empty());
    stores
}

/// The places of what was recorded that `now` does not have, or has otherwise. It may have more.
fn missing(recorded: &Value, now: &Value, place: &str) -> Vec<String> {
    match (recorded, now) {
        (Value::Object(fields), Value::Object(others)) => fields
            .iter()
            .flat_map(|(name, value)| {
                missing(value, others.get(name).unwrap_or(&Value::Null), &format!("{place}.{name}"))
            })
            .collect(),
        (Value::Array(items), Value::Array(others)) if items.len() == others.len() => {
            let pairs = items.iter().zip(others).enumerate();
            pairs.flat_map(|(index, (item, other))| missing(item, other, &format!("{place}[{index}]"))).collect()
        }
        (recorded, now) if recorded == now => Vec::new(),
        _ => vec![place.to_owned()],
    }
}

#[test]
fn everything_in_a_store_of_an_earlier_release_is_read() {
    for recorded in stores_of_earlier_releases() {
        let place = tempfile::tempdir().unwrap();
        let copy = place.path().join("store.db");
        std::fs::copy(&recorded, &copy).unwrap();
        block_on(async {
            let store = Sqlite::open(&copy).await.unwrap();
            let [cycle]: [_; 1] = store.cycles(None, 10).await.unwrap().try_into().unwrap();
            assert_eq!(cycle.object, "upgraded/shop");

            let fields = store.report(&cycle.object, cycle.cycle).await.unwrap().unwrap();
            let report: Report = serde_json::from_value(fields.clone()).unwrap();
            assert_eq!((report.cycle.as_str(), report.verdict), (cycle.cycle.to_string().as_str(), Verdict::Promoted));
            let lost = missing(&fields, &serde_json::to_value(&report).unwrap(), "report");
            assert_eq!(lost, Vec::<String>::new(), "nothing of the report is lost or renamed");

            let versions = store.versions(&cycle.object).await.unwrap();
            assert_eq!(
                versions.iter().map(|row| row.version.name.as_str()).collect::<Vec<_>>(),
                ["v2", "v1"],
                "newest first"
            );
            let calls = store.calls(cycle.cycle).await.unwrap();
            assert_eq!(calls.len(), 472);
            for call in &calls {
                let found = store.find(call.key).await.unwrap().expect("a recorded call has an answer");
                assert_eq!(found.cycle, cycle.cycle);
            }

            // The memory was pinned when the cycle began, and is what the same cycle gets again.
            let champion = versions[1].version.clone();
            let start = CycleStart {
                cycle: cycle.cycle,
                object: cycle.object.clone(),
                champion: champion.hash,
                champion_text: champion.text,
                at: cycle.started_at,
            };
            let memory = store.open(start.clone()).await.unwrap();
            assert_eq!(memory, Memory { champion_version: "v1".to_owned(), next_version: 2, ..Memory::default() });
            // The next one remembers what this one rejected, and how its champion did.
            let next = CycleStart { cycle: ContentHash::of_bytes(b"another"), ..start };
            let memory = store.open(next).await.unwrap();
            assert_eq!((memory.next_version, memory.rejected.len(), memory.champion_scores.len()), (3, 2, 1));
            store.close().await.unwrap();
        });
    }
}
