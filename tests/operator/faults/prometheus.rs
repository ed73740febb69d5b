//! A Prometheus that is out of reach, or answers what is no evidence; and one that shows a breach.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::RngExt as _;
use serde_json::{Value, json};

use super::super::cluster::eventually;
use super::stage::{DEADLINE, MAX_CYCLES};
use super::table::Row;
use super::{Course, shared};

const INTERVAL: Duration = Duration::from_secs(2);

/// What it answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Value(f64),
    NotANumber,
    Infinite,
    NoData,
    Garbage,
    Error,
    HangsUp,
    Silent,
}

const FAULTY: [Mood; 7] =
    [Mood::NotANumber, Mood::NoData, Mood::Garbage, Mood::Error, Mood::HangsUp, Mood::Silent, Mood::Infinite];

/// A Prometheus of a few lines.
struct Prometheus {
    address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
}

impl Prometheus {
    fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mood = Arc::new(Mutex::new(mood));
        let answering = Arc::clone(&mood);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let mood = *answering.lock().unwrap();
                std::thread::spawn(move || answer(connection, mood));
            }
        });
        Self { address, mood }
    }

    fn is(&self, mood: Mood) -> Instant {
        *self.mood.lock().unwrap() = mood;
        Instant::now()
    }
}

fn answer(mut connection: TcpStream, mood: Mood) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    // The whole request: head and, if it has one, body.
    while let Ok(read @ 1..) = connection.read(&mut buffer) {
        request.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&request).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
        if body.len() >= length.unwrap_or(0) {
            break;
        }
    }
    let value = |text: &str| {
        json!({"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [0, text]}]}})
            .to_string()
    };
    let (status, body) = match mood {
        Mood::Value(number) => (200, value(&number.to_string())),
        Mood::NotANumber => (200, value("NaN")),
        Mood::Infinite => (200, value("+Inf")),
        Mood::NoData => (200, json!({"status": "success", "data": {"resultType": "vector", "result": []}}).to_string()),
        Mood::Garbage => (200, "<html>502 Bad Gateway 0.99 {\"status\": \"succ".to_owned()),
        Mood::Error => {
            (503, json!({"status": "error", "errorType": "timeout", "error": "query timed out"}).to_string())
        }
        Mood::HangsUp => return,
        Mood::Silent => {
            std::thread::sleep(Duration::from_mins(1));
            return;
        }
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let _ = connection.write_all(format!("{head}{body}").as_bytes());
}

/// Prometheus is down or talks nonsense: nothing is taken back and nothing is established. A breach is acted on all the same as soon as
/// it is seen, and a version that is found within its limits is established.
pub(super) fn lie_to_the_watch(moments: usize) -> Row {
    let mut course = Course::begin(shared(), 2, &["only"]);
    let prometheus = Prometheus::start(Mood::HangsUp);
    let watch = |window: &str| {
        json!({"watch": {
            "window": window,
            "interval": format!("{}s", INTERVAL.as_secs()),
            "breaches": 1,
            "prometheus": {"url": format!("http://{}", prometheus.address)},
            "signals": [{"name": "errors", "query": "errors", "max": 0.5}],
        }})
    };
    // The window is over long before the faults are: what is not known to be good is not established.
    let shops: Vec<usize> = (0..MAX_CYCLES).map(|_| course.stage.open_shop(&watch("4s"))).collect();
    for number in &shops {
        course.stage.shops[*number].goes_back = true;
    }
    let champion = |course: &Course, number: usize| {
        let state = course.stage.state(number).unwrap_or_default();
        (text(&state, "/status/champion/version"), text(&state, "/status/phase"))
    };
    let watched: Vec<usize> = eventually("every shop has come out of its cycle", DEADLINE, || {
        let out = |number: &usize| matches!(champion(&course, *number).1.as_str(), "Watching" | "Idle");
        shops
            .iter()
            .all(out)
            .then(|| shops.iter().copied().filter(|it| champion(&course, *it).1 == "Watching").collect())
    });
    assert!(!watched.is_empty(), "nothing was promoted");
    std::thread::sleep(Duration::from_secs(4));
    for moment in 0..moments {
        prometheus.is(FAULTY[moment % FAULTY.len()]);
        let wait = INTERVAL + Duration::from_millis(course.stage.random.random_range(0..2000));
        std::thread::sleep(wait);
        course.moments += 1;
        course.under_way += watched.len();
        for number in &watched {
            let (version, phase) = champion(&course, *number);
            if version != "v2" || phase != "Watching" {
                course.violations.push(format!(
                    "{} is {phase} with {version} while Prometheus is {:?}",
                    course.stage.shops[*number].name,
                    FAULTY[moment % FAULTY.len()]
                ));
            }
            let state = course.stage.state(*number).unwrap_or_default();
            let conditions = state["status"]["conditions"].as_array().cloned().unwrap_or_default();
            if !conditions.iter().any(|it| it["type"] == "SignalsAvailable" && it["status"] == "False") {
                course
                    .violations
                    .push(format!("{} does not say that its signals are silent", course.stage.shops[*number].name));
            }
        }
    }
    let breached = prometheus.is(Mood::Value(0.9));
    let mut slowest = Duration::ZERO;
    for number in &watched {
        let shop = &course.stage.shops[*number];
        let (namespace, target) = (shop.namespace.clone(), format!("{}-live", shop.name));
        let restored = eventually("the predecessor is back in the ConfigMap", DEADLINE, || {
            let seen = course.stage.record.newest("ConfigMap", &namespace, &target)?;
            (seen.text("/data/version") == "v1").then_some(seen.at)
        });
        course.recoveries.push(restored - breached);
        slowest = slowest.max(restored - breached);
    }
    let allowed = INTERVAL + Duration::from_secs(1) + Duration::from_secs(10);
    if slowest > allowed {
        course.violations.push(format!("it took {slowest:?} from breach to rollback"));
    }
    // What is good is established.
    prometheus.is(Mood::Value(0.1));
    for _ in 0..2 {
        course.stage.open_shop(&watch("4s"));
    }
    course.conclude(
        "Prometheus down, silent, answering NaN, infinity, nothing, an error or garbage",
        format!(
            "then a breach: predecessor in the ConfigMap after the time given (a reading every {} s)",
            INTERVAL.as_secs()
        ),
    )
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("").to_owned()
}
