//! An OpenAI-compatible provider that answers as a test wants, and keeps the books: what it has been asked, and what it bills.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// What the provider replies.
pub(crate) enum Reply {
    /// A completion: what stands in `message`, the reason why it ends, and input and output tokens.
    Completion { message: Value, finish: &'static str, usage: (u64, u64) },
    /// Status 200 with this body, which may have a `usage` to be billed.
    Body(Value),
    /// A refusal with a message.
    Refusal(u16, &'static str),
}

impl Reply {
    /// Some words, and the usual end of them.
    pub(crate) fn words(text: &str) -> Self {
        Self::Completion { message: json!({"content": text}), finish: "stop", usage: (100, 10) }
    }

    /// Nothing, which ends for this reason.
    pub(crate) fn nothing(finish: &'static str, usage: (u64, u64)) -> Self {
        Self::Completion { message: json!({"content": ""}), finish, usage }
    }

    /// A call of a tool, with its arguments as text.
    pub(crate) fn call(tool: &str, arguments: &str) -> Self {
        let call = json!({"id": "call_1", "type": "function", "function": {"name": tool, "arguments": arguments}});
        Self::Completion {
            message: json!({"content": null, "tool_calls": [call]}),
            finish: "tool_calls",
            usage: (100, 10),
        }
    }

    fn body(self) -> (u16, Value) {
        match self {
            Self::Completion { message, finish, usage: (input, output) } => {
                let usage = json!({"prompt_tokens": input, "completion_tokens": output});
                (200, json!({"choices": [{"message": message, "finish_reason": finish}], "usage": usage}))
            }
            Self::Body(body) => (200, body),
            Self::Refusal(status, message) => (status, json!({"error": {"message": message}})),
        }
    }
}

type Script = dyn Fn(&Value) -> Reply + Send + Sync;

/// What the provider has in its books.
#[derive(Default)]
struct Books {
    requests: Mutex<Vec<Value>>,
    input: AtomicU64,
    output: AtomicU64,
}

/// The provider; it serves until the test ends.
pub(crate) struct Provider {
    address: SocketAddr,
    books: Arc<Books>,
}

impl Provider {
    /// Answers each request by `script`, after so long.
    pub(crate) fn start(latency: Duration, script: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let books = Arc::new(Books::default());
        let (kept, script) = (Arc::clone(&books), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (books, script) = (Arc::clone(&kept), Arc::clone(&script));
                std::thread::spawn(move || serve(stream.unwrap(), latency, &*script, &books));
            }
        });
        Self { address, books }
    }

    /// `http://ADDRESS`, without `/v1`.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The bodies of all requests so far.
    pub(crate) fn requests(&self) -> Vec<Value> {
        self.books.requests.lock().unwrap().clone()
    }

    /// Input and output tokens that it bills.
    pub(crate) fn billed(&self) -> (u64, u64) {
        (self.books.input.load(Ordering::SeqCst), self.books.output.load(Ordering::SeqCst))
    }
}

/// Values as JSON Lines.
pub(crate) fn lines(values: &[Value]) -> String {
    let lines: Vec<String> = values.iter().map(Value::to_string).collect();
    lines.join("\n") + "\n"
}

/// The text of the last message of a request.
pub(crate) fn last_text(request: &Value) -> String {
    let messages = request["messages"].as_array().unwrap();
    messages.last().unwrap()["content"].as_str().unwrap_or_default().to_owned()
}

/// The system message of a request.
pub(crate) fn system(request: &Value) -> String {
    request["messages"][0]["content"].as_str().unwrap_or_default().to_owned()
}

fn serve(stream: TcpStream, latency: Duration, script: &Script, books: &Books) {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let request: Value = serde_json::from_slice(&body).unwrap();
    std::thread::sleep(latency);
    let (status, body) = script(&request).body();
    books.requests.lock().unwrap().push(request);
    let tokens = |name: &str| body["usage"][name].as_u64().unwrap_or(0);
    books.input.fetch_add(tokens("prompt_tokens"), Ordering::SeqCst);
    books.output.fetch_add(tokens("completion_tokens"), Ordering::SeqCst);
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let mut stream = reader.into_inner();
    // A client that has hung up meanwhile is no fault of the provider.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
}
