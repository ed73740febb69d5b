//! What an optimization refers to: the objects to watch for it, and the ConfigMaps to read.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap as ConfigMapObject;
use kube::Api;

use super::keys::secrets_of;
use crate::api::resolve::{ConfigMap, Reference, References, Text, requested};
use crate::api::{AgentOptimization, Submission};
use crate::controllers::error::{Attempt, ReconcileError};
use crate::kubernetes::references::Kind;
use whetstone_domain::hash::ContentHash;

/// The maximum total size of all ConfigMaps of an optimization, in bytes. They are in memory while they are parsed.
pub(super) const MOST_GATHERED: usize = 16 << 20;

pub(super) struct Gathered {
    pub(super) references: Arc<References>,
    /// Identifies everything that was read.
    pub(super) key: ContentHash,
    /// Whether the ConfigMaps exceed the maximum.
    pub(super) is_too_large: bool,
    /// Whether a reference is missing: a ConfigMap, or a key of one.
    pub(super) is_incomplete: bool,
}

/// Reads every ConfigMap that is referred to, once.
pub(super) async fn gather(
    client: &kube::Client,
    namespace: &str,
    object: &AgentOptimization,
    champion: Option<String>,
) -> Result<Gathered, ReconcileError> {
    let api: Api<ConfigMapObject> = Api::namespaced(client.clone(), namespace);
    let (mut maps, mut versions) = (Vec::new(), Vec::new());
    let (mut bytes, mut is_too_large) = (0, false);
    for name in config_maps(object) {
        let map = api.get_opt(&name).await.map_err(Attempt::ReadConfigMap.on(namespace, &name))?;
        let Some(map) = map else { continue };
        let mut data = map.data.unwrap_or_default();
        // Some tools put all kinds of files there; only text can be referred to.
        for (key, value) in map.binary_data.unwrap_or_default() {
            if let Ok(text) = String::from_utf8(value.0) {
                data.entry(key).or_insert(text);
            }
        }
        bytes += data.values().map(String::len).sum::<usize>();
        if bytes > MOST_GATHERED {
            is_too_large = true;
            break;
        }
        versions.push((name.clone(), map.metadata.uid, map.metadata.resource_version));
        maps.push(ConfigMap { name, data, immutable: map.immutable == Some(true) });
    }
    let key = (&object.metadata.uid, object.metadata.generation, &versions, &champion, is_too_large);
    let key = ContentHash::of_json(&key);
    let is_there = |wanted: &str, key: Option<&str>| {
        let map = maps.iter().find(|map| map.name == wanted);
        map.is_some_and(|map| key.is_none_or(|key| map.data.contains_key(key)))
    };
    let is_incomplete = requested(object).iter().any(|reference| match reference {
        Reference::ConfigMapKey { name, key } => !is_there(name, Some(key)),
        Reference::ConfigMap { name } => !is_there(name, None),
        Reference::Champion { .. } | Reference::File(_) | Reference::Files(_) => false,
    });
    let references = References::gather(&Submission::from(object.clone()), &maps, |reference| match reference {
        Reference::File(path) | Reference::Files(path) => {
            Err(format!("{path:?} is a file, and the cluster reads none; put it into a ConfigMap"))
        }
        Reference::Champion { .. } => {
            Ok(champion.clone().map(|text| vec![Text { name: "the champion".to_owned(), text }]))
        }
        Reference::ConfigMapKey { .. } | Reference::ConfigMap { .. } => Ok(None),
    });
    Ok(Gathered { references: Arc::new(references.in_cluster()), key, is_incomplete, is_too_large })
}

/// The ConfigMaps to read, except the target.
pub(super) fn config_maps(object: &AgentOptimization) -> BTreeSet<String> {
    let named = requested(object).into_iter().filter_map(|reference| match reference {
        Reference::ConfigMapKey { name, .. } | Reference::ConfigMap { name } => Some(name),
        Reference::Champion { .. } | Reference::File(_) | Reference::Files(_) => None,
    });
    named.collect()
}

/// Everything to watch for an optimization: its ConfigMaps, its target, its Secrets.
pub(super) fn referred(object: &AgentOptimization) -> BTreeSet<(Kind, String)> {
    let target = object.spec.promotion.as_ref().and_then(|promotion| promotion.target.as_ref());
    let maps = config_maps(object).into_iter().chain(target.map(|target| target.config_map.clone()));
    let keys = object.spec.models.iter().flat_map(secrets_of).map(|(_, secret)| secret);
    let prometheus = object.spec.watch.as_ref().and_then(|watch| watch.prometheus.as_ref());
    let credentials = prometheus.into_iter().flat_map(|prometheus| {
        let bearer = prometheus.bearer_token.iter().map(|token| &token.secret_key_ref);
        let basic = prometheus.basic_auth.iter().map(|basic| &basic.password.secret_key_ref);
        let headers = prometheus.headers.iter().filter_map(|header| header.secret_key_ref.as_ref());
        bearer.chain(basic).chain(headers)
    });
    let secrets = keys.chain(credentials).map(|secret| (Kind::Secret, secret.name.clone()));
    maps.map(|name| (Kind::ConfigMap, name)).chain(secrets).collect()
}
