//! A provider that means harm: answers as long as they may be and longer, and a door that is always to be tried again later.

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What it answers, by the first part of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// An answer with so many bytes of text.
    Text(usize),
    /// Tool calls with so many bytes of empty lists, which take far more in memory.
    Lists(usize),
    /// 429, to be tried again in so many seconds.
    Later(u32),
}

/// Each path with what it means.
const MEANS: [(&str, Means); 4] = [
    ("/huge/", Means::Text(60 << 20)),
    ("/long/", Means::Text(3_900_000)),
    ("/lists/", Means::Lists(3_900_000)),
    ("/later/", Means::Later(299)),
];

/// A provider on a thread of its own, for as long as the process lives.
pub(super) struct Provider {
    address: SocketAddr,
    asked: Arc<AtomicU64>,
}

impl Provider {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let counted = Arc::clone(&counted);
                // Whoever hangs up has had enough.
                std::thread::spawn(move || serve(connection, &counted));
            }
        });
        Self { address, asked }
    }

    /// The base URL of a model that answers in one of these ways: `huge`, `long`, `lists`, `later`.
    pub(super) fn model(&self, way: &str) -> String {
        format!("http://{}/{way}/v1", self.address)
    }

    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

fn serve(connection: TcpStream, asked: &AtomicU64) -> Option<()> {
    let mut reader = BufReader::new(connection.try_clone().ok()?);
    let mut connection = connection;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let path = line.split(' ').nth(1)?.to_owned();
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if header.trim().is_empty() {
                break;
            }
        }
        std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink()).ok()?;
        asked.fetch_add(1, Ordering::Relaxed);
        let (_, means) = MEANS.iter().find(|(way, _)| path.starts_with(way))?;
        answer(&mut connection, *means).ok()?;
    }
}

fn answer(connection: &mut TcpStream, means: Means) -> std::io::Result<()> {
    let (before, unit, bytes, after) = match means {
        Means::Later(seconds) => {
            let body = r#"{"error":{"message":"later","type":"rate_limit"}}"#;
            let head = format!("retry-after: {seconds}\r\ncontent-length: {}", body.len());
            return write!(connection, "HTTP/1.1 429 Too Many Requests\r\n{head}\r\n\r\n{body}");
        }
        Means::Text(bytes) => (r#"{"role":"assistant","content":""#, "never ending ", bytes, r#""}"#),
        Means::Lists(bytes) => (
            r#"{"role":"assistant","content":"","tool_calls":[{"id":"c","type":"function","function":{"name":"refund","arguments":"{\"x\":["#,
            "[],",
            bytes,
            r#"[]]}"}}]}"#,
        ),
    };
    let usage = r#""usage":{"prompt_tokens":10,"completion_tokens":10,"total_tokens":20}"#;
    let before = format!(
        r#"{{"id":"x","object":"chat.completion","model":"m",{usage},"choices":[{{"index":0,"finish_reason":"stop","message":{before}"#
    );
    let after = format!("{after}}}]}}");
    let units = bytes / unit.len();
    let length = before.len() + units * unit.len() + after.len();
    write!(
        connection,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{before}"
    )?;
    let block = unit.repeat(4_096);
    for _ in 0..units / 4_096 {
        connection.write_all(block.as_bytes())?;
    }
    connection.write_all(unit.repeat(units % 4_096).as_bytes())?;
    connection.write_all(after.as_bytes())
}
