//! The watch over a promoted prompt, with signals that the test sets. (A real Prometheus is asked in the tests of the loop.)

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use whetstone::api::PromptVersion;
use whetstone::api::status::{CycleKind, Origin, Phase, SignalState};

use super::cluster::{block_on, eventually};
use super::operator::{DEADLINE, Operator, Shop, condition, fixture, has, hash, now};

/// What a query is answered with.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// One series with this value.
    Value(&'static str),
    /// No series.
    Nothing,
    /// 500.
    Error,
    /// The connection ends.
    HangUp,
}

/// A stand-in for Prometheus, whose answers to each query the test sets.
struct Signals {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// By query.
    answers: Mutex<BTreeMap<&'static str, Answer>>,
    asked: AtomicUsize,
    is_over: AtomicBool,
}

impl Signals {
    fn start(answers: &[(&'static str, Answer)]) -> Self {
        Self::listen("127.0.0.1:0".parse().unwrap(), answers)
    }

    fn listen(address: SocketAddr, answers: &[(&'static str, Answer)]) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let answers = Mutex::new(answers.iter().copied().collect());
        let shared = Arc::new(Shared { answers, asked: 0.into(), is_over: false.into() });
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for stream in listener.incoming() {
                    if shared.is_over.load(Ordering::SeqCst) {
                        return;
                    }
                    // Somebody who hangs up takes nothing along.
                    let _ = answer(&stream.unwrap(), &shared);
                }
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// Ends: connections are refused from now on. Where it was.
    fn end(self) -> SocketAddr {
        self.address
    }

    /// Answers a query in this way from now on, and waits until so many were.
    fn say(&self, query: &'static str, answer: Answer, times: usize) {
        self.shared.answers.lock().unwrap().insert(query, answer);
        // One may have been under way.
        let wanted = self.shared.asked.load(Ordering::SeqCst) + times + 1;
        eventually("queries", DEADLINE, || (self.shared.asked.load(Ordering::SeqCst) >= wanted).then_some(()));
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // It waits for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    let mut form = vec![0; length];
    reader.read_exact(&mut form)?;
    let form = String::from_utf8_lossy(&form).into_owned();
    let query = form.split('&').find_map(|field| field.strip_prefix("query=")).unwrap_or_default();
    let answer = shared.answers.lock().unwrap().get(query).copied().unwrap_or_else(|| panic!("asked for {form:?}"));
    shared.asked.fetch_add(1, Ordering::SeqCst);
    let result = match answer {
        Answer::Value(value) => json!([{"metric": {}, "value": [1_700_000_000.0, value]}]),
        Answer::Nothing => json!([]),
        Answer::Error => return stream.write_all(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
        Answer::HangUp => return Ok(()),
    };
    let body = json!({"status": "success", "data": {"resultType": "vector", "result": result}}).to_string();
    let length = body.len();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    stream.write_all(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes())
}

/// A shop where a better prompt waits for the gate, and is watched by some signals once it serves.
fn watched(name: &str, signals: &Signals, window: &str) -> (Shop, Operator, Value) {
    let shop = Shop::open(name);
    let operator = shop.operator_with(&["--allow-endpoint", &signals.address.to_string()], &[]);
    let queries: Vec<&str> = signals.shared.answers.lock().unwrap().keys().copied().collect();
    let named = queries.iter().map(|query| json!({"name": query, "query": query, "max": 0.1}));
    let resource = json!({"spec": {"watch": {
        "window": window, "interval": "1s", "breaches": 3,
        "prometheus": {"url": format!("http://{}", signals.address)},
        "signals": named.collect::<Vec<_>>(),
    }}});
    shop.apply_version("better", &fixture("better.md"), &json!({}));
    shop.apply(&resource);
    shop.until_served("better");
    (shop, operator, resource)
}

#[test]
fn a_breach_in_enough_readings_brings_the_predecessor_back_for_good() {
    let signals = Signals::start(&[("failures", Answer::Value("0.05"))]);
    let (shop, operator, mut resource) = watched("breach", &signals, "10m");
    let status = shop.until("it is watched", |status| {
        status.phase == Some(Phase::Watching)
            && status.watch.as_ref().is_some_and(|it| it.signals.iter().any(|it| it.state == SignalState::Ok))
    });
    let watch = status.watch.clone().unwrap();
    assert_eq!((watch.version.as_str(), watch.established), ("better", false));
    assert_eq!(watch.signals[0].value.as_deref(), Some("0.05"));
    assert!(has(&status, "SignalsAvailable", "True", "Available"));
    // Whoever stops cycles wants the watch all the more.
    resource["spec"]["suspend"] = json!(true);
    shop.apply(&resource);
    // Somebody tidies up: the prompt that a rollback goes to is in the store as well.
    shop.delete::<PromptVersion>("shop-v1");

    // Two breaches with no evidence after them are not three, and a good reading begins anew.
    for answer in [Answer::Value("0.5"), Answer::Nothing, Answer::Value("0.05")] {
        signals.say("failures", answer, 1);
    }
    shop.until("it counts from zero", |status| {
        status.watch.as_ref().is_some_and(|it| it.breaches == 0 && it.signals[0].state == SignalState::Ok)
    });
    assert_eq!(shop.target().unwrap()["version"], "better");

    signals.say("failures", Answer::Value("0.5"), 2);
    let data = shop.until_served("v1");
    assert_eq!(data["system-prompt"], fixture("prompt.md"));
    let status = shop.until("it is told", |status| {
        status.champion.as_ref().is_some_and(|it| it.version == "v1") && has(status, "Ready", "True", "Serving")
    });
    assert_eq!(status.champion.as_ref().unwrap().origin, Origin::Rollback);
    let taken_back = &status.quarantine[0];
    assert_eq!((taken_back.version.as_str(), &taken_back.hash), ("better", &hash(&fixture("better.md"))));
    assert!(has(&status, "RolledBack", "True", "Breach"));
    assert_eq!(
        condition(&status, "RolledBack").unwrap().message,
        "better was rolled back, and v1 serves again: failures is 0.5, above max 0.1 (3 readings in a row)"
    );
    assert_eq!(condition(&status, "SignalsAvailable"), None);
    let told = shop.until_version("better", "RolledBack");
    assert_eq!(told.reasons, ["failures is 0.5, above max 0.1 (3 readings in a row)"]);
    let event = shop.until_event("RolledBack");
    assert_eq!(event, format!("v1 serves again and better is quarantined: {}", told.reasons[0]));
    let rollbacks = format!(
        "whetstone_rollbacks_total{{namespace=\"{}\",optimization=\"shop\",reason=\"Breach\"}}",
        shop.namespace.name()
    );
    assert_eq!(operator.metric(&rollbacks) as u64, 1);
    assert_eq!(shop.version("shop-v1").spec.prompt, fixture("prompt.md"), "it is there again");

    // For good: neither under another name nor by another cycle does it come back.
    shop.apply_version("better-again", &fixture("better.md"), &json!({}));
    let told = shop.until_version("better-again", "RolledBack");
    assert_eq!(told.version.as_deref(), Some("better-again"));
    resource["spec"]["suspend"] = json!(false);
    shop.apply(&resource);
    shop.annotate("whetstone.dev/run-at", "now");
    let status = shop.until("another cycle has ended", |status| status.cycles >= 2 && status.cycle.is_none());
    assert_eq!(status.history.iter().filter(|it| it.kind == CycleKind::Gate).count(), 1, "it is not gated again");
    assert_ne!(status.champion.unwrap().hash, hash(&fixture("better.md")));
    assert_ne!(shop.target().unwrap()["prompt-hash"], hash(&fixture("better.md")));
}

#[test]
fn what_was_read_by_limits_that_are_not_wanted_any_more_takes_nothing_back() {
    let signals = Signals::start(&[("failures", Answer::Value("0.05"))]);
    let (shop, _operator, mut resource) = watched("limits", &signals, "10m");
    resource["spec"]["pin"] = json!("better");
    shop.apply(&resource);
    signals.say("failures", Answer::Value("0.5"), 4);
    let status = shop.until("it breaches, and is pinned", |status| {
        status.watch.as_ref().is_some_and(|watch| watch.breaches >= 3) && has(status, "Ready", "True", "Serving")
    });
    assert_eq!(status.champion.unwrap().version, "better");
    // In one edit, as a person would: the limit was wrong, and the pin is not needed any more.
    resource["spec"].as_object_mut().unwrap().remove("pin");
    resource["spec"]["watch"]["signals"][0]["max"] = json!(0.9);
    let generation = shop.apply(&resource).metadata.generation;
    let status = shop.until("it is read by the new limit", |status| {
        let read = status.watch.as_ref().map(|watch| (watch.breaches, watch.signals[0].state));
        status.observed_generation == generation && read == Some((0, SignalState::Ok))
    });
    assert_eq!(status.champion.unwrap().version, "better");
    assert_eq!(status.quarantine, []);
}

#[test]
fn a_rollback_does_not_wait_for_room_for_a_version_that_has_nothing_to_do_with_it() {
    let signals = Signals::start(&[("failures", Answer::Value("0.05"))]);
    let (shop, operator, _) = watched("quota", &signals, "10m");
    let hard = json!({"count/promptversions.whetstone.dev": "2"});
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "versions"}, "spec": {"hard": hard},
    });
    shop.apply_object::<ResourceQuota>(&quota);
    // Its controller would count them sooner or later.
    let counted = Patch::Merge(json!({"status": {"hard": hard, "used": hard}}));
    let quotas = shop.namespace.api::<ResourceQuota>();
    block_on(quotas.patch_status("versions", &PatchParams::default(), &counted)).unwrap();
    let one_more = json!({
        "apiVersion": "whetstone.dev/v1alpha1", "kind": "PromptVersion", "metadata": {"name": "one-more"},
        "spec": {"optimizationRef": {"name": "shop"}, "prompt": "x"},
    });
    let dry = PatchParams { dry_run: true, ..PatchParams::apply("tests") };
    let versions = shop.namespace.api::<PromptVersion>();
    eventually("the quota holds", DEADLINE, || {
        block_on(versions.patch("one-more", &dry, &Patch::Apply(&one_more))).is_err().then_some(())
    });
    shop.write_base("# Role\n\nYou are somebody else.\n");
    eventually("a version is refused", DEADLINE, || operator.log().contains("exceeded quota").then_some(()));
    signals.say("failures", Answer::Value("0.5"), 2);
    let data = shop.until_served("v1");
    assert_eq!(data["system-prompt"], fixture("prompt.md"));
    shop.until_version("better", "RolledBack");
    let before = shop.versions();
    assert_eq!(before.len(), 2);
    // When there is room, the edit is gated as if nothing had been.
    shop.delete::<ResourceQuota>("versions");
    let edited = eventually("there is room", DEADLINE, || {
        // Another look, which else comes within a minute of the last failure.
        shop.annotate("example.com/note", &now().to_string());
        shop.versions().into_iter().find(|version| !before.contains(version))
    });
    shop.until_version(&edited, "Rejected");
}

#[test]
fn an_outage_of_any_kind_is_neither_a_breach_nor_a_pass() {
    let good = Answer::Value("0.05");
    let bad = [
        ("nan", Answer::Value("NaN")),
        ("empty", Answer::Nothing),
        ("broken", Answer::Error),
        ("silent", Answer::HangUp),
    ];
    let signals = Signals::start(&[&bad[..], &[("fine", good)]].concat());
    let (shop, _operator, _) = watched("outage", &signals, "4s");
    let status = shop.until("it is told", |status| has(status, "SignalsAvailable", "False", "NoEvidence"));
    let message = condition(&status, "SignalsAvailable").unwrap().message.clone();
    for said in ["nan has NaN instead of a number", "empty has no data", "answered 500", "silent cannot be read"] {
        assert!(message.contains(said), "{said:?} is not in {message}");
    }
    assert!(!message.contains("fine"), "{message}");
    assert!(has(&status, "Ready", "True", "Serving"), "what serves is right");
    shop.until("the window is over", |status| status.watch.as_ref().unwrap().until < now());
    signals.say("fine", good, 10);
    // Nor is it when nobody listens any more.
    let address = signals.end();
    let status = shop.until("that is told", |status| {
        condition(status, "SignalsAvailable").is_some_and(|it| it.message.contains("fine cannot be read"))
    });
    assert_eq!(status.phase, Some(Phase::Watching));
    let watch = status.watch.unwrap();
    assert!(!watch.established && watch.breaches == 0, "{watch:?}");
    assert_eq!(shop.target().unwrap()["version"], "better");

    // With the first good reading of all it is established.
    let _signals = Signals::listen(address, &["nan", "empty", "broken", "silent", "fine"].map(|query| (query, good)));
    let status = shop.until_idle();
    assert_eq!(status.champion.as_ref().unwrap().version, "better");
    assert!(status.watch.as_ref().unwrap().established);
    assert_eq!(condition(&status, "SignalsAvailable"), None);
    assert!(shop.until_event("Established").starts_with("better is established"));
    assert!(shop.events().iter().all(|(reason, _)| reason != "RolledBack"));
}
