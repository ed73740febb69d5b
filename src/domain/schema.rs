//! JSON Schemas that somebody else has written.
//!
//! A few hundred bytes of schema can take for ever: definitions that refer to each other twice double the work with each
//! level, and one that refers to itself does so with each level of the answer. So a schema is weighed before it is compiled, and
//! what it is held against is bounded by what it weighs.

use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Value};

use super::pattern;

/// The longest schema, in bytes of JSON.
const LONGEST: usize = 64 << 10;
/// The bytes that all schemas of a suite may have together.
const ALL: usize = 8 << 20;
/// The most steps that one look at one place of an answer may take.
const STEPS: u64 = 50_000;
/// How many references may lead to each other.
const DEEPEST: usize = 100;
/// The steps that holding a deep answer against a schema that refers to itself may take.
const RECURSIVE_STEPS: u64 = 10_000_000;
/// As deep as `serde_json` reads.
const DEEPEST_ANSWER: u32 = 128;

/// A schema, ready to be used on many answers.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
    /// The deepest answer that it is held against.
    deepest: u32,
    /// The longest answer that it is held against, in bytes.
    longest: usize,
}

/// Compiles a schema.
///
/// # Errors
/// Why it is none, or why it is not used.
pub fn compile(schema: &Map<String, Value>) -> Result<Schema, String> {
    let mut patterns = pattern::Allowance::default();
    checked(schema, &mut patterns).map(|(schema, _)| schema)
}

impl Schema {
    /// Where in an answer, which has this text, something does not satisfy the schema, and why; `None` when all does. The place is
    /// empty for the whole of it.
    #[must_use]
    pub fn fault(&self, answer: &Value, text: &str) -> Option<(String, String)> {
        let whole = |why: String| Some((String::new(), why));
        if text.len() > self.longest {
            return whole(format!(
                "it has {} bytes, more than the {} that the patterns of this schema are matched with",
                text.len(),
                self.longest
            ));
        }
        let depth = depth(answer);
        if depth > self.deepest {
            return whole(format!(
                "it is nested {depth} deep, more than the {} that this schema, which refers to itself, is held against",
                self.deepest
            ));
        }
        let error = self.validator.iter_errors(answer).next()?;
        Some((error.instance_path().to_string(), error.to_string()))
    }
}

/// What the schemas of a suite may still take.
#[derive(Debug)]
pub struct Allowance {
    left: usize,
    is_told: bool,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { left: ALL, is_told: false }
    }
}

impl Allowance {
    /// Sees that a schema is one, and that there is room for it beside those before it. Once there was none, no further schema is
    /// looked at, and nothing more is said of them.
    ///
    /// # Errors
    /// Why it is none, why it is not used, or that there is no room.
    pub fn take(&mut self, schema: &Map<String, Value>, patterns: &mut pattern::Allowance) -> Result<(), String> {
        if self.is_told {
            return Ok(());
        }
        let (_, bytes) = checked(schema, patterns)?;
        if bytes > self.left {
            self.is_told = true;
            return Err(format!(
                "the schemas of the suite have more than {} MiB together, and those from here on are not looked at; use \
                 smaller or fewer schemas",
                ALL >> 20
            ));
        }
        self.left -= bytes;
        Ok(())
    }
}

/// The schema and its length.
fn checked(schema: &Map<String, Value>, patterns: &mut pattern::Allowance) -> Result<(Schema, usize), String> {
    let root = Value::Object(schema.clone());
    let bytes = root.to_string().len();
    if bytes > LONGEST {
        return Err(format!("it has {bytes} bytes; write it in at most {LONGEST}"));
    }
    let mut weighing = Weighing { root: &root, stack: Vec::new(), known: Vec::new(), descents: 0, recursive: 0 };
    let steps = weighing.node(&root)?;
    let recursive = weighing.recursive;
    let mut longest = usize::MAX;
    for_each_pattern(&root, &mut |written| {
        longest = longest.min(patterns.take_foreign(written)?);
        Ok(())
    })?;
    let options = PatternOptions::fancy_regex()
        .backtrack_limit(pattern::BACKTRACKS)
        .size_limit(pattern::LARGEST)
        .dfa_size_limit(pattern::LARGEST);
    let validator =
        jsonschema::options().with_pattern_options(options).build(&root).map_err(|error| error.to_string())?;
    Ok((Schema { validator, deepest: deepest(steps, recursive), longest }, bytes))
}

/// How deep an answer may be, so that so many references back, each followed at each level, take no more steps than allowed.
fn deepest(steps: u64, recursive: u64) -> u32 {
    if recursive < 2 {
        return DEEPEST_ANSWER;
    }
    let allowed = (RECURSIVE_STEPS / steps.max(1)).max(2);
    (1..DEEPEST_ANSWER).take_while(|depth| recursive.saturating_pow(*depth) <= allowed).last().unwrap_or(1).max(4)
}

fn depth(value: &Value) -> u32 {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Adds up the steps of one look at one place of an answer, references followed.
struct Weighing<'a> {
    root: &'a Value,
    /// The references that are being followed, each with how many steps into the answer were made before it.
    stack: Vec<(&'a str, usize)>,
    /// What the targets of references weigh.
    known: Vec<(&'a str, u64)>,
    descents: usize,
    /// References that lead back to where they stand.
    recursive: u64,
}

impl<'a> Weighing<'a> {
    fn node(&mut self, node: &'a Value) -> Result<u64, String> {
        let mut steps = 1_u64;
        match node {
            Value::Object(fields) => {
                for (keyword, value) in fields {
                    let added = match (keyword.as_str(), value) {
                        // They are looked at where they are referred to, and these are no schemas.
                        ("$defs" | "definitions" | "enum" | "const" | "default" | "examples", _) => 0,
                        ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(target)) => self.reference(target)?,
                        (
                            "properties"
                            | "patternProperties"
                            | "additionalProperties"
                            | "items"
                            | "prefixItems"
                            | "additionalItems"
                            | "contains"
                            | "unevaluatedProperties"
                            | "unevaluatedItems"
                            | "propertyNames",
                            inner,
                        ) => {
                            self.descents += 1;
                            let inside = self.node(inner);
                            self.descents -= 1;
                            inside?
                        }
                        (_, inner @ (Value::Object(_) | Value::Array(_))) => self.node(inner)?,
                        _ => 1,
                    };
                    steps = steps.saturating_add(added);
                }
            }
            Value::Array(items) => {
                for item in items {
                    steps = steps.saturating_add(self.node(item)?);
                }
            }
            _ => {}
        }
        if steps > STEPS {
            return Err(format!(
                "its references stand for more than {STEPS} steps; refer to fewer definitions, or write less into them"
            ));
        }
        Ok(steps)
    }

    fn reference(&mut self, target: &'a str) -> Result<u64, String> {
        if let Some((_, before)) = self.stack.iter().find(|(open, _)| *open == target) {
            if *before == self.descents {
                return Err(format!("the reference {target:?} leads to itself without an end; take it out"));
            }
            self.recursive += 1;
            return Ok(1);
        }
        if let Some((_, steps)) = self.known.iter().find(|(known, _)| *known == target) {
            return Ok(*steps);
        }
        if self.stack.len() >= DEEPEST {
            return Err(format!("more than {DEEPEST} references lead from one to the next; write the schema flatter"));
        }
        let pointer = target.strip_prefix('#').filter(|pointer| pointer.is_empty() || pointer.starts_with('/'));
        let Some(node) = pointer.and_then(|pointer| self.root.pointer(pointer)) else {
            // An anchor, an address, or nothing: whether it is one is found out when the schema is compiled. It may lead anywhere.
            self.recursive += 1;
            return Ok(1);
        };
        self.stack.push((target, self.descents));
        let steps = self.node(node);
        self.stack.pop();
        let steps = steps?;
        self.known.push((target, steps));
        Ok(steps)
    }
}

/// Every pattern of a schema.
fn for_each_pattern(node: &Value, found: &mut impl FnMut(&str) -> Result<(), String>) -> Result<(), String> {
    match node {
        Value::Object(fields) => {
            for (keyword, value) in fields {
                match (keyword.as_str(), value) {
                    ("pattern", Value::String(pattern)) => found(pattern)?,
                    ("patternProperties", Value::Object(inner)) => {
                        inner.keys().try_for_each(|pattern| found(pattern))?;
                    }
                    _ => {}
                }
                for_each_pattern(value, found)?;
            }
            Ok(())
        }
        Value::Array(items) => items.iter().try_for_each(|item| for_each_pattern(item, found)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema(value: Value) -> Result<Schema, String> {
        let Value::Object(schema) = value else { panic!("a schema is an object") };
        compile(&schema)
    }

    fn fault(schema: &Schema, answer: &Value) -> Option<String> {
        schema.fault(answer, &answer.to_string()).map(|(place, why)| format!("{place}: {why}"))
    }

    #[test]
    fn ordinary_schemas_hold_what_they_say() {
        let tree = schema(json!({
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string", "pattern": "^[a-z]+$"}, "children": {"items": {"$ref": "#"}}},
        }))
        .unwrap();
        let mut deep = json!({"name": "leaf"});
        for _ in 0..50 {
            deep = json!({"name": "node", "children": [deep]});
        }
        assert_eq!(fault(&tree, &deep), None);
        let wrong = json!({"name": "node", "children": [{"name": "X"}]});
        assert_eq!(fault(&tree, &wrong).unwrap(), r#"/children/0/name: "X" does not match "^[a-z]+$""#);
        let shared = schema(json!({
            "$defs": {"money": {"type": "number", "minimum": 0}},
            "properties": {"price": {"$ref": "#/$defs/money"}, "paid": {"$ref": "#/$defs/money"}},
        }))
        .unwrap();
        assert!(fault(&shared, &json!({"paid": -1})).is_some());
    }

    #[test]
    fn definitions_that_double_and_references_without_an_end_are_refused() {
        let mut definitions = Map::new();
        for level in 0..40 {
            let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            definitions.insert(format!("d{level}"), json!({"allOf": [next, next]}));
        }
        definitions.insert("d40".to_owned(), json!({"type": "object"}));
        let doubling = schema(json!({"$defs": definitions, "$ref": "#/$defs/d0"})).unwrap_err();
        assert!(doubling.contains("more than 50000 steps"), "{doubling}");

        for endless in [
            json!({"$ref": "#"}),
            json!({"allOf": [{"$ref": "#"}]}),
            json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"not": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}),
        ] {
            let refused = schema(endless).unwrap_err();
            assert!(refused.contains("without an end"), "{refused}");
        }
        let chain: Map<String, Value> =
            (0..500).map(|at| (format!("c{at}"), json!({"$ref": format!("#/$defs/c{}", at + 1)}))).collect();
        assert!(
            schema(json!({"$defs": chain, "$ref": "#/$defs/c0"})).unwrap_err().contains("more than 100 references")
        );
        assert!(schema(json!({"description": "x".repeat(70_000)})).unwrap_err().contains("at most 65536"));
        assert!(schema(json!({"pattern": r"\w{900}"})).unwrap_err().contains("too much memory"));
    }

    #[test]
    fn a_schema_that_refers_to_itself_twice_is_held_against_no_deep_answer() {
        let again = json!({"properties": {"a": {"$ref": "#"}}});
        let twice = schema(json!({"allOf": [again, again]})).unwrap();
        let nested = |levels: usize| (0..levels).fold(json!({}), |inner, _| json!({"a": inner}));
        assert_eq!(fault(&twice, &nested(8)), None);
        let began = std::time::Instant::now();
        assert!(fault(&twice, &nested(100)).unwrap().contains("nested 101 deep"));
        assert!(began.elapsed().as_secs() < 5);
    }
}
