//! Shared by the commands for a cluster: connection, names of objects, confirmation and answers.

pub(super) mod ask;
pub(super) mod follow;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::bail;
use jiff::Timestamp;
use serde::Serialize;

use super::Format;
use super::exit::WrongArguments;
use crate::embed::SystemClock;
use crate::kubernetes::client::{Access, connect};
use crate::kubernetes::optimizations::Optimizations;
use crate::web::status::View;
use crate::web::terminal::{self, Terminal};
use whetstone_domain::duration::HumanDuration;
use whetstone_engine::ports::Clock as _;

/// Which cluster, and which namespace of it.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Cluster")]
pub(super) struct ClusterArgs {
    /// The namespace; defaults to that of the context, else `default`
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// The context of the kubeconfig; defaults to the current one
    #[arg(long, value_name = "CONTEXT")]
    context: Option<String>,
    /// The kubeconfig; defaults to KUBECONFIG, ~/.kube/config or the service account of a pod
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

impl ClusterArgs {
    /// The given flags as they have to be repeated in a command for the same object: those that select the cluster, and the
    /// one that selects the namespace.
    fn repeated(&self) -> (String, String) {
        let quoted = |value: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@".contains(c);
            if value.chars().all(plain) { value.to_owned() } else { format!("'{}'", value.replace('\'', r"'\''")) }
        };
        let path = self.kubeconfig.as_ref().map(|path| path.display().to_string());
        let flag = |(name, value): (&str, &Option<String>)| Some(format!("--{name} {}", quoted(value.as_ref()?)));
        let cluster = [("context", &self.context), ("kubeconfig", &path)].into_iter().filter_map(flag);
        let namespace = flag(("namespace", &self.namespace)).unwrap_or_default();
        (cluster.collect::<Vec<_>>().join(" "), namespace)
    }

    /// The first given flag, for commands that also work without a cluster.
    pub(super) fn any(&self) -> Option<&'static str> {
        let given = [
            ("--namespace", self.namespace.is_some()),
            ("--context", self.context.is_some()),
            ("--kubeconfig", self.kubeconfig.is_some()),
        ];
        given.into_iter().find_map(|(flag, given)| given.then_some(flag))
    }
}

/// Whether to wait for the operator.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Wait {
    /// Wait until the operator has answered, and print the result
    #[arg(short, long)]
    pub(super) wait: bool,
    /// The maximum time to wait, such as 90s or 1h; unlimited by default
    #[arg(long, value_name = "DURATION", requires = "wait")]
    pub(super) timeout: Option<HumanDuration>,
}

/// A connected cluster.
pub(super) struct Cluster {
    pub(super) optimizations: Optimizations,
    program: &'static str,
    /// The flags that select it.
    flags: String,
    /// The flag that selects the namespace.
    namespace: String,
}

impl Cluster {
    /// Connects to the cluster that the arguments select.
    pub(super) async fn reach(arguments: &ClusterArgs) -> anyhow::Result<Self> {
        let ClusterArgs { namespace, context, kubeconfig } = arguments.clone();
        let connection = connect(&Access { kubeconfig, context, namespace }).await?;
        let (flags, namespace) = arguments.repeated();
        Ok(Self { optimizations: Optimizations::new(connection), program: super::program(), flags, namespace })
    }

    /// Connects to the cluster, and parses the name of the object: `NAME`, or `NAMESPACE/NAME`.
    pub(super) async fn reach_object(arguments: &ClusterArgs, object: &str) -> anyhow::Result<(Self, String)> {
        let mut arguments = arguments.clone();
        let name = match object.split_once('/') {
            None => object,
            Some((namespace, name)) => {
                if let Some(other) = arguments.namespace.as_ref().filter(|other| *other != namespace) {
                    let message = format!("{object} contradicts --namespace {other}; give one of the two namespaces");
                    return Err(WrongArguments(message).into());
                }
                arguments.namespace = Some(namespace.to_owned());
                name
            }
        };
        if !is_object_name(name) {
            let message = format!(
                "{object:?} is not a valid name of an object; use NAME or NAMESPACE/NAME, with lower-case letters, digits, dashes and dots"
            );
            return Err(WrongArguments(message).into());
        }
        Ok((Self::reach(&arguments).await?, name.to_owned()))
    }

    /// `NAMESPACE/NAME`.
    pub(super) fn object(&self, name: &str) -> String {
        format!("{}/{name}", self.optimizations.namespace())
    }

    /// How to render for standard output.
    pub(super) fn view(&self) -> View<'_> {
        View {
            now: now(),
            terminal: terminal(),
            program: self.program,
            cluster: &self.flags,
            namespace: &self.namespace,
        }
    }

    /// How to render for standard error, where questions and notes go.
    pub(super) fn conversation(&self) -> View<'_> {
        View { terminal: Terminal { colours: colours(io::stderr().is_terminal()), ..terminal() }, ..self.view() }
    }
}

/// Whether it can be the name of an object (RFC 1123, as Kubernetes checks it). Other text would become part of a URL.
fn is_object_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    !name.is_empty() && name.chars().all(allowed)
}

pub(super) fn now() -> Timestamp {
    SystemClock.now()
}

fn terminal() -> Terminal {
    Terminal {
        colours: colours(io::stdout().is_terminal()),
        // `Table` detects the width of the terminal.
        width: comfy_table::Table::new().width(),
    }
}

/// Whether to use colours, for a terminal that supports them and unless NO_COLOR is set (<https://no-color.org>).
fn colours(is_terminal: bool) -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    is_terminal && !unwanted && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Prints a line on standard error.
pub(super) fn say(text: &str) {
    super::warn(text);
}

/// Asks for confirmation on a terminal, unless `--yes` is given.
///
/// # Errors
/// The answer is no; there is neither a terminal nor `--yes`.
pub(super) fn confirm(question: &str, yes: bool) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let message = format!("confirmation required ({question}), but there is no terminal; pass --yes to confirm");
        return Err(WrongArguments(message).into());
    }
    let _ = write!(io::stderr(), "\n{} [y/N] ", terminal::safe(question));
    let _ = io::stderr().flush();
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if !matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        bail!("aborted; nothing was changed");
    }
    Ok(())
}

/// The result of a command, for people and for programs.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    pub(super) namespace: String,
    pub(super) name: String,
    /// The command: `run`, `approve`, `rollback`, `suspend` or `resume`.
    pub(super) asked: &'static str,
    /// The value of the annotation, if one was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<String>,
    /// Whether the operator has answered. Absent if no answer is expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) answered: Option<bool>,
    /// In words.
    pub(super) message: String,
    /// The cycle that ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cycle: Option<crate::api::status::FinishedCycle>,
}

impl Answer {
    pub(super) fn print(&self, output: Format) -> anyhow::Result<()> {
        match output {
            Format::Text => super::say(&format!("{}/{}: {}\n", self.namespace, self.name, self.message)),
            _ => super::print(&output.write(self)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggested_commands_repeat_the_flags_that_select_the_object() {
        let arguments = ClusterArgs {
            namespace: Some("shop".to_owned()),
            context: Some("my cluster".to_owned()),
            kubeconfig: None,
        };
        assert_eq!(arguments.repeated(), ("--context 'my cluster'".to_owned(), "--namespace shop".to_owned()));
        assert_eq!(ClusterArgs::default().repeated(), (String::new(), String::new()));
    }

    #[test]
    fn a_name_is_not_a_path() {
        assert!(is_object_name("support-assistant.v2"));
        assert!(!is_object_name("") && !is_object_name("../secrets/x") && !is_object_name("Support"));
    }
}
