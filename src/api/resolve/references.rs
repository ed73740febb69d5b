//! References of a resource, and the texts that were read for them.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::super::document::nearest::{hint, nearest};
use super::super::document::{Content, Document};
use super::super::problem::Problem;
use super::super::source::TextSource;
use super::super::{AgentOptimization, Submission};
use whetstone_domain::prompt_set::PromptSet;

/// The key of the target ConfigMap with the champion's prompt.
pub(crate) const CHAMPION_KEY: &str = "system-prompt";
/// The key of the target ConfigMap with the champion's hash.
const HASH_KEY: &str = "prompt-hash";

/// The extensions of files and keys with scenarios.
const SCENARIO_ENDINGS: [&str; 4] = [".yaml", ".yml", ".json", ".jsonl"];

/// A reference that must be read before a resource can be resolved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    /// One key of a ConfigMap.
    ConfigMapKey {
        /// The ConfigMap.
        name: String,
        /// The key.
        key: String,
    },
    /// All keys of a ConfigMap with scenarios (see [`Reference::holds_scenarios`]).
    ConfigMap {
        /// The ConfigMap.
        name: String,
    },
    /// One file, relative to the resource file.
    File(String),
    /// A file with scenarios, or a directory: then all files with scenarios in it and its subdirectories, sorted by path.
    Files(String),
    /// The champion: the key `system-prompt` of the target ConfigMap. If it does not exist, the base prompt is the champion.
    Champion {
        /// The target ConfigMap.
        config_map: String,
    },
}

impl Reference {
    /// Whether a file or key of this name has scenarios, by its extension.
    pub fn holds_scenarios(name: &str) -> bool {
        SCENARIO_ENDINGS.iter().any(|ending| name.ends_with(ending))
    }

    /// Whether a text of this name is JSONL. The name of a key of a ConfigMap is `configmap/NAME[KEY]`.
    pub(super) fn holds_lines(name: &str) -> bool {
        name.trim_end_matches(']').rsplit('.').next() == Some("jsonl")
    }

    /// The reference of a text source; `None` if the text is inline or the source is invalid.
    fn of(source: &TextSource) -> Option<Self> {
        match source {
            TextSource { config_map_key_ref: Some(key), file: None, inline: None } => {
                Some(Self::ConfigMapKey { name: key.name.clone(), key: key.key.clone() })
            }
            TextSource { config_map_key_ref: None, file: Some(file), inline: None } => Some(Self::File(file.clone())),
            _ => None,
        }
    }
}

/// A text that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its name for messages: the file as the user named it, or `configmap/NAME[KEY]`.
    pub name: String,
    /// The text.
    pub text: String,
}

/// The texts that were read for each reference, or the error.
#[derive(Clone, Debug, Default)]
pub(crate) struct References {
    read: BTreeMap<Reference, Result<Vec<Text>, String>>,
    /// The keys of the given ConfigMaps, by name.
    given: BTreeMap<String, Vec<String>>,
    /// Whether they were read from a namespace of a cluster rather than by the command line.
    in_cluster: bool,
    /// The immutable ConfigMaps.
    immutable: BTreeSet<String>,
    /// The ConfigMaps whose prompt does not match their hash.
    edited: BTreeSet<String>,
}

impl References {
    /// Reads all references of a submission. ConfigMaps are taken from the submission and from `manifests`; `read` reads files and
    /// other ConfigMaps. It returns `Ok(None)` if the text does not exist, and a message if it cannot be read.
    pub(crate) fn gather(
        submission: &Submission,
        manifests: &[ConfigMap],
        mut read: impl FnMut(&Reference) -> Result<Option<Vec<Text>>, String>,
    ) -> Self {
        let given = || submission.config_maps.iter().chain(manifests);
        let keys = |map: &ConfigMap| (map.name.clone(), map.data.keys().cloned().collect());
        let names = |is: fn(&ConfigMap) -> bool| given().filter(|map| is(map)).map(|map| map.name.clone()).collect();
        let mut references = Self {
            given: given().map(keys).collect(),
            immutable: names(|map| map.immutable),
            edited: names(ConfigMap::is_edited),
            ..Self::default()
        };
        for reference in requested(&submission.resource) {
            let answer = match given().find_map(|map| map.answer(&reference)) {
                Some(texts) => Ok(Some(texts)),
                None => read(&reference),
            };
            match answer {
                Ok(Some(texts)) => references.insert(reference, Ok(texts)),
                Ok(None) => {}
                Err(why) => references.insert(reference, Err(why)),
            }
        }
        references
    }

    /// The same, with messages for the cluster: all of them were read from one namespace.
    #[must_use]
    pub(crate) fn in_cluster(self) -> Self {
        Self { in_cluster: true, ..self }
    }

    /// Adds the texts that were read for a reference, or the error.
    pub(crate) fn insert(&mut self, reference: Reference, texts: Result<Vec<Text>, String>) {
        self.read.insert(reference, texts);
    }

    /// The texts of a reference; `None` if it does not exist.
    pub(crate) fn get(&self, reference: &Reference) -> Option<&Result<Vec<Text>, String>> {
        self.read.get(reference)
    }

    /// The text of a source.
    pub(super) fn of_source(&self, source: &TextSource) -> Option<Result<&Text, String>> {
        let reference = Reference::of(source)?;
        Some(match self.get(&reference) {
            Some(Ok(texts)) => texts.first().ok_or_else(|| self.missing(&reference)),
            Some(Err(why)) => Err(why.clone()),
            None => Err(self.missing(&reference)),
        })
    }

    /// Whether a given ConfigMap is immutable.
    pub(super) fn is_immutable(&self, name: &str) -> bool {
        self.immutable.contains(name)
    }

    /// Whether the prompt of a given ConfigMap does not match its hash.
    pub(super) fn is_edited(&self, name: &str) -> bool {
        self.edited.contains(name)
    }

    /// The message for a reference to something that does not exist.
    pub(super) fn missing(&self, reference: &Reference) -> String {
        match reference {
            Reference::ConfigMapKey { name, key } => match self.given.get(name) {
                Some(keys) => {
                    let near = hint(key, keys.iter().map(String::as_str));
                    format!("the ConfigMap {name:?} has no key {key:?}{near}")
                }
                None => self.missing_config_map(name),
            },
            Reference::ConfigMap { name } | Reference::Champion { config_map: name } => self.missing_config_map(name),
            Reference::File(path) | Reference::Files(path) => {
                format!("no file {path:?}; paths are relative to the resource file")
            }
        }
    }

    fn missing_config_map(&self, name: &str) -> String {
        let near = nearest(name, self.given.keys().map(String::as_str));
        match near {
            Some(near) => format!("no ConfigMap {name:?}; did you mean {near:?}?"),
            None if self.in_cluster => format!("there is no ConfigMap {name:?} in this namespace"),
            None => format!(
                "no ConfigMap {name:?} in the namespace of the resource; add it to the resource file or to the directory of --manifests"
            ),
        }
    }
}

/// All references of a resource, without duplicates.
pub(crate) fn requested(resource: &AgentOptimization) -> Vec<Reference> {
    let spec = &resource.spec;
    let replay = spec.agent.runtime.replay.as_ref().map(|replay| &replay.transcripts);
    let texts = [&spec.agent.prompt].into_iter().chain(&spec.agent.tools_from).chain(replay);
    let mut references: Vec<Reference> = texts.filter_map(Reference::of).collect();
    for source in &spec.scenarios {
        references.extend(source.config_map_ref.iter().map(|map| Reference::ConfigMap { name: map.name.clone() }));
        references.extend(source.file.iter().map(|file| Reference::Files(file.clone())));
    }
    let target = spec.promotion.as_ref().and_then(|promotion| promotion.target.as_ref());
    references.extend(target.map(|target| Reference::Champion { config_map: target.config_map.clone() }));
    references.sort();
    references.dedup();
    references
}

/// A ConfigMap from a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigMap {
    /// Its name.
    pub name: String,
    /// Its texts, by key.
    pub data: BTreeMap<String, String>,
    /// Whether it is immutable.
    pub immutable: bool,
}

impl ConfigMap {
    /// Whether its prompt does not match its hash.
    fn is_edited(&self) -> bool {
        let hash = |prompt: &String| PromptSet::hash_of(prompt).to_string();
        match (self.data.get(CHAMPION_KEY), self.data.get(HASH_KEY)) {
            (Some(prompt), Some(expected)) => hash(prompt) != *expected,
            _ => false,
        }
    }

    /// The ConfigMaps among the documents of a file; others are ignored.
    pub fn read_all(file: &str, text: &str, problems: &mut Vec<Problem>) -> Vec<Self> {
        let documents = Document::read_all(file, text, problems);
        let is_config_map =
            |document: &&Document| document.root().get("kind").and_then(|kind| kind.text()) == Some("ConfigMap");
        documents.iter().filter(is_config_map).filter_map(|document| Self::read(document, problems)).collect()
    }

    /// A ConfigMap from its document.
    pub(in crate::api) fn read(document: &Document, problems: &mut Vec<Problem>) -> Option<Self> {
        let root = document.root();
        let Some(name) = root.get("metadata").and_then(|metadata| metadata.get("name")?.text()) else {
            problems.push(document.problem("metadata.name", "missing required field (The name of the ConfigMap)"));
            return None;
        };
        let mut data = BTreeMap::new();
        match root.get("data").map(|data| &data.content) {
            Some(Content::Map(fields)) => {
                for field in fields {
                    if let Some(text) = field.node.text() {
                        data.insert(field.key.clone(), text.to_owned());
                        continue;
                    }
                    let found = field.node.described();
                    problems.push(Problem {
                        place: Some(document.place(&field.node)),
                        field: format!("data.{}", field.key),
                        message: format!("expected a string, found {found}; write it as a block (key: |)"),
                    });
                }
            }
            None | Some(Content::Null) => {}
            Some(_) => problems.push(document.problem("data", "expected a mapping of keys to texts")),
        }
        read_binary(document, &mut data, problems);
        let immutable = root.get("immutable").and_then(|immutable| immutable.text()) == Some("true")
            || matches!(root.get("immutable").map(|node| &node.content), Some(Content::Bool(true)));
        Some(Self { name: name.to_owned(), data, immutable })
    }

    /// The texts of this ConfigMap for a reference; `None` if the reference is to another object.
    pub fn answer(&self, reference: &Reference) -> Option<Vec<Text>> {
        let text =
            |key: &str, text: &str| Text { name: format!("configmap/{}[{key}]", self.name), text: text.to_owned() };
        match reference {
            Reference::ConfigMapKey { name, key } if *name == self.name => {
                self.data.get(key).map(|value| vec![text(key, value)])
            }
            Reference::Champion { config_map } if *config_map == self.name => {
                self.data.get(CHAMPION_KEY).map(|value| vec![text(CHAMPION_KEY, value)])
            }
            Reference::ConfigMap { name } if *name == self.name => {
                let scenarios = self.data.iter().filter(|(key, _)| Reference::holds_scenarios(key));
                Some(scenarios.map(|(key, value)| text(key, value)).collect())
            }
            _ => None,
        }
    }
}

/// The texts in the `binaryData` of a ConfigMap, which some tools use for all files.
fn read_binary(document: &Document, data: &mut BTreeMap<String, String>, problems: &mut Vec<Problem>) {
    let Some(Content::Map(fields)) = document.root().get("binaryData").map(|data| &data.content) else { return };
    for field in fields {
        let bytes = field.node.text().and_then(|text| {
            let text: String = text.split_whitespace().collect();
            BASE64_STANDARD.decode(text).ok()
        });
        match bytes.map(String::from_utf8) {
            Some(Ok(text)) => {
                data.entry(field.key.clone()).or_insert(text);
            }
            // A resource can only refer to text.
            Some(Err(_)) => {}
            None => problems.push(Problem {
                place: Some(document.place(&field.node)),
                field: format!("binaryData.{}", field.key),
                message: "expected base64".to_owned(),
            }),
        }
    }
}
