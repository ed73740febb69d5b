//! A submitted resource: a file with places, a pipeline template, or an object of the cluster.

use std::collections::BTreeMap;

use kube::core::ObjectMeta;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::document::{self, Content, Document, Field, nearest};
use super::pipeline;
use super::problem::{Problem, Problems};
use super::resolve::ConfigMap;
use super::{AgentOptimization, AgentOptimizationSpec};
use whetstone_domain::free;

const API_VERSION: &str = "whetstone.dev/v1alpha1";
const KIND: &str = "AgentOptimization";

/// The fields that a message names of a file that is something else.
const FIELDS_NAMED: usize = 5;

/// A submitted resource, with the places of its fields.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The resource; converted if it was a pipeline template.
    pub resource: AgentOptimization,
    /// The ConfigMaps in the same file.
    pub config_maps: Vec<ConfigMap>,
    /// The problems found so far, to which [`resolve`](super::resolve::resolve) adds.
    pub(super) problems: Vec<Problem>,
    /// Warnings of the conversion of a pipeline template.
    pub warnings: Vec<String>,
    origin: Option<Origin>,
}

/// The document of a resource.
#[derive(Clone, Debug)]
struct Origin {
    document: Document,
    /// For a pipeline template: paths in the resource, with the corresponding paths in the template.
    renamed: Vec<(String, String)>,
}

/// The top-level fields of a resource file.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "the schema has to list every allowed field")]
struct Envelope {
    /// `whetstone.dev/v1alpha1`.
    api_version: String,
    /// `AgentOptimization`.
    kind: String,
    /// Name and namespace.
    metadata: Metadata,
    /// The spec.
    spec: AgentOptimizationSpec,
    /// The status, which is ignored.
    #[serde(default)]
    #[schemars(schema_with = "free::value")]
    status: Option<Value>,
}

/// The fields of `metadata` that the command line uses.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
struct Metadata {
    /// The name of the resource.
    #[schemars(length(min = 1, max = 253))]
    name: String,
    /// Defaults to `default`.
    #[serde(default)]
    namespace: Option<String>,
    /// Labels.
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    /// Annotations.
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl From<AgentOptimization> for Submission {
    fn from(resource: AgentOptimization) -> Self {
        Self { resource, config_maps: Vec::new(), problems: Vec::new(), warnings: Vec::new(), origin: None }
    }
}

impl Submission {
    /// Parses a file with one AgentOptimization or pipeline template, and any ConfigMaps. Other objects are ignored.
    /// `openai_base_url` is the variable `OPENAI_BASE_URL`, the endpoint of a pipeline template's models.
    ///
    /// # Errors
    /// All problems, if there is no usable resource. Otherwise problems are kept, and [`resolve`](super::resolve::resolve)
    /// returns them together with its own.
    pub fn read(file: &str, text: &str, openai_base_url: Option<&str>) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let mut config_maps = Vec::new();
        let mut candidates = Vec::new();
        let mut others = Vec::new();
        for document in Document::read_all(file, text, &mut problems) {
            match kind_of(&document) {
                Kind::Optimization | Kind::Pipeline => candidates.push(document),
                Kind::ConfigMap => config_maps.extend(ConfigMap::read(&document, &mut problems)),
                Kind::Other(kind) => others.push((kind, document)),
            }
        }
        // A kind with a typo, or the only document, is assumed to be the resource.
        if candidates.is_empty() {
            let meant = others.iter().position(|(kind, _)| nearest(kind, [KIND]).is_some());
            let meant = meant.or_else(|| others.iter().position(|(kind, _)| kind.is_empty()));
            candidates.extend(meant.map(|index| others.remove(index).1));
        }
        let mut candidates = candidates.into_iter();
        let Some(document) = candidates.next() else {
            if problems.is_empty() {
                problems.push(nothing_to_read(file, text, &others));
            }
            return Err(Problems::sorted(problems));
        };
        for second in candidates {
            let message = "more than one resource in a file; put each into a separate file";
            problems.push(second.problem("", message));
        }
        let read = if matches!(kind_of(&document), Kind::Pipeline) {
            pipeline::read(&document, openai_base_url, &mut problems)
                .map(|read| (read.resource, read.renamed, read.warnings))
        } else {
            read_resource(&document, &mut problems).map(|resource| (resource, Vec::new(), Vec::new()))
        };
        match read {
            Some((resource, renamed, warnings)) => {
                Ok(Self { resource, config_maps, problems, warnings, origin: Some(Origin { document, renamed }) })
            }
            None => Err(Problems::sorted(problems)),
        }
    }

    /// The resource as a file: only the fields that are set, without comments.
    pub fn to_yaml(&self) -> String {
        serde_saphyr::to_string(&self.resource).expect("a resource has text keys only, and so a form in YAML")
    }

    /// The path of a field in the user's file, which differs from that in the resource for a pipeline template.
    pub(super) fn path(&self, field: &str) -> String {
        let renamed = self.origin.iter().flat_map(|origin| &origin.renamed);
        renamed
            .filter_map(|(path, original)| {
                let rest = field.strip_prefix(path.as_str())?;
                (rest.is_empty() || rest.starts_with(['.', '['])).then(|| (path.len(), format!("{original}{rest}")))
            })
            .max_by_key(|(length, _)| *length)
            .map_or_else(|| field.to_owned(), |(_, original)| original)
    }

    /// A problem with a field of the resource.
    pub(super) fn problem(&self, field: &str, message: impl Into<String>) -> Problem {
        let field = self.path(field);
        match &self.origin {
            Some(origin) => origin.document.problem(field, message),
            None => Problem { place: None, field, message: message.into() },
        }
    }
}

enum Kind {
    Optimization,
    Pipeline,
    ConfigMap,
    Other(String),
}

fn kind_of(document: &Document) -> Kind {
    match document.root().get("kind").map(|kind| kind.text().unwrap_or_default()) {
        Some(KIND) => Kind::Optimization,
        Some("ConfigMap") => Kind::ConfigMap,
        None if document.root().get("pipeline").is_some() => Kind::Pipeline,
        kind => Kind::Other(kind.unwrap_or_default().to_owned()),
    }
}

fn read_resource(document: &Document, problems: &mut Vec<Problem>) -> Option<AgentOptimization> {
    let Content::Map(fields) = &document.root().content else {
        problems.push(document.problem("", no_resource(&document.root().described())));
        return None;
    };
    let is_of_a_resource = |field: &Field| ["apiVersion", "kind", "metadata", "spec"].contains(&field.key.as_str());
    if !fields.iter().any(is_of_a_resource) {
        let named: Vec<&str> = fields.iter().map(|field| field.key.as_str()).take(FIELDS_NAMED).collect();
        let more = if fields.len() > FIELDS_NAMED { ", …" } else { "" };
        problems.push(document.problem("", no_resource(&format!("a mapping of {}{more}", named.join(", ")))));
        return None;
    }
    for (field, right) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        if let Some(found) = document.root().get(field).and_then(|node| node.text())
            && found != right
        {
            problems.push(document.problem(field, format!("expected {right:?}, found {found:?}")));
        }
    }
    let Envelope { metadata, spec, .. } = document::read::read(document, problems)?;
    let mut resource = AgentOptimization::new(&metadata.name, spec);
    resource.metadata = ObjectMeta {
        name: Some(metadata.name),
        namespace: metadata.namespace,
        labels: metadata.labels,
        annotations: metadata.annotations,
        ..ObjectMeta::default()
    };
    Some(resource)
}

fn no_resource(found: &str) -> String {
    format!("expected a resource (apiVersion, kind, metadata, spec) or a pipeline, found {found}")
}

fn nothing_to_read(file: &str, text: &str, others: &[(String, Document)]) -> Problem {
    let message = if text.trim().is_empty() {
        format!("the file is empty; a resource begins with apiVersion: {API_VERSION}, kind: {KIND}")
    } else {
        let kinds: Vec<&str> = others.iter().map(|(kind, _)| kind.as_str()).collect();
        let found = if kinds.is_empty() { "only ConfigMaps".to_owned() } else { kinds.join(", ") };
        format!("no {KIND} and no pipeline in this file; found {found}")
    };
    let place = super::problem::Place { file: file.to_owned(), line: 1, column: 1 };
    Problem { place: Some(place), field: String::new(), message }
}
