//! Schemas of free-form values.
//!
//! The API server drops fields that a schema does not list, even inside `additionalProperties: true`, unless it has
//! `x-kubernetes-preserve-unknown-fields`.

use schemars::{Schema, SchemaGenerator, json_schema};

/// An object with any fields.
pub fn object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["object", "null"], "x-kubernetes-preserve-unknown-fields": true})
}

/// Any value.
pub fn value(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}
