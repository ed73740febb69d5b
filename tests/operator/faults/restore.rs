//! etcd is restored to an older state under running operators: watches are silent until the revisions have caught up, and nobody may
//! wait for that.

use std::path::Path;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::super::cluster::{Cluster, block_on, eventually};
use super::processes::{Operator, signal};
use super::stage::{DEADLINE, Place, Stage, patiently};

/// How many writes are lost.
const WRITES: usize = 1200;
/// How long the operators may take to act again.
const ACTS: Duration = Duration::from_mins(1);

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}

/// Copies what etcd holds at this moment.
fn keep(cluster: &Cluster, to: &Path) {
    let etcd = cluster.pids().unwrap().etcd;
    signal("STOP", etcd);
    copy(&cluster.folder().join("etcd"), to);
    signal("CONT", etcd);
}

/// Lets etcd begin again with what it held then.
fn restore(cluster: &Cluster, from: &Path) {
    let before = cluster.pids().unwrap().etcd;
    // Else it would be started again before its data is there.
    signal("STOP", cluster.supervisor().unwrap());
    signal("KILL", before);
    eventually("etcd has ended", DEADLINE, || {
        let state = std::fs::read_to_string(format!("/proc/{before}/stat")).unwrap_or_default();
        state.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('Z')).then_some(())
    });
    let data = cluster.folder().join("etcd");
    std::fs::remove_dir_all(&data).unwrap();
    copy(from, &data);
    signal("CONT", cluster.supervisor().unwrap());
    eventually("etcd is there again", DEADLINE, || (cluster.pids().unwrap().etcd != before).then_some(()));
}

/// Whether exactly one operator leads, and both are ready.
fn one_leads(operators: &[Operator]) -> bool {
    let leads = |operator: &&Operator| {
        operator.metrics().is_some_and(|text| text.lines().any(|line| line == "whetstone_leader 1"))
    };
    operators.iter().filter(leads).count() == 1 && operators.iter().all(Operator::is_ready)
}

#[test]
fn after_etcd_was_restored_and_the_api_server_restarted_the_operators_act() {
    let mut stage = Stage::new(Place::Private(Box::new(Cluster::private())), 1);
    for identity in ["one", "two"] {
        stage.operate(identity);
    }
    let shop = stage.open_small_shop();
    eventually("the shop has come to rest", DEADLINE, || stage.has_settled(shop).then_some(()));
    let kept = stage.folder().join("kept");
    keep(&stage.place, &kept);
    let namespace = stage.namespace_names()[0].clone();
    let maps: Api<ConfigMap> = Api::namespaced(stage.place.client(), &namespace);
    let name = format!("{}-texts", stage.shops[shop].name);
    for number in 0..WRITES {
        let change = json!({"metadata": {"annotations": {"number": number.to_string()}}});
        block_on(maps.patch(&name, &PatchParams::default(), &Patch::Merge(&change))).unwrap();
    }
    let api_server = stage.place.pids().unwrap().apiserver;
    restore(&stage.place, &kept);
    // As Kubernetes asks for: an API server that goes on tells of what is no more.
    signal("KILL", api_server);
    let restored = Instant::now();
    let objects = stage.optimizations(&namespace);
    let name = stage.shops[shop].name.clone();
    patiently("edit the AgentOptimization", || {
        let change = json!({"spec": {"suspend": true}});
        block_on(objects.patch(&name, &PatchParams::default(), &Patch::Merge(&change)))
    });
    // This test asks and does not watch: its own watches are as silent as any.
    eventually("the operators act again", ACTS, || {
        let object = block_on(objects.get(&name)).ok()?;
        let status = object.status.unwrap_or_default();
        let is_suspended = status.phase.is_some_and(|phase| format!("{phase:?}") == "Suspended");
        (is_suspended && status.observed_generation == object.metadata.generation).then_some(())
    });
    println!("acted {:.1?} after etcd was restored", restored.elapsed());
    eventually("one leads, and both are ready", ACTS, || one_leads(&stage.operators).then_some(()));
    let logs: String = stage.operators.iter().map(|it| std::fs::read_to_string(&it.setup.log).unwrap()).collect();
    assert!(logs.contains("gone back"), "it is said what has happened");
}
