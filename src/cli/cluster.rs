//! What the commands against a cluster share: which cluster, how its objects are named, what a person is asked and told.

pub(super) mod ask;
pub(super) mod follow;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::bail;
use jiff::Timestamp;
use serde::Serialize;

use super::Format;
use super::exit::WrongArguments;
use crate::domain::duration::HumanDuration;
use crate::embed::SystemClock;
use crate::engine::ports::Clock as _;
use crate::kubernetes::client::{Access, connect};
use crate::kubernetes::optimizations::Optimizations;
use crate::web::status::View;
use crate::web::terminal::{self, Terminal};

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
    /// The flags that were given, as they must be repeated in a command for the same object: those that lead to the cluster, and
    /// the one that leads to the namespace.
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

    /// The first flag that was given, for commands that can do without a cluster.
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

/// A cluster that can be asked.
pub(super) struct Cluster {
    pub(super) optimizations: Optimizations,
    program: &'static str,
    /// The flags that lead to it.
    flags: String,
    /// The flag that leads to the namespace.
    namespace: String,
}

impl Cluster {
    /// The cluster that the arguments mean.
    pub(super) async fn reach(arguments: &ClusterArgs) -> anyhow::Result<Self> {
        let ClusterArgs { namespace, context, kubeconfig } = arguments.clone();
        let connection = connect(&Access { kubeconfig, context, namespace }).await?;
        let (flags, namespace) = arguments.repeated();
        Ok(Self { optimizations: Optimizations::new(connection), program: super::program(), flags, namespace })
    }

    /// The cluster, and the name of the object that the arguments mean: `NAME`, or `NAMESPACE/NAME`.
    pub(super) async fn reach_object(arguments: &ClusterArgs, object: &str) -> anyhow::Result<(Self, String)> {
        let mut arguments = arguments.clone();
        let name = match object.split_once('/') {
            None => object,
            Some((namespace, name)) => {
                if let Some(other) = arguments.namespace.as_ref().filter(|other| *other != namespace) {
                    let message = format!("{object} is in namespace {namespace}, and --namespace says {other}");
                    return Err(WrongArguments(message).into());
                }
                arguments.namespace = Some(namespace.to_owned());
                name
            }
        };
        if !is_object_name(name) {
            let message = format!("{object:?} names no object; give NAME, or NAMESPACE/NAME");
            return Err(WrongArguments(message).into());
        }
        Ok((Self::reach(&arguments).await?, name.to_owned()))
    }

    /// `NAMESPACE/NAME`.
    pub(super) fn object(&self, name: &str) -> String {
        format!("{}/{name}", self.optimizations.namespace())
    }

    /// Who looks at standard output now.
    pub(super) fn view(&self) -> View<'_> {
        View {
            now: now(),
            terminal: terminal(),
            program: self.program,
            cluster: &self.flags,
            namespace: &self.namespace,
        }
    }

    /// Who looks at standard error now, where the conversation before an answer takes place.
    pub(super) fn conversation(&self) -> View<'_> {
        View { terminal: Terminal { colours: colours(io::stderr().is_terminal()), ..terminal() }, ..self.view() }
    }
}

/// Whether it can be the name of an object (RFC 1123, as Kubernetes checks it). Others would be taken for a part of a URL.
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
        // A table knows how wide the terminal is, where there is one.
        width: comfy_table::Table::new().width(),
    }
}

/// Colours are for terminals that show them, and for people who want them (<https://no-color.org>).
fn colours(is_terminal: bool) -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    is_terminal && !unwanted && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Says something on standard error.
pub(super) fn say(text: &str) {
    super::warn(text);
}

/// Asks a question, when somebody is there to answer it.
///
/// # Errors
/// When the answer is no, and when nobody is there and `--yes` does not say it.
pub(super) fn confirm(question: &str, yes: bool) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let message = format!("{question} Nobody is at a terminal to answer; give --yes to do it without being asked");
        return Err(WrongArguments(message).into());
    }
    let _ = write!(io::stderr(), "\n{} [y/N] ", terminal::safe(question));
    let _ = io::stderr().flush();
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if !matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        bail!("nothing was done");
    }
    Ok(())
}

/// What became of a command, for people and for programs.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    pub(super) namespace: String,
    pub(super) name: String,
    /// What was asked: `run`, `approve`, `rollback`, `suspend` or `resume`.
    pub(super) asked: &'static str,
    /// The value of the annotation, where one was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<String>,
    /// Whether the operator has answered. Absent where nothing is to be answered.
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
    fn suggested_commands_repeat_what_leads_to_the_object() {
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
