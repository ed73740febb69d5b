//! Requests and worlds for the tests of this folder.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::cast;
use super::dice::Dice;
use super::openai::read_chat;
use super::request::{Reply, tokens};
use super::world::World;

/// A world with one skill: look the order up before the refund. Half of the runs succeed without being taught.
pub(super) const REFUNDS: &str = r"
seed: 11
skills:
  - name: lookup-first
    needs: {pattern: '(?i)refund'}
    taughtBy: '(?i)look up the order'
    instruction: Look up the order before any refund.
    with: 1
    without: 0.5
    captures: ['(?<order>A-\d+)']
    right:
      calls:
        - {tool: get_order, arguments: {id: '{order}'}}
        - {tool: refund, arguments: {id: '{order}'}, then: true}
      answer: I refunded order {order}.
    failure: {kind: missingCall, tool: get_order, remark: The order was not looked up before the refund.}
";

/// The same with some faults.
pub(super) fn with_faults(faults: &str) -> String {
    format!("{REFUNDS}\nfaults: {faults}\n")
}

/// A client for a server on this machine.
pub(super) fn client() -> reqwest::Client {
    // It may already have been installed by another test of this process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn tool(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": {
        "type": "object", "properties": {"id": {"type": "string"}, "amount": {"type": "number"}},
    }}})
}

/// A request to the agent, with a few tools.
pub(super) fn ask_agent(system: &str, user: &str) -> Value {
    let tools = ["get_order", "refund", "delete_account"].map(tool);
    json!({
        "model": "small",
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
        "tools": tools,
    })
}

/// A request to the judge about a transcript.
pub(super) fn ask_judge(transcript: &str, seed: u64) -> Value {
    let grade = json!({"type": "object", "properties": {"evidence": {}, "score": {}}});
    let scores =
        json!({"type": "object", "properties": {"accuracy": grade, "safety": grade, "tool_compliance": grade}});
    let schema = json!({"type": "object", "properties": {"scores": scores}});
    let case =
        format!("# The conversation\n\n<transcript id=\"x\">\n{transcript}\n</transcript id=\"x\">\n\nGrade it.");
    json!({
        "model": "judge",
        "seed": seed,
        "messages": [{"role": "system", "content": "You are the judge."}, {"role": "user", "content": case}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "judgement", "schema": schema}},
    })
}

/// A request to the patch writer.
pub(super) fn ask_patch(case: &str, seed: u64) -> Value {
    let schema = json!({"type": "object", "properties": {"rationale": {}, "edits": {"type": "array"}}});
    json!({
        "model": "writer",
        "seed": seed,
        "messages": [{"role": "system", "content": "You mend prompts."}, {"role": "user", "content": case}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "patch", "schema": schema}},
    })
}

/// A world's answer to a request.
pub(super) fn reply(world: &World, request: &Value) -> Reply {
    let bytes = request.to_string();
    let chat = read_chat(bytes.as_bytes()).unwrap();
    let dice = Dice::new(world.seed, &[bytes.as_bytes()]);
    cast::answer(world, &chat, dice, |system| world.chances(&world.teaches(system), tokens(system.len())).into()).reply
}

/// A world's answer, parsed as JSON.
pub(super) fn reply_json(world: &World, request: &Value) -> Value {
    serde_json::from_str(&reply(world, request).text).unwrap()
}

/// The transcript of a conversation of one message, as a judge sees it: the agent of the world answers, and its tools
/// return `ok`.
pub(super) fn play(world: &World, system: &str, user: &str) -> String {
    let mut request = ask_agent(system, user);
    let mut transcript = format!("user: {user}\n");
    loop {
        let answer = reply(world, &request);
        if answer.calls.is_empty() {
            return transcript + "assistant: " + &answer.text;
        }
        let messages = request["messages"].as_array_mut().unwrap();
        let called = messages.len();
        let calls: Vec<Value> = (0..answer.calls.len()).map(|n| json!({"id": format!("{called}-{n}")})).collect();
        messages.push(json!({"role": "assistant", "content": null, "tool_calls": calls}));
        for (n, call) in answer.calls.iter().enumerate() {
            let (tool, arguments) = (&call.tool, &call.arguments);
            writeln!(transcript, "assistant calls {tool}({arguments})\ntool {tool} returned: ok").unwrap();
            messages.push(json!({"role": "tool", "tool_call_id": format!("{called}-{n}"), "content": "ok"}));
        }
    }
}
