//! Untrusted JSON Schemas.
//!
//! Validating against a schema of a few hundred bytes can take forever: definitions that refer to each other twice double the work
//! with each level, and recursive ones with each level of the answer. So the cost of a schema is computed before it is compiled,
//! and limits the answers that are validated against it.

use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Value};

use super::pattern;

/// The maximum length of a schema, in bytes of JSON.
const LONGEST: usize = 64 << 10;
/// The maximum total length of all schemas of a suite, in bytes.
const ALL: usize = 8 << 20;
/// The maximum number of steps at one place of an answer.
const STEPS: u64 = 50_000;
/// The maximum number of nested references.
const DEEPEST: usize = 100;
/// The maximum number of steps for validating a deep answer against a recursive schema.
const RECURSIVE_STEPS: u64 = 10_000_000;
/// The recursion limit of `serde_json`.
const DEEPEST_ANSWER: u32 = 128;

/// A compiled schema.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
    /// The maximum depth of an answer that is validated against it.
    deepest: u32,
    /// The maximum length of an answer that is validated against it, in bytes.
    longest: usize,
}

/// Compiles a schema.
///
/// # Errors
/// The schema is invalid, or too expensive.
pub fn compile(schema: &Map<String, Value>) -> Result<Schema, String> {
    let mut patterns = pattern::Allowance::default();
    checked(schema, &mut patterns).map(|(schema, _)| schema)
}

impl Schema {
    /// The first violation in an answer, which has this text: its path and the reason; `None` if the answer is valid. The path of
    /// the whole answer is empty.
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

/// The remaining budget for the schemas of a suite.
#[derive(Debug)]
pub struct Allowance {
    left: usize,
    is_reported: bool,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { left: ALL, is_reported: false }
    }
}

impl Allowance {
    /// Checks that a schema is valid and within the remaining budget. Once the budget is exceeded, further schemas are not checked
    /// and not reported.
    ///
    /// # Errors
    /// The schema is invalid or too expensive, or exceeds the budget.
    pub fn take(&mut self, schema: &Map<String, Value>, patterns: &mut pattern::Allowance) -> Result<(), String> {
        if self.is_reported {
            return Ok(());
        }
        let (_, bytes) = checked(schema, patterns)?;
        if bytes > self.left {
            self.is_reported = true;
            return Err(format!(
                "the schemas of the suite have more than {} MiB together, so this and further ones were not checked; use \
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
        return Err(format!("it has {bytes} bytes; use at most {LONGEST}"));
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

/// The maximum depth of an answer for which recursive references stay within the limit of steps.
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

/// Counts the steps at one place of an answer, including those behind references.
struct Weighing<'a> {
    root: &'a Value,
    /// The references on the current path, each with the depth in the answer at which it was entered.
    stack: Vec<(&'a str, usize)>,
    /// The cost of the targets of references.
    known: Vec<(&'a str, u64)>,
    descents: usize,
    /// The number of recursive references.
    recursive: u64,
}

impl<'a> Weighing<'a> {
    fn node(&mut self, node: &'a Value) -> Result<u64, String> {
        let mut steps = 1_u64;
        match node {
            Value::Object(fields) => {
                for (keyword, value) in fields {
                    let added = match (keyword.as_str(), value) {
                        // Definitions are counted where they are referenced, and these keywords contain no schemas.
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
                "its references expand to more than {STEPS} steps; use fewer references, or smaller definitions"
            ));
        }
        Ok(steps)
    }

    fn reference(&mut self, target: &'a str) -> Result<u64, String> {
        if let Some((_, before)) = self.stack.iter().find(|(open, _)| *open == target) {
            if *before == self.descents {
                return Err(format!("the reference {target:?} refers to itself without an end; remove it"));
            }
            self.recursive += 1;
            return Ok(1);
        }
        if let Some((_, steps)) = self.known.iter().find(|(known, _)| *known == target) {
            return Ok(*steps);
        }
        if self.stack.len() >= DEEPEST {
            return Err(format!("more than {DEEPEST} references are nested; flatten the schema"));
        }
        let pointer = target.strip_prefix('#').filter(|pointer| pointer.is_empty() || pointer.starts_with('/'));
        let Some(node) = pointer.and_then(|pointer| self.root.pointer(pointer)) else {
            // An anchor, a URL, or invalid: the compiler of the schema checks it. It may refer to anything.
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
            schema(json!({"$defs": chain, "$ref": "#/$defs/c0"}))
                .unwrap_err()
                .contains("more than 100 references are nested")
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
