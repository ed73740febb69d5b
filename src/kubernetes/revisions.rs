//! Revisions, which order the states of a cluster. They increase unless the cluster is restored to an older state.

use std::time::Duration;

use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;

/// The revision as a number; zero if it is not a number. Revisions increase with every write
/// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>).
#[must_use]
pub(crate) fn revision(version: &str) -> u64 {
    version.parse().unwrap_or(0)
}

/// Waits until the revisions of a kind of object decrease, by polling. A watch would deliver nothing.
pub(crate) async fn gone_back<K>(api: &Api<K>, every: Duration)
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut newest = 0;
    loop {
        match api.list_metadata(&ListParams::default().limit(1)).await {
            Ok(list) => {
                let now = list.metadata.resource_version.as_deref().map_or(0, revision);
                if now < newest {
                    tracing::error!(
                        was = newest,
                        is = now,
                        "the watched objects were restored to an older state; reading them again"
                    );
                    return;
                }
                newest = now;
            }
            // The watches report the error.
            Err(error) => tracing::debug!(%error, "reading the revision"),
        }
        tokio::time::sleep(every).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_a_number() {
        assert_eq!((revision("12"), revision(""), revision("x")), (12, 0, 0));
    }
}
