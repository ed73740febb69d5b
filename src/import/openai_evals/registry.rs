//! The registry: the class that scores a file of samples, and its equivalent in a scenario.

use serde_json::{Value, json};

use super::super::Notes;
use super::super::error::ImportError;
use super::super::read::{Item, base};
use super::super::scenario::{alternatives, append, contains_one_of, matches, satisfies};
use whetstone_domain::scenario::Expectation;

/// How samples are scored.
pub(super) struct Grader {
    /// The name of the class, such as `Match`.
    class: String,
    args: Value,
    place: String,
}

/// The entries of the registry that reference samples.
pub(super) struct Registry(Vec<Grader>);

pub(super) fn read(documents: &[(&str, Value)], notes: &mut Notes) -> Result<Registry, ImportError> {
    let mut graders = Vec::new();
    for (file, document) in documents {
        let root = Item::new(file, "", document);
        for name in root.object()?.keys() {
            let Some(entry) = root.get(name) else { continue };
            let Some(class) = entry.get("class") else { continue };
            let class = class.text()?;
            let class = class.rsplit([':', '.']).next().unwrap_or(class).to_owned();
            let args = entry.get("args").map_or(Value::Null, |args| args.value.clone());
            if args.get("num_few_shot").and_then(Value::as_u64).is_some_and(|number| number > 0) {
                notes.add(entry.place(), "few-shot examples", "put them into the prompt");
            }
            graders.push(Grader { class, args, place: entry.place() });
        }
    }
    Ok(Registry(graders))
}

impl Registry {
    /// The grader of a samples file: the entry that references it, or the only entry.
    pub(super) fn of(&self, file: &str, notes: &mut Notes) -> Option<&Grader> {
        let file = file.replace('\\', "/");
        let names = |grader: &&Grader| {
            let path = grader.args.get("samples_jsonl").and_then(Value::as_str);
            path.is_some_and(|path| {
                file == path || file.ends_with(&format!("/{path}")) || path.ends_with(&format!("/{file}"))
            })
        };
        let mut named = self.0.iter().filter(names);
        match (named.next(), self.0.as_slice()) {
            (Some(first), _) => {
                for other in named {
                    notes.add(&other.place, "second eval of the same samples", "only the first was imported");
                }
                Some(first)
            }
            (None, [only]) => Some(only),
            (None, []) => None,
            (None, _) => {
                notes.add(base(&file), "samples that no registry entry names", "their scoring is unknown");
                None
            }
        }
    }
}

/// Adds the expectations of the grader.
pub(super) fn expect(
    expect: &mut Expectation,
    grader: &Grader,
    sample: &Item,
    ideal: &[String],
    notes: &mut Notes,
) -> Result<(), ImportError> {
    let option = |name: &str| grader.args.get(name);
    if ideal.is_empty() && grader.class != "JsonValidator" && grader.class != "ModelBasedClassify" {
        return Err(sample.error(
            format!("has no \"ideal\", which the class {} compares with", grader.class),
            "add the ideal answer, or a list of acceptable answers",
        ));
    }
    match grader.class.as_str() {
        // The answer begins with an ideal answer.
        "Match" => expect.checks.push(matches(format!("^{}", alternatives(ideal)))),
        "Includes" => {
            let ignores_case = option("ignore_case") == Some(&Value::Bool(true));
            expect.checks.push(contains_one_of(ideal, !ignores_case));
        }
        "FuzzyMatch" => {
            expect.checks.push(contains_one_of(ideal, false));
            notes.add(
                &grader.place,
                "class `FuzzyMatch`",
                "an answer that is only a part of the ideal one now fails, and articles and punctuation count",
            );
        }
        "JsonMatch" => {
            let values: Vec<Value> = ideal
                .iter()
                .map(|text| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str())))
                .collect();
            if let Value::Object(schema) = json!({ "enum": values }) {
                expect.checks.push(satisfies(schema));
            }
        }
        "JsonValidator" => expect.checks.push(satisfies(serde_json::Map::new())),
        "ModelBasedClassify" => model_graded(expect, grader, sample, ideal, notes)?,
        other => notes.add(
            &grader.place,
            format!("class `{other}`"),
            "not supported; the judge scores instead, with `ideal` as reference answer",
        ),
    }
    Ok(())
}

fn model_graded(
    expect: &mut Expectation,
    grader: &Grader,
    sample: &Item,
    ideal: &[String],
    notes: &mut Notes,
) -> Result<(), ImportError> {
    let spec = grader.args.get("modelgraded_spec").and_then(Value::as_str).unwrap_or_default();
    if let Some(criteria) = sample.get("criteria") {
        append(&mut expect.rubric, &criteria.scalar()?);
    } else if spec == "fact" && !ideal.is_empty() {
        append(&mut expect.rubric, "The answer agrees with the reference answer in every fact.");
    } else if spec == "closedqa" {
        append(&mut expect.rubric, "The answer is correct, relevant and concise.");
    }
    if expect.rubric.is_none() {
        notes.add(
            &grader.place,
            format!("model-graded spec `{spec}`"),
            "its prompt is not in the file: the judge scores with the rubric of the dimension",
        );
    } else {
        notes.add(
            &grader.place,
            format!("model-graded spec `{spec}`"),
            "the judge scores by a rubric of the same meaning",
        );
    }
    Ok(())
}
