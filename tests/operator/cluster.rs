//! The API server that the tests of this program run against: one for all of them, started by the first that asks.
//!
//! It is built from Go modules (`tests/cluster/`) and is gone when the program ends, however it ends. Where `KUBECONFIG` is set, that
//! cluster is used instead, and nothing is started.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace as NamespaceObject;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, NamespaceResourceScope, ObjectMeta};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Config, Resource, ResourceExt as _};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;
use whetstone::api::{AgentOptimization, PromptVersion};

const PROJECT: &str = env!("CARGO_MANIFEST_DIR");
/// How long the cluster may take to become ready, and then each step of the preparations.
const READY: Duration = Duration::from_secs(150);

/// The cluster of this program.
pub(crate) struct Cluster {
    kubeconfig: PathBuf,
    client: Client,
    own: Option<OwnCluster>,
}

/// A cluster that we started ourselves.
struct OwnCluster {
    announced: Announced,
    /// Kept for its standard input: the cluster stops when that closes.
    process: Child,
}

/// What a cluster says once it is ready.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Announced {
    kubeconfig: PathBuf,
    pids: PathBuf,
    audit_log: PathBuf,
}

/// The processes of a cluster. A process that is killed is started again, and gets another id.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pids {
    pub etcd: u32,
    pub apiserver: u32,
    pub controller_manager: u32,
}

impl Cluster {
    /// The cluster of all tests, with our resources known to it. The first call starts it.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty()) {
            Some(path) => {
                eprintln!("KUBECONFIG is set: these tests run on the cluster of {}", path.display());
                Self::at(path.into(), None)
            }
            None => Self::private(),
        })
    }

    /// A cluster of one's own, for a test that does harm to it. It stops when it is dropped.
    pub(crate) fn private() -> Self {
        let own = OwnCluster::start();
        Self::at(own.announced.kubeconfig.clone(), Some(own))
    }

    fn at(kubeconfig: PathBuf, own: Option<OwnCluster>) -> Self {
        let client = block_on(async { client_for(&kubeconfig).await });
        let cluster = Self { kubeconfig, client, own };
        cluster.install_definitions();
        cluster
    }

    /// A client with every right.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// The file that says where the cluster is and who we are.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The processes as they are now; `None` on a cluster that we did not start.
    pub(crate) fn pids(&self) -> Option<Pids> {
        let text = std::fs::read_to_string(&self.own.as_ref()?.announced.pids).unwrap();
        Some(serde_json::from_str(&text).unwrap())
    }

    /// The log of every request, one JSON object a line; `None` on a cluster that we did not start.
    pub(crate) fn audit_log(&self) -> Option<&Path> {
        Some(&self.own.as_ref()?.announced.audit_log)
    }

    /// The process that keeps them running; `None` on a cluster that we did not start.
    pub(crate) fn supervisor(&self) -> Option<u32> {
        Some(self.own.as_ref()?.process.id())
    }

    /// The folder of a cluster that we started: etcd's data is in its `etcd`.
    pub(crate) fn folder(&self) -> &Path {
        self.kubeconfig.parent().unwrap()
    }

    /// Runs kubectl.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Ended {
        kubectl(&self.kubeconfig, arguments, "")
    }

    /// Runs kubectl with something on its standard input.
    pub(crate) fn kubectl_with(&self, arguments: &[&str], input: &str) -> Ended {
        kubectl(&self.kubeconfig, arguments, input)
    }

    /// A new namespace. `prefix` is for the reader; what comes after it is drawn at random.
    pub(crate) fn namespace(&self, prefix: &str) -> Namespace {
        // A hasher is seeded at random, and that is all that is wanted here.
        self.namespace_named(&format!("{prefix}-{:08x}", RandomState::new().hash_one(prefix) as u32))
    }

    /// A new namespace of this name, for one test only.
    pub(crate) fn namespace_named(&self, name: &str) -> Namespace {
        let name = name.to_owned();
        let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        let namespace = NamespaceObject { metadata, ..NamespaceObject::default() };
        let namespaces: Api<NamespaceObject> = Api::all(self.client());
        block_on(namespaces.create(&PostParams::default(), &namespace)).unwrap();
        Namespace { name, client: self.client(), kubeconfig: self.kubeconfig.clone() }
    }

    /// Applies what `make generated` wrote into `crds/`, and waits until the API server serves it.
    fn install_definitions(&self) {
        let text = std::fs::read_to_string(format!("{PROJECT}/crds/whetstone.dev.yaml")).unwrap();
        block_on(async {
            let definitions: Api<CustomResourceDefinition> = Api::all(self.client());
            for document in text.split("---\n").filter(|document| !document.trim().is_empty()) {
                let definition: CustomResourceDefinition = serde_saphyr::from_str(document).unwrap();
                let name = definition.name_any();
                let by = PatchParams::apply("whetstone-tests").force();
                let applied = definitions.patch(&name, &by, &Patch::Apply(&definition)).await;
                applied.unwrap_or_else(|error| panic!("apply the definition {name}: {error}"));
                let established = await_condition(definitions.clone(), &name, conditions::is_crd_established());
                let waited = tokio::time::timeout(READY, established).await;
                waited
                    .unwrap_or_else(|_| panic!("the definition {name} was not established within {READY:?}"))
                    .unwrap();
            }
            self.until_served::<AgentOptimization>().await;
            self.until_served::<PromptVersion>().await;
        });
    }

    /// A definition may be established a moment before its resources are there.
    async fn until_served<K>(&self)
    where
        K: Resource<DynamicType = ()> + Clone + fmt::Debug + DeserializeOwned,
    {
        let begun = Instant::now();
        while let Err(error) = Api::<K>::all(self.client()).list(&ListParams::default().limit(1)).await {
            assert!(begun.elapsed() < READY, "{} is not served: {error}", K::plural(&()));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl OwnCluster {
    fn start() -> Self {
        let program = build();
        // The cluster removes it when it stops.
        let dir = tempfile::Builder::new().prefix("whetstone-tests-").tempdir().unwrap().keep();
        let mut process = Command::new(program)
            .args(["up", "--until-stdin-closes", "--rm", "--dir"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let announced = serde_json::from_str(&line).unwrap_or_else(|error| {
            panic!(
                "the test cluster did not start ({error}); what it said stands above, its logs are in {}",
                dir.display()
            )
        });
        Self { announced, process }
    }
}

/// Builds the program of the test cluster, unless it is there and up to date.
fn build() -> PathBuf {
    let program = PathBuf::from(PROJECT).join("target/cluster/whetstone-cluster");
    if !program.exists() {
        eprintln!("building the test cluster; this takes minutes, once");
    }
    let built = Command::new(format!("{PROJECT}/tests/cluster/build.sh")).stdin(Stdio::null()).status().unwrap();
    if !built.success() {
        let go = Command::new("go").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        let why = match go {
            Ok(status) if status.success() => "what Go said stands above",
            _ => "it is built by Go, which is not installed: install it (https://go.dev/dl)",
        };
        panic!("the test cluster could not be built: {why}; or set KUBECONFIG to a cluster that these tests may use");
    }
    program
}

async fn client_for(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

fn kubectl(kubeconfig: &Path, arguments: &[&str], input: &str) -> Ended {
    let mut command = Command::new("kubectl");
    command.args(arguments).env("KUBECONFIG", kubeconfig);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap_or_else(|error| panic!("run kubectl: {error}; these tests need it"));
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// How a program ended and what it said.
pub(crate) struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// What it printed, having ended well.
    pub(crate) fn printed(self) -> String {
        assert!(self.code == Some(0), "{self}");
        self.stdout
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, stdout, stderr } = self;
        write!(f, "exit code {code:?}\nstandard output:\n{stdout}\nstandard error:\n{stderr}")
    }
}

/// A namespace that belongs to one test, and goes with it.
pub(crate) struct Namespace {
    name: String,
    client: Client,
    kubeconfig: PathBuf,
}

impl Namespace {
    /// A new one of the shared cluster.
    pub(crate) fn new(prefix: &str) -> Self {
        Cluster::shared().namespace(prefix)
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The resources of a kind in it.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// The same without the types of our own, for what those could not hold.
    pub(crate) fn untyped<K: Resource<DynamicType = ()>>(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.name, &ApiResource::erase::<K>(&()))
    }

    /// Runs kubectl in it.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Ended {
        kubectl(&self.kubeconfig, &[&["--namespace", &self.name], arguments].concat(), "")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.name);
        let namespaces: Api<NamespaceObject> = Api::all(self.client.clone());
        // In a thread of its own, because this may be dropped inside the runtime. The cluster may be gone by now, and the
        // namespace with it.
        let deletion = std::thread::spawn(move || {
            let _ = block_on(namespaces.delete(&name, &DeleteParams::default()));
        });
        let _ = deletion.join();
    }
}

/// Runs a future to its end. One runtime serves all tests, for the connections of the shared client live in it.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        whetstone::models::install_tls();
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
    });
    runtime.block_on(future)
}

/// Looks again and again until there is something to see, and gives up with what it waited for.
pub(crate) fn eventually<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < within, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_cluster_says_where_its_processes_and_its_log_are() {
    let cluster = Cluster::shared();
    let namespace = Namespace::new("audit");
    let Some(log) = cluster.audit_log() else { return };
    let requests = std::fs::read_to_string(log).unwrap();
    assert!(requests.contains(namespace.name()), "the request that made {} is not in the log", namespace.name());
    let Pids { etcd, apiserver, controller_manager } = cluster.pids().unwrap();
    for pid in [etcd, apiserver, controller_manager] {
        assert!(Path::new(&format!("/proc/{pid}")).exists(), "{pid} is not there");
    }
    assert!(cluster.kubeconfig().exists());
}

#[test]
fn a_namespace_goes_with_its_test() {
    let name = Namespace::new("short").name().to_owned();
    let namespaces: Api<NamespaceObject> = Api::all(Cluster::shared().client());
    eventually("the namespace is being deleted", Duration::from_secs(30), || {
        let found = block_on(namespaces.get_opt(&name)).unwrap();
        found.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()).then_some(())
    });
}

#[test]
fn an_api_server_that_is_killed_comes_back() {
    let cluster = Cluster::private();
    let namespace = cluster.namespace("before");
    let before = cluster.pids().unwrap().apiserver;
    assert!(Command::new("kill").args(["-9", &before.to_string()]).status().unwrap().success());
    let namespaces: Api<NamespaceObject> = Api::all(cluster.client());
    eventually("the API server answers again", Duration::from_mins(1), || {
        let is_another = cluster.pids().unwrap().apiserver != before;
        (is_another && block_on(namespaces.get(namespace.name())).is_ok()).then_some(())
    });
}
