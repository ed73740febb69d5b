//! `whetstone compare`.

use std::path::PathBuf;

use anyhow::Context as _;

use super::exit::Exit;
use super::{Cycle, Source, wire};
use crate::api::plan::RuntimePlan;
use crate::api::problem::{Problem, Problems};
use crate::domain::prompt::Prompt;
use crate::embed::{self, read_plan};
use crate::engine::subject::Subject;

/// Gate a given challenger against the champion.
///
/// Both are measured on all scenarios, and the gate of the resource decides. This is the check for a pull request that
/// changes a prompt by hand. With `--challenger-transcripts` (and recorded transcripts as the resource's runtime) two sets of
/// recorded runs are compared, and nothing is called but the judge.
///
/// Exit codes: 0 the challenger passes, 10 it does not, 11 it does not and the champion is below its threshold, 12
/// inconclusive, 1 error, 2 wrong arguments or files, 130 stopped.
#[derive(clap::Args, Debug)]
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
    /// The challenger's prompt
    #[arg(long, value_name = "FILE")]
    challenger: Option<PathBuf>,
    /// Transcripts of the challenger as JSONL, for a resource whose runtime is `replay`
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
    // Both are measured on everything, so it does not matter how much is held out, and nothing is patched.
    plan.warnings.retain(|warning| !UNUSED.iter().any(|part| warning.starts_with(part)));
    let is_replay = matches!(plan.runtime, RuntimePlan::Replay { .. });
    let (field, message) =
        ("spec.agent.runtime", "recorded transcripts are compared with others: give --challenger-transcripts");
    if is_replay && challenger.challenger.is_some() {
        return Err(problem(field, message).into());
    }
    if !is_replay && challenger.challenger_transcripts.is_some() {
        return Err(problem(field, "--challenger-transcripts is for the runtime replay: give --challenger").into());
    }
    let challenger = match (challenger.challenger, challenger.challenger_transcripts) {
        (Some(path), _) => {
            let text = embed::read_text_file(&path)?;
            let prompt = Prompt::parse(&text, plan.champion.format())
                .with_context(|| format!("in the challenger's prompt {}", path.display()))?;
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
