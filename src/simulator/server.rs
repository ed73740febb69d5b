//! The server: takes requests over HTTP, decides how each fares, and counts what it answered.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use futures::stream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::counts::{Counts, Event, Tally};
use super::dice::Dice;
use super::mishaps::{Attempts, Mishap};
use super::request::{Chat, Form, Refusal, Reply, Role, tokens};
use super::world::World;
use super::{agent, anthropic, embeddings, judge, openai, patch_writer, user};

/// The largest request body. Transcripts and prompts are far smaller.
const BODY_LIMIT: usize = 64 << 20;

/// How many system prompts are remembered with what they teach.
const PROMPTS: usize = 4096;

/// A running simulator. It stops when it is shut down or dropped.
pub struct Server {
    address: SocketAddr,
    simulator: Arc<Simulator>,
    stop: CancellationToken,
}

impl Server {
    /// Starts to serve a world. Port 0 takes any free one. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn start(world: World, address: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(listener)?.tap_io(|connection| {
            // Without it every answer waits for the acknowledgement of the one before. A connection that is gone says so later.
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

    /// Where OpenAI clients find it: `http://ADDRESS/v1`. Anthropic clients leave out the `/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has answered so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.simulator.tally.read()
    }

    /// Stops it: no new connections are taken.
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
        .route("/healthz", get(|| async { "ok\n" }))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(simulator)
}

/// The wire protocols.
#[derive(Clone, Copy, PartialEq)]
enum Protocol {
    OpenAi,
    Anthropic,
}

struct Simulator {
    world: World,
    attempts: Attempts,
    tally: Arc<Tally>,
    under_way: AtomicU32,
    /// The chances of the skills under each system prompt: matching a prompt against many patterns is the dearest part of an answer,
    /// and prompts are few.
    chances: Mutex<HashMap<u64, Arc<[f64]>>>,
}

/// An answer that is ready to be sent: whole, or as a stream of events.
enum Ready {
    Whole(Vec<u8>),
    Events(Vec<String>),
}

impl Ready {
    fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Events(events) => events.concat().into_bytes(),
        }
    }
}

/// One request under way.
struct UnderWay<'a>(&'a AtomicU32);

impl Drop for UnderWay<'_> {
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
            under_way: AtomicU32::new(0),
            chances: Mutex::default(),
        }
    }

    /// Answers a request whose answer `answer` makes, with whatever goes wrong on the way.
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
        let before = self.under_way.fetch_add(1, Ordering::Relaxed);
        let _under_way = UnderWay(&self.under_way);
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

    /// Sends events one by one, and counts the answer once the last is handed over.
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

    /// What a chat is answered with, and who answered. `dice` are those of the whole request.
    fn reply(&self, chat: &Chat<'_>, dice: Dice) -> (Event, Reply) {
        let world = &self.world;
        let role = chat.role();
        let mut reply = if self.is_prose(chat, role, dice) {
            self.tally.add(Event::Prose);
            prose(role)
        } else {
            match role {
                Role::Agent => agent::reply(world, chat, &self.chances(&chat.system)),
                Role::Judge => judge::reply(world, chat),
                Role::Patch => patch_writer::reply(world, chat),
                Role::User => user::reply(world, chat),
            }
        };
        reply.limit(chat.max_tokens);
        (Event::Chat(role), reply)
    }

    fn is_prose(&self, chat: &Chat<'_>, role: Role, dice: Dice) -> bool {
        let own = match role {
            Role::Judge => self.world.judge.prose_chance.0,
            Role::Patch => self.world.patch_writer.prose_chance.0,
            Role::Agent | Role::User => 0.0,
        };
        matches!(chat.form, Form::Schema(_)) && dice.happens(self.world.faults.prose.0 + own, "prose", "")
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

/// What a model says when it forgets that JSON was asked for.
fn prose(role: Role) -> Reply {
    Reply::text(match role {
        Role::Judge => "Overall the assistant did a good job here, though there is room for improvement.",
        Role::Patch => "I would suggest making the prompt clearer about what the agent should do in such cases.",
        Role::Agent | Role::User => "Certainly! Here is what I found for you.",
    })
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
        let request = openai::read_embeddings(&body)?;
        simulator.check_model(&request.model)?;
        let settings = &simulator.world.embeddings;
        let length = request.dimensions.unwrap_or(settings.dimensions);
        let vectors: Vec<Vec<f32>> =
            request.texts.iter().map(|text| embeddings::embed(settings, text, length)).collect();
        let tokens = request.texts.iter().map(|text| tokens(text.len())).sum();
        Ok((Event::Embeddings, Ready::Whole(openai::write_embeddings(&request, &vectors, tokens))))
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

async fn unknown(method: axum::http::Method, uri: axum::http::Uri) -> Response<Body> {
    let message = format!("Invalid URL ({method} {})", uri.path());
    error(Protocol::OpenAi, &Refusal { status: 404, message, param: None, code: Some("unknown_url") }, None)
}

fn respond(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

fn json(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    respond(status, "application/json", Body::from(body))
}

fn error(protocol: Protocol, refusal: &Refusal, wait: Option<Duration>) -> Response<Body> {
    let body = match protocol {
        Protocol::OpenAi => openai::write_error(refusal),
        Protocol::Anthropic => anthropic::write_error(refusal),
    };
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, body);
    if let Some(wait) = wait {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        response.headers_mut().insert("retry-after-ms", millis.into());
    }
    response
}

fn rate_limited(protocol: Protocol, wait: Duration) -> Response<Body> {
    let message = format!("Rate limit reached. Please try again in {}ms.", wait.as_millis());
    let refusal = Refusal { status: 429, message, param: None, code: Some("rate_limit_exceeded") };
    error(protocol, &refusal, Some(wait))
}

fn server_error(protocol: Protocol) -> Response<Body> {
    let message = "The server had an error while processing your request. Sorry about that!".to_owned();
    error(protocol, &Refusal { status: 500, message, param: None, code: None }, None)
}

/// Promises the whole answer, sends half of it, and cuts the connection.
fn hang_up(mut body: Vec<u8>) -> Response<Body> {
    let promised = body.len();
    body.truncate(promised / 2);
    let pieces = [Ok(Bytes::from(body)), Err(io::Error::from(io::ErrorKind::ConnectionAborted))];
    let mut response = respond(StatusCode::OK, "application/json", Body::from_stream(stream::iter(pieces)));
    response.headers_mut().insert(header::CONTENT_LENGTH, promised.into());
    response
}

/// A whole HTTP answer whose JSON breaks off.
fn truncated(ready: Ready) -> Response<Body> {
    let kind = match ready {
        Ready::Whole(_) => "application/json",
        Ready::Events(_) => "text/event-stream; charset=utf-8",
    };
    let mut body = ready.into_bytes();
    body.truncate(body.len() / 2);
    respond(StatusCode::OK, kind, Body::from(body))
}

/// A 200 that is no answer: without usage, without content, or no JSON at all.
fn malformed(protocol: Protocol, event: Event, dice: Dice) -> Response<Body> {
    let page = "<html><body><h1>502 Bad Gateway</h1></body></html>";
    let body = match (dice.pick(3, "malformed"), protocol, event) {
        (0, ..) => return respond(StatusCode::OK, "text/html", Body::from(page)),
        (_, _, Event::Embeddings) => r#"{"object":"list","data":[],"model":"simulated"}"#,
        (1, Protocol::OpenAi, _) => {
            r#"{"id":"chatcmpl-0","object":"chat.completion","created":0,"model":"simulated","choices":[{"index":0,"message":{"role":"assistant","content":"Hello."},"finish_reason":"stop"}]}"#
        }
        (_, Protocol::OpenAi, _) => {
            r#"{"id":"chatcmpl-0","object":"chat.completion","created":0,"model":"simulated","choices":[{"index":0,"message":{"role":"assistant","content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":0,"total_tokens":9}}"#
        }
        (1, Protocol::Anthropic, _) => {
            r#"{"id":"msg_0","type":"message","role":"assistant","model":"simulated","content":[{"type":"text","text":"Hello."}],"stop_reason":"end_turn","stop_sequence":null}"#
        }
        (_, Protocol::Anthropic, _) => {
            r#"{"id":"msg_0","type":"message","role":"assistant","model":"simulated","content":[],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":0}}"#
        }
    };
    json(StatusCode::OK, body.as_bytes().to_vec())
}
