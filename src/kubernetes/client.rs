//! Creates a client from a kubeconfig, or from the service account of a pod.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use http::HeaderValue;
use http::header::USER_AGENT;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

use super::proxy;
use crate::api::document::nearest::hint;

/// The timeout for establishing a connection. A user waits for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Selects a cluster and a namespace. Fields that are not set default to the environment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    /// A kubeconfig file. Defaults to `KUBECONFIG`, then `~/.kube/config`, then the service account of a pod.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig. Defaults to the current one.
    pub context: Option<String>,
    /// A namespace. Defaults to that of the context, else `default`.
    pub namespace: Option<String>,
}

/// A configured connection. No request has been made yet.
#[derive(Clone)]
pub(crate) struct Connection {
    /// The client.
    pub client: kube::Client,
    /// The selected namespace.
    pub namespace: String,
    /// The URL of the API server.
    pub server: String,
}

/// A connection cannot be configured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// No cluster is configured.
    #[error(
        "no cluster is configured: {0}, and this process does not run in a pod; set KUBECONFIG or give --kubeconfig FILE"
    )]
    NoCluster(String),
    /// The kubeconfig cannot be read.
    #[error("reading the kubeconfig {path}: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The kubeconfig does not have the given context.
    #[error("no context {context:?} in the kubeconfig{near}")]
    UnknownContext {
        /// The name.
        context: String,
        /// A hint with similar names.
        near: String,
    },
    /// The kubeconfig has no current context.
    #[error(
        "the kubeconfig has no current context{0}; give --context, or select one with kubectl config use-context NAME"
    )]
    NoCurrentContext(String),
    /// The context cannot be used.
    #[error("using {context} of the kubeconfig: {reason}; fix it, or select another with --context")]
    Unusable {
        /// The context.
        context: String,
        /// Why.
        reason: String,
    },
    /// The service account of the pod cannot be used.
    #[error("using the service account of this pod: {0}; mount its token, or give --kubeconfig FILE")]
    ServiceAccount(#[source] kube::config::InClusterError),
}

/// Configures a connection. Makes no request.
///
/// # Errors
/// [`ConnectError`], with a remedy.
pub(crate) async fn connect(access: &Access) -> Result<Connection, ConnectError> {
    // Fails if it was called before, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (mut config, context) = configured(access).await?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    let namespace = access.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let client = kube::Client::try_from(config)
        .map_err(|error| ConnectError::Unusable { context, reason: super::refusal::plain(&error) })?;
    Ok(Connection { client, namespace, server })
}

/// The configuration of a connection, and the name of its context.
///
/// # Errors
/// [`ConnectError`] if there is no configuration, or it cannot be read.
pub(crate) async fn configured(access: &Access) -> Result<(Config, String), ConnectError> {
    let (mut config, context) = match kubeconfig(access)? {
        Found::Kubeconfig(kubeconfig) => of_context(*kubeconfig, access.context.as_deref()).await?,
        Found::Nothing(why) => {
            if std::env::var_os("KUBERNETES_SERVICE_HOST").is_none() {
                return Err(ConnectError::NoCluster(why));
            }
            (Config::incluster().map_err(ConnectError::ServiceAccount)?, "the service account".to_owned())
        }
    };
    config.headers.push((USER_AGENT, HeaderValue::from_static(user_agent())));
    Ok((config, context))
}

/// The user agent in the cluster's audit log: program, version and system, in the format of Kubernetes' own programs.
fn user_agent() -> &'static str {
    static WORDS: LazyLock<String> = LazyLock::new(|| {
        let (version, system, machine) = (env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH);
        format!("whetstone/{version} ({system}/{machine})")
    });
    &WORDS
}

enum Found {
    Kubeconfig(Box<Kubeconfig>),
    /// Describes where a kubeconfig was searched for.
    Nothing(String),
}

fn kubeconfig(access: &Access) -> Result<Found, ConnectError> {
    if let Some(path) = &access.kubeconfig {
        return read(path).map(|read| Found::Kubeconfig(Box::new(read)));
    }
    let (paths, missing): (Vec<PathBuf>, _) = match std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty()) {
        Some(value) => (
            std::env::split_paths(&value).filter(|path| !path.as_os_str().is_empty()).collect(),
            format!("KUBECONFIG is {}, which does not exist", value.display()),
        ),
        None => (
            std::env::home_dir().map(|home| home.join(".kube").join("config")).into_iter().collect(),
            "KUBECONFIG is not set, there is no ~/.kube/config".to_owned(),
        ),
    };
    // Like kubectl, ignores files in the list that do not exist.
    let mut found: Option<Kubeconfig> = None;
    for path in paths.iter().filter(|path| path.exists()) {
        let next = read(path)?;
        found = Some(match found {
            None => next,
            Some(before) => before
                .merge(next)
                .map_err(|error| ConnectError::Unreadable { path: path.clone(), reason: error.to_string() })?,
        });
    }
    Ok(found.map_or(Found::Nothing(missing), |found| Found::Kubeconfig(Box::new(found))))
}

fn read(path: &Path) -> Result<Kubeconfig, ConnectError> {
    Kubeconfig::read_from(path).map_err(|error| ConnectError::Unreadable {
        path: path.to_owned(),
        reason: match error {
            KubeconfigError::ReadConfig(error, _) => error.to_string(),
            error => error.to_string(),
        },
    })
}

/// The configuration of a context, and its description for messages.
async fn of_context(kubeconfig: Kubeconfig, name: Option<&str>) -> Result<(Config, String), ConnectError> {
    let names: Vec<String> = kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
    let Some(context) =
        name.map(str::to_owned).or_else(|| kubeconfig.current_context.clone()).filter(|n| !n.is_empty())
    else {
        let known = if names.is_empty() { String::new() } else { format!("; known: {}", names.join(", ")) };
        return Err(ConnectError::NoCurrentContext(known));
    };
    if !names.contains(&context) {
        let near = hint(&context, names.iter().map(String::as_str));
        return Err(ConnectError::UnknownContext { context, near });
    }
    let spoken = format!("the context {context:?}");
    let has_own_proxy = has_own_proxy(&kubeconfig, &context);
    let options = KubeConfigOptions { context: Some(context), ..KubeConfigOptions::default() };
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| ConnectError::Unusable { context: spoken.clone(), reason: error.to_string() })?;
    let host = config.cluster_url.host().unwrap_or_default();
    if !has_own_proxy && proxy::is_excepted(host, &no_proxy()) {
        config.proxy_url = None;
    }
    Ok((config, spoken))
}

/// Whether the cluster of a context sets a proxy. Otherwise the client uses that of the environment.
fn has_own_proxy(kubeconfig: &Kubeconfig, context: &str) -> bool {
    let context = kubeconfig.contexts.iter().find(|named| named.name == context);
    let cluster = context.and_then(|named| named.context.as_ref()).map(|context| &context.cluster);
    kubeconfig
        .clusters
        .iter()
        .find(|named| Some(&named.name) == cluster)
        .and_then(|named| named.cluster.as_ref()?.proxy_url.as_deref())
        .is_some_and(|url| !url.is_empty())
}

fn no_proxy() -> String {
    ["NO_PROXY", "no_proxy"].iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
current-context: staging
contexts:
  - {name: staging, context: {cluster: staging, user: me, namespace: shop}}
  - {name: production, context: {cluster: production, user: me}}
  - {name: broken, context: {cluster: nowhere, user: me}}
clusters:
  - {name: staging, cluster: {server: 'https://127.0.0.1:6443/'}}
  - {name: production, cluster: {server: 'https://10.0.0.1:6443'}}
users:
  - {name: me, user: {token: secret}}
";

    async fn connected(context: Option<&str>, namespace: Option<&str>) -> Result<Connection, ConnectError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        std::fs::write(&path, KUBECONFIG).unwrap();
        let access = Access {
            kubeconfig: Some(path),
            context: context.map(str::to_owned),
            namespace: namespace.map(str::to_owned),
        };
        connect(&access).await
    }

    #[tokio::test]
    async fn the_namespace_is_the_one_given_else_that_of_the_context_else_default() {
        let staging = connected(None, None).await.unwrap();
        assert_eq!((staging.namespace.as_str(), staging.server.as_str()), ("shop", "https://127.0.0.1:6443"));
        assert_eq!(connected(None, Some("other")).await.unwrap().namespace, "other");
        assert_eq!(connected(Some("production"), None).await.unwrap().namespace, "default");
    }

    #[tokio::test]
    async fn a_wrong_context_is_reported_with_a_remedy() {
        let said = |error: Option<ConnectError>| error.unwrap().to_string();
        let typo = said(connected(Some("stagin"), None).await.err());
        assert_eq!(typo, "no context \"stagin\" in the kubeconfig; did you mean \"staging\"?");
        let other = said(connected(Some("x"), None).await.err());
        assert_eq!(other, "no context \"x\" in the kubeconfig; known: staging, production, broken");
        let broken = said(connected(Some("broken"), None).await.err());
        assert!(broken.starts_with("using the context \"broken\" of the kubeconfig: "), "{broken}");
    }

    #[tokio::test]
    async fn a_missing_kubeconfig_is_named() {
        let access = Access { kubeconfig: Some("none/such".into()), ..Access::default() };
        let error = connect(&access).await.err().unwrap().to_string();
        assert!(error.starts_with("reading the kubeconfig none/such: No such file"), "{error}");
    }
}
