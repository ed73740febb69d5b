//! The simulated world: an OpenAI- and Anthropic-compatible server whose answers come from a world file.
//!
//! It replaces every paid provider: for new users without a key, for the tests, and for measuring the error rates of the
//! gate. A [`World`](world::World) defines which skills the agent has only if its prompt teaches them, how the judge errs,
//! how good the patch writer is, and which faults occur. The [`Server`] answers over real HTTP and sees only the request:
//! every answer is a function of the world and the request, so neither order nor concurrency changes one. It must not know
//! scenarios, tags, expectations, or anything else of the engine.

mod agent;
mod anthropic;
mod cast;
mod counts;
mod dice;
mod embeddings;
mod judge;
mod live;
mod mishaps;
mod openai;
mod patch_writer;
mod request;
mod responses;
mod sample;
mod server;
mod template;
#[cfg(test)]
mod testing;
mod transcript;
mod user;
pub(crate) mod world;

pub(crate) use server::Server;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::testing::reply;
    use super::world::{Chance, World};
    use whetstone_domain::scenario::{Expectation, Scenario};
    use whetstone_domain::tool::ToolDefinition;

    /// The tool calls and the answer of the world's agent in a scenario.
    fn run(
        world: &World,
        prompt: &str,
        tools: &[ToolDefinition],
        scenario: &Scenario,
    ) -> (Vec<(String, Value)>, String) {
        let tools: Vec<Value> = tools.iter().map(|tool| json!({"type": "function", "function": tool})).collect();
        let system = json!({"role": "system", "content": prompt});
        let user = json!({"role": "user", "content": scenario.message});
        let mut request = json!({"model": "m", "messages": [system, user], "tools": tools});
        let mut calls = Vec::new();
        loop {
            let answer = reply(world, &request);
            if answer.calls.is_empty() {
                return (calls, answer.text);
            }
            let messages = request["messages"].as_array_mut().unwrap();
            let first = calls.len();
            let ids: Vec<Value> = (0..answer.calls.len()).map(|n| json!({"id": format!("c{}", first + n)})).collect();
            messages.push(json!({"role": "assistant", "content": null, "tool_calls": ids}));
            for (n, call) in answer.calls.into_iter().enumerate() {
                let mock = scenario.mocks.iter().find(|mock| {
                    let given = mock.arguments.iter().flatten();
                    mock.tool.as_str() == call.tool
                        && given.into_iter().all(|(name, value)| same(&call.arguments[name], value))
                });
                let returned = mock.and_then(|mock| mock.returns.clone()).unwrap_or(json!("error: no such call"));
                messages.push(
                    json!({"role": "tool", "tool_call_id": format!("c{}", first + n), "content": returned.to_string()}),
                );
                calls.push((call.tool, call.arguments));
            }
        }
    }

    fn same(a: &Value, b: &Value) -> bool {
        a == b || a.as_f64().is_some_and(|a| b.as_f64() == Some(a))
    }

    /// The faults that the deterministic scorers would find.
    fn faults(expect: &Expectation, calls: &[(String, Value)], answer: &str) -> Vec<String> {
        let mut faults = Vec::new();
        for call in &expect.calls {
            let made = calls.iter().any(|(tool, arguments)| {
                tool == call.tool.as_str()
                    && call.arguments.iter().flatten().all(|(name, value)| same(&arguments[name.as_str()], value))
            });
            if !made {
                faults.push(format!("{call:?} is missing"));
            }
        }
        for forbidden in &expect.forbidden_calls {
            if calls.iter().any(|(tool, _)| tool == forbidden.tool.as_str()) {
                faults.push(format!("{} is forbidden", forbidden.tool));
            }
        }
        let answer = answer.to_lowercase();
        for check in &expect.checks {
            let lacks = check.contains.as_ref().is_some_and(|text| !answer.contains(&text.to_lowercase()));
            let has = check.not_contains.as_ref().is_some_and(|text| answer.contains(&text.to_lowercase()));
            if lacks || has {
                faults.push(format!("{check:?} in {answer:?}"));
            }
        }
        faults
    }

    /// The number of an example's scenarios that fail under its own prompt in a world without randomness. Under a prompt
    /// that teaches everything, none fails.
    fn failing(world: &str, prompt: &str, tools: &str, scenarios: &str) -> usize {
        let mut world = World::parse(world).unwrap();
        let hidden: Vec<&str> = world.skills.iter().filter_map(|skill| skill.instruction.as_deref()).collect();
        let taught = format!("{prompt}\n{}", hidden.join("\n"));
        assert!(world.skills.iter().all(|skill| {
            skill.taught_by.as_ref().is_none_or(|pattern| !pattern.is_match(prompt) && pattern.is_match(&taught))
        }));
        world.interference.clear();
        world.prompt_cost = None;
        for skill in &mut world.skills {
            (skill.with, skill.without) = (Chance(1.0), Chance(0.0));
        }
        let tools: Vec<ToolDefinition> = serde_json::from_str(tools).unwrap();
        let scenarios: Vec<Scenario> = serde_saphyr::from_str(scenarios).unwrap();
        let failing = |prompt: &str| {
            let mut failing = Vec::new();
            for scenario in &scenarios {
                let (calls, answer) = run(&world, prompt, &tools, scenario);
                let faults = faults(&scenario.expect, &calls, &answer);
                if !faults.is_empty() {
                    failing.push(format!("{}: {calls:?}: {}", scenario.id, faults.join("; ")));
                }
            }
            failing
        };
        let still = failing(&taught);
        assert!(still.is_empty(), "under the prompt that teaches everything:\n{}", still.join("\n"));
        failing(prompt).len()
    }

    #[test]
    fn the_quickstart_lacks_what_its_world_can_teach_and_nothing_else() {
        for world in [
            include_str!("../examples/quickstart/world.yaml"),
            include_str!("../examples/quickstart/world-wrong-patches.yaml"),
        ] {
            let failing = failing(
                world,
                include_str!("../examples/quickstart/prompt.md"),
                include_str!("../examples/quickstart/tools.json"),
                include_str!("../examples/quickstart/scenarios.yaml"),
            );
            assert_eq!(failing, 36, "of sixty");
        }
    }

    #[test]
    fn the_benchmark_lacks_twelve_skills_in_four_fifths_of_its_scenarios() {
        let failing = failing(
            include_str!("../examples/twelve-skills/world.yaml"),
            include_str!("../examples/twelve-skills/prompt.md"),
            include_str!("../examples/twelve-skills/tools.json"),
            include_str!("../examples/twelve-skills/scenarios.yaml"),
        );
        assert_eq!(failing, 80, "of a hundred");
    }
}
