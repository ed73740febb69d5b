//! The command line: arguments, wiring, output.

mod approve;
mod cluster;
mod compare;
mod completions;
mod convert;
mod crd;
mod exit;
mod history;
mod import;
mod operator;
mod output;
mod progress;
mod request;
mod rollback;
mod run;
mod schema;
mod show;
mod simulate;
mod status;
mod suspend;
mod usage;
mod validate;
mod wire;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use serde::Serialize;

use self::exit::Exit;
use crate::models::AnswerMemory;
use crate::telemetry::{self, LogFormat};
use crate::web::terminal;

/// Improve the prompts of AI agents.
///
/// Whetstone runs an agent on scenarios, scores the runs, groups the failures, patches the prompt for exactly those
/// failures, proves that the new prompt is better and breaks nothing, and only then promotes it.
#[derive(Debug, Parser)]
#[command(name = "whetstone", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The format of log lines on standard error. Set `RUST_LOG` to change the log level, which defaults to `warn`
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

/// The command. Its long help is the documentation of its arguments, which a doc comment here would replace. [`usage`]
/// groups the commands.
#[derive(Debug, Subcommand)]
enum Command {
    #[command(about = "Search for a better prompt, on this machine (-f) or in a cluster (NAME)")]
    Run(run::Arguments),
    #[command(about = "Compare a given challenger with the champion, for example in CI")]
    Compare(compare::Arguments),
    #[command(about = "Check a resource and everything it refers to, and report all problems at once")]
    Validate(validate::Arguments),
    #[command(about = "Convert a pipeline template to an AgentOptimization")]
    Convert(convert::Arguments),
    #[command(about = "Import suites and recorded runs of other tools as scenarios and transcripts")]
    Import(import::Arguments),
    #[command(about = "Serve a simulated OpenAI-compatible and Anthropic API that costs nothing")]
    Simulate(simulate::Arguments),
    #[command(about = "Run the operator, which reconciles AgentOptimizations and PromptVersions")]
    Operator(operator::Arguments),
    #[command(about = "List cycles and prompt versions, from a store or a cluster (NAME)")]
    History(history::Arguments),
    #[command(about = "Show the report of a cycle: verdict, reasons, clusters with examples, diffs")]
    Show(show::Arguments),
    #[command(about = "Show AgentOptimizations: phase, champion, running cycle, signals, next steps")]
    Status(status::Arguments),
    #[command(about = "Promote the challenger that waits for approval")]
    Approve(approve::Arguments),
    #[command(about = "Roll back to the predecessor, or to another earlier version")]
    Rollback(rollback::Arguments),
    #[command(about = "Stop the running cycle, and start no new ones")]
    Suspend(suspend::Suspend),
    #[command(about = "Allow cycles to start again")]
    Resume(suspend::Resume),
    #[command(about = "Print the CustomResourceDefinitions of AgentOptimization and PromptVersion")]
    Crd(crd::Arguments),
    #[command(about = "Print the JSON Schema of the resource, scenario files, world files or report.json")]
    Schema(schema::Arguments),
    #[command(about = "Print a completion script for a shell")]
    Completions(completions::Arguments),
}

/// The resource and the manifests of the ConfigMaps that it refers to.
#[derive(Args, Debug)]
struct Source {
    /// A file with an AgentOptimization and, optionally, the ConfigMaps that it refers to; or a pipeline template
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    file: PathBuf,
    /// A directory with manifests of the ConfigMaps that the resource refers to
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
}

/// The flags of a cycle on this machine.
#[derive(Args, Debug)]
struct Cycle {
    /// The store: ledger and history in one SQLite file
    #[arg(long, value_name = "FILE", env = "WHETSTONE_STORE", default_value = ".whetstone/whetstone.db")]
    store: PathBuf,
    /// Replace all models with the simulated world of a world file, at no cost; docs/world.md describes the format
    #[arg(long, value_name = "FILE")]
    simulate: Option<PathBuf>,
    #[command(flatten)]
    memory: Memory,
    /// A directory to write report.json, report.md and the manifests of the ConfigMap and PromptVersions to
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The format of standard output
    #[arg(short, long, value_enum, default_value_t = Format::Text, help_heading = None::<&str>)]
    output: Format,
    /// Do not show progress
    #[arg(short, long)]
    quiet: bool,
}

/// Memory limits for the answers of models.
#[derive(Args, Clone, Copy, Debug)]
struct Memory {
    /// The maximum size of one model answer, in MiB. A token limit in the request may lower it
    #[arg(long, value_name = "MIB", env = "WHETSTONE_LONGEST_ANSWER", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    longest_answer: u16,
    /// The maximum total size of the answers that are being read and recorded, in MiB. The memory usage is several times
    /// as high
    #[arg(long, value_name = "MIB", env = "WHETSTONE_ANSWERS_TOGETHER", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    answers_together: u16,
}

impl From<Memory> for AnswerMemory {
    fn from(memory: Memory) -> Self {
        Self { longest: usize::from(memory.longest_answer) << 20, together: usize::from(memory.answers_together) << 20 }
    }
}

/// The format of standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Human-readable text
    #[default]
    Text,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

impl Format {
    /// Whether the output is for programs.
    fn is_for_programs(self) -> bool {
        self != Self::Text
    }

    /// Prints text that is already in this format.
    fn print(self, text: &str) -> anyhow::Result<()> {
        if self.is_for_programs() { print(text) } else { say(text) }
    }

    /// Serializes a value as YAML, otherwise as JSON.
    fn write(self, value: &impl Serialize) -> anyhow::Result<String> {
        match self {
            Self::Yaml => Ok(serde_saphyr::to_string(value)?),
            // Escapes control characters, so that a terminal does not interpret them; programs read the same values.
            Self::Json | Self::Text => Ok(terminal::json(&serde_json::to_string_pretty(value)?) + "\n"),
        }
    }
}

/// The log filter if `RUST_LOG` is not set. Commands report errors of the API server themselves; the operator has only
/// its log for them.
fn default_log_filter(command: &Command) -> &'static str {
    match command {
        Command::Operator(_) => "warn",
        _ => "warn,kube_client=off,kube_runtime=off",
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match usage::command(program()).try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Invalid.into() } else { ExitCode::SUCCESS };
        }
    };
    if let Err(error) = telemetry::init(cli.log_format, default_log_filter(&cli.command)) {
        return fail(&error.into()).into();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::anyhow!("starting the runtime: {error}")).into(),
    };
    let exit = runtime.block_on(async {
        match cli.command {
            Command::Run(arguments) => run::run(arguments).await,
            Command::Compare(arguments) => compare::compare(arguments).await,
            Command::Validate(arguments) => validate::validate(&arguments),
            Command::Convert(arguments) => convert::convert(&arguments),
            Command::Import(arguments) => import::import(&arguments),
            Command::Simulate(arguments) => simulate::simulate(&arguments).await,
            Command::Operator(arguments) => operator::operator(arguments).await,
            Command::History(arguments) => history::history(&arguments).await,
            Command::Show(arguments) => show::show(&arguments).await,
            Command::Status(arguments) => status::status(&arguments).await,
            Command::Approve(arguments) => approve::approve(&arguments).await,
            Command::Rollback(arguments) => rollback::rollback(&arguments).await,
            Command::Suspend(arguments) => suspend::suspend(&arguments).await,
            Command::Resume(arguments) => suspend::resume(&arguments).await,
            Command::Crd(arguments) => crd::crd(&arguments),
            Command::Schema(arguments) => schema::schema(&arguments),
            Command::Completions(arguments) => completions::completions(&arguments),
        }
        .unwrap_or_else(|error| fail(&error))
    });
    // A call that nothing awaits must not delay the exit.
    runtime.shutdown_background();
    exit.into()
}

/// The name under which the program was called: kubectl finds a plugin by its file name.
fn program() -> &'static str {
    let file = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with("kubectl-whetstone") { "kubectl whetstone" } else { "whetstone" }
}

/// Prints an error on standard error.
fn fail(error: &anyhow::Error) -> Exit {
    warn(&format!("error: {error:#}"));
    Exit::of(error)
}

/// Prints a line on standard error, without control characters.
fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", terminal::safe(text));
}

/// Prints text for a person on standard output, without control characters.
fn say(text: &str) -> anyhow::Result<()> {
    print(&terminal::safe(text))
}

/// Prints on standard output. A closed pipe (`| head`) is not an error.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
