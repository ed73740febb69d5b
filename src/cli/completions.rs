//! `whetstone completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use super::exit::Exit;

/// Print a completion script for a shell.
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[allow(clippy::unnecessary_wraps, reason = "every command has this signature")]
pub(super) fn completions(arguments: &Arguments) -> anyhow::Result<Exit> {
    clap_complete::generate(arguments.shell, &mut super::Cli::command(), "whetstone", &mut std::io::stdout());
    Ok(Exit::Success)
}
