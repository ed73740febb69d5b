//! The loop inside your own program: reads a resource, runs a cycle, prints the verdict.
//!
//! `cargo run --example embed` runs the quickstart against its simulated world.

use std::error::Error;
use std::sync::Arc;

use whetstone::embed::{self, SystemClock};
use whetstone::engine::Pipeline;
use whetstone::models::{self, Client, Options};
use whetstone::store::Sqlite;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut plan = embed::read_plan("examples/quickstart/optimization.yaml", None)?;
    // Without this line the resource's own models are asked, and paid.
    let _world = embed::simulate(&mut plan, "examples/quickstart/world.yaml")?;

    let models = Client::new(&plan.models, &models::key_from_environment, Options::default())?;
    let dir = tempfile::tempdir()?;
    let store = Arc::new(Sqlite::open(&dir.path().join("embed.db")).await?);

    let cycle = Pipeline::new(plan, Arc::new(models), Arc::clone(&store), Arc::new(SystemClock));
    let outcome = cycle.run().await?;

    println!("{}", outcome.report.verdict.as_str());
    for reason in &outcome.report.reasons {
        println!("- {}", reason.message);
    }
    store.close().await?;
    Ok(())
}
