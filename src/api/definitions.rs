//! The CustomResourceDefinitions: the schemas of the types, made into what an API server takes and a person understands.
//!
//! The schemas also serve the command line, which has a few wishes of its own. What is different in the cluster is put right here:
//! patterns speak in words, durations have one form, and no number is let in that the types could not hold.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceValidation,
};
use kube::CustomResourceExt;
use kube::core::schema::{OptionalEnum, StructuralSchemaRewriter};
use schemars::generate::SchemaSettings;
use schemars::transform::{AddNullable, transform_subschemas};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::patterns;
use super::{AgentOptimization, PromptVersion};
use crate::domain::duration;

/// What a duration is, in words.
const DURATION: &str = r#"a duration such as "200ms", "30s" or "1h30m""#;

/// The definitions of AgentOptimization and PromptVersion, as `whetstone crd` prints them.
#[must_use]
pub fn definitions() -> [CustomResourceDefinition; 2] {
    [with_schema::<AgentOptimization>(), with_schema::<PromptVersion>()]
}

fn with_schema<T: CustomResourceExt + JsonSchema>() -> CustomResourceDefinition {
    let mut schema = schema_of::<T>().to_value();
    fit(&mut schema, true);
    without_defaults(&mut schema, false);
    let schema = serde_json::from_value(schema).expect("it is made of what a definition may hold");
    let schema = CustomResourceValidation { open_api_v3_schema: Some(schema) };
    let mut definition = T::crd();
    for version in &mut definition.spec.versions {
        version.schema = Some(schema.clone());
    }
    definition
}

/// The schema of a type as kube makes it, but that the description of a field is kept where its type has one too.
fn schema_of<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let settings = settings.with_transform(keep_description).with_transform(AddNullable::default());
    let settings = settings.with_transform(StructuralSchemaRewriter).with_transform(OptionalEnum);
    settings.into_generator().into_root_schema_for::<T>()
}

/// kube takes the description of an optional enum from its type.
fn keep_description(schema: &mut Schema) {
    transform_subschemas(&mut keep_description, schema);
    if schema.get("description").is_none() {
        return;
    }
    for option in schema.get_mut("anyOf").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(option) = option.as_object_mut() {
            option.remove("description");
        }
    }
}

/// Fits a schema and everything under it. `speaks` is false where rules would cost too much: in lists without a bound.
fn fit(schema: &mut Value, speaks: bool) {
    let Some(schema) = schema.as_object_mut() else { return };
    unwrap_description(schema);
    bound_numbers(schema);
    word_patterns(schema, speaks);
    let is_bounded = schema.contains_key("maxItems");
    if let Some(item) = schema.get_mut("items") {
        fit(item, speaks && is_bounded);
    }
    if let Some(others) = schema.get_mut("additionalProperties") {
        fit(others, false);
    }
    for (_, field) in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        fit(field, speaks);
    }
}

/// Takes away the defaults inside lists. A list is one value to whoever compares a file with the object (client-side `kubectl apply`,
/// Argo CD), so that one with defaults filled in would be another than the one in the file, for ever. What is absent there has the
/// same meaning: the types and profiles know it, and the descriptions say it.
fn without_defaults(schema: &mut Value, is_in_list: bool) {
    let Some(schema) = schema.as_object_mut() else { return };
    if is_in_list {
        schema.remove("default");
    }
    if let Some(item) = schema.get_mut("items") {
        without_defaults(item, true);
    }
    if let Some(others) = schema.get_mut("additionalProperties") {
        without_defaults(others, is_in_list);
    }
    for (_, field) in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        without_defaults(field, is_in_list);
    }
}

/// kubectl explain breaks lines itself.
fn unwrap_description(schema: &mut Map<String, Value>) {
    if let Some(Value::String(about)) = schema.get_mut("description") {
        let paragraphs: Vec<String> = about.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect();
        *about = paragraphs.join("\n\n");
    }
}

/// An object that the types cannot read would stop the watch over all of them, so no number may be let in that they do not hold. The
/// formats themselves are Rust's; the API server warns of each.
fn bound_numbers(schema: &mut Map<String, Value>) {
    let largest = match schema.get("format").and_then(Value::as_str) {
        Some("uint8") => Some(u64::from(u8::MAX)),
        Some("uint16") => Some(u64::from(u16::MAX)),
        Some("uint32") => Some(u64::from(u32::MAX)),
        Some("uint" | "uint64") => None,
        _ => return,
    };
    schema.insert("format".to_owned(), json!("int64"));
    if let (Some(largest), false) = (largest, schema.contains_key("maximum")) {
        schema.insert("maximum".to_owned(), json!(largest));
    }
}

/// A pattern becomes a rule with a message that says the form in words.
fn word_patterns(schema: &mut Map<String, Value>, speaks: bool) {
    let Some(pattern) = schema.get("pattern").and_then(Value::as_str) else { return };
    let (pattern, words) = if pattern == duration::WRITTEN {
        (duration::IN_CLUSTER.to_owned(), DURATION)
    } else if let Some(words) = patterns::in_words(pattern) {
        (pattern.to_owned(), words)
    } else {
        return;
    };
    if words == DURATION
        && let Some(Value::String(about)) = schema.get_mut("description")
    {
        about.push_str(" Written like `200ms`, `30s` or `1h30m`.");
    }
    if !speaks {
        schema.insert("pattern".to_owned(), json!(pattern));
        return;
    }
    schema.remove("pattern");
    if words != DURATION {
        // Nothing else matches an empty text, and one message is enough.
        schema.remove("minLength");
    }
    let rule = json!({"rule": format!("self.matches({})", cel_text(&pattern)), "message": format!("must be {words}")});
    let rules = schema.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
    if let Some(rules) = rules.as_array_mut() {
        rules.insert(0, rule);
    }
}

/// A text as a literal of CEL.
fn cel_text(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an API server demands of a structural schema
    /// (<https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>),
    /// and that nothing of the user's own is pruned.
    fn assert_structural(schema: &Value, path: &str) {
        let keeps = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
        let is_typed = schema.get("type").is_some_and(Value::is_string);
        assert!(is_typed || keeps, "{path} has no type");
        assert!(schema.get("$ref").is_none(), "{path} is a reference");
        for key in ["anyOf", "oneOf", "allOf", "not"] {
            assert!(schema.get(key).is_none(), "{path} has {key}");
        }
        let others = schema.get("additionalProperties");
        assert!(!matches!(others, Some(Value::Bool(_))), "{path} would be pruned");
        if schema.get("type").is_some_and(|kind| kind == "object") {
            assert!(keeps || others.is_some() || schema.get("properties").is_some(), "{path} would be pruned");
        }
        let fields = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        for (name, field) in fields {
            assert_structural(field, &format!("{path}.{name}"));
        }
        for inner in schema.get("items").into_iter().chain(others) {
            assert_structural(inner, &format!("{path}[]"));
        }
    }

    #[test]
    fn the_resource_definitions_are_structural_and_small_enough() {
        for crd in definitions() {
            let crd = serde_json::to_value(crd).unwrap();
            assert!(crd.to_string().len() < 256 * 1024);
            assert_structural(&crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "");
        }
    }

    /// Nothing is filled in inside a list.
    fn assert_lists_stay(schema: &Value, path: &str, is_in_list: bool) {
        assert!(!(is_in_list && schema.get("default").is_some()), "{path} is filled in inside a list");
        for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            assert_lists_stay(field, &format!("{path}.{name}"), is_in_list);
        }
        if let Some(inner) = schema.get("items") {
            assert_lists_stay(inner, &format!("{path}[]"), true);
        }
        if let Some(inner) = schema.get("additionalProperties") {
            assert_lists_stay(inner, &format!("{path}{{}}"), is_in_list);
        }
    }

    #[test]
    fn no_default_is_filled_in_inside_a_list() {
        for definition in definitions() {
            let definition = serde_json::to_value(definition).unwrap();
            assert_lists_stay(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "", false);
        }
    }

    /// Every field says what it is for, and no pattern is shown to anybody.
    fn assert_explained(schema: &Value, path: &str) {
        let pattern = schema.get("pattern").and_then(Value::as_str);
        assert!(matches!(pattern, None | Some(duration::IN_CLUSTER)), "{path}: {pattern:?} is not in words");
        for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = format!("{path}.{name}");
            assert!(field.get("description").is_some(), "{path} says nothing");
            assert_explained(field, &path);
        }
        for inner in schema.get("items").into_iter().chain(schema.get("additionalProperties")) {
            assert_explained(inner, &format!("{path}[]"));
        }
    }

    #[test]
    fn every_field_says_what_it_is_for_and_every_pattern_is_in_words() {
        for definition in definitions() {
            let definition = serde_json::to_value(definition).unwrap();
            let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            assert_explained(&schema["properties"]["spec"], "spec");
            assert_explained(&schema["properties"]["status"], "status");
        }
    }

    #[test]
    fn the_description_of_a_field_is_its_own_and_not_that_of_its_type() {
        let [optimization, _] = definitions();
        let definition = serde_json::to_value(optimization).unwrap();
        let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties").unwrap();
        let about = schema.pointer("/promotion/properties/onDelete/description").and_then(Value::as_str).unwrap();
        assert!(about.contains("Defaults to `Keep`"), "{about}");
    }

    #[test]
    fn the_rules_hold_for_the_first_resource_and_speak_up_for_another() {
        let [optimization, _] = definitions();
        let definition = serde_json::to_value(optimization).unwrap();
        let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap();
        let mut object: Value =
            serde_saphyr::from_str(include_str!("../../tests/operator/admission/first-resource.yaml")).unwrap();
        let check = |object: &Value| kube::core::cel::Validator::new().validate(schema, object, None);
        check(&object).unwrap();
        object["spec"]["scoring"]["judge"]["ref"] = json!("jugde");
        object["spec"]["agent"]["prompt"] = json!({"file": "prompt.md"});
        insta::assert_snapshot!(check(&object).unwrap_err().to_string(), @r#"
        2 validation error(s):
          - spec.scoring.judge.ref: no model "jugde" in spec.models: name one that is there, or add it
          - spec.agent.prompt.file: the cluster reads no files: put it into a ConfigMap and name it by configMapKeyRef
        "#);
    }
}
