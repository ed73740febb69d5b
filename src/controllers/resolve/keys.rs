//! The keys of models and of Prometheus: the Secrets that contain them, and which are missing.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::AgentOptimization;
use crate::api::models::Model;
use crate::api::source::SecretKeyRef;
use crate::controllers::error::{Attempt, ReconcileError};
use crate::controllers::resolved::Keys;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use whetstone_domain::plan::watch::WatchPlan;
use whetstone_domain::plan::{HeaderPlan, KeyPlan, Plan};

/// The keys that a resource names, whatever its other problems: by Secret, the key and the field that names it.
pub(super) type WantedKeys = BTreeMap<String, BTreeSet<(String, String)>>;

pub(super) fn wanted_keys(object: &AgentOptimization, watch: Option<&WatchPlan>) -> WantedKeys {
    let mut wanted = WantedKeys::new();
    for model in &object.spec.models {
        for (field, secret) in secrets_of(model) {
            let field = format!("spec.models[{:?}].{field}", model.name);
            wanted.entry(secret.name.clone()).or_default().insert((secret.key.clone(), field));
        }
    }
    for secret in watch.into_iter().flat_map(WatchPlan::secrets) {
        let field = "spec.watch.prometheus".to_owned();
        wanted.entry(secret.name.clone()).or_default().insert((secret.key.clone(), field));
    }
    wanted
}

/// The Secrets with the key of a model and the values of its headers, each with the field that names it.
pub(super) fn secrets_of(model: &Model) -> impl Iterator<Item = (String, &SecretKeyRef)> {
    let openai = model.openai.as_ref().and_then(|openai| openai.api_key.as_ref());
    let anthropic = model.anthropic.as_ref().and_then(|anthropic| anthropic.api_key.as_ref());
    let key = openai.or(anthropic).map(|key| ("apiKey".to_owned(), key));
    let headers = model
        .headers
        .iter()
        .filter_map(|header| Some((format!("headers[{:?}].valueFrom", header.name), header.value_from.as_ref()?)));
    key.into_iter().chain(headers).filter_map(|(field, source)| Some((field, source.secret_key_ref.as_ref()?)))
}

/// The models of a plan that need a key or the value of a header, but name no Secret for it.
pub(super) fn no_secret(plan: &Plan) -> Option<String> {
    let is_missing = |key: &KeyPlan| key.required && key.secret.is_none();
    let fields = plan.models.iter().flat_map(|(name, model)| {
        let key = model.key.iter().filter(|key| is_missing(key)).map(|_| "apiKey".to_owned());
        let headers = model.headers.iter().filter_map(|(header, value)| match value {
            HeaderPlan::Secret(key) if is_missing(key) => Some(format!("headers[{header:?}].valueFrom")),
            HeaderPlan::Secret(_) | HeaderPlan::Value(_) => None,
        });
        key.chain(headers).map(move |field| format!("spec.models[{:?}].{field}", name.as_str()))
    });
    let problems: Vec<String> = fields
        .map(|field| {
            format!(
                "{field}: the operator reads no environment variables for a resource; name a Secret by secretKeyRef"
            )
        })
        .collect();
    (!problems.is_empty()).then(|| problems.join("\n"))
}

/// The existing keys, and the problems with the others.
pub(super) async fn keys(
    client: &kube::Client,
    namespace: &str,
    wanted: WantedKeys,
    is_forbidden: &mut bool,
) -> Result<(Keys, Vec<String>), ReconcileError> {
    let mut problems = Vec::new();
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let mut keys = Keys::default();
    for (name, used) in wanted {
        let secret = match api.get_opt(&name).await {
            Ok(secret) => secret,
            Err(kube::Error::Api(status)) if status.code == 403 => {
                *is_forbidden = true;
                problems.push(format!(
                    "the operator may not read the Secret {name:?}; its Role must allow get and watch on it"
                ));
                continue;
            }
            Err(error) => return Err(Attempt::ReadSecret.on(namespace, &name)(error)),
        };
        for (key, field) in used {
            let value = secret.as_ref().and_then(|secret| secret.data.as_ref()).and_then(|data| data.get(&key));
            match value.map(|value| String::from_utf8(value.0.clone())) {
                Some(Ok(text)) => keys.insert(&name, &key, text),
                Some(Err(_)) => problems.push(format!("{field}: the key {key:?} of the Secret {name:?} is not a text")),
                None if secret.is_some() => problems.push(format!("{field}: the Secret {name:?} has no key {key:?}")),
                None => problems.push(format!("{field}: there is no Secret {name:?} in this namespace")),
            }
        }
    }
    Ok((keys, problems))
}

/// The keys that the watch needs, whatever the other problems.
///
/// # Errors
/// If a request to the API server fails. The inner result has the missing keys.
pub(crate) async fn watch_keys(
    client: &kube::Client,
    namespace: &str,
    watch: &WatchPlan,
) -> Result<Keys, ReconcileError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let mut keys = Keys::default();
    for wanted in watch.secrets() {
        let secret = match api.get_opt(&wanted.name).await {
            // The readings report that it is missing.
            Err(kube::Error::Api(status)) if status.code == 403 => None,
            answered => answered.map_err(Attempt::ReadSecret.on(namespace, &wanted.name))?,
        };
        let value = secret.and_then(|secret| secret.data?.remove(&wanted.key));
        if let Some(text) = value.and_then(|value| String::from_utf8(value.0).ok()) {
            keys.insert(&wanted.name, &wanted.key, text);
        }
    }
    Ok(keys)
}
