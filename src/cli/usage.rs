//! The top-level help: the commands in groups, and examples with the name under which the program was called.

use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};

/// A command, with a description if its own does not fit the group.
type Line = (&'static str, Option<&'static str>);

/// The commands, in the order in which a user needs them.
const GROUPS: [(&str, &[Line]); 3] = [
    (
        "On this machine, and in CI",
        &[
            ("run", Some("Search for a better prompt: run, score, cluster, patch, validate, shadow, gate")),
            ("compare", None),
            ("validate", None),
            ("history", Some("List the cycles and prompt versions of a store")),
            ("show", None),
            ("import", None),
            ("convert", None),
            ("simulate", None),
        ],
    ),
    (
        "In a cluster, through the operator",
        &[
            ("status", None),
            ("run", Some("Request a cycle now, and optionally wait for its verdict")),
            ("approve", None),
            ("rollback", None),
            ("suspend", None),
            ("resume", None),
            ("history", Some("List the last cycles, and all versions with the reasons for their phases")),
            ("crd", None),
            ("operator", None),
        ],
    ),
    ("Other", &[("schema", None), ("completions", None), ("help", Some("Print this help, or the help of a command"))]),
];

const EXAMPLES: &str = "\
Try it without an API key:
  whetstone run -f examples/quickstart/optimization.yaml \\
    --simulate examples/quickstart/world.yaml --out /tmp/quickstart

Show the state of the cluster in your kubeconfig:
  whetstone status --all-namespaces";

/// The commands with two usages.
const TWO_USAGES: [(&str, [&str; 2]); 2] = [
    ("run", ["run -f <FILE> [OPTIONS]", "run <NAME> [--wait] [OPTIONS]"]),
    ("history", ["history [--store <FILE>] [NAME] [OPTIONS]", "history <NAME> [OPTIONS]"]),
];

/// The parser. `program` is the name under which the program was called, such as `kubectl whetstone`.
pub(super) fn command(program: &'static str) -> Command {
    let mut command = super::Cli::command().bin_name(program).after_help(in_words_of(program, EXAMPLES));
    for (name, usages) in TWO_USAGES {
        let usage = usages.map(|usage| format!("{program} {usage}")).join("\n       ");
        command = command.mut_subcommand(name, |subcommand| subcommand.override_usage(usage));
    }
    if program != "whetstone" {
        command = command.mut_subcommands(|subcommand| match subcommand.get_after_help() {
            Some(help) => {
                let help = in_words_of(program, &help.to_string());
                subcommand.after_help(help)
            }
            None => subcommand,
        });
    }
    let groups = groups(&command);
    command.help_template(format!(
        "{{before-help}}{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}Options:\n{{options}}{{after-help}}"
    ))
}

/// Replaces `whetstone` at the start of example lines.
fn in_words_of(program: &str, examples: &str) -> String {
    let line = |line: &str| match line.strip_prefix("  whetstone ") {
        Some(rest) => format!("  {program} {rest}"),
        None => line.to_owned(),
    };
    examples.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn groups(command: &Command) -> String {
    let mut text = String::new();
    for (heading, lines) in GROUPS {
        let _ = writeln!(text, "{heading}:");
        for (name, about) in lines {
            let own = || command.find_subcommand(name).and_then(Command::get_about).map(ToString::to_string);
            let about = about.map(str::to_owned).or_else(own).unwrap_or_default();
            let _ = writeln!(text, "  {name:<13}{about}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_command_is_in_a_group() {
        let command = command("whetstone");
        let grouped: BTreeSet<&str> = GROUPS.iter().flat_map(|(_, lines)| *lines).map(|(name, _)| *name).collect();
        let mut known: BTreeSet<&str> = command.get_subcommands().map(Command::get_name).collect();
        known.insert("help");
        assert_eq!(grouped, known);
    }

    #[test]
    fn the_definition_of_the_arguments_is_sound() {
        command("kubectl whetstone").debug_assert();
    }

    #[test]
    fn a_plugin_speaks_of_itself_as_kubectl_does() {
        let help =
            |arguments: &[&str]| command("kubectl whetstone").try_get_matches_from(arguments).unwrap_err().to_string();
        assert!(help(&["x", "--help"]).contains("Usage: kubectl whetstone [OPTIONS] <COMMAND>"));
        let approve = help(&["x", "approve", "--help"]);
        assert!(approve.contains("Usage: kubectl whetstone approve [OPTIONS] <NAME> [VERSION]"), "{approve}");
        assert!(approve.contains("\n  kubectl whetstone approve support v3"), "{approve}");
        assert!(!approve.contains("  whetstone "), "{approve}");
        let run = help(&["x", "run", "--help"]);
        assert!(
            run.contains("Usage: kubectl whetstone run -f <FILE> [OPTIONS]\n       kubectl whetstone run <NAME>"),
            "{run}"
        );
    }
}
