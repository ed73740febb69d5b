//! What must be true after any fault, checked with code of its own: it reads the objects as the observer has seen them, the stores,
//! the audit log and the provider's own count, and shares no type with the operator.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use sqlx::{Connection as _, Row as _};

use super::super::cluster::block_on;
use super::record::Seen;
use super::stage::Stage;

/// Stands in whatever a hostile writer writes.
pub(super) const HOSTILE: &str = "HOSTILE";
const OPTIMIZATION_LABEL: &str = "/metadata/labels/whetstone.dev~1optimization";

/// Everything that must be true of the shops of a stage that has come to rest.
pub(super) fn violations(stage: &Stage, seen: &[Seen]) -> Vec<String> {
    let mut found = Vec::new();
    for shop in &stage.shops {
        let whose = Whose { namespace: &shop.namespace, name: &shop.name, goes_back: shop.goes_back };
        found.extend(at_every_moment(&whose, seen));
        if !shop.is_gone {
            found.extend(at_rest(&whose, seen));
        }
    }
    found
}

/// The shop that is looked at.
struct Whose<'a> {
    namespace: &'a str,
    name: &'a str,
    /// A version may come to serve again.
    goes_back: bool,
}

fn of<'a>(shop: &'a Whose<'a>, kind: &'a str, seen: &'a [Seen]) -> impl Iterator<Item = &'a Seen> {
    seen.iter().filter(move |it| it.kind == kind && it.namespace == shop.namespace)
}

fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// The states of the target ConfigMap that a hostile writer has not spoilt.
fn targets<'a>(shop: &'a Whose<'a>, seen: &'a [Seen]) -> impl Iterator<Item = &'a Seen> {
    let name = format!("{}-live", shop.name);
    of(shop, "ConfigMap", seen).filter(move |it| it.name == name && !it.is_gone).filter(|it| {
        ["system-prompt", "version", "prompt-hash"]
            .iter()
            .all(|key| !it.text(&format!("/data/{key}")).contains(HOSTILE))
    })
}

/// The states of the resource itself.
fn records<'a>(shop: &'a Whose<'a>, seen: &'a [Seen]) -> impl Iterator<Item = &'a Seen> {
    of(shop, "AgentOptimization", seen).filter(move |it| it.name == shop.name)
}

/// The states of its versions.
fn versions<'a>(shop: &'a Whose<'a>, seen: &'a [Seen]) -> impl Iterator<Item = &'a Seen> {
    of(shop, "PromptVersion", seen).filter(move |it| it.text(OPTIMIZATION_LABEL) == shop.name)
}

fn at_every_moment(shop: &Whose<'_>, seen: &[Seen]) -> Vec<String> {
    let mut found = Vec::new();
    let known: BTreeSet<(&str, String)> =
        versions(shop, seen).map(|it| (it.text("/spec/version"), hash(it.text("/spec/prompt")))).collect();
    let mut served: Vec<&str> = Vec::new();
    for target in targets(shop, seen) {
        let (prompt, version, said) =
            (target.text("/data/system-prompt"), target.text("/data/version"), target.text("/data/prompt-hash"));
        let at = format!("{} at revision {}", target.name, target.revision);
        if hash(prompt) != said {
            found.push(format!("{at}: the prompt has the hash {} and prompt-hash says {said}", hash(prompt)));
        }
        if !known.contains(&(version, said.to_owned())) {
            found.push(format!("{at}: no PromptVersion {version} has the hash {said}"));
        }
        // What the record said when this was written. One that is gone says nothing, and the observer may have missed one that was
        // followed by a list.
        let next = records(shop, seen).find(|it| it.revision > target.revision);
        let is_missed = next.is_some_and(|it| it.is_listed && it.text("/status/champion/version") == version);
        let record = records(shop, seen).take_while(|it| it.revision < target.revision).last();
        if let Some(record) = record.filter(|record| !record.is_gone && record.object["metadata"]["deletionTimestamp"].is_null())
            && record.text("/status/champion/version") != version
            // An object that is new takes over what it finds.
            && !record.text("/status/champion/version").is_empty()
            // Somebody else wrote, and left our keys alone.
            && served.last() != Some(&version)
            && !is_missed
        {
            let champion = record.text("/status/champion/version");
            found.push(format!("{at}: it came to serve {version} while the record said {champion}"));
        }
        if served.last() != Some(&version) {
            served.push(version);
        }
    }
    found.extend(promoted_once(shop, seen, &served));
    found
}

/// Each version comes to serve once for each object, as the ConfigMap, the record, the history and the Events tell.
fn promoted_once(shop: &Whose<'_>, seen: &[Seen], served: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let twice = |what: &str, names: &[String], found: &mut Vec<String>| {
        let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
        for name in names {
            *counts.entry(name).or_default() += 1;
        }
        for (name, count) in counts.into_iter().filter(|(_, count)| *count > 1) {
            found.push(format!("{}: {name} came to serve {count} times by {what}", shop.name));
        }
    };
    let uids: BTreeSet<&str> = records(shop, seen).map(|it| it.text("/metadata/uid")).collect();
    if uids.len() == 1 && !shop.goes_back {
        let served: Vec<String> = served.iter().map(|it| (*it).to_owned()).collect();
        twice("the ConfigMap", &served, &mut found);
    }
    for uid in uids {
        let states: Vec<&Seen> = records(shop, seen).filter(|it| it.text("/metadata/uid") == uid).collect();
        let mut terms: Vec<(String, String)> = Vec::new();
        for state in &states {
            let term =
                (state.text("/status/champion/version").to_owned(), state.text("/status/champion/since").to_owned());
            let was_promoted = matches!(state.text("/status/champion/origin"), "Gate" | "Approval" | "Adopted");
            if was_promoted && terms.last() != Some(&term) {
                terms.push(term);
            }
        }
        let terms: Vec<String> = terms.into_iter().map(|(version, _)| version).collect();
        twice("the record", &terms, &mut found);
        let history = states.last().and_then(|last| last.object.pointer("/status/history")).and_then(Value::as_array);
        let promoted = history.into_iter().flatten().filter(|cycle| cycle["verdict"] == "Promoted");
        let promoted: Vec<String> =
            promoted.map(|cycle| cycle["challenger"].as_str().unwrap_or("").to_owned()).collect();
        twice("the history", &promoted, &mut found);
        let newest: BTreeMap<&str, &Seen> = of(shop, "Event", seen).map(|it| (it.name.as_str(), it)).collect();
        let events = newest.values().filter(|it| it.text("/reason") == "Promoted" && it.text("/regarding/uid") == uid);
        let told: Vec<String> = events
            .flat_map(|it| {
                let count = it.object.pointer("/series/count").and_then(Value::as_u64).unwrap_or(1);
                std::iter::repeat_n(it.text("/note").split(' ').next().unwrap_or("").to_owned(), count as usize)
            })
            .collect();
        twice("Events", &told, &mut found);
        // What was decided is said, and nothing else: an object that is deleted meanwhile is excused.
        if states.last().is_some_and(|last| !last.is_gone) {
            let unsaid = terms.iter().filter(|version| !told.contains(version));
            found.extend(unsaid.map(|version| format!("{}: no Event says that {version} was promoted", shop.name)));
        }
        let is_put_back =
            newest.values().any(|it| it.text("/reason") == "TargetPutBack" && it.text("/regarding/uid") == uid);
        if is_put_back && !is_meddled_with(shop, seen) {
            found.push(format!("{}: an Event says that somebody edited its target, and nobody did", shop.name));
        }
    }
    found
}

/// Somebody else has written the target, or deleted it.
fn is_meddled_with(shop: &Whose<'_>, seen: &[Seen]) -> bool {
    let name = format!("{}-live", shop.name);
    of(shop, "ConfigMap", seen).filter(|it| it.name == name).any(|it| {
        let managers = it.object.pointer("/metadata/managedFields").and_then(Value::as_array);
        it.is_gone || managers.into_iter().flatten().any(|entry| entry["manager"] != "whetstone")
    })
}

fn at_rest(shop: &Whose<'_>, seen: &[Seen]) -> Vec<String> {
    let mut found = Vec::new();
    let name = shop.name;
    let Some(record) = records(shop, seen).last().filter(|it| !it.is_gone) else {
        return vec![format!("{name}: the resource is gone, and nobody deleted it")];
    };
    let (champion, champion_hash) = (record.text("/status/champion/version"), record.text("/status/champion/hash"));
    let target = of(shop, "ConfigMap", seen).filter(|it| it.name == format!("{name}-live")).last();
    match target.filter(|it| !it.is_gone) {
        None => found.push(format!("{name}: there is no target ConfigMap")),
        Some(target) => {
            let (version, said, prompt) =
                (target.text("/data/version"), target.text("/data/prompt-hash"), target.text("/data/system-prompt"));
            if version != champion || said != champion_hash || hash(prompt) != champion_hash {
                found.push(format!(
                    "{name}: the target holds {version} ({said}), the record says {champion} ({champion_hash})"
                ));
            }
        }
    }
    let mut newest: BTreeMap<&str, &Seen> = BTreeMap::new();
    for version in versions(shop, seen) {
        newest.insert(&version.name, version);
    }
    let there: Vec<&Seen> = newest.into_values().filter(|it| !it.is_gone).collect();
    let champions: Vec<&str> =
        there.iter().filter(|it| it.text("/status/phase") == "Champion").map(|it| it.text("/spec/version")).collect();
    if champions != [champion] {
        found.push(format!("{name}: the champions are {champions:?}, the record says {champion}"));
    }
    for version in &there {
        let phase = version.text("/status/phase");
        if matches!(phase, "" | "Candidate" | "Challenger") {
            found.push(format!("{name}: {} has come to rest as {phase:?}", version.name));
        }
        if version.text("/spec/version") == champion && hash(version.text("/spec/prompt")) != champion_hash {
            found.push(format!("{name}: {} has another prompt than the record says", version.name));
        }
    }
    found
}

mod tests {
    use std::time::Instant;

    use serde_json::json;

    use super::*;

    /// The states of a shop that was promoted as it should be.
    fn good() -> Vec<Seen> {
        let (first, second) = (hash("one"), hash("two"));
        let labels = json!({"whetstone.dev/optimization": "shop"});
        let version = |name: &str, prompt: &str, phase: &str| json!({"metadata": {"labels": labels}, "spec": {"version": name, "prompt": prompt}, "status": {"phase": phase}});
        let record = |version: &str, hash: &str, origin: &str| json!({"metadata": {"uid": "u"}, "status": {"champion": {"version": version, "hash": hash, "origin": origin, "since": version}}});
        let target = |version: &str, hash: &str, prompt: &str| json!({"data": {"system-prompt": prompt, "version": version, "prompt-hash": hash}});
        [
            ("PromptVersion", "shop-v1", version("v1", "one", "Champion")),
            ("AgentOptimization", "shop", record("v1", &first, "Base")),
            ("ConfigMap", "shop-live", target("v1", &first, "one")),
            ("PromptVersion", "shop-v2", version("v2", "two", "Champion")),
            ("AgentOptimization", "shop", record("v2", &second, "Gate")),
            ("ConfigMap", "shop-live", target("v2", &second, "two")),
            ("PromptVersion", "shop-v1", version("v1", "one", "Superseded")),
            (
                "Event",
                "shop.1",
                json!({"reason": "Promoted", "note": "v2 serves instead of v1", "regarding": {"uid": "u"}}),
            ),
        ]
        .into_iter()
        .enumerate()
        .map(|(index, (kind, name, object))| Seen {
            at: Instant::now(),
            kind: kind.to_owned(),
            namespace: "n".to_owned(),
            name: name.to_owned(),
            revision: index as u64 + 1,
            is_gone: false,
            is_listed: false,
            object,
        })
        .collect()
    }

    fn found(seen: &[Seen]) -> String {
        let shop = Whose { namespace: "n", name: "shop", goes_back: false };
        [at_every_moment(&shop, seen), at_rest(&shop, seen)].concat().join("\n")
    }

    /// A change of one of the states, and what is to be found then.
    #[test]
    fn the_checker_finds_what_it_looks_for() {
        assert_eq!(found(&good()), "");
        for (state, pointer, value, expected) in [
            (5, "/data/system-prompt", json!("one"), "prompt-hash says"),
            (5, "/data/version", json!("v1"), "no PromptVersion v1 has the hash"),
            (5, "/data/system-prompt", json!(""), "prompt-hash says"),
            (4, "/status/champion/version", json!("v1"), "while the record said v1"),
            (6, "/status/phase", json!("Champion"), "the champions are"),
            (3, "/status/phase", json!("Challenger"), "has come to rest as"),
            (3, "/spec/prompt", json!("three"), "has another prompt than the record says"),
            (7, "/reason", json!("CycleEnded"), "no Event says that v2 was promoted"),
            (7, "/reason", json!("TargetPutBack"), "somebody edited its target, and nobody did"),
        ] {
            let mut seen = good();
            *seen[state].object.pointer_mut(pointer).unwrap() = value;
            let found = found(&seen);
            assert!(found.contains(expected), "{state} {pointer}: {found:?} should say {expected:?}");
        }
    }

    #[test]
    fn the_checker_finds_a_version_that_comes_to_serve_twice() {
        let mut seen = good();
        for (revision, state) in [(9, 1), (10, 2), (11, 4), (12, 5)] {
            let mut again = seen[state].clone();
            again.revision = revision;
            if state == 4 {
                again.object["status"]["champion"]["since"] = json!("later");
            }
            seen.push(again);
        }
        let found = found(&seen);
        for what in ["v2 came to serve 2 times by the ConfigMap", "v2 came to serve 2 times by the record"] {
            assert!(found.contains(what), "{found}");
        }
    }
}

/// How many calls the stores of a folder hold, by namespace.
pub(super) fn recorded(folder: &Path) -> (u64, Vec<String>) {
    let mut found = Vec::new();
    let mut all = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "db") {
            continue;
        }
        let url = format!("sqlite://{}", path.display());
        let (calls, distinct): (i64, i64) = block_on(async {
            let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
            let row = sqlx::query("SELECT count(*), count(DISTINCT key) FROM calls")
                .fetch_one(&mut connection)
                .await
                .unwrap();
            (row.get(0), row.get(1))
        });
        if calls != distinct {
            found.push(format!("{}: {calls} calls with {distinct} keys", path.display()));
        }
        all += calls as u64;
    }
    (all, found)
}
