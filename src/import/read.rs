//! Reading: text to JSON values, and a cursor into them that knows where it stands.

use serde_json::{Map, Value};

use super::error::ImportError;

/// A text without the byte order mark that some editors put first.
fn without_bom(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The end of a file name, in lower case: `jsonl` for `a/B.JSONL`.
pub(super) fn extension(file: &str) -> String {
    base(file).rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).unwrap_or_default()
}

/// A file name without its folders.
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
        fix: "give the file as the tool wrote it, not cut short".to_owned(),
    })
}

/// The message of a JSON error without its place, which is told apart.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(message, _)| message.to_owned())
}

/// One YAML document (JSON is YAML too).
pub(super) fn yaml(file: &str, text: &str) -> Result<Value, ImportError> {
    serde_saphyr::from_str(without_bom(text)).map_err(|error| {
        let error = error.without_snippet();
        let item = error
            .location()
            .map(|place| format!("line {}, column {}", place.line(), place.column()))
            .unwrap_or_default();
        let message = error.to_string();
        let message = message.lines().next().unwrap_or_default();
        let message = message.split(" at line ").next().unwrap_or_default();
        ImportError {
            file: file.to_owned(),
            item,
            field: String::new(),
            problem: format!("is not YAML: {message}"),
            fix: "mend the indentation or quoting there".to_owned(),
        }
    })
}

/// The records of a JSON array or of JSONL, each with its place: `item 3` or `line 3`, from 1. A lone JSON object is
/// one record.
pub(super) fn records(file: &str, text: &str) -> Result<Vec<(String, Value)>, ImportError> {
    let text = without_bom(text);
    let by_line = match extension(file).as_str() {
        "jsonl" | "ndjson" => true,
        "json" => false,
        _ => serde_json::from_str::<serde::de::IgnoredAny>(text).is_err(),
    };
    if !by_line {
        return Ok(match json(file, text)? {
            Value::Array(items) => {
                items.into_iter().enumerate().map(|(index, item)| (format!("item {}", index + 1), item)).collect()
            }
            other => vec![(String::new(), other)],
        });
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            let place = format!("line {}", index + 1);
            let value = serde_json::from_str(line).map_err(|error| ImportError {
                file: file.to_owned(),
                item: format!("{place}, column {}", error.column()),
                field: String::new(),
                problem: format!("is not JSON: {}", plain(&error)),
                fix: "write one JSON object a line".to_owned(),
            })?;
            Ok((place, value))
        })
        .collect()
}

/// The rows of a CSV file with a header, each as an object of strings with its place.
pub(super) fn csv(file: &str, text: &str) -> Result<Vec<(String, Value)>, ImportError> {
    let mut reader = csv::ReaderBuilder::new().from_reader(without_bom(text).as_bytes());
    let failed = |error: &csv::Error| ImportError {
        file: file.to_owned(),
        item: error.position().map(|place| format!("line {}", place.line())).unwrap_or_default(),
        field: String::new(),
        problem: match error.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("has {len} cells where the header has {expected_len}")
            }
            _ => format!("is not CSV: {error}"),
        },
        fix: "give every row as many cells as the header, and quote cells that hold commas or line breaks".to_owned(),
    };
    let header = reader.headers().map_err(|error| failed(&error))?.clone();
    let mut rows = Vec::new();
    for row in reader.records() {
        let row = row.map_err(|error| failed(&error))?;
        let line = row.position().map_or(0, csv::Position::line);
        let cells: Map<String, Value> =
            header.iter().zip(&row).map(|(key, cell)| (key.trim().to_owned(), Value::from(cell))).collect();
        rows.push((format!("line {line}"), Value::Object(cells)));
    }
    Ok(rows)
}

/// A value in a file, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Item<'a> {
    file: &'a str,
    place: &'a str,
    path: String,
    pub value: &'a Value,
}

impl<'a> Item<'a> {
    pub fn new(file: &'a str, place: &'a str, value: &'a Value) -> Self {
        Self { file, place, path: String::new(), value }
    }

    /// Where it stands, for a note: `file: item: path`, the file without its folders.
    pub fn place(&self) -> String {
        let parts = [base(self.file), self.place, &self.path];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
    }

    pub fn file(&self) -> &'a str {
        self.file
    }

    /// Another value at the same place.
    pub fn holding<'b>(&self, value: &'b Value) -> Item<'b>
    where
        'a: 'b,
    {
        Item { file: self.file, place: self.place, path: self.path.clone(), value }
    }

    pub fn error(&self, problem: impl Into<String>, fix: impl Into<String>) -> ImportError {
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

    /// A field, if it is there and not null.
    pub fn get(&self, key: &str) -> Option<Self> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Some(Self { path, value, ..self.clone() })
    }

    /// A field that must be there.
    pub fn need(&self, key: &str) -> Result<Self, ImportError> {
        if !self.value.is_object() {
            return Err(self.wrong("an object"));
        }
        self.get(key).ok_or_else(|| {
            self.error(format!("has no {key:?}"), format!("add {key:?}, or name the format that the file has"))
        })
    }

    pub fn text(&self) -> Result<&'a str, ImportError> {
        self.value.as_str().ok_or_else(|| self.wrong("a text"))
    }

    /// A text, or a number or truth value as text.
    pub fn scalar(&self) -> Result<String, ImportError> {
        scalar(self.value).ok_or_else(|| self.wrong("a text or number"))
    }

    pub fn object(&self) -> Result<&'a Map<String, Value>, ImportError> {
        self.value.as_object().ok_or_else(|| self.wrong("an object"))
    }

    pub fn list(&self) -> Result<Vec<Self>, ImportError> {
        let items = self.value.as_array().ok_or_else(|| self.wrong("a list"))?;
        Ok(items.iter().enumerate().map(|(index, value)| self.at(index, value)).collect())
    }

    fn at(&self, index: usize, value: &'a Value) -> Self {
        Self { path: format!("{}[{index}]", self.path), value, ..self.clone() }
    }

    /// The items of a list field; empty when it is absent.
    pub fn list_or_empty(&self, key: &str) -> Result<Vec<Self>, ImportError> {
        self.get(key).map_or_else(|| Ok(Vec::new()), |item| item.list())
    }

    /// The items of a list, or the one item itself.
    pub fn one_or_many(&self) -> Vec<Self> {
        self.list().unwrap_or_else(|_| vec![self.clone()])
    }
}

/// A text, or a number or truth value as text.
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
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
