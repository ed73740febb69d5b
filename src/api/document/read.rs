//! Converts a document to a type of the API, using the schema of the type. Reports all problems at once.

use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

use super::Document;
use super::nearest::{hint, nearest};
use super::shape::{Form, Others, Shape, TextForm, duration};
use super::tree::{Content, Field, Node, excerpt, extend};
use crate::api::problem::{Place, Problem};

/// Reads values of one type. Creating it compiles the schema of the type, so reuse it for many values.
pub(crate) struct Reader<T> {
    shape: Shape,
    of: PhantomData<fn() -> T>,
}

impl<T: JsonSchema + DeserializeOwned> Default for Reader<T> {
    fn default() -> Self {
        Self { shape: Shape::of::<T>(), of: PhantomData }
    }
}

impl<T: JsonSchema + DeserializeOwned> Reader<T> {
    /// Reads the node of a document at `path`. Records all problems; returns a value in spite of them if possible (an unknown field, a
    /// number out of range), so that dependent checks can run at the same time. A field with a typo in its name counts as the
    /// intended field.
    pub(crate) fn read(&self, document: &Document, node: &Node, path: &str, problems: &mut Vec<Problem>) -> Option<T> {
        let before = problems.len();
        let mut walk = Walk { document, problems };
        let value = walk.value(&self.shape, node, path);
        match serde_path_to_error::deserialize(value) {
            Ok(read) => Some(read),
            Err(error) => {
                if problems.len() == before {
                    let inner = error.path().to_string();
                    let field = if inner == "." { path.to_owned() } else { extend(path, &inner) };
                    problems.push(document.problem(field, error.inner().to_string()));
                }
                None
            }
        }
    }
}

/// Reads a whole document as a type of the API.
pub(crate) fn read<T: JsonSchema + DeserializeOwned>(document: &Document, problems: &mut Vec<Problem>) -> Option<T> {
    Reader::default().read(document, document.root(), "", problems)
}

struct Walk<'a> {
    document: &'a Document,
    problems: &'a mut Vec<Problem>,
}

impl Walk<'_> {
    /// Checks a value and returns it without places, with typos in the names of fields corrected.
    fn value(&mut self, shape: &Shape, node: &Node, path: &str) -> Value {
        if let (Content::Null, true) = (&node.content, shape.nullable) {
            return Value::Null;
        }
        match (&shape.form, &node.content) {
            (Form::Any, _) | (Form::Bool, Content::Bool(_)) => node.value(),
            (Form::Text(form), Content::Text(text)) => {
                let is_readable = self.text(form, text, node, path);
                if is_readable { node.value() } else { Value::Null }
            }
            (Form::Number { whole, min, max }, Content::Number { value, .. })
                if !whole || value.is_u64() || value.is_i64() =>
            {
                self.bounds(*min, *max, value, node, path);
                node.value()
            }
            (Form::List { item, min }, Content::List(items)) => {
                if items.len() < *min {
                    let message =
                        if *min == 1 { "must not be empty".to_owned() } else { format!("needs at least {min} items") };
                    self.note(node, path, with_purpose(message, shape));
                }
                let values = items.iter().enumerate();
                Value::Array(values.map(|(index, node)| self.value(item, node, &format!("{path}[{index}]"))).collect())
            }
            (Form::Map { fields, required, others }, Content::Map(written)) => {
                self.map(fields, required, others, written, node, path)
            }
            (Form::Either(shapes), _) => match shapes.iter().find(|shape| accepts(&shape.form, &node.content)) {
                Some(shape) => self.value(shape, node, path),
                None => self.mismatch(shape, node, path),
            },
            _ => self.mismatch(shape, node, path),
        }
    }

    fn map(
        &mut self,
        fields: &[(String, Shape)],
        required: &[String],
        others: &Others,
        written: &[Field],
        node: &Node,
        path: &str,
    ) -> Value {
        let known = |key: &str| fields.iter().find(|(name, _)| name == key).map(|(_, shape)| shape);
        if let Some((field, definition)) = openai_tool(fields, written) {
            let message = "this is the format of the OpenAI API; move name, description and parameters up one level, or reference \
                           the file in toolsFrom, which accepts this format";
            let place = Some(self.at_key(field));
            let problem = Problem { place, field: extend(path, &field.key), message: message.to_owned() };
            self.problems.push(problem);
            return self.map(fields, required, others, definition, &field.node, path);
        }
        let missing = |name: &&str| !written.iter().any(|field| field.key == *name);
        let mut values = Map::new();
        for field in written {
            let inner = extend(path, &field.key);
            let (key, shape) = match (known(&field.key), others) {
                (Some(shape), _) => (field.key.as_str(), shape),
                (None, Others::Free) => {
                    values.insert(field.key.clone(), field.node.value());
                    continue;
                }
                (None, Others::Of(shape)) => (field.key.as_str(), &**shape),
                (None, Others::Unknown) => {
                    let names = fields.iter().map(|(name, _)| name.as_str());
                    let message = format!("unknown field {:?}{}", field.key, hint(&field.key, names.clone()));
                    self.problems.push(Problem { place: Some(self.at_key(field)), field: inner.clone(), message });
                    let meant = nearest(&field.key, names).filter(missing);
                    let Some((meant, shape)) = meant.and_then(|name| Some((name, known(name)?))) else { continue };
                    (meant, shape)
                }
            };
            let value = self.value(shape, &field.node, &inner);
            // An absent field and null mean the same in a resource.
            let may_go = shape.nullable || !required.iter().any(|name| name == key);
            let is_nothing = value.is_null() && !matches!(shape.form, Form::Any);
            if !(is_nothing && may_go) {
                values.insert(key.to_owned(), value);
            }
        }
        for name in required {
            let nulled = written.iter().any(|field| field.key == *name);
            if !values.contains_key(name) && !nulled {
                let message = "missing required field".to_owned();
                let message = match known(name) {
                    Some(shape) => with_purpose(message, shape),
                    None => message,
                };
                self.note(node, &extend(path, name), message);
            }
        }
        Value::Object(values)
    }

    /// Checks a string; false if it is unusable.
    fn text(&mut self, form: &TextForm, text: &str, node: &Node, path: &str) -> bool {
        let length = text.chars().count();
        let shown = excerpt(text);
        if !form.one_of.is_empty() && !form.one_of.iter().any(|word| word == text) {
            let words = form.one_of.iter().map(String::as_str);
            let near = nearest(text, words).map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
            let message = format!("expected {}, found {shown:?}{near}", alternatives(&form.one_of));
            self.note(node, path, message);
            return false;
        } else if form.duration {
            let read = duration(text);
            let is_readable = read.is_ok();
            if let Err(message) = read {
                self.note(node, path, message);
            }
            return is_readable;
        } else if length < form.min {
            let message = if form.min == 1 {
                "must not be empty".to_owned()
            } else {
                format!("needs at least {} characters", form.min)
            };
            self.note(node, path, message);
        } else if form.max.is_some_and(|max| length > max) {
            let max = form.max.unwrap_or(length);
            self.note(node, path, format!("{shown:?} has {length} characters; at most {max} are allowed"));
        } else if let Some((pattern, words)) = &form.pattern
            && !pattern.is_match(text)
        {
            self.note(node, path, format!("expected {words}, found {shown:?}"));
        }
        true
    }

    fn bounds(&mut self, min: Option<f64>, max: Option<f64>, value: &Number, node: &Node, path: &str) {
        let number = value.as_f64().unwrap_or_default();
        if min.is_some_and(|min| number < min) || max.is_some_and(|max| number > max) {
            let allowed = match (min, max) {
                (Some(min), Some(max)) => format!("from {min} to {max}"),
                (Some(min), None) => format!("of at least {min}"),
                (None, Some(max)) => format!("of at most {max}"),
                (None, None) => return,
            };
            self.note(node, path, format!("expected a number {allowed}, found {}", node_text(node)));
        }
    }

    fn mismatch(&mut self, shape: &Shape, node: &Node, path: &str) -> Value {
        let advice = match (&shape.form, &node.content) {
            (Form::Text(TextForm { one_of, duration: false, .. }), content) if one_of.is_empty() => match content {
                Content::Number { written, .. } => format!("; put it in quotes: {written:?}"),
                Content::Bool(value) => format!("; put it in quotes: \"{value}\""),
                _ => String::new(),
            },
            (Form::Number { .. } | Form::Bool, Content::Text(text)) if is_quoted_value(&shape.form, text) => {
                "; remove the quotes".to_owned()
            }
            (Form::List { .. }, Content::Map(_)) => "; begin each item with a dash".to_owned(),
            (Form::Map { required, .. }, Content::Text(name)) if *required == ["name"] => {
                format!("; write it as {{name: {}}}", excerpt(name))
            }
            _ => String::new(),
        };
        let message = format!("expected {}, found {}{advice}", expected(&shape.form), node.described());
        self.note(node, path, with_purpose(message, shape));
        in_its_place(shape, node)
    }

    fn at_key(&self, field: &Field) -> Place {
        Place { file: self.document.file().to_owned(), line: field.line as usize, column: field.column as usize }
    }

    fn note(&mut self, node: &Node, path: &str, message: String) {
        let place = self.document.place(node);
        self.problems.push(Problem { place: Some(place), field: path.to_owned(), message });
    }
}

/// The definition inside a tool in the format of the OpenAI API: `{type: function, function: {name: …}}`.
fn openai_tool<'n>(fields: &[(String, Shape)], written: &'n [Field]) -> Option<(&'n Field, &'n [Field])> {
    let is_known = |key: &str| fields.iter().any(|(name, _)| name == key);
    if is_known("function") || !(is_known("name") && is_known("parameters")) {
        return None;
    }
    let field = written.iter().find(|field| field.key == "function")?;
    match &field.node.content {
        Content::Map(definition) => Some((field, definition)),
        _ => None,
    }
}

/// A substitute for a value of the wrong type, so that the rest can be checked too: the evidently intended value, or null, which is
/// sufficient for an optional field.
fn in_its_place(shape: &Shape, node: &Node) -> Value {
    match (&shape.form, &node.content) {
        (Form::Text(form), Content::Number { written, .. }) if form.one_of.is_empty() => {
            Value::String(written.to_string())
        }
        (Form::Text(form), Content::Bool(value)) if form.one_of.is_empty() => Value::String(value.to_string()),
        (Form::Number { .. }, Content::Text(text)) => text.parse().map_or(Value::Null, Value::Number),
        (Form::Number { .. } | Form::Bool | Form::Text(_), _) => Value::Null,
        _ => node.value(),
    }
}

fn with_purpose(message: String, shape: &Shape) -> String {
    if shape.about.is_empty() { message } else { format!("{message} ({})", shape.about) }
}

fn node_text(node: &Node) -> String {
    match &node.content {
        Content::Number { written, .. } => written.to_string(),
        _ => node.described(),
    }
}

fn is_quoted_value(form: &Form, text: &str) -> bool {
    match form {
        Form::Bool => matches!(text, "true" | "false"),
        _ => text.parse::<f64>().is_ok(),
    }
}

fn accepts(form: &Form, content: &Content) -> bool {
    matches!(
        (form, content),
        (Form::Any, _)
            | (Form::Bool, Content::Bool(_))
            | (Form::Text(_), Content::Text(_))
            | (Form::Number { .. }, Content::Number { .. })
            | (Form::List { .. }, Content::List(_))
            | (Form::Map { .. }, Content::Map(_))
    )
}

fn expected(form: &Form) -> String {
    match form {
        Form::Any => "a value".to_owned(),
        Form::Bool => "true or false".to_owned(),
        Form::Text(TextForm { duration: true, .. }) => "a duration such as 200ms, 30s or 1h 30m".to_owned(),
        Form::Text(TextForm { pattern: Some((_, words)), .. }) => (*words).to_owned(),
        Form::Text(TextForm { one_of, .. }) if !one_of.is_empty() => alternatives(one_of),
        Form::Text(_) => "a string".to_owned(),
        Form::Number { whole: true, .. } => "an integer".to_owned(),
        Form::Number { whole: false, .. } => "a number".to_owned(),
        Form::List { .. } => "a list".to_owned(),
        Form::Map { .. } => "a mapping".to_owned(),
        Form::Either(shapes) => {
            let forms: Vec<String> = shapes.iter().map(|shape| expected(&shape.form)).collect();
            forms.join(" or ")
        }
    }
}

/// `"a", "b" or "c"`.
fn alternatives(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => "a string".to_owned(),
    }
}
