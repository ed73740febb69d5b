//! `whetstone import`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

use super::exit::{Exit, WrongArguments};
use super::output;
use crate::import::{self, Format, Imported};

/// Import suites and recorded runs of other tools as scenarios and transcripts.
///
/// Reads files of promptfoo, Inspect, OpenAI evals, tau-bench and tau2, and datasets of Langfuse, LangSmith, Braintrust
/// and DeepEval; docs/import.md describes what is imported from each. Writes scenarios.yaml and, if the source has
/// them, transcripts.jsonl, tools.json and prompt.md, and an optimization.yaml to start from. Reports everything that
/// could not be imported.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  whetstone import promptfooconfig.yaml --out imported
  whetstone import tasks.json policy.md --format tau2 --out imported")]
pub(super) struct Arguments {
    /// The files to import. Pass files that belong together, such as a suite and its tables, in one command
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The format: promptfoo, inspect, openai-evals, tau-bench, tau2, langfuse, langsmith, braintrust or deepeval;
    /// detected by default
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// The directory to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(super) fn import(arguments: &Arguments) -> anyhow::Result<Exit> {
    let mut files = Vec::new();
    for path in &arguments.files {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| WrongArguments(format!("reading {name}: {error}")))?;
        let text = import::decode(&name, bytes)?;
        files.push((name, text));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let format = match arguments.format {
        Some(format) => format,
        None => detect(&files)?,
    };
    let imported = import::import(format, &files)?;
    let written = write(&arguments.out, &imported)?;
    let mut text = format!("{format}: {}\n\nwritten\n", imported.summary().trim_end());
    for path in &written {
        let _ = writeln!(text, "  {}", path.display());
    }
    let resource = arguments.out.join("optimization.yaml");
    let next = if imported.transcripts.is_empty() {
        format!("fill in the agent and the models in {0}, then whetstone validate -f {0}", resource.display())
    } else {
        format!("whetstone run -f {} scores and clusters the recorded runs", resource.display())
    };
    let _ = writeln!(text, "\nnext: {next}");
    super::say(&text)?;
    Ok(Exit::Success)
}

/// The common format of the files. Files that only accompany others, such as a policy, have none.
fn detect(files: &[(&str, &str)]) -> anyhow::Result<Format> {
    let detected = files.iter().filter_map(|(name, text)| Some((*name, import::detect(name, text)?)));
    let detected: Vec<(&str, Format)> = detected.collect();
    let Some((first, format)) = detected.first().copied() else { return Err(unknown(files)) };
    match detected.iter().find(|(_, other)| *other != format) {
        None => Ok(format),
        Some((name, other)) => {
            let message = format!(
                "{first} has the format {format}, and {name} has {other}; import them separately, or set the format with --format"
            );
            Err(WrongArguments(message).into())
        }
    }
}

/// The error if no file has a known format: a syntax error of a file, or an unknown format.
fn unknown(files: &[(&str, &str)]) -> anyhow::Error {
    if let Some(fault) = files.iter().find_map(|(name, text)| import::fault(name, text)) {
        return fault.into();
    }
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    let formats = Format::ALL.map(Format::as_str).join(", ");
    let names = names.join(", ");
    let message = format!("{names}: unknown format; set it with --format ({formats})");
    WrongArguments(message).into()
}

fn write(dir: &Path, imported: &Imported) -> anyhow::Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    let mut file = |name: &str, content: &str| -> anyhow::Result<()> {
        let path = dir.join(name);
        output::write_whole(&path, content)?;
        written.push(path);
        Ok(())
    };
    file("scenarios.yaml", &serde_saphyr::to_string(&imported.scenarios).context("writing scenarios as YAML")?)?;
    if !imported.transcripts.is_empty() {
        let mut lines = String::new();
        for transcript in &imported.transcripts {
            lines.push_str(&serde_json::to_string(transcript)?);
            lines.push('\n');
        }
        file("transcripts.jsonl", &lines)?;
    }
    if !imported.tools.is_empty() {
        file("tools.json", &format!("{}\n", serde_json::to_string_pretty(&imported.tools)?))?;
    }
    let prompt = imported.prompt.as_deref().unwrap_or("# Role\n\nDescribe the agent here.\n");
    file("prompt.md", prompt)?;
    file("optimization.yaml", &serde_saphyr::to_string(&resource(imported)).context("writing the resource as YAML")?)?;
    Ok(written)
}

/// A resource to start from: a replay where there are recorded runs, else a model to fill in.
fn resource(imported: &Imported) -> serde_json::Value {
    let has_checks = imported.scenarios.iter().any(|scenario| !scenario.expect.checks.is_empty());
    let has_tools = imported.scenarios.iter().any(whetstone_domain::scenario::Scenario::expects_tools);
    let replay = !imported.transcripts.is_empty();
    let mut agent = json!({"prompt": {"file": "prompt.md"}});
    if !imported.tools.is_empty() {
        agent["toolsFrom"] = json!([{"file": "tools.json"}]);
    }
    agent["runtime"] = if replay {
        json!({"replay": {"transcripts": {"file": "transcripts.jsonl"}}})
    } else {
        json!({"model": {"ref": "worker"}})
    };
    let mut spec = json!({"profile": "Prototype", "agent": agent});
    if replay {
        // Recorded runs can be scored for free by scorers that call no model.
        let dimensions = match (has_tools, has_checks) {
            (true, true) => json!([
                {"name": "tool_compliance", "weight": 0.8, "scorer": "ToolCalls"},
                {"name": "accuracy", "weight": 0.2, "scorer": "Checks"},
            ]),
            (false, _) => json!([{"name": "accuracy", "weight": 1, "scorer": "Checks"}]),
            (true, false) => json!([{"name": "tool_compliance", "weight": 1, "scorer": "ToolCalls"}]),
        };
        spec["scenarios"] = json!([{"file": "scenarios.yaml"}]);
        // Nothing is patched, so no scenario has to be held out.
        spec["split"] = json!({"train": 1, "regression": 0, "heldOut": 0});
        spec["scoring"] = json!({"dimensions": dimensions});
        // Recorded runs cost nothing, so many clusters are affordable.
        spec["clustering"] = json!({"maxClusters": 24});
    } else {
        spec["models"] = json!([
            {"name": "worker", "openAI": {"model": "gpt-4o-mini"}},
            {"name": "judge", "openAI": {"model": "gpt-4o"}},
        ]);
        spec["scenarios"] = json!([{"file": "scenarios.yaml"}]);
        spec["scoring"] = json!({"judge": {"ref": "judge"}});
    }
    json!({
        "apiVersion": "whetstone.dev/v1alpha1",
        "kind": "AgentOptimization",
        "metadata": {"name": "imported"},
        "spec": spec,
    })
}
