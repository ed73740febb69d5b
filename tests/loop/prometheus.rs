//! Live signals, from a real Prometheus that really scrapes.

mod server;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use whetstone::api::status::SignalState;
use whetstone::decide::watch::{Answer, Gap, Reading, RoundOutcome, judge_round, judge_signal, known_baseline};
use whetstone::domain::endpoint::AllowList;
use whetstone::models::Connections;
use whetstone::plan::SecretRef;
use whetstone::plan::watch::{CredentialPlan, Margin, PrometheusPlan, SamplesPlan, SignalPlan};
use whetstone::signals::Prometheus;

use self::server::{Exporter, Server, eventually};
use super::support::block_on;

const SCRAPE: Duration = Duration::from_millis(200);
/// The window of the mean before the promotion.
const WINDOW: Duration = Duration::from_secs(3);

fn plan(server: &Server) -> PrometheusPlan {
    PrometheusPlan {
        url: server.url().parse().unwrap(),
        credential: None,
        headers: Vec::new(),
        timeout: Duration::from_secs(5),
    }
}

/// A client as the operator has it: through connections that ask only whom the list has.
fn client(plan: &PrometheusPlan) -> Prometheus {
    let allowed = AllowList::read(["127.0.0.1"]).unwrap();
    let connections = Connections::guarded(Arc::new(allowed)).unwrap();
    let secrets = |secret: &SecretRef| Some(SecretString::from(secret.key.as_str()));
    Prometheus::new(plan, &secrets, connections.to(&plan.url).unwrap().clone()).unwrap()
}

/// A signal whose limits all refer to the mean before the promotion.
fn signal(query: &str) -> SignalPlan {
    SignalPlan {
        name: "signal".to_owned(),
        query: query.to_owned(),
        max: None,
        min: None,
        max_increase: Some(Margin::Share(0.2)),
        max_decrease: None,
        samples: None,
        definition: "d".to_owned(),
    }
}

fn read(prometheus: &Prometheus, signal: &SignalPlan, since: Timestamp) -> Reading {
    block_on(prometheus.read(signal, since, WINDOW, SCRAPE, None))
}

fn value(prometheus: &Prometheus, query: &str) -> Answer {
    let signal = SignalPlan { max: Some(1.0), max_increase: None, ..signal(query) };
    read(prometheus, &signal, Timestamp::UNIX_EPOCH).value
}

/// The time by Prometheus' own clock.
fn now(prometheus: &Prometheus) -> Timestamp {
    Timestamp::from_millisecond((value(prometheus, "time()").unwrap() * 1000.0) as i64).unwrap()
}

#[track_caller]
fn close_to(answer: Option<Answer>, expected: f64) {
    let found = answer.unwrap().unwrap();
    assert!((found - expected).abs() < 1e-9, "{found} instead of {expected}");
}

#[track_caller]
fn outage(answer: Answer) -> String {
    match answer {
        Err(Gap::Outage(message)) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_regression_is_seen_against_the_mean_before_the_promotion_and_an_outage_is_not_one() {
    let exporter = Exporter::start();
    exporter.set("agent_error_ratio", 0.1);
    exporter.set("agent_flaky_ratio", f64::NAN);
    exporter.set("agent_requests{pod=\"a\"}", 70.0);
    exporter.set("agent_requests{pod=\"b\"}", 50.0);
    exporter.set("agent_huge", f64::INFINITY);
    let mut server = Server::start(&[exporter.address()], SCRAPE);
    let prometheus = client(&plan(&server));

    // Until the first scrape every query has an empty vector for an answer, which is no value.
    eventually("the first scrape", || match value(&prometheus, "agent_error_ratio") {
        Err(Gap::NoData) => None,
        found => Some(found),
    })
    .unwrap();
    assert_eq!(value(&prometheus, "agent_error_ratio"), Ok(0.1));
    exporter.scraped(5);
    exporter.set("agent_flaky_ratio", 0.4);
    exporter.scraped(10);
    let since = now(&prometheus);
    exporter.set("agent_error_ratio", 0.3);
    eventually("the regression", || (value(&prometheus, "agent_error_ratio") == Ok(0.3)).then_some(()));

    let errors = signal("agent_error_ratio # of all requests");
    let reading = read(&prometheus, &errors, since);
    assert_eq!(reading.value, Ok(0.3));
    close_to(reading.baseline.clone(), 0.1);
    let verdict = judge_signal(&errors, &reading);
    assert_eq!(verdict.state, SignalState::Breach);
    assert_eq!(
        verdict.message,
        "signal is 0.3, 200% above its mean before the promotion (0.1), where maxIncrease allows 20%"
    );

    // A mean over moments some of which were NaN, and that of a scalar.
    close_to(read(&prometheus, &signal("agent_flaky_ratio"), since).baseline, 0.4);
    let scalar = read(&prometheus, &signal("scalar(agent_error_ratio)"), since);
    assert_eq!(scalar.value, Ok(0.3));
    close_to(scalar.baseline, 0.1);
    let early = read(&prometheus, &errors, since - Duration::from_hours(1));
    assert_eq!(early.baseline, Some(Err(Gap::NoData)), "nothing was scraped an hour ago");

    // What is no number.
    assert_eq!(value(&prometheus, "agent_requests"), Err(Gap::SeveralSeries(2)));
    assert_eq!(value(&prometheus, "sum(agent_requests)"), Ok(120.0));
    assert_eq!(value(&prometheus, "agent_absent"), Err(Gap::NoData));
    assert_eq!(value(&prometheus, "agent_error_ratio * NaN"), Err(Gap::NotANumber("NaN".to_owned())));
    assert_eq!(
        value(&prometheus, "sum(agent_requests * 0) / sum(agent_requests * 0)"),
        Err(Gap::NotANumber("NaN".to_owned()))
    );
    assert_eq!(value(&prometheus, "agent_huge"), Err(Gap::NotANumber("+Inf".to_owned())));
    assert_eq!(value(&prometheus, "-agent_huge"), Err(Gap::NotANumber("-Inf".to_owned())));
    let said = outage(value(&prometheus, "sum(agent_requests"));
    assert!(said.contains("answered 400 Bad Request: bad_data: ") && said.ends_with("; correct the query"), "{said}");
    let said = outage(value(&prometheus, "agent_requests[5m]"));
    assert!(said.contains("a range of values"), "{said}");
    let said = outage(value(&prometheus, "\"text\""));
    assert!(said.contains("a string"), "{said}");

    exporter.remove("agent_flaky_ratio");
    eventually("staleness", || (value(&prometheus, "agent_flaky_ratio") == Err(Gap::NoData)).then_some(()));

    // The traffic behind it.
    let samples = |minimum| Some(SamplesPlan { query: "sum(agent_requests)".to_owned(), minimum });
    let counted = |minimum| SignalPlan { samples: samples(minimum), ..errors.clone() };
    let reading = read(&prometheus, &counted(100.0), since);
    assert_eq!(reading.samples, Some(Ok(120.0)));
    assert_eq!(judge_signal(&counted(100.0), &reading).state, SignalState::Breach);
    assert_eq!(judge_signal(&counted(200.0), &reading).state, SignalState::NoEvidence);

    // Two readings in a row, an outage of either kind, and the third.
    let mut signals = Vec::new();
    let mut round = |prometheus: &Prometheus| {
        let known = known_baseline(&signals, &errors);
        let reading = block_on(prometheus.read(&errors, since, WINDOW, SCRAPE, known));
        let (next, round) = judge_round(&signals, &[judge_signal(&errors, &reading)], 3, since);
        signals = next;
        round
    };
    assert_eq!(round(&prometheus).outcome, RoundOutcome::Suspicious);
    assert_eq!(round(&prometheus).breaches, 2);
    server.pause();
    let impatient = client(&PrometheusPlan { timeout: Duration::from_millis(300), ..plan(&server) });
    let dark = round(&impatient);
    assert_eq!((dark.breaches, &dark.outcome), (2, &RoundOutcome::Suspicious));
    assert!(
        dark.outage.as_deref().is_some_and(|why| why.contains("no answer from ") && why.contains("within 300ms")),
        "{dark:?}"
    );
    server.resume();
    let third = round(&prometheus);
    let RoundOutcome::Breach { reasons } = &third.outcome else { panic!("{third:?}") };
    assert_eq!(
        reasons[..],
        [
            "signal is 0.3, 200% above its mean before the promotion (0.1), where maxIncrease allows 20% (3 readings in a row)"
        ]
    );

    server.stop();
    let gone = round(&prometheus);
    assert_eq!((gone.breaches, &gone.outcome), (3, &RoundOutcome::Suspicious), "an outage is never a breach");
    assert!(gone.outage.as_deref().is_some_and(|why| why.contains("Connection refused")), "{gone:?}");
}

#[test]
fn a_prometheus_behind_a_password_is_asked_with_it() {
    // bcrypt of `planted-password`.
    let web = "basic_auth_users: {us: $2b$04$abcdefghijklmnopqrstuuaalozgO24BBozvnT9Bl74og5BKuD1Fe}\n";
    let exporter = Exporter::start();
    let server = Server::start_with(&[exporter.address()], SCRAPE, Some(web));
    let with = |password: &str| {
        let password = SecretRef { name: "prometheus".to_owned(), key: password.to_owned() };
        let credential = Some(CredentialPlan::Basic { user: "us".to_owned(), password });
        value(&client(&PrometheusPlan { credential, ..plan(&server) }), "vector(1)")
    };
    assert_eq!(with("planted-password"), Ok(1.0));
    let said = outage(with("wrong"));
    assert!(said.ends_with("answered 401 Unauthorized; check key \"wrong\" of Secret \"prometheus\""), "{said}");
    let said = outage(value(&client(&plan(&server)), "vector(1)"));
    assert!(said.contains("give spec.watch.prometheus a bearerToken, basicAuth or headers"), "{said}");
}
