//! Assertions about tool calls.

use serde_json::{Map, Value};

use super::super::super::error::ImportError;
use super::super::super::read::scalar;
use super::super::Reading;
use super::Assertion;
use whetstone_domain::scenario::{ArgumentMatch, CallOrder, Expectation, ExpectedCall, ExtraCalls, ForbiddenCall};

/// The maximum number of expected calls of one tool.
const MOST_CALLS: u64 = 20;

/// Adds the calls that an assertion expects or forbids; false if it is not supported.
pub(super) fn add(expect: &mut Expectation, assertion: &Assertion, reading: &mut Reading) -> Result<bool, ImportError> {
    match (assertion.kind, assertion.negated) {
        ("tool-call-f1", false) => {
            expect.calls.extend(assertion.texts()?.iter().map(|tool| call(tool)));
            expect.extra_calls = Some(ExtraCalls::Forbid);
            Ok(true)
        }
        ("trajectory:tool-used", _) => tool_used(expect, assertion),
        ("trajectory:tool-args-match", _) => arguments_match(expect, assertion, reading),
        ("trajectory:tool-sequence", false) => sequence(expect, assertion),
        _ => Ok(false),
    }
}

fn call(tool: &str) -> ExpectedCall {
    ExpectedCall { tool: tool.into(), arguments: None, matching: None }
}

/// Whether a name is a pattern for several tools.
fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?'])
}

fn tool_used(expect: &mut Expectation, assertion: &Assertion) -> Result<bool, ImportError> {
    let (names, least, most) = match &assertion.value {
        Value::Object(fields) => {
            let name = ["name", "pattern"].iter().find_map(|key| fields.get(*key)?.as_str());
            let name = name.ok_or_else(|| assertion.wrong("the name of a tool"))?;
            (
                vec![name.to_owned()],
                fields.get("min").and_then(Value::as_u64),
                fields.get("max").and_then(Value::as_u64),
            )
        }
        _ => (assertion.texts()?, None, None),
    };
    if names.iter().any(|name| is_pattern(name)) {
        return Ok(false);
    }
    let forbids = assertion.negated && least.is_none_or(|least| least == 1) && most.is_none()
        || !assertion.negated && most == Some(0);
    if forbids {
        let forbidden = names.iter().map(|name| ForbiddenCall { tool: name.as_str().into(), arguments: None });
        expect.forbidden_calls.extend(forbidden);
        return Ok(true);
    }
    let least = least.unwrap_or(1);
    // A maximum number of calls is not supported.
    if assertion.negated || most.is_some() || least > MOST_CALLS {
        return Ok(false);
    }
    for name in names {
        expect.calls.extend((0..least).map(|_| call(&name)));
    }
    Ok(true)
}

fn arguments_match(
    expect: &mut Expectation,
    assertion: &Assertion,
    reading: &mut Reading,
) -> Result<bool, ImportError> {
    let wrong = || assertion.wrong("an object with \"name\" and \"args\"");
    let fields = assertion.value.as_object().ok_or_else(wrong)?;
    let name = ["name", "pattern"].iter().find_map(|key| fields.get(*key)?.as_str()).ok_or_else(wrong)?;
    let arguments = ["args", "arguments"].iter().find_map(|key| fields.get(*key)).ok_or_else(wrong)?;
    let mut arguments: Map<String, Value> = arguments.as_object().ok_or_else(wrong)?.clone();
    let exact = fields.get("mode").and_then(Value::as_str) == Some("exact");
    if is_pattern(name) {
        return Ok(false);
    }
    // Ignored arguments and defaults may be present or not, so other arguments cannot be excluded.
    let ignored: Vec<String> = match fields.get("ignore") {
        Some(Value::Array(names)) => names.iter().filter_map(scalar).collect(),
        Some(name) => scalar(name).into_iter().collect(),
        None => Vec::new(),
    };
    if ignored.iter().any(|name| is_pattern(name)) {
        return Ok(false);
    }
    arguments.retain(|name, _| !ignored.contains(name));
    let loose = !ignored.is_empty() || fields.get("defaults").is_some();
    if assertion.negated {
        // A call is forbidden if it has at least these arguments.
        if exact {
            return Ok(false);
        }
        expect.forbidden_calls.push(ForbiddenCall { tool: name.into(), arguments: Some(arguments) });
        return Ok(true);
    }
    if exact && loose {
        reading.notes.add(
            assertion.item.place(),
            "exact arguments with defaults or ignored ones",
            "other arguments are accepted now",
        );
    }
    let matching = if exact && !loose { ArgumentMatch::Exact } else { ArgumentMatch::Subset };
    expect.calls.push(ExpectedCall { tool: name.into(), arguments: Some(arguments), matching: Some(matching) });
    Ok(true)
}

fn sequence(expect: &mut Expectation, assertion: &Assertion) -> Result<bool, ImportError> {
    let steps = match &assertion.value {
        Value::Object(fields) => fields.get("steps").ok_or_else(|| assertion.wrong("an object with \"steps\""))?,
        value => value,
    };
    let steps = steps.as_array().ok_or_else(|| assertion.wrong("an object with \"steps\""))?;
    let name = |step: &Value| {
        let name = ["name", "pattern"].iter().find_map(|key| step.get(*key)).unwrap_or(step);
        name.as_str().map(str::to_owned)
    };
    let Some(names) = steps.iter().map(name).collect::<Option<Vec<String>>>() else { return Ok(false) };
    // One order holds for all the calls of a scenario.
    if names.is_empty() || names.iter().any(|name| is_pattern(name)) || !expect.calls.is_empty() {
        return Ok(false);
    }
    expect.calls.extend(names.iter().map(|name| call(name)));
    expect.order = Some(CallOrder::Strict);
    if assertion.value.get("mode").and_then(Value::as_str) == Some("exact") {
        expect.extra_calls = Some(ExtraCalls::Forbid);
    }
    Ok(true)
}
