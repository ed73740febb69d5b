//! Answers of a malicious provider.

use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

/// An answer whose text has this many bytes.
fn long(bytes: usize) -> serde_json::Value {
    let mut answer = completion();
    answer["choices"][0]["message"]["content"] = "x".repeat(bytes).into();
    answer
}

async fn asked(server: &Server, connections: Connections, tokens: Option<u64>) -> Result<ChatAnswer, CallError> {
    let options = Options { connections: Some(connections), ..Options::default() };
    let key = |_: &ModelName, _: &KeyPlan| Some(SecretString::from(KEY));
    let client = Client::new(&BTreeMap::from([("worker".into(), plan(&server.base))]), &key, options).unwrap();
    let parameters = whetstone_domain::call::Parameters { max_output_tokens: tokens, ..Default::default() };
    let request = ChatRequest { parameters: Arc::new(parameters), ..samples::question() };
    client.chat(&"worker".into(), &request, &CallTime::default()).await
}

#[tokio::test]
async fn an_answer_that_is_longer_than_its_request_may_bring_is_refused_and_not_asked_for_again() {
    let limit = 256 * 1024 + 256 * 100;
    let small = AnswerMemory { longest: 1 << 20, together: 4 << 20 };
    // With and without an announced length.
    let unannounced = Reply::Bytes(format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", long(2 << 20)));
    for (reply, tokens, most) in
        [(ok(&long(300_000)), Some(100), limit), (ok(&long(2 << 20)), None, 1 << 20), (unannounced, None, 1 << 20)]
    {
        let server = Server::start(vec![reply]).await;
        let error = asked(&server, Connections::new().unwrap().with_memory(small), tokens).await.unwrap_err();
        assert_eq!(error.kind, CallErrorKind::Refused);
        let told = format!("the answer has more than {most} bytes, and its request may bring no more");
        assert!(error.message.contains(&told) && error.message.contains("--longest-answer"), "{error}");
        assert_eq!(server.requests().len(), 1, "another one would be as long");
    }
    let server = Server::start(vec![ok(&long(900_000))]).await;
    let answer = asked(&server, Connections::new().unwrap().with_memory(small), None).await.unwrap();
    assert_eq!(answer.text.len(), 900_000);
}

/// Sixteen concurrent long answers, and memory for one: they are read one after the other, and none times out because of
/// our own queue.
#[tokio::test(flavor = "multi_thread")]
async fn long_answers_wait_for_room_and_not_on_their_own_time() {
    let memory = AnswerMemory { longest: 1 << 20, together: 2 << 20 };
    let connections = Connections::new().unwrap().with_memory(memory);
    let server = Server::start((0..16).map(|_| ok(&long(800_000))).collect()).await;
    let asking = (0..16).map(|_| whetstone_engine::held::until_done(asked(&server, connections.clone(), None)));
    let answers = tokio::time::timeout(Duration::from_mins(1), futures::future::join_all(asking)).await.unwrap();
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.text.len() == 800_000)));
}

#[tokio::test]
async fn a_compressed_answer_is_not_expanded() {
    let gzip = Command::new("gzip").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut gzip = gzip.expect("gzip is part of every Linux");
    gzip.stdin.take().unwrap().write_all(completion().to_string().as_bytes()).unwrap();
    let packed = gzip.wait_with_output().unwrap().stdout;
    // As text, because the server writes text: what matters is that it is not decompressed.
    let packed = String::from_utf8_lossy(&packed).into_owned();
    let server = Server::start(vec![reply("200 OK", "content-encoding: gzip\r\n", &packed)]).await;
    let mut limited = plan(&server.base);
    limited.limits.attempts = 1;
    let error = ask(&client(limited)).await.unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Malformed, "{error}");
    let asked = server.requests()[0].to_ascii_lowercase();
    assert!(!asked.contains("accept-encoding"), "nobody asks for it: {asked}");
}

#[tokio::test]
async fn a_key_that_an_answer_repeats_does_not_come_through() {
    let mut answer = completion();
    let encoded = STANDARD.encode(format!("Bearer {KEY}"));
    answer["choices"][0]["message"] = json!({
        "role": "assistant",
        "content": format!("your key is {KEY}, or {}, or {encoded}", KEY.to_uppercase()),
        "tool_calls": [{"id": "c", "type": "function", "function": {
            "name": "note", "arguments": json!({"a": [{"key": KEY}], KEY: 1}).to_string(),
        }}],
    });
    let server = Server::start(vec![ok(&answer)]).await;
    let answer = ask(&client(plan(&server.base))).await.unwrap();
    let kept = serde_json::to_string(&answer).unwrap();
    let lower = kept.to_lowercase();
    assert!(!lower.contains(KEY) && !kept.contains(&encoded[8..24]), "{kept}");
    assert!(answer.text.starts_with("your key is [key], or [key], or "), "{}", answer.text);
    assert_eq!(answer.calls[0].arguments, json!({"a": [{"key": "[key]"}], "[key]": 1}));
}
