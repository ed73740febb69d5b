//! `whetstone history`.

use std::path::PathBuf;

use comfy_table::{Table, presets};

use super::exit::Exit;
use super::show::open;
use crate::store::Store as _;

/// List the cycles and prompt versions of the store, newest first.
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// Only this resource: NAME, or NAMESPACE/NAME
    name: Option<String>,
    /// The store
    #[arg(long, value_name = "FILE", env = "WHETSTONE_STORE", default_value = ".whetstone/whetstone.db")]
    store: PathBuf,
    /// The most cycles to list
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// What standard output gets
    #[arg(short, long, value_enum, default_value_t = super::Format::Text)]
    output: super::Format,
}

pub(super) async fn history(arguments: &Arguments) -> anyhow::Result<Exit> {
    let store = open(&arguments.store).await?;
    let object = arguments.name.as_ref().map(|name| object_of(name));
    let cycles = store.cycles(object.as_deref(), arguments.limit).await?;
    let mut objects: Vec<String> = cycles.iter().map(|cycle| cycle.object.clone()).collect();
    objects.sort();
    objects.dedup();
    let mut versions = Vec::new();
    for object in &objects {
        versions.extend(store.versions(object).await?.into_iter().map(|row| (object.clone(), row)));
    }
    let text = if arguments.output == super::Format::Json {
        let cycles: Vec<_> = cycles
            .iter()
            .map(|cycle| {
                serde_json::json!({
                    "cycle": cycle.cycle, "object": cycle.object, "verdict": cycle.verdict,
                    "champion": cycle.champion, "startedAt": cycle.started_at, "endedAt": cycle.ended_at,
                })
            })
            .collect();
        let versions: Vec<_> = versions
            .iter()
            .map(|(object, row)| serde_json::json!({"object": object, "version": row.version, "createdAt": row.created_at}))
            .collect();
        format!("{}\n", serde_json::to_string_pretty(&serde_json::json!({"cycles": cycles, "versions": versions}))?)
    } else if cycles.is_empty() {
        "no cycles yet; `whetstone run -f FILE` runs one\n".to_owned()
    } else {
        let mut table = table(["cycle", "object", "verdict", "champion", "started"]);
        for cycle in &cycles {
            table.add_row([
                cycle.cycle.short(),
                cycle.object.clone(),
                cycle.verdict.clone().unwrap_or_else(|| "not finished".to_owned()),
                cycle.champion.short(),
                cycle.started_at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            ]);
        }
        let mut lineage = self::table(["object", "version", "phase", "parent", "prompt", "addresses"]);
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
            "{table}\n\n{lineage}\n\n`whetstone show CYCLE` tells what a cycle found and why it decided as it did\n"
        )
    };
    super::print(&text)?;
    Ok(Exit::Success)
}

/// The first thing that a version addresses, cut to a readable length, and how many more there are.
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

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}
