//! What an earlier release has recorded, this one finds again: the identity of a cycle, the keys of its calls, the parts of its
//! scenarios and the prompts that it comes to. A change of one of these literals makes every user pay again.

use serde_json::{Value, json};
use whetstone::domain::hash::ContentHash;
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
