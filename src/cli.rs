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

/// Improves the prompts of AI agents.
///
/// Whetstone runs the agent against scenarios, scores what it did, groups the failures, patches the prompt for exactly
/// those failures, proves that the patch is better and breaks nothing, and only then promotes it.
#[derive(Debug, Parser)]
#[command(name = "whetstone", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The format of log lines on standard error. `RUST_LOG` sets the log level (default: `warn`).
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

/// What to do. The long help of each is the documentation of its arguments, which a doc comment here would replace.
/// Which of them work on this machine and which in a cluster is said in [`usage`].
#[derive(Debug, Subcommand)]
enum Command {
    #[command(
        about = "Look for a better prompt: of a file on this machine (-f), or by the operator of a cluster (NAME)"
    )]
    Run(run::Arguments),
    #[command(about = "Gate a given challenger against the champion, for a prompt change in CI")]
    Compare(compare::Arguments),
    #[command(about = "Check a resource and everything that it refers to, and report all problems at once")]
    Validate(validate::Arguments),
    #[command(about = "Turn a pipeline file into an AgentOptimization")]
    Convert(convert::Arguments),
    #[command(about = "Turn other tools' suites and recorded runs into scenarios and transcripts")]
    Import(import::Arguments),
    #[command(about = "Serve a simulated world: an OpenAI-compatible and Anthropic API that costs nothing")]
    Simulate(simulate::Arguments),
    #[command(about = "Run the operator: reconcile AgentOptimizations and PromptVersions of a cluster")]
    Operator(operator::Arguments),
    #[command(about = "List the cycles and prompt versions of a store, or of the cluster (NAME)")]
    History(history::Arguments),
    #[command(about = "Show one cycle: verdict, reasons, clusters with examples, versions with diffs")]
    Show(show::Arguments),
    #[command(about = "Show the state in a cluster: phase, champion, running cycle, signals, and what to do next")]
    Status(status::Arguments),
    #[command(about = "Promote the challenger that waits for approval")]
    Approve(approve::Arguments),
    #[command(about = "Roll back to the predecessor, or to another earlier version")]
    Rollback(rollback::Arguments),
    #[command(about = "Start no more cycles, and stop the running one")]
    Suspend(suspend::Suspend),
    #[command(about = "Let cycles start again")]
    Resume(suspend::Resume),
    #[command(about = "Print the CustomResourceDefinitions of AgentOptimization and PromptVersion")]
    Crd(crd::Arguments),
    #[command(about = "Print a JSON Schema: of the resource, of scenario files, of world files, of report.json")]
    Schema(schema::Arguments),
    #[command(about = "Print a completion script for a shell")]
    Completions(completions::Arguments),
}

/// The resource, and what it refers to.
#[derive(Args, Debug)]
struct Source {
    /// The resource: an AgentOptimization, with ConfigMaps in the same file if you like, or a pipeline file
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    file: PathBuf,
    /// A directory with manifests of the ConfigMaps that the resource refers to
    #[arg(long, value_name = "DIR")]
    manifests: Option<PathBuf>,
}

/// What a cycle runs on.
#[derive(Args, Debug)]
struct Cycle {
    /// The store: ledger and history in one SQLite file
    #[arg(long, value_name = "FILE", env = "WHETSTONE_STORE", default_value = ".whetstone/whetstone.db")]
    store: PathBuf,
    /// Replace every model of the resource by a simulated world that runs inside this process
    #[arg(long, value_name = "WORLD")]
    simulate: Option<PathBuf>,
    #[command(flatten)]
    memory: Memory,
    /// A directory for report.json, report.md and the manifests of ConfigMap and PromptVersions
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The format of standard output
    #[arg(short, long, value_enum, default_value_t = Format::Text, help_heading = None::<&str>)]
    output: Format,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

/// How much memory the answers of models may take.
#[derive(Args, Clone, Copy, Debug)]
struct Memory {
    /// The maximum size of one model answer, in MiB. A token limit in the request may lower it
    #[arg(long, value_name = "MIB", env = "WHETSTONE_LONGEST_ANSWER", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    longest_answer: u16,
    /// The maximum total size of the answers that are being read and recorded, in MiB; they use several times as much
    /// memory
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
    /// Words for people.
    #[default]
    Text,
    /// JSON, for programs.
    Json,
    /// The same as YAML.
    Yaml,
}

impl Format {
    /// Whether a program is to read it.
    fn is_for_programs(self) -> bool {
        self != Self::Text
    }

    /// Writes to standard output what is in this format.
    fn print(self, text: &str) -> anyhow::Result<()> {
        if self.is_for_programs() { print(text) } else { say(text) }
    }

    /// A value as YAML, or else as JSON.
    fn write(self, value: &impl Serialize) -> anyhow::Result<String> {
        match self {
            Self::Yaml => Ok(serde_saphyr::to_string(value)?),
            // A terminal obeys nothing of this, and a program reads the same.
            Self::Json | Self::Text => Ok(terminal::json(&serde_json::to_string_pretty(value)?) + "\n"),
        }
    }
}

/// What is logged while `RUST_LOG` is not set. What goes wrong between a person and a cluster is told by the command, in a
/// sentence with a remedy; nobody tells what goes wrong between the operator and its cluster but its log.
fn logged(command: &Command) -> &'static str {
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
    if let Err(error) = telemetry::init(cli.log_format, logged(&cli.command)) {
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
    // A call that nobody waits for any more must not hold up the end of the process.
    runtime.shutdown_background();
    exit.into()
}

/// How the program was called, as a person types it: kubectl finds a plugin by its file name.
fn program() -> &'static str {
    let file = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with("kubectl-whetstone") { "kubectl whetstone" } else { "whetstone" }
}

/// Says what went wrong on standard error.
fn fail(error: &anyhow::Error) -> Exit {
    warn(&format!("error: {error:#}"));
    Exit::of(error)
}

/// Says something on standard error. What strangers have written into it commands no terminal.
fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", terminal::safe(text));
}

/// Writes words for people to standard output. What strangers have written into them commands no terminal.
fn say(text: &str) -> anyhow::Result<()> {
    print(&terminal::safe(text))
}

/// Writes to standard output. A reader that went away (`| head`) is not an error.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
