//! `whetstone show`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::exit::Exit;
use crate::engine::report::Report;
use crate::store::{Sqlite, Store as _};
use crate::web::report;

/// Show one cycle.
///
/// The verdict with its reasons, the clusters with example failures, every patch that was tried and what became of it, and
/// the diff of the challenger.
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// The first digits of the cycle, as `whetstone history` lists it; the newest cycle when absent
    cycle: Option<String>,
    /// The store
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
    let asked = arguments.cycle.as_deref().unwrap_or("the newest");
    let cycle = match found.as_slice() {
        [] if arguments.cycle.is_none() => {
            bail!("no cycle yet in {}; `whetstone run` makes one", arguments.store.display())
        }
        [] => bail!("no cycle {asked:?} in {}; `whetstone history` lists them", arguments.store.display()),
        [one] => one,
        many => {
            let names: Vec<String> = many.iter().map(|cycle| cycle.cycle.short()).collect();
            bail!("{asked:?} begins {} cycles: {}; give more digits", many.len(), names.join(", "))
        }
    };
    let Some(json) = store.report(&cycle.object, cycle.cycle).await? else {
        bail!(
            "cycle {} has no report: it did not finish, or was pruned; the same run goes on with it",
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

/// Opens a store that must be there already.
pub(super) async fn open(path: &Path) -> anyhow::Result<Sqlite> {
    if !path.exists() {
        bail!("no store at {}; `whetstone run` makes one, and --store names another", path.display());
    }
    // An empty file would be made a store, and may be something else of the user's.
    if path.metadata().is_ok_and(|metadata| metadata.len() == 0) {
        bail!("{} is no store: it is empty; `whetstone run` makes one, and --store names another", path.display());
    }
    Ok(Sqlite::open(path).await?)
}
