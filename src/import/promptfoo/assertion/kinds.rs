//! The kinds of assertions, their short form in tables, and why some are not supported.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value, json};

/// All kinds in promptfoo's documentation that a short form may have, except those without a value.
pub(super) const KINDS: [&str; 80] = [
    "agent-rubric",
    "answer-relevance",
    "assert-set",
    "bertscore",
    "bleu",
    "character-count",
    "citation-faithfulness",
    "classifier",
    "contains",
    "contains-all",
    "contains-any",
    "contains-html",
    "contains-json",
    "contains-sql",
    "contains-xml",
    "context-faithfulness",
    "context-recall",
    "context-relevance",
    "conversation-relevance",
    "cost",
    "ends-with",
    "equals",
    "factuality",
    "finish-reason",
    "g-eval",
    "gleu",
    "guardrails",
    "human",
    "icontains",
    "icontains-all",
    "icontains-any",
    "is-html",
    "is-json",
    "is-refusal",
    "is-sql",
    "is-valid-function-call",
    "is-valid-openai-function-call",
    "is-valid-openai-tools-call",
    "is-xml",
    "javascript",
    "latency",
    "levenshtein",
    "llm-rubric",
    "max-score",
    "meteor",
    "model-graded-closedqa",
    "model-graded-factuality",
    "moderation",
    "noise-sensitivity",
    "perplexity",
    "perplexity-score",
    "pi",
    "python",
    "regex",
    "research-rubric",
    "rouge-l",
    "rouge-n",
    "rouge-s",
    "ruby",
    "search-rubric",
    "select-best",
    "similar",
    "similar:cosine",
    "similar:dot",
    "similar:euclidean",
    "skill-used",
    "starts-with",
    "tokens-used",
    "tool-call-f1",
    "trace-error-spans",
    "trace-span-count",
    "trace-span-duration",
    "trajectory:goal-success",
    "trajectory:step-count",
    "trajectory:tool-args-match",
    "trajectory:tool-sequence",
    "trajectory:tool-used",
    "video-rubric",
    "webhook",
    "word-count",
];

static SHORTHAND: LazyLock<Regex> = LazyLock::new(|| {
    // Longest first, so that `contains-any` does not match `contains`.
    let mut kinds = KINDS;
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.len()));
    let kinds = kinds.join("|");
    Regex::new(&format!(
        r"(?s)^(?P<not>not-)?(?P<kind>{kinds})(?:\((?P<threshold>\d+(?:\.\d+)?)\))?(?::(?P<value>.*))?$"
    ))
    .expect("the kinds have no special characters, and a test uses it")
});

/// An assertion from the shorthand of CSV cells: `contains: Paris`, `similar(0.8): text`, `is-json`; any other text is
/// the expected answer.
pub(in super::super) fn of_shorthand(text: &str) -> Value {
    let text = text.trim();
    for (start, kind) in [("fn:", "javascript"), ("eval:", "javascript"), ("grade:", "llm-rubric")] {
        if let Some(value) = text.strip_prefix(start) {
            return json!({"type": kind, "value": value.trim()});
        }
    }
    if let Some(file) = text.strip_prefix("file://") {
        let kind = if file.contains(".py") { "python" } else { "javascript" };
        if super::super::resource::is_program(text) {
            return json!({"type": kind, "value": text});
        }
    }
    let Some(found) = SHORTHAND.captures(text) else { return json!({"type": "equals", "value": text}) };
    let kind = format!("{}{}", found.name("not").map_or("", |not| not.as_str()), &found["kind"]);
    let value = found.name("value").map_or("", |value| value.as_str()).trim();
    let listed = kind.ends_with("-any") || kind.ends_with("-all");
    let value = match value {
        "" => Value::Null,
        _ if listed => divided(value).into(),
        _ => Value::from(value),
    };
    let mut assertion = json!({"type": kind, "value": value});
    if let Some(threshold) = found.name("threshold").and_then(|number| number.as_str().parse::<f64>().ok()) {
        assertion["threshold"] = threshold.into();
    }
    assertion
}

/// Splits at commas: a part in double quotes may contain commas, and `\,` is a comma.
pub(in super::super) fn divided(text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut quoted = false;
    let mut was_quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek() == Some(&',') => part.extend(chars.next()),
            '"' if quoted && chars.peek() == Some(&'"') => part.extend(chars.next()),
            '"' if quoted => quoted = false,
            '"' if part.trim().is_empty() && !was_quoted => {
                part.clear();
                (quoted, was_quoted) = (true, true);
            }
            ',' if !quoted => {
                parts.push(finished(&part, was_quoted));
                part.clear();
                was_quoted = false;
            }
            _ => part.push(c),
        }
    }
    // An unclosed quotation mark is part of the text.
    if quoted {
        return text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect();
    }
    parts.push(finished(&part, was_quoted));
    parts.retain(|part| !part.is_empty());
    parts
}

fn finished(part: &str, was_quoted: bool) -> String {
    if was_quoted { part.trim_end().to_owned() } else { part.trim().to_owned() }
}

/// Why a kind is not supported.
pub(super) fn why_not(kind: &str, negated: bool) -> &'static str {
    match kind {
        "javascript" | "python" | "ruby" | "webhook" => "it runs code; write it as a check or a rubric",
        "cost" | "latency" | "tokens-used" => "a budget of the run, not a property of the answer",
        "context-faithfulness"
        | "context-recall"
        | "context-relevance"
        | "answer-relevance"
        | "conversation-relevance"
        | "noise-sensitivity"
        | "citation-faithfulness" => "write what the judge looks for as a rubric",
        "select-best" | "max-score" => "it compares several prompts, which is what the gate does",
        "human" => "there is no manual grading; write the criteria as a rubric",
        "agent-rubric" | "research-rubric" | "search-rubric" | "video-rubric" => {
            "its judge has access to more than the transcript; write it as a rubric if the transcript is enough"
        }
        "trace-error-spans" | "trace-span-count" | "trace-span-duration" | "trajectory:step-count" | "skill-used" => {
            "spans are not recorded; expect or forbid calls instead"
        }
        "guardrails" | "moderation" | "classifier" | "perplexity" | "perplexity-score" | "finish-reason" => {
            "it depends on a provider's or another model's assessment of the answer; write it as a rubric"
        }
        "is-valid-function-call" | "is-valid-openai-function-call" | "is-valid-openai-tools-call" => {
            "expect the calls themselves, with their arguments"
        }
        "equals" | "regex" | "starts-with" | "is-json" | "factuality" | "model-graded-factuality" if negated => {
            "`notContains` is the only negated check; write it as a rubric"
        }
        _ => "not supported; write it as a check or a rubric",
    }
}
