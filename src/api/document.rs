//! YAML and JSON in which every value has its line and column.
//!
//! Text goes in, [`Document`]s come out; [`read`] converts one to a type of the API, using the schema of the type, and
//! reports all problems at once. This module does not know the meaning of the fields.

pub(crate) mod nearest;
pub(crate) mod read;
mod scalar;
mod shape;
mod tree;

use std::sync::Arc;

pub(crate) use nearest::nearest;
pub(crate) use read::Reader;
pub(crate) use tree::{Content, Field, Node, excerpt};

use super::problem::{Place, Problem};

/// One YAML or JSON document.
#[derive(Clone, Debug)]
pub struct Document {
    file: Arc<str>,
    root: Node,
}

impl Document {
    /// Parses all documents of a text, separated by `---`. Duplicate keys and similar errors are reported as problems, but the
    /// documents are returned anyway; a text that is not YAML gives one problem and no document. Empty documents are left out.
    pub fn read_all(file: &str, text: &str, problems: &mut Vec<Problem>) -> Vec<Self> {
        Self::read_line(file, text, 0, problems)
    }

    /// Parses one line of JSONL. `index` is its position in the file, from 0.
    pub fn read_line(file: &str, line: &str, index: usize, problems: &mut Vec<Problem>) -> Vec<Self> {
        let file: Arc<str> = file.into();
        let roots = tree::parse(&file, line, index, problems);
        roots
            .into_iter()
            .filter(|root| !matches!(root.content, Content::Null))
            .map(|root| Self { file: Arc::clone(&file), root })
            .collect()
    }

    /// The file as the user named it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The root value.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The place of a node of this document.
    pub fn place(&self, node: &Node) -> Place {
        Place { file: self.file.to_string(), line: node.line as usize, column: node.column as usize }
    }

    /// The value of a field, by its path such as `spec.models[1].price`.
    pub fn node(&self, path: &str) -> Option<&Node> {
        steps(path).try_fold(&self.root, |node, name| step(node, name).map(|(inner, _, _)| inner))
    }

    /// The place of a field, by its path such as `spec.models[1].price`; that of the nearest enclosing value if the field does not
    /// exist.
    pub fn place_of(&self, path: &str) -> Place {
        let mut node = &self.root;
        let mut found = (node.line, node.column);
        for name in steps(path) {
            let Some((inner, line, column)) = step(node, name) else { break };
            node = inner;
            found = (line, column);
        }
        Place { file: self.file.to_string(), line: found.0 as usize, column: found.1 as usize }
    }

    /// A problem with a field of this document.
    pub fn problem(&self, path: impl Into<String>, message: impl Into<String>) -> Problem {
        let field = path.into();
        Problem { place: Some(self.place_of(&field)), field, message: message.into() }
    }
}

/// The steps of a path: names of fields, and indices followed by a bracket.
fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.split(['.', '[']).filter(|step| !step.is_empty())
}

/// Follows one step, and returns the place of the key or item.
fn step<'a>(node: &'a Node, name: &str) -> Option<(&'a Node, u32, u32)> {
    match name.strip_suffix(']') {
        Some(index) => node.item(index.parse().ok()?).map(|item| (item, item.line, item.column)),
        None => node.field(name).map(|field| (&field.node, field.line, field.column)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Vec<serde_json::Value>, Vec<String>) {
        let mut problems = Vec::new();
        let documents = Document::read_all("f.yaml", text, &mut problems);
        let values = documents.iter().map(|document| document.root().value()).collect();
        (values, problems.iter().map(ToString::to_string).collect())
    }

    fn value(text: &str) -> serde_json::Value {
        let (mut values, problems) = parse(text);
        assert_eq!(problems, Vec::<String>::new(), "{text}");
        assert_eq!(values.len(), 1, "{text}");
        values.remove(0)
    }

    #[test]
    fn scalars_follow_the_core_schema_of_yaml_1_2() {
        let read = value(
            "{a: yes, b: true, c: null, d: ~, e: 12, f: 0x1F, g: 0o17, h: -1.5e3, i: '12', j: 1.0.0, k: 12:30, l: !!str 5, m: }",
        );
        assert_eq!(
            read,
            serde_json::json!({
                "a": "yes", "b": true, "c": null, "d": null, "e": 12, "f": 31, "g": 15, "h": -1500.0, "i": "12",
                "j": "1.0.0", "k": "12:30", "l": "5", "m": null,
            })
        );
    }

    #[test]
    fn json_is_read_as_it_is() {
        let text = "{\n\t\"text\": \"tab\\t quote\\\" slash\\/ \\u00e9 \\ud83d\\ude00\",\n\t\"big\": 18446744073709551615,\n\t\"bigger\": 36893488147419103232,\n\t\"small\": -9223372036854775808,\n\t\"list\":[1,2.50,-0.1e-7,true,null,{\"a\":[]}],\"empty\":{}\n}\n";
        assert_eq!(value(text), serde_json::from_str::<serde_json::Value>(text).unwrap());
    }

    #[test]
    fn every_document_of_a_file_is_read_and_empty_ones_are_not() {
        let (values, problems) = parse("---\na: 1\n---\n---\n# nothing\n---\n- b\n...\n");
        assert_eq!(values, [serde_json::json!({"a": 1}), serde_json::json!(["b"])]);
        assert!(problems.is_empty());
    }

    #[test]
    fn a_duplicate_key_names_both_places_and_the_rest_is_still_read() {
        let (values, problems) = parse("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n");
        assert_eq!(values, [serde_json::json!({"a": 1, "b": {"c": 1}})]);
        assert_eq!(
            problems,
            [
                r#"f.yaml:4:3: b.c: duplicate key "c", first defined on line 3; keep one of them"#,
                r#"f.yaml:5:1: a: duplicate key "a", first defined on line 1; keep one of them"#,
            ]
        );
    }

    #[test]
    fn anchors_and_merge_keys_are_resolved() {
        let read = value("base: &b {x: 1, y: 2}\none: {<<: *b, y: 3}\ntwo: *b\nthree: {<<: [*b, {z: 9}]}\n");
        assert_eq!(
            read,
            serde_json::json!({
                "base": {"x": 1, "y": 2}, "one": {"y": 3, "x": 1}, "two": {"x": 1, "y": 2},
                "three": {"x": 1, "y": 2, "z": 9},
            })
        );
    }

    #[test]
    fn a_billion_laughs_are_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let alias = format!("*a{}", level - 1);
            text = format!("{text}a{level}: &a{level} [{}]\n", [alias.as_str(); 10].join(", "));
        }
        let (_, problems) = parse(&text);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("aliases expand to more than"), "{problems:?}");
    }

    #[test]
    fn a_long_text_behind_many_aliases_and_anchors_within_anchors_are_refused_before_they_fill_the_memory() {
        let problem = |text: &str| parse(text).1.join("\n");
        let long = format!("- &a {:?}\n{}", "x".repeat(500_000), "- *a\n".repeat(90_000));
        assert!(problem(&long).contains("write the values out"), "{}", problem(&long));
        let nested = format!("{}{}{}", "&a [".repeat(100), "1,".repeat(5_000), "]".repeat(100));
        assert!(problem(&nested).contains("anchors and aliases expand to more than"), "{}", problem(&nested));
    }

    #[test]
    fn nesting_without_end_is_refused() {
        for text in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(100_000)] {
            let (values, problems) = parse(&text);
            assert!(values.is_empty());
            assert_eq!(problems.len(), 1);
        }
        let chain: Vec<String> = (1..1000).map(|n| format!("- &a{n} [*a{}]", n - 1)).collect();
        let (_, problems) = parse(&format!("- &a0 []\n{}", chain.join("\n")));
        assert!(problems[0].contains("nested more than"), "{problems:?}");
    }

    #[test]
    fn malformed_yaml_says_where() {
        let (_, problems) = parse("spec:\n  agent:\n\tprompt: x\n");
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with("f.yaml:3:"), "{problems:?}");
        let (_, problems) = parse("a: [1, 2\nb: 3\n");
        assert!(problems[0].starts_with("f.yaml:2:"), "{problems:?}");
        let (_, problems) = parse("a: *nowhere\n");
        assert!(problems[0].starts_with("f.yaml:1:4: not valid YAML:"), "{problems:?}");
    }

    #[test]
    fn a_field_is_found_by_its_path() {
        let text = "spec:\n  models:\n  - name: a\n    price: {in: 1}\n  - name: b\n";
        let documents = Document::read_all("f.yaml", text, &mut Vec::new());
        let place = |path: &str| {
            let place = documents[0].place_of(path);
            (place.line, place.column)
        };
        assert_eq!(place("spec.models[0].price.in"), (4, 13));
        assert_eq!(place("spec.models[1].name"), (5, 5));
        assert_eq!(place("spec.models[1].price.in"), (5, 5), "what is not there has the place of what is around it");
        assert_eq!(place("spec.nothing"), (1, 1));
    }

    #[test]
    fn jsonl_counts_lines() {
        let mut problems = Vec::new();
        let documents = Document::read_line("s.jsonl", "{\"id\": 2, \"id\": 3}", 2, &mut problems);
        assert_eq!(documents[0].place_of("id").line, 3);
        assert_eq!(
            problems[0].to_string(),
            r#"s.jsonl:3:11: id: duplicate key "id", first defined on line 3; keep one of them"#
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC*") {
            Document::read_all("f", &text, &mut Vec::new());
        }

        #[test]
        fn no_near_yaml_makes_the_reader_panic(text in "[-\\[\\]{}:,&*!|>'\"%@#a<0-9.eE \n\t]{0,80}") {
            Document::read_all("f", &text, &mut Vec::new());
        }
    }
}
