//! Lists in which an unreadable object does not hide the others.
//!
//! Deserializing a list fails if a single object cannot be deserialized, such as one that is nested deeper than the parser
//! allows. So each item is kept as text first and deserialized separately.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An object, or why it cannot be read.
#[derive(Clone, Debug)]
pub(crate) struct Readable<K> {
    /// Its metadata; of an unreadable object, only what identifies it.
    pub metadata: ObjectMeta,
    /// The object.
    pub object: Result<K, String>,
}

/// The part of the metadata that identifies an object.
#[derive(Deserialize)]
struct Named {
    metadata: Names,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Names {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
}

impl<'de, K: Resource + DeserializeOwned> Deserialize<'de> for Readable<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        match serde_json::from_str::<K>(text.get()) {
            Ok(object) => Ok(Self { metadata: object.meta().clone(), object: Ok(object) }),
            Err(why) => {
                let Named { metadata } = serde_json::from_str(text.get()).map_err(serde::de::Error::custom)?;
                let Names { name, namespace, uid, resource_version } = metadata;
                let metadata = ObjectMeta { name, namespace, uid, resource_version, ..ObjectMeta::default() };
                Ok(Self { metadata, object: Err(why.to_string()) })
            }
        }
    }
}

impl<K: Resource> Resource for Readable<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use kube::core::{ObjectList, WatchEvent};
    use serde_json::json;

    use super::*;
    use crate::api::AgentOptimization;

    /// The text of an optimization with a value that is nested so deep.
    fn nested(name: &str, depth: usize) -> String {
        let spec = json!({
            "agent": {"prompt": {"inline": "x"}, "runtime": {"model": {"ref": "worker", "parameters": {"extra": {"deep": "DEEP"}}}}},
            "scenarios": [{"configMapRef": {"name": "s"}}],
            "models": [{"name": "worker", "openAI": {"model": "m"}}],
        });
        let deep = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let object = json!({"apiVersion": "whetstone.dev/v1alpha1", "kind": "AgentOptimization", "metadata": {"name": name, "uid": name}, "spec": spec});
        object.to_string().replace("\"DEEP\"", &deep)
    }

    #[test]
    fn an_object_that_is_nested_too_deep_is_reported_and_hides_no_other() {
        let list = format!(
            r#"{{"kind":"AgentOptimizationList","apiVersion":"whetstone.dev/v1alpha1","metadata":{{"resourceVersion":"7"}},"items":[{},{}]}}"#,
            nested("good", 3),
            nested("deep", 500)
        );
        assert!(serde_json::from_str::<ObjectList<AgentOptimization>>(&list).is_err(), "or none of this is needed");
        let list: ObjectList<Readable<AgentOptimization>> = serde_json::from_str(&list).unwrap();
        let names: Vec<_> = list.items.iter().map(|it| (it.metadata.name.as_deref(), it.object.is_ok())).collect();
        assert_eq!(names, [(Some("good"), true), (Some("deep"), false)]);
        let event = format!(r#"{{"type":"ADDED","object":{}}}"#, nested("deep", 500));
        let event: WatchEvent<Readable<AgentOptimization>> = serde_json::from_str(&event).unwrap();
        assert!(matches!(event, WatchEvent::Added(it) if it.object.is_err()));
    }
}
