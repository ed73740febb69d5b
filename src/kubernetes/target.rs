//! The target ConfigMap: who owns it, what it holds, and the one write that changes it.
//!
//! Whetstone owns it if its field manager has applied it, or if an annotation hands it over. Then it is applied by force, which
//! reverts other writers' changes of Whetstone's keys. A ConfigMap that Whetstone does not own is never changed.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use super::names::{FIELD_MANAGER, OPTIMIZATION_LABEL};
use crate::api::intent::annotations::ADOPT;
use whetstone_engine::apply::{HASH_KEY, PROMPT_KEY, VERSION_KEY};

/// The key with the prompt of an exposed challenger.
pub(crate) const CHALLENGER_PROMPT_KEY: &str = "challenger-prompt";
/// The key with the version of an exposed challenger.
pub(crate) const CHALLENGER_VERSION_KEY: &str = "challenger-version";
/// The keys that Whetstone owns.
const OUR_KEYS: [&str; 5] = [PROMPT_KEY, VERSION_KEY, HASH_KEY, CHALLENGER_PROMPT_KEY, CHALLENGER_VERSION_KEY];
/// The maximum size of a ConfigMap, in bytes of keys and values.
pub(crate) const MOST_BYTES: usize = 1 << 20;

/// What exists under the name of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Nothing.
    Absent,
    /// Our ConfigMap.
    Ours(Held),
    /// A ConfigMap that Whetstone does not own.
    Foreign {
        /// The field managers that have written it.
        managers: Vec<String>,
    },
}

/// The content of the target ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// The version of the object.
    pub resource_version: String,
    /// Its texts.
    pub data: BTreeMap<String, String>,
    /// Whether the field manager has applied it before; otherwise it was just handed over.
    pub applied: bool,
    /// Whether it has the operator's labels.
    pub labelled: bool,
}

impl Held {
    /// Whether it contains exactly these of Whetstone's keys, with these values.
    #[must_use]
    pub(crate) fn holds(&self, wanted: &BTreeMap<String, String>) -> bool {
        self.applied && self.labelled && OUR_KEYS.iter().all(|key| self.data.get(*key) == wanted.get(*key))
    }
}

/// Reads the ConfigMap with the name of the target.
///
/// # Errors
/// The API server is unreachable or refuses the read.
pub(crate) async fn read(
    client: &Client,
    namespace: &str,
    name: &str,
    optimization: &str,
) -> Result<Target, kube::Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    Ok(api.get_opt(name).await?.map_or(Target::Absent, |found| classify(found, optimization)))
}

fn classify(found: ConfigMap, optimization: &str) -> Target {
    let managers: Vec<String> = found.managed_fields().iter().filter_map(|entry| entry.manager.clone()).collect();
    let applied = found
        .managed_fields()
        .iter()
        .any(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER) && entry.operation.as_deref() == Some("Apply"));
    let handed_over = found.annotations().get(ADOPT).is_some_and(|to| to == optimization);
    if !applied && !handed_over {
        return Target::Foreign { managers };
    }
    let labelled = found.labels().get(OPTIMIZATION_LABEL).is_some_and(|label| label == optimization);
    Target::Ours(Held {
        resource_version: found.resource_version().unwrap_or_default(),
        applied,
        labelled,
        data: found.data.unwrap_or_default(),
    })
}

/// The target could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// It was changed, or created, since it was read.
    #[error("it was changed by somebody else in the meantime")]
    Changed,
    /// The API server does not answer, or refuses.
    #[error(transparent)]
    Failed(kube::Error),
}

/// Writes the target in one apply: prompt, version and hash together.
///
/// `held` is what was read before: if the ConfigMap was changed or created since, nothing is written.
///
/// # Errors
/// [`ApplyError::Changed`] if it has to be read again.
pub(crate) async fn apply(
    client: &Client,
    namespace: &str,
    name: &str,
    optimization: &str,
    held: Option<&Held>,
    data: &BTreeMap<String, String>,
) -> Result<(), ApplyError> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let labels = json!({"app.kubernetes.io/managed-by": "whetstone", OPTIMIZATION_LABEL: optimization});
    let mut metadata = json!({"name": name, "namespace": namespace, "labels": labels});
    let parameters = PatchParams::apply(FIELD_MANAGER);
    let parameters = match held {
        Some(held) => {
            metadata["resourceVersion"] = json!(held.resource_version);
            parameters.force()
        }
        None => parameters,
    };
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
    let failed = |error: kube::Error| match error {
        kube::Error::Api(status) if status.code == 409 => ApplyError::Changed,
        source => ApplyError::Failed(source),
    };
    let written = api.patch(name, &parameters, &Patch::Apply(object)).await.map_err(failed)?;
    let others = written.managed_fields().iter().any(|entry| entry.manager.as_deref() != Some(FIELD_MANAGER));
    if held.is_none() && others {
        // Another writer created the ConfigMap first: remove our keys from it.
        let nothing =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}});
        api.patch(name, &PatchParams::apply(FIELD_MANAGER), &Patch::Apply(nothing)).await.map_err(failed)?;
        return Err(ApplyError::Changed);
    }
    let is_there = |key: &&str| written.data.as_ref().is_some_and(|data| data.contains_key(*key));
    let stray = OUR_KEYS.into_iter().filter(is_there).filter(|key| !data.contains_key(*key));
    let stray: BTreeMap<&str, Option<&str>> = stray.map(|key| (key, None)).collect();
    if !stray.is_empty() {
        // An apply removes only keys that it has set itself, and these were set by another writer.
        let patch = json!({"metadata": {"resourceVersion": written.resource_version()}, "data": stray});
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        api.patch(name, &parameters, &Patch::Merge(patch)).await.map_err(failed)?;
    }
    Ok(())
}

/// The size of a ConfigMap with these texts, in bytes.
#[must_use]
pub(crate) fn bytes(data: &BTreeMap<String, String>) -> usize {
    data.iter().map(|(key, value)| key.len() + value.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_map(yaml: &str) -> ConfigMap {
        serde_saphyr::from_str(yaml).unwrap()
    }

    #[test]
    fn a_configmap_that_another_manager_applied_is_not_ours_whatever_its_labels() {
        let found = config_map(
            "metadata: {name: live, labels: {whetstone.dev/optimization: support}, managedFields: [{manager: argocd, operation: Apply}]}",
        );
        assert_eq!(classify(found, "support"), Target::Foreign { managers: vec!["argocd".to_owned()] });
    }

    #[test]
    fn a_configmap_that_was_handed_over_is_ours_and_has_to_be_applied() {
        let found = config_map(
            "metadata: {name: live, annotations: {whetstone.dev/adopt: support}, managedFields: [{manager: kubectl, operation: Update}]}\ndata: {system-prompt: hello}",
        );
        let Target::Ours(held) = classify(found.clone(), "support") else { panic!("it was handed over") };
        assert!(!held.holds(&held.data), "it was never applied by us");
        assert!(matches!(classify(found, "other"), Target::Foreign { .. }));
    }

    #[test]
    fn an_edited_key_of_ours_is_detected_and_other_keys_are_ignored() {
        let data = |prompt: &str| {
            BTreeMap::from([(PROMPT_KEY.to_owned(), prompt.to_owned()), ("theirs".to_owned(), "x".to_owned())])
        };
        let wanted = BTreeMap::from([(PROMPT_KEY.to_owned(), "a".to_owned())]);
        let held =
            |prompt| Held { resource_version: "1".to_owned(), data: data(prompt), applied: true, labelled: true };
        assert!(held("a").holds(&wanted));
        assert!(!held("b").holds(&wanted));
    }
}
