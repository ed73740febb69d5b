//! Answers of every form, usable and unusable.

use super::*;

#[tokio::test]
async fn an_answer_comes_back_over_real_http() {
    let server = Server::start(vec![]).await;
    let answer = ask(&client(plan(&server.base))).await.unwrap();
    assert_eq!(answer.text, "on its way");
    assert_eq!(answer.usage, Usage { input: 12, cached_input: 0, output: 3 });
    let request = &server.requests()[0];
    assert!(request.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("authorization: Bearer {KEY}\r\n")), "{request}");
    assert!(request.contains("content-type: application/json\r\n"), "{request}");
}

#[tokio::test]
async fn anthropic_is_asked_at_its_own_path_with_its_own_headers() {
    let body = json!({
        "content": [{"type": "text", "text": "hello"}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 9, "output_tokens": 1},
    });
    for base in ["", "/v1", "/v1/"] {
        let server = Server::start(vec![ok(&body)]).await;
        let answer = ask(&client(anthropic(&server.base.replace("/v1", base)))).await.unwrap();
        assert_eq!(answer.text, "hello");
        let request = &server.requests()[0];
        assert!(request.starts_with("POST /v1/messages HTTP/1.1\r\n"), "{base:?}: {request}");
        assert!(request.contains(&format!("x-api-key: {KEY}\r\n")), "{request}");
        assert!(request.contains("anthropic-version: 2023-06-01\r\n"), "{request}");
    }
}

#[tokio::test]
async fn embeddings_come_back_from_openai_and_are_refused_by_anthropic() {
    let body = json!({"data": [{"index": 0, "embedding": [1.0, 0.0]}], "usage": {"prompt_tokens": 2}});
    let server = Server::start(vec![ok(&body)]).await;
    let request = EmbedRequest::from(vec!["late".to_owned()]);
    let embeddings = client(plan(&server.base)).embed(&"worker".into(), &request, &CallTime::default()).await.unwrap();
    assert_eq!(embeddings.vectors, [[1.0, 0.0]]);
    assert!(server.requests()[0].starts_with("POST /v1/embeddings "));
    let error =
        client(anthropic(&server.base)).embed(&"worker".into(), &request, &CallTime::default()).await.unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Refused);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_200_that_is_no_answer_is_an_error_and_tried_again() {
    for (body, reason) in [
        (json!({"choices": []}).to_string(), "choices is empty"),
        ("I would rather talk about it.".to_owned(), "a body of application/json, which is not JSON"),
        ("<html><title>Sign in</title></html>".to_owned(), "it says: a web page titled \"Sign in\""),
        (completion().to_string()[..40].to_owned(), "cut short"),
        (json!({"error": {"message": "model is loading"}}).to_string(), "it says: model is loading"),
        (String::new(), "cut short"),
    ] {
        let error = error_after(|| reply("200 OK", "", &body)).await;
        assert_eq!((error.kind, error.attempts), (CallErrorKind::Malformed, 3), "{body}");
        assert!(error.message.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn a_200_that_is_no_answer_and_is_billed_comes_back_with_what_it_took_before_anything_else_is_paid() {
    for usage in [
        json!({"prompt_tokens": 1000, "completion_tokens": 4000}),
        json!({"input_tokens": 1000.0, "output_tokens": 4000}),
    ] {
        let body = json!({"choices": [], "usage": usage}).to_string();
        let error = error_after(|| reply("200 OK", "", &body)).await;
        assert_eq!((error.kind, error.attempts), (CallErrorKind::Malformed, 1), "{usage}");
        assert_eq!(error.usage, Some(Usage { input: 1000, cached_input: 0, output: 4000 }));
    }
}

#[tokio::test]
async fn an_answer_that_is_streamed_is_refused_at_once() {
    let body = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\ndata: [DONE]\n\n";
    let streamed = Reply::Bytes(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nconnection: close\r\n\r\n{body}"
    ));
    let (outcome, requests) = outcome(vec![streamed]).await;
    let error = outcome.expect_err("it is no whole answer");
    assert_eq!((error.kind, requests), (CallErrorKind::Refused, 1));
    assert!(error.message.contains("turn streaming off") && !error.message.contains("delta"), "{error}");
}

#[tokio::test]
async fn an_error_within_a_200_is_taken_for_what_it_is() {
    let body = json!({"error": {"message": "upstream is busy", "code": 429}});
    let error = error_after(|| ok(&body)).await;
    assert_eq!(error.kind, CallErrorKind::RateLimited);
}

#[tokio::test]
async fn an_answer_that_ran_out_of_tokens_before_it_began_is_an_answer_all_the_same() {
    let body = json!({
        "choices": [{"message": {"content": ""}, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 500},
    });
    let (answer, requests) = answer_to(&body).await;
    assert_eq!((answer.text.as_str(), answer.finish, requests), ("", Finish::Length, 1));
    assert_eq!(answer.usage.output, 500, "it was paid for");
}

#[tokio::test]
async fn saying_nothing_is_an_answer_and_asked_for_once() {
    for content in [json!(""), json!(null), json!(" \n")] {
        let body = json!({
            "choices": [{"message": {"content": content, "tool_calls": []}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 0},
        });
        let (answer, requests) = answer_to(&body).await;
        assert_eq!((answer.text.trim(), answer.finish, requests), ("", Finish::Stop, 1), "{content}");
    }
}

#[tokio::test]
async fn an_answer_without_usage_is_used_and_its_tokens_are_estimated() {
    for usage in [json!(null), json!({}), json!({"total_tokens": 15})] {
        let mut body = completion();
        body["usage"] = usage;
        let (answer, requests) = answer_to(&body).await;
        assert_eq!((answer.text.as_str(), answer.estimated, requests), ("on its way", true, 1));
        assert!((3..40).contains(&answer.usage.input) && (2..6).contains(&answer.usage.output), "{:?}", answer.usage);
    }
}

#[tokio::test]
async fn a_body_cut_off_on_the_way_is_malformed() {
    let cut = || Reply::Bytes("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"choices\": [".to_owned());
    let error = error_after(cut).await;
    assert_eq!((error.kind, error.attempts), (CallErrorKind::Malformed, 3));
    assert!(error.message.contains("cut short"), "{error}");
}
