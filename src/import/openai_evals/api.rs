//! The Evals API: rows of `{"item": ...}`, and the evaluation with its testing criteria and input template.

use serde_json::{Value, json};

use super::super::Notes;
use super::super::error::ImportError;
use super::super::read::Item;
use super::super::scenario::{Draft, append, contains_one_of, empty, equals};
use super::super::template::{self, Engine};
use super::reference;
use whetstone_domain::scenario::Expectation;

/// Fields of an item with the user's message, the likeliest first.
const MESSAGES: [&str; 8] = ["messages", "input", "question", "query", "prompt", "message", "user_input", "text"];
/// Fields of an item with the right answer.
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
/// Replaces the answer of the agent in a grader's prompt, because the judge sees it anyway.
const THE_ANSWER: &str = "(the answer)";

/// The evaluation of the items, as far as it was given.
pub(super) struct Evaluation<'a> {
    criteria: Vec<Item<'a>>,
    /// The message templates that are filled in with each item.
    template: Option<Item<'a>>,
    /// The path in an item to the messages, such as `item.messages`.
    reference: Option<String>,
    engine: Engine,
}

impl<'a> Evaluation<'a> {
    pub(super) fn read(documents: &'a [(&'a str, Value)], notes: &mut Notes) -> Result<Self, ImportError> {
        let mut evaluation = Self { criteria: Vec::new(), template: None, reference: None, engine: Engine::new() };
        for (file, document) in documents {
            let root = Item::new(file, "", document);
            for criterion in root.list_or_empty("testing_criteria")? {
                // An evaluation and its run have the same criteria.
                if !evaluation.criteria.iter().any(|known| known.value == criterion.value) {
                    evaluation.criteria.push(criterion);
                }
            }
            let Some(source) = root.get("data_source") else { continue };
            for key in ["sampling_params", "model", "input_trajectory"] {
                if let Some(found) = source.get(key) {
                    notes.add(
                        found.place(),
                        format!("`{key}` of the run"),
                        "set the model and its parameters in the resource",
                    );
                }
            }
            if let Some(messages) = source.get("input_messages") {
                evaluation.template = messages.get("template").or(evaluation.template);
                if let Some(path) = messages.get("item_reference") {
                    evaluation.reference = Some(path.text()?.to_owned());
                }
            }
        }
        Ok(evaluation)
    }

    pub(super) fn scenario(&self, id: String, item: &Item, notes: &mut Notes) -> Result<Draft, ImportError> {
        item.object()?;
        let mut scenario = empty(id);
        let values = json!({"item": item.value, "sample": {"output_text": THE_ANSWER, "output_json": THE_ANSWER}});
        let filling = Filling { engine: &self.engine, variables: template::variables(&values), place: item.place() };
        let named = self.reference.as_deref().and_then(|path| {
            path.trim_start_matches("item.").split('.').try_fold(item.clone(), |inner, key| inner.get(key))
        });
        let system = if let Some(template) = &self.template {
            let filled = filling.value(template.value, notes);
            super::set_input(&mut scenario, &Item::new(template.file(), "data_source", &filled), notes)?
        } else {
            let input = named.or_else(|| MESSAGES.iter().find_map(|key| item.get(key))).ok_or_else(|| {
                item.error(
                    format!("has none of the fields {}", MESSAGES.join(", ")),
                    "rename the field with the user's message, or import the run with its input_messages",
                )
            })?;
            super::set_input(&mut scenario, &input, notes)?
        };
        let answer = ANSWERS.iter().find_map(|key| item.get(key)).and_then(|answer| answer.scalar().ok());
        scenario.expect.answer = reference(&answer.into_iter().collect::<Vec<_>>());
        for criterion in &self.criteria {
            if let Err(error) = expect(&mut scenario.expect, criterion, &filling, notes) {
                notes.could_not_read("criterion that could not be read", error);
            }
        }
        if self.criteria.is_empty() && scenario.expect.answer.is_some() {
            notes.add(
                item.place(),
                "scorer",
                "no testing criteria were given: the expected output becomes the reference answer for the judge",
            );
        }
        Ok(Draft { scenario, system, place: item.place() })
    }
}

/// Notes that the items of a run are in a file at OpenAI.
pub(super) fn note_stored_items(file: &str, document: &Value, notes: &mut Notes) {
    let root = Item::new(file, "", document);
    let source = root.get("data_source").and_then(|data| data.get("source"));
    if let Some(id) = source.and_then(|source| source.get("id")) {
        notes.add(id.place(), "file of items", "it is stored at OpenAI; download and import it as well");
    }
}

/// The items in a run, each with its place.
pub(super) fn items<'a>(file: &'a str, document: &Value) -> Option<(&'a str, Vec<(String, Value)>)> {
    let root = Item::new(file, "", document);
    let content = root.get("data_source")?.get("source")?.get("content")?;
    let items = content.value.as_array()?;
    let place = |index: usize| format!("data_source.source.content[{index}]");
    Some((file, items.iter().enumerate().map(|(index, item)| (place(index), item.clone())).collect()))
}

/// The variables of templates, for one item.
struct Filling<'e> {
    engine: &'e Engine,
    variables: minijinja::Value,
    place: String,
}

impl Filling<'_> {
    fn text(&self, text: &str, notes: &mut Notes) -> String {
        match self.engine.render(text, &self.variables) {
            Ok(rendered) => {
                for name in rendered.missing {
                    notes.add(
                        &self.place,
                        format!("variable `{name}` without a value"),
                        "it was replaced with nothing",
                    );
                }
                rendered.text
            }
            Err(why) => {
                notes.add(&self.place, "template", format!("unsupported syntax ({why}); it was kept as it is"));
                text.to_owned()
            }
        }
    }

    /// A JSON value with all strings filled in.
    fn value(&self, value: &Value, notes: &mut Notes) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text, notes)),
            Value::Array(items) => items.iter().map(|item| self.value(item, notes)).collect(),
            Value::Object(fields) => {
                let filled = fields.iter().map(|(key, field)| (key.clone(), self.value(field, notes)));
                Value::Object(filled.collect())
            }
            other => other.clone(),
        }
    }
}

/// Adds one criterion to the expectations.
fn expect(expect: &mut Expectation, criterion: &Item, filling: &Filling, notes: &mut Notes) -> Result<(), ImportError> {
    let kind = criterion.need("type")?;
    let kind = kind.text()?;
    match kind {
        "string_check" => {
            let operation = criterion.need("operation")?;
            let wanted = vec![filling.text(&criterion.need("reference")?.scalar()?, notes)];
            match operation.text()? {
                "eq" => expect.checks.push(equals(wanted[0].clone())),
                "like" => expect.checks.push(contains_one_of(&wanted, true)),
                "ilike" => expect.checks.push(contains_one_of(&wanted, false)),
                other => notes.add(
                    criterion.place(),
                    format!("operation `{other}`"),
                    "there is no check that an answer is not exactly a text; write a rubric",
                ),
            }
        }
        "label_model" | "score_model" => model_graded(expect, criterion, kind, filling, notes)?,
        "text_similarity" => {
            expect.answer = Some(filling.text(&criterion.need("reference")?.scalar()?, notes));
            notes.add(
                criterion.place(),
                "criterion `text_similarity`",
                "its text is the reference answer for the judge",
            );
        }
        other => notes.add(
            criterion.place(),
            format!("criterion `{other}`"),
            "it runs code or combines other criteria; write it as a check or a rubric",
        ),
    }
    Ok(())
}

/// The prompt of a grader as a rubric, with the passing labels.
fn model_graded(
    expect: &mut Expectation,
    criterion: &Item,
    kind: &str,
    filling: &Filling,
    notes: &mut Notes,
) -> Result<(), ImportError> {
    let mut rubric = None;
    for message in criterion.list_or_empty("input")? {
        let text = super::chat::content(&message, notes)?;
        let text = filling.text(&text, notes);
        // A message with only the answer is redundant for the judge.
        if !text.trim().is_empty() && text.trim() != THE_ANSWER {
            append(&mut rubric, text.trim());
        }
    }
    let Some(mut rubric) = rubric else {
        notes.add(criterion.place(), format!("criterion `{kind}`"), "it has no prompt to use as the rubric");
        return Ok(());
    };
    let labels = |key: &str| -> Result<Vec<String>, ImportError> {
        criterion.list_or_empty(key)?.iter().map(Item::scalar).collect()
    };
    let (passing, all) = (labels("passing_labels")?, labels("labels")?);
    if !passing.is_empty() {
        let passes = format!("Of the labels {}, the answer must earn {}.", all.join(", "), passing.join(" or "));
        rubric = format!("{rubric}\n\n{passes}");
    }
    append(&mut expect.rubric, &rubric);
    notes.add(
        criterion.place(),
        format!("criterion `{kind}`"),
        "its prompt becomes the rubric; grade, range and threshold are those of the judge",
    );
    Ok(())
}
