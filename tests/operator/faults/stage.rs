//! The stage of a fault test: namespaces, a simulated provider, operators, and shops that come one after another, so that there is
//! always work to disturb.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tempfile::TempDir;
use whetstone::api::AgentOptimization;

use super::super::cluster::{Cluster, Namespace, block_on, eventually};
use super::processes::{Operator, Setup, Simulator, Wire};
use super::record::Record;

/// Calls under way at once in one cycle.
pub(super) const CONCURRENCY: u64 = 4;
/// Cycles under way at once.
pub(super) const MAX_CYCLES: usize = 4;
/// How long the Lease lasts, in whole seconds.
pub(super) const LEASE: Duration = Duration::from_secs(4);
/// How long anything may take to settle after the last fault.
pub(super) const DEADLINE: Duration = Duration::from_mins(3);

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/shop");

/// A cluster: that of all tests, or one of our own.
pub(super) enum Place {
    Shared(&'static Cluster),
    Private(Box<Cluster>),
}

impl Deref for Place {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        match self {
            Self::Shared(cluster) => cluster,
            Self::Private(cluster) => cluster,
        }
    }
}

/// A shop: one AgentOptimization with everything that it refers to.
pub(super) struct Shop {
    pub namespace: String,
    pub name: String,
    /// Between the operator and the provider, for this shop alone.
    pub wire: Wire,
    /// It was deleted for good.
    pub is_gone: bool,
    /// It is to be rolled back, so that a version comes to serve again.
    pub goes_back: bool,
}

/// The stage.
pub(super) struct Stage {
    // In the order in which they are taken down.
    pub operators: Vec<Operator>,
    pub record: Record,
    pub shops: Vec<Shop>,
    pub simulator: Simulator,
    namespaces: Vec<Namespace>,
    pub place: Place,
    dir: TempDir,
    pub random: ChaCha8Rng,
    pub seed: u64,
}

/// The seed of this run: from the environment, else drawn.
fn seed() -> u64 {
    let given = std::env::var("WHETSTONE_FAULTS_SEED").ok().map(|text| text.parse().expect("a number"));
    given.unwrap_or_else(|| RandomState::new().hash_one("seed") & 0xffff_ffff)
}

impl Stage {
    /// A stage with so many namespaces, without operators.
    pub(super) fn new(place: Place, namespaces: usize) -> Self {
        let seed = seed();
        let namespaces: Vec<Namespace> = (0..namespaces).map(|_| place.namespace("faults")).collect();
        let names = namespaces.iter().map(|namespace| namespace.name().to_owned()).collect();
        let dir = tempfile::tempdir().unwrap();
        let world = std::fs::read_to_string(format!("{FIXTURES}/world.yaml")).unwrap();
        let latency = "faults:\n  latency: {normal: {mean: 40ms, sd: 10ms}}\n";
        std::fs::write(dir.path().join("world.yaml"), format!("{world}{latency}")).unwrap();
        let simulator = Simulator::start(&dir.path().join("world.yaml"));
        let record = Record::begin(&place, &names);
        let random = ChaCha8Rng::seed_from_u64(seed);
        Self { operators: Vec::new(), record, shops: Vec::new(), simulator, namespaces, place, dir, random, seed }
    }

    pub(super) fn folder(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn namespace_names(&self) -> Vec<String> {
        self.namespaces.iter().map(|namespace| namespace.name().to_owned()).collect()
    }

    /// How an operator of this name is started here.
    pub(super) fn setup(&self, identity: &str) -> Setup {
        Setup {
            kubeconfig: self.kubeconfig_of(identity),
            identity: identity.to_owned(),
            namespaces: self.namespace_names(),
            store: self.folder().join("store"),
            log: std::env::var_os("WHETSTONE_FAULTS_LOGS")
                .map_or_else(|| self.folder().to_owned(), PathBuf::from)
                .join(format!("{}-{identity}.log", self.namespaces[0].name())),
            max_cycles: MAX_CYCLES,
            lease: LEASE,
            disk: None,
        }
    }

    /// Every replica is a user of its own, so that the API server's log tells them apart.
    pub(super) fn user(&self, identity: &str) -> String {
        format!("{identity}-{}", self.namespaces[0].name())
    }

    fn kubeconfig_of(&self, identity: &str) -> PathBuf {
        let admin = self.place.kubeconfig();
        if self.place.audit_log().is_none() {
            return admin.to_owned();
        }
        let path = self.folder().join(format!("{identity}.kubeconfig"));
        let made = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/target/cluster/whetstone-cluster"))
            .args(["user", "--group", "system:masters", "--name", &self.user(identity)])
            .arg("--dir")
            .arg(admin.parent().unwrap())
            .arg("--out")
            .arg(&path)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        path
    }

    /// Starts an operator.
    pub(super) fn operate(&mut self, identity: &str) {
        let setup = self.setup(identity);
        self.operators.push(Operator::start(&setup));
    }

    /// A random time up to so long.
    pub(super) fn moment(&mut self, up_to: Duration) -> Duration {
        Duration::from_micros(self.random.random_range(0..=up_to.as_micros() as u64))
    }

    /// Opens a shop like no other: none of its calls is one of another shop.
    pub(super) fn open_shop(&mut self, more: &Value) -> usize {
        self.open("prompt.md", usize::MAX, more)
    }

    /// Opens a shop whose agent gets everything right: its cycle asks a dozen times, and is over.
    pub(super) fn open_small_shop(&mut self) -> usize {
        let more = json!({
            "execution": {"concurrency": 2},
            "scoring": {"dimensions": [{"name": "tool_compliance", "weight": 1}]},
        });
        self.open("better.md", 12, &more)
    }

    fn open(&mut self, prompt: &str, scenarios: usize, more: &Value) -> usize {
        let number = self.shops.len();
        let namespace = self.namespaces[number % self.namespaces.len()].name().to_owned();
        let name = format!("shop-{number}");
        let wire = Wire::to(self.simulator.address());
        self.shops.push(Shop { namespace, name, wire, is_gone: false, goes_back: false });
        self.write_references(number, prompt, scenarios);
        self.create(number, more);
        number
    }

    fn write_references(&self, number: usize, prompt: &str, scenarios: usize) {
        let Shop { namespace, name, .. } = &self.shops[number];
        let read = |file: &str| std::fs::read_to_string(format!("{FIXTURES}/{file}")).unwrap();
        let prompt = read(prompt).replace("of a shop", &format!("of shop {number}"));
        let scenarios: Vec<String> = read("scenarios.jsonl")
            .lines()
            .filter(|line| !line.trim().is_empty())
            .take(scenarios)
            .map(|line| {
                let mut scenario: Value = serde_json::from_str(line).unwrap();
                scenario["message"] = json!(format!("{} (Shop {number})", scenario["message"].as_str().unwrap()));
                scenario.to_string()
            })
            .collect();
        let maps: Api<ConfigMap> = Api::namespaced(self.place.client(), namespace);
        let data = BTreeMap::from([
            ("prompt.md".to_owned(), prompt),
            ("tools.json".to_owned(), read("tools.json")),
            ("scenarios.jsonl".to_owned(), scenarios.join("\n")),
        ]);
        for (suffix, keys) in [("texts", &["prompt.md", "tools.json"][..]), ("scenarios", &["scenarios.jsonl"])] {
            let data = data.iter().filter(|(key, _)| keys.contains(&key.as_str()));
            let mut map = ConfigMap {
                data: Some(data.map(|(key, text)| (key.clone(), text.clone())).collect()),
                ..ConfigMap::default()
            };
            map.metadata.name = Some(format!("{name}-{suffix}"));
            patiently("create a ConfigMap", || forgiving(409, block_on(maps.create(&PostParams::default(), &map))));
        }
    }

    /// Creates the AgentOptimization of a shop.
    pub(super) fn create(&self, number: usize, more: &Value) {
        let Shop { namespace, name, wire, .. } = &self.shops[number];
        let origin = format!("http://{}", wire.address());
        let mut object = json!({
            "apiVersion": "whetstone.dev/v1alpha1",
            "kind": "AgentOptimization",
            "metadata": {"name": name},
            "spec": {
                "profile": "Prototype",
                "agent": {
                    "prompt": {"configMapKeyRef": {"name": format!("{name}-texts"), "key": "prompt.md"}},
                    "toolsFrom": [{"configMapKeyRef": {"name": format!("{name}-texts"), "key": "tools.json"}}],
                    "runtime": {"model": {"ref": "worker"}},
                },
                "models": [
                    {"name": "worker", "openAI": {"baseURL": format!("{origin}/v1"), "model": "gpt-4o-mini"},
                     "price": {"inputPerMillion": "0.15", "outputPerMillion": "0.60"}},
                    {"name": "judge", "anthropic": {"baseURL": origin, "model": "claude-sonnet-4-5"},
                     "price": {"inputPerMillion": "3", "outputPerMillion": "15"}},
                ],
                "scenarios": [{"configMapRef": {"name": format!("{name}-scenarios")}}],
                "execution": {"concurrency": CONCURRENCY},
                "scoring": {"judge": {"ref": "judge"}},
                "patching": {"protectedSections": ["Safety"]},
                "promotion": {"target": {"configMap": format!("{name}-live")}},
                "budget": {"perCycle": "50.00"},
            },
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            object["spec"][field] = value.clone();
        }
        let object: AgentOptimization = serde_json::from_value(object).unwrap();
        let api = self.optimizations(namespace);
        patiently("create an AgentOptimization", || {
            forgiving(409, block_on(api.create(&PostParams::default(), &object)))
        });
    }

    pub(super) fn optimizations(&self, namespace: &str) -> Api<AgentOptimization> {
        Api::namespaced(self.place.client(), namespace)
    }

    /// Merges a change into the AgentOptimization of a shop.
    pub(super) fn edit(&self, number: usize, change: &Value) {
        let Shop { namespace, name, .. } = &self.shops[number];
        let api = self.optimizations(namespace);
        patiently("edit an AgentOptimization", || {
            block_on(api.patch(name, &PatchParams::default(), &Patch::Merge(change)))
        });
    }

    /// Deletes the AgentOptimization of a shop.
    pub(super) fn delete(&self, number: usize) {
        let Shop { namespace, name, .. } = &self.shops[number];
        let api = self.optimizations(namespace);
        patiently("delete an AgentOptimization", || {
            forgiving(404, block_on(api.delete(name, &DeleteParams::default())))
        });
    }

    /// The newest state of a shop's AgentOptimization that the observer has seen.
    pub(super) fn state(&self, number: usize) -> Option<Value> {
        let Shop { namespace, name, .. } = &self.shops[number];
        self.record.newest("AgentOptimization", namespace, name).map(|seen| seen.object)
    }

    /// Whether a shop has come to rest: nothing more will happen to it.
    pub(super) fn has_settled(&self, number: usize) -> bool {
        let shop = &self.shops[number];
        shop.is_gone || self.state(number).is_some_and(|object| is_at_rest(&object))
    }

    /// How many shops have not come to rest.
    pub(super) fn unsettled(&self) -> Vec<usize> {
        (0..self.shops.len()).filter(|number| !self.has_settled(*number)).collect()
    }

    /// The shops that have not come to rest and do not wait for a better time after a failure.
    pub(super) fn at_work(&self) -> Vec<usize> {
        let waits =
            |number: &usize| self.state(*number).is_some_and(|object| !object["status"]["cycle"]["waiting"].is_null());
        self.unsettled().into_iter().filter(|number| !waits(number)).collect()
    }

    /// Sees to it that so many shops are at work.
    pub(super) fn keep_busy(&mut self, shops: usize) {
        for _ in self.at_work().len()..shops {
            self.open_shop(&json!({}));
        }
    }

    /// Suspends a shop and lets it go on; how long it took until its status showed that it is suspended.
    pub(super) fn reaction(&self, number: usize, since: Instant) -> Option<Duration> {
        self.edit(number, &json!({"spec": {"suspend": true}}));
        let reacted = loop {
            let Shop { namespace, name, .. } = &self.shops[number];
            let seen = self.record.newest("AgentOptimization", namespace, name);
            if let Some(seen) = seen.filter(|seen| seen.text("/status/phase") == "Suspended") {
                break Some(seen.at.saturating_duration_since(since));
            }
            if since.elapsed() > DEADLINE {
                break None;
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        self.edit(number, &json!({"spec": {"suspend": false}}));
        reacted
    }

    /// Waits until all shops have come to rest, for as long as some do. Those that have not are a violation.
    pub(super) fn settle(&self) -> Vec<String> {
        let mut left = usize::MAX;
        let mut begun = Instant::now();
        loop {
            let unsettled = self.unsettled();
            if unsettled.is_empty() {
                return Vec::new();
            }
            if unsettled.len() < left {
                left = unsettled.len();
                begun = Instant::now();
            }
            if begun.elapsed() > DEADLINE {
                let told = |number: usize| {
                    let state = self.state(number).map(|object| object["status"].clone()).unwrap_or_default();
                    format!(
                        "{} is stuck: phase {} cycle {} conditions {}",
                        self.shops[number].name, state["phase"], state["cycle"], state["conditions"]
                    )
                };
                return unsettled.into_iter().map(told).collect();
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until another call has gone to the provider, and says how long that took since `since`.
    pub(super) fn work_goes_on(&self, since: Instant) -> Option<Duration> {
        loop {
            if let Some(first) = self.shops.iter().filter_map(|shop| shop.wire.sent_after(since)).min() {
                return Some(first - since);
            }
            if self.unsettled().is_empty() || since.elapsed() > DEADLINE {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Who holds the Lease, as the observer knows it.
    pub(super) fn holder(&self) -> Option<String> {
        let lease = self.record.newest("Lease", self.namespaces[0].name(), "whetstone")?;
        Some(lease.text("/spec/holderIdentity").to_owned()).filter(|holder| !holder.is_empty())
    }

    /// The operator that holds the Lease, once one does.
    pub(super) fn leader(&self) -> usize {
        eventually("one of the operators holds the Lease", DEADLINE, || {
            let holder = self.holder()?;
            self.operators.iter().position(|operator| operator.setup.identity == holder)
        })
    }
}

/// Whether nothing more is to happen to an object.
pub(super) fn is_at_rest(object: &Value) -> bool {
    let status = &object["status"];
    let is_ready =
        status["conditions"].as_array().into_iter().flatten().any(|it| it["type"] == "Ready" && it["status"] == "True");
    status["observedGeneration"] == object["metadata"]["generation"]
        && matches!(status["phase"].as_str(), Some("Idle"))
        && status["cycle"].is_null()
        && status["cycles"].as_u64().unwrap_or(0) > 0
        && is_ready
}

/// What was done already, by an attempt that was not answered, is done.
fn forgiving<T>(code: u16, result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.code == code => Ok(()),
        result => result.map(drop),
    }
}

/// Tries until it succeeds: the API server may be what is being disturbed.
pub(super) fn patiently<T>(what: &str, mut attempt: impl FnMut() -> Result<T, kube::Error>) -> T {
    let begun = Instant::now();
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(error) => assert!(begun.elapsed() < DEADLINE, "{what}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
