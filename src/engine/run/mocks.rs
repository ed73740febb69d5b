//! The tools of the simulated environment: their answers in one conversation.
//!
//! The first mock of the scenario whose tool, arguments and state match answers. A call that no mock matches fails with a
//! message to the agent, as a real tool would; it is never an error of the run.

use std::time::Duration;

use serde_json::{Map, Value};

use whetstone_domain::arguments::includes;
use whetstone_domain::scenario::{Scenario, ToolMock};
use whetstone_domain::tool::ToolCall;

/// The tools of one conversation, with their state, which begins as the scenario defines it.
#[derive(Clone, Debug)]
pub(crate) struct Mocks<'a> {
    mocks: &'a [ToolMock],
    state: Map<String, Value>,
}

/// What a tool answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MockAnswer {
    /// The text that the agent sees.
    pub content: String,
    /// Whether the tool failed.
    pub failed: bool,
    /// The delay before the answer.
    pub delay: Option<Duration>,
}

impl MockAnswer {
    fn failure(message: &str) -> Self {
        Self { content: format!("error: {message}"), failed: true, delay: None }
    }
}

impl<'a> Mocks<'a> {
    /// The tools of a scenario, in their initial state.
    #[must_use]
    pub(crate) fn new(scenario: &'a Scenario) -> Self {
        Self { mocks: &scenario.mocks, state: scenario.state.clone().unwrap_or_default() }
    }

    /// Answers a call. A mock that fails writes its `set` to the state too, so that a tool can fail once and then work.
    pub(crate) fn answer(&mut self, call: &ToolCall) -> MockAnswer {
        let none = Map::new();
        let arguments = match &call.arguments {
            Value::Object(arguments) => arguments,
            Value::Null => &none,
            Value::String(text) if text.trim().is_empty() => &none,
            _ => return MockAnswer::failure("the arguments are not a JSON object"),
        };
        if !self.mocks.iter().any(|mock| mock.tool == call.name) {
            return MockAnswer::failure(&format!("no tool named {:?} is available", call.name.as_str()));
        }
        let Some(mock) = self.mocks.iter().find(|mock| {
            mock.tool == call.name
                && mock.arguments.as_ref().is_none_or(|wanted| includes(arguments, wanted))
                && mock.when.as_ref().is_none_or(|wanted| includes(&self.state, wanted))
        }) else {
            return MockAnswer::failure(&format!(
                "no answer is defined for these arguments of {:?}",
                call.name.as_str()
            ));
        };
        for (key, value) in mock.set.iter().flatten() {
            self.state.insert(key.clone(), value.clone());
        }
        let delay = mock.delay.map(|delay| delay.0);
        match (&mock.error, &mock.returns) {
            (Some(message), _) => MockAnswer { delay, ..MockAnswer::failure(message) },
            (None, Some(Value::String(text))) => MockAnswer { content: text.clone(), failed: false, delay },
            (None, Some(value)) => MockAnswer { content: value.to_string(), failed: false, delay },
            (None, None) => MockAnswer { content: Value::Null.to_string(), failed: false, delay },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scenario(mocks: &Value, state: &Value) -> Scenario {
        serde_json::from_value(json!({"id": "s", "message": "hello", "mocks": mocks, "state": state})).unwrap()
    }

    fn call(name: &str, arguments: Value) -> ToolCall {
        ToolCall { id: "1".to_owned(), name: name.into(), arguments }
    }

    #[test]
    fn the_first_mock_whose_arguments_are_among_those_of_the_call_answers() {
        let scenario = scenario(
            &json!([
                {"tool": "find", "arguments": {"id": 7, "filter": {"open": true}}, "returns": {"total": 2}},
                {"tool": "find", "returns": "nothing found"},
            ]),
            &json!(null),
        );
        let mut mocks = Mocks::new(&scenario);
        let answer = mocks.answer(&call("find", json!({"filter": {"open": true, "old": 1}, "id": 7.0, "x": 0})));
        assert_eq!(answer, MockAnswer { content: r#"{"total":2}"#.to_owned(), failed: false, delay: None });
        assert_eq!(mocks.answer(&call("find", json!({"id": 8}))).content, "nothing found");
    }

    #[test]
    fn a_call_that_nothing_answers_fails_and_tells_the_agent_why() {
        let scenario = scenario(&json!([{"tool": "find", "arguments": {"id": 7}, "returns": 1}]), &json!(null));
        let mut mocks = Mocks::new(&scenario);
        let cases = [
            (call("pay", json!({})), r#"error: no tool named "pay" is available"#),
            (call("find", json!({"id": 8})), r#"error: no answer is defined for these arguments of "find""#),
            (call("find", json!("{\"id\": 7")), "error: the arguments are not a JSON object"),
        ];
        for (call, wanted) in cases {
            let answer = mocks.answer(&call);
            assert_eq!((answer.content.as_str(), answer.failed), (wanted, true));
        }
    }

    #[test]
    fn a_tool_can_fail_once_and_then_work_and_every_conversation_starts_anew() {
        let scenario = scenario(
            &json!([
                {"tool": "pay", "when": {"tried": false}, "error": "gateway timed out", "delay": "2s", "set": {"tried": true}},
                {"tool": "pay", "when": {"tried": true}, "returns": "paid"},
            ]),
            &json!({"tried": false}),
        );
        for _ in 0..2 {
            let mut mocks = Mocks::new(&scenario);
            let first = mocks.answer(&call("pay", json!({})));
            assert_eq!((first.content.as_str(), first.failed), ("error: gateway timed out", true));
            assert_eq!(first.delay, Some(Duration::from_secs(2)));
            let second = mocks.answer(&call("pay", json!("")));
            assert_eq!((second.content.as_str(), second.failed), ("paid", false));
        }
    }

    #[test]
    fn a_tool_that_returns_nothing_answers_null() {
        let scenario = scenario(&json!([{"tool": "log"}]), &json!(null));
        assert_eq!(Mocks::new(&scenario).answer(&call("log", json!({}))).content, "null");
    }
}
