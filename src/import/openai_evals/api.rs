//! The Evals API: rows of `{"item": ...}`, and the evaluation with its testing criteria and input template.

use serde_json::Value;

use super::super::Notes;
use super::super::error::ImportError;
use super::super::read::Item;
use super::super::scenario::{Draft, append, contains_one_of, empty, equals};
use super::super::template::{lookup, render};
use super::reference;
use crate::domain::scenario::Expectation;

/// Fields of an item that hold what the user says, the likeliest first.
const MESSAGES: [&str; 8] = ["messages", "input", "question", "query", "prompt", "message", "user_input", "text"];
/// Fields of an item that hold the right answer.
const ANSWERS: [&str; 11] = [
    "ideal",
    "expected",
    "expected_output",
    "correct_answer",
    "correct_label",
    "ground_truth",
    "reference",
    "answer",
    "label",
    "target",
    "output",
];

/// The evaluation that the items belong to, as far as it was given.
pub(super) struct Evaluation<'a> {
    criteria: Vec<Item<'a>>,
    /// The messages that each item is put into.
    template: Option<Item<'a>>,
}

impl<'a> Evaluation<'a> {
    pub fn read(documents: &'a [(&'a str, Value)]) -> Result<Self, ImportError> {
        let mut evaluation = Self { criteria: Vec::new(), template: None };
        for (file, document) in documents {
            let root = Item::new(file, "", document);
            evaluation.criteria.extend(root.list_or_empty("testing_criteria")?);
            let source = root.get("data_source").and_then(|source| source.get("input_messages"));
            evaluation.template = source.and_then(|source| source.get("template")).or(evaluation.template);
        }
        Ok(evaluation)
    }

    pub fn scenario(&self, id: String, item: &Item, notes: &mut Notes) -> Result<Draft, ImportError> {
        let mut scenario = empty(id);
        let value_of = |path: &str| lookup(|name| (name == "item").then_some(item.value), path);
        let system = if let Some(template) = &self.template {
            let filled = fill(template.value, &value_of);
            super::set_input(&mut scenario, &Item::new(template.file(), "data_source", &filled), notes)?
        } else {
            let input = MESSAGES.iter().find_map(|key| item.get(key)).ok_or_else(|| {
                item.error(
                    format!("has none of the fields {}", MESSAGES.join(", ")),
                    "rename the field that the user says, or give the run with its input_messages",
                )
            })?;
            super::set_input(&mut scenario, &input, notes)?
        };
        let answer = ANSWERS.iter().find_map(|key| item.get(key)).and_then(|answer| answer.scalar().ok());
        scenario.expect.answer = reference(&answer.into_iter().collect::<Vec<_>>());
        for criterion in &self.criteria {
            expect(&mut scenario.expect, criterion, &value_of, notes)?;
        }
        if self.criteria.is_empty() && scenario.expect.answer.is_some() {
            notes.add(
                item.place(),
                "scorer",
                "no testing criteria were given: the expected output is the reference answer for the judge",
            );
        }
        Ok(Draft { scenario, system, place: item.place() })
    }
}

/// A JSON value with every text in it filled in.
fn fill<'v>(value: &Value, value_of: &impl Fn(&str) -> Option<&'v Value>) -> Value {
    match value {
        Value::String(text) => Value::String(render(text, value_of).text),
        Value::Array(items) => items.iter().map(|item| fill(item, value_of)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, field)| (key.clone(), fill(field, value_of)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// Adds what one criterion checks.
fn expect<'v>(
    expect: &mut Expectation,
    criterion: &Item,
    value_of: &impl Fn(&str) -> Option<&'v Value>,
    notes: &mut Notes,
) -> Result<(), ImportError> {
    let kind = criterion.need("type")?;
    let kind = kind.text()?;
    match kind {
        "string_check" => {
            let operation = criterion.need("operation")?;
            let wanted = vec![render(&criterion.need("reference")?.scalar()?, value_of).text];
            match operation.text()? {
                "eq" => expect.checks.push(equals(wanted[0].clone())),
                "like" => expect.checks.push(contains_one_of(&wanted, true)),
                "ilike" => expect.checks.push(contains_one_of(&wanted, false)),
                other => notes.add(
                    criterion.place(),
                    format!("operation `{other}`"),
                    "no check says that an answer is not exactly a text; write a rubric",
                ),
            }
        }
        "label_model" | "score_model" => {
            let mut text = None;
            for message in criterion.list_or_empty("input")? {
                if let Some(content) = message.get("content").and_then(|content| content.value.as_str()) {
                    append(&mut text, &render(content, value_of).text);
                }
            }
            if let Some(text) = text {
                append(&mut expect.rubric, &text);
            }
            notes.add(
                criterion.place(),
                format!("criterion `{kind}`"),
                "its prompt is the rubric; its labels and range are the judge's own",
            );
        }
        "text_similarity" => {
            expect.answer = Some(render(&criterion.need("reference")?.scalar()?, value_of).text);
            notes.add(
                criterion.place(),
                "criterion `text_similarity`",
                "its text is the reference answer for the judge",
            );
        }
        other => notes.add(
            criterion.place(),
            format!("criterion `{other}`"),
            "it runs code; write it as a check or a rubric",
        ),
    }
    Ok(())
}
