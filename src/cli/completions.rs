//! `whetstone completions`.

use clap_complete::Shell;

use super::exit::Exit;

/// Print a completion script for a shell.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  whetstone completions bash > ~/.local/share/bash-completion/completions/whetstone")]
pub(super) struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[allow(clippy::unnecessary_wraps, reason = "every command has this signature")]
pub(super) fn completions(arguments: &Arguments) -> anyhow::Result<Exit> {
    let program = super::program();
    // A shell completes the arguments of an executable: for `kubectl whetstone`, of the plugin.
    let file = program.replace(' ', "-");
    clap_complete::generate(arguments.shell, &mut super::usage::command(program), file, &mut std::io::stdout());
    Ok(Exit::Success)
}
