//! Reading: parses text to JSON values, with a cursor that knows its location.

mod decode;
mod table;

use serde_json::{Map, Number, Value};

use super::error::ImportError;
use super::note::Notes;
use crate::api::document::Document;

pub(crate) use decode::decode;
pub(super) use table::{csv, delimiter};

/// A text without a byte order mark.
fn without_bom(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The extension of a file name, in lower case: `jsonl` for `a/B.JSONL`.
pub(super) fn extension(file: &str) -> String {
    base(file).rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).unwrap_or_default()
}

/// A file name without its directories.
pub(super) fn base(file: &str) -> &str {
    file.rsplit(['/', '\\']).next().unwrap_or(file)
}

/// One JSON document.
pub(super) fn json(file: &str, text: &str) -> Result<Value, ImportError> {
    serde_json::from_str(without_bom(text)).map_err(|error| ImportError {
        file: file.to_owned(),
        item: format!("line {}, column {}", error.line(), error.column()),
        field: String::new(),
        problem: format!("is not JSON: {}", plain(&error)),
        fix: "import the complete file as the tool wrote it".to_owned(),
    })
}

/// The message of a JSON error without its place, which is reported separately.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(message, _)| message.to_owned())
}

/// One YAML document (JSON is YAML too), with the core schema of YAML 1.2, like js-yaml: `yes` and `on` are strings,
/// `01234` is 1234 and `1e3` is 1000.
pub(super) fn yaml(file: &str, text: &str) -> Result<Value, ImportError> {
    let text = without_bom(text);
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        return Ok(as_javascript(value));
    }
    let mut problems = Vec::new();
    let documents = Document::read_all(file, text, &mut problems);
    if let Some(problem) = problems.into_iter().next() {
        let place = problem.place.map(|place| format!("line {}, column {}", place.line, place.column));
        return Err(ImportError {
            file: file.to_owned(),
            item: place.unwrap_or_default(),
            field: problem.field,
            problem: problem.message,
            fix: "fix the indentation or quoting".to_owned(),
        });
    }
    match documents.as_slice() {
        [] => Ok(Value::Null),
        [document] => Ok(as_javascript(document.root().value())),
        [_, second, ..] => Err(ImportError {
            file: file.to_owned(),
            item: format!("line {}", document_line(second)),
            field: String::new(),
            problem: "a second document begins here".to_owned(),
            fix: "write one document per file".to_owned(),
        }),
    }
}

fn document_line(document: &Document) -> u32 {
    document.root().line
}

/// A value with numbers formatted like in JavaScript: an integer has no fraction.
fn as_javascript(value: Value) -> Value {
    /// The integers that a double represents exactly.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() <= EXACT => {
                Value::Number(Number::from(float as i64))
            }
            _ => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(as_javascript).collect(),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(key, field)| (key, as_javascript(field))).collect())
        }
        other => other,
    }
}

/// The records of a JSON array or of JSONL, each with its place: `item 3` or `line 3`, from 1. A single JSON object is
/// one record. A line that is not JSON is left out and reported.
pub(super) fn records(file: &str, text: &str, notes: &mut Notes) -> Result<Vec<(String, Value)>, ImportError> {
    let text = without_bom(text);
    let whole = match extension(file).as_str() {
        "jsonl" | "ndjson" => None,
        _ => Some(json(file, text)),
    };
    match whole {
        Some(Ok(Value::Array(items))) => {
            Ok(items.into_iter().enumerate().map(|(index, item)| (format!("item {}", index + 1), item)).collect())
        }
        Some(Ok(other)) => Ok(vec![(String::new(), other)]),
        // JSONL files often have the extension json.
        Some(Err(error)) if extension(file) == "json" && !is_lines(text) => Err(error),
        _ => {
            let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
            let read = lines.map(|(index, line)| {
                let place = format!("line {}", index + 1);
                let value = serde_json::from_str(line).map_err(|error| ImportError {
                    file: file.to_owned(),
                    item: format!("{place}, column {}", error.column()),
                    field: String::new(),
                    problem: format!("is not JSON: {}", plain(&error)),
                    fix: "write one JSON object per line".to_owned(),
                })?;
                Ok((place, value))
            });
            Ok(read.filter_map(|line| notes.keep(line)).collect())
        }
    }
}

/// Whether the first two lines that are not blank are each a JSON object.
fn is_lines(text: &str) -> bool {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let first: Vec<bool> = lines.take(2).map(|line| serde_json::from_str::<Map<String, Value>>(line).is_ok()).collect();
    first == [true, true]
}

/// A value in a file, with its location.
#[derive(Clone, Debug)]
pub(super) struct Item<'a> {
    file: &'a str,
    place: &'a str,
    path: String,
    pub value: &'a Value,
}

impl<'a> Item<'a> {
    pub(super) fn new(file: &'a str, place: &'a str, value: &'a Value) -> Self {
        Self { file, place, path: String::new(), value }
    }

    /// Its location for a note: `file: item: path`, the file without its directories.
    pub(super) fn place(&self) -> String {
        let parts = [base(self.file), self.place, &self.path];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
    }

    pub(super) fn file(&self) -> &'a str {
        self.file
    }

    /// Another value at the same location.
    pub(super) fn holding<'b>(&self, value: &'b Value) -> Item<'b>
    where
        'a: 'b,
    {
        Item { file: self.file, place: self.place, path: self.path.clone(), value }
    }

    pub(super) fn error(&self, problem: impl Into<String>, fix: impl Into<String>) -> ImportError {
        ImportError {
            file: self.file.to_owned(),
            item: self.place.to_owned(),
            field: self.path.clone(),
            problem: problem.into(),
            fix: fix.into(),
        }
    }

    fn wrong(&self, expected: &str) -> ImportError {
        self.error(format!("is {}", kind(self.value)), format!("make it {expected}"))
    }

    /// A field, if it exists and is not null.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Some(Self { path, value, ..self.clone() })
    }

    /// Reports the fields that are not in this list, except empty ones.
    pub(super) fn note_others(&self, known: &[&str], notes: &mut Notes) {
        let Some(fields) = self.value.as_object() else { return };
        for (key, value) in fields {
            let is_empty = match value {
                Value::Null => true,
                Value::String(text) => text.is_empty(),
                Value::Array(items) => items.is_empty(),
                Value::Object(fields) => fields.is_empty(),
                _ => false,
            };
            if !is_empty && !known.contains(&key.as_str()) {
                notes.add(self.place(), format!("field `{key}`"), "scenarios have no such field");
            }
        }
    }

    /// A required field.
    pub(super) fn need(&self, key: &str) -> Result<Self, ImportError> {
        if !self.value.is_object() {
            return Err(self.wrong("an object"));
        }
        self.get(key)
            .ok_or_else(|| self.error(format!("has no {key:?}"), format!("add {key:?}, or set another --format")))
    }

    pub(super) fn text(&self) -> Result<&'a str, ImportError> {
        self.value.as_str().ok_or_else(|| self.wrong("a string"))
    }

    /// A string, or a number or boolean as a string.
    pub(super) fn scalar(&self) -> Result<String, ImportError> {
        scalar(self.value).ok_or_else(|| self.wrong("a string or number"))
    }

    pub(super) fn object(&self) -> Result<&'a Map<String, Value>, ImportError> {
        self.value.as_object().ok_or_else(|| self.wrong("an object"))
    }

    pub(super) fn list(&self) -> Result<Vec<Self>, ImportError> {
        let items = self.value.as_array().ok_or_else(|| self.wrong("a list"))?;
        Ok(items.iter().enumerate().map(|(index, value)| self.at(index, value)).collect())
    }

    fn at(&self, index: usize, value: &'a Value) -> Self {
        Self { path: format!("{}[{index}]", self.path), value, ..self.clone() }
    }

    /// The items of a list field; empty if it is absent.
    pub(super) fn list_or_empty(&self, key: &str) -> Result<Vec<Self>, ImportError> {
        self.get(key).map_or_else(|| Ok(Vec::new()), |item| item.list())
    }

    /// The items of a list, or a single item.
    pub(super) fn one_or_many(&self) -> Vec<Self> {
        self.list().unwrap_or_else(|_| vec![self.clone()])
    }
}

/// The value of a cell that is JSON (a list, an object, a quoted string); other cells are strings.
pub(super) fn cell(value: &Value) -> Value {
    match value {
        Value::String(text) if text.trim_start().starts_with(['{', '[', '"']) => {
            serde_json::from_str(text).unwrap_or_else(|_| value.clone())
        }
        other => other.clone(),
    }
}

/// A string, or a number or boolean as a string.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What js-yaml 4 reads (its default schema without timestamps), checked against its type definitions.
    #[test]
    fn yaml_is_read_as_js_yaml_does() {
        let text = "{a: yes, b: no, c: on, d: off, e: 01234, f: 1e3, g: 1.10, h: 0x1F, i: 0o17, j: 12:30, k: ~, l: True,\
                    m: 12345678901234567890, n: 2.0, o: '5', p: 2024-01-02, q: .5}";
        assert_eq!(
            yaml("c.yaml", text).unwrap(),
            json!({"a": "yes", "b": "no", "c": "on", "d": "off", "e": 1234, "f": 1000, "g": 1.1, "h": 31, "i": 15,
                   "j": "12:30", "k": null, "l": true, "m": 12_345_678_901_234_567_890_u64, "n": 2, "o": "5",
                   "p": "2024-01-02", "q": 0.5})
        );
        assert_eq!(
            yaml("c.yaml", "x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: *x\n").unwrap(),
            json!({"x": {"a": 1, "b": 2}, "y": {"b": 3, "a": 1}, "z": {"a": 1, "b": 2}})
        );
        assert!(yaml("c.yaml", "a: 1\na: 2\n").is_err(), "js-yaml refuses a key that is there twice");
    }

    #[test]
    fn one_line_that_is_no_json_does_not_refuse_the_others() {
        let mut notes = Notes::default();
        let read = records("a.jsonl", "\u{feff}{\"a\": 1}\r\n\r\n{oops}\r\n{\"a\": 2}\r\n", &mut notes).unwrap();
        assert_eq!(read, [("line 1".to_owned(), json!({"a": 1})), ("line 4".to_owned(), json!({"a": 2}))]);
        assert_eq!(notes.finish().0.len(), 1);
        let lines = records("a.json", "{\"a\": 1}\n{\"a\": 2}\n", &mut Notes::default()).unwrap();
        assert_eq!(lines.len(), 2, "JSONL under the name of JSON");
    }
}
