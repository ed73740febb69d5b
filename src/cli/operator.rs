//! `whetstone operator`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::{Client, Config};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::exit::Exit;
use crate::controllers::health::Health;
use crate::controllers::operator::{Clients, Options, run};
use crate::controllers::vital::Vital;
use crate::domain::duration::HumanDuration;
use crate::domain::endpoint::{AllowList, AllowedEndpoint};
use crate::embed::SystemClock;
use crate::kubernetes::client::{Access, configured};
use crate::kubernetes::lease::Settings;
use crate::models::install_tls;
use crate::telemetry::metrics::Metrics;
use crate::web::probes::{self, Probes};

/// How long a request to the API server may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Reconcile AgentOptimizations and PromptVersions of a cluster.
///
/// Runs the loop in its own process, promotes by updating the target ConfigMap, watches what it has promoted and rolls back on its own.
/// One replica acts, the one that holds the Lease; others stand by. SIGTERM ends it: calls under way are answered and
/// recorded first.
///
/// Outside a cluster it uses the current context of the kubeconfig:
///   whetstone operator --namespace shop --store /tmp/whetstone --allow-endpoint localhost:8080
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// A namespace to watch; repeat it for more. That of the pod, or of the kubeconfig's context, unless given
    #[arg(long = "namespace", value_name = "NAMESPACE", env = "WHETSTONE_NAMESPACES", value_delimiter = ',')]
    namespaces: Vec<String>,
    /// Watch every namespace
    #[arg(long, conflicts_with = "namespaces")]
    all_namespaces: bool,
    /// The folder of the stores: ledger and history, one SQLite file for each namespace
    #[arg(long, value_name = "DIR", env = "WHETSTONE_STORE_DIR", default_value = "/var/lib/whetstone")]
    store: PathBuf,
    /// A host that resources may name as a model or as Prometheus: HOST, HOST:PORT, *.SUFFIX or *; repeat it for more. Addresses of
    /// cloud metadata services are refused whatever this says
    #[arg(
        long = "allow-endpoint",
        value_name = "HOST",
        env = "WHETSTONE_ALLOW_ENDPOINTS",
        value_delimiter = ',',
        default_values = ["api.openai.com", "api.anthropic.com"]
    )]
    allowed: Vec<AllowedEndpoint>,
    /// How many cycles are under way at once; others wait for their turn, which goes to the namespace that has the fewest. A quarter
    /// is kept for namespaces that have none, where more than one is watched. A cycle that only waits for its provider is not counted
    #[arg(long, value_name = "N", default_value_t = 4)]
    max_cycles: usize,
    #[command(flatten)]
    memory: super::Memory,
    /// The context of the kubeconfig; the current one when absent
    #[arg(long, value_name = "CONTEXT")]
    context: Option<String>,
    /// The kubeconfig; KUBECONFIG, ~/.kube/config or the service account of a pod when absent
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Where /metrics, /healthz and /readyz are served
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// The name of the Lease that replicas elect their leader by
    #[arg(long, value_name = "NAME", default_value = "whetstone")]
    lease_name: String,
    /// The namespace of the Lease. That of the pod, or of the kubeconfig's context, unless given
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE")]
    lease_namespace: Option<String>,
    /// How long the Lease lasts after its holder has gone silent
    #[arg(long, value_name = "DURATION", default_value = "15s")]
    lease_duration: HumanDuration,
    /// What this replica is called in the Lease. Made up unless given
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    identity: Option<String>,
    /// How long the end may take: past it the process ends at once
    #[arg(long, value_name = "DURATION", default_value = "20s")]
    shutdown_timeout: HumanDuration,
}

struct Told {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

impl Probes for Told {
    fn is_alive(&self) -> bool {
        self.health.is_alive()
    }

    fn is_ready(&self) -> bool {
        self.health.is_ready()
    }

    fn metrics(&self) -> String {
        self.metrics.text()
    }
}

pub(super) async fn operator(arguments: Arguments) -> anyhow::Result<Exit> {
    install_tls();
    let access = Access { kubeconfig: arguments.kubeconfig, context: arguments.context, namespace: None };
    let (config, _) = configured(&access).await?;
    // A Lease has whole seconds, and is renewed three times in them.
    let lease_duration = Duration::from_secs(arguments.lease_duration.0.as_secs().max(3));
    let vital = Vital::start().context("starting the thread of the Lease and the probes")?;
    let clients = Clients {
        watches: client(&config, None)?,
        requests: client(&config, Some(REQUEST_TIMEOUT))?,
        lease: {
            let _on_the_runtime_of = vital.runtime().enter();
            // A watch over the Lease hears of it three times in this time, unless its connection is dead.
            client(&config, Some(lease_duration))?
        },
        vital: vital.runtime().clone(),
    };
    let namespace = arguments.lease_namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let namespaces = match arguments.namespaces {
        _ if arguments.all_namespaces => Vec::new(),
        given if given.is_empty() => vec![namespace.clone()],
        given => given,
    };
    std::fs::create_dir_all(&arguments.store)
        .with_context(|| format!("creating the folder {} for the stores", arguments.store.display()))?;
    let options = Options {
        namespaces,
        store: arguments.store,
        allowed: arguments.allowed.into_iter().collect::<AllowList>(),
        max_cycles: arguments.max_cycles.max(1),
        memory: arguments.memory.into(),
        lease: Settings {
            namespace,
            name: arguments.lease_name,
            identity: arguments.identity.unwrap_or_else(made_up_identity),
            duration: lease_duration,
        },
        patience: arguments.shutdown_timeout.0.saturating_sub(Duration::from_secs(5)),
    };
    let listener = {
        let _on_the_runtime_of = vital.runtime().enter();
        std::net::TcpListener::bind(arguments.listen).and_then(|listener| {
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        })
    };
    let listener = listener.with_context(|| format!("listening on {}", arguments.listen))?;
    tracing::info!(address = %listener.local_addr()?, "serving /metrics, /healthz and /readyz");
    let (metrics, health) = (Arc::new(Metrics::new()), Arc::new(Health::default()));
    let stop = CancellationToken::new();
    let told = Arc::new(Told { health: Arc::clone(&health), metrics: Arc::clone(&metrics) });
    vital.runtime().spawn(probes::serve(listener, told, stop.clone()));
    let ending = tokio::spawn(end(stop.clone(), arguments.shutdown_timeout.0));
    run(clients, options, Arc::new(SystemClock), metrics, health, stop).await?;
    ending.abort();
    Ok(Exit::Success)
}

/// A client whose requests are given up after a while.
fn client(config: &Config, timeout: Option<Duration>) -> anyhow::Result<Client> {
    let mut config = config.clone();
    if let Some(timeout) = timeout {
        config.connect_timeout = Some(timeout);
        config.read_timeout = Some(timeout);
        config.write_timeout = Some(timeout);
        // Else the time that a connection lay idle counts too, and the first request after a quiet while fails.
        config.reset_reader_on_write = true;
    }
    Client::try_from(config).context("setting up the connection to the API server")
}

/// A name that no other replica has: of the machine and the process, and the time.
fn made_up_identity() -> String {
    use crate::engine::ports::Clock as _;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}-{}", host.trim(), std::process::id(), SystemClock.now().as_millisecond())
}

/// Ends the operator on a signal; past the deadline at once, as on a second signal.
async fn end(stop: CancellationToken, deadline: Duration) {
    if super::wire::interrupted().await.is_err() {
        return;
    }
    tracing::info!("ending");
    stop.cancel();
    tokio::select! {
        _ = super::wire::interrupted() => {}
        () = tokio::time::sleep(deadline) => tracing::warn!("the end takes too long: leaving at once"),
    }
    std::process::exit(0);
}
