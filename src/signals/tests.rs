//! The client against a server on the loopback device that answers what a test wants, byte by byte.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use whetstone_domain::plan::watch::{Margin, SamplesPlan};

const TOKEN: &str = "tok-planted-0123456789";

/// Answers each request by its query: some bytes, or nothing for ever.
type Script = dyn Fn(&str) -> Option<String> + Send + Sync;

struct Server {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(script: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/prefix/", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Script> = Arc::new(script);
        let task = tokio::spawn({
            let requests = Arc::clone(&requests);
            async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let (requests, script) = (Arc::clone(&requests), Arc::clone(&script));
                    tokio::spawn(async move {
                        let mut bytes = Vec::new();
                        while query_of(&bytes).is_none() {
                            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                                return;
                            }
                        }
                        let query = query_of(&bytes).unwrap();
                        requests.lock().unwrap().push(String::from_utf8(bytes).unwrap());
                        match script(&query) {
                            Some(reply) => {
                                let _ = stream.write_all(reply.as_bytes()).await;
                                let _ = stream.shutdown().await;
                            }
                            None => std::future::pending().await,
                        }
                    });
                }
            }
        });
        Self { url, requests, task }
    }

    /// A server that answers everything so.
    async fn saying(reply: impl Into<String>) -> Self {
        let reply = reply.into();
        Self::start(move |_| Some(reply.clone())).await
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn plan(&self) -> PrometheusPlan {
        PrometheusPlan {
            url: self.url.parse().unwrap(),
            credential: Some(CredentialPlan::Bearer(secret("token"))),
            headers: Vec::new(),
            timeout: Duration::from_millis(500),
        }
    }

    fn client(&self) -> Prometheus {
        client(&self.plan())
    }
}

/// The query of a request, once it is there as a whole.
fn query_of(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse().unwrap();
    if body.len() < length {
        return None;
    }
    url::form_urlencoded::parse(body.as_bytes()).find(|(name, _)| name == "query").map(|(_, query)| query.into_owned())
}

fn secret(key: &str) -> SecretRef {
    SecretRef { name: "prometheus".to_owned(), key: key.to_owned() }
}

fn client(plan: &PrometheusPlan) -> Prometheus {
    let secrets = |_: &SecretRef| Some(SecretString::from(format!("{TOKEN}\n")));
    Prometheus::new(plan, &secrets, http()).unwrap()
}

fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

fn signal(query: &str) -> SignalPlan {
    SignalPlan {
        name: query.to_owned(),
        query: query.to_owned(),
        max: Some(1.0),
        min: None,
        max_increase: None,
        max_decrease: None,
        samples: None,
        definition: String::new(),
    }
}

fn reply(status: &str, kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn json(status: &str, body: &str) -> String {
    reply(status, "application/json", body)
}

fn number(number: f64) -> String {
    json(
        "200 OK",
        &format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[1,"{number}"]}}]}}}}"#
        ),
    )
}

const SINCE: Timestamp = Timestamp::UNIX_EPOCH;
const WINDOW: Duration = Duration::from_hours(1);
const INTERVAL: Duration = Duration::from_secs(30);

async fn read(prometheus: &Prometheus, signal: &SignalPlan) -> Reading {
    prometheus.read(signal, SINCE, WINDOW, INTERVAL, None).await
}

/// The message for an answer that is not one. The port differs from run to run.
async fn outage(server: &Server) -> String {
    match read(&server.client(), &signal("up")).await.value {
        Err(Gap::Outage(message)) => {
            assert!(!message.contains(TOKEN), "{message}");
            message.replace(server.url.trim_end_matches("/prefix/"), "http://prometheus")
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_query_is_posted_with_the_credential_and_nothing_else() {
    let server = Server::saying(number(0.5)).await;
    let mut plan = server.plan();
    plan.headers = vec![
        ("X-Scope-OrgID".to_owned(), HeaderPlan::Value("team-a".to_owned())),
        ("X-Key".to_owned(), HeaderPlan::Secret(secret("key"))),
    ];
    let reading = read(&client(&plan), &signal("sum(a)")).await;
    assert_eq!(reading, Reading { value: Ok(0.5), samples: None, baseline: None });
    let requests = server.requests();
    let request = requests[0].to_ascii_lowercase();
    assert_eq!(requests.len(), 1);
    assert!(request.starts_with("post /prefix/api/v1/query http/1.1\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\nquery=sum%28a%29"), "{request}");
    for line in [
        format!("authorization: bearer {TOKEN}\r\n"),
        format!("x-key: {TOKEN}\r\n"),
        "x-scope-orgid: team-a\r\n".to_owned(),
        "content-type: application/x-www-form-urlencoded\r\n".to_owned(),
    ] {
        assert!(request.contains(&line), "{line:?}: {request}");
    }
}

#[tokio::test]
async fn user_and_password_are_sent_as_http_wants_them() {
    let server = Server::saying(number(0.5)).await;
    let credential = CredentialPlan::Basic { user: "us".to_owned(), password: secret("password") };
    read(&client(&PrometheusPlan { credential: Some(credential), ..server.plan() }), &signal("up")).await;
    let expected = format!("authorization: Basic {}\r\n", BASE64_STANDARD.encode(format!("us:{TOKEN}")));
    assert!(server.requests()[0].contains(&expected), "{:?}", server.requests());
}

#[tokio::test]
async fn value_samples_and_mean_come_from_queries_of_their_own() {
    let server = Server::start(|query| {
        Some(match query {
            "errors" => number(0.2),
            "traffic" => number(120.0),
            mean if mean.starts_with("avg_over_time") => number(0.1),
            other => panic!("{other}"),
        })
    })
    .await;
    let samples = Some(SamplesPlan { query: "traffic".to_owned(), minimum: 1.0 });
    let signal = SignalPlan { max_increase: Some(Margin::Share(0.1)), samples, ..signal("errors") };
    let reading = read(&server.client(), &signal).await;
    assert_eq!(reading, Reading { value: Ok(0.2), samples: Some(Ok(120.0)), baseline: Some(Ok(0.1)) });
    let asked = server.requests();
    let mean = asked.iter().find(|request| request.contains("avg_over_time")).unwrap();
    assert!(mean.ends_with("&time=0.000"), "{mean}");

    let known = server.client().read(&signal, SINCE, WINDOW, INTERVAL, Some(0.15)).await;
    assert_eq!(known.baseline, Some(Ok(0.15)));
    assert_eq!(server.requests().len(), asked.len() + 2, "what is known is not asked for again");
}

#[test]
fn the_mean_leaves_out_what_is_no_number_and_has_a_bounded_number_of_points() {
    let query = |is_scalar, window| mean_over("a / b # c", is_scalar, window, INTERVAL);
    assert_eq!(query(false, WINDOW), "avg_over_time((((\na / b # c\n)) > -Inf < Inf)[3600000ms:30000ms])");
    assert_eq!(query(true, WINDOW), "avg_over_time(((vector(\na / b # c\n)) > -Inf < Inf)[3600000ms:30000ms])");
    assert!(query(false, WINDOW * 100).ends_with("[360000000ms:360000ms])"));
}

#[tokio::test]
async fn a_query_that_fails_is_no_matter_to_the_others() {
    let server = Server::start(|query| match query {
        "silent" => None,
        "wrong" => Some(json("400 Bad Request", r#"{"status":"error","errorType":"bad_data","error":"no"}"#)),
        _ => Some(number(0.5)),
    })
    .await;
    let signals = ["silent", "good", "wrong", "fine"].map(signal).to_vec();
    let plan =
        WatchPlan { window: WINDOW, interval: INTERVAL, breaches: 3, prometheus: None, signals, reevaluation: None };
    let began = tokio::time::Instant::now();
    let readings = server.client().read_all(&plan, SINCE, |_| None).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let values: Vec<Option<f64>> = readings.iter().map(|reading| reading.value.as_ref().ok().copied()).collect();
    assert_eq!(values, [None, Some(0.5), None, Some(0.5)]);
}

#[tokio::test]
async fn an_error_is_told_in_prometheus_own_words_with_a_remedy() {
    let error = |status: &str, kind: &str, words: &str| {
        json(status, &format!(r#"{{"status":"error","errorType":"{kind}","error":"{words}"}}"#))
    };
    let server =
        Server::saying(error("400 Bad Request", "bad_data", "1:4: parse error: unexpected end of input")).await;
    insta::assert_snapshot!(outage(&server).await, @"http://prometheus/prefix/api/v1/query answered 400 Bad Request: bad_data: 1:4: parse error: unexpected end of input; correct the query");
    let server = Server::saying(error("503 Service Unavailable", "timeout", "query timed out")).await;
    insta::assert_snapshot!(outage(&server).await, @"http://prometheus/prefix/api/v1/query answered 503 Service Unavailable: timeout: query timed out; make the query cheaper, or give Prometheus more time");
    let long = format!("token {TOKEN} \\u001b[31m{}", "x".repeat(400));
    let said = outage(&Server::saying(error("422 Unprocessable Entity", "execution", &long)).await).await;
    assert!(said.contains("execution: token [secret] [31mxxx") && said.ends_with("x…; correct the query"), "{said}");
    assert!(said.chars().count() < 450, "{said}");
}

#[tokio::test]
async fn a_refusal_names_the_place_of_the_credential() {
    for status in ["401 Unauthorized", "403 Forbidden"] {
        let server = Server::saying(reply(status, "text/plain", "no")).await;
        let said = outage(&server).await;
        assert_eq!(
            said,
            format!(
                "http://prometheus/prefix/api/v1/query answered {status}; check key \"token\" of Secret \"prometheus\""
            )
        );
        let reading = read(&client(&PrometheusPlan { credential: None, ..server.plan() }), &signal("up")).await;
        let Err(Gap::Outage(said)) = reading.value else { panic!("{reading:?}") };
        assert!(said.ends_with("; give spec.watch.prometheus a bearerToken, basicAuth or headers"), "{said}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = Server::saying(number(0.5)).await;
    let moved = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: {}?state=hidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        target.url
    );
    let said = outage(&Server::saying(moved).await).await;
    assert!(
        said.starts_with("http://prometheus/prefix/api/v1/query answered 307 Temporary Redirect and redirects to ")
    );
    assert!(said.contains(&target.url) && !said.contains("hidden"), "{said}");
    assert_eq!(target.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_not_prometheus_is_told_without_showing_what_it_says() {
    let page = "<html><title>Intranet</title></html>";
    let server = Server::saying(reply("200 OK", "text/html; charset=utf-8", page)).await;
    insta::assert_snapshot!(outage(&server).await, @"http://prometheus/prefix/api/v1/query answered 200 OK, but not with the JSON of the Prometheus API (text/html; charset=utf-8); check spec.watch.prometheus.url");
    let server = Server::saying(reply("502 Bad Gateway", "text/html", page)).await;
    insta::assert_snapshot!(outage(&server).await, @"http://prometheus/prefix/api/v1/query answered 502 Bad Gateway; check its logs");
    let server = Server::saying(reply("404 Not Found", "text/plain", "404 page not found")).await;
    insta::assert_snapshot!(outage(&server).await, @"http://prometheus/prefix/api/v1/query answered 404 Not Found; check spec.watch.prometheus.url");
    let success = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
    let server = Server::saying(json("500 Internal Server Error", success)).await;
    assert!(outage(&server).await.contains("answered 500"));
    let text = r#"{"status":"success","data":{"resultType":"string","result":[1,"x"]}}"#;
    insta::assert_snapshot!(outage(&Server::saying(json("200 OK", text)).await).await, @"unsuitable query: it returns a string; write a query that returns a number");
}

#[tokio::test]
async fn an_answer_without_an_end_is_given_up() {
    let huge = format!(r#"{{"status":"success","padding":"{}"}}"#, "x".repeat(2 << 20));
    insta::assert_snapshot!(outage(&Server::saying(json("200 OK", &huge)).await).await, @"http://prometheus/prefix/api/v1/query answered 200 OK, but the answer is longer than 1 MiB; write a query that returns a single series");
    let cut = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"status\":";
    let said = outage(&Server::saying(cut).await).await;
    assert!(said.contains("the answer was cut short"), "{said}");
    let said = outage(&Server::saying("").await).await;
    assert!(said.starts_with("cannot reach http://prometheus/prefix/api/v1/query: "), "{said}");
}

#[tokio::test]
async fn silence_and_nobody_at_all_are_outages() {
    insta::assert_snapshot!(outage(&Server::start(|_| None).await).await, @"no answer from http://prometheus/prefix/api/v1/query within 500ms; raise spec.watch.prometheus.timeout, or make the query cheaper");
    let server = Server::saying("").await;
    let plan = PrometheusPlan { url: "http://127.0.0.1:1/".parse().unwrap(), ..server.plan() };
    let reading = read(&client(&plan), &signal("up")).await;
    let Err(Gap::Outage(said)) = reading.value else { panic!("{reading:?}") };
    assert!(said.contains("Connection refused") && said.contains("check that it is running"), "{said}");
}

#[test]
fn secrets_that_are_missing_or_cannot_be_sent_are_told_at_once() {
    let plan = PrometheusPlan {
        url: "http://prometheus/".parse().unwrap(),
        credential: Some(CredentialPlan::Bearer(secret("absent"))),
        headers: vec![
            ("X-A".to_owned(), HeaderPlan::Secret(secret("empty"))),
            ("X-B".to_owned(), HeaderPlan::Secret(secret("broken"))),
        ],
        timeout: Duration::from_secs(1),
    };
    let secrets = |secret: &SecretRef| match secret.key.as_str() {
        "empty" => Some(SecretString::from(" \n")),
        "broken" => Some(SecretString::from("tok\nplanted")),
        _ => None,
    };
    let error = Prometheus::new(&plan, &secrets, http()).unwrap_err();
    insta::assert_snapshot!(error, @r#"spec.watch.prometheus: key "absent" of Secret "prometheus" is missing or empty; add it; spec.watch.prometheus: key "empty" of Secret "prometheus" is missing or empty; add it; spec.watch.prometheus: key "broken" of Secret "prometheus" contains characters that are not allowed in a header; correct it"#);
}

#[tokio::test]
async fn no_form_of_printing_shows_a_secret() {
    let server = Server::saying(number(0.5)).await;
    let prometheus = server.client();
    assert!(!format!("{prometheus:?} {:?} {:?}", prometheus.headers, prometheus.secrets).contains(TOKEN));
}
