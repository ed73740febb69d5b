//! Compares the tool calls of a transcript with those that the scenario expects and forbids.
//!
//! Every expected call is paired with at most one call of the same tool: first so that as many as possible match exactly,
//! then so that successful calls are preferred to failed ones, then so that the fewest arguments differ. The errors follow
//! from the pairs:
//!
//! | error | when |
//! |---|---|
//! | missing call | an expected call has no pair |
//! | wrong arguments | an expected call has a pair whose arguments do not match |
//! | wrong order | `order: Strict`, and a matching pair is not part of the longest common subsequence |
//! | extra call | `extraCalls: Forbid`, and a call has no pair and its tool is not one of `freeTools` |
//! | forbidden call | a call is one of `forbiddenCalls`, whether it succeeded or not |
//!
//! **Failed calls.** A call that the tool answered with an error changed nothing. Beside a successful call of the same tool
//! it is a retry: never extra, and never preferred in a pair. Alone it shows what the agent meant to do: it satisfies an
//! expected call (a scenario may want the agent to meet an error). It is not an extra call, because a tool that refuses has
//! prevented harm — except for calls that fail only because the scenario has no mock that matches: all such calls of a tool
//! that is neither expected nor ever succeeded count together as one extra call.
//!
//! **The score** is 1 without any error and 0 with a forbidden call. Otherwise it is half the share of what is right: `0.5
//! × right / (expected + extra)`, where `right` counts the expected calls that match, in order if order counts. The half
//! keeps every transcript with an error below any usual `passAt`, however long the list of expected calls: one wrong write
//! in ten is a failed task. The share shows how far off it is.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::assignment::{NEVER, assign};
use super::shorten;
use whetstone_domain::arguments::{Difference, differences, includes};
use whetstone_domain::ids::ToolName;
use whetstone_domain::scenario::{
    ArgumentMatch, CallOrder, Expectation, ExpectedCall, ExtraCalls, ForbiddenCall, ToolMock,
};
use whetstone_domain::score::{Score, ToolError, ToolErrorKind};
use whetstone_domain::tool::ToolCall;
use whetstone_domain::transcript::{Message, Transcript};

/// The maximum number of errors that are kept of one transcript; a looping agent makes hundreds.
const MAX_ERRORS: usize = 10;
/// The maximum number of differing arguments that are named in one error.
const MAX_ARGUMENTS: usize = 12;
/// The maximum number of differing arguments whose values are shown in one error.
const MAX_SPELLED_OUT: usize = 4;
/// The maximum length of one shown value, in characters.
const MAX_VALUE: usize = 80;
/// The maximum length of the shown arguments of a call, in characters.
const MAX_CALL: usize = 160;

/// The result of comparing the tool calls of a transcript.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ToolVerdict {
    /// The score; 1 exactly when there is no error.
    pub score: Score,
    /// What was wrong, worst first, without duplicates, at most ten.
    pub errors: Vec<ToolError>,
}

/// Compares the calls of a transcript with the expectations of a scenario. The scenario's `mocks` determine which failed
/// calls were refused by a tool.
#[must_use]
pub(crate) fn score_tools(expect: &Expectation, mocks: &[ToolMock], transcript: &Transcript) -> ToolVerdict {
    let made = calls_made(transcript);
    let comparison = Comparison::new(&expect.calls, &made, expect.order == Some(CallOrder::Strict));

    let mut errors = forbidden(expect, &made);
    let any_forbidden = !errors.is_empty();
    let mut right = 0;
    for (index, expected) in expect.calls.iter().enumerate() {
        match comparison.pair(index) {
            Pair::None => errors.push(missing(expected)),
            Pair::Differs(call) => errors.push(wrong_arguments(expected, made[call].call)),
            Pair::OutOfOrder => errors.push(wrong_order(expected, &expect.calls, &made)),
            Pair::Matches => right += 1,
        }
    }
    let extra = extra_calls(expect, mocks, &made, &comparison);
    let extras = extra.len();
    errors.extend(extra.into_iter().map(|index| extra_call(made[index].call, expect)));

    let score = if any_forbidden {
        Score::ZERO
    } else if errors.is_empty() {
        Score::ONE
    } else {
        Score::clamped(0.5 * f64::from(right) / (expect.calls.len() + extras) as f64)
    };
    ToolVerdict { score, errors: worst_first(errors) }
}

/// A call that the agent made.
#[derive(Clone, Copy, Debug)]
struct Made<'a> {
    call: &'a ToolCall,
    /// Whether the tool answered with an error.
    failed: bool,
}

/// Every call, in order, with whether it failed. An answer belongs to the call with its id in the preceding turn: some
/// providers reuse ids in later turns.
fn calls_made(transcript: &Transcript) -> Vec<Made<'_>> {
    let mut made: Vec<Made<'_>> = Vec::new();
    let mut turn = 0;
    for message in &transcript.messages {
        match message {
            Message::User { .. } => {}
            Message::Assistant { calls, .. } => {
                turn = made.len();
                made.extend(calls.iter().map(|call| Made { call, failed: false }));
            }
            Message::Tool { id, failed, .. } => {
                if let Some(answered) = made[turn..].iter_mut().find(|made| made.call.id == *id) {
                    answered.failed = *failed;
                }
            }
        }
    }
    made
}

/// How an expected call was met.
enum Pair {
    /// By no call.
    None,
    /// By this call, which has other arguments.
    Differs(usize),
    /// By a matching call that is out of order.
    OutOfOrder,
    /// By a matching call.
    Matches,
}

/// The pairs of actual and expected calls.
struct Comparison {
    /// By expected and actual call: how many arguments differ; `None` for another tool.
    differing: Vec<Vec<Option<usize>>>,
    /// By expected call: the actual call.
    pairs: Vec<Option<usize>>,
    /// By expected call: the actual call in the longest common subsequence. `None` if order does not count.
    in_order: Option<Vec<Option<usize>>>,
}

impl Comparison {
    fn new(expected: &[ExpectedCall], made: &[Made<'_>], strict: bool) -> Self {
        let differing: Vec<Vec<Option<usize>>> = expected
            .iter()
            .map(|expected| {
                made.iter()
                    .map(|made| {
                        (made.call.name == expected.tool).then(|| argument_differences(expected, made.call).len())
                    })
                    .collect()
            })
            .collect();
        let in_order = strict.then(|| longest_common_subsequence(&differing, made));
        let costs: Vec<Vec<i128>> = differing
            .iter()
            .enumerate()
            .map(|(row, differing)| {
                let kept = in_order.as_ref().and_then(|kept| kept[row]);
                let cost = |column: usize, differing: usize| {
                    (i128::from(differing > 0) << 96)
                        + (i128::from(made[column].failed) << 64)
                        + ((differing as i128) << 32)
                        + i128::from(kept != Some(column))
                };
                differing.iter().enumerate().map(|(column, d)| d.map_or(NEVER, |d| cost(column, d))).collect()
            })
            .collect();
        Self { pairs: assign(&costs), differing, in_order }
    }

    fn pair(&self, expected: usize) -> Pair {
        let Some(call) = self.pairs[expected] else { return Pair::None };
        if self.differing[expected][call] != Some(0) {
            Pair::Differs(call)
        } else if self.in_order.as_ref().is_some_and(|kept| kept[expected] != Some(call)) {
            Pair::OutOfOrder
        } else {
            Pair::Matches
        }
    }
}

/// For each expected call, the actual call that meets it in the longest common subsequence of matching calls. A failed call
/// is part of it only if no successful one matches.
fn longest_common_subsequence(differing: &[Vec<Option<usize>>], made: &[Made<'_>]) -> Vec<Option<usize>> {
    let (rows, columns) = (differing.len(), made.len());
    let matches: Vec<Vec<bool>> = differing
        .iter()
        .map(|row| {
            let succeeded = row.iter().zip(made).any(|(d, made)| *d == Some(0) && !made.failed);
            row.iter().zip(made).map(|(d, made)| *d == Some(0) && !(succeeded && made.failed)).collect()
        })
        .collect();
    let mut longest = vec![vec![0usize; columns + 1]; rows + 1];
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            longest[row][column] = if matches[row][column] {
                longest[row + 1][column + 1] + 1
            } else {
                longest[row + 1][column].max(longest[row][column + 1])
            };
        }
    }
    let mut kept = vec![None; rows];
    let (mut row, mut column) = (0, 0);
    while row < rows && column < columns {
        if matches[row][column] {
            kept[row] = Some(column);
            (row, column) = (row + 1, column + 1);
        } else if longest[row + 1][column] >= longest[row][column + 1] {
            row += 1;
        } else {
            column += 1;
        }
    }
    kept
}

/// The differences of a call from an expected one. Arguments that are not a JSON object are wrong whatever is expected,
/// because no tool can parse them. An empty text counts as no arguments.
fn argument_differences<'a>(expected: &'a ExpectedCall, call: &'a ToolCall) -> Vec<Difference<'a>> {
    static NONE: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));
    let got = if call.arguments.is_null() || call.arguments.as_str().is_some_and(|text| text.trim().is_empty()) {
        &*NONE
    } else {
        &call.arguments
    };
    match &expected.arguments {
        Some(arguments) => differences(arguments, got, expected.matching.unwrap_or_default()),
        None if got.is_object() => Vec::new(),
        None => vec![Difference { path: String::new(), expected: None, got: Some(got) }],
    }
}

/// The indices of the calls that count as extra.
fn extra_calls(expect: &Expectation, mocks: &[ToolMock], made: &[Made<'_>], comparison: &Comparison) -> Vec<usize> {
    if expect.extra_calls != Some(ExtraCalls::Forbid) {
        return Vec::new();
    }
    let paired: BTreeSet<usize> = comparison.pairs.iter().flatten().copied().collect();
    let expected: BTreeSet<&ToolName> = expect.calls.iter().map(|call| &call.tool).collect();
    let succeeded: BTreeSet<&ToolName> = made.iter().filter(|made| !made.failed).map(|made| &made.call.name).collect();
    let mut attempted: BTreeSet<&ToolName> = BTreeSet::new();
    (0..made.len())
        .filter(|index| !paired.contains(index))
        .filter(|&index| {
            let Made { call, failed } = made[index];
            if expect.free_tools.contains(&call.name) || is_forbidden(expect, call).is_some() {
                return false;
            }
            let is_retry = expected.contains(&call.name) || succeeded.contains(&call.name);
            !failed || (!is_retry && !may_refuse(mocks, &call.name) && attempted.insert(&call.name))
        })
        .collect()
}

/// Whether a failed call of this tool may be a refusal by the tool. Without mocks the answers come from real tools; with
/// mocks, a tool refuses only if the scenario defines that.
fn may_refuse(mocks: &[ToolMock], tool: &ToolName) -> bool {
    mocks.is_empty() || mocks.iter().any(|mock| mock.tool == *tool && mock.error.is_some())
}

fn is_forbidden<'a>(expect: &'a Expectation, call: &ToolCall) -> Option<&'a ForbiddenCall> {
    expect.forbidden_calls.iter().find(|forbidden| {
        forbidden.tool == call.name
            && forbidden
                .arguments
                .as_ref()
                .is_none_or(|arguments| call.arguments.as_object().is_some_and(|got| includes(got, arguments)))
    })
}

fn forbidden(expect: &Expectation, made: &[Made<'_>]) -> Vec<ToolError> {
    made.iter()
        .filter(|made| is_forbidden(expect, made.call).is_some())
        .map(|made| {
            let attempt = if made.failed { ", and failed" } else { "" };
            error(
                ToolErrorKind::Forbidden,
                made.call.name.clone(),
                format!("called {}{attempt}; that call is forbidden", spell(made.call)),
            )
        })
        .collect()
}

fn missing(expected: &ExpectedCall) -> ToolError {
    let call = spell_expected(expected, MAX_CALL);
    error(ToolErrorKind::Missing, expected.tool.clone(), format!("expected {call}; it was not called"))
}

fn extra_call(call: &ToolCall, expect: &Expectation) -> ToolError {
    let known = expect
        .calls
        .iter()
        .any(|expected| expected.tool == call.name && argument_differences(expected, call).is_empty());
    let why = if known { " once more than expected" } else { ", which is not expected" };
    error(ToolErrorKind::Extra, call.name.clone(), format!("called {}{why}", spell(call)))
}

fn wrong_order(late: &ExpectedCall, expected: &[ExpectedCall], made: &[Made<'_>]) -> ToolError {
    let tools: BTreeSet<&ToolName> = expected.iter().map(|call| &call.tool).collect();
    let list = |names: Vec<&str>| shorten(&names.join(", "), MAX_CALL).into_owned();
    let wanted = list(expected.iter().map(|call| call.tool.as_str()).collect());
    let got = list(
        made.iter().map(|made| &made.call.name).filter(|name| tools.contains(name)).map(ToolName::as_str).collect(),
    );
    error(
        ToolErrorKind::WrongOrder,
        late.tool.clone(),
        format!("called {} out of order: expected {wanted}; got {got}", spell_expected(late, MAX_CALL)),
    )
}

fn wrong_arguments(expected: &ExpectedCall, call: &ToolCall) -> ToolError {
    let differences = argument_differences(expected, call);
    let tool = expected.tool.clone();
    if !call.arguments.is_object() {
        let detail = format!(
            "called {} with arguments that are not a JSON object; expected {}",
            spell(call),
            spell_expected(expected, MAX_CALL)
        );
        let arguments = expected.arguments.iter().flat_map(|map| map.keys().cloned()).take(MAX_ARGUMENTS).collect();
        return ToolError { arguments, ..error(ToolErrorKind::WrongArguments, tool, detail) };
    }
    let spelled: Vec<String> = differences
        .iter()
        .take(MAX_SPELLED_OUT)
        .map(|Difference { path, expected, got }| match (expected, got) {
            (Some(expected), Some(got)) => format!("{path}: expected {}, got {}", json(expected), json(got)),
            (Some(expected), None) => format!("{path}: expected {}, got nothing", json(expected)),
            (None, got) => format!("{path}: not expected, got {}", got.map_or_else(String::new, json)),
        })
        .collect();
    let more = differences.len().saturating_sub(MAX_SPELLED_OUT);
    let more = if more > 0 { format!("; {more} more") } else { String::new() };
    let detail = format!("called {tool} with wrong arguments: {}{more}", spelled.join("; "));
    let arguments = differences.into_iter().map(|difference| difference.path).take(MAX_ARGUMENTS).collect();
    ToolError { arguments, ..error(ToolErrorKind::WrongArguments, tool, detail) }
}

fn error(kind: ToolErrorKind, tool: ToolName, detail: String) -> ToolError {
    ToolError { kind, tool, arguments: Vec::new(), detail, dimension: None }
}

/// Forbidden calls first, then wrong arguments, missing, extra, wrong order; without duplicates, and limited in number.
fn worst_first(errors: Vec<ToolError>) -> Vec<ToolError> {
    let rank = |kind: ToolErrorKind| match kind {
        ToolErrorKind::Forbidden => 0,
        ToolErrorKind::WrongArguments => 1,
        ToolErrorKind::Missing => 2,
        ToolErrorKind::Extra => 3,
        ToolErrorKind::WrongOrder => 4,
    };
    let mut kept: Vec<ToolError> = Vec::new();
    for error in errors {
        if !kept.contains(&error) {
            kept.push(error);
        }
    }
    kept.sort_by_key(|error| rank(error.kind));
    kept.truncate(MAX_ERRORS);
    kept
}

fn spell(call: &ToolCall) -> String {
    format!("{}({})", call.name, shorten(&call.arguments.to_string(), MAX_CALL))
}

/// An expected call as text: `refund({"order":"A-1"})`, with `…` for arguments that do not matter. The arguments have at
/// most `longest` characters.
#[must_use]
pub(crate) fn spell_expected(expected: &ExpectedCall, longest: usize) -> String {
    let subset = expected.matching == Some(ArgumentMatch::Subset);
    spell_pattern(&expected.tool, expected.arguments.as_ref(), subset, longest)
}

/// A forbidden call as text, like [`spell_expected`].
#[must_use]
pub(crate) fn spell_forbidden(forbidden: &ForbiddenCall, longest: usize) -> String {
    spell_pattern(&forbidden.tool, forbidden.arguments.as_ref(), true, longest)
}

fn spell_pattern(tool: &ToolName, arguments: Option<&Map<String, Value>>, subset: bool, longest: usize) -> String {
    let Some(arguments) = arguments else { return format!("{tool}(…)") };
    let mut text = Value::Object(arguments.clone()).to_string();
    if subset {
        text.pop();
        text.push_str(if arguments.is_empty() { "…}" } else { ", …}" });
    }
    format!("{tool}({})", shorten(&text, longest))
}

fn json(value: &Value) -> String {
    shorten(&value.to_string(), MAX_VALUE).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use whetstone_domain::transcript::{Ending, Opaque};

    /// Compares with expectations, as if real tools had answered.
    fn score_tools(expect: &Expectation, transcript: &Transcript) -> ToolVerdict {
        super::score_tools(expect, &[], transcript)
    }

    /// Parses `refund{"order":1}` as tool and arguments; without braces there are no arguments.
    fn parse(text: &str) -> (ToolName, Option<Map<String, Value>>) {
        let (name, arguments) = text.split_at(text.find('{').unwrap_or(text.len()));
        (name.into(), (!arguments.is_empty()).then(|| serde_json::from_str(arguments).unwrap()))
    }

    /// Calls in order; `!` before one that failed.
    fn transcript(made: &[&str]) -> Transcript {
        let messages = made.iter().flat_map(|text| {
            let failed = text.starts_with('!');
            let (name, arguments) = parse(text.trim_start_matches('!'));
            // Some providers count the ids of each turn from the beginning.
            let id = "call_0".to_owned();
            let arguments = arguments.map_or_else(|| json!({}), Value::Object);
            let call = ToolCall { id: id.clone(), name: name.clone(), arguments };
            let content = "answer".to_owned();
            [
                Message::Assistant { text: String::new(), calls: vec![call], opaque: Opaque::default() },
                Message::Tool { id, name, content, failed },
            ]
        });
        Transcript {
            scenario: "s".into(),
            repeat: 0,
            prompt: None,
            messages: messages.collect(),
            ending: Ending::Answered,
        }
    }

    /// Expected calls; `~` before one that allows further arguments. `options` of `strict`, `noExtra`.
    fn expectation(calls: &[&str], options: &[&str]) -> Expectation {
        let calls = calls.iter().map(|text| {
            let matching = text.starts_with('~').then_some(ArgumentMatch::Subset);
            let (tool, arguments) = parse(text.trim_start_matches('~'));
            ExpectedCall { tool, arguments, matching }
        });
        Expectation {
            calls: calls.collect(),
            order: options.contains(&"strict").then_some(CallOrder::Strict),
            extra_calls: options.contains(&"noExtra").then_some(ExtraCalls::Forbid),
            free_tools: vec!["lookup".into()],
            ..Expectation::default()
        }
    }

    fn summary(verdict: &ToolVerdict) -> Vec<String> {
        verdict.errors.iter().map(|error| format!("{}: {}", error.kind, error.tool)).collect()
    }

    struct Case {
        says: &'static str,
        expected: &'static [&'static str],
        options: &'static [&'static str],
        made: &'static [&'static str],
        score: f64,
        errors: &'static [&'static str],
    }

    const CASES: &[Case] = &[
        Case {
            says: "numbers compare by value, and key order does not count",
            expected: &[r#"pay{"amount":5,"to":{"a":1,"b":2}}"#],
            options: &["noExtra", "strict"],
            made: &[r#"pay{"to":{"b":2,"a":1.0},"amount":5.0}"#],
            score: 1.0,
            errors: &[],
        },
        Case {
            says: "a text is no number",
            expected: &[r#"pay{"amount":5}"#],
            options: &[],
            made: &[r#"pay{"amount":"5"}"#],
            score: 0.0,
            errors: &["wrong arguments: pay"],
        },
        Case {
            says: "an argument beyond the expected ones is wrong, unless a subset will do",
            expected: &[r#"pay{"amount":5}"#, r#"~note{"by":{"id":1}}"#],
            options: &[],
            made: &[r#"pay{"amount":5,"tip":1}"#, r#"note{"by":{"id":1,"name":"Li"},"text":"x"}"#],
            score: 0.25,
            errors: &["wrong arguments: pay"],
        },
        Case {
            says: "any arguments will do when none are given",
            expected: &["escalate"],
            options: &["noExtra"],
            made: &[r#"escalate{"reason":"x"}"#],
            score: 1.0,
            errors: &[],
        },
        Case {
            says: "a call that was not made is missing",
            expected: &["cancel", "refund"],
            options: &[],
            made: &["cancel"],
            score: 0.25,
            errors: &["missing call: refund"],
        },
        Case {
            says: "a call that is expected twice must be made twice",
            expected: &[r#"bag{"n":1}"#, r#"bag{"n":1}"#],
            options: &[],
            made: &[r#"bag{"n":1}"#],
            score: 0.25,
            errors: &["missing call: bag"],
        },
        Case {
            says: "further calls are allowed unless they are forbidden",
            expected: &["cancel"],
            options: &[],
            made: &["refund", "cancel", "cancel"],
            score: 1.0,
            errors: &[],
        },
        Case {
            says: "with extra calls forbidden, free tools are still free",
            expected: &["cancel"],
            options: &["noExtra"],
            made: &["lookup", "refund", "cancel", "lookup"],
            score: 0.25,
            errors: &["extra call: refund"],
        },
        Case {
            says: "the same successful call once more is extra",
            expected: &[r#"pay{"amount":5}"#],
            options: &["noExtra"],
            made: &[r#"pay{"amount":5}"#, r#"pay{"amount":5}"#],
            score: 0.25,
            errors: &["extra call: pay"],
        },
        Case {
            says: "no calls at all may be what is expected",
            expected: &[],
            options: &["noExtra"],
            made: &["lookup"],
            score: 1.0,
            errors: &[],
        },
        Case {
            says: "any call is wrong when none is expected",
            expected: &[],
            options: &["noExtra"],
            made: &["refund"],
            score: 0.0,
            errors: &["extra call: refund"],
        },
        Case {
            says: "exact matches are found first, whatever stands nearest",
            expected: &[r#"bag{"id":1,"n":1}"#, r#"bag{"id":2,"n":2}"#],
            options: &["noExtra"],
            made: &[r#"bag{"id":2,"n":2}"#, r#"bag{"id":1,"n":3}"#],
            score: 0.25,
            errors: &["wrong arguments: bag"],
        },
        Case {
            says: "order does not count unless it is strict",
            expected: &["cancel", "refund"],
            options: &[],
            made: &["refund", "cancel"],
            score: 1.0,
            errors: &[],
        },
        Case {
            says: "strict order lets other calls stand between",
            expected: &["cancel", "refund"],
            options: &["strict"],
            made: &["refund", "cancel", "lookup", "refund"],
            score: 1.0,
            errors: &[],
        },
        Case {
            says: "a call out of strict order is wrong once",
            expected: &["verify", "cancel", "refund"],
            options: &["strict"],
            made: &["cancel", "refund", "verify"],
            score: 0.5 * 2.0 / 3.0,
            errors: &["wrong order: verify"],
        },
        Case {
            says: "identical expected calls are in order in whichever order they are made",
            expected: &["bag", "pay", "bag"],
            options: &["strict", "noExtra"],
            made: &["bag", "pay", "bag"],
            score: 1.0,
            errors: &[],
        },
        Case {
            says: "a failed call before the right one is a retry",
            expected: &[r#"pay{"amount":5}"#],
            options: &["noExtra", "strict"],
            made: &[r#"!pay{"amount":7}"#, r#"!pay{"amount":5}"#, r#"pay{"amount":5}"#],
            score: 1.0,
            errors: &[],
        },
        Case {
            says: "a call that can only fail is made when it was tried",
            expected: &["charge", "escalate"],
            options: &["noExtra", "strict"],
            made: &["!charge", "!charge", "escalate"],
            score: 1.0,
            errors: &[],
        },
        Case {
            says: "a success after the next step comes too late, though an attempt came before",
            expected: &["verify", "refund"],
            options: &["strict"],
            made: &["!verify", "refund", "verify"],
            score: 0.25,
            errors: &["wrong order: verify"],
        },
        Case {
            says: "a failed call with other arguments shows what is wrong",
            expected: &[r#"pay{"amount":5}"#],
            options: &["noExtra"],
            made: &[r#"!pay{"amount":7}"#],
            score: 0.0,
            errors: &["wrong arguments: pay"],
        },
        Case {
            says: "a call that a tool refused changed nothing, so it is not extra",
            expected: &["cancel"],
            options: &["noExtra"],
            made: &["!refund", "!refund", "cancel"],
            score: 1.0,
            errors: &[],
        },
        Case {
            says: "one wrong call in ten is still a failure",
            expected: &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"],
            options: &[],
            made: &["a", "b", "c", "d", "e", "f", "g", "h", "i"],
            score: 0.45,
            errors: &["missing call: j"],
        },
    ];

    #[test]
    fn tool_calls_are_scored_against_what_is_expected() {
        for Case { says, expected, options, made, score, errors } in CASES {
            let verdict = score_tools(&expectation(expected, options), &transcript(made));
            assert!((verdict.score.value() - score).abs() < 1e-12, "{says}: scored {}", verdict.score);
            assert_eq!(summary(&verdict), *errors, "{says}");
        }
    }

    #[test]
    fn a_call_that_no_mock_answers_is_extra_and_one_that_a_mock_refuses_is_not() {
        let expect = expectation(&["cancel"], &["noExtra"]);
        let mocks = |mocks: Value| serde_json::from_value::<Vec<ToolMock>>(mocks).unwrap();
        let cancel = json!({"tool": "cancel", "returns": "ok"});
        let cases = [
            (json!([]), 1.0),
            (json!([cancel]), 0.25),
            (json!([cancel, {"tool": "refund", "arguments": {"order": 9}, "returns": "ok"}]), 0.25),
            (json!([cancel, {"tool": "refund", "error": "not refundable"}]), 1.0),
        ];
        for (given, wanted) in cases {
            let made = transcript(&["!refund", "!refund", "cancel"]);
            let verdict = super::score_tools(&expect, &mocks(given.clone()), &made);
            assert!((verdict.score.value() - wanted).abs() < 1e-12, "{given}: {verdict:?}");
        }
    }

    fn forbid(tool: &str, arguments: Option<Value>) -> Expectation {
        let arguments = arguments.map(|arguments| arguments.as_object().unwrap().clone());
        let forbidden_calls = vec![ForbiddenCall { tool: tool.into(), arguments }];
        Expectation { forbidden_calls, ..expectation(&["cancel"], &["noExtra"]) }
    }

    #[test]
    fn a_forbidden_call_is_worth_nothing_even_if_it_failed_or_its_tool_is_free() {
        let verdict = score_tools(&forbid("refund", None), &transcript(&["cancel", "!refund"]));
        assert_eq!((verdict.score, summary(&verdict)), (Score::ZERO, vec!["forbidden call: refund".to_owned()]));
        let verdict = score_tools(&forbid("lookup", None), &transcript(&["cancel", "lookup"]));
        assert_eq!(verdict.score, Score::ZERO);
    }

    #[test]
    fn a_call_is_forbidden_only_with_the_forbidden_arguments() {
        let expect = forbid("cancel", Some(json!({"options": {"force": true}})));
        let calm = score_tools(&expect, &transcript(&[r#"cancel{"options":{"force":false}}"#]));
        assert_eq!(calm.score, Score::ONE);
        let forced = score_tools(&expect, &transcript(&[r#"cancel{"options":{"force":true,"x":1},"id":3}"#]));
        assert_eq!(forced.score, Score::ZERO);
    }

    #[test]
    fn errors_say_what_was_expected_and_what_came() {
        let expect = Expectation {
            forbidden_calls: vec![ForbiddenCall { tool: "wipe".into(), arguments: None }],
            ..expectation(
                &[
                    r#"book{"passengers":[{"name":"Li","dob":"1990-04-05"}],"cabin":"economy"}"#,
                    r#"~notify{"user":7}"#,
                    "verify",
                    "close",
                ],
                &["strict", "noExtra"],
            )
        };
        let verdict = score_tools(
            &expect,
            &transcript(&[
                r#"book{"passengers":[{"name":"Li","dob":"1990-05-04"}],"seat":"4a"}"#,
                "close",
                "verify",
                r#"refund{"amount":20}"#,
                "wipe",
            ]),
        );
        let told: Vec<&str> = verdict.errors.iter().map(|error| error.detail.as_str()).collect();
        assert_eq!(
            told,
            [
                "called wipe({}); that call is forbidden",
                "called book with wrong arguments: passengers[0].dob: expected \"1990-04-05\", got \"1990-05-04\"; \
                 cabin: expected \"economy\", got nothing; seat: not expected, got \"4a\"",
                "expected notify({\"user\":7, …}); it was not called",
                "called refund({\"amount\":20}), which is not expected",
                "called verify(…) out of order: expected book, notify, verify, close; got book, close, verify",
            ]
        );
        assert_eq!(verdict.errors[1].arguments, ["passengers[0].dob", "cabin", "seat"]);
    }

    #[test]
    fn arguments_that_are_no_json_object_are_wrong_as_a_whole() {
        let mut transcript = transcript(&["pay"]);
        if let Message::Assistant { calls, .. } = &mut transcript.messages[0] {
            calls[0].arguments = json!("{\"amount\": 5");
        }
        let verdict = score_tools(&expectation(&[r#"pay{"amount":5,"to":"x"}"#], &[]), &transcript);
        assert_eq!(verdict.errors[0].arguments, ["amount", "to"]);
        assert!(verdict.errors[0].detail.contains("not a JSON object"), "{}", verdict.errors[0].detail);
        let any = score_tools(&expectation(&["pay"], &[]), &transcript);
        assert_eq!((any.score, summary(&any)), (Score::ZERO, vec!["wrong arguments: pay".to_owned()]));
    }

    #[test]
    fn no_arguments_are_an_empty_object() {
        for nothing in [json!(null), json!(""), json!(" "), json!({})] {
            let mut transcript = transcript(&["pay"]);
            if let Message::Assistant { calls, .. } = &mut transcript.messages[0] {
                calls[0].arguments = nothing.clone();
            }
            for expected in ["pay{}", "pay", "~pay{}"] {
                let verdict = score_tools(&expectation(&[expected], &[]), &transcript);
                assert_eq!(verdict.score, Score::ONE, "{nothing} for {expected}");
            }
        }
    }

    #[test]
    fn a_looping_agent_leaves_few_errors_behind() {
        let calls: Vec<String> = (0..500).map(|n| format!(r#"refund{{"n":{n}}}"#)).collect();
        let made: Vec<&str> = calls.iter().map(String::as_str).collect();
        let verdict = score_tools(&expectation(&["cancel"], &["noExtra"]), &transcript(&made));
        assert_eq!((verdict.errors.len(), verdict.score), (MAX_ERRORS, Score::ZERO));
    }

    fn calls(tools: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
        let call = (prop::sample::select(tools), 0..3u8, 0..2u8, prop::bool::weighted(0.2)).prop_map(
            |(tool, x, y, failed)| {
                let mark = if failed { "!" } else { "" };
                format!(r#"{mark}{tool}{{"x":{x},"y":{y}}}"#)
            },
        );
        prop::collection::vec(call, 0..7)
    }

    fn refs(calls: &[String]) -> Vec<&str> {
        calls.iter().map(|call| call.trim_start_matches('!')).collect()
    }

    fn options() -> impl Strategy<Value = Vec<&'static str>> {
        prop::sample::subsequence(vec!["strict", "noExtra"], 0..=2)
    }

    proptest! {
        #[test]
        fn exactly_the_expected_calls_score_one(expected in calls(&["a", "b", "c"]), options in options()) {
            let verdict = score_tools(&expectation(&refs(&expected), &options), &transcript(&refs(&expected)));
            prop_assert_eq!(verdict, ToolVerdict { score: Score::ONE, errors: vec![] });
        }

        #[test]
        fn without_strict_order_the_order_of_calls_does_not_change_the_score(
            expected in calls(&["a", "b", "c"]),
            (made, shuffled) in calls(&["a", "b", "c", "d"]).prop_flat_map(|made| (Just(made.clone()), Just(made).prop_shuffle())),
            no_extra: bool,
        ) {
            let expect = expectation(&refs(&expected), if no_extra { &["noExtra"] } else { &[] });
            let made: Vec<&str> = made.iter().map(String::as_str).collect();
            let shuffled: Vec<&str> = shuffled.iter().map(String::as_str).collect();
            let (a, b) = (score_tools(&expect, &transcript(&made)), score_tools(&expect, &transcript(&shuffled)));
            prop_assert_eq!(a.score, b.score);
        }

        #[test]
        fn a_call_that_is_not_expected_never_raises_the_score(
            expected in calls(&["a", "b", "c"]),
            made in calls(&["a", "b", "c", "d"]),
            extra in prop::sample::select(&[r#"d{"x":1}"#, r#"!d{"x":1}"#, "e", "!e", "lookup"][..]),
            at: prop::sample::Index,
            options in options(),
        ) {
            let expect = expectation(&refs(&expected), &options);
            let mut calls: Vec<&str> = made.iter().map(String::as_str).collect();
            let before = score_tools(&expect, &transcript(&calls)).score;
            calls.insert(at.index(calls.len() + 1), extra);
            prop_assert!(score_tools(&expect, &transcript(&calls)).score <= before);
        }

        #[test]
        fn a_score_of_one_and_no_errors_are_the_same_thing(
            expected in calls(&["a", "b"]),
            made in calls(&["a", "b", "c"]),
            options in options(),
        ) {
            let made: Vec<&str> = made.iter().map(String::as_str).collect();
            let verdict = score_tools(&expectation(&refs(&expected), &options), &transcript(&made));
            prop_assert_eq!(verdict.score == Score::ONE, verdict.errors.is_empty());
            prop_assert!(verdict.score == Score::ONE || verdict.score.value() <= 0.5);
        }
    }
}
