//! The watch over a promoted prompt, with signals that the test sets. (A real Prometheus is asked in the tests of the loop.)

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use whetstone::api::PromptVersion;
use whetstone::api::status::{Origin, Phase, SignalState};

use super::cluster::eventually;
use super::operator::{DEADLINE, Operator, Shop, condition, fixture, has, hash};

/// What a query is answered with.
#[derive(Clone, Debug)]
enum Answer {
    /// One series with this value.
    Value(&'static str),
    /// No series.
    Nothing,
    /// 500.
    Error,
}

/// A stand-in for Prometheus: every query has the same answer, which the test sets.
struct Signals {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    answer: Mutex<Answer>,
    asked: AtomicUsize,
    is_over: AtomicBool,
}

impl Signals {
    fn start(answer: Answer) -> Self {
        Self::listen("127.0.0.1:0".parse().unwrap(), answer)
    }

    fn listen(address: SocketAddr, answer: Answer) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { answer: Mutex::new(answer), asked: 0.into(), is_over: false.into() });
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for stream in listener.incoming() {
                    if shared.is_over.load(Ordering::SeqCst) {
                        return;
                    }
                    // Somebody who hangs up takes nothing along.
                    let _ = answer_one(&stream.unwrap(), &shared);
                }
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// Ends: connections are refused from now on. Where it was.
    fn end(self) -> SocketAddr {
        self.address
    }

    /// Waits until so many queries were answered in this way.
    fn say(&self, answer: Answer, times: usize) {
        *self.shared.answer.lock().unwrap() = answer;
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

fn answer_one(mut stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    reader.read_exact(&mut vec![0; length])?;
    let result = match *shared.answer.lock().unwrap() {
        Answer::Value(value) => json!([{"metric": {}, "value": [1_700_000_000.0, value]}]),
        Answer::Nothing => json!([]),
        Answer::Error => {
            shared.asked.fetch_add(1, Ordering::SeqCst);
            return stream.write_all(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    };
    let body = json!({"status": "success", "data": {"resultType": "vector", "result": result}}).to_string();
    shared.asked.fetch_add(1, Ordering::SeqCst);
    let length = body.len();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    stream.write_all(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes())
}

/// A shop where a better prompt waits for the gate, and is watched once it serves.
fn watched(name: &str, signals: &Signals, window: &str) -> (Shop, Operator, Value) {
    let shop = Shop::open(name);
    let operator = shop.operator_with(&["--allow-endpoint", &signals.address.to_string()], &[]);
    let resource = json!({"spec": {"watch": {
        "window": window, "interval": "1s", "breaches": 3,
        "prometheus": {"url": format!("http://{}", signals.address)},
        "signals": [{"name": "failed-conversations", "query": "errors / requests", "max": 0.1}],
    }}});
    shop.apply_version("better", &fixture("better.md"), &json!({}));
    shop.apply(&resource);
    shop.until_served("better");
    (shop, operator, resource)
}

#[test]
fn a_breach_in_enough_readings_brings_the_predecessor_back_for_good() {
    let signals = Signals::start(Answer::Value("0.05"));
    let (shop, operator, _) = watched("breach", &signals, "10m");
    let status = shop.until("it is watched", |status| {
        status.phase == Some(Phase::Watching)
            && status.watch.as_ref().is_some_and(|it| it.signals.iter().any(|it| it.state == SignalState::Ok))
    });
    let watch = status.watch.clone().unwrap();
    assert_eq!((watch.version.as_str(), watch.established), ("better", false));
    assert_eq!(watch.signals[0].value.as_deref(), Some("0.05"));
    assert!(has(&status, "SignalsAvailable", "True", "Available"));
    // Somebody has tidied up: the prompt that a rollback goes to is in the store as well.
    shop.delete::<PromptVersion>("shop-v1");

    // Two breaches, and no evidence in between, are not three; a good reading begins anew.
    for answer in [Answer::Value("0.5"), Answer::Nothing, Answer::Value("0.05")] {
        signals.say(answer, 1);
    }
    shop.until("it counts from zero", |status| status.watch.as_ref().is_some_and(|watch| watch.breaches == 0));
    assert_eq!(shop.target().unwrap()["version"], "better");

    signals.say(Answer::Value("0.5"), 3);
    let data = shop.until_served("v1");
    assert_eq!(data["system-prompt"], fixture("prompt.md"));
    let status = shop.until("it is told", |status| {
        status.champion.as_ref().is_some_and(|it| it.version == "v1") && has(status, "Ready", "True", "Serving")
    });
    assert_eq!(status.champion.as_ref().unwrap().origin, Origin::Rollback);
    assert_eq!(
        (status.quarantine[0].version.as_str(), &status.quarantine[0].hash),
        ("better", &hash(&fixture("better.md")))
    );
    assert!(has(&status, "RolledBack", "True", "Breach"));
    assert_eq!(condition(&status, "RolledBack").unwrap().message, "better was taken back and v1 serves again");
    assert_eq!(condition(&status, "SignalsAvailable"), None);
    let told = shop.until_version("better", "RolledBack");
    assert!(told.reasons[0].contains("failed-conversations") && told.reasons[0].contains("0.5"), "{:?}", told.reasons);
    let event = shop.until_event("RolledBack");
    assert_eq!(event, format!("v1 serves again and better is quarantined: {}", told.reasons[0]));
    let rollbacks = format!(
        "whetstone_rollbacks_total{{namespace=\"{}\",optimization=\"shop\",reason=\"Breach\"}}",
        shop.namespace.name()
    );
    assert_eq!(operator.metric(&rollbacks), 1.0);

    // For good: the same prompt under another name is refused, a cycle does not bring it back.
    shop.apply_version("better-again", &fixture("better.md"), &json!({}));
    shop.until("cycles have ended", |status| status.cycles >= 2 && status.cycle.is_none());
    let told = shop.until_version("better-again", "RolledBack");
    assert_eq!(told.version.as_deref(), Some("better-again"));
    let status = shop.status();
    assert_ne!(status.champion.unwrap().hash, hash(&fixture("better.md")));
    assert_ne!(shop.target().unwrap()["prompt-hash"], hash(&fixture("better.md")));
}

#[test]
fn an_outage_of_any_kind_is_neither_a_breach_nor_a_pass() {
    let signals = Signals::start(Answer::Value("NaN"));
    let (shop, _operator, _) = watched("outage", &signals, "3s");
    let silent = |words: &str| {
        shop.until(words, |status| {
            has(status, "SignalsAvailable", "False", "NoEvidence")
                && condition(status, "SignalsAvailable").unwrap().message.contains(words)
        })
    };
    silent("NaN instead of a number");
    signals.say(Answer::Nothing, 3);
    silent("no data");
    signals.say(Answer::Error, 3);
    silent("500");
    let address = signals.end();
    let status = silent("failed-conversations: ");
    assert_eq!(status.phase, Some(Phase::Watching));
    assert_eq!(status.watch.unwrap().breaches, 0);
    assert!(has(&shop.status(), "Ready", "True", "Serving"), "what serves is right");
    let refused = shop.until("a refused connection is told", |status| {
        !condition(status, "SignalsAvailable").unwrap().message.contains("500")
    });
    let status =
        shop.until("the window is over", |status| status.watch.as_ref().unwrap().until < jiff::Timestamp::now());
    assert!(!status.watch.unwrap().established && refused.champion.unwrap().version == "better");

    // With the first good reading it is established.
    let _signals = Signals::listen(address, Answer::Value("0.05"));
    let status = shop.until_idle();
    assert_eq!(status.champion.as_ref().unwrap().version, "better");
    assert!(status.watch.as_ref().unwrap().established);
    assert_eq!(condition(&status, "SignalsAvailable"), None);
    assert!(shop.until_event("Established").starts_with("better is established"));
    assert!(shop.events().iter().all(|(reason, _)| reason != "RolledBack"));
}
