//! Assertions: what they become in a scenario, and which have no counterpart.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value, json};

use super::super::Notes;
use super::super::error::ImportError;
use super::super::read::{Item, scalar};
use super::super::scenario::{append, contains_one_of, equals, literal, matches, not_contains, satisfies};
use super::prompt::filled;
use super::resource::{self, Resources};
use super::test::TestCase;
use crate::domain::scenario::{Check, Expectation, ExpectedCall, ExtraCalls};

/// Every kind of assertion that a shorthand (`contains: Paris`) may name, besides those of [`CARRIED`].
const NOT_CARRIED: [&str; 37] = [
    "answer-relevance",
    "bleu",
    "classifier",
    "contains-html",
    "contains-json",
    "contains-sql",
    "contains-xml",
    "context-faithfulness",
    "context-recall",
    "context-relevance",
    "conversation-relevance",
    "cost",
    "finish-reason",
    "gleu",
    "guardrails",
    "is-html",
    "is-sql",
    "is-valid-function-call",
    "is-valid-openai-function-call",
    "is-valid-openai-tools-call",
    "is-xml",
    "javascript",
    "latency",
    "levenshtein",
    "max-score",
    "meteor",
    "moderation",
    "perplexity",
    "perplexity-score",
    "pi",
    "python",
    "rouge-n",
    "ruby",
    "select-best",
    "search-rubric",
    "webhook",
    "word-count",
];

/// The kinds that are carried over.
const CARRIED: [&str; 19] = [
    "contains",
    "contains-all",
    "contains-any",
    "equals",
    "factuality",
    "g-eval",
    "icontains",
    "icontains-all",
    "icontains-any",
    "is-json",
    "is-refusal",
    "llm-rubric",
    "model-graded-closedqa",
    "model-graded-factuality",
    "regex",
    "similar",
    "starts-with",
    "tool-call-f1",
    "assert-set",
];

static SHORTHAND: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?s)^(?P<not>not-)?(?P<kind>[a-z][a-z0-9-]*)(?:\((?P<threshold>[0-9.]+)\))?(?::\s*(?P<value>.*))?$")
        .expect("the pattern is constant and a test uses it")
});

/// An assertion from the shorthand of CSV cells: `contains: Paris`, `similar(0.8): text`, `is-json`; any other text is
/// the expected answer.
pub(super) fn of_shorthand(text: &str) -> Value {
    let text = text.trim();
    for (start, kind) in [("fn:", "javascript"), ("eval:", "javascript"), ("grade:", "llm-rubric")] {
        if let Some(value) = text.strip_prefix(start) {
            return json!({"type": kind, "value": value.trim()});
        }
    }
    let known = |kind: &str| CARRIED.contains(&kind) || NOT_CARRIED.contains(&kind);
    match SHORTHAND.captures(text).filter(|found| known(&found["kind"])) {
        None => json!({"type": "equals", "value": text}),
        Some(found) => {
            let kind = format!("{}{}", found.name("not").map_or("", |not| not.as_str()), &found["kind"]);
            let value = found.name("value").map_or("", |value| value.as_str()).trim();
            let listed = kind.ends_with("-any") || kind.ends_with("-all");
            let value = match value {
                "" => Value::Null,
                _ if listed => value.split(',').map(str::trim).collect(),
                _ => Value::from(value),
            };
            let threshold = found.name("threshold").and_then(|number| number.as_str().parse::<f64>().ok());
            json!({"type": kind, "value": value, "threshold": threshold})
        }
    }
}

/// An assertion with what it needs to be carried over.
struct Assertion<'a> {
    kind: &'a str,
    value: Value,
    item: Item<'a>,
    test: &'a TestCase,
}

/// Adds what one assertion demands.
pub(super) fn expect(
    expect: &mut Expectation,
    assertion: &Item,
    vars: &Map<String, Value>,
    test: &TestCase,
    resources: &Resources,
    notes: &mut Notes,
) -> Result<(), ImportError> {
    if let Some(text) = assertion.value.as_str() {
        let value = of_shorthand(text);
        return self::expect(expect, &assertion.holding(&value), vars, test, resources, notes);
    }
    let item = assertion.clone();
    let kind = item.need("type")?;
    let kind = kind.text()?;
    if kind == "assert-set" {
        if item.get("threshold").is_some() {
            notes.add(test.at(), "threshold of an assertion set", "every check must hold");
        }
        for inner in item.need("assert")?.list()? {
            self::expect(expect, &inner, vars, test, resources, notes)?;
        }
        return Ok(());
    }
    if item.get("transform").is_some() {
        notes.add(
            test.at(),
            format!("assertion `{kind}` with a transform"),
            "it looks at a changed answer; write a check of the answer itself",
        );
        return Ok(());
    }
    for (key, detail) in [
        ("weight", "all checks of a dimension count alike"),
        ("metric", "checks count for accuracy; set `dimension` on them"),
        ("provider", "the judge of the resource scores"),
        ("rubricPrompt", "the judge has a prompt of its own"),
    ] {
        if item.get(key).is_some() {
            notes.add(test.at(), format!("`{key}` of an assertion"), detail);
        }
    }
    let Some(value) = value_of(&item, vars, test, resources, notes)? else {
        notes.add(
            test.at(),
            format!("assertion `{kind}` from a program"),
            "it runs code; write it as a check or a rubric",
        );
        return Ok(());
    };
    add(expect, &Assertion { kind, value, item, test }, notes)
}

/// The value of an assertion: read from its file, filled in. `None` if a program gives it.
fn value_of(
    item: &Item,
    vars: &Map<String, Value>,
    test: &TestCase,
    resources: &Resources,
    notes: &mut Notes,
) -> Result<Option<Value>, ImportError> {
    let Some(value) = item.get("value") else { return Ok(Some(Value::Null)) };
    Ok(Some(match value.value {
        Value::String(text) if text.starts_with("file://") => {
            if resource::is_program(text) {
                return Ok(None);
            }
            let (file, content) = resources.text(text, &value)?;
            match super::super::read::extension(file).as_str() {
                "json" | "yaml" | "yml" => super::super::read::yaml(file, content)?,
                _ => Value::from(filled(content.trim(), vars, test, notes)),
            }
        }
        Value::String(text) => Value::from(filled(text, vars, test, notes)),
        Value::Array(values) => values
            .iter()
            .map(|value| match value {
                Value::String(text) => Value::from(filled(text, vars, test, notes)),
                other => other.clone(),
            })
            .collect(),
        other => other.clone(),
    }))
}

impl Assertion<'_> {
    fn text(&self) -> Result<String, ImportError> {
        scalar(&self.value).ok_or_else(|| self.wrong("a text"))
    }

    fn texts(&self) -> Result<Vec<String>, ImportError> {
        let texts: Option<Vec<String>> = match &self.value {
            Value::Array(values) => values.iter().map(scalar).collect(),
            value => scalar(value).map(|text| text.split(',').map(|part| part.trim().to_owned()).collect()),
        };
        texts.filter(|texts| !texts.is_empty()).ok_or_else(|| self.wrong("a list of texts"))
    }

    fn wrong(&self, expected: &str) -> ImportError {
        let found = if self.value.is_null() { "has no value" } else { "has a value that does not fit" };
        self.item.error(format!("`{}` {found}", self.kind), format!("make \"value\" {expected}"))
    }

    fn schema(&self) -> Result<Map<String, Value>, ImportError> {
        match &self.value {
            Value::Null => Ok(Map::new()),
            Value::Object(schema) => Ok(schema.clone()),
            // A schema may be written as YAML or JSON in a text.
            Value::String(text) => serde_saphyr::from_str::<Value>(text)
                .ok()
                .and_then(|value| value.as_object().cloned())
                .ok_or_else(|| self.wrong("a JSON Schema")),
            _ => Err(self.wrong("a JSON Schema")),
        }
    }
}

fn add(expect: &mut Expectation, assertion: &Assertion, notes: &mut Notes) -> Result<(), ImportError> {
    match assertion.kind {
        "equals" => match &assertion.value {
            Value::Object(_) | Value::Array(_) => {
                let schema = Map::from_iter([("const".to_owned(), assertion.value.clone())]);
                expect.checks.push(satisfies(schema));
            }
            _ => expect.checks.push(equals(assertion.text()?)),
        },
        "contains" => expect.checks.push(contains_one_of(&[assertion.text()?], true)),
        "icontains" => expect.checks.push(contains_one_of(&[assertion.text()?], false)),
        "contains-any" => expect.checks.push(contains_one_of(&assertion.texts()?, true)),
        "icontains-any" => expect.checks.push(contains_one_of(&assertion.texts()?, false)),
        "contains-all" | "icontains-all" => {
            let cased = assertion.kind == "contains-all";
            expect.checks.extend(assertion.texts()?.into_iter().map(|text| contains_one_of(&[text], cased)));
        }
        "not-contains" | "not-icontains" => add_absent(expect, vec![assertion.text()?], assertion, notes),
        "not-contains-any" | "not-icontains-any" => add_absent(expect, assertion.texts()?, assertion, notes),
        "starts-with" => expect.checks.push(matches(format!("^{}", literal(&assertion.text()?)))),
        "regex" => add_regex(expect, assertion, notes)?,
        "is-json" => expect.checks.push(satisfies(assertion.schema()?)),
        "llm-rubric" | "model-graded-closedqa" | "g-eval" => {
            assertion.texts_as_lines()?.iter().for_each(|text| append(&mut expect.rubric, text));
        }
        "not-llm-rubric" => append(&mut expect.rubric, &format!("This must not hold: {}", assertion.text()?)),
        "is-refusal" => append(&mut expect.rubric, "The answer refuses the request."),
        "not-is-refusal" => append(&mut expect.rubric, "The answer does not refuse the request."),
        "factuality" | "model-graded-factuality" => append(&mut expect.answer, &assertion.text()?),
        "similar" => {
            assertion.texts_as_lines()?.iter().for_each(|text| append(&mut expect.answer, text));
            notes.add(
                assertion.test.at(),
                "assertion `similar`",
                "its text is the reference answer for the judge, without a threshold",
            );
        }
        "tool-call-f1" => {
            let call = |tool: String| ExpectedCall { tool: tool.into(), arguments: None, matching: None };
            expect.calls.extend(assertion.texts()?.into_iter().map(call));
            expect.extra_calls = Some(ExtraCalls::Forbid);
            if assertion.item.get("threshold").is_some() {
                notes.add(assertion.test.at(), "threshold of `tool-call-f1`", "every call must be made, and no other");
            }
        }
        other => notes.add(assertion.test.at(), format!("assertion `{other}`"), why_not(other)),
    }
    Ok(())
}

impl Assertion<'_> {
    /// The value as texts, where commas do not divide.
    fn texts_as_lines(&self) -> Result<Vec<String>, ImportError> {
        match &self.value {
            Value::Array(_) => self.texts(),
            _ => Ok(vec![self.text()?]),
        }
    }
}

/// Checks that texts are absent, whatever their case.
fn add_absent(expect: &mut Expectation, texts: Vec<String>, assertion: &Assertion, notes: &mut Notes) {
    let cased = !assertion.kind.contains("icontains");
    if cased && texts.iter().any(|text| text.chars().any(char::is_alphabetic)) {
        notes.add(assertion.test.at(), format!("case of `{}`", assertion.kind), "upper and lower case are alike now");
    }
    expect.checks.extend(texts.into_iter().map(not_contains));
}

fn add_regex(expect: &mut Expectation, assertion: &Assertion, notes: &mut Notes) -> Result<(), ImportError> {
    let pattern = assertion.text()?;
    if Regex::new(&pattern).is_ok() {
        expect.checks.push(Check { regex: Some(pattern), ..super::super::scenario::NO_CHECK });
    } else {
        let detail = "the pattern has what only JavaScript knows, such as a look-ahead; write it another way";
        notes.add(assertion.test.at(), "assertion `regex`", detail);
    }
    Ok(())
}

fn why_not(kind: &str) -> &'static str {
    match kind.strip_prefix("not-").unwrap_or(kind) {
        "javascript" | "python" | "ruby" | "webhook" => "it runs code; write it as a check or a rubric",
        "cost" | "latency" => "a budget of the run, not a property of the answer",
        "context-faithfulness" | "context-recall" | "context-relevance" | "answer-relevance" => {
            "write what the judge is to look for as a rubric"
        }
        _ => "it has no counterpart; write it as a check or a rubric",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shorthands_of_csv_cells_are_understood() {
        for (text, kind, value) in [
            ("Paris", "equals", json!("Paris")),
            ("Note: see below", "equals", json!("Note: see below")),
            ("contains: Paris, France", "contains", json!("Paris, France")),
            ("not-icontains:Rome", "not-icontains", json!("Rome")),
            ("contains-any: a, b", "contains-any", json!(["a", "b"])),
            ("grade: is polite", "llm-rubric", json!("is polite")),
            ("similar(0.8): hello", "similar", json!("hello")),
            ("is-json", "is-json", Value::Null),
            ("fn: output.length", "javascript", json!("output.length")),
        ] {
            let assertion = of_shorthand(text);
            assert_eq!((&assertion["type"], &assertion["value"]), (&json!(kind), &value), "{text}");
        }
        assert_eq!(of_shorthand("similar(0.8): hello")["threshold"], json!(0.8));
    }
}
