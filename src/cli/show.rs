//! `whetstone show`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::json;

use super::exit::Exit;
use super::output;
use crate::store::{CycleSummary, ScoreRow, Sqlite, Store as _};
use crate::web::report;
use crate::web::terminal::line;
use whetstone_engine::report::Report;

/// Show the report of a cycle in a store.
///
/// Prints the verdict with its reasons, the clusters with example failures, every patch with its outcome, and the diff
/// of the challenger.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  whetstone show
  whetstone show 4f2a --output json | jq .verdict
  whetstone show 4f2a --scores")]
pub(super) struct Arguments {
    /// The cycle's ID, or an unambiguous prefix, as listed by `whetstone history`; defaults to the newest cycle
    cycle: Option<String>,
    /// Print the score of each scenario in each dimension instead of the report
    #[arg(long)]
    scores: bool,
    /// The store: ledger and history in one SQLite file
    #[arg(long, value_name = "FILE", env = "WHETSTONE_STORE", default_value = ".whetstone/whetstone.db")]
    store: PathBuf,
    /// The format of standard output
    #[arg(short, long, value_enum, default_value_t = super::Format::Text)]
    output: super::Format,
}

pub(super) async fn show(arguments: &Arguments) -> anyhow::Result<Exit> {
    let store = open(&arguments.store).await?;
    let found = match &arguments.cycle {
        Some(prefix) => store.cycles_by_prefix(prefix).await?,
        None => store.cycles(None, 1).await?,
    };
    let prefix = arguments.cycle.as_deref().unwrap_or_default();
    let cycle = match found.as_slice() {
        [] if arguments.cycle.is_none() => {
            bail!("no cycle yet in {}; run one with `whetstone run`", arguments.store.display())
        }
        [] => bail!("no cycle {prefix:?} in {}; list the cycles with `whetstone history`", arguments.store.display()),
        [one] => one,
        many => {
            let names: Vec<String> = many.iter().map(|cycle| cycle.cycle.short()).collect();
            bail!("cycle {prefix:?} is ambiguous: {}; use a longer prefix", names.join(", "))
        }
    };
    if arguments.scores {
        arguments.output.print(&scores(arguments, &store, cycle).await?)?;
        return Ok(Exit::Success);
    }
    let Some(json) = store.report(&cycle.object, cycle.cycle).await? else {
        bail!(
            "cycle {} has no report: it was not finished, or was pruned; repeat the same `whetstone run` to finish it",
            cycle.cycle.short()
        );
    };
    let text = if arguments.output.is_for_programs() {
        arguments.output.write(&json)?
    } else {
        let report: Report = serde_json::from_value(json)
            .with_context(|| format!("reading the report of cycle {}", cycle.cycle.short()))?;
        report::markdown(&report)
    };
    arguments.output.print(&text)?;
    Ok(Exit::Success)
}

/// The scores of a cycle: a line per scenario and dimension, with the champion's score and the challenger's.
async fn scores(arguments: &Arguments, store: &Sqlite, cycle: &CycleSummary) -> anyhow::Result<String> {
    let rows = store.scores(&cycle.object, cycle.cycle).await?;
    if rows.is_empty() {
        bail!("cycle {} has no scores: it was not finished, was pruned, or scored nothing", cycle.cycle.short());
    }
    if arguments.output.is_for_programs() {
        let row = |row: &ScoreRow| {
            let ScoreRow { prompt, dimension, scenario, mean, samples } = row;
            json!({"prompt": prompt, "scenario": scenario, "dimension": dimension, "mean": mean, "samples": samples})
        };
        return arguments.output.write(&rows.iter().map(row).collect::<Vec<_>>());
    }
    let mut lines: BTreeMap<(&str, &str), [String; 2]> = BTreeMap::new();
    for row in &rows {
        let side = usize::from(row.prompt != cycle.champion);
        let line = lines.entry((row.scenario.as_str(), row.dimension.as_str())).or_default();
        line[side] = format!("{:.3}", row.mean);
    }
    let mut table = output::table(["scenario", "dimension", "champion", "challenger"]);
    for ((scenario, dimension), [champion, challenger]) in lines {
        table.add_row([line(scenario), line(dimension), champion, challenger]);
    }
    Ok(format!("{table}\n"))
}

/// Opens an existing store.
pub(super) async fn open(path: &Path) -> anyhow::Result<Sqlite> {
    if !path.exists() {
        bail!("no store at {}; create one with `whetstone run`, or name another with --store", path.display());
    }
    // Opening an empty file would turn it into a store, and it may be another file of the user.
    if path.metadata().is_ok_and(|metadata| metadata.len() == 0) {
        bail!("{} is not a store: it is empty; name another with --store", path.display());
    }
    Ok(Sqlite::open(path).await?)
}
