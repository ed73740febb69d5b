//! Revisions: how new what an API server says is. They grow for as long as nobody restores the cluster to an older state.

use std::time::Duration;

use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;

/// The revision as a number; zero for what is none. They are numbers that grow with every write of the cluster
/// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>).
#[must_use]
pub fn revision(version: &str) -> u64 {
    version.parse().unwrap_or(0)
}

/// Waits until the revisions of a kind of object go back, looking every so often. A watch would only be silent.
pub async fn gone_back<K>(api: &Api<K>, every: Duration)
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
                        "what is watched has gone back to an older state: reading it anew"
                    );
                    return;
                }
                newest = now;
            }
            // The watches say what is wrong.
            Err(error) => tracing::debug!(%error, "looking at the revision"),
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
