//! A hostile namespace beside a good one: what the one does takes nothing from the other.
//!
//! The demonstration takes minutes, a release build and a machine of its own: `make hostile`. It prints a table.

mod confined;
mod provider;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use whetstone::api::AgentOptimization;
use whetstone::store::{Sqlite, Store as _};

use self::confined::{Confined, LIMIT, Seen};
use self::provider::Provider;
use super::cluster::{Namespace, block_on, eventually};
use super::operator::{Shop, condition, fixture, has};

/// Cycles of the good namespace before the attack: what their usual time is.
const ALONE: usize = 3;

/// How long after the attack the operator's memory is looked at.
const AFTERWARDS: Duration = Duration::from_secs(20);

/// How long a debug build may take to compile what a suite may have of patterns.
const COMPILING: Duration = Duration::from_mins(5);

/// How long a good cycle may take at all.
const LONGEST_CYCLE: Duration = Duration::from_mins(4);

fn apply<K>(namespace: &Namespace, object: &Value)
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug,
{
    let name = object["metadata"]["name"].as_str().unwrap();
    let parameters = PatchParams::apply("tests").force();
    block_on(namespace.api::<K>().patch(name, &parameters, &Patch::Apply(object)))
        .unwrap_or_else(|error| panic!("apply {name}: {error}"));
}

fn config_map(namespace: &Namespace, name: &str, key: &str, text: &str) {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {key: text}});
    apply::<ConfigMap>(namespace, &object);
}

/// Eight thousand scenarios whose patterns are legal, each of which takes over a megabyte when it is compiled.
fn patterns(turn: u32) -> String {
    let line = |number: u32| {
        format!(r#"{{"id":"{number}","message":"m","expect":{{"checks":[{{"regex":"\\w{{3,40}}{turn}"}}]}}}}"#)
    };
    (0..8_000).map(line).collect::<Vec<_>>().join("\n")
}

/// An optimization of the hostile namespace, whose model is one of the provider's.
fn attack(namespace: &Namespace, name: &str, url: &str, scenarios: &str) {
    let object = json!({
        "apiVersion": "whetstone.dev/v1alpha1",
        "kind": "AgentOptimization",
        "metadata": {"name": name},
        "spec": {
            "profile": "Prototype",
            "agent": {
                "prompt": {"inline": format!("# Role\nYou are {name}.\n")},
                "toolsFrom": [{"inline": fixture("tools.json")}],
                "runtime": {"model": {"ref": "m"}},
            },
            "models": [{"name": "m", "openAI": {"baseURL": url, "model": "m"}, "limits": {"concurrency": 16, "timeout": "120s"}}],
            "scenarios": [{"configMapRef": {"name": scenarios}}],
            "scoring": {"dimensions": [{"name": "accuracy", "weight": 1, "scorer": "Checks"}]},
            "execution": {"concurrency": 16},
            "promotion": {"target": {"configMap": format!("{name}-live")}},
        },
    });
    apply::<AgentOptimization>(namespace, &object);
}

/// One more optimization of the good namespace, and how long its first cycle takes. Its prompt is like no other, so that nothing
/// of it is in the ledger. One that does not end has taken as long as it was waited for.
fn good_cycle(shop: &Shop, number: usize) -> Duration {
    let name = format!("good-{number}");
    let prompt = format!("{}\nThis is shop number {number}.\n", fixture("prompt.md").trim_end());
    let resource = shop.resource(&json!({
        "metadata": {"name": name},
        "spec": {
            "agent": {"prompt": {"configMapKeyRef": null, "inline": prompt}},
            "promotion": {"target": {"configMap": format!("{name}-live")}},
        },
    }));
    let began = Instant::now();
    apply::<AgentOptimization>(&shop.namespace, &resource);
    while began.elapsed() < LONGEST_CYCLE {
        let object: Result<AgentOptimization, _> = block_on(shop.namespace.api().get(&name));
        if object.is_ok_and(|object| object.status.is_some_and(|status| !status.history.is_empty())) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    began.elapsed()
}

fn seconds(times: &[Duration]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort();
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else { return "—".to_owned() };
    let median = sorted[sorted.len() / 2];
    format!(
        "{} ({:.1} s median, {:.1} to {:.1} s)",
        sorted.len(),
        median.as_secs_f64(),
        first.as_secs_f64(),
        last.as_secs_f64()
    )
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// How long the good cycles took, and what was seen of the operator meanwhile.
type Measured<'a> = (&'a [Duration], &'a Seen);

fn table(binary: &str, alone: Measured<'_>, attacked: Measured<'_>, limited_by: &str) {
    println!("\n{binary}, limited to {} by {limited_by}\n", mib(LIMIT));
    println!("| | alone | under attack |\n|---|---|---|");
    let row = |what: &str, of: &dyn Fn(Measured<'_>) -> String| {
        println!("| {what} | {} | {} |", of(alone), of(attacked));
    };
    row("good cycles", &|(times, _)| seconds(times));
    row("peak memory", &|(_, seen)| mib(seen.peak));
    row("memory afterwards", &|(_, seen)| mib(seen.now));
    row("started again", &|(_, seen)| seen.restarts.to_string());
    row("probes, those that failed", &|(_, seen)| format!("{}, {}", seen.probes, seen.failed.len()));
    row("slowest probe", &|(_, seen)| format!("{:.0} ms", seen.slowest.as_secs_f64() * 1e3));
    row("most cycles under way, waiting", &|(_, seen)| format!("{}, {}", seen.running, seen.queued));
}

/// The three attacks at once, for minutes. `WHETSTONE_HOSTILE_MINUTES` says how many, `WHETSTONE_HOSTILE_BINARY` of which build,
/// `WHETSTONE_HOSTILE_ATTACKS` which of them.
#[test]
#[ignore = "takes minutes and a release build: make hostile"]
fn a_hostile_namespace_takes_nothing_from_a_good_one() {
    let minutes: f64 = std::env::var("WHETSTONE_HOSTILE_MINUTES").map_or(10.0, |text| text.parse().expect("a number"));
    let binary = std::env::var_os("WHETSTONE_HOSTILE_BINARY")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_whetstone")), PathBuf::from);
    let attacks = std::env::var("WHETSTONE_HOSTILE_ATTACKS").unwrap_or_else(|_| "answers,later,patterns".to_owned());
    let does = |attack: &str| attacks.split(',').any(|one| one == attack);
    let good = Shop::in_world("good", "faults:\n  latency: {normal: {mean: 40ms, sd: 10ms}}\n");
    let hostile = Namespace::new("hostile");
    let provider = Provider::start();
    let folder = tempfile::tempdir().unwrap();
    let operator = Confined::start(&binary, &[good.namespace.name(), hostile.name()], folder.path());

    let alone: Vec<Duration> = (0..ALONE).map(|number| good_cycle(&good, number)).collect();
    let quiet = operator.seen();

    config_map(
        &hostile,
        "scenarios",
        "scenarios.jsonl",
        &fixture("scenarios.jsonl").replace("tool_compliance", "accuracy"),
    );
    config_map(&hostile, "patterns", "scenarios.jsonl", &patterns(0));
    for number in (0..4).filter(|_| does("later")) {
        attack(&hostile, &format!("later-{number}"), &provider.model("later"), "scenarios");
    }
    if does("patterns") {
        attack(&hostile, "patterns", &provider.model("long"), "patterns");
    }

    let (began, lasts) = (Instant::now(), Duration::from_secs_f64(minutes * 60.0));
    let mut attacked = Vec::new();
    while began.elapsed() < lasts {
        // What was read is read again, and what has failed is tried again.
        let turn = u32::try_from(attacked.len() + 1).unwrap();
        if does("patterns") {
            config_map(&hostile, "patterns", "scenarios.jsonl", &patterns(turn));
        }
        for way in ["huge", "long", "lists"].into_iter().filter(|_| does("answers")) {
            attack(&hostile, &format!("{way}-{turn}"), &provider.model(way), "scenarios");
        }
        attacked.push(good_cycle(&good, ALONE + attacked.len()));
        std::thread::sleep(Duration::from_secs(5));
    }
    let limited_by = operator.limited_by();
    // What it needed and needs no more is given back.
    hostile.kubectl(&["delete", "agopt", "--all", "--wait=false"]);
    std::thread::sleep(AFTERWARDS);
    let seen = operator.end();
    table(&binary.display().to_string(), (&alone, &quiet), (&attacked, &seen), limited_by);
    let recorded = |namespace: &str| {
        let path = folder.path().join("store").join(format!("{namespace}.db"));
        block_on(async {
            let store = Sqlite::open(&path).await.unwrap();
            let totals = store.totals(None).await.unwrap();
            store.close().await.unwrap();
            totals.iter().map(|total| total.calls).sum::<u64>()
        })
    };
    let (paid, kept) = (good.world.answered(), recorded(good.namespace.name()));
    println!("| paid by the good one, recorded | | {paid}, {kept} |");
    println!("| asked of the hostile provider, recorded | | {}, {} |", provider.asked(), recorded(hostile.name()));

    assert_eq!(seen.restarts, 0, "{:?}", seen.failed);
    assert_eq!(seen.failed, Vec::<String>::new(), "failed probes");
    assert!(seen.peak < LIMIT, "{}", mib(seen.peak));
    assert_eq!(paid, kept, "what was paid is recorded, each once");
    let slowest = |times: &[Duration]| times.iter().max().copied().unwrap_or_default();
    assert!(
        slowest(&attacked) < slowest(&alone) * 3 + Duration::from_secs(15),
        "cycles take longer under attack: {} and {}",
        seconds(&alone),
        seconds(&attacked)
    );
}

/// The same of one attack and in seconds, on every build.
#[test]
fn patterns_that_take_long_to_compile_are_refused_and_hold_up_nobody() {
    let shop = Shop::open("patterns");
    let operator = shop.operator();
    shop.write_config_map("patterns", &[("scenarios.jsonl", &patterns(0))]);
    shop.apply_object::<AgentOptimization>(&shop.resource(&json!({
        "metadata": {"name": "hostile"},
        "spec": {
            "scenarios": [{"configMapRef": {"name": "patterns"}}],
            "promotion": {"target": {"configMap": "hostile-live"}},
        },
    })));
    shop.apply(&json!({}));
    let mut slowest = Duration::ZERO;
    let began = Instant::now();
    let refused = loop {
        let asked = Instant::now();
        assert!(!operator.metrics().is_empty());
        slowest = slowest.max(asked.elapsed());
        let object: AgentOptimization = block_on(shop.namespace.api().get("hostile")).unwrap();
        let status = object.status.unwrap_or_default();
        if has(&status, "Stalled", "True", "InvalidSpec") {
            break status;
        }
        assert!(began.elapsed() < COMPILING, "not refused within {COMPILING:?}: {status:?}");
        std::thread::sleep(Duration::from_millis(50));
    };
    let message = &condition(&refused, "Stalled").unwrap().message;
    assert!(message.contains("need more than 128 MiB"), "{message}");
    assert!(slowest < Duration::from_secs(2), "the slowest answer took {slowest:?}");
    shop.until_served("v2");
}

/// A store whose file is deleted is reported, and no more calls are made; once it is restored, work continues.
#[test]
fn a_store_whose_file_is_taken_away_is_told_and_pays_nothing_more() {
    let shop = Shop::open("taken");
    let operator = shop.operator();
    shop.apply(&json!({}));
    shop.until_served("v2");
    shop.until_idle();
    let (file, elsewhere) = (shop.store_file(), shop.store_dir().join("elsewhere"));
    std::fs::rename(&file, &elsewhere).unwrap();
    let lost = format!("whetstone_store_lost{{namespace=\"{}\"}}", shop.namespace.name());
    eventually("it is noticed", Duration::from_secs(10), || (operator.metric(&lost) > 0.5).then_some(()));
    assert!(operator.log().contains("no more calls are made"), "{}", operator.log());

    let paid = shop.world.answered();
    shop.annotate("whetstone.dev/run-at", &super::operator::now().to_string());
    let told = shop.until("the cycle cannot run", |status| {
        let waiting = status.cycle.as_ref().and_then(|cycle| cycle.waiting.as_ref());
        waiting.is_some_and(|waiting| waiting.message.contains("deleted while it was in use"))
    });
    assert!(has(&told, "Ready", "False", &condition(&told, "Ready").unwrap().reason), "{told:?}");
    assert_eq!(shop.world.answered(), paid, "nothing more is paid");
    assert!(!file.exists(), "no empty ledger is made in its place");

    std::fs::rename(&elsewhere, &file).unwrap();
    eventually("it is there again", Duration::from_secs(10), || (operator.metric(&lost) < 0.5).then_some(()));
    shop.until_idle();
}

/// What a person annotates is a line of the log, and not two.
#[test]
fn an_annotation_forges_no_line_of_the_log() {
    let shop = Shop::open("forged");
    let operator = shop.operator();
    shop.apply(&json!({}));
    shop.until_idle();
    let forged = "x\n2026-11-24T10:00:00.000000Z ERROR whetstone: FORGED\r\u{1b}[2J";
    shop.annotate("whetstone.dev/rollback-to", forged);
    shop.until_event("RequestHandled");
    let log = operator.log();
    let lines: BTreeSet<&str> = log.lines().filter(|line| line.contains("FORGED")).collect();
    assert!(
        !lines.is_empty() && lines.iter().all(|line| !line.starts_with("2026-11-24T10:00:00.000000Z")),
        "{lines:?}"
    );
    assert!(!log.contains('\u{1b}') && !log.contains('\r'));
}
