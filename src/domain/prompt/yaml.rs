//! YAML prompts: finds the top-level keys, and writes an edited value without other changes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::anchor::{self, Miss};
use super::{PromptError, Section};
use crate::patch::Edit;

/// A top-level key: its position and value.
pub(super) struct Entry {
    pub section: Section,
    pub value: Value,
}

/// Why an edit of a YAML section failed.
pub(super) enum EditFailure {
    /// The anchor does not match, or nothing changes.
    Miss(Miss),
    /// The result would not have the intended structure.
    Breaks(String),
}

/// The entries of a document, in order. They cover the text: text before the first key belongs to it, and comments
/// belong to the key above them.
pub(super) fn entries(text: &str) -> Result<Vec<Entry>, PromptError> {
    let Document(pairs) = serde_saphyr::from_str(text).map_err(|error| refusal(text, &error))?;
    let mut entries = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        let inside_line = || PromptError::KeyInsideLine { line: key.referenced.line(), key: key.value.clone() };
        let span = key.referenced.span();
        let at = span.byte_offset().and_then(|offset| usize::try_from(offset).ok()).ok_or_else(inside_line)?;
        let before = text.get(..at).ok_or_else(inside_line)?;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        if !before[start..].trim_start_matches('\u{feff}').trim().is_empty() {
            return Err(inside_line());
        }
        let length = span.byte_len().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        let behind = text.get(at + length..).ok_or_else(inside_line)?;
        let colon = behind.find(':').ok_or_else(inside_line)?;
        let section =
            Section { name: key.value, level: 1, start, body_start: at + length + colon + 1, end: text.len() };
        entries.push(Entry { section, value });
    }
    entries.first_mut().ok_or(PromptError::NotAMapping { found: "empty" })?.section.start = 0;
    let mut end = text.len();
    for entry in entries.iter_mut().rev() {
        entry.section.end = end;
        end = entry.section.start;
    }
    Ok(entries)
}

/// The body of a section as edits see it.
pub(super) fn body<'a>(text: &'a str, section: &Section) -> Cow<'a, str> {
    let value = entries(text).ok().and_then(|entries| {
        entries.into_iter().find(|entry| entry.section.body_start == section.body_start).map(|entry| entry.value)
    });
    match value.as_ref().map(Shape::of) {
        Some(Shape::Text(value)) => Cow::Owned(value.to_owned()),
        Some(Shape::List(items)) => Cow::Owned(list_body(&items)),
        Some(Shape::Nested) | None => Cow::Borrowed(&text[section.body_start..section.end]),
    }
}

/// Makes an edit in the entry of an index and returns the whole text, in which all other values are unchanged.
pub(super) fn edit(text: &str, index: usize, edit: &Edit) -> Result<String, EditFailure> {
    let entries = entries(text).map_err(|error| EditFailure::Breaks(error.to_string()))?;
    let Entry { section, value } = &entries[index];
    let make = |body: &str, range, keep_indent| {
        anchor::edit(body, range, &section.name, keep_indent, edit).map_err(EditFailure::Miss)
    };
    let (wanted, attempts) = match Shape::of(value) {
        Shape::Text(body) => {
            let wanted = make(body, 0..body.len(), false)?;
            let comment = comment_behind(text, section, body);
            let as_before = if wanted.contains('\n') || body.contains('\n') {
                write_block(text, section, &wanted, comment)
            } else {
                write_value(text, section, &format!("{}{comment}", plain_or_quoted(&wanted)))
            };
            let attempts = vec![as_before, write_value(text, section, &quoted(&wanted))];
            (Some(Value::from(wanted)), attempts)
        }
        Shape::List(items) => {
            let body = list_body(&items);
            let wanted = list_items(&make(&body, 0..body.len(), false)?);
            let attempts = vec![write_list(text, section, &wanted), write_value(text, section, &flow(&wanted))];
            (Some(Value::from(wanted)), attempts)
        }
        Shape::Nested => (None, vec![make(text, section.body_start..section.end, true)?]),
    };
    let mut why = String::new();
    for attempt in attempts {
        match check(&entries, index, wanted.as_ref(), &attempt) {
            Ok(()) => return Ok(attempt),
            Err(reason) => why = reason,
        }
    }
    Err(EditFailure::Breaks(why))
}

/// Checks that a text has the same entries, except the edited one.
fn check(before: &[Entry], index: usize, wanted: Option<&Value>, text: &str) -> Result<(), String> {
    let after = entries(text).map_err(|error| error.to_string())?;
    let names = |entries: &[Entry]| entries.iter().map(|entry| entry.section.name.clone()).collect::<Vec<_>>();
    if names(before) != names(&after) {
        return Err("it adds, renames or takes away a top-level key".to_owned());
    }
    for (position, (old, new)) in before.iter().zip(&after).enumerate() {
        let same = if position != index {
            old.value == new.value
        } else if let Some(wanted) = wanted {
            new.value == *wanted
        } else {
            std::mem::discriminant(&old.value) == std::mem::discriminant(&new.value)
        };
        if !same {
            return Err(format!("the value of {:?} would no longer be what it should be", old.section.name));
        }
    }
    Ok(())
}

/// The kind of a value for edits.
enum Shape<'a> {
    /// A string; null is an empty one.
    Text(&'a str),
    /// A list of strings.
    List(Vec<&'a str>),
    /// Any other value, edited as raw text.
    Nested,
}

impl<'a> Shape<'a> {
    fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Text(""),
            Value::String(text) => Self::Text(text),
            Value::Array(items) => match items.iter().map(Value::as_str).collect() {
                Some(items) => Self::List(items),
                None => Self::Nested,
            },
            _ => Self::Nested,
        }
    }
}

/// A list as lines: `- ` before each item, further lines of an item indented by two.
fn list_body(items: &[&str]) -> String {
    items.iter().flat_map(|item| ["- ".to_owned(), item.replace('\n', "\n  "), "\n".to_owned()]).collect()
}

/// The items of such lines. A line that is not indented begins an item, with its mark or without.
fn list_items(body: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for line in body.lines() {
        match (line.strip_prefix("  "), items.last_mut()) {
            (Some(more), Some(item)) => {
                item.push('\n');
                item.push_str(more);
            }
            _ if line.trim().is_empty() => {}
            _ => {
                let bare = line.strip_prefix("- ").or_else(|| line.strip_prefix("* "));
                items.push(bare.unwrap_or(if line == "-" { "" } else { line }).to_owned());
            }
        }
    }
    items
}

/// The comment after a plain value on the line of its key.
fn comment_behind<'a>(text: &'a str, section: &Section, value: &str) -> &'a str {
    let line = text[section.body_start..section.end].lines().next().unwrap_or_default();
    let behind = line.trim_start().strip_prefix(value).unwrap_or_default();
    if behind.trim_start().starts_with('#') { behind } else { "" }
}

/// Writes a string as a literal block with its lines unchanged, so that a diff shows only the change.
fn write_block(text: &str, section: &Section, value: &str, comment: &str) -> String {
    let chomp = match (value.ends_with('\n'), value.ends_with("\n\n") || value == "\n") {
        (false, _) => "-",
        (true, false) => "",
        (true, true) => "+",
    };
    let indent = indent_of_body(text, section);
    let width = indent - key_column(text, section);
    // An indentation indicator is required if the first line is indented.
    let indicator = if value.starts_with([' ', '\n', '\t']) { width.to_string() } else { String::new() };
    let mut block = format!(" |{indicator}{chomp}{comment}\n");
    for line in value.lines() {
        if !line.is_empty() {
            block.extend(std::iter::repeat_n(' ', indent));
            block.push_str(line);
        }
        block.push('\n');
    }
    replace_body(text, section, &block, chomp == "+")
}

/// Writes a list as a block, with one item per line if possible; lines with unchanged items are kept.
fn write_list(text: &str, section: &Section, items: &[String]) -> String {
    if items.is_empty() {
        return write_value(text, section, "[]");
    }
    let indent = indent_of_body(text, section);
    let pad = " ".repeat(indent);
    let written: HashMap<String, &str> = text[section.body_start..section.end]
        .lines()
        .filter(|line| line.trim_start().starts_with("- "))
        .filter_map(|line| match serde_saphyr::from_str::<Vec<String>>(line.trim_start()).ok()?.as_slice() {
            [item] => Some((item.clone(), line)),
            _ => None,
        })
        .collect();
    let mut block = String::from("\n");
    for item in items {
        let lines: Vec<String> = if let Some(line) = written.get(item) {
            vec![(*line).to_owned()]
        } else if item.contains('\n') && !item.ends_with('\n') && !item.starts_with([' ', '\n']) {
            let rest = item.lines().map(|line| if line.is_empty() { String::new() } else { format!("{pad}  {line}") });
            std::iter::once(format!("{pad}- |-")).chain(rest).collect()
        } else {
            vec![format!("{pad}- {}", plain_or_quoted(item))]
        };
        block.push_str(&lines.join("\n"));
        block.push('\n');
    }
    replace_body(text, section, &block, false)
}

fn write_value(text: &str, section: &Section, value: &str) -> String {
    replace_body(text, section, &format!(" {value}\n"), false)
}

/// Writes a value after the key, and keeps the blank lines and comments at the end of the section.
fn replace_body(text: &str, section: &Section, value: &str, keeps_blank_lines: bool) -> String {
    let body = &text[section.body_start..section.end];
    let mut end = 0;
    let mut offset = 0;
    for line in body.split_inclusive('\n') {
        let comment = offset > 0 && line.starts_with('#');
        offset += line.len();
        if !comment && !line.trim().is_empty() {
            end = offset;
        }
    }
    let tail = if end == 0 { "" } else { &body[end..] };
    // Blank lines after a block that keeps its line breaks would become part of it.
    let tail = if keeps_blank_lines { tail.trim_start() } else { tail };
    [&text[..section.body_start], value, tail, &text[section.end..]].concat()
}

fn key_column(text: &str, section: &Section) -> usize {
    let line = text[..section.body_start].lines().next_back().unwrap_or_default();
    line.len() - line.trim_start_matches(' ').len()
}

/// The indentation of the lines below the key; two more than that of the key if there are none.
fn indent_of_body(text: &str, section: &Section) -> usize {
    let column = key_column(text, section);
    let below = text[section.body_start..section.end].lines().skip(1).filter(|line| !line.trim().is_empty());
    let indents = below.map(|line| line.len() - line.trim_start_matches(' ').len());
    indents.filter(|indent| *indent > column && *indent < column + 10).min().unwrap_or(column + 2)
}

/// A string in plain style if it parses as the same string, else quoted.
fn plain_or_quoted(item: &str) -> String {
    let harmless = item.starts_with(char::is_alphanumeric)
        && !item.ends_with([' ', ':'])
        && !item.contains(['\n', '\r', '\t'])
        && !item.contains(": ")
        && !item.contains(" #");
    let reads_back = || serde_saphyr::from_str::<Value>(item).is_ok_and(|value| value.as_str() == Some(item));
    if harmless && reads_back() { item.to_owned() } else { quoted(item) }
}

/// A double-quoted string. JSON strings are valid in YAML, except for a few characters that must be escaped.
fn quoted(text: &str) -> String {
    let json = Value::from(text).to_string();
    json.chars()
        .map(|char| match char {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => format!("\\u{:04x}", u32::from(char)),
            char => char.to_string(),
        })
        .collect()
}

fn flow(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}

fn refusal(text: &str, error: &serde_saphyr::Error) -> PromptError {
    let found = match serde_saphyr::from_str::<Value>(text) {
        Ok(Value::Null) => "empty",
        Ok(Value::Array(_)) => "a list",
        Ok(Value::String(_)) => "plain text",
        Ok(Value::Number(_) | Value::Bool(_)) => "a single value",
        Ok(Value::Object(_)) | Err(_) => {
            let line = error.location().map_or(1, |location| location.line());
            let message = error.without_snippet().to_string();
            // The place is reported separately, and the advice is for callers of the parser.
            let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
            let message = message.split(", set DuplicateKeyPolicy").next().unwrap_or(message).to_owned();
            return PromptError::Syntax { line, message };
        }
    };
    PromptError::NotAMapping { found }
}

/// A mapping with the places of its keys.
struct Document(Vec<(Spanned<String>, Value)>);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Document;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Document(pairs))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}
