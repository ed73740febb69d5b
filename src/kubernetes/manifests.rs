//! Manifests: the target ConfigMap and the PromptVersions, ready for `kubectl apply`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::names::{OPTIMIZATION_LABEL, PHASE_LABEL};
use crate::api::prompt_version::{OptimizationRef, PromptVersion, PromptVersionSpec};
use whetstone_domain::version::Version;

/// An object could not be written as YAML.
#[derive(Debug, thiserror::Error)]
#[error("writing the manifest of {object}: {source}")]
pub(crate) struct ManifestError {
    object: String,
    source: serde_saphyr::ser::Error,
}

fn metadata(namespace: &str, name: &str, optimization: &str, labels: &[(&str, &str)]) -> ObjectMeta {
    let mut all = BTreeMap::from([
        ("app.kubernetes.io/managed-by".to_owned(), "whetstone".to_owned()),
        (OPTIMIZATION_LABEL.to_owned(), optimization.to_owned()),
    ]);
    all.extend(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(all),
        ..ObjectMeta::default()
    }
}

/// The target ConfigMap, as YAML.
///
/// # Errors
/// [`ManifestError`] if the content cannot be serialized.
pub(crate) fn config_map(
    namespace: &str,
    name: &str,
    optimization: &str,
    data: BTreeMap<String, String>,
) -> Result<String, ManifestError> {
    let object =
        ConfigMap { metadata: metadata(namespace, name, optimization, &[]), data: Some(data), ..ConfigMap::default() };
    yaml(&object, name)
}

/// A PromptVersion, as YAML. Its name is `OPTIMIZATION-VERSION`.
///
/// # Errors
/// [`ManifestError`] if the content cannot be serialized.
pub(crate) fn prompt_version(namespace: &str, optimization: &str, version: &Version) -> Result<String, ManifestError> {
    let name = format!("{optimization}-{}", version.name);
    let mut object = PromptVersion::new(
        &name,
        PromptVersionSpec {
            optimization_ref: OptimizationRef { name: optimization.to_owned() },
            version: Some(version.name.to_string()),
            prompt: version.text.clone(),
            hash: Some(version.hash.to_string()),
            parent: version.parent.as_ref().map(ToString::to_string),
            diff: (!version.diff.is_empty()).then(|| version.diff.clone()),
            addresses: version.addresses.clone(),
        },
    );
    object.metadata = metadata(namespace, &name, optimization, &[(PHASE_LABEL, version.phase.as_str())]);
    yaml(&object, &name)
}

fn yaml(object: &impl serde::Serialize, name: &str) -> Result<String, ManifestError> {
    serde_saphyr::to_string(object).map_err(|source| ManifestError { object: name.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use whetstone_domain::hash::ContentHash;
    use whetstone_domain::version::VersionPhase;

    #[test]
    fn a_prompt_survives_the_way_through_a_manifest_byte_for_byte() {
        let text = "# Role\n\n- \"quoted\": yes\n\ttab, trailing space \n\n# Ende\nä → 🪨\n";
        let data = BTreeMap::from([("system-prompt".to_owned(), text.to_owned())]);
        let manifest = config_map("shop", "support-prompt-live", "support", data).unwrap();
        let back: ConfigMap = serde_saphyr::from_str(&manifest).unwrap();
        assert_eq!(back.data.unwrap()["system-prompt"], text);
    }

    #[test]
    fn a_version_is_named_after_its_optimization() {
        let version = Version {
            name: "v2".into(),
            hash: ContentHash::of_bytes(b"x"),
            text: "x".to_owned(),
            parent: Some("v1".into()),
            diff: "+x\n".to_owned(),
            addresses: vec!["accuracy: guesses".to_owned()],
            phase: VersionPhase::Champion,
        };
        let manifest = prompt_version("shop", "support", &version).unwrap();
        let back: PromptVersion = serde_saphyr::from_str(&manifest).unwrap();
        assert_eq!(back.metadata.name.as_deref(), Some("support-v2"));
        assert_eq!(back.spec.parent.as_deref(), Some("v1"));
        assert_eq!(back.metadata.labels.unwrap()[PHASE_LABEL], "Champion");
    }
}
