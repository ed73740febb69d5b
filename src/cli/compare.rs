//! `whetstone compare`.

use std::path::PathBuf;

use anyhow::Context as _;

use super::exit::Exit;
use super::{Cycle, Source, wire};
use crate::api::problem::{Problem, Problems};
use crate::embed::{self, read_plan};
use whetstone_domain::plan::RuntimePlan;
use whetstone_domain::prompt::Prompt;
use whetstone_engine::subject::Subject;

/// Compare a given challenger with the champion, and apply the gate.
///
/// Runs and scores both prompts on all scenarios. Use it in CI to check a pull request that changes a prompt. If the
/// runtime of the resource is `replay`, compares its recorded transcripts with those given by
/// --challenger-transcripts, and calls no model except the judge.
///
/// Exit codes: 0 the challenger passes, 10 it does not, 11 it does not and the champion is below its threshold, 12
/// inconclusive, 1 error, 2 wrong arguments or files, 130 stopped.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  whetstone compare -f optimization.yaml --challenger prompt.md --out out")]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    cycle: Cycle,
    #[command(flatten)]
    challenger: Challenger,
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct Challenger {
    /// A file with the prompt of the challenger
    #[arg(long, value_name = "FILE")]
    challenger: Option<PathBuf>,
    /// A JSONL file with recorded transcripts of the challenger, for a resource whose runtime is `replay`
    #[arg(long, value_name = "FILE")]
    challenger_transcripts: Option<PathBuf>,
}

/// Parts of the resource that a comparison does not use.
const UNUSED: [&str; 3] = ["spec.split.", "spec.patching.", "spec.validation."];

fn problem(field: &str, message: &str) -> Problems {
    Problems(vec![Problem { place: None, field: field.to_owned(), message: message.to_owned() }])
}

pub(super) async fn compare(arguments: Arguments) -> anyhow::Result<Exit> {
    let Arguments { source, cycle, challenger } = arguments;
    let mut plan = read_plan(&source.file, source.manifests.as_deref())?;
    // Both are measured on all scenarios, so the split does not matter, and nothing is patched.
    plan.warnings.retain(|warning| !UNUSED.iter().any(|part| warning.starts_with(part)));
    let is_replay = matches!(plan.runtime, RuntimePlan::Replay { .. });
    let (field, message) = (
        "spec.agent.runtime",
        "a prompt cannot be compared with recorded transcripts; use --challenger-transcripts instead",
    );
    if is_replay && challenger.challenger.is_some() {
        return Err(problem(field, message).into());
    }
    if !is_replay && challenger.challenger_transcripts.is_some() {
        return Err(
            problem(field, "--challenger-transcripts requires the runtime `replay`; use --challenger instead").into()
        );
    }
    let challenger = match (challenger.challenger, challenger.challenger_transcripts) {
        (Some(path), _) => {
            let text = embed::read_text_file(&path)?;
            let prompt = Prompt::parse(&text, plan.champion.system().format())
                .with_context(|| format!("parsing the challenger's prompt {}", path.display()))?;
            Subject::prompt(prompt)
        }
        (None, Some(path)) => {
            let transcripts = embed::read_transcripts(&path)?;
            Subject::replay(plan.champion.clone(), &transcripts)
        }
        (None, None) => unreachable!("clap requires one of them"),
    };
    let engine = wire::Engine::start(plan, &cycle).await?;
    let outcome = engine.run(|pipeline| pipeline.compare(challenger)).await?;
    engine.finish(&cycle, &outcome).await
}
