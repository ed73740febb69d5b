//! `whetstone validate`.

use super::Source;
use super::exit::Exit;
use crate::embed::read_plan;
use whetstone_domain::plan::Plan;
use whetstone_domain::plan::RuntimePlan;
use whetstone_domain::words::counted;

/// Check a resource and everything it refers to.
///
/// Reports all problems at once, each with its file, line and field, and how to fix it. Calls no model.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  whetstone validate -f optimization.yaml --manifests manifests")]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
}

pub(super) fn validate(arguments: &Arguments) -> anyhow::Result<Exit> {
    let plan = read_plan(&arguments.source.file, arguments.source.manifests.as_deref())?;
    super::say(&describe(&plan))?;
    Ok(Exit::Success)
}

fn describe(plan: &Plan) -> String {
    use std::fmt::Write as _;
    let mut text = format!("{}/{} is valid\n\n", plan.namespace, plan.name);
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<12} {value}");
    };
    let runtime = match &plan.runtime {
        RuntimePlan::Model { model, .. } => format!("model {model}, {}", counted(plan.tools.len(), "tool")),
        RuntimePlan::Endpoint { model, .. } => format!("endpoint {model}"),
        RuntimePlan::Replay { transcripts } => counted(transcripts.len(), "recorded transcript"),
    };
    let sections: Vec<&str> = plan.champion.system().sections().iter().map(|section| section.name.as_str()).collect();
    let split = &plan.split;
    let dimensions: Vec<String> =
        plan.dimensions.iter().map(|dimension| format!("{} {}", dimension.name, dimension.weight)).collect();
    line("profile", format!("{:?}", plan.profile));
    line("agent", runtime);
    line("prompt", format!("{}: {}", counted(sections.len(), "section"), sections.join(", ")));
    line(
        "scenarios",
        format!(
            "{}: {} training, {} regression, {} held-out",
            plan.scenarios.len(),
            split.train.len(),
            split.regression.len(),
            split.held_out.len()
        ),
    );
    line("dimensions", dimensions.join(", "));
    let test = serde_json::to_value(plan.gate.test).ok().and_then(|test| test.as_str().map(str::to_owned));
    line("gate", format!("{} at {}", test.unwrap_or_default(), plan.gate.significance_level));
    let budget = plan.budget.map_or_else(|| "none".to_owned(), |budget| format!("{budget} {} a cycle", plan.currency));
    line("budget", budget);
    for warning in &plan.warnings {
        let _ = writeln!(text, "\nwarning: {warning}");
    }
    text
}
