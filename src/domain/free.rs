//! Schemas of what is the user's own: values that no type of ours describes.
//!
//! The cluster drops what a schema does not list, and what stands inside `additionalProperties: true` too; only
//! `x-kubernetes-preserve-unknown-fields` keeps it.

use schemars::{Schema, SchemaGenerator, json_schema};

/// An object with any fields.
pub fn object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["object", "null"], "x-kubernetes-preserve-unknown-fields": true})
}

/// Any value.
pub fn value(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}
