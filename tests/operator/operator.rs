//! The operator as a process, and what it works on: a small shop in a namespace of its own, and a simulated world.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use whetstone::api::status::{AgentOptimizationStatus, Phase, PromptVersionStatus};
use whetstone::api::{AgentOptimization, PromptVersion};
use whetstone::domain::hash::ContentHash;
use whetstone::store::{Sqlite, Store as _};

use super::admission::merge;
use super::cluster::{Cluster, Namespace, block_on, eventually};

/// Nothing here takes longer, unless it hangs.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);
/// The AgentOptimization of a shop.
pub(crate) const SHOP: &str = "shop";
/// The ConfigMap with the base prompt, which is the shop's.
pub(crate) const BASE: &str = "shop-prompt";
/// The ConfigMap that the agent reads, which is the operator's.
pub(crate) const TARGET: &str = "shop-prompt-live";
/// Who applies what a person would.
const PERSON: &str = "tests";

/// A shop whose agent does not know four of its rules, in a namespace of its own, with a simulated world that does.
pub(crate) struct Shop {
    pub namespace: Namespace,
    pub world: World,
    dir: TempDir,
}

impl Shop {
    /// A new one. `name` is for the reader of logs.
    pub(crate) fn open(name: &str) -> Self {
        Self::in_world(name, "")
    }

    /// A new one whose world has further properties.
    pub(crate) fn in_world(name: &str, more: &str) -> Self {
        let shop = Self::empty(Namespace::new(name), "127.0.0.1:0", more);
        shop.write_base(&fixture("prompt.md"));
        shop.write_config_map("shop-tools", &[("tools.json", &fixture("tools.json"))]);
        shop.write_config_map("shop-scenarios", &[("scenarios.jsonl", &fixture("scenarios.jsonl"))]);
        shop
    }

    /// One in whose namespace nothing is, and whose world listens at an address.
    pub(crate) fn empty(namespace: Namespace, listen: &str, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::start(dir.path(), listen, &format!("{}{more}", fixture("world.yaml")));
        Self { namespace, world, dir }
    }

    /// Its resource, after a change (RFC 7396).
    pub(crate) fn resource(&self, change: &Value) -> Value {
        let mut resource = json!({
            "apiVersion": "whetstone.dev/v1alpha1",
            "kind": "AgentOptimization",
            "metadata": {"name": SHOP},
            "spec": {
                "profile": "Prototype",
                "agent": {
                    "prompt": {"configMapKeyRef": {"name": BASE, "key": "system-prompt"}},
                    "toolsFrom": [{"configMapKeyRef": {"name": "shop-tools", "key": "tools.json"}}],
                    "runtime": {"model": {"ref": "worker"}},
                },
                "models": self.models(&json!({}), &json!({})),
                "scenarios": [{"configMapRef": {"name": "shop-scenarios"}}],
                "scoring": {"judge": {"ref": "judge"}},
                "patching": {"protectedSections": ["Safety"]},
                "promotion": {"target": {"configMap": TARGET}},
                "budget": {"perCycle": "50.00"},
            },
        });
        merge(&mut resource, change);
        resource
    }

    /// Its models, after changes of how each is reached. (A list is changed as a whole.)
    pub(crate) fn models(&self, worker: &Value, judge: &Value) -> Value {
        let mut openai = json!({"baseURL": format!("{}/v1", self.world.origin()), "model": "gpt-4o-mini"});
        let mut anthropic = json!({"baseURL": self.world.origin(), "model": "claude-sonnet-4-5"});
        merge(&mut openai, worker);
        merge(&mut anthropic, judge);
        json!([
            {"name": "worker", "openAI": openai, "price": {"inputPerMillion": "0.15", "outputPerMillion": "0.60"}},
            {"name": "judge", "anthropic": anthropic, "price": {"inputPerMillion": "3", "outputPerMillion": "15"}},
        ])
    }

    /// Applies its resource after a change, as `kubectl apply` does.
    pub(crate) fn apply(&self, change: &Value) -> AgentOptimization {
        self.apply_object(&self.resource(change))
    }

    /// Applies any object.
    pub(crate) fn apply_object<K>(&self, object: &Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let name = object["metadata"]["name"].as_str().unwrap();
        let parameters = PatchParams::apply(PERSON).force();
        let applied = block_on(self.namespace.api::<K>().patch(name, &parameters, &Patch::Apply(object)));
        applied.unwrap_or_else(|error| panic!("apply {name}: {error}"))
    }

    /// Changes its resource (RFC 7396).
    pub(crate) fn patch(&self, change: &Value) -> AgentOptimization {
        let api = self.namespace.api::<AgentOptimization>();
        block_on(api.patch(SHOP, &PatchParams::default(), &Patch::Merge(change))).unwrap()
    }

    /// Annotates its resource.
    pub(crate) fn annotate(&self, annotation: &str, value: &str) {
        self.patch(&json!({"metadata": {"annotations": {annotation: value}}}));
    }

    /// Writes a ConfigMap of the user's.
    pub(crate) fn write_config_map(&self, name: &str, texts: &[(&str, &str)]) -> ConfigMap {
        let data: BTreeMap<&str, &str> = texts.iter().copied().collect();
        self.apply_object(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}))
    }

    /// Writes the base prompt.
    pub(crate) fn write_base(&self, prompt: &str) -> ConfigMap {
        self.write_config_map(BASE, &[("system-prompt", prompt)])
    }

    /// Writes a Secret.
    pub(crate) fn write_secret(&self, name: &str, texts: &[(&str, &str)]) {
        let texts: BTreeMap<&str, &str> = texts.iter().copied().collect();
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": texts});
        self.apply_object::<Secret>(&secret);
    }

    /// Applies a PromptVersion by hand.
    pub(crate) fn apply_version(&self, name: &str, prompt: &str, change: &Value) -> PromptVersion {
        let mut version = json!({
            "apiVersion": "whetstone.dev/v1alpha1",
            "kind": "PromptVersion",
            "metadata": {"name": name},
            "spec": {"optimizationRef": {"name": SHOP}, "prompt": prompt},
        });
        merge(&mut version, change);
        self.apply_object(&version)
    }

    /// Deletes an object.
    pub(crate) fn delete<K>(&self, name: &str)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        block_on(self.namespace.api::<K>().delete(name, &DeleteParams::default())).unwrap();
    }

    /// Its resource as it is.
    pub(crate) fn object(&self) -> AgentOptimization {
        block_on(self.namespace.api().get(SHOP)).unwrap()
    }

    /// Its status as it is.
    pub(crate) fn status(&self) -> AgentOptimizationStatus {
        self.object().status.unwrap_or_default()
    }

    /// Waits until its status is as it should be.
    #[track_caller]
    pub(crate) fn until(
        &self,
        what: &str,
        is_so: impl Fn(&AgentOptimizationStatus) -> bool,
    ) -> AgentOptimizationStatus {
        let began = Instant::now();
        loop {
            let status = self.status();
            if is_so(&status) {
                return status;
            }
            let shown = || serde_json::to_string_pretty(&status).unwrap();
            assert!(
                began.elapsed() < DEADLINE,
                "not within {DEADLINE:?}: {what}
{}",
                shown()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until there is nothing to do, and everything is written.
    #[track_caller]
    pub(crate) fn until_idle(&self) -> AgentOptimizationStatus {
        let generation = self.object().metadata.generation;
        self.until("nothing is to be done", |status| {
            let is_idle = status.phase == Some(Phase::Idle) && status.cycle.is_none();
            is_idle && status.observed_generation >= generation && has(status, "Ready", "True", "Serving")
        })
    }

    /// Waits until a version serves, and asserts that the target has its prompt, its name and its hash.
    #[track_caller]
    pub(crate) fn until_served(&self, version: &str) -> BTreeMap<String, String> {
        let data = eventually(&format!("{version} is in the target"), DEADLINE, || {
            self.target().filter(|data| data.get("version").is_some_and(|held| held == version))
        });
        assert_belongs_together(&data);
        data
    }

    /// What a ConfigMap holds.
    pub(crate) fn config_map(&self, name: &str) -> Option<ConfigMap> {
        block_on(self.namespace.api::<ConfigMap>().get_opt(name)).unwrap()
    }

    /// What the target holds.
    pub(crate) fn target(&self) -> Option<BTreeMap<String, String>> {
        Some(self.config_map(TARGET)?.data.unwrap_or_default())
    }

    /// A PromptVersion by the name of its object.
    pub(crate) fn version(&self, object: &str) -> PromptVersion {
        block_on(self.namespace.api().get(object)).unwrap_or_else(|error| panic!("{object}: {error}"))
    }

    /// The names of all PromptVersions.
    pub(crate) fn versions(&self) -> Vec<String> {
        let all = block_on(self.namespace.api::<PromptVersion>().list(&ListParams::default())).unwrap();
        all.iter().map(ResourceExt::name_any).collect()
    }

    /// Waits until a PromptVersion stands somewhere.
    #[track_caller]
    pub(crate) fn until_version(&self, object: &str, phase: &str) -> PromptVersionStatus {
        let mut last = None;
        let began = Instant::now();
        loop {
            let version = block_on(self.namespace.api::<PromptVersion>().get_opt(object)).unwrap();
            let status = version.and_then(|version| version.status);
            if let Some(status) = status.as_ref().filter(|status| status.phase.is_some_and(|it| it.as_str() == phase)) {
                return status.clone();
            }
            last = status.or(last);
            assert!(began.elapsed() < DEADLINE, "{object} is not {phase} within {DEADLINE:?}: {last:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The Events so far: reason and words.
    pub(crate) fn events(&self) -> Vec<(String, String)> {
        let events = block_on(self.namespace.api::<Event>().list(&ListParams::default())).unwrap();
        events.into_iter().map(|it| (it.reason.unwrap_or_default(), it.note.unwrap_or_default())).collect()
    }

    /// Waits for an Event, and says its words.
    #[track_caller]
    pub(crate) fn until_event(&self, reason: &str) -> String {
        eventually(&format!("an Event {reason}"), DEADLINE, || {
            self.events().into_iter().find(|(its, _)| its == reason).map(|(_, note)| note)
        })
    }

    /// How many calls the ledger holds.
    pub(crate) fn ledger_calls(&self) -> u64 {
        let path = self.store_file();
        block_on(async {
            let store = Sqlite::open(&path).await.unwrap();
            let totals = store.totals(None).await.unwrap();
            store.close().await.unwrap();
            totals.iter().map(|total| total.calls).sum()
        })
    }

    /// The file of the namespace's store.
    pub(crate) fn store_file(&self) -> PathBuf {
        self.store_dir().join(format!("{}.db", self.namespace.name()))
    }

    /// The folder of the stores.
    pub(crate) fn store_dir(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// What Go's kstatus, and so Flux, makes of its resource.
    pub(crate) fn kstatus(&self) -> String {
        kstatus(&serde_json::to_value(self.object()).unwrap())
    }

    /// Follows an object from now on.
    pub(crate) fn follow<K>(&self, name: &str) -> Followed<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug
            + Send
            + Sync
            + 'static,
    {
        Followed::start(&self.namespace, name)
    }

    /// Starts the operator, which may ask the world and nobody else.
    pub(crate) fn operator(&self) -> Operator {
        self.operator_with(&[], &[])
    }

    /// Starts the operator with further arguments and environment variables.
    pub(crate) fn operator_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Operator {
        let world = self.world.address.to_string();
        let arguments = [&["--allow-endpoint", &world][..], arguments].concat();
        Operator::start(self, Path::new(env!("CARGO_BIN_EXE_whetstone")), &arguments, environment)
    }

    /// Starts the operator of another build.
    pub(crate) fn operator_of(&self, binary: &Path) -> Operator {
        Operator::start(self, binary, &["--allow-endpoint", &self.world.address.to_string()], &[])
    }
}

/// The time.
#[allow(clippy::disallowed_methods, reason = "the operator is another process, and goes by this clock too")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// A file of the shop.
pub(crate) fn fixture(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/shop").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The hash of a prompt.
pub(crate) fn hash(prompt: &str) -> String {
    ContentHash::of_bytes(prompt.as_bytes()).to_string()
}

/// Asserts that what the target holds is one prompt with its own hash.
#[track_caller]
pub(crate) fn assert_belongs_together(data: &BTreeMap<String, String>) {
    assert_eq!(hash(&data["system-prompt"]), data["prompt-hash"], "a prompt with the hash of another: {data:?}");
    assert!(!data["version"].is_empty());
}

/// A condition of a status.
pub(crate) fn condition<'a>(status: &'a AgentOptimizationStatus, type_: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether a condition is there with this status and reason.
pub(crate) fn has(status: &AgentOptimizationStatus, type_: &str, value: &str, reason: &str) -> bool {
    condition(status, type_).is_some_and(|condition| condition.status == value && condition.reason == reason)
}

/// What Go's kstatus makes of an object: `InProgress`, `Current` or `Failed`.
pub(crate) fn kstatus(object: &Value) -> String {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/cluster/whetstone-cluster");
    let mut command = Command::new(&program);
    let mut process = command.arg("kstatus").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(object.to_string().as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    line["status"].as_str().unwrap().to_owned()
}

/// Every state of an object that the API server has told of since this was begun.
pub(crate) struct Followed<K> {
    states: Arc<Mutex<Vec<K>>>,
    task: JoinHandle<()>,
}

impl<K> Followed<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    fn start(namespace: &Namespace, name: &str) -> Self {
        let states = Arc::new(Mutex::new(Vec::new()));
        let (begun, has_begun) = std::sync::mpsc::channel();
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut events = watcher(namespace.api::<K>(), config).default_backoff().boxed();
        let told = Arc::clone(&states);
        let follow = async move {
            while let Some(event) = events.next().await {
                match event.unwrap() {
                    watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
                        told.lock().unwrap().push(object);
                    }
                    // Nothing that happens from now on is missed.
                    watcher::Event::InitDone => drop(begun.send(())),
                    watcher::Event::Init | watcher::Event::Delete(_) => {}
                }
            }
        };
        #[allow(clippy::async_yields_async, reason = "the runtime is entered only to have it spawned there")]
        let task = block_on(async { tokio::spawn(follow) });
        has_begun.recv_timeout(DEADLINE).unwrap();
        Self { states, task }
    }

    /// The states so far, oldest first.
    pub(crate) fn states(&self) -> Vec<K> {
        self.states.lock().unwrap().clone()
    }

    /// Waits until the newest state is the one that the API server has now: what was written before is among the states.
    pub(crate) fn catch_up(&self, namespace: &Namespace) -> Vec<K> {
        let newest = self.states().last().map(ResourceExt::name_any).expect("a state");
        eventually("the watch has caught up", DEADLINE, || {
            let now = block_on(namespace.api::<K>().get(&newest)).unwrap().resource_version();
            let states = self.states();
            (states.last().and_then(ResourceExt::resource_version) == now).then_some(states)
        })
    }
}

impl<K> Drop for Followed<K> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// `whetstone simulate` as a process of its own. Killed when it is dropped.
pub(crate) struct World {
    child: Child,
    address: SocketAddr,
}

impl World {
    fn start(dir: &Path, listen: &str, world: &str) -> Self {
        let file = dir.join("world.yaml");
        std::fs::write(&file, world).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_whetstone"));
        command.args(["simulate", "--listen", listen, "--world"]).arg(&file).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").and_then(|rest| rest.strip_suffix("/v1"));
        let address = address.unwrap_or_else(|| panic!("it says {line:?}")).parse().unwrap();
        Self { child, address }
    }

    /// `http://ADDRESS`, without `/v1`.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many calls it has answered in full.
    pub(crate) fn answered(&self) -> u64 {
        let stats: Value = serde_json::from_str(&get(self.address, "/stats")).unwrap();
        stats["answered"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `whetstone operator` as a process of its own, for one namespace. Killed when it is dropped.
pub(crate) struct Operator {
    child: Child,
    probes: SocketAddr,
    log: PathBuf,
}

impl Operator {
    fn start(shop: &Shop, binary: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let log = shop.dir.path().join("operator.log");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let mut command = Command::new(binary);
        let namespace = shop.namespace.name();
        command.args(["operator", "--namespace", namespace, "--lease-namespace", namespace]);
        command.args(["--listen", "127.0.0.1:0", "--store"]).arg(shop.store_dir()).args(arguments);
        command.env_clear().env("KUBECONFIG", Cluster::shared().kubeconfig()).env("RUST_LOG", "whetstone=info,warn");
        command.envs(environment.iter().copied());
        let before = std::fs::read_to_string(&log).unwrap().len();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn().unwrap();
        let probes = eventually("the operator says where its probes are", DEADLINE, || {
            let said = std::fs::read_to_string(&log).unwrap().split_off(before);
            let (_, rest) = said.split_once("serving /metrics, /healthz and /readyz address=")?;
            rest.lines().next()?.parse().ok()
        });
        Self { child, probes, log }
    }

    /// The id of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged, and those before it.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// What `/metrics` says.
    pub(crate) fn metrics(&self) -> String {
        get(self.probes, "/metrics")
    }

    /// A metric, by its name and labels.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.metrics();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Ends it as the kubelet does, and waits until it has ended.
    pub(crate) fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status = eventually("the operator ends", DEADLINE, || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}\n{}", self.log());
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(6000);
            eprintln!("the operator's log, its end:\n{}", String::from_utf8_lossy(&log.as_bytes()[from..]));
        }
    }
}

/// The body of an answer to a GET.
pub(crate) fn get(address: SocketAddr, path: &str) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(DEADLINE)).unwrap();
    connection
        .write_all(format!("GET {path} HTTP/1.0\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    body.to_owned()
}
