//! What servers refuse, require and filter.

use super::*;

/// The body of a request that the server received.
fn body_of(request: &str) -> serde_json::Value {
    serde_json::from_str(request.split_once("\r\n\r\n").expect("a request has a body").1).unwrap()
}

fn judging() -> ChatRequest {
    let parameters = Parameters { max_output_tokens: Some(100), ..Parameters::default() }.preferring(0.0);
    ChatRequest { parameters: Arc::new(parameters), ..samples::structured() }
}

/// A server that accepts only the plainest request is sent that, and nothing else afterwards.
#[tokio::test]
async fn what_a_server_refuses_is_left_out_once_and_for_all() {
    let refusals = [
        "Unsupported value: 'temperature' does not support 0 with this model",
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead",
        "Extra inputs are not permitted: seed",
        "'response_format' of type 'json_schema' is not supported by this model",
        "'response_format' of type 'json_object' is not supported by this model",
    ];
    let server = Server::start(refusals.iter().map(|said| error("400 Bad Request", said)).collect()).await;
    let client = client(plan(&server.base));
    for _ in 0..2 {
        client.chat(&"worker".into(), &judging(), &CallTime::default()).await.unwrap();
    }
    let requests = server.requests();
    assert_eq!(requests.len(), refusals.len() + 2, "the second call begins where the first ended");
    for request in &requests[refusals.len()..] {
        let body = body_of(request);
        for absent in ["temperature", "max_tokens", "seed", "response_format"] {
            assert_eq!(body.get(absent), None, "{body}");
        }
        assert_eq!(body["max_completion_tokens"], 100);
    }
}

#[tokio::test]
async fn a_setting_that_somebody_wrote_is_refused_with_what_to_change() {
    for (written, said, advice) in [
        (
            ModelPlan { structured: StructuredOutput::JsonSchema, ..plan("") },
            "This response_format type is unavailable now",
            "structuredOutput",
        ),
        (
            ModelPlan { token_limit: TokenLimit::MaxTokens, ..plan("") },
            "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead",
            "tokenLimit of the model to MaxCompletionTokens",
        ),
        (plan(""), "System role not supported", "systemRole"),
        (plan(""), "This model's maximum context length is 8192 tokens", "shorten the prompt"),
    ] {
        let server = Server::start(vec![error("400 Bad Request", said)]).await;
        let identity = plan(&server.base).identity;
        let failed = client(ModelPlan { identity, ..written })
            .chat(&"worker".into(), &judging(), &CallTime::default())
            .await
            .unwrap_err();
        assert_eq!((failed.kind, server.requests().len()), (CallErrorKind::Refused, 1), "{failed}");
        assert!(failed.message.contains(advice), "{failed}");
    }
    let server = Server::start(vec![error("400 Bad Request", "'temperature' is not supported")]).await;
    let warm = Parameters { temperature: Some(Temperature::Value(0.7)), ..Parameters::default() };
    let request = ChatRequest { parameters: Arc::new(warm), ..samples::question() };
    let failed = client(plan(&server.base)).chat(&"worker".into(), &request, &CallTime::default()).await.unwrap_err();
    assert!(failed.message.contains("omit"), "{failed}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn headers_go_along_and_their_secrets_are_in_no_message() {
    let server = Server::start(vec![error("400 Bad Request", "tenant s3cret-tenant is not known")]).await;
    let secret = KeyPlan { env: Some("TENANT".to_owned()), secret: None, required: true };
    let headers = vec![
        ("x-team".to_owned(), HeaderPlan::Value("support".to_owned())),
        ("x-tenant".to_owned(), HeaderPlan::Secret(secret)),
    ];
    let models = BTreeMap::from([("worker".into(), ModelPlan { headers, ..plan(&server.base) })]);
    let find = |_: &ModelName, key: &KeyPlan| {
        Some(SecretString::from(if key.env.as_deref() == Some("TENANT") { "s3cret-tenant" } else { KEY }))
    };
    let client = Client::new(&models, &find, Options::default()).unwrap();
    let failed = client.chat(&"worker".into(), &samples::question(), &CallTime::default()).await.unwrap_err();
    assert!(failed.message.contains("tenant [key] is not known"), "{failed}");
    assert!(!format!("{client:?}").contains("s3cret"));
    let request = &server.requests()[0];
    assert!(request.contains("x-team: support\r\n") && request.contains("x-tenant: s3cret-tenant\r\n"), "{request}");

    let none = |_: &ModelName, key: &KeyPlan| (key.env.as_deref() != Some("TENANT")).then(|| SecretString::from(KEY));
    let missing = Client::new(&models, &none, Options::default()).unwrap_err().to_string();
    assert!(missing.contains("the value of the header \"x-tenant\"") && missing.contains("TENANT"), "{missing}");
}

/// LiteLLM answers 400 "No connected db" to a wrong key, and 500 to a missing one.
#[tokio::test]
async fn a_server_that_wants_a_key_is_understood_and_no_key_is_said() {
    let without = |base: &str| ModelPlan { key: None, ..plan(base) };
    for (status, said, kind) in [
        ("400 Bad Request", "No connected db.", CallErrorKind::Unauthorized),
        ("500 Internal Server Error", "Authentication Error, No api key passed in.", CallErrorKind::Unauthorized),
        ("401 Unauthorized", "who are you?", CallErrorKind::Unauthorized),
        ("500 Internal Server Error", "out of order", CallErrorKind::Server),
    ] {
        let server = Server::start((0..3).map(|_| error(status, said)).collect()).await;
        let failed = ask(&client(without(&server.base))).await.unwrap_err();
        assert_eq!(failed.kind, kind, "{failed}");
        assert!(failed.message.contains("no key was sent") && failed.message.contains("apiKey"), "{failed}");
    }
    let server = Server::start(vec![error("400 Bad Request", "No connected db.")]).await;
    let failed = ask(&client(plan(&server.base))).await.unwrap_err();
    assert!(failed.message.contains("check the key in OPENAI_API_KEY"), "{failed}");
}

#[tokio::test]
async fn a_request_that_a_content_filter_stops_is_recognized() {
    let body = json!({"error": {"message": "The response was filtered", "code": "content_filter", "param": "prompt"}});
    let (outcome, requests) = outcome(vec![reply("400 Bad Request", "", &body.to_string())]).await;
    let failed = outcome.unwrap_err();
    assert_eq!((failed.kind, requests), (CallErrorKind::Filtered, 1), "{failed}");
    assert!(!failed.kind.is_retryable());
}
