//! Tests the client against a server on the loopback device that sends exactly what a test defines.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use secrecy::SecretString;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

mod answers;
mod hostile;
mod settings;

use super::*;
use whetstone_domain::call::{Finish, ModelIdentity, Parameters, Temperature};
use whetstone_domain::plan::model::{StructuredOutput, SystemRole, TokenLimit};
use whetstone_domain::plan::{HeaderPlan, LimitsPlan, Provider, SecretRef};

/// The server's reply to a request.
enum Reply {
    /// Writes these bytes and closes the connection.
    Bytes(String),
    /// Closes the connection without a reply.
    HangUp,
    /// Keeps the connection open without a reply.
    Silence,
}

fn reply(status: &str, headers: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::Bytes(format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    ))
}

fn ok(body: &serde_json::Value) -> Reply {
    reply("200 OK", "", &body.to_string())
}

fn error(status: &str, message: &str) -> Reply {
    reply(status, "", &json!({"error": {"message": message}}).to_string())
}

fn completion() -> serde_json::Value {
    json!({
        "choices": [{"message": {"role": "assistant", "content": "on its way"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 3},
    })
}

struct Server {
    base: String,
    requests: Arc<Mutex<Vec<(Instant, String)>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Sends the replies in this order, and then valid answers.
    async fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/v1", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let replies = Arc::new(Mutex::new(VecDeque::from(replies)));
        let task = tokio::spawn({
            let requests = requests.clone();
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    tokio::spawn(serve(stream, requests.clone(), replies.clone()));
                }
            }
        });
        Self { base, requests, task }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|(_, request)| request.clone()).collect()
    }

    fn times(&self) -> Vec<Instant> {
        self.requests.lock().unwrap().iter().map(|(at, _)| *at).collect()
    }
}

async fn serve(
    mut stream: TcpStream,
    requests: Arc<Mutex<Vec<(Instant, String)>>>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
) {
    let mut bytes = Vec::new();
    while !is_whole(&String::from_utf8_lossy(&bytes)) {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    }
    requests.lock().unwrap().push((Instant::now(), String::from_utf8(bytes).unwrap()));
    let reply = replies.lock().unwrap().pop_front().unwrap_or_else(|| ok(&completion()));
    match reply {
        Reply::Bytes(bytes) => {
            stream.write_all(bytes.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
        Reply::HangUp => {}
        Reply::Silence => std::future::pending().await,
    }
}

fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    body.len() >= length
}

const KEY: &str = "sk-planted-0123456789";

fn plan(base: &str) -> ModelPlan {
    ModelPlan {
        redirect: None,
        identity: ModelIdentity {
            provider: "openai".to_owned(),
            endpoint: base.to_owned(),
            model: "gpt-4o-mini".to_owned(),
        },
        provider: Provider::OpenAi,
        key: Some(KeyPlan { env: Some("OPENAI_API_KEY".to_owned()), secret: None, required: true }),
        seed: true,
        structured: StructuredOutput::Auto,
        token_limit: TokenLimit::Auto,
        system_role: SystemRole::System,
        headers: Vec::new(),
        price: None,
        limits: LimitsPlan {
            concurrency: None,
            requests_per_minute: None,
            tokens_per_minute: None,
            timeout: Duration::from_mins(1),
            attempts: 3,
        },
    }
}

fn anthropic(base: &str) -> ModelPlan {
    ModelPlan {
        provider: Provider::Anthropic,
        key: Some(KeyPlan { env: Some("ANTHROPIC_API_KEY".to_owned()), secret: None, required: true }),
        ..plan(base)
    }
}

fn client(plan: ModelPlan) -> Client {
    let retry = RetryPolicy {
        first_wait: Duration::from_millis(1),
        longest_wait: Duration::from_millis(2),
        ..RetryPolicy::default()
    };
    let models = BTreeMap::from([("worker".into(), plan)]);
    let find_key = |_: &ModelName, _: &KeyPlan| Some(SecretString::from(KEY));
    Client::new(&models, &find_key, Options { retry, ..Options::default() }).unwrap()
}

async fn ask(client: &Client) -> Result<ChatAnswer, CallError> {
    client.chat(&"worker".into(), &samples::question(), &CallTime::default()).await
}

/// The result of one call if the server sends these replies, and the number of requests.
async fn outcome(replies: Vec<Reply>) -> (Result<ChatAnswer, CallError>, usize) {
    let server = Server::start(replies).await;
    let outcome = ask(&client(plan(&server.base))).await;
    (outcome, server.requests().len())
}

/// The error of a call if the server sends this reply to every attempt.
async fn error_after(reply: impl Fn() -> Reply) -> CallError {
    let (outcome, requests) = outcome((0..3).map(|_| reply()).collect()).await;
    let error = outcome.expect_err("the call must fail");
    assert_eq!(error.attempts as usize, requests);
    error
}

/// The result if the server's first reply is this body, and the number of requests.
async fn answer_to(body: &serde_json::Value) -> (ChatAnswer, usize) {
    let (outcome, requests) = outcome(vec![ok(body)]).await;
    (outcome.expect("it is an answer"), requests)
}

#[tokio::test]
async fn a_wrong_key_stops_at_once_and_names_the_variable() {
    for status in ["401 Unauthorized", "403 Forbidden"] {
        let error = error_after(|| error(status, "Incorrect API key provided")).await;
        assert_eq!((error.kind, error.attempts), (CallErrorKind::Unauthorized, 1));
        assert!(error.message.contains("Incorrect API key provided; check the key in OPENAI_API_KEY"), "{error}");
    }
}

#[tokio::test]
async fn a_refused_request_is_not_repeated() {
    for status in ["400 Bad Request", "404 Not Found", "422 Unprocessable Entity", "307 Temporary Redirect"] {
        let error = error_after(|| error(status, "no")).await;
        assert_eq!((error.kind, error.attempts), (CallErrorKind::Refused, 1), "{status}");
        assert!(error.message.contains(status), "{error}");
    }
}

#[tokio::test]
async fn an_account_without_credit_is_not_asked_again() {
    let body = json!({"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}});
    let error = error_after(|| reply("429 Too Many Requests", "", &body.to_string())).await;
    assert_eq!((error.kind, error.attempts), (CallErrorKind::Refused, 1));
    assert!(error.message.ends_with("the account has no credit left: top it up"), "{error}");
}

#[tokio::test]
async fn a_passing_failure_is_overcome() {
    let replies = vec![error("500 Internal Server Error", "oops"), Reply::HangUp];
    let (answer, requests) = outcome(replies).await;
    assert_eq!((answer.unwrap().text.as_str(), requests), ("on its way", 3));
}

#[tokio::test]
async fn a_lasting_failure_says_what_happened_and_how_often() {
    for (status, kind) in [
        ("429 Too Many Requests", CallErrorKind::RateLimited),
        ("500 Internal Server Error", CallErrorKind::Server),
        ("503 Service Unavailable", CallErrorKind::Server),
        ("529 ", CallErrorKind::Server),
        ("408 Request Timeout", CallErrorKind::Timeout),
    ] {
        let error = error_after(|| error(status, "not now")).await;
        assert_eq!((error.kind, error.attempts), (kind, 3), "{status}");
        assert!(error.message.contains(&status[..3]) && error.message.contains(": not now; "), "{error}");
    }
}

#[tokio::test]
async fn a_connection_that_is_closed_or_refused_is_named() {
    let error = error_after(|| Reply::HangUp).await;
    assert_eq!((error.kind, error.attempts), (CallErrorKind::Connection, 3));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let error = ask(&client(plan(&nobody))).await.unwrap_err();
    assert_eq!((error.kind, error.attempts), (CallErrorKind::Connection, 3));
    assert!(error.message.contains(&nobody) && error.message.contains("refused"), "{error}");
}

#[tokio::test]
async fn a_provider_that_says_nothing_runs_into_the_time_out_of_each_attempt() {
    let server = Server::start((0..3).map(|_| Reply::Silence).collect()).await;
    let mut plan = plan(&server.base);
    plan.limits.timeout = Duration::from_millis(20);
    let error = ask(&client(plan)).await.unwrap_err();
    assert_eq!((error.kind, error.attempts), (CallErrorKind::Timeout, 3));
    assert!(error.message.contains("within 20ms; raise limits.timeout"), "{error}");
}

#[tokio::test]
async fn after_a_429_everybody_waits_as_long_as_the_provider_asks() {
    let busy = || reply("429 Too Many Requests", "retry-after-ms: 150\r\n", "{}");
    let server = Server::start(vec![busy()]).await;
    let mut plan = plan(&server.base);
    plan.limits.concurrency = Some(1);
    let client = client(plan);
    let (first, second, third) = tokio::join!(ask(&client), ask(&client), ask(&client));
    assert!(first.is_ok() && second.is_ok() && third.is_ok());
    let times = server.times();
    assert_eq!(times.len(), 4, "only one call found out that the provider is busy");
    assert!(times[1] - times[0] >= Duration::from_millis(150), "{:?}", times[1] - times[0]);
}

#[tokio::test]
async fn waiting_for_a_slot_is_not_on_the_time_of_the_attempt() {
    let busy = reply("429 Too Many Requests", "retry-after-ms: 120\r\n", "{}");
    let server = Server::start(vec![busy]).await;
    let mut plan = plan(&server.base);
    plan.limits.concurrency = Some(1);
    plan.limits.timeout = Duration::from_millis(100);
    plan.limits.attempts = 2;
    let client = client(plan);
    let (first, second) = tokio::join!(ask(&client), ask(&client));
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
}

#[tokio::test]
async fn a_provider_that_asks_to_wait_for_an_hour_is_given_up_and_holds_nobody_up() {
    let server = Server::start(vec![reply("429 Too Many Requests", "retry-after: 3600\r\n", "{}")]).await;
    let client = client(plan(&server.base));
    let error = ask(&client).await.unwrap_err();
    assert_eq!((error.kind, error.attempts), (CallErrorKind::RateLimited, 1));
    assert!(error.message.ends_with("it asks to wait 1h, too long"), "{error}");
    assert!(ask(&client).await.is_ok());
}

#[tokio::test]
async fn a_dropped_call_frees_its_slot() {
    let server = Server::start(vec![Reply::Silence]).await;
    let mut plan = plan(&server.base);
    plan.limits.concurrency = Some(1);
    let client = client(plan);
    let mut first = Box::pin(ask(&client));
    while server.requests().is_empty() {
        tokio::select! {
            _ = &mut first => panic!("nobody has answered"),
            () = tokio::task::yield_now() => {}
        }
    }
    drop(first);
    assert!(ask(&client).await.is_ok());
}

#[tokio::test]
async fn no_error_and_no_debug_output_has_the_key_or_the_request_in_it() {
    let echo = |status: &str| {
        let said = format!("key {KEY} may not ask \u{1b}[31m{}", "x".repeat(1_000));
        reply(status, "", &json!({"error": {"message": said}, "request": "where is my order?"}).to_string())
    };
    let statuses = [
        "200 OK",
        "302 Found",
        "400 Bad Request",
        "401 Unauthorized",
        "429 Too Many Requests",
        "500 Internal Server Error",
    ];
    let mut printed = Vec::new();
    for status in statuses {
        let error = error_after(|| echo(status)).await;
        printed.push(format!("{error} {error:?}"));
    }
    let body = format!("key {KEY}: where is my order?");
    let prose = error_after(|| reply("200 OK", &format!("location: http://{KEY}/\r\n"), &body)).await;
    assert!(!format!("{prose:?}").contains(KEY));
    for plan in [plan("http://127.0.0.1:9/v1"), anthropic("http://127.0.0.1:9")] {
        printed.push(format!("{:?}", client(plan)));
    }
    for text in printed {
        assert!(!text.contains(KEY), "{text}");
        assert!(!text.contains("where is my order"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(text.len() < 3_000, "{text}");
    }
}

#[test]
fn every_missing_key_is_named_at_once() {
    let required = |env: Option<&str>, secret: Option<(&str, &str)>| ModelPlan {
        key: Some(KeyPlan {
            env: env.map(str::to_owned),
            secret: secret.map(|(name, key)| SecretRef { name: name.to_owned(), key: key.to_owned() }),
            required: true,
        }),
        ..plan("https://api.openai.com/v1")
    };
    let optional =
        ModelPlan { key: Some(KeyPlan { env: None, secret: None, required: false }), ..plan("http://vllm/v1") };
    let models = BTreeMap::from([
        ("judge".into(), required(Some("JUDGE_KEY"), Some(("llm", "judge")))),
        ("local".into(), optional),
        ("patch".into(), required(None, Some(("llm", "patch")))),
        ("worker".into(), required(Some("OPENAI_API_KEY"), None)),
    ]);
    let blank = |_: &ModelName, _: &KeyPlan| Some(SecretString::from(" \n"));
    let error = Client::new(&models, &blank, Options::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "model \"judge\" needs a key: set JUDGE_KEY (in a cluster: key \"judge\" of Secret \"llm\"); \
         model \"patch\" needs a key: set key \"patch\" of Secret \"llm\"; \
         model \"worker\" needs a key: set OPENAI_API_KEY"
    );
}

#[test]
fn a_key_with_a_line_end_works_and_one_with_a_line_break_in_it_is_refused_unseen() {
    let models = BTreeMap::from([("worker".into(), plan("https://api.openai.com/v1"))]);
    let with = |key: &'static str| {
        Client::new(&models, &move |_, _| Some(SecretString::from(key)), Options::default()).map(drop)
    };
    assert!(with("sk-1\n").is_ok());
    let error = with("sk-1\nsk-2").unwrap_err().to_string();
    assert!(error.contains("check OPENAI_API_KEY") && !error.contains("sk-"), "{error}");
}

#[test]
fn a_base_url_that_is_none_is_named() {
    for url in ["", "localhost:8000/v1", "ftp://host/v1"] {
        let models = BTreeMap::from([("worker".into(), plan(url))]);
        let error = Client::new(&models, &|_, _| Some(SecretString::from("k")), Options::default()).unwrap_err();
        assert!(matches!(error, SetupError::BaseUrl { .. }), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_guarded_client_asks_only_whom_the_operator_lists() {
    let server = Server::start(vec![]).await;
    let port = server.base.trim_end_matches("/v1").rsplit(':').next().unwrap().to_owned();
    let guarded = |entries: &[&str], base: &str| {
        let connections = Connections::guarded(Arc::new(AllowList::read(entries).unwrap())).unwrap();
        let models = BTreeMap::from([("worker".into(), plan(base))]);
        let find_key = |_: &ModelName, _: &KeyPlan| Some(SecretString::from(KEY));
        Client::new(&models, &find_key, Options { connections: Some(connections), ..Options::default() })
    };
    let here = format!("127.0.0.1:{port}");
    assert_eq!(ask(&guarded(&[&here], &server.base).unwrap()).await.unwrap().text, "on its way");
    let by_name = format!("http://localhost:{port}/v1");
    assert_eq!(ask(&guarded(&["localhost"], &by_name).unwrap()).await.unwrap().text, "on its way");
    for (entries, base) in [(vec!["*"], server.base.as_str()), (vec![], "http://llm.example/v1")] {
        let error = guarded(&entries, base).unwrap_err();
        assert!(matches!(error, SetupError::Forbidden { .. }), "{error}");
    }
    let error = guarded(&["*"], "http://169.254.169.254/v1").unwrap_err().to_string();
    assert!(error.contains("model \"worker\": host 169.254.169.254 is link-local"), "{error}");
}

#[tokio::test]
async fn a_guarded_client_does_not_follow_a_name_to_where_no_name_may_lead() {
    let server = Server::start(vec![]).await;
    let port = server.base.trim_end_matches("/v1").rsplit(':').next().unwrap().to_owned();
    let connections = Connections::guarded(Arc::new(AllowList::read(["*"]).unwrap())).unwrap();
    // As if the name had resolved to an allowed address first, and were then redirected to this machine.
    let error = connections.near.get(format!("http://localhost:{port}/")).send().await.unwrap_err();
    let told = format!("{error:?}");
    assert!(told.contains("Loopback") && server.requests().is_empty(), "{told}");
}
