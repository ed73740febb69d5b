//! Detects GitOps tools that apply an object and may revert changes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Prefixes of the field managers of GitOps tools.
const FROM_GIT: [(&str, &str); 8] = [
    ("argocd", "Argo CD"),
    ("kustomize-controller", "Flux"),
    ("helm-controller", "Flux"),
    ("gotk", "Flux"),
    ("flux", "Flux"),
    ("fleet", "Fleet"),
    ("configsync", "Config Sync"),
    ("applier", "Config Sync"),
];

/// Labels and annotations that these tools set on applied objects.
const MARKS: [(&str, &str); 4] = [
    ("argocd.argoproj.io/tracking-id", "Argo CD"),
    ("kustomize.toolkit.fluxcd.io/name", "Flux"),
    ("helm.toolkit.fluxcd.io/name", "Flux"),
    ("configsync.gke.io/resource-id", "Config Sync"),
];

/// A tool that keeps an object in sync with Git.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GitOps {
    /// Its name.
    pub name: &'static str,
    /// Whether it manages the given field, so that it will revert a change.
    pub owns_field: bool,
}

/// The tool that keeps an object in sync with Git, if any, and whether it manages `spec.FIELD`.
#[must_use]
pub(crate) fn gitops(metadata: &ObjectMeta, field: &str) -> Option<GitOps> {
    let mut found: Option<GitOps> = None;
    for entry in metadata.managed_fields.iter().flatten() {
        let manager = entry.manager.as_deref().unwrap_or_default();
        let Some((_, name)) = FROM_GIT.iter().find(|(prefix, _)| manager.starts_with(prefix)) else { continue };
        let Some(spec) = entry.fields_v1.as_ref().and_then(|fields| fields.0.get("f:spec")) else { continue };
        let owns_field = spec.get(format!("f:{field}")).is_some() || found.is_some_and(|found| found.owns_field);
        found = Some(GitOps { name, owns_field });
    }
    found.or_else(|| {
        let marks = metadata.labels.iter().chain(&metadata.annotations).flatten();
        let mut names = marks.filter_map(|(key, _)| MARKS.iter().find(|(mark, _)| mark == key));
        names.next().map(|(_, name)| GitOps { name, owns_field: false })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(yaml: &str) -> Option<GitOps> {
        gitops(&serde_saphyr::from_str(yaml).unwrap(), "suspend")
    }

    #[test]
    fn who_applies_from_git_is_found_by_what_it_has_set() {
        let yaml = |field: &str| {
            format!(
                "managedFields:\n- manager: whetstone\n  operation: Apply\n  fieldsV1: {{'f:status': {{}}}}\n- manager: argocd-controller\n  operation: Apply\n  fieldsV1: {{'f:spec': {{'f:{field}': {{}}}}}}\n"
            )
        };
        assert_eq!(of(&yaml("suspend")), Some(GitOps { name: "Argo CD", owns_field: true }));
        assert_eq!(of(&yaml("agent")), Some(GitOps { name: "Argo CD", owns_field: false }));
        assert_eq!(
            of("labels: {kustomize.toolkit.fluxcd.io/name: apps}"),
            Some(GitOps { name: "Flux", owns_field: false })
        );
        assert_eq!(of("managedFields: [{manager: kubectl, operation: Update, fieldsV1: {'f:spec': {}}}]"), None);
    }
}
