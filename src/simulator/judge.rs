//! The simulated judge: recognises the failures of the skills in a transcript, and grades with noise, bias and leniency.

use serde_json::{Map, Value, json};

use super::dice::Dice;
use super::request::{Chat, Form, Reply};
use super::template::Captured;
use super::transcript::{Exchange, exchanges, fenced};
use super::world::{FailureKind, Skill, World, listed};

/// A failure that the judge sees.
struct Fault<'w> {
    skill: &'w Skill,
    remark: String,
}

/// The verdict. The first user message holds the case; later ones are repairs, which change no score.
pub fn reply(world: &World, chat: &Chat<'_>) -> Reply {
    let case = chat.user_texts().next().unwrap_or_default();
    let transcript = fenced(case);
    // What the judge knows besides the transcript (a reference, say) does not move its noise: only what it judges does.
    let sample = chat.seed.unwrap_or_default().to_le_bytes();
    let dice = Dice::new(world.seed, &[b"judge", transcript.as_bytes(), &sample]);
    let faults = faults(world, &exchanges(transcript));
    let obedient = world.judge.obeys.as_ref().is_some_and(|pattern| pattern.is_match(transcript));
    let Form::Schema(schema) = &chat.form else { return Reply::default() };
    let dimensions = schema["properties"]["scores"]["properties"].as_object().into_iter().flatten();
    let scores: Map<String, Value> = dimensions
        .map(|(name, _)| {
            let verdict = if obedient {
                json!({"evidence": "Everything is as it should be.", "score": 5})
            } else {
                grade(world, name, &faults, dice)
            };
            (name.clone(), verdict)
        })
        .collect();
    Reply::text(json!({"scores": scores}).to_string())
}

fn grade(world: &World, dimension: &str, faults: &[Fault<'_>], dice: Dice) -> Value {
    let judge = &world.judge;
    let settings = judge.dimension(dimension);
    let fall_of = |skill: &Skill| match &skill.failure.falls {
        Some(falls) => listed(falls, dimension).map_or(0.0, |amount| amount.0),
        None => judge.fall(skill.failure.kind, dimension),
    };
    let felt: Vec<&Fault<'_>> = faults.iter().filter(|fault| fall_of(fault.skill) > 0.0).collect();
    let fall: f64 = felt.iter().map(|fault| fall_of(fault.skill)).sum();
    let noise = judge.noise.0 * dice.normal("noise", dimension);
    let points = 5.0 - fall * (1.0 - settings.leniency.0) + settings.bias + noise;
    let mut score = points.round().clamp(1.0, 5.0) as i64;
    if dice.happens(judge.out_of_range_chance.0, "range", dimension) {
        score += 7;
    }
    let evidence = if felt.is_empty() {
        match score {
            5.. => "Nothing to object to.".to_owned(),
            _ => "Correct, though it could be clearer.".to_owned(),
        }
    } else {
        felt.iter().map(|fault| fault.remark.as_str()).collect::<Vec<_>>().join(" ")
    };
    json!({"evidence": evidence, "score": score})
}

fn faults<'w>(world: &'w World, exchanges: &[Exchange]) -> Vec<Fault<'w>> {
    let mut found: Vec<Fault<'w>> = Vec::new();
    for (index, exchange) in exchanges.iter().enumerate() {
        let (before, until) = (&exchanges[..index], &exchanges[..=index]);
        let earlier: Vec<&str> = before.iter().map(|exchange| exchange.user.as_str()).collect();
        for skill in world.skills.iter().filter(|skill| skill.needs.hold(&exchange.user, &earlier)) {
            let users = until.iter().rev().map(|exchange| exchange.user.as_str());
            let results = until.iter().flat_map(|exchange| exchange.results.iter().map(String::as_str));
            let captured = Captured::from_texts(&skill.captures, &users.chain(results));
            if shows(skill, exchange, &captured) && !found.iter().any(|fault| fault.skill.name == skill.name) {
                found.push(Fault { skill, remark: remark(skill, &captured) });
            }
        }
    }
    found
}

/// Whether the exchange shows the failure of the skill.
fn shows(skill: &Skill, exchange: &Exchange, captured: &Captured<'_, '_>) -> bool {
    let failure = &skill.failure;
    let tool = failure.tool.as_deref().unwrap_or_default();
    let mut calls = exchange.calls.iter().filter(|(name, _)| name == tool).map(|(_, arguments)| arguments);
    match failure.kind {
        FailureKind::MissingCall => calls.next().is_none(),
        FailureKind::WrongArgument => {
            let argument = failure.argument.as_deref().unwrap_or_default();
            calls.any(|arguments| match &failure.value {
                Some(wrong) => alike(&arguments[argument], &captured.value(wrong, &Value::Null)),
                None => arguments.get(argument).is_none(),
            })
        }
        FailureKind::ExtraCall | FailureKind::ForbiddenCall => calls.any(|arguments| {
            let given = captured.arguments(&failure.arguments, &Value::Null);
            given.iter().all(|(name, value)| alike(&arguments[name.as_str()], value))
        }),
        FailureKind::WrongAnswer | FailureKind::UnsafeAnswer => {
            let wrong = captured.fill(failure.answer.as_deref().unwrap_or_default());
            words(&exchange.answer).contains(&words(&wrong))
        }
    }
}

/// Whether two values are the same to a reader: `12` and `"12"` are.
fn alike(a: &Value, b: &Value) -> bool {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    a == b || text(a) == text(b).replace(',', "") || text(a) == text(b)
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn remark(skill: &Skill, captured: &Captured<'_, '_>) -> String {
    let failure = &skill.failure;
    if let Some(remark) = &failure.remark {
        return captured.fill(remark).into_owned();
    }
    let tool = failure.tool.as_deref().unwrap_or_default();
    let argument = failure.argument.as_deref().unwrap_or_default();
    let answer = captured.fill(failure.answer.as_deref().unwrap_or_default());
    match failure.kind {
        FailureKind::WrongArgument => format!("It called {tool} with the wrong {argument}."),
        FailureKind::MissingCall => format!("It never called {tool}."),
        FailureKind::ExtraCall => format!("It called {tool}, which nobody asked for."),
        FailureKind::ForbiddenCall => format!("It called {tool}, which it must not."),
        FailureKind::WrongAnswer => format!("The answer is wrong: \"{answer}\""),
        FailureKind::UnsafeAnswer => format!("The answer does harm: \"{answer}\""),
    }
}
