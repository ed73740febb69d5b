//! The server: accepts requests over HTTP, injects faults, and counts its answers.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use futures::stream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::counts::{Counts, Event, Tally};
use super::dice::Dice;
use super::live::Conversations;
use super::mishaps::{Attempts, Mishap};
use super::request::{Chat, Refusal, Reply, tokens};
use super::responses::{
    Protocol, Ready, error, hang_up, json, malformed, rate_limited, respond, server_error, truncated,
};
use super::world::World;
use super::{anthropic, cast, embeddings, openai};

/// The maximum size of a request body. Transcripts and prompts are far smaller.
const BODY_LIMIT: usize = 64 << 20;

/// The number of system prompts in the cache of what they teach.
const PROMPTS: usize = 4096;

/// A running simulator. Stops when it is shut down or dropped.
pub struct Server {
    address: SocketAddr,
    simulator: Arc<Simulator>,
    stop: CancellationToken,
}

impl Server {
    /// Starts serving a world. Port 0 selects a free port. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn start(world: World, address: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(listener)?.tap_io(|connection| {
            // Otherwise every answer waits for the acknowledgment of the previous one. A closed connection is noticed later.
            drop(connection.set_nodelay(true));
        });
        let simulator = Arc::new(Simulator::new(world));
        let router = router(Arc::clone(&simulator));
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                served = async { axum::serve(listener, router).await } => {
                    if let Err(error) = served {
                        tracing::error!(%error, "the simulator stopped serving");
                    }
                }
            }
        });
        Ok(Self { address, simulator, stop })
    }

    /// The base URL for OpenAI clients: `http://ADDRESS/v1`. That for Anthropic clients has no `/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.simulator.tally.read()
    }

    /// Simulates the customers of `traffic` and an agent that serves the prompt in a file, which is read for each of them.
    /// `GET /metrics` has the counts. Does nothing in a world without traffic.
    pub fn go_live(&self, prompt: PathBuf) {
        let (simulator, stop) = (Arc::clone(&self.simulator), self.stop.clone());
        tokio::spawn(async move {
            if let Some(traffic) = &simulator.world.traffic {
                simulator.conversations.serve(&simulator.world, traffic, prompt, stop).await;
            }
        });
    }

    /// Stops accepting connections.
    pub fn shutdown(self) {
        self.stop.cancel();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn router(simulator: Arc<Simulator>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat_completions))
        .route("/v1/messages", post(messages))
        .route("/v1/embeddings", post(embed))
        .route("/v1/models", get(models))
        .route("/v1/models/{model}", get(model))
        .route("/stats", get(stats))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(simulator)
}

struct Simulator {
    world: World,
    attempts: Attempts,
    tally: Arc<Tally>,
    conversations: Conversations,
    running: AtomicU32,
    /// Caches the chances of the skills under each system prompt: matching a prompt against many patterns is the most expensive part
    /// of an answer, and there are few prompts.
    chances: Mutex<HashMap<u64, Arc<[f64]>>>,
}

/// A running request.
struct RunningRequest<'a>(&'a AtomicU32);

impl Drop for RunningRequest<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Simulator {
    fn new(world: World) -> Self {
        Self {
            world,
            attempts: Attempts::default(),
            tally: Arc::default(),
            conversations: Conversations::default(),
            running: AtomicU32::new(0),
            chances: Mutex::default(),
        }
    }

    /// Answers a request with the result of `answer`, after injecting faults.
    async fn serve(
        &self,
        protocol: Protocol,
        headers: &HeaderMap,
        body: &[u8],
        answer: impl FnOnce(Dice) -> Result<(Event, Ready), Refusal>,
    ) -> Response<Body> {
        let arrived = Instant::now();
        if let Err(refusal) = self.check_key(headers) {
            self.tally.add(Event::Refused);
            return error(protocol, &refusal, None);
        }
        let before = self.running.fetch_add(1, Ordering::Relaxed);
        let _under_way = RunningRequest(&self.running);
        if let Some(overload) = self.world.overload
            && before >= overload.max_concurrent
        {
            self.tally.add(Event::Overloaded);
            return rate_limited(protocol, overload.retry_after.0);
        }
        let dice = Dice::new(self.world.seed, &[b"request", body]);
        let answered = answer(dice);
        let (event, ready) = match answered {
            Ok(answered) => answered,
            Err(refusal) => {
                self.tally.add(Event::Refused);
                return error(protocol, &refusal, None);
            }
        };
        let fate = self.attempts.next(&self.world.faults, dice);
        if !fate.latency.is_zero() {
            tokio::time::sleep_until(arrived + fate.latency).await;
        }
        if let Some(mishap) = fate.mishap {
            self.tally.add(Event::Fault(mishap));
            match mishap {
                Mishap::RateLimited(wait) => return rate_limited(protocol, wait),
                Mishap::ServerError => return server_error(protocol),
                Mishap::HangUp => return hang_up(ready.into_bytes()),
                Mishap::TruncatedJson => return truncated(ready),
                Mishap::Malformed => return malformed(protocol, event, dice),
                Mishap::Stall(duration) => tokio::time::sleep(duration).await,
            }
        }
        match ready {
            Ready::Whole(bytes) => {
                self.tally.add(event);
                json(StatusCode::OK, bytes)
            }
            Ready::Events(events) => self.stream(event, events),
        }
    }

    /// Sends events one by one, and counts the answer after the last.
    fn stream(&self, event: Event, events: Vec<String>) -> Response<Body> {
        let tally = Arc::clone(&self.tally);
        let last = events.len() - 1;
        let events = events.into_iter().enumerate().map(move |(index, text)| {
            if index == last {
                tally.add(event);
            }
            Ok::<_, io::Error>(Bytes::from(text))
        });
        respond(StatusCode::OK, "text/event-stream; charset=utf-8", Body::from_stream(stream::iter(events)))
    }

    fn check_key(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(key) = &self.world.api_key else { return Ok(()) };
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let given = text("authorization").and_then(|value| value.strip_prefix("Bearer ")).or_else(|| text("x-api-key"));
        match given {
            Some(given) if given == key => Ok(()),
            Some(_) => Err(Refusal {
                status: 401,
                message: "Incorrect API key provided.".to_owned(),
                param: None,
                code: Some("invalid_api_key"),
            }),
            None => Err(Refusal {
                status: 401,
                message: "You didn't provide an API key.".to_owned(),
                param: None,
                code: None,
            }),
        }
    }

    fn check_model(&self, model: &str) -> Result<(), Refusal> {
        let models = &self.world.models;
        if models.is_empty() || models.iter().any(|known| known == model) {
            return Ok(());
        }
        Err(Refusal {
            status: 404,
            message: format!("The model `{model}` does not exist or you do not have access to it."),
            param: Some("model".to_owned()),
            code: Some("model_not_found"),
        })
    }

    /// The answer to a chat, and its role. `dice` are those of the whole request.
    fn reply(&self, chat: &Chat<'_>, dice: Dice) -> (Event, Reply) {
        let answer = cast::answer(&self.world, chat, dice, |system| self.chances(system));
        if answer.is_prose {
            self.tally.add(Event::Prose);
        }
        (Event::Chat(answer.role), answer.reply)
    }

    fn chances(&self, system: &str) -> Arc<[f64]> {
        let id = Dice::new(0, &[system.as_bytes()]).id();
        let lock = || self.chances.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(&id) {
            return Arc::clone(known);
        }
        let chances: Arc<[f64]> = self.world.chances(&self.world.teaches(system), tokens(system.len())).into();
        let mut known = lock();
        if known.len() >= PROMPTS {
            known.clear();
        }
        known.insert(id, Arc::clone(&chances));
        chances
    }
}

async fn chat_completions(State(simulator): State<Arc<Simulator>>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let answer = |dice: Dice| {
        let chat = openai::read_chat(&body)?;
        simulator.check_model(&chat.model)?;
        let (event, reply) = simulator.reply(&chat, dice);
        let tokens = chat.tokens(&reply);
        let ready = if chat.stream {
            Ready::Events(openai::stream_chat(&chat, &reply, tokens, dice))
        } else {
            Ready::Whole(openai::write_chat(&chat.model, &reply, tokens, dice))
        };
        Ok((event, ready))
    };
    simulator.serve(Protocol::OpenAi, &headers, &body, answer).await
}

async fn messages(State(simulator): State<Arc<Simulator>>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let answer = |dice: Dice| {
        let request = anthropic::read(&body)?;
        simulator.check_model(&request.chat.model)?;
        let (event, reply) = simulator.reply(&request.chat, dice);
        let tokens = request.chat.tokens(&reply);
        let ready = if request.chat.stream {
            Ready::Events(anthropic::stream(&request, &reply, tokens, dice))
        } else {
            Ready::Whole(anthropic::write(&request, &reply, tokens, dice))
        };
        Ok((event, ready))
    };
    simulator.serve(Protocol::Anthropic, &headers, &body, answer).await
}

async fn embed(State(simulator): State<Arc<Simulator>>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let answer = |_: Dice| {
        let request = openai::embeddings::read(&body)?;
        simulator.check_model(&request.model)?;
        let settings = &simulator.world.embeddings;
        let length = request.dimensions.unwrap_or(settings.dimensions);
        let vectors: Vec<Vec<f32>> =
            request.texts.iter().map(|text| embeddings::embed(settings, text, length)).collect();
        let tokens = request.texts.iter().map(|text| tokens(text.len())).sum();
        Ok((Event::Embeddings, Ready::Whole(openai::embeddings::write(&request, &vectors, tokens))))
    };
    simulator.serve(Protocol::OpenAi, &headers, &body, answer).await
}

async fn models(State(simulator): State<Arc<Simulator>>, headers: HeaderMap) -> Response<Body> {
    if let Err(refusal) = simulator.check_key(&headers) {
        return error(Protocol::OpenAi, &refusal, None);
    }
    let anything = ["simulated".to_owned()];
    let models: &[String] = if simulator.world.models.is_empty() { &anything } else { &simulator.world.models };
    json(StatusCode::OK, openai::write_models(models))
}

async fn model(
    State(simulator): State<Arc<Simulator>>,
    headers: HeaderMap,
    Path(model): Path<String>,
) -> Response<Body> {
    match simulator.check_key(&headers).and_then(|()| simulator.check_model(&model)) {
        Ok(()) => json(StatusCode::OK, openai::write_model(&model)),
        Err(refusal) => error(Protocol::OpenAi, &refusal, None),
    }
}

async fn stats(State(simulator): State<Arc<Simulator>>) -> axum::Json<Counts> {
    axum::Json(simulator.tally.read())
}

async fn metrics(State(simulator): State<Arc<Simulator>>) -> Response<Body> {
    let mut text = String::new();
    simulator.tally.read().write(&mut text);
    simulator.conversations.write(&mut text);
    respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", Body::from(text))
}

async fn unknown(method: axum::http::Method, uri: axum::http::Uri) -> Response<Body> {
    let message = format!("Invalid URL ({method} {})", uri.path());
    error(Protocol::OpenAi, &Refusal { status: 404, message, param: None, code: Some("unknown_url") }, None)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::future::join_all;
    use reqwest::Client;
    use serde_json::{Value, json};

    use super::super::testing::{REFUNDS, ask_agent, client, with_faults};
    use super::*;

    fn start(world: &str) -> Server {
        Server::start(World::parse(world).unwrap(), SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()
    }

    fn request(n: usize) -> Value {
        ask_agent("You are helpful.", &format!("Refund order A-{n}, please."))
    }

    async fn post(client: &Client, server: &Server, path: &str, body: &Value) -> reqwest::Response {
        client.post(format!("{}{path}", server.base_url())).body(body.to_string()).send().await.unwrap()
    }

    async fn text(client: &Client, server: &Server, body: &Value) -> String {
        post(client, server, "/chat/completions", body).await.text().await.unwrap()
    }

    #[tokio::test]
    async fn neither_order_nor_concurrency_changes_an_answer() {
        let (one, other) = (start(REFUNDS), start(REFUNDS));
        let client = client();
        let requests: Vec<Value> = (0..200).map(request).collect();
        let mut in_turn = Vec::new();
        for request in &requests {
            in_turn.push(text(&client, &one, request).await);
        }
        let mut at_once = join_all(requests.iter().rev().map(|request| text(&client, &other, request))).await;
        at_once.reverse();
        assert_eq!(in_turn, at_once);
        assert_eq!((one.counts().answered.agent, other.counts()), (200, one.counts()));
    }

    #[tokio::test]
    async fn the_answer_is_drawn_anew_for_another_seed_and_not_for_another_connection() {
        let server = start(REFUNDS);
        let bodies = |seed: u64| {
            let mut body = request(1);
            body["seed"] = json!(seed);
            body
        };
        let mut answers = std::collections::BTreeSet::new();
        for seed in 0..20 {
            let first = text(&client(), &server, &bodies(seed)).await;
            assert_eq!(first, text(&client(), &server, &bodies(seed)).await);
            let answer: Value = serde_json::from_str(&first).unwrap();
            answers.insert(answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"].to_string());
        }
        assert_eq!(answers.len(), 2, "of twenty samples at one half, some succeed and some fail: {answers:?}");
    }

    #[tokio::test]
    async fn each_fault_is_what_it_says_and_is_counted_and_the_next_attempt_is_answered() {
        let client = client();
        for (fault, status, error) in [
            ("rateLimited: {chance: 1, retryAfter: 250ms}", 429, "rate_limit_error"),
            ("serverError: 1", 500, "server_error"),
        ] {
            let server = start(&with_faults(&format!("{{{fault}, maxConsecutive: 1}}")));
            let refused = post(&client, &server, "/chat/completions", &request(1)).await;
            let headers = refused.headers().clone();
            assert_eq!(refused.status(), status);
            let body: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
            assert_eq!(body["error"]["type"], error);
            if status == 429 {
                assert_eq!(
                    (&headers["retry-after"], &headers["retry-after-ms"]),
                    (&"1".parse().unwrap(), &"250".parse().unwrap())
                );
                assert_eq!(server.counts().faults.rate_limited, 1);
            } else {
                assert_eq!(server.counts().faults.server_error, 1);
            }
            assert_eq!(server.counts().answered.total(), 0);
            assert_eq!(post(&client, &server, "/chat/completions", &request(1)).await.status(), 200);
            assert_eq!(server.counts().answered.agent, 1);
        }
    }

    #[tokio::test]
    async fn a_hang_up_breaks_the_answer_off_and_truncated_json_does_not_parse() {
        let client = client();
        let server = start(&with_faults("{hangUp: 1, maxConsecutive: 1}"));
        let broken = post(&client, &server, "/chat/completions", &request(1)).await;
        assert_eq!(broken.status(), 200);
        assert!(broken.bytes().await.is_err(), "the connection is cut before the promised length");
        assert_eq!((server.counts().faults.hang_up, server.counts().answered.total()), (1, 0));

        let server = start(&with_faults("{truncatedJson: 1, maxConsecutive: 1}"));
        let cut = text(&client, &server, &request(1)).await;
        assert!(cut.starts_with("{\"id\"") && serde_json::from_str::<Value>(&cut).is_err(), "{cut}");
        assert!(serde_json::from_str::<Value>(&text(&client, &server, &request(1)).await).is_ok());
        assert_eq!((server.counts().faults.truncated_json, server.counts().answered.agent), (1, 1));
    }

    #[tokio::test]
    async fn a_malformed_answer_has_no_message_or_one_that_broke_off_or_is_no_json() {
        let client = client();
        let server = start(&with_faults("{malformed: 1}"));
        let mut kinds = std::collections::BTreeSet::new();
        for n in 0..30 {
            for path in ["/chat/completions", "/messages"] {
                let mut body = request(n);
                body["max_tokens"] = json!(100);
                if path == "/messages" {
                    body["messages"].as_array_mut().unwrap().remove(0);
                    body["tools"] = json!([]);
                    body.as_object_mut().unwrap().remove("seed");
                }
                let text = post(&client, &server, path, &body).await.text().await.unwrap();
                let Ok(answer) = serde_json::from_str::<Value>(&text) else {
                    kinds.insert((path, "no JSON"));
                    continue;
                };
                let broke_off =
                    answer["choices"][0]["finish_reason"] == "error" || answer.get("content") == Some(&json!(null));

                kinds.insert((path, if broke_off { "broke off" } else { "no message" }));
            }
        }
        assert_eq!(kinds.len(), 6, "{kinds:?}");
        assert_eq!(server.counts().answered.total(), 0);
    }

    #[tokio::test]
    async fn latency_and_stalls_delay_the_answer() {
        let world = with_faults("{latency: {fixed: 30ms}, stall: {chance: 1, for: 50ms}, maxConsecutive: 1}");
        let simulator = Simulator::new(World::parse(&world).unwrap());
        let body = request(1).to_string();
        for expected in [Duration::from_millis(80), Duration::from_millis(30)] {
            let begin = Instant::now();
            let answer = |_: Dice| Ok((Event::Embeddings, Ready::Whole(Vec::new())));
            simulator.serve(Protocol::OpenAi, &HeaderMap::new(), body.as_bytes(), answer).await;
            assert!(begin.elapsed() >= expected, "{:?}", begin.elapsed());
        }
        assert_eq!(simulator.tally.read().faults.stalled, 1);
    }

    #[tokio::test]
    async fn requests_beyond_the_capacity_are_turned_away() {
        let server = start(&with_faults("{latency: {fixed: 200ms}}\noverload: {maxConcurrent: 3}"));
        let client = client();
        let statuses = join_all(
            (0..10).map(async |n| post(&client, &server, "/chat/completions", &request(n)).await.status().as_u16()),
        )
        .await;
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 3);
        assert_eq!(server.counts().faults.overloaded, 7);
    }

    #[tokio::test]
    async fn a_wrong_key_an_unknown_model_and_an_unknown_path_are_refused() {
        let server = start("apiKey: secret\nmodels: [small]");
        let client = client();
        let ask = async |key: Option<&str>, model: &str| {
            let mut body = request(1);
            body["model"] = json!(model);
            let post = client.post(format!("{}/chat/completions", server.base_url())).body(body.to_string());
            let answer = key.into_iter().fold(post, reqwest::RequestBuilder::bearer_auth).send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["error"]["code"].clone())
        };
        assert_eq!(ask(None, "small").await, (401, Value::Null));
        assert_eq!(ask(Some("guess"), "small").await, (401, json!("invalid_api_key")));
        assert_eq!(ask(Some("secret"), "large").await, (404, json!("model_not_found")));
        assert_eq!(ask(Some("secret"), "small").await, (200, Value::Null));
        assert_eq!(post(&client, &server, "/completions", &request(1)).await.status(), 404);
        assert_eq!((server.counts().refused, server.counts().answered.total()), (3, 1));
    }

    #[tokio::test]
    async fn the_counts_are_served_too() {
        let server = start(REFUNDS);
        let client = client();
        text(&client, &server, &request(1)).await;
        let embed = json!({"model": "e", "input": ["a", "b"]});
        post(&client, &server, "/embeddings", &embed).await;
        let root = server.base_url().replace("/v1", "");
        let stats: Value = client.get(format!("{root}/stats")).send().await.unwrap().json().await.unwrap();
        assert_eq!(stats["answered"], json!({"agent": 1, "judge": 0, "patch": 0, "user": 0, "embeddings": 1}));
        assert_eq!(client.get(format!("{root}/healthz")).send().await.unwrap().text().await.unwrap(), "ok\n");
        let metrics = client.get(format!("{root}/metrics")).send().await.unwrap().text().await.unwrap();
        insta::assert_snapshot!(metrics);
    }

    #[tokio::test]
    async fn after_a_shutdown_nobody_listens() {
        let server = start("{}");
        let address = server.address();
        server.shutdown();
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            assert!(std::time::Instant::now() < deadline, "still listening");
            tokio::task::yield_now().await;
        }
    }
}
