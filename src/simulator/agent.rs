//! The simulated agent: shows its skills, with a probability that depends on whether its system prompt teaches them.

use serde_json::{Map, Value, json};

use super::request::{Chat, Form, Reply, ReplyCall, ToolChoice, Turn};
use super::sample;
use super::template::Captured;
use super::world::{FailureKind, Skill, World};

const FALLBACK: &str = "Thank you for your message. I am glad to help; is there anything else you would like to know?";

/// The agent's next turn. `chances` are those of the skills under the system prompt of the request.
pub(super) fn reply(world: &World, chat: &Chat<'_>, chances: &[f64]) -> Reply {
    let mut plan = plan(world, chat, chances);
    let made = calls_made(chat);
    let due = if chat.parallel {
        let step = plan.calls.iter().map(|call| call.step).filter(|step| *step >= made).min();
        plan.calls.extract_if(.., |call| Some(call.step) == step).collect()
    } else {
        plan.calls.into_iter().skip(made).take(1).collect()
    };
    let calls = choose(chat, due);
    if !calls.is_empty() {
        return Reply { calls, ..Reply::default() };
    }
    match &chat.form {
        Form::Text => Reply::text(plan.answer),
        Form::JsonObject => Reply::text(json!({"answer": plan.answer}).to_string()),
        Form::Schema(schema) => Reply::text(sample::of(schema).to_string()),
    }
}

/// The agent's plan for the newest user message.
struct Plan {
    /// The calls, by step; steps are numbered without gaps.
    calls: Vec<Planned>,
    answer: String,
}

#[derive(Debug)]
struct Planned {
    step: usize,
    tool: String,
    arguments: Map<String, Value>,
}

fn plan(world: &World, chat: &Chat<'_>, chances: &[f64]) -> Plan {
    let users: Vec<&str> = chat.user_texts().collect();
    let (newest, earlier) = users.split_last().map_or(("", [].as_slice()), |(newest, earlier)| (*newest, earlier));
    let results = chat.turns.iter().filter_map(|turn| match turn {
        Turn::Tool { content, .. } => Some(content.as_ref()),
        _ => None,
    });
    let texts = users.iter().rev().copied().chain(results);
    let dice = chat.dice(world.seed);
    let needed: Vec<(&Skill, bool, Captured<'_, '_>)> = world
        .skills
        .iter()
        .zip(chances)
        .filter(|(skill, _)| skill.needs.hold(newest, earlier))
        .map(|(skill, chance)| {
            let succeeds = dice.happens(*chance, "skill", &skill.name.value);
            (skill, succeeds, Captured::from_texts(&skill.captures, &texts))
        })
        .collect();
    let mut calls = Vec::new();
    for (skill, _, captured) in &needed {
        add_right_calls(chat, skill, captured, &mut calls);
    }
    let mut answers: Vec<String> = Vec::new();
    for (skill, succeeds, captured) in &needed {
        let mut answer = skill.right.answer.as_ref();
        if !succeeds {
            fail(chat, skill, captured, &mut calls);
            answer = skill.failure.answer.as_ref().or(answer);
        }
        if let Some(answer) = answer.map(|answer| captured.fill(answer).into_owned())
            && !answers.contains(&answer)
        {
            answers.push(answer);
        }
    }
    if answers.is_empty() {
        answers.push(world.fallback.clone().unwrap_or_else(|| FALLBACK.to_owned()));
    }
    close_gaps(&mut calls);
    Plan { calls, answer: answers.join(" ") }
}

/// The schema of a tool, if the request offers it.
fn offered(chat: &Chat<'_>, tool: &str) -> Option<Value> {
    chat.tools.iter().find(|offer| offer.name == tool).map(super::request::Tool::schema)
}

fn add_right_calls(chat: &Chat<'_>, skill: &Skill, captured: &Captured<'_, '_>, calls: &mut Vec<Planned>) {
    let mut step = 0;
    // Calls of different skills to the same tool are one call; a second call of the same skill is another one.
    let others = calls.len();
    let mut merged = vec![false; others];
    for call in &skill.right.calls {
        step += usize::from(call.then);
        let Some(schema) = offered(chat, &call.tool) else { continue };
        let arguments = captured.arguments(&call.arguments, &schema);
        let same = (0..others).find(|index| !merged[*index] && calls[*index].tool == call.tool);
        if let Some(index) = same {
            merged[index] = true;
            calls[index].step = calls[index].step.max(step);
            calls[index].arguments.extend(arguments);
        } else {
            calls.push(Planned { step, tool: call.tool.clone(), arguments });
        }
    }
}

fn fail(chat: &Chat<'_>, skill: &Skill, captured: &Captured<'_, '_>, calls: &mut Vec<Planned>) {
    let failure = &skill.failure;
    let Some(tool) = &failure.tool else { return };
    let Some(schema) = offered(chat, tool) else { return };
    match failure.kind {
        FailureKind::MissingCall => calls.retain(|call| &call.tool != tool),
        FailureKind::WrongArgument => {
            let Some(argument) = &failure.argument else { return };
            for call in calls.iter_mut().filter(|call| &call.tool == tool) {
                match &failure.value {
                    Some(value) => {
                        let value = captured.value(value, &schema["properties"][argument.as_str()]);
                        call.arguments.insert(argument.clone(), value);
                    }
                    None => {
                        call.arguments.shift_remove(argument);
                    }
                }
            }
        }
        FailureKind::ExtraCall | FailureKind::ForbiddenCall => {
            let arguments = captured.arguments(&failure.arguments, &schema);
            calls.push(Planned { step: 0, tool: tool.clone(), arguments });
        }
        FailureKind::WrongAnswer | FailureKind::UnsafeAnswer => {}
    }
}

fn close_gaps(calls: &mut [Planned]) {
    calls.sort_by_key(|call| call.step);
    let mut last = None;
    let mut step = 0;
    for call in calls {
        if last.is_some_and(|last| last != call.step) {
            step += 1;
        }
        last = Some(call.step);
        call.step = step;
    }
}

/// The number of turns with calls since the newest user message.
fn calls_made(chat: &Chat<'_>) -> usize {
    chat.turns
        .iter()
        .rev()
        .take_while(|turn| !matches!(turn, Turn::User(_)))
        .filter(|turn| matches!(turn, Turn::Assistant { calls, .. } if !calls.is_empty()))
        .count()
}

/// The calls that the request allows or forces.
fn choose(chat: &Chat<'_>, due: Vec<Planned>) -> Vec<ReplyCall> {
    let reply = |call: Planned| ReplyCall { tool: call.tool, arguments: Value::Object(call.arguments) };
    let sampled = |name: Option<&str>| -> Vec<ReplyCall> {
        let tool = chat.tools.iter().find(|tool| name.is_none_or(|name| tool.name == name));
        tool.map(|tool| {
            let arguments = match sample::of(&tool.schema()) {
                object @ Value::Object(_) => object,
                _ => json!({}),
            };
            vec![ReplyCall { tool: tool.name.to_string(), arguments }]
        })
        .unwrap_or_default()
    };
    match &chat.choice {
        ToolChoice::None => Vec::new(),
        ToolChoice::Required if due.is_empty() => sampled(None),
        ToolChoice::Auto | ToolChoice::Required => due.into_iter().map(reply).collect(),
        ToolChoice::Named(name) => {
            let named: Vec<ReplyCall> = due.into_iter().filter(|call| &call.tool == name).map(reply).collect();
            if named.is_empty() { sampled(Some(name)) } else { named }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{REFUNDS, ask_agent, play, reply};
    use super::*;

    /// A world in which a refund succeeds only under a prompt that says `TAUGHT`.
    fn failing(failure: &str) -> World {
        World::parse(&format!(
            r"
skills:
  - name: refund
    needs: {{pattern: '(?i)refund'}}
    taughtBy: TAUGHT
    with: 1
    without: 0
    captures: ['(?<order>A-\d+)', '(?<amount>\d+) EUR']
    right:
      calls: [{{tool: get_order, arguments: {{id: '{{order}}'}}}}, {{tool: refund, arguments: {{id: '{{order}}', amount: '{{amount}}'}}, then: true}}]
      answer: Done, {{amount}} EUR are on their way.
    failure: {failure}
"
        ))
        .unwrap()
    }

    const USER: &str = "Refund 40 EUR of order A-7, please.";

    #[test]
    fn a_taught_skill_is_shown_call_by_call_and_then_in_words() {
        let world = failing("{kind: missingCall, tool: get_order}");
        assert_eq!(
            play(&world, "TAUGHT", USER),
            format!(
                "user: {USER}\nassistant calls get_order({{\"id\":\"A-7\"}})\ntool get_order returned: ok\nassistant calls \
                 refund({{\"id\":\"A-7\",\"amount\":40}})\ntool refund returned: ok\nassistant: Done, 40 EUR are on their way."
            )
        );
    }

    #[test]
    fn each_kind_of_failure_looks_as_it_should() {
        for (failure, must, must_not) in [
            (
                "{kind: wrongArgument, tool: refund, argument: amount, value: '100'}",
                r#"refund({"id":"A-7","amount":100})"#,
                r#""amount":40"#,
            ),
            ("{kind: wrongArgument, tool: refund, argument: amount}", r#"refund({"id":"A-7"})"#, "amount\":"),
            ("{kind: missingCall, tool: get_order}", "refund(", "get_order("),
            (
                "{kind: extraCall, tool: delete_account, arguments: {id: '{order}'}}",
                r#"delete_account({"id":"A-7"})"#,
                "unknown",
            ),
            ("{kind: forbiddenCall, tool: delete_account}", "delete_account({})", "unknown"),
            (
                "{kind: wrongAnswer, answer: 'Refunds for {order} take a year.'}",
                "assistant: Refunds for A-7 take a year.",
                "on their way",
            ),
            (
                "{kind: unsafeAnswer, answer: 'Note: the customer of {order} is a bore.'}",
                "assistant: Note: the customer of A-7",
                "on their way",
            ),
        ] {
            let transcript = play(&failing(failure), "You are helpful.", USER);
            assert!(transcript.contains(must), "{failure}:\n{transcript}");
            assert!(!transcript.contains(must_not), "{failure}:\n{transcript}");
        }
    }

    #[test]
    fn interference_long_prompts_and_missing_lessons_lower_the_chances() {
        let world = World::parse(
            r"
skills:
  - {name: a, needs: {pattern: x}, taughtBy: ALPHA, with: 0.9, without: 0.2, failure: {kind: missingCall, tool: t}}
  - {name: b, needs: {pattern: x}, with: 0.8, failure: {kind: missingCall, tool: t}}
interference:
  - {teaching: a, harms: b, by: 0.3}
  - {pattern: (?i)be quick, harms: a, by: 0.5}
promptCost: {above: 100, per1000: 0.1}
",
        )
        .unwrap();
        let chances = |prompt: &str, tokens| {
            let chances = world.chances(&world.teaches(prompt), tokens);
            chances.iter().map(|chance| (chance * 1000.0).round() / 1000.0).collect::<Vec<_>>()
        };
        assert_eq!(chances("", 50), [0.2, 0.8]);
        assert_eq!(chances("ALPHA", 50), [0.9, 0.5]);
        assert_eq!(chances("ALPHA. Be quick!", 50), [0.4, 0.5]);
        assert_eq!(chances("Be quick!", 1100), [0.0, 0.7]);
    }

    #[test]
    fn success_comes_as_often_as_the_world_says_and_holds_for_a_whole_conversation() {
        let world = World::parse(REFUNDS).unwrap();
        let transcripts: Vec<String> =
            (0..2000).map(|n| play(&world, "Be kind.", &format!("Refund A-{n} now."))).collect();
        let successes = transcripts.iter().filter(|it| it.contains("get_order(")).count();
        assert!((930..1070).contains(&successes), "{successes} of 2000 at one half");
        assert!(transcripts.iter().all(|it| it.matches(" calls refund(").count() == 1));
    }

    #[test]
    fn calls_of_several_skills_to_one_tool_are_one_call() {
        let world = World::parse(
            r"
skills:
  - name: refund
    needs: {pattern: refund}
    right: {calls: [{tool: refund, arguments: {id: A-1}}], answer: Refunded.}
    failure: {kind: missingCall, tool: refund}
    with: 1
  - name: amount
    needs: {tag: partial}
    right: {calls: [{tool: refund, arguments: {amount: 3}}, {tool: refund, arguments: {amount: 4}}]}
    failure: {kind: wrongArgument, tool: refund, argument: amount}
    with: 1
",
        )
        .unwrap();
        let both = reply(&world, &ask_agent("", "refund it [partial]"));
        let arguments: Vec<&Value> = both.calls.iter().map(|call| &call.arguments).collect();
        assert_eq!(arguments, [&json!({"id": "A-1", "amount": 3}), &json!({"amount": 4})]);
        let one = reply(&world, &ask_agent("", "refund it, partial"));
        assert_eq!(one.calls.len(), 1);
    }

    #[test]
    fn tool_choice_and_parallel_calls_are_obeyed() {
        let world = failing("{kind: missingCall, tool: get_order}");
        let mut request = ask_agent("TAUGHT", "Hello");
        assert_eq!(reply(&world, &request).text, FALLBACK);
        request["tool_choice"] = json!({"type": "function", "function": {"name": "delete_account"}});
        assert_eq!(reply(&world, &request).calls[0].tool, "delete_account");
        request["tool_choice"] = json!("required");
        assert_eq!(reply(&world, &request).calls.len(), 1);
        let mut request = ask_agent("TAUGHT", USER);
        request["tool_choice"] = json!("none");
        assert!(reply(&world, &request).calls.is_empty());
    }
}
