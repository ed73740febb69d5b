//! The required form of a value, compiled from the JSON Schema of a type.

use regex::Regex;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value};

use crate::api::patterns;
use whetstone_domain::duration::HumanDuration;

/// The required form of a value.
#[derive(Debug)]
pub(super) struct Shape {
    /// The allowed form.
    pub form: Form,
    /// Whether it may be null.
    pub nullable: bool,
    /// The description of the field, in one sentence.
    pub about: String,
}

/// The forms of values that the types of the API have.
#[derive(Debug)]
pub(super) enum Form {
    /// Any value.
    Any,
    /// True or false.
    Bool,
    /// A text.
    Text(TextForm),
    /// A number with its bounds, whole or not.
    Number { whole: bool, min: Option<f64>, max: Option<f64> },
    /// A list.
    List { item: Box<Shape>, min: usize },
    /// A mapping.
    Map { fields: Vec<(String, Shape)>, required: Vec<String>, others: Others },
    /// One of several forms, which have different types.
    Either(Vec<Shape>),
}

/// The constraints of a string.
#[derive(Debug, Default)]
pub(super) struct TextForm {
    /// The allowed strings; any if empty.
    pub one_of: Vec<String>,
    /// The minimum number of characters.
    pub min: usize,
    /// The maximum number of characters.
    pub max: Option<usize>,
    /// A pattern, and its description.
    pub pattern: Option<(Regex, &'static str)>,
    /// Whether it is a duration.
    pub duration: bool,
}

/// How unlisted fields are treated.
#[derive(Debug)]
pub(super) enum Others {
    /// They are errors.
    Unknown,
    /// They may have any value.
    Free,
    /// They must have this form.
    Of(Box<Shape>),
}

impl Shape {
    /// The form of a type.
    pub(super) fn of<T: JsonSchema>() -> Self {
        let schema = SchemaGenerator::default().into_root_schema_for::<T>().to_value();
        let definitions = schema.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
        compile(&schema, &definitions)
    }
}

fn compile(schema: &Value, definitions: &Map<String, Value>) -> Shape {
    let Some(schema) = schema.as_object() else {
        return Shape { form: Form::Any, nullable: true, about: String::new() };
    };
    let about = || schema.get("description").and_then(Value::as_str).map(first_sentence).unwrap_or_default();
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let name = name.trim_start_matches("#/$defs/");
        let mut shape = compile(definitions.get(name).unwrap_or(&Value::Bool(true)), definitions);
        if let (Form::Text(text), "Duration") = (&mut shape.form, name) {
            *text = TextForm { duration: true, ..TextForm::default() };
        }
        if schema.contains_key("description") {
            shape.about = about();
        }
        return shape;
    }
    if let Some(options) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
        let mut shape = compile_options(options, definitions);
        shape.about = about();
        return shape;
    }
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let nullable = types.is_empty() || types.contains(&"null");
    let form = match types.iter().find(|kind| **kind != "null").copied() {
        Some("boolean") => Form::Bool,
        Some("string") => Form::Text(text_form(schema)),
        Some("integer") => number_form(schema, true),
        Some("number") => number_form(schema, false),
        Some("array") => Form::List {
            item: Box::new(compile(schema.get("items").unwrap_or(&Value::Bool(true)), definitions)),
            min: schema.get("minItems").and_then(Value::as_u64).unwrap_or(0) as usize,
        },
        Some("object") => map_form(schema, definitions),
        _ => number_or_word(schema).unwrap_or(Form::Any),
    };
    Shape { form, nullable, about: about() }
}

fn compile_options(options: &[Value], definitions: &Map<String, Value>) -> Shape {
    let is_null = |option: &&Value| option.get("type").and_then(Value::as_str) == Some("null");
    let nullable = options.iter().any(|option| is_null(&option));
    let mut shapes: Vec<Shape> =
        options.iter().filter(|option| !is_null(option)).map(|option| compile(option, definitions)).collect();
    let words: Option<Vec<String>> = shapes
        .iter()
        .map(|shape| match &shape.form {
            Form::Text(text) if !text.one_of.is_empty() => Some(text.one_of.clone()),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()
        .map(|words| words.concat());
    let form = match words {
        Some(one_of) => Form::Text(TextForm { one_of, ..TextForm::default() }),
        None if shapes.len() == 1 => shapes.remove(0).form,
        None => Form::Either(shapes),
    };
    Shape { form, nullable, about: String::new() }
}

fn text_form(schema: &Map<String, Value>) -> TextForm {
    let length = |key: &str| schema.get(key).and_then(Value::as_u64).map(|length| length as usize);
    let word =
        schema.get("const").into_iter().chain(schema.get("enum").and_then(Value::as_array).into_iter().flatten());
    let pattern = schema.get("pattern").and_then(Value::as_str).and_then(|pattern| {
        let words = patterns::in_words(pattern)?;
        Some((Regex::new(pattern).ok()?, words))
    });
    TextForm {
        one_of: word.filter_map(Value::as_str).map(str::to_owned).collect(),
        min: length("minLength").unwrap_or(0),
        max: length("maxLength"),
        pattern,
        duration: false,
    }
}

fn number_form(schema: &Map<String, Value>, whole: bool) -> Form {
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let widest = match schema.get("format").and_then(Value::as_str) {
        Some("uint8") => Some(f64::from(u8::MAX)),
        Some("uint16") => Some(f64::from(u16::MAX)),
        Some("uint32") => Some(f64::from(u32::MAX)),
        _ => None,
    };
    Form::Number { whole, min: bound("minimum"), max: bound("maximum").or(widest) }
}

/// A number, or one of the words that a schema without a type gives as examples.
fn number_or_word(schema: &Map<String, Value>) -> Option<Form> {
    let words = schema.get("examples")?.as_array()?.iter();
    let one_of: Vec<String> = words.filter_map(Value::as_str).map(str::to_owned).collect();
    let form = |form| Shape { form, nullable: false, about: String::new() };
    let word = Form::Text(TextForm { one_of, ..TextForm::default() });
    Some(Form::Either(vec![form(number_form(schema, false)), form(word)]))
}

fn map_form(schema: &Map<String, Value>, definitions: &Map<String, Value>) -> Form {
    let fields: Vec<(String, Shape)> = schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, field)| (name.clone(), compile(field, definitions)))
        .collect();
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    let keeps = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    let others = match schema.get("additionalProperties") {
        Some(Value::Bool(true)) => Others::Free,
        Some(form @ Value::Object(_)) => Others::Of(Box::new(compile(form, definitions))),
        _ if keeps => Others::Free,
        _ => Others::Unknown,
    };
    Form::Map { fields, required: required.filter_map(Value::as_str).map(str::to_owned).collect(), others }
}

fn first_sentence(text: &str) -> String {
    let text = text.replace('\n', " ");
    let end = text.find(". ").unwrap_or(text.len());
    text[..end].trim_end_matches('.').to_owned()
}

/// Checks that a string is a duration.
///
/// # Errors
/// The reason why it is not.
pub(super) fn duration(text: &str) -> Result<(), String> {
    text.parse::<HumanDuration>().map(|_| ())
}
