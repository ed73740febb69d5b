//! The tree of located values, built from the parser's events.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Number, Value};

use super::scalar;
use crate::api::problem::{Place, Problem};

/// The maximum depth of values: that of `serde_json`, so that a value that is parsed here is not refused elsewhere.
const MAX_DEPTH: usize = 128;
/// The maximum number of values to which aliases may expand in one file.
const MAX_ALIASED: usize = 100_000;
/// The number of bytes of a string that count as another value.
const BYTES_A_VALUE: usize = 32;

/// A value with its place, line and column from 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub content: Content,
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Null.
    Null,
    /// True or false.
    Bool(bool),
    /// A finite number.
    Number {
        /// The number.
        value: Number,
        /// The number as written, so that a decimal fraction is not lost.
        written: Box<str>,
    },
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Fields in their original order, each key once.
    Map(Vec<Field>),
}

/// A field of a mapping, with the place of its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The key.
    pub key: String,
    /// The line of the key.
    pub line: u32,
    /// The column of the key.
    pub column: u32,
    /// The value.
    pub node: Node,
}

impl Node {
    /// A field of a mapping.
    pub fn field(&self, key: &str) -> Option<&Field> {
        match &self.content {
            Content::Map(fields) => fields.iter().find(|field| field.key == key),
            _ => None,
        }
    }

    /// The value of a field of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.field(key).map(|field| &field.node)
    }

    /// An item of a list.
    pub fn item(&self, index: usize) -> Option<&Node> {
        match &self.content {
            Content::List(items) => items.get(index),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value without places.
    pub fn value(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Number { value, .. } => Value::Number(value.clone()),
            Content::Text(text) => Value::String(text.clone()),
            Content::List(items) => Value::Array(items.iter().map(Node::value).collect()),
            Content::Map(fields) => {
                let pairs = fields.iter().map(|field| (field.key.clone(), field.node.value()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }

    /// A description for messages: `the string "five"`, `a list`.
    pub fn described(&self) -> String {
        match &self.content {
            Content::Null => "nothing".to_owned(),
            Content::Bool(value) => value.to_string(),
            Content::Number { written, .. } => format!("the number {written}"),
            Content::Text(text) => format!("the string {:?}", excerpt(text)),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a mapping".to_owned(),
        }
    }
}

/// The first 40 characters of a text.
pub(crate) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A value, with the number and the depth of its nested values.
#[derive(Clone)]
struct Built {
    node: Node,
    size: usize,
    depth: usize,
}

/// An open list or mapping.
struct Open {
    anchor: usize,
    line: u32,
    column: u32,
    size: usize,
    depth: usize,
    inside: Inside,
}

enum Inside {
    List(Vec<Node>),
    Map { fields: Vec<Field>, known: HashMap<String, u32>, key: Option<Key>, merged: Vec<Node> },
}

struct Key {
    text: String,
    line: u32,
    column: u32,
    merge: bool,
}

struct Builder<'a> {
    file: &'a str,
    lines_before: usize,
    open: Vec<Open>,
    anchors: HashMap<usize, Built>,
    aliased: usize,
    roots: Vec<Node>,
    problems: Vec<Problem>,
}

/// An error that stops the parser.
struct Fatal(Problem);

/// The roots of all documents of a text; none after a fatal problem.
pub(super) fn parse(file: &str, text: &str, lines_before: usize, problems: &mut Vec<Problem>) -> Vec<Node> {
    let mut builder = Builder {
        file,
        lines_before,
        open: Vec::new(),
        anchors: HashMap::new(),
        aliased: 0,
        roots: Vec::new(),
        problems: Vec::new(),
    };
    match builder.run(text) {
        Ok(()) => {
            problems.append(&mut builder.problems);
            builder.roots
        }
        Err(Fatal(problem)) => {
            problems.append(&mut builder.problems);
            problems.push(problem);
            Vec::new()
        }
    }
}

impl Builder<'_> {
    fn run(&mut self, text: &str) -> Result<(), Fatal> {
        let options = granit_parser::options! {
            flow_nesting_limit: MAX_DEPTH,
            block_nesting_limit: MAX_DEPTH,
            emit_comments: false,
        };
        for next in Parser::new_from_str_with_options(text, options) {
            let (event, span) = next.map_err(|error| {
                let kind = if has_json_name(self.file) { "JSON" } else { "YAML" };
                let (line, column) = (error.marker().line(), error.marker().col() + 1);
                self.fatal(line, column, format!("not valid {kind}: {}", error.info()))
            })?;
            self.event(event, span)?;
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Fatal> {
        let line = u32::try_from(span.start.line() + self.lines_before).unwrap_or(u32::MAX);
        let column = u32::try_from(span.start.col() + 1).unwrap_or(u32::MAX);
        match event {
            Event::DocumentStart(..) => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                let is_merge = style == ScalarStyle::Plain && tag.is_none() && text == "<<";
                let content = self.scalar(&text, style, tag.as_deref(), line, column);
                // A long string counts as several values.
                let size = 1 + text.len() / BYTES_A_VALUE;
                let built = Built { node: Node { content, line, column }, size, depth: 1 };
                self.add(built, anchor, Some((&text, is_merge)))?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "seq", line, column);
                self.begin(Inside::List(Vec::new()), anchor, line, column)?;
            }
            Event::MappingStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "map", line, column);
                let inside = Inside::Map { fields: Vec::new(), known: HashMap::new(), key: None, merged: Vec::new() };
                self.begin(inside, anchor, line, column)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end()?,
            Event::Alias(anchor) => {
                let Some(mut built) = self.anchors.get(&anchor).cloned() else {
                    return Err(self.fatal_at(line, column, "an alias refers to a value that contains it"));
                };
                self.aliased += built.size;
                if self.aliased > MAX_ALIASED {
                    let message = format!("aliases expand to more than {MAX_ALIASED} values; write the values out");
                    return Err(self.fatal_at(line, column, &message));
                }
                (built.node.line, built.node.column) = (line, column);
                let key = match &built.node.content {
                    Content::Text(text) => Some(text.clone()),
                    Content::Number { written, .. } => Some(written.to_string()),
                    _ => None,
                };
                self.add(built, 0, key.as_deref().map(|text| (text, false)))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, line: u32, column: u32) -> Content {
        let as_plain = match tag {
            None => style == ScalarStyle::Plain,
            Some(tag) => match tag.core_suffix() {
                Some("str") => false,
                Some("int" | "float" | "bool" | "null") => true,
                _ if tag.parts() == ("", "!") => false,
                _ => {
                    self.note(line, column, format!("tag {} is not supported; remove it", tag.original()));
                    style == ScalarStyle::Plain
                }
            },
        };
        if !as_plain {
            return Content::Text(text.to_owned());
        }
        scalar::plain(text).unwrap_or_else(|message| {
            self.note(line, column, message);
            Content::Null
        })
    }

    fn collection_tag(&mut self, tag: Option<&Tag>, own: &str, line: u32, column: u32) {
        if let Some(tag) = tag
            && tag.core_suffix() != Some(own)
            && tag.parts() != ("", "!")
        {
            self.note(line, column, format!("tag {} is not supported; remove it", tag.original()));
        }
    }

    fn begin(&mut self, inside: Inside, anchor: usize, line: u32, column: u32) -> Result<(), Fatal> {
        if self.open.len() >= MAX_DEPTH {
            return Err(self.too_deep(line, column));
        }
        self.open.push(Open { anchor, line, column, size: 1, depth: 1, inside });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fatal> {
        let Some(Open { anchor, line, column, size, depth, inside }) = self.open.pop() else { return Ok(()) };
        let content = match inside {
            Inside::List(mut items) => {
                items.shrink_to_fit();
                Content::List(items)
            }
            Inside::Map { mut fields, merged, .. } => {
                for node in merged {
                    merge(&mut fields, node);
                }
                fields.shrink_to_fit();
                Content::Map(fields)
            }
        };
        self.add(Built { node: Node { content, line, column }, size, depth }, anchor, None)
    }

    /// Adds a completed value as a root, an item, a key or the value of a key.
    fn add(&mut self, built: Built, anchor: usize, scalar: Option<(&str, bool)>) -> Result<(), Fatal> {
        if anchor != 0 {
            self.aliased += built.size;
            if self.aliased > MAX_ALIASED {
                let (line, column) = (built.node.line, built.node.column);
                let message =
                    format!("anchors and aliases expand to more than {MAX_ALIASED} values; write the values out");
                return Err(self.fatal_at(line, column, &message));
            }
            self.anchors.insert(anchor, built.clone());
        }
        let Built { node, size, depth } = built;
        if self.open.len() + depth > MAX_DEPTH {
            return Err(self.too_deep(node.line, node.column));
        }
        let mut misplaced = None;
        let Some(parent) = self.open.last_mut() else {
            self.roots.push(node);
            return Ok(());
        };
        parent.size += size;
        parent.depth = parent.depth.max(depth + 1);
        match &mut parent.inside {
            Inside::List(items) => items.push(node),
            Inside::Map { fields, known, key: key @ Some(_), merged } => {
                let Some(Key { text, line, column, merge }) = key.take() else { return Ok(()) };
                if merge {
                    match node.content {
                        Content::Map(_) => merged.push(node),
                        Content::List(items) => merged.extend(items),
                        _ => {
                            let message = "<< requires a mapping or a list of mappings".to_owned();
                            misplaced = Some((line, column, text, message));
                        }
                    }
                } else if let Some(first) = known.get(&text) {
                    let message = format!("duplicate key {text:?}, first defined on line {first}; keep one of them");
                    misplaced = Some((line, column, text, message));
                } else {
                    known.insert(text.clone(), line);
                    fields.push(Field { key: text, line, column, node });
                }
            }
            Inside::Map { key, .. } => {
                let (line, column) = (node.line, node.column);
                match scalar {
                    Some((text, merge)) => *key = Some(Key { text: text.to_owned(), line, column, merge }),
                    None => {
                        return Err(self.fatal_at(line, column, "a key must be a string, not a list or a mapping"));
                    }
                }
            }
        }
        if let Some((line, column, key, message)) = misplaced {
            let field = extend(&self.path(), &key);
            let place = Place { file: self.file.to_owned(), line: line as usize, column: column as usize };
            self.problems.push(Problem { place: Some(place), field, message });
        }
        Ok(())
    }

    /// The path of the current value.
    fn path(&self) -> String {
        self.open.iter().fold(String::new(), |path, open| match &open.inside {
            Inside::List(items) => format!("{path}[{}]", items.len()),
            Inside::Map { key: Some(key), .. } => extend(&path, &key.text),
            Inside::Map { .. } => path,
        })
    }

    fn note(&mut self, line: u32, column: u32, message: String) {
        let field = self.path();
        let place = Place { file: self.file.to_owned(), line: line as usize, column: column as usize };
        self.problems.push(Problem { place: Some(place), field, message });
    }

    fn fatal(&self, line: usize, column: usize, message: String) -> Fatal {
        let place = Place { file: self.file.to_owned(), line: line + self.lines_before, column };
        Fatal(Problem { place: Some(place), field: String::new(), message })
    }

    fn fatal_at(&self, line: u32, column: u32, message: &str) -> Fatal {
        let place = Place { file: self.file.to_owned(), line: line as usize, column: column as usize };
        Fatal(Problem { place: Some(place), field: String::new(), message: message.to_owned() })
    }

    fn too_deep(&self, line: u32, column: u32) -> Fatal {
        self.fatal_at(line, column, &format!("values are nested more than {MAX_DEPTH} deep"))
    }
}

/// A path extended by a field.
pub(super) fn extend(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Adds the fields of a merged mapping, except existing ones.
fn merge(fields: &mut Vec<Field>, node: Node) {
    let Content::Map(others) = node.content else { return };
    for other in others {
        if !fields.iter().any(|field| field.key == other.key) {
            fields.push(other);
        }
    }
}

fn has_json_name(file: &str) -> bool {
    let file = file.trim_end_matches(']');
    [".json", ".jsonl"].iter().any(|ending| file.to_ascii_lowercase().ends_with(ending))
}
