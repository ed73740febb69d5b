//! `whetstone history`: of a store, or of a cluster.

use std::path::{Path, PathBuf};

use anyhow::bail;
use serde_json::json;

use super::Format;
use super::cluster::{Cluster, ClusterArgs};
use super::exit::{Exit, WrongArguments};
use super::output;
use super::show::open;
use crate::api::PromptVersion;
use crate::api::prompt_version::PromptVersionSpec;
use crate::api::status::FinishedCycle;
use crate::store::Store as _;
use crate::web::status;

/// The default store.
const STORE: &str = ".whetstone/whetstone.db";

/// List cycles and prompt versions, newest first.
///
/// With NAME, and neither --store nor WHETSTONE_STORE, reads the cluster: the last cycles, at most ten, and all versions
/// with the reasons for their phases. Otherwise reads a store on this machine: the one given by --store or
/// WHETSTONE_STORE, else `.whetstone/whetstone.db`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  whetstone history
  whetstone history support --store ci.db --limit 5
  whetstone history support --namespace shop")]
pub(super) struct Arguments {
    /// The AgentOptimization: NAME, or NAMESPACE/NAME; defaults to all in the store
    name: Option<String>,
    /// The store to read. Without NAME, defaults to `.whetstone/whetstone.db`
    #[arg(long, value_name = "FILE", env = "WHETSTONE_STORE")]
    store: Option<PathBuf>,
    /// The maximum number of cycles to list
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// The format of standard output
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(flatten)]
    cluster: ClusterArgs,
}

pub(super) async fn history(arguments: &Arguments) -> anyhow::Result<Exit> {
    match (&arguments.name, &arguments.store) {
        (Some(name), None) => of_cluster(arguments, name).await,
        (_, store) => {
            if let Some(flag) = arguments.cluster.any() {
                let message = match store {
                    Some(store) => format!(
                        "{flag} is for a cluster, and --store (or WHETSTONE_STORE) selects the store {}; remove one of them",
                        store.display()
                    ),
                    None => format!("{flag} is for the history of an AgentOptimization in a cluster; give its NAME"),
                };
                return Err(WrongArguments(message).into());
            }
            of_store(arguments, store.as_deref().unwrap_or(Path::new(STORE))).await
        }
    }
}

/// The history of an AgentOptimization in the cluster.
async fn of_cluster(arguments: &Arguments, name: &str) -> anyhow::Result<Exit> {
    let (cluster, name) = Cluster::reach_object(&arguments.cluster, name).await.map_err(|error| {
        // NAME alone meant the store before there was an operator.
        if Path::new(STORE).exists() {
            error.context(format!("reading the history in the cluster (--store {STORE} reads the store instead)"))
        } else {
            error
        }
    })?;
    let object = cluster.optimizations.get(&name).await?;
    let versions = cluster.optimizations.versions(&name).await?;
    let limit = usize::try_from(arguments.limit).unwrap_or(usize::MAX);
    let text = if arguments.output.is_for_programs() {
        let cycles = object.status.iter().flat_map(|status| &status.history).take(limit);
        let of = cluster.object(&name);
        let cycles: Vec<_> = cycles.map(|cycle| ended(&of, cycle)).collect();
        let versions: Vec<_> =
            status::newest_first(&versions).into_iter().map(|version| described(&of, version)).collect();
        arguments.output.write(&json!({"cycles": cycles, "versions": versions}))?
    } else {
        status::history(&object, &versions, limit, &cluster.view())
    };
    arguments.output.print(&text)?;
    Ok(Exit::Success)
}

/// A cycle of the cluster, with the fields that one of a store has, and more.
fn ended(of: &str, cycle: &FinishedCycle) -> serde_json::Value {
    let FinishedCycle { id, kind, cause, started_at, ended_at, verdict, message, champion, challenger, score, .. } =
        cycle;
    let FinishedCycle { cost, requested, .. } = cycle;
    json!({
        "cycle": id, "object": of, "verdict": verdict, "champion": champion, "startedAt": started_at, "endedAt": ended_at,
        "kind": kind, "cause": cause, "message": message, "challenger": challenger, "score": score, "cost": cost,
        "requested": requested,
    })
}

/// A version of the cluster, with the fields that one of a store has, and more.
fn described(of: &str, version: &PromptVersion) -> serde_json::Value {
    let PromptVersionSpec { prompt, hash, parent, diff, addresses, .. } = &version.spec;
    let status = version.status.clone().unwrap_or_default();
    json!({
        "object": of,
        "version": {
            "name": status::version_name(version),
            "hash": status.hash.as_ref().or(hash.as_ref()),
            "text": prompt,
            "parent": parent.as_ref().or(status.parent.as_ref()),
            "diff": diff,
            "addresses": addresses,
            "phase": status.phase,
            "score": status.score,
            "dimensions": status.dimensions,
            "since": status.since,
            "reasons": status.reasons,
        },
        "createdAt": version.metadata.creation_timestamp,
    })
}

async fn of_store(arguments: &Arguments, path: &Path) -> anyhow::Result<Exit> {
    let store = match open(path).await {
        Ok(store) => store,
        Err(error) if arguments.store.is_none() && arguments.name.is_none() => {
            bail!("{error:#}, or read a cluster with `{} history NAME`", super::program());
        }
        Err(error) => return Err(error),
    };
    let object = arguments.name.as_ref().map(|name| object_of(name));
    let cycles = store.cycles(object.as_deref(), arguments.limit).await?;
    let mut objects: Vec<String> = cycles.iter().map(|cycle| cycle.object.clone()).collect();
    objects.sort();
    objects.dedup();
    let mut versions = Vec::new();
    for object in &objects {
        versions.extend(store.versions(object).await?.into_iter().map(|row| (object.clone(), row)));
    }
    let text = if arguments.output.is_for_programs() {
        let cycles: Vec<_> = cycles
            .iter()
            .map(|cycle| {
                json!({
                    "cycle": cycle.cycle, "object": cycle.object, "verdict": cycle.verdict,
                    "champion": cycle.champion, "startedAt": cycle.started_at, "endedAt": cycle.ended_at,
                })
            })
            .collect();
        let versions: Vec<_> = versions
            .iter()
            .map(|(object, row)| json!({"object": object, "version": row.version, "createdAt": row.created_at}))
            .collect();
        arguments.output.write(&json!({"cycles": cycles, "versions": versions}))?
    } else if cycles.is_empty() {
        let of = object.map_or_else(String::new, |object| format!(" of {object}"));
        format!("no cycles{of} in {}; run one with `whetstone run -f FILE`\n", path.display())
    } else {
        let mut table = output::table(["cycle", "object", "verdict", "champion", "started"]);
        for cycle in &cycles {
            table.add_row([
                cycle.cycle.short(),
                cycle.object.clone(),
                cycle.verdict.clone().unwrap_or_else(|| "not finished".to_owned()),
                cycle.champion.short(),
                cycle.started_at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            ]);
        }
        let mut lineage = output::table(["object", "version", "phase", "parent", "prompt", "addresses"]);
        for (object, row) in &versions {
            let version = &row.version;
            lineage.add_row([
                object.clone(),
                version.name.to_string(),
                version.phase.as_str().to_owned(),
                version.parent.as_ref().map_or_else(|| "—".to_owned(), ToString::to_string),
                version.hash.short(),
                addressed(&version.addresses),
            ]);
        }
        format!(
            "{table}\n\n{lineage}\n\n`whetstone show CYCLE` shows what a cycle found and the reasons for its verdict\n"
        )
    };
    arguments.output.print(&text)?;
    Ok(Exit::Success)
}

/// The first cluster that a version addresses, shortened, and the number of others.
fn addressed(labels: &[String]) -> String {
    const CHARS: usize = 60;
    let Some(first) = labels.first() else { return String::new() };
    let short: String = first.chars().take(CHARS).collect();
    let dots = if first.chars().count() > CHARS { "…" } else { "" };
    let more = if labels.len() > 1 { format!(", and {} more", labels.len() - 1) } else { String::new() };
    format!("{short}{dots}{more}")
}

/// `NAMESPACE/NAME`; the namespace is `default` unless given.
fn object_of(name: &str) -> String {
    if name.contains('/') { name.to_owned() } else { format!("default/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_store_the_error_mentions_the_cluster() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("whetstone.db");
        let of = |store: Option<&Path>| Arguments {
            name: None,
            store: store.map(Path::to_owned),
            limit: 20,
            output: Format::Text,
            cluster: ClusterArgs::default(),
        };
        let unnamed = of_store(&of(None), &path).await.unwrap_err().to_string();
        assert!(unnamed.ends_with(", or read a cluster with `whetstone history NAME`"), "{unnamed}");
        let named = of_store(&of(Some(&path)), &path).await.unwrap_err().to_string();
        assert!(!named.contains("cluster"), "a named store means a store: {named}");
    }
}
