//! Assertions: converts them to expectations, and reports unsupported ones.

mod calls;
mod kinds;

use serde_json::{Map, Value};

use self::kinds::why_not;
pub(super) use self::kinds::{divided, of_shorthand};
use super::super::error::ImportError;
use super::super::read::{self, Item, extension, scalar};
use super::super::scenario::{append, contains_one_of, equals, literal, matches, not_contains, satisfies};
use super::{Reading, resource};
use whetstone_domain::pattern;
use whetstone_domain::scenario::{Check, Expectation};

/// The maximum nesting of assertion sets.
const MAX_DEPTH: usize = 8;

/// Fields of an assertion that are read.
const READ: [&str; 4] = ["type", "value", "$ref", "assert"];

/// An assertion with everything needed to convert it.
struct Assertion<'a> {
    /// The kind without `not-`.
    kind: &'a str,
    negated: bool,
    value: Value,
    item: Item<'a>,
}

/// Adds one assertion to the expectations; unsupported parts are reported.
pub(super) fn expect(
    expect: &mut Expectation,
    assertion: &Item,
    variables: &minijinja::Value,
    reading: &mut Reading,
) -> Result<(), ImportError> {
    add_one(expect, assertion, variables, reading, 0)
}

fn add_one(
    expect: &mut Expectation,
    assertion: &Item,
    variables: &minijinja::Value,
    reading: &mut Reading,
    depth: usize,
) -> Result<(), ImportError> {
    if let Some(text) = assertion.value.as_str() {
        let value = of_shorthand(text);
        return add_one(expect, &assertion.holding(&value), variables, reading, depth);
    }
    let item = assertion.clone();
    let kind = item.need("type")?;
    let kind = kind.text()?;
    let named = if kind == "assert-set" { "an assertion set".to_owned() } else { format!("`{kind}`") };
    if item.get("weight").is_some_and(|weight| weight.value.as_f64() == Some(0.0)) {
        reading.notes.add(
            item.place(),
            format!("assertion of weight 0: {named}"),
            "it always passes, so it was left out",
        );
        return Ok(());
    }
    if kind == "assert-set" {
        note_options(&item, &named, &[], reading);
        for inner in item.need("assert")?.list()? {
            if depth == MAX_DEPTH {
                return Err(inner.error("is nested in too many assertion sets", "reduce the nesting"));
            }
            if let Err(error) = add_one(expect, &inner, variables, reading, depth + 1) {
                reading.notes.could_not_read("assertion that could not be read", error);
            }
        }
        return Ok(());
    }
    if item.get("transform").is_some() {
        reading.notes.add(
            item.place(),
            format!("assertion `{kind}` with a transform"),
            "it tests a transformed answer; write a check of the answer itself",
        );
        return Ok(());
    }
    let Some(value) = value_of(&item, variables, reading)? else {
        reading.notes.add(
            item.place(),
            format!("assertion `{kind}` from a program"),
            "it runs code; write it as a check or a rubric",
        );
        return Ok(());
    };
    let (kind, negated) = kind.strip_prefix("not-").map_or((kind, false), |kind| (kind, true));
    let assertion = Assertion { kind, negated, value, item: item.clone() };
    let carried = add(expect, &assertion, reading)?;
    if carried {
        note_options(&item, &named, &[], reading);
    } else {
        let full = if negated { format!("not-{kind}") } else { kind.to_owned() };
        reading.notes.add(item.place(), format!("assertion `{full}`"), why_not(kind, negated));
    }
    Ok(())
}

/// Reports the unsupported options of an assertion.
fn note_options(item: &Item, named: &str, read: &[&str], reading: &mut Reading) {
    let Some(fields) = item.value.as_object() else { return };
    for key in fields.keys() {
        let detail = match key.as_str() {
            key if READ.contains(&key) || read.contains(&key) => continue,
            "threshold" if named == "`tool-call-f1`" => "every call must be made, and no other",
            "threshold" => "a check passes or fails, and the judge's score is compared with `passAt` of the dimension",
            "weight" => "all checks of a dimension have the same weight",
            "metric" => "checks count for accuracy; set `dimension` on them",
            "provider" => "the resource sets the judge",
            "rubricPrompt" => "the judge has its own prompt",
            _ => "scenarios have no such field",
        };
        if let Some(found) = item.get(key) {
            reading.notes.add(found.place(), format!("`{key}` of {named}"), detail);
        }
    }
}

/// The value of an assertion: read from its file, filled in. `None` if a program generates it.
fn value_of(item: &Item, variables: &minijinja::Value, reading: &mut Reading) -> Result<Option<Value>, ImportError> {
    let Some(value) = item.get("value") else { return Ok(Some(Value::Null)) };
    let place = value.place();
    let Some(reference) = value.value.as_str().filter(|text| text.starts_with("file://")) else {
        return Ok(Some(reading.filled_value(value.value, variables, &place)));
    };
    if resource::is_program(reference) {
        return Ok(None);
    }
    let (file, content) = reading.resources.text(reference, &value)?;
    let read = match extension(file).as_str() {
        "json" | "yaml" | "yml" => read::yaml(file, content)?,
        _ => Value::from(content.strip_prefix('\u{feff}').unwrap_or(content).trim()),
    };
    Ok(Some(reading.filled_value(&read, variables, &place)))
}

impl Assertion<'_> {
    /// The value as a string that is not empty.
    fn text(&self) -> Result<String, ImportError> {
        scalar(&self.value).filter(|text| !text.is_empty()).ok_or_else(|| self.wrong("a string"))
    }

    /// The value as strings that are not empty; a single string is split at its commas.
    fn texts(&self) -> Result<Vec<String>, ImportError> {
        let texts: Option<Vec<String>> = match &self.value {
            Value::Array(values) => values.iter().map(scalar).collect(),
            value => scalar(value).map(|text| divided(&text)),
        };
        let full = |texts: &Vec<String>| !texts.is_empty() && texts.iter().all(|text| !text.is_empty());
        texts.filter(full).ok_or_else(|| self.wrong("a list of strings"))
    }

    /// The value as texts for a person or a judge: not split at commas, and an object is written as JSON.
    fn prose(&self, reading: &mut Reading) -> Result<Vec<String>, ImportError> {
        match &self.value {
            Value::Array(_) => self.texts(),
            Value::Object(fields) if !fields.is_empty() => {
                reading.notes.add(
                    self.item.place(),
                    format!("object as the value of `{}`", self.kind),
                    "it was added to the rubric as JSON; write it in words",
                );
                Ok(vec![self.value.to_string()])
            }
            _ => Ok(vec![self.text()?]),
        }
    }

    fn wrong(&self, expected: &str) -> ImportError {
        let found = match &self.value {
            Value::Null => "has no value",
            Value::String(text) if text.is_empty() => "has an empty value",
            _ => "has an unsuitable value",
        };
        self.item.error(format!("`{}` {found}", self.kind), format!("make \"value\" {expected}"))
    }

    fn schema(&self) -> Result<Map<String, Value>, ImportError> {
        match &self.value {
            Value::Null => Ok(Map::new()),
            Value::Object(schema) => Ok(schema.clone()),
            // A schema may be YAML or JSON in a string.
            Value::String(text) => read::yaml(self.item.file(), text)
                .ok()
                .and_then(|value| value.as_object().cloned())
                .ok_or_else(|| self.wrong("a JSON Schema")),
            _ => Err(self.wrong("a JSON Schema")),
        }
    }
}

/// Adds an assertion to the expectations; false if it is not supported.
fn add(expect: &mut Expectation, assertion: &Assertion, reading: &mut Reading) -> Result<bool, ImportError> {
    match (assertion.kind, assertion.negated) {
        ("equals", false) => match &assertion.value {
            Value::Object(_) | Value::Array(_) => {
                let schema = Map::from_iter([("const".to_owned(), assertion.value.clone())]);
                expect.checks.push(satisfies(schema));
            }
            value => expect.checks.push(equals(scalar(value).ok_or_else(|| assertion.wrong("a string"))?)),
        },
        ("contains", false) => expect.checks.push(contains_one_of(&[assertion.text()?], true)),
        ("icontains", false) => expect.checks.push(contains_one_of(&[assertion.text()?], false)),
        ("contains-any", false) => expect.checks.push(contains_one_of(&assertion.texts()?, true)),
        ("icontains-any", false) => expect.checks.push(contains_one_of(&assertion.texts()?, false)),
        ("contains-all" | "icontains-all", false) => {
            let cased = assertion.kind == "contains-all";
            expect.checks.extend(assertion.texts()?.into_iter().map(|text| contains_one_of(&[text], cased)));
        }
        ("contains" | "icontains", true) => add_absent(expect, vec![assertion.text()?], assertion, reading),
        ("contains-any" | "icontains-any", true) => add_absent(expect, assertion.texts()?, assertion, reading),
        ("contains-all" | "icontains-all", true) => match assertion.texts()?.as_slice() {
            [only] => add_absent(expect, vec![only.clone()], assertion, reading),
            _ => return Ok(false),
        },
        ("starts-with", false) => expect.checks.push(matches(format!("^{}", literal(&assertion.text()?)))),
        ("regex", false) => return add_regex(expect, assertion, reading),
        ("is-json", false) => expect.checks.push(satisfies(assertion.schema()?)),
        ("llm-rubric" | "model-graded-closedqa" | "g-eval" | "pi" | "trajectory:goal-success", negated) => {
            for text in assertion.prose(reading)? {
                let text = if negated { format!("This must not hold: {text}") } else { text };
                append(&mut expect.rubric, &text);
            }
        }
        ("is-refusal", false) => append(&mut expect.rubric, "The answer refuses the request."),
        ("is-refusal", true) => append(&mut expect.rubric, "The answer does not refuse the request."),
        ("factuality" | "model-graded-factuality", false) => append(&mut expect.answer, &assertion.text()?),
        (
            kind @ ("similar" | "similar:cosine" | "similar:dot" | "similar:euclidean" | "rouge-n" | "bleu" | "gleu"
            | "meteor" | "levenshtein"),
            false,
        ) => {
            assertion.prose(reading)?.iter().for_each(|text| append(&mut expect.answer, text));
            reading.notes.add(
                assertion.item.place(),
                format!("assertion `{kind}`"),
                "its text becomes the reference answer for the judge; no distance is measured",
            );
        }
        (kind, _) if kind == "tool-call-f1" || kind.starts_with("trajectory:") => {
            return calls::add(expect, assertion, reading);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Checks that texts are absent, ignoring case.
fn add_absent(expect: &mut Expectation, texts: Vec<String>, assertion: &Assertion, reading: &mut Reading) {
    let cased = !assertion.kind.starts_with("icontains");
    if cased && texts.iter().any(|text| text.chars().any(char::is_alphabetic)) {
        let what = format!("letter case of `not-{}`", assertion.kind);
        reading.notes.add(assertion.item.place(), what, "the check ignores it");
    }
    expect.checks.extend(texts.into_iter().map(not_contains));
}

fn add_regex(expect: &mut Expectation, assertion: &Assertion, reading: &mut Reading) -> Result<bool, ImportError> {
    let written = assertion.text()?;
    match pattern::compile(&written) {
        Ok(_) => expect.checks.push(Check { regex: Some(written), ..super::super::scenario::NO_CHECK }),
        Err(why) => reading.notes.add(
            assertion.item.place(),
            "assertion `regex`",
            format!("unsupported pattern ({why}): look-ahead and similar are specific to JavaScript; rewrite it"),
        ),
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
